//! A follower's intake: what the hub sends in any order, twice, or not at all.

use async_trait::async_trait;
use mimi_wire::protocol::FanoutMessage;
use room_engine::outbox::{
    Delivery, Destination, OutboxBody, OutboxEntry, Sender, SenderSettings, Transport,
};
use room_engine::{FeedItem, Refusal, UpdateFate};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{A, B, Person, World, ctx, domain, uri};

const BOB: &str = "mimi://b.example/u/bob";

/// Takes everything and keeps it.
#[derive(Clone, Default)]
pub(crate) struct Keep(Arc<Mutex<Vec<Vec<u8>>>>);

#[async_trait]
impl Transport for Keep {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        assert_eq!(entry.body, OutboxBody::Notify);
        self.0.lock().unwrap().push(entry.octets.0.clone());
        Delivery::Done
    }
}

/// Alice at the hub, Bob at the follower, both in a room.
pub(crate) async fn pair(world: &Arc<World>) -> (Person, Person, String) {
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let room = alice.client.create("club").await.unwrap();
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    world.quiet().await;
    bob.client.sync().await.unwrap();
    (alice, bob, room)
}

/// The same, and what the hub sends from now on is kept.
pub(crate) async fn two(world: &Arc<World>) -> (Person, Person, String, Keep, Sender) {
    let (mut alice, mut bob, room) = pair(world).await;
    alice.say(&room, "zero").await;
    world.quiet().await;
    bob.client.sync().await.unwrap();
    world.stop_senders(A).await;
    let keep = Keep::default();
    let settings = SenderSettings::default();
    let to = Destination::Provider(domain(B));
    let sender = world.engine(A).sender(to, Arc::new(keep.clone()), settings);
    (alice, bob, room, keep, sender)
}

