//! A node that takes long to put a snapshot in place.

use crate::world::World;
use bytes::Bytes;
use std::time::Duration;
use store::{Batch, Space, Store as _};

/// How long the slow disk takes to sync: what puts a snapshot in place needs more of them than a call may take.
const SYNC: Duration = Duration::from_secs(9);

/// Two nodes with something in their store, and a third one on a slow disk.
async fn with_a_slow_third() -> World {
    let mut world = World::founded_by(1, 3, 2).await;
    let leader = world.leader().await;
    let (_, store) = world.store(leader).unwrap();
    for space in [Space::Room, Space::Outbox, Space::Feed] {
        let mut batch = Batch::new();
        batch.put(space, "key", "value");
        store.commit(batch).await.unwrap();
    }
    world.start_joining(2).await;
    world.nodes[2].disk.slow(SYNC);
    world
}

/// Adds the third node in the background.
async fn add_third(world: &World) -> tokio::task::JoinHandle<()> {
    let leader = world.nodes[world.leader().await].cluster.clone().unwrap();
    let (name, member) = (world.nodes[2].name.clone(), world.member(2));
    tokio::spawn(async move { leader.add(name, member).await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn whoever_hands_a_snapshot_in_asks_until_it_is_in_place() {
    let world = with_a_slow_third().await;
    let began = tokio::time::Instant::now();
    let adding = add_third(&world).await;
    let third = world.nodes[2].cluster.clone().unwrap();
    while third.view().applied == 0 {
        assert!(!adding.is_finished());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        began.elapsed() > 4 * SYNC,
        "it took no time: {:?}",
        began.elapsed()
    );
    world.nodes[2].disk.slow(Duration::from_millis(1));
    adding.await.unwrap();
    world.converged().await;
    // It came once.
    assert!(began.elapsed() < 20 * SYNC, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_lost_while_it_takes_a_snapshot_in_gets_another_at_once() {
    let mut world = with_a_slow_third().await;
    let adding = add_third(&world).await;
    tokio::time::sleep(4 * SYNC).await;
    assert_eq!(world.nodes[2].cluster.as_ref().unwrap().view().applied, 0);
    world.crash(2, 0).await;
    world.nodes[2].disk.slow(Duration::from_millis(1));
    world.start_joining(2).await;
    let back = tokio::time::Instant::now();
    adding.await.unwrap();
    assert!(back.elapsed() < Duration::from_mins(1), "{:?}", back.elapsed());
    world.converged().await;
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_a_snapshot_when_it_starts_knows_all_that_came_with_it() {
    let mut world = World::founded_by(1, 3, 2).await;
    let leader = world.leader().await;
    let (cluster, store) = world.store(leader).unwrap();
    let blob = store.blob_put(Bytes::from_static(b"blob")).await.unwrap();
    let adding = {
        let (name, member) = (world.nodes[2].name.clone(), world.member(2));
        tokio::spawn(async move { cluster.add(name, member).await })
    };
    // The lane is frozen before the new node gets anything.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut batch = Batch::new();
    batch.put(Space::ClusterStatement, "frozen", "\"x\"");
    store.commit(batch).await.unwrap();
    world.start_joining(2).await;
    world.nodes[2].disk.slow(SYNC);
    let disk = world.nodes[2].disk.clone();
    until("it has begun to take the snapshot in", async || {
        let mark = disk.get(Space::RaftState, b"installing").await;
        mark.unwrap().is_some()
    })
    .await;
    world.crash(2, 0).await;
    world.nodes[2].disk.slow(Duration::from_millis(1));
    world.start_joining(2).await;
    let third = world.nodes[2].cluster.clone().unwrap();
    assert!(third.view().frozen);
    adding.await.unwrap().unwrap();
    let disk = world.nodes[2].disk.clone();
    until("it has the blobs", async || {
        disk.blob_get(&blob).await.unwrap().is_some()
    })
    .await;
    assert!(third.view().frozen);
}
