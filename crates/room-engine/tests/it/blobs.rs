//! Blobs: what a record refers to stays, whatever kind of record it is.

use std::time::Duration;

use crate::world::{A, B, World, uri};

#[tokio::test]
async fn only_blobs_without_a_record_go() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, secret) = world.user(B, "bob").await;
    let room = alice.client.create("club").await.unwrap();
    let to = [uri("mimi://b.example/u/bob")];
    alice.client.add(&room, &to).await.unwrap();
    world.quiet().await;
    bob.client.sync().await.unwrap();
    // Too large for a record, at both providers and in the queue between them.
    let long = "x".repeat(70_000);
    world.stop_senders(A).await;
    alice.say(&room, &long).await;
    let mut orphans = Vec::new();
    for name in [A, B] {
        orphans.push(
            world
                .store(name)
                .blob_put(format!("orphan of {name}").into())
                .await
                .unwrap(),
        );
        let young = world
            .engine(name)
            .collect_blobs(Duration::from_hours(1))
            .await
            .unwrap();
        assert_eq!(young.removed, 0);
        let collected = world.engine(name).collect_blobs(Duration::ZERO).await.unwrap();
        assert!(collected.removed >= 1 && !collected.deferred, "{collected:?}");
    }
    // What was waiting still goes out, and both can be read from the beginning.
    world.restart(A).await;
    world.quiet().await;
    world.engine(B).collect_blobs(Duration::ZERO).await.unwrap();
    let said = vec![("mimi://a.example/u/alice".to_owned(), long)];
    assert_eq!(bob.texts(&room).await, said);
    for (name, user) in [(A, "mimi://a.example/u/alice"), (B, "mimi://b.example/u/bob")] {
        let feed = world
            .engine(name)
            .feed(&uri(&room), &uri(user), 1, 100, None)
            .await
            .unwrap();
        assert!(!feed.entries.is_empty());
    }
    // The hub's group too: another device comes in by external commit.
    let mut second = world.device(B, "bob", "d2", &secret).await;
    second.client.refresh().await.unwrap();
    second.client.join(&room).await.unwrap();
    for (name, orphan) in [A, B].into_iter().zip(&orphans) {
        assert_eq!(world.store(name).blob_get(orphan).await.unwrap(), None);
    }
}
