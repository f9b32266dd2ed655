//! Races: several do something at the same time, or somebody is away, late or wrong about the time. Whatever comes of
//! it, all have the same room afterwards.

use mimi_wire::protocol::FanoutMessage;
use mls_client::ClientError;
use room_engine::{FeedItem, Refusal};
use std::time::Duration;

use crate::follower::{notify, pair, sent, texts, two};
use crate::world::{A, B, Person, World, uri};

const ALICE: &str = "mimi://a.example/u/alice";
const BOB: &str = "mimi://b.example/u/bob";
const CAROL: &str = "mimi://b.example/u/carol";

async fn participants(world: &World, provider: &str, room: &str) -> Vec<String> {
    let view = world.engine(provider).room(&uri(room)).await.unwrap().unwrap();
    view.participants
        .iter()
        .map(|(user, _)| user.to_string())
        .collect()
}

/// Adds somebody through whatever others do at the same time.
async fn insist_on_adding(world: &World, person: &mut Person, room: &str, user: &str) {
    for _ in 0..100 {
        match person.client.add(room, &[uri(user)]).await {
            Ok(_) => return,
            Err(ClientError::TooBusy(_) | ClientError::Refused(_)) => {}
            Err(other) => {
                // The add before this one was done after all.
                let there = participants(world, A, room).await;
                assert!(there.iter().any(|one| one == user), "{other}");
                return;
            }
        }
        let _ = person.client.sync().await;
        if participants(world, A, room).await.iter().any(|one| one == user) {
            return;
        }
    }
    panic!("{user} was never added");
}

/// Members who add somebody at the same time: `CAUSEWAY_CROWD`, else 16.
fn crowd() -> usize {
    std::env::var("CAUSEWAY_CROWD")
        .ok()
        .map_or(16, |text| text.parse().unwrap())
}

/// A crowd, each with a client of its own, add somebody at the same time: as many commits for one epoch, then one fewer
/// for the next. Each is accepted once, one an epoch.
#[tokio::test]
async fn a_crowd_adds_at_once() {
    let many = crowd();
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let room = alice.client.create("crowd").await.unwrap();
    let mut members = Vec::new();
    let mut users = Vec::new();
    for number in 0..many {
        let provider = if number % 2 == 0 { A } else { B };
        members.push(world.user(provider, &format!("m{number}")).await.0);
        users.push(uri(&format!("mimi://{provider}/u/m{number}")));
        world.user(provider, &format!("f{number}")).await;
    }
    alice.client.add(&room, &users).await.unwrap();
    world.quiet().await;
    for member in &mut members {
        member.client.sync().await.unwrap();
    }
    let before = world.engine(A).room(&uri(&room)).await.unwrap().unwrap().epoch;
    let (world, room) = (&world, &room);
    let adding = members.iter_mut().enumerate().map(|(number, member)| async move {
        let provider = if number % 2 == 0 { A } else { B };
        let friend = format!("mimi://{provider}/u/f{number}");
        insist_on_adding(world, member, room, &friend).await;
    });
    futures_util::future::join_all(adding).await;
    world.quiet().await;
    let after = world.engine(A).room(&uri(room)).await.unwrap().unwrap();
    assert_eq!(after.epoch, before + many as u64);
    assert_eq!(after.participants.len(), 2 * many + 1);
    let last = members.last_mut().unwrap();
    last.say(room, "all here").await;
    world.quiet().await;
    for person in members.iter_mut().take(2).chain([&mut alice]) {
        assert_eq!(texts(&person.texts(room).await), ["all here"]);
    }
}

#[tokio::test]
async fn a_commit_against_a_leave() {
    for _ in 0..5 {
        let world = World::new().await;
        let (mut alice, mut bob, room) = pair(&world).await;
        let (mut carol, _) = world.user(B, "carol").await;
        let ((), left) = tokio::join!(
            insist_on_adding(&world, &mut alice, &room, CAROL),
            bob.client.leave(&room)
        );
        left.unwrap();
        world.quiet().await;
        // Whoever reads commits the leave; the commit that came first is not undone by it.
        for person in [&mut alice, &mut carol] {
            person.client.sync().await.unwrap();
            world.quiet().await;
        }
        assert_eq!(participants(&world, A, &room).await, [ALICE, CAROL]);
        alice.say(&room, "two of us").await;
        world.quiet().await;
        assert_eq!(texts(&carol.texts(&room).await), ["two of us"]);
        bob.client.sync().await.unwrap();
        assert!(!world.engine(B).rooms_of(&uri(BOB)).await.unwrap()[0].joined);
    }
}

