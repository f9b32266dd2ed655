//! The fence of a provider that was restored, as nodes see it that were not.

use room_engine::{Clock as _, SystemClock, raise_fence};

use crate::follower::pair;
use crate::world::{A, World, ctx, uri};

const ALICE: &str = "mimi://a.example/u/alice";

/// A node that joins has nothing when it opens. What it is given then comes from a provider that was restored.
#[tokio::test]
async fn a_node_that_is_given_the_store_while_it_runs_knows_the_fence() {
    let world = World::new().await;
    let (mut alice, _bob, room) = pair(&world).await;
    let engine = world.engine(A);
    assert_eq!(engine.fenced_rooms().await.unwrap(), []);
    let one_time = async || {
        engine.devices(ctx(), &uri(ALICE)).await.unwrap()[0]
            .stock
            .available
    };
    assert!(one_time().await > 0);

    world.orders(A, false);
    let now = SystemClock.now_ms();
    let fence = raise_fence(now, now + 1, false);
    world.store(A).commit(fence).await.unwrap();
    world.orders(A, true);

    // Any of them may have been handed out since the backup.
    assert_eq!(one_time().await, 0);
    let fenced = engine.fenced_rooms().await.unwrap();
    let fenced: Vec<_> = fenced.iter().map(|fenced| fenced.room.as_str()).collect();
    assert_eq!(fenced, [room.as_str()]);
    let renewed = alice.client.renew_keys(&room).await;
    assert!(renewed.is_err(), "{renewed:?}");
    // What is founded since was never in a backup.
    alice.client.create("new").await.unwrap();
    assert_eq!(engine.fenced_rooms().await.unwrap().len(), 1);
}
