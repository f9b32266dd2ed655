//! Messages accepted while a node is cut off from the one that orders.

use async_trait::async_trait;
use bytes::Bytes;
use mimi_wire::codec::{Decode as _, Encode as _};
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::SubmitMessageRequest;
use room_engine::carrier::SubmissionState;
use room_engine::{FeedItem, Refusal, Submission};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Batch, Committed, MemoryStore, Scan, Space, Store as _, StoreError};
use tokio::sync::Notify;

use crate::follower::pair;
use crate::hooked::{Hook, Hooked};
use crate::world::{A, B, Person, World, ctx, domain, uri};

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

/// A node that is behind knows neither who has joined meanwhile nor which rooms there are.
#[tokio::test]
async fn what_a_node_has_not_heard_of_is_not_refused_for_good() {
    let world = World::new().await;
    world.user(A, "amy").await;
    let (mut alice, _, room) = pair(&world).await;
    alice.say(&room, "zero").await;
    world.quiet().await;
    let feed = world.engine(A).feed(&uri(&room), &uri(ALICE), 1, 500, None).await;
    let message = feed
        .unwrap()
        .entries
        .into_iter()
        .find_map(|entry| match entry.item {
            FeedItem::Message { message, .. } => Some(message),
            _ => None,
        })
        .unwrap();
    let submit = async |provider: &str, user: &str| {
        let submission = Submission {
            id: "one".to_owned(),
            message: message.clone(),
            from_portal: None,
        };
        let engine = world.engine(provider);
        engine.submit(ctx(), &uri(&room), &uri(user), submission).await
    };
    for provider in [A, B] {
        world.orders(provider, false);
    }
    // Who has joined meanwhile; and what goes to another hub is queued by the node that orders.
    let mut answers = vec![submit(A, AMY).await.map(drop), submit(B, BOB).await.map(drop)];
    world.stop(A).await;
    world.start(A, Arc::new(MemoryStore::new())).await;
    world.orders(A, false);
    answers.push(submit(A, AMY).await.map(drop));
    let request = SubmitMessageRequest::new(MlsMessage::from_bytes(&message).unwrap(), uri(BOB));
    let (engine, request) = (world.engine(A), request.unwrap().to_bytes());
    let peer = engine
        .submit_message(ctx(), &uri(&room), &domain(B), request)
        .await;
    answers.push(peer.map(drop));
    let codes: Vec<_> = answers
        .iter()
        .map(|a| a.as_ref().map_err(Refusal::code))
        .collect();
    assert_eq!(codes, [Err("unavailable"); 4]);
}

/// A store that is slow, or fails, where messages are kept that were accepted aside.
#[derive(Default)]
struct Slow {
    next: Mutex<Option<Answer>>,
    /// What was to be done is done; only the answer is missing.
    done: Notify,
    answers: Notify,
}

#[derive(Clone, Copy)]
enum Answer {
    /// When it is told to.
    Late,
    /// That it failed, and yet it has written.
    Wrong,
}

impl Slow {
    async fn answer(&self, space: Space, answer: Option<Answer>) -> Result<(), StoreError> {
        match answer.filter(|_| space == Space::PendingMessage) {
            None => Ok(()),
            Some(Answer::Late) => {
                self.done.notify_one();
                self.answers.notified().await;
                Ok(())
            }
            Some(Answer::Wrong) => Err(StoreError::Unavailable {
                retry_after: Duration::ZERO,
                why: "injected".into(),
            }),
        }
    }

    fn take(&self) -> Option<Answer> {
        self.next.lock().unwrap().take()
    }
}

#[async_trait]
impl Hook for Slow {
    async fn commit(&self, store: &MemoryStore, batch: Batch) -> Result<Committed, StoreError> {
        let aside = batch.writes().any(|(space, ..)| space == Space::PendingMessage);
        let committed = store.commit(batch).await?;
        if aside {
            self.answer(Space::PendingMessage, self.take()).await?;
        }
        Ok(committed)
    }

    async fn scan(&self, store: &MemoryStore, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let space = scan.space;
        let found = store.scan(scan).await?;
        if space == Space::PendingMessage {
            self.answer(space, self.take()).await?;
        }
        Ok(found)
    }
}

