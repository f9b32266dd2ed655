//! Records that an older version wrote.

use crate::world::{A, B, World, ctx, uri};
use serde_json::{Map, Value, json};
use store::{Batch, Scan, Space, Store};

fn object(bytes: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(bytes).unwrap()
}

/// Writes a provider's records back into the form of version 1: each room whole in one record, no index of sessions.
async fn age(store: &dyn Store) {
    let mut batch = Batch::new();
    for (key, value) in store.scan(Scan::all(Space::Room)).await.unwrap() {
        let mut room = object(&value);
        let mut head = object(&store.get(Space::RoomHead, &key).await.unwrap().unwrap());
        let graph_head = head.remove("graph").unwrap();
        room["graph"]
            .as_object_mut()
            .unwrap()
            .extend(graph_head.as_object().unwrap().clone());
        room.extend(head);
        let (mut participants, mut local_users, mut leaving) = (vec![], vec![], vec![]);
        for (place, value) in store.scan(Scan::prefix(Space::Participant, &key)).await.unwrap() {
            let one = object(&value);
            if one["role"] != json!(0) {
                participants.push(json!([one["user"], one["role"]]));
            }
            if one["here"] == json!(true) {
                local_users.push(one["user"].clone());
            }
            if one["leaving"] == json!(true) {
                leaving.push(one["user"].clone());
            }
            batch.delete(Space::Participant, place);
        }
        room.insert("v".into(), json!(1));
        room.insert("participants".into(), json!(participants));
        room.insert("local_users".into(), json!(local_users));
        room.insert("leaving".into(), json!(leaving));
        batch.put(Space::Room, &key, serde_json::to_vec(&room).unwrap());
        batch.delete(Space::RoomHead, &key);
    }
    for (key, _) in store.scan(Scan::all(Space::DeviceSession)).await.unwrap() {
        batch.delete(Space::DeviceSession, key);
    }
    batch.delete(Space::Meta, b"engine.records");
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn rooms_and_sessions_of_version_1_go_on() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, secret) = world.user(B, "bob").await;
    let room = alice.client.create("Old").await.unwrap();
    alice
        .client
        .add(&room, &[uri("mimi://b.example/u/bob")])
        .await
        .unwrap();
    alice.say(&room, "before").await;
    world.quiet().await;
    assert_eq!(bob.texts(&room).await.len(), 1);
    // Bob's other device leaves for him: the hub waits for a commit, the follower knows that he is leaving.
    let (mut carol, _) = world.user(B, "carol").await;
    bob.client
        .add(&room, &[uri("mimi://b.example/u/carol")])
        .await
        .unwrap();
    world.quiet().await;
    carol.client.sync().await.unwrap();
    carol.client.leave(&room).await.unwrap();
    world.quiet().await;

    let mut before = Vec::new();
    for name in [A, B] {
        before.push(world.engine(name).rooms().await.unwrap());
        let store = world.stop(name).await;
        age(store.as_ref()).await;
        world.start(name, store).await;
        let mut after = world.engine(name).rooms().await.unwrap();
        // What was not kept then is known with the next change.
        after
            .iter_mut()
            .zip(&before[before.len() - 1])
            .for_each(|(room, before)| {
                assert_eq!(room.suite, None);
                room.suite = before.suite;
            });
        assert_eq!(after, before[before.len() - 1]);
    }

    // The commit that takes Carol out, and a message each way.
    bob.client.sync().await.unwrap();
    world.quiet().await;
    alice.client.sync().await.unwrap();
    alice.say(&room, "after").await;
    bob.client.sync().await.unwrap();
    bob.say(&room, "too").await;
    world.quiet().await;
    assert_eq!(alice.texts(&room).await, bob.texts(&room).await);
    assert!(
        !world
            .engine(B)
            .rooms_of(&uri("mimi://b.example/u/carol"))
            .await
            .unwrap()[0]
            .joined
    );

    // Sessions are found by their device.
    let bobs = uri("mimi://b.example/u/bob");
    let sessions = async || {
        world
            .store(B)
            .scan(Scan::all(Space::Session))
            .await
            .unwrap()
            .len()
    };
    assert_eq!(sessions().await, 2);
    world.device(B, "bob", "d2", &secret).await;
    assert_eq!(sessions().await, 3);
    let devices = world.engine(B).devices(ctx(), &bobs).await.unwrap();
    for device in devices {
        world
            .engine(B)
            .remove_device(ctx(), &bobs, &device.client)
            .await
            .unwrap();
    }
    assert_eq!(sessions().await, 1);
    assert_eq!(
        world
            .store(B)
            .scan(Scan::all(Space::DeviceSession))
            .await
            .unwrap()
            .len(),
        1
    );
}
