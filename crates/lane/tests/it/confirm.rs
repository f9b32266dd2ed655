//! What a node that orders may take for final.

use crate::world::World;
use room_engine::Sequencer as _;
use std::time::Duration;
use store::{Batch, Space, Store as _, StoreError};

/// A write that the majority did not confirm in time stays in the log, and may become final later.
#[tokio::test(start_paused = true)]
async fn a_write_that_was_given_up_does_not_land_behind_a_confirmation() {
    let world = World::new(1, 2).await;
    let leader = world.leader().await;
    let (cluster, store) = world.store(leader).unwrap();
    let term = cluster.term().unwrap();
    let names = [0, 1].map(|at| world.nodes[at].name.clone());
    world.net.cut(&names[0], &names[1]);
    world.net.cut(&names[1], &names[0]);
    let mut batch = Batch::new();
    batch.put(Space::Room, "key", "value");
    let written = store.commit(batch).await;
    assert!(matches!(written, Err(StoreError::Unavailable { .. })));
    world.net.heal();
    while cluster.confirm(term).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let confirmed = store.get(Space::Room, b"key").await.unwrap();
    world.converged().await;
    assert_eq!(confirmed, store.get(Space::Room, b"key").await.unwrap());
    cluster.confirm(term).await.unwrap();
}

/// Confirming writes nothing, but where something was given up.
#[tokio::test(start_paused = true)]
async fn a_confirmation_writes_nothing_as_long_as_nothing_was_given_up() {
    let world = World::new(2, 3).await;
    let (cluster, _) = world.store(world.leader().await).unwrap();
    world.converged().await;
    let log = cluster.view().log;
    for _ in 0..10 {
        cluster.confirm(cluster.term().unwrap()).await.unwrap();
    }
    assert_eq!(cluster.view().log, log);
}
