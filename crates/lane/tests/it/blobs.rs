//! Blobs between nodes: fetched by their hash where missing, and checked.

use crate::world::World;
use bytes::Bytes;
use lane::{Answer, ReplicatedStore};
use std::time::Duration;
use store::{BlobHash, Store as _, StoreError};

/// Three nodes; one of them lacks a blob that the others have. Answers with which, and the blob's hash.
async fn lacking(seed: u64, blob: &'static [u8]) -> (World, usize, BlobHash) {
    let mut world = World::new(seed, 3).await;
    let leader = world.leader().await;
    let without = (leader + 1) % 3;
    world.crash(without, 1000).await;
    let (_, store) = world.store(leader).unwrap();
    let hash = store.blob_put(Bytes::from_static(blob)).await.unwrap();
    world.start(without).await;
    world.converged().await;
    (world, without, hash)
}

#[tokio::test(start_paused = true)]
async fn a_missing_blob_is_fetched_and_kept() {
    let (world, without, hash) = lacking(1, b"payload").await;
    assert_eq!(world.nodes[without].disk.blob_get(&hash).await.unwrap(), None);
    let (_, store) = world.store(without).unwrap();
    assert_eq!(
        store.blob_get(&hash).await.unwrap().as_deref(),
        Some(&b"payload"[..])
    );
    assert!(world.nodes[without].disk.blob_get(&hash).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn octets_that_are_another_blob_are_not_taken() {
    let (world, without, hash) = lacking(2, b"payload").await;
    let lies = (0..3).filter(|at| *at != without);
    let names: Vec<_> = lies.map(|at| world.nodes[at].name.clone()).collect();
    // The first lies, the other one tells the truth; then both lie.
    let lie = |_: &str| Some(Answer::ok(Bytes::from_static(b"something else")));
    world.net.script(&names[0], lie);
    let (_, store) = world.store(without).unwrap();
    assert_eq!(
        store.blob_get(&hash).await.unwrap().as_deref(),
        Some(&b"payload"[..])
    );
    let (world, without, hash) = lacking(3, b"another").await;
    for node in &world.nodes {
        world.net.script(&node.name, lie);
    }
    let (_, store) = world.store(without).unwrap();
    assert_eq!(store.blob_get(&hash).await.unwrap(), None);
    assert_eq!(world.nodes[without].disk.blob_get(&hash).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_nobody_has_is_missing() {
    let (world, without, _) = lacking(4, b"payload").await;
    let (_, store) = world.store(without).unwrap();
    let nowhere = BlobHash::of(b"never put anywhere");
    assert_eq!(store.blob_get(&nowhere).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn nobody_knows_what_a_node_that_does_not_answer_has() {
    let (mut world, without, hash) = lacking(5, b"payload").await;
    let away: Vec<usize> = (0..3).filter(|at| *at != without).collect();
    let missing = BlobHash::of(b"never put anywhere");
    let (_, store) = world.store(without).unwrap();
    let is_unknown = async |hash| matches!(store.blob_get(hash).await, Err(StoreError::Unavailable { .. }));
    world.crash(away[0], 1000).await;
    assert!(is_unknown(&missing).await);
    // One has it and answers.
    let (_, there) = world.store(away[1]).unwrap();
    assert!(there.blob_get(&hash).await.unwrap().is_some());
    world.crash(away[1], 1000).await;
    assert!(is_unknown(&hash).await);
    world.start(away[1]).await;
    // Who was removed need not answer any more.
    let leader = loop {
        let leader = world.nodes[world.leader().await].cluster.clone().unwrap();
        if leader.remove(world.nodes[away[0]].name.clone()).await.is_ok() {
            break leader;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let store = ReplicatedStore::new(leader);
    assert_eq!(store.blob_get(&missing).await.unwrap(), None);
}