/// What the hub has sent, once it is so much.
pub(crate) async fn sent(keep: &Keep, count: usize) -> Vec<Vec<u8>> {
    for _ in 0..1000 {
        let sent = keep.0.lock().unwrap().clone();
        if sent.len() >= count {
            assert_eq!(sent.len(), count);
            return sent;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the hub never sent {count}");
}

pub(crate) async fn notify(world: &World, room: &str, body: &[u8]) -> Result<(), Refusal> {
    world
        .engine(B)
        .notify(ctx(), &uri(room), &domain(A), body.to_vec())
        .await
}

pub(crate) fn texts(read: &[(String, String)]) -> Vec<&str> {
    read.iter().map(|(_, text)| text.as_str()).collect()
}

#[tokio::test]
async fn what_overtakes_is_turned_away_until_its_turn_and_repeats_count_once() {
    let world = World::new().await;
    let (mut alice, mut bob, room, keep, _sender) = two(&world).await;
    world.user(A, "carol").await;
    world.user(A, "dave").await;
    alice.say(&room, "one").await;
    alice
        .client
        .add(&room, &[uri("mimi://a.example/u/carol")])
        .await
        .unwrap();
    alice.say(&room, "two").await;
    alice
        .client
        .add(&room, &[uri("mimi://a.example/u/dave")])
        .await
        .unwrap();
    alice.say(&room, "three").await;
    let sent = sent(&keep, 5).await;
    // Backwards, again and again, each twice: what is ahead is turned away and comes back.
    let mut waiting: Vec<&Vec<u8>> = sent.iter().rev().collect();
    let mut rounds = 0;
    while !waiting.is_empty() {
        rounds += 1;
        assert!(rounds < 10);
        let mut again = Vec::new();
        for body in waiting {
            match notify(&world, &room, body).await {
                Ok(()) => notify(&world, &room, body).await.unwrap(),
                Err(Refusal::Unavailable { .. }) => again.push(body),
                Err(other) => panic!("{other}"),
            }
        }
        waiting = again;
    }
    assert!(rounds > 1, "something was turned away");
    let read = bob.texts(&room).await;
    assert_eq!(texts(&read), ["zero", "one", "two", "three"]);
    // Restarted, the same bodies are still known.
    world.restart(B).await;
    for body in &sent {
        notify(&world, &room, body).await.unwrap();
    }
    assert_eq!(bob.texts(&room).await.len(), 4);
}

#[tokio::test]
async fn what_never_comes_holds_up_nothing_for_ever() {
    let world = World::new().await;
    let (mut alice, bob, room, keep, _sender) = two(&world).await;
    world.user(A, "carol").await;
    alice
        .client
        .add(&room, &[uri("mimi://a.example/u/carol")])
        .await
        .unwrap();
    alice.say(&room, "one").await;
    let sent = sent(&keep, 2).await;
    assert!(matches!(
        notify(&world, &room, &sent[1]).await,
        Err(Refusal::Unavailable { .. })
    ));
    world.clock.forward(Duration::from_secs(61));
    notify(&world, &room, &sent[1]).await.unwrap();
    // And what comes late after all is kept as well.
    notify(&world, &room, &sent[0]).await.unwrap();
    let view = world.engine(B).room(&uri(&room)).await.unwrap().unwrap();
    assert_eq!(view.epoch, 2);
    drop(bob);
}

/// Commits in Bob's feed.
async fn commits(world: &World, room: &str) -> usize {
    let page = world
        .engine(B)
        .feed(&uri(room), &uri(BOB), 1, 500, None)
        .await
        .unwrap();
    page.entries
        .iter()
        .filter(|entry| matches!(entry.item, FeedItem::Commit { .. }))
        .count()
}

#[tokio::test]
async fn an_own_commit_that_the_hub_never_sends_back_takes_its_place() {
    let world = World::new().await;
    let (mut alice, mut bob, room, keep, _sender) = two(&world).await;
    world.user(B, "carl").await;
    // Bob's own change: accepted by the hub, and sent back to nobody.
    let carl = uri("mimi://b.example/u/carl");
    let _ = bob.client.add(&room, &[carl]).await;
    let sent = sent(&keep, 2).await;
    let is_commit = |body: &&Vec<u8>| {
        FanoutMessage::decode_all(body).unwrap()[0]
            .message()
            .welcome()
            .is_none()
    };
    let commit = sent.iter().find(is_commit).unwrap();
    let before = commits(&world, &room).await;
    alice.client.sync().await.unwrap();
    alice.say(&room, "after").await;
    let all = self::sent(&keep, 3).await;
    notify(&world, &room, &all[2]).await.unwrap();
    assert_eq!(commits(&world, &room).await, before + 1);
    let read = bob.texts(&room).await;
    assert_eq!(texts(&read), ["zero", "after"]);
    // It comes back after all: known.
    notify(&world, &room, commit).await.unwrap();
    assert_eq!(commits(&world, &room).await, before + 1);
}

#[tokio::test]
async fn an_update_of_unknown_outcome_is_found_in_what_the_hub_sends() {
    let world = World::new().await;
    let (_alice, mut bob, room, keep, _sender) = two(&world).await;
    world.user(B, "carl").await;
    bob.client
        .add(&room, &[uri("mimi://b.example/u/carl")])
        .await
        .unwrap();
    let lost = world.bundles.lock().unwrap().last().unwrap().clone();
    let fate = |wait| {
        let (engine, bundle, room) = (world.engine(B), lost.clone(), uri(&room));
        async move { engine.update_fate(&room, &bundle, wait).await.unwrap() }
    };
    // The hub has it, the answer is lost, and nothing has come back yet.
    assert_eq!(fate(Duration::ZERO).await, UpdateFate::Unknown);
    let sent = sent(&keep, 2).await;
    let looked = tokio::spawn(fate(Duration::from_secs(30)));
    for body in &sent {
        notify(&world, &room, body).await.unwrap();
    }
    assert!(matches!(looked.await.unwrap(), UpdateFate::Accepted { .. }));
}