/// From the moment the hub has taken a removal nothing of the removed is accepted; what was accepted before stays.
#[tokio::test]
async fn a_message_against_a_removal() {
    for _ in 0..5 {
        let world = World::new().await;
        let (mut alice, mut bob, room) = pair(&world).await;
        let spoken = tokio::sync::Notify::new();
        // Bob speaks until he is stopped, so the removal comes between however fast either is.
        let speaking = async {
            let mut accepted = Vec::new();
            loop {
                let text = accepted.len().to_string();
                let sent = bob
                    .client
                    .send(&room, &text, "text/plain;charset=utf-8", Duration::from_secs(5))
                    .await;
                match sent {
                    Ok((_, mls_client::engine::Sent::Accepted(_), _)) => accepted.push(text),
                    _ => return accepted,
                }
                if accepted.len() == 3 {
                    spoken.notify_one();
                }
            }
        };
        let removing = async {
            spoken.notified().await;
            alice.client.remove(&room, &[uri(BOB)]).await.unwrap();
        };
        let (accepted, ()) = tokio::join!(speaking, removing);
        world.quiet().await;
        let read = alice.texts(&room).await;
        assert_eq!(texts(&read), accepted);
        let feed = world
            .engine(A)
            .feed(&uri(&room), &uri(ALICE), 1, 500, None)
            .await
            .unwrap();
        let removal = feed
            .entries
            .iter()
            .rposition(|e| matches!(e.item, FeedItem::Commit { .. }));
        let message = feed
            .entries
            .iter()
            .rposition(|e| matches!(e.item, FeedItem::Message { .. }));
        assert!(message < removal, "{message:?} {removal:?}");
    }
}

/// A provider that is in the room already gets a Welcome for another user of its own before the commit that goes
/// with it.
#[tokio::test]
async fn a_welcome_before_its_commit() {
    let world = World::new().await;
    let (mut alice, mut bob, room, keep, _sender) = two(&world).await;
    let (mut carol, _) = world.user(B, "carol").await;
    alice.client.add(&room, &[uri(CAROL)]).await.unwrap();
    alice.say(&room, "one").await;
    let mut bodies = sent(&keep, 3).await;
    let is_welcome = |body: &Vec<u8>| {
        FanoutMessage::decode_all(body).unwrap()[0]
            .message()
            .welcome()
            .is_some()
    };
    bodies.sort_by_key(|body| !is_welcome(body));
    assert!(is_welcome(&bodies[0]) && !is_welcome(&bodies[1]));
    deliver(&world, &room, bodies).await;
    assert_eq!(texts(&carol.texts(&room).await), ["one"]);
    assert_eq!(texts(&bob.texts(&room).await), ["zero", "one"]);
    world.restart(A).await;
    carol.say(&room, "two").await;
    world.quiet().await;
    assert_eq!(texts(&alice.texts(&room).await), ["zero", "one", "two"]);
}

/// Posts bodies to B in this order, each twice, until it has taken all.
async fn deliver(world: &World, room: &str, mut waiting: Vec<Vec<u8>>) {
    for _ in 0..50 {
        let mut again = Vec::new();
        for body in waiting {
            match notify(world, room, &body).await {
                Ok(()) => notify(world, room, &body).await.unwrap(),
                Err(Refusal::Unavailable { .. }) => again.push(body),
                Err(other) => panic!("{other}"),
            }
        }
        if again.is_empty() {
            return;
        }
        waiting = again;
    }
    panic!("some bodies were never taken");
}

/// Commits, Welcomes and messages in many orders, doubled: the follower comes to the hub's order each time.
#[tokio::test]
async fn notify_doubled_and_in_any_order() {
    for seed in 1..=6_u64 {
        let world = World::new().await;
        let (mut alice, mut bob, room, keep, _sender) = two(&world).await;
        let (mut carol, _) = world.user(B, "carol").await;
        world.user(A, "dave").await;
        alice.say(&room, "one").await;
        alice.client.add(&room, &[uri(CAROL)]).await.unwrap();
        alice.say(&room, "two").await;
        alice
            .client
            .add(&room, &[uri("mimi://a.example/u/dave")])
            .await
            .unwrap();
        alice.say(&room, "three").await;
        alice
            .client
            .remove(&room, &[uri("mimi://a.example/u/dave")])
            .await
            .unwrap();
        alice.say(&room, "four").await;
        let mut bodies = sent(&keep, 8).await;
        let mut random = seed;
        for at in (1..bodies.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bodies.swap(at, usize::try_from(random >> 33).unwrap() % (at + 1));
        }
        deliver(&world, &room, bodies).await;
        let all = ["zero", "one", "two", "three", "four"];
        assert_eq!(texts(&bob.texts(&room).await), all, "seed {seed}");
        assert_eq!(texts(&carol.texts(&room).await), all[2..], "seed {seed}");
        let of = participants(&world, A, &room).await;
        assert_eq!(of, [ALICE, BOB, CAROL]);
    }
}

