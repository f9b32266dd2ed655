//! Feeds that are late, out of order, or lie.

use crate::hub::Hub;
use crate::person::Person;
use crate::story::uri;
use mls_client::api::{B64, FeedEntry, FeedItem, LogPage};
use mls_client::state::Membership;
use mls_client::transport::Transport as _;
use std::time::Duration;

/// Alice has said "one" in epoch 1 and "two" in epoch 2; Bob has read nothing but his Welcome.
async fn unread(hub: &Hub) -> (Person, Person, String, Vec<FeedEntry>) {
    let mut alice = Person::new(hub, "alice@a.example", "one");
    let mut bob = Person::new(hub, "bob@b.example", "one");
    let mut carol = Person::new(hub, "carol@b.example", "one");
    bob.sync().await;
    carol.sync().await;
    let room = alice.client().create("Feed").await.unwrap();
    alice.client().add(&room, &[uri("bob@b.example")]).await.unwrap();
    bob.sync().await;
    alice.say(&room, "one").await.unwrap();
    alice
        .client()
        .add(&room, &[uri("carol@b.example")])
        .await
        .unwrap();
    alice.say(&room, "two").await.unwrap();
    let from = bob.client().engine().room(&room).unwrap().next;
    let page = bob.line.log(&room, from, 100, Duration::ZERO).await.unwrap();
    assert_eq!(page.entries.len(), 3);
    (alice, bob, room, page.entries)
}

fn page(entries: Vec<FeedEntry>) -> LogPage {
    let next = entries.iter().map(|e| e.pos + 1).max().unwrap_or(0);
    LogPage { entries, next }
}

#[tokio::test]
async fn what_is_of_an_epoch_to_come_waits_for_its_commit() {
    let hub = Hub::new();
    let (_, mut bob, room, mut entries) = unread(&hub).await;
    let [one, commit, two] = [entries.remove(0), entries.remove(0), entries.remove(0)];
    // The same entries at places in another order: message of epoch 2, then of epoch 1, then the commit.
    let first = one.pos;
    let mut engine = bob.engine();
    engine.feed(&room, &page(vec![at(two, first)])).unwrap();
    assert_eq!(engine.room(&room).unwrap().future.len(), 1);
    bob.put_back(engine);
    bob.restart();
    let mut engine = bob.engine();
    let shown = engine
        .feed(&room, &page(vec![at(commit, first + 2), at(one, first + 1)]))
        .unwrap();
    assert_eq!(shown.len(), 3);
    assert!(engine.room(&room).unwrap().future.is_empty());
    bob.put_back(engine);
    let mut texts = bob.texts(&room);
    texts.sort();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(bob.problems(&room), Vec::<String>::new());
}

fn at(mut entry: FeedEntry, pos: u64) -> FeedEntry {
    entry.pos = pos;
    entry
}

/// Bob is taken out by a commit that overtakes the message before it, and both overtake the commit that leads to them.
#[tokio::test]
async fn what_waits_is_read_before_the_commit_that_ends_its_epoch() {
    let hub = Hub::new();
    let (mut alice, mut bob, room, mut entries) = unread(&hub).await;
    alice
        .client()
        .remove(&room, &[uri("bob@b.example")])
        .await
        .unwrap();
    let all = bob.line.log(&room, entries[0].pos, 100, Duration::ZERO).await;
    let removal = all.unwrap().entries.pop().unwrap();
    let [one, commit, two] = [entries.remove(0), entries.remove(0), entries.remove(0)];
    let first = one.pos;
    let mut engine = bob.engine();
    let late = vec![at(removal, first), at(two, first + 1), at(commit, first + 2)];
    engine.feed(&room, &page(late)).unwrap();
    assert_eq!(engine.room(&room).unwrap().membership, Membership::Left);
    bob.put_back(engine);
    assert_eq!(bob.texts(&room), ["two"]);
    assert_eq!(bob.problems(&room), Vec::<String>::new());
}

/// Bob was taken out and comes back in; what is said then overtakes his Welcome.
#[tokio::test]
async fn what_overtakes_the_second_welcome_is_read() {
    let hub = Hub::new();
    let (mut alice, mut bob, room, _) = unread(&hub).await;
    let whom = [uri("bob@b.example")];
    alice.client().remove(&room, &whom).await.unwrap();
    bob.sync().await;
    assert_eq!(
        bob.client().engine().room(&room).unwrap().membership,
        Membership::Left
    );
    let from = bob.client().engine().room(&room).unwrap().next;
    alice.client().add(&room, &whom).await.unwrap();
    alice.say(&room, "again").await.unwrap();
    let log = bob.line.log(&room, from, 100, Duration::ZERO).await.unwrap();
    let mut entries = log.entries;
    let again = entries.pop().unwrap();
    let late = entries.iter().map(|entry| at(entry.clone(), entry.pos + 1));
    let moved = [at(again, from)].into_iter().chain(late).collect();
    let mut engine = bob.engine();
    engine.feed(&room, &page(moved)).unwrap();
    bob.put_back(engine);
    assert_eq!(bob.texts(&room), ["one", "two", "again"]);
    assert_eq!(bob.problems(&room), Vec::<String>::new());
}

#[tokio::test]
async fn a_page_read_twice_shows_nothing_twice() {
    let hub = Hub::new();
    let (_, mut bob, room, entries) = unread(&hub).await;
    let mut engine = bob.engine();
    assert_eq!(engine.feed(&room, &page(entries.clone())).unwrap().len(), 3);
    assert_eq!(engine.feed(&room, &page(entries)).unwrap().len(), 0);
    bob.put_back(engine);
    assert_eq!(bob.texts(&room), ["one", "two"]);
}

