//! The whole story, in one process.

use mimi_wire::Decode as _;
use mimi_wire::protocol::AbuseReport;
use mls_client::NewRoom;
use mls_client::engine::Sent;
use mls_client::state::What;
use room_engine::Actor;
use std::sync::Arc;
use std::time::Duration;

use crate::portal::kick;
use crate::world::{A, B, Person, World, ctx, domain, uri};

fn said(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(who, what)| ((*who).to_owned(), (*what).to_owned()))
        .collect()
}

const ALICE: &str = "mimi://a.example/u/alice";
const BOB: &str = "mimi://b.example/u/bob";
const CAROL: &str = "mimi://b.example/u/carol";

/// Alice founds a room, Bob is added over MIMI, both write; Bob's second device comes by external commit, Bob adds
/// Carol through the hub, Bob leaves and another client's commit takes him out. Providers restart all along.
#[tokio::test]
async fn from_founding_to_leaving() {
    tell(1).await;
}

#[tokio::test]
async fn from_founding_to_leaving_with_p256() {
    tell(2).await;
}

#[tokio::test]
async fn from_founding_to_leaving_with_chacha() {
    tell(3).await;
}

async fn tell(suite: u16) {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, secret) = world.user(B, "bob").await;
    let (mut carol, _) = world.user(B, "carol").await;

    let new = NewRoom {
        suite: Some(suite),
        ..NewRoom::default()
    };
    let room = alice.client.create_as("Clubhouse", new).await.unwrap();
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    alice.say(&room, "hello Bob").await;
    world.quiet().await;
    assert_eq!(bob.texts(&room).await, said(&[(ALICE, "hello Bob")]));

    world.restart(A).await;
    reported(&world, &bob, &room).await;
    bob.say(&room, "hello Alice").await;
    world.quiet().await;
    let both = said(&[(ALICE, "hello Bob"), (BOB, "hello Alice")]);
    assert_eq!(alice.texts(&room).await, both);
    assert_eq!(bob.texts(&room).await, both);

    let mut second = world.device(B, "bob", "d2", &secret).await;
    second.client.refresh().await.unwrap();
    second.client.join(&room).await.unwrap();
    world.restart(B).await;
    second.say(&room, "from my other device").await;
    world.quiet().await;
    assert_eq!(alice.texts(&room).await.last().unwrap().1, "from my other device");

    bob.client.sync().await.unwrap();
    bob.client.add(&room, &[uri(CAROL)]).await.unwrap();
    world.quiet().await;
    carol.client.sync().await.unwrap();
    carol.say(&room, "hello all").await;
    world.quiet().await;
    for person in [&mut alice, &mut bob, &mut second] {
        assert_eq!(
            person.texts(&room).await.last().unwrap(),
            &(CAROL.to_owned(), "hello all".to_owned())
        );
    }

    bob.client.leave(&room).await.unwrap();
    world.quiet().await;
    // Whoever of the others reads first commits.
    carol.client.sync().await.unwrap();
    world.quiet().await;
    alice.client.sync().await.unwrap();
    let view = world.engine(A).room(&uri(&room)).await.unwrap().unwrap();
    let users: Vec<String> = view
        .participants
        .iter()
        .map(|(user, _)| user.to_string())
        .collect();
    assert_eq!(users, [ALICE, CAROL]);
    alice.say(&room, "Bob has left").await;
    world.quiet().await;
    assert_eq!(carol.texts(&room).await.last().unwrap().1, "Bob has left");
    // Bob reads no more of it.
    let before = bob.texts(&room).await;
    assert!(before.iter().all(|(_, text)| text != "Bob has left"));
    assert!(!world.engine(B).rooms_of(&uri(BOB)).await.unwrap()[0].joined);

    removed_by_the_hub(&world, &mut alice, &mut carol, &room).await;
}

/// Bob's report of what he has read is proved by its frank at the hub.
async fn reported(world: &Arc<World>, bob: &Person, room: &str) {
    let id = bob.client.engine().room(room).unwrap().history.iter();
    let id = id.rev().find_map(|entry| match &entry.what {
        What::Message(message) => Some(hex::encode(&message.message_id.0)),
        _ => None,
    });
    let report = bob
        .client
        .engine()
        .abuse_report(room, &[id.unwrap()], "he insults", false)
        .unwrap();
    let named = AbuseReport::from_bytes(&report).unwrap();
    let suite = named.messages[0].frank.franking_signature_ciphersuite.0;
    assert_eq!(
        world.engine(A).room(&uri(room)).await.unwrap().unwrap().suite,
        Some(suite)
    );
    let hub = world.engine(A);
    let peer = Actor::Peer(domain(B));
    hub.report_abuse(ctx(), &uri(room), peer, report).await.unwrap();
    let kept = hub.abuse_reports(10).await.unwrap();
    assert_eq!(kept[0].messages[0].fault, None);
}

/// A kick in the hub's portal takes Carol out at once, over a restart, and Alice's client commits it.
async fn removed_by_the_hub(world: &Arc<World>, alice: &mut Person, carol: &mut Person, room: &str) {
    kick(world, room, CAROL).await;
    world.quiet().await;
    let participants = || async {
        let view = world.engine(A).room(&uri(room)).await.unwrap().unwrap();
        view.participants.len()
    };
    world.restart(A).await;
    let wait = Duration::from_secs(20);
    let text = "text/plain;charset=utf-8";
    let sent = carol.client.send(room, "still here?", text, wait).await;
    assert!(!matches!(sent, Ok((_, Sent::Accepted(_), _))), "{sent:?}");
    alice.client.sync().await.unwrap();
    world.quiet().await;
    assert_eq!(participants().await, 1);
    alice.say(room, "alone").await;
    assert_eq!(alice.texts(room).await.last().unwrap().1, "alone");
}

/// Everybody writes at once, deliveries are repeated, providers restart; each message arrives once, in one order.
#[tokio::test]
async fn everything_once_and_in_one_order() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let room = alice.client.create("Busy").await.unwrap();
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    world.quiet().await;
    bob.client.sync().await.unwrap();
    for round in 0..10 {
        *world.forget_deliveries.lock().unwrap() = 3;
        let (left, right) = (format!("a{round}"), format!("b{round}"));
        tokio::join!(alice.say(&room, &left), bob.say(&room, &right));
        if round % 3 == 0 {
            world.restart(if round % 2 == 0 { A } else { B }).await;
        }
    }
    world.quiet().await;
    let (seen_by_alice, seen_by_bob) = (alice.texts(&room).await, bob.texts(&room).await);
    assert_eq!(seen_by_alice, seen_by_bob);
    let mut all: Vec<&str> = seen_by_alice.iter().map(|(_, text)| text.as_str()).collect();
    all.sort_unstable();
    let mut expected: Vec<String> = (0..10).flat_map(|i| [format!("a{i}"), format!("b{i}")]).collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
}