/// The hub, and then the follower, loses its memory between any two steps of a room's life.
#[tokio::test]
async fn restarts_between_all_steps() {
    for whom in [A, B] {
        let world = World::new().await;
        let (mut alice, _) = world.user(A, "alice").await;
        let (mut bob, secret) = world.user(B, "bob").await;
        let (mut carol, _) = world.user(B, "carol").await;
        let again = async || {
            world.restart(whom).await;
            world.quiet().await;
        };
        again().await;
        let room = alice.client.create("club").await.unwrap();
        again().await;
        alice.client.add(&room, &[uri(BOB)]).await.unwrap();
        again().await;
        bob.client.sync().await.unwrap();
        again().await;
        bob.say(&room, "one").await;
        again().await;
        bob.client.add(&room, &[uri(CAROL)]).await.unwrap();
        again().await;
        carol.client.sync().await.unwrap();
        carol.say(&room, "two").await;
        again().await;
        let mut second = world.device(B, "bob", "d2", &secret).await;
        second.client.refresh().await.unwrap();
        second.client.join(&room).await.unwrap();
        again().await;
        second.say(&room, "three").await;
        again().await;
        bob.client.sync().await.unwrap();
        bob.client.leave(&room).await.unwrap();
        again().await;
        carol.client.sync().await.unwrap();
        again().await;
        assert_eq!(participants(&world, A, &room).await, [ALICE, CAROL], "{whom}");
        alice.client.sync().await.unwrap();
        alice.client.remove(&room, &[uri(CAROL)]).await.unwrap();
        again().await;
        assert_eq!(participants(&world, A, &room).await, [ALICE], "{whom}");
        assert_eq!(
            texts(&alice.texts(&room).await),
            ["one", "two", "three"],
            "{whom}"
        );
    }
}

/// A follower that was away for an hour of messages and commits has all of it afterwards, in the hub's order.
#[tokio::test]
async fn a_follower_away_for_an_hour() {
    let world = World::new().await;
    let (mut alice, mut bob, room) = pair(&world).await;
    let (mut dave, _) = world.user(A, "dave").await;
    let store = world.stop(B).await;
    let mut all = Vec::new();
    for minute in 0..60 {
        world.clock.forward(Duration::from_mins(1));
        let text = format!("minute {minute}");
        alice.say(&room, &text).await;
        all.push(text);
        match minute % 20 {
            5 => {
                alice
                    .client
                    .add(&room, &[uri("mimi://a.example/u/dave")])
                    .await
                    .unwrap();
                dave.client.sync().await.unwrap();
            }
            15 => {
                alice
                    .client
                    .remove(&room, &[uri("mimi://a.example/u/dave")])
                    .await
                    .unwrap();
            }
            _ => {}
        }
    }
    world.start(B, store).await;
    world.quiet().await;
    assert_eq!(texts(&bob.texts(&room).await), all);
    bob.say(&room, "back").await;
    world.quiet().await;
    assert_eq!(alice.texts(&room).await.last().unwrap().1, "back");
}

/// Clocks that differ by half an hour, either way, and a hub whose clock is put back: nothing is refused for it, and a
/// room's times never go back.
#[tokio::test]
async fn clocks_that_differ() {
    for minutes in [-30_i64, 30] {
        let world = World::new().await;
        world.skew(A, minutes * 60_000);
        world.restart(A).await;
        let (mut alice, mut bob, room) = pair(&world).await;
        bob.say(&room, "from the one").await;
        // Back by an hour, or forward.
        world.skew(A, -minutes * 60_000);
        world.restart(A).await;
        alice.say(&room, "from the other").await;
        bob.say(&room, "and again").await;
        world.quiet().await;
        let all = ["from the one", "from the other", "and again"];
        assert_eq!(texts(&alice.texts(&room).await), all);
        assert_eq!(texts(&bob.texts(&room).await), all);
        for (provider, user) in [(A, ALICE), (B, BOB)] {
            let feed = world
                .engine(provider)
                .feed(&uri(&room), &uri(user), 1, 500, None)
                .await
                .unwrap();
            // A status is the own provider's; all else is the hub's.
            let hubs = feed
                .entries
                .iter()
                .filter(|e| !matches!(e.item, FeedItem::Status { .. }));
            let times: Vec<u64> = hubs.map(|entry| entry.at).collect();
            assert!(times.is_sorted(), "{times:?}");
        }
    }
}

/// A removed user's provider loses nothing else: a room with nobody left at a provider is told nothing more.
#[tokio::test]
async fn who_was_removed_is_told_nothing_more() {
    let world = World::new().await;
    let (mut alice, mut bob, room, keep, _sender) = two(&world).await;
    alice.client.remove(&room, &[uri(BOB)]).await.unwrap();
    let told = sent(&keep, 1).await;
    alice.say(&room, "among us").await;
    world.user(A, "dave").await;
    alice
        .client
        .add(&room, &[uri("mimi://a.example/u/dave")])
        .await
        .unwrap();
    deliver(&world, &room, told).await;
    assert_eq!(sent(&keep, 1).await.len(), 1);
    let read = bob.texts(&room).await;
    assert_eq!(texts(&read), ["zero"]);
}