/// Feeds Bob the first message changed by `lie`, then the rest, and returns the reason it was refused for.
async fn lied_to(lie: impl FnOnce(&Hub, &str, &mut FeedEntry)) -> String {
    let hub = Hub::new();
    let (_, mut bob, room, mut entries) = unread(&hub).await;
    lie(&hub, &room, &mut entries[0]);
    let mut engine = bob.engine();
    engine.feed(&room, &page(entries)).unwrap();
    bob.put_back(engine);
    assert_eq!(
        bob.texts(&room),
        ["two"],
        "what follows a lie is read all the same"
    );
    let problems = bob.problems(&room);
    assert_eq!(problems.len(), 1);
    problems[0].clone()
}

fn octets(entry: &FeedEntry) -> B64 {
    let FeedItem::Message { message, .. } = &entry.item else {
        panic!("not a message")
    };
    message.clone()
}

fn set_frank(entry: &mut FeedEntry, new: Option<Vec<u8>>) {
    let FeedItem::Message { frank, .. } = &mut entry.item else {
        panic!("not a message")
    };
    *frank = new.map(B64);
}

#[tokio::test]
async fn a_message_without_a_frank_is_refused() {
    let reason = lied_to(|_, _, entry| set_frank(entry, None)).await;
    assert!(reason.contains("didn't frank"), "{reason}");
}

#[tokio::test]
async fn a_frank_for_another_sender_is_refused() {
    let lie = |hub: &Hub, room: &str, entry: &mut FeedEntry| {
        let frank = hub
            .world()
            .frank("mimi://b.example/u/bob", room, entry.at, &octets(entry));
        set_frank(entry, Some(frank));
    };
    assert!(lied_to(lie).await.contains("not the hub's"));
}

#[tokio::test]
async fn a_frank_of_another_time_is_refused() {
    assert!(
        lied_to(|_, _, entry| entry.at += 1)
            .await
            .contains("not the hub's")
    );
}

#[tokio::test]
async fn a_frank_of_someone_else_than_the_hub_is_refused() {
    let lie = |_: &Hub, room: &str, entry: &mut FeedEntry| {
        let frank = Hub::new()
            .world()
            .frank("mimi://a.example/u/alice", room, entry.at, &octets(entry));
        set_frank(entry, Some(frank));
    };
    assert!(lied_to(lie).await.contains("not the hub's"));
}

#[tokio::test]
async fn a_frank_that_is_none_is_refused() {
    assert!(
        lied_to(|_, _, entry| set_frank(entry, Some(vec![1, 2, 3])))
            .await
            .contains("malformed")
    );
}

#[tokio::test]
async fn a_tampered_message_is_reported_and_passed_over() {
    let lie = |_: &Hub, _: &str, entry: &mut FeedEntry| {
        let FeedItem::Message { message, .. } = &mut entry.item else {
            panic!("not a message")
        };
        *message.0.last_mut().unwrap() ^= 1;
    };
    assert!(lied_to(lie).await.contains("can't be decrypted"));
    let garbage = |_: &Hub, _: &str, entry: &mut FeedEntry| {
        let FeedItem::Message { message, .. } = &mut entry.item else {
            panic!("not a message")
        };
        message.0 = vec![0xff; 20];
    };
    assert!(lied_to(garbage).await.contains("malformed"));
}

#[tokio::test]
async fn a_tampered_commit_stops_the_room_until_the_true_one_comes() {
    let hub = Hub::new();
    let (_, mut bob, room, entries) = unread(&hub).await;
    let mut forged = entries[1].clone();
    let FeedItem::Commit { message, .. } = &mut forged.item else {
        panic!("not a commit")
    };
    *message.0.last_mut().unwrap() ^= 1;
    forged.pos = entries[0].pos;
    let mut engine = bob.engine();
    engine.feed(&room, &page(vec![forged])).unwrap();
    assert!(matches!(
        engine.room(&room).unwrap().membership,
        Membership::Broken { epoch: 1, .. }
    ));
    assert!(engine.compose(&room, "hm", "text/plain").is_err());
    bob.put_back(engine);
    bob.restart();
    bob.sync().await;
    assert_eq!(
        bob.client().engine().room(&room).unwrap().membership,
        Membership::Member
    );
    assert_eq!(
        bob.texts(&room),
        ["two"],
        "the first message's place was taken by the forgery"
    );
}

#[tokio::test]
async fn a_room_that_can_not_be_followed_is_joined_anew() {
    let hub = Hub::new();
    let (mut alice, mut bob, room, mut entries) = unread(&hub).await;
    let FeedItem::Commit { message, .. } = &mut entries[1].item else {
        panic!("not a commit")
    };
    *message.0.last_mut().unwrap() ^= 1;
    let mut engine = bob.engine();
    engine.feed(&room, &page(entries)).unwrap();
    assert!(matches!(
        engine.room(&room).unwrap().membership,
        Membership::Broken { .. }
    ));
    bob.put_back(engine);
    bob.client().join(&room).await.unwrap();
    assert_eq!(bob.clients(&room).len(), 3, "the old leaf was replaced");
    bob.say(&room, "here again").await.unwrap();
    alice.sync().await;
    assert_eq!(alice.texts(&room).last().unwrap(), "here again");
}