/// Alice and Amy in a room. The node is cut off, and has accepted something before, which is distributed.
async fn cut_off() -> (Arc<World>, Arc<Hooked<Slow>>, Person, Person, String) {
    let slow = Arc::<Hooked<Slow>>::default();
    let world = World::on(vec![(A, slow.clone()), (B, Arc::new(MemoryStore::new()))]).await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut amy, _) = world.user(A, "amy").await;
    let room = alice.client.create("club").await.unwrap();
    alice.client.add(&room, &[uri(AMY)]).await.unwrap();
    amy.client.sync().await.unwrap();
    world.orders(A, false);
    speak(&mut amy, &room, "zero").await;
    world.orders(A, true);
    distribute(&world).await;
    world.orders(A, false);
    (world, slow, alice, amy, room)
}

/// Amy's connection ends while what she says is written.
async fn begins_to_speak(slow: &Slow, amy: &mut Person, room: &str, text: &str) {
    *slow.next.lock().unwrap() = Some(Answer::Late);
    tokio::select! {
        sent = amy.client.send(room, text, "text/plain", Duration::ZERO) => panic!("{sent:?}"),
        () = slow.done.notified() => {}
    }
    slow.answers.notify_one();
}

/// Whoever hands over hears that there is something.
async fn is_noticed(world: &World) {
    let noticed = async {
        while !world.engine(A).has_pending() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let noticed = tokio::time::timeout(Duration::from_secs(30), noticed).await;
    assert!(noticed.is_ok(), "nobody hears of it");
}

/// Amy asks again, is told that it is accepted, and so it is.
async fn is_heard(world: &World, mut alice: Person, amy: Person, room: &str, said: &[&str]) {
    let mut engine = amy.client.into_engine();
    let waiting = engine.outgoing(room).unwrap();
    assert_eq!(waiting.len(), 1);
    let (repeated, _) = engine.submission(room, &waiting[0]).unwrap();
    let submission = Submission {
        id: repeated.id,
        message: repeated.message.0,
        from_portal: None,
    };
    let (hub, room, user) = (world.engine(A), uri(room), uri(AMY));
    let again = hub.submit(ctx(), &room, &user, submission).await.unwrap();
    assert!(matches!(again, SubmissionState::Accepted { .. }), "{again:?}");
    world.orders(A, true);
    distribute(world).await;
    assert_eq!(texts(&alice.texts(room.as_str()).await), said);
}

#[tokio::test]
async fn what_was_written_for_nobody_is_distributed() {
    let (world, slow, alice, mut amy, room) = cut_off().await;
    begins_to_speak(&slow, &mut amy, &room, "one").await;
    is_noticed(&world).await;
    is_heard(&world, alice, amy, &room, &["zero", "one"]).await;
}

#[tokio::test]
async fn what_was_written_for_nobody_keeps_its_place() {
    let (world, slow, alice, mut amy, room) = cut_off().await;
    begins_to_speak(&slow, &mut amy, &room, "one").await;
    speak(&mut amy, &room, "two").await;
    is_heard(&world, alice, amy, &room, &["zero", "one", "two"]).await;
}

#[tokio::test]
async fn what_was_written_in_spite_of_an_error_keeps_its_place() {
    let (world, slow, alice, mut amy, room) = cut_off().await;
    *slow.next.lock().unwrap() = Some(Answer::Wrong);
    let sent = amy.client.send(&room, "one", "text/plain", Duration::ZERO).await;
    assert!(sent.is_err(), "{sent:?}");
    is_noticed(&world).await;
    speak(&mut amy, &room, "two").await;
    is_heard(&world, alice, amy, &room, &["zero", "one", "two"]).await;
}

/// Who asks what waits may go away, or be told that it can't be read now: it waits all the same.
#[tokio::test]
async fn looking_at_what_waits_forgets_nothing() {
    let (world, slow, _, mut amy, room) = cut_off().await;
    speak(&mut amy, &room, "one").await;
    let engine = world.engine(A);
    *slow.next.lock().unwrap() = Some(Answer::Late);
    tokio::select! {
        pending = engine.pending() => panic!("{pending:?}"),
        () = slow.done.notified() => {}
    }
    assert!(engine.has_pending());
    *slow.next.lock().unwrap() = Some(Answer::Wrong);
    assert!(engine.pending().await.is_err());
    assert!(engine.has_pending());
}
