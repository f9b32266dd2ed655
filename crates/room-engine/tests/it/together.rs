//! Messages that wait together are judged one by one, written in one batch and sent in one body.

use futures_util::future::join_all;
use mimi_wire::components::SafeAad;
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{SubmitMessageRequest, SubmitMessageResponse};
use mimi_wire::{Encode as _, MimiUri, Opaque};
use room_engine::{FeedItem, RoomView};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::faults::{Failing, failing};
use crate::hooked::Hooked;
use crate::world::{A, B, World, ctx, domain, uri};

const BOB: &str = "mimi://b.example/u/bob";

/// A room of alice's with bob in it, and the stores of both providers.
async fn room() -> (Arc<World>, MimiUri, Arc<Hooked<Failing>>, Arc<Hooked<Failing>>) {
    let (store_a, store_b) = (failing(), failing());
    let world = World::on(vec![(A, store_a.clone()), (B, store_b.clone())]).await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let room = alice.client.create("Together").await.unwrap();
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    world.quiet().await;
    bob.client.sync().await.unwrap();
    world.quiet().await;
    (world, uri(&room), store_a, store_b)
}

/// A message that only its receivers could tell from a real one.
fn message(room: &RoomView, number: u16) -> Vec<u8> {
    let mut octets = vec![0, 1, 0, 2];
    Opaque::from(room.group_id.clone().unwrap()).encode(&mut octets);
    octets.extend(room.epoch.to_be_bytes());
    octets.push(1);
    Opaque::from(SafeAad::new().to_bytes()).encode(&mut octets);
    Opaque::from(vec![0; 28]).encode(&mut octets);
    Opaque::from([&number.to_be_bytes()[..], &[7; 600]].concat()).encode(&mut octets);
    octets
}

fn request(octets: &[u8]) -> Vec<u8> {
    use mimi_wire::Decode as _;
    let message = MlsMessage::from_bytes(octets).unwrap();
    SubmitMessageRequest::new(message, uri(BOB)).unwrap().to_bytes()
}

/// The messages in bob's feed from a position on.
async fn feed(world: &World, room: &MimiUri, mut next: u64) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    loop {
        let page = world
            .engine(B)
            .feed(room, &uri(BOB), next, 500, None)
            .await
            .unwrap();
        if page.entries.is_empty() {
            return messages;
        }
        next = page.next;
        messages.extend(page.entries.into_iter().filter_map(|entry| match entry.item {
            FeedItem::Message { message, .. } => Some(message),
            _ => None,
        }));
    }
}

#[tokio::test]
async fn what_waits_together_is_one_batch_and_one_body() {
    let (world, room, store_a, store_b) = room().await;
    let view = world.engine(A).room(&room).await.unwrap().unwrap();
    let first = world.engine(B).room(&room).await.unwrap().unwrap().feed_next;
    let messages: Vec<Vec<u8>> = (0..40).map(|number| message(&view, number)).collect();
    let (before_a, before_b) = (store_a.commits(), store_b.commits());
    let engine = world.engine(A);
    // One of them is repeated, one is of another epoch.
    let mut stale = view.clone();
    stale.epoch += 7;
    let stale = message(&stale, 99);
    let sent = messages.iter().chain([&messages[3], &stale]);
    let answers = join_all(sent.map(|message| {
        let (engine, room, request) = (engine.clone(), room.clone(), request(message));
        async move {
            let peer = domain(B);
            engine.submit_message(ctx(), &room, &peer, request).await.unwrap()
        }
    }))
    .await;
    assert_eq!(answers[40], answers[3], "a repeat gets the first outcome");
    assert!(!matches!(answers[41], SubmitMessageResponse::Accepted { .. }));
    for answer in &answers[..40] {
        assert!(matches!(answer, SubmitMessageResponse::Accepted { .. }));
    }
    world.quiet().await;
    assert_eq!(feed(&world, &room, first).await, messages);
    // The batch itself, and what the sender notes; at the follower the body.
    assert!(
        store_a.commits() - before_a <= 4,
        "{}",
        store_a.commits() - before_a
    );
    assert!(
        store_b.commits() - before_b <= 2,
        "{}",
        store_b.commits() - before_b
    );
}

#[tokio::test]
async fn a_batch_that_fails_is_decided_again() {
    for percent in [10, 30, 50] {
        let (world, room, store_a, store_b) = room().await;
        let view = world.engine(A).room(&room).await.unwrap().unwrap();
        let first = world.engine(B).room(&room).await.unwrap().unwrap().feed_next;
        let messages: Vec<Vec<u8>> = (0..100).map(|number| message(&view, number)).collect();
        store_a.percent.store(percent, Ordering::Relaxed);
        store_b.percent.store(percent, Ordering::Relaxed);
        let engine = world.engine(A);
        join_all(messages.iter().map(|message| {
            let (engine, room, request) = (engine.clone(), room.clone(), request(message));
            async move {
                // Who is told that it failed asks again with the same octets.
                while engine
                    .submit_message(ctx(), &room, &domain(B), request.clone())
                    .await
                    .is_err()
                {}
            }
        }))
        .await;
        store_a.percent.store(0, Ordering::Relaxed);
        store_b.percent.store(0, Ordering::Relaxed);
        world.quiet().await;
        let mut arrived = feed(&world, &room, first).await;
        arrived.sort();
        let mut expected = messages;
        expected.sort();
        assert_eq!(arrived.len(), expected.len(), "{percent} of 100 commits fail");
        assert_eq!(arrived, expected, "{percent} of 100 commits fail");
    }
}
