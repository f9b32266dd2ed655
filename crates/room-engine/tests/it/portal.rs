//! What Matrix users do in a portal, and the queues towards the homeserver.

use async_trait::async_trait;
use room_engine::outbox::{Delivery, Destination, OutboxBody, OutboxEntry, SenderSettings, Transport};
use room_engine::wish::Want;
use room_engine::{InboundEvent, ghost};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{A, B, World, ctx, uri};

const ALICE: &str = "@alice:a.example";

fn state_event(
    event_id: &str,
    portal: &str,
    (event_type, state_key): (&str, &str),
    content: Value,
) -> InboundEvent {
    InboundEvent {
        room_id: portal.to_owned(),
        event_id: event_id.to_owned(),
        sender: ALICE.to_owned(),
        event_type: event_type.to_owned(),
        state_key: Some(state_key.to_owned()),
        origin_server_ts: 0,
        content,
    }
}

/// Alice kicks a user out of a room's portal at the hub; returns once the user is out.
pub(crate) async fn kick(world: &World, room: &str, user: &str) {
    let a = world.engine(A);
    let ghost = ghost::user_id(&uri(user), "a.example");
    let wanted = async || a.portal_wanted(&uri(room)).await.unwrap().unwrap();
    let portal = wanted().await.portal;
    let leave = json!({"membership": "leave"});
    let kick = state_event("$kick", &portal, ("m.room.member", &ghost), leave);
    a.transaction(ctx(), "kick", vec![kick]).await.unwrap();
    for _ in 0..2000 {
        if !wanted().await.members.contains_key(&ghost) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{user} is never out");
}

fn notices(world: &World) -> Vec<String> {
    let entries = world.portal_events.lock().unwrap();
    let bodies = entries.iter().filter_map(|entry| match &entry.body {
        OutboxBody::PortalSend {
            event_type, content, ..
        } if event_type == "m.room.message" => content["body"].as_str().map(ToOwned::to_owned),
        _ => None,
    });
    bodies.collect()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: it never came");
}

/// At the hub a kick takes the user out at once, a change of the name waits for a client, and what isn't allowed is said;
/// at a follower a kick is a wish. Pushed twice it is done once.
#[tokio::test]
async fn acts_in_a_portal_are_requests() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let room = alice.client.create("Club").await.unwrap();
    let bob_uri = uri("mimi://b.example/u/bob");
    alice
        .client
        .add(&room, std::slice::from_ref(&bob_uri))
        .await
        .unwrap();
    world.quiet().await;
    let a = world.engine(A);
    let wanted = a.portal_wanted(&uri(&room)).await.unwrap().unwrap();
    let bob_ghost = ghost::user_id(&bob_uri, "a.example");
    assert!(wanted.members[&bob_ghost].ghost);
    assert!(!wanted.members[ALICE].ghost);
    let portal = wanted.portal.clone();

    let rename = state_event("$name", &portal, ("m.room.name", ""), json!({"name": "Pub"}));
    let kick = state_event(
        "$kick",
        &portal,
        ("m.room.member", &bob_ghost),
        json!({"membership": "leave"}),
    );
    let stranger = state_event(
        "$stranger",
        &portal,
        ("m.room.member", "@stranger:a.example"),
        json!({"membership": "leave"}),
    );
    for txn in ["t1", "t2"] {
        a.transaction(ctx(), txn, vec![rename.clone(), kick.clone(), stranger.clone()])
            .await
            .unwrap();
    }
    until("three notices", || notices(&world).len() == 3).await;
    world.quiet().await;
    let said = notices(&world);
    assert!(said[0].contains("asked to rename"), "{said:?}");
    assert!(said[1].contains("mimi://b.example/u/bob is out"), "{said:?}");
    assert!(said[2].contains("Not done"), "{said:?}");
    let wishes = a.wishes(&uri("mimi://a.example/u/alice")).await.unwrap();
    assert_eq!(wishes.len(), 1);
    assert_eq!(wishes[0].want, Want::Rename { name: "Pub".into() });
    let wanted = a.portal_wanted(&uri(&room)).await.unwrap().unwrap();
    assert!(!wanted.members.contains_key(&bob_ghost), "out at once");

    // Alice's client does both: the removal's commit, and the new name.
    alice.client.sync().await.unwrap();
    alice
        .client
        .describe(&room, Some("Pub".into()), Some("drinks".into()))
        .await
        .unwrap();
    let wanted = a.portal_wanted(&uri(&room)).await.unwrap().unwrap();
    assert_eq!(wanted.name.as_deref(), Some("Pub"));
    assert_eq!(wanted.topic.as_deref(), Some("drinks"));

    // A room of Bob's: Alice's provider can only ask her client.
    let theirs = bob.client.create("Theirs").await.unwrap();
    bob.client
        .add(&theirs, &[uri("mimi://a.example/u/alice")])
        .await
        .unwrap();
    world.quiet().await;
    alice.client.sync().await.unwrap();
    let portal = a.portal_room(&uri(&theirs)).await.unwrap().unwrap();
    let kick = state_event(
        "$kick2",
        &portal,
        ("m.room.member", &bob_ghost),
        json!({"membership": "leave"}),
    );
    a.transaction(ctx(), "t3", vec![kick]).await.unwrap();
    until("the notice", || notices(&world).len() == 4).await;
    let wishes = a.wishes(&uri("mimi://a.example/u/alice")).await.unwrap();
    assert!(wishes.iter().any(|wish| wish.want
        == Want::Remove {
            user: bob_uri.as_str().into()
        }));
    world.restart(A).await;
    assert_eq!(
        world
            .engine(A)
            .wishes(&uri("mimi://a.example/u/alice"))
            .await
            .unwrap(),
        wishes
    );
}

/// Takes everything but one room's entries, which it holds on to.
#[derive(Default)]
struct Slow {
    holds: Mutex<Option<String>>,
    taken: Mutex<Vec<String>>,
}

#[async_trait]
impl Transport for Slow {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        while self.holds.lock().unwrap().as_deref() == Some(entry.room.as_str()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.taken.lock().unwrap().push(entry.room.clone());
        Delivery::Done
    }
}

/// A homeserver that takes its time with one room takes the others' entries meanwhile.
#[tokio::test]
async fn a_slow_room_holds_up_no_other() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    world.stop_senders(A).await;
    let mut rooms = Vec::new();
    for name in ["one", "two", "three"] {
        rooms.push(alice.client.create(name).await.unwrap());
    }
    let slow = Arc::new(Slow::default());
    *slow.holds.lock().unwrap() = Some(rooms[0].clone());
    let sender = world
        .engine(A)
        .sender(Destination::Homeserver, slow.clone(), SenderSettings::default());
    until("the others' portals", || slow.taken.lock().unwrap().len() == 2).await;
    let more = alice.client.create("four").await.unwrap();
    until("one more", || slow.taken.lock().unwrap().contains(&more)).await;
    assert!(!slow.taken.lock().unwrap().contains(&rooms[0]));
    *slow.holds.lock().unwrap() = None;
    until("the slow one", || slow.taken.lock().unwrap().contains(&rooms[0])).await;
    sender.stop().await;
}
