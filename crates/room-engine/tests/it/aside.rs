//! Messages accepted while a node is cut off from the one that orders.

use room_engine::FeedItem;
use std::time::Duration;

use crate::world::{A, B, Person, World, uri};

const ALICE: &str = "mimi://a.example/u/alice";
const AMY: &str = "mimi://a.example/u/amy";
const BOB: &str = "mimi://b.example/u/bob";

fn texts(read: &[(String, String)]) -> Vec<&str> {
    read.iter().map(|(_, text)| text.as_str()).collect()
}

/// What the node that orders does with what the other one accepted, each message twice.
async fn distribute(world: &World) {
    let engine = world.engine(A);
    loop {
        let pending = engine.pending().await.unwrap();
        if pending.is_empty() {
            assert!(!engine.has_pending());
            return;
        }
        assert!(engine.has_pending());
        for message in &pending {
            engine.take_in(&message.record).await.unwrap();
            engine.take_in(&message.record).await.unwrap();
            engine.forget_pending(message).await.unwrap();
        }
    }
}

async fn speak(person: &mut Person, room: &str, text: &str) {
    let wait = Duration::ZERO;
    let sent = person
        .client
        .send(room, text, "text/plain;charset=utf-8", wait)
        .await;
    assert!(
        matches!(sent, Ok((_, mls_client::engine::Sent::Accepted(_), _))),
        "{sent:?}"
    );
}

#[tokio::test]
async fn what_was_accepted_while_cut_off_reaches_everybody_under_the_time_that_was_franked() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut amy, _) = world.user(A, "amy").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let room = alice.client.create("club").await.unwrap();
    alice.client.add(&room, &[uri(AMY), uri(BOB)]).await.unwrap();
    alice.say(&room, "zero").await;
    world.quiet().await;
    amy.client.sync().await.unwrap();
    bob.client.sync().await.unwrap();

    world.orders(A, false);
    speak(&mut amy, &room, "one").await;
    // Its provider hands it to the hub, which accepts it aside as well.
    bob.insist(&room, "two").await;
    // The node stays cut off for a while, and restarts meanwhile.
    world.clock.forward(Duration::from_secs(90));
    world.restart(A).await;
    world.orders(A, false);
    speak(&mut amy, &room, "three").await;
    world.orders(A, true);
    alice.say(&room, "four").await;
    distribute(&world).await;
    world.quiet().await;

    for person in [&mut alice, &mut amy, &mut bob] {
        assert_eq!(
            texts(&person.texts(&room).await),
            ["zero", "four", "one", "two", "three"]
        );
    }
}

/// A follower whose answer got lost asks again, and the node that orders says no, so that its client encrypts anew. Both
/// are distributed, since an acceptance is final; everybody shows the message once, in one place.
#[tokio::test]
async fn what_was_refused_and_accepted_is_shown_once() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    world.user(A, "amy").await;
    let room = alice.client.create("club").await.unwrap();
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    world.quiet().await;
    bob.client.sync().await.unwrap();
    world.orders(A, false);
    // Its answer gets lost.
    *world.lost_answers.lock().unwrap() = true;
    let wait = Duration::ZERO;
    let sent = bob.client.send(&room, "once", "text/plain", wait).await;
    assert!(
        matches!(sent, Ok((_, mls_client::engine::Sent::Waiting { .. }, _))),
        "{sent:?}"
    );
    while world.engine(A).pending().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.stop_senders(B).await;
    world.orders(A, true);
    alice.client.add(&room, &[uri(AMY)]).await.unwrap();
    alice.client.remove(&room, &[uri(AMY)]).await.unwrap();
    *world.lost_answers.lock().unwrap() = false;
    world.restart(B).await;
    // Refused, and encrypted anew.
    while !bob.client.engine().outgoing(&room).unwrap().is_empty() {
        bob.client.sync().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    distribute(&world).await;
    bob.say(&room, "twice").await;
    world.quiet().await;
    for person in [&mut alice, &mut bob] {
        assert_eq!(texts(&person.texts(&room).await), ["once", "twice"]);
    }
    let feed = world.engine(A).feed(&uri(&room), &uri(ALICE), 1, 500, None).await;
    let messages = feed.unwrap().entries.into_iter();
    let messages = messages.filter(|entry| matches!(entry.item, FeedItem::Message { .. }));
    assert_eq!(messages.count(), 3);
}

#[tokio::test]
async fn messages_of_one_instant_keep_their_order() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut amy, _) = world.user(A, "amy").await;
    let room = alice.client.create("club").await.unwrap();
    alice.client.add(&room, &[uri(AMY)]).await.unwrap();
    // The room's newest event is from a clock that was ahead: all that follow are accepted at its time.
    world.clock.forward(Duration::from_mins(10));
    alice.say(&room, "0").await;
    world.clock.back();
    amy.client.sync().await.unwrap();

    world.orders(A, false);
    let mut said = vec!["0".to_owned()];
    for n in 1..=12 {
        let text = n.to_string();
        speak(&mut amy, &room, &text).await;
        said.push(text);
    }
    world.orders(A, true);
    distribute(&world).await;
    for person in [&mut alice, &mut amy] {
        assert_eq!(texts(&person.texts(&room).await), said);
    }
}
