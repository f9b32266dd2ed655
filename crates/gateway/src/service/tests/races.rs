//! Races between three providers over TLS: two want the same thing at once, or what one says comes late, twice or in another
//! order. A [`Tap`](super::tap::Tap) makes the order certain where it has to be.

use super::conversation::Person;
use super::scene::{bundle, uri};
use super::tap::Passing;
use super::three::{ALICE, BOB, CATHY, Three, only_room, rogue, said, texts};
use super::*;
use mimi_wire::Encode as _;
use mimi_wire::protocol::{
    FanoutMessage, HandshakeBundle, KeyMaterialResponse, KeyMaterialUserCode, SubmitMessageResponse,
    UpdateOutcome, UpdateRoomResponse,
};
use room_engine::FeedItem;
use room_engine::carrier::SubmissionState;
use std::collections::BTreeSet;

const CAROL: &str = "mimi://b.example/u/carol";
const DORA: &str = "mimi://a.example/u/dora";

#[tokio::test(flavor = "multi_thread")]
async fn two_commits_for_one_epoch_and_one_is_accepted() {
    let three = Three::new().await;
    let ([alice, bob, cathy], room) = three.clubhouse().await;
    for round in 0..5 {
        let epoch = three.epoch(&three.a, &room).await;
        let mut bundles = Vec::new();
        for person in [&bob, &cathy] {
            let mut engine = rogue(&three, person, &format!("copy{round}-{}", bundles.len()));
            engine.renew_keys(room.as_str()).unwrap();
            bundles.push(bundle(&mut engine, &room));
        }
        let [one, other] = [&three.b, &three.c].map(Provider::peer);
        let post = async |peer: &MimiClient, bundle: &Vec<u8>| {
            let (to, body) = (domain("a.example"), bundle.clone().into());
            let answer = peer
                .post(&to, Endpoint::Update, room.as_str(), "r", body)
                .await
                .unwrap();
            UpdateRoomResponse::from_bytes(&answer.body).unwrap().outcome
        };
        let (first, second) = tokio::join!(post(&one, &bundles[0]), post(&other, &bundles[1]));
        let (won, lost) = match (&first, &second) {
            (UpdateOutcome::Success { .. }, lost) => (0, lost),
            (lost, UpdateOutcome::Success { .. }) => (1, lost),
            _ => panic!("{first:?} {second:?}"),
        };
        let expected = UpdateOutcome::WrongEpoch {
            current_epoch: mimi_wire::mls::Epoch(epoch + 1),
        };
        assert_eq!(*lost, expected);
        // All have the winner's commit, octet for octet.
        three.quiet().await;
        let commit = HandshakeBundle::from_bytes(&bundles[won]).unwrap();
        for (provider, user) in [(&three.a, ALICE), (&three.b, BOB), (&three.c, CATHY)] {
            let newest = three
                .feed(provider, &room, user)
                .await
                .into_iter()
                .rev()
                .find_map(|item| match item {
                    FeedItem::Commit { message, .. } => Some(message),
                    _ => None,
                });
            assert_eq!(newest.unwrap(), commit.proposal_or_commit().as_bytes(), "{user}");
        }
        // The copies are gone; whose copy won comes back by external commit, the other simply reads.
        alice.does(&["sync"]).await;
        let (winner, loser) = if won == 0 { (&bob, &cathy) } else { (&cathy, &bob) };
        loser.does(&["sync"]).await;
        winner.does(&["sync"]).await;
        winner.does(&["join", "clubhouse"]).await;
        three.all_read(&[&alice, loser]).await;
    }
    alice.does(&["send", "clubhouse", "still together"]).await;
    three.all_read(&[&bob, &cathy]).await;
    for person in [&bob, &cathy] {
        assert_eq!(texts(person, &room), ["still together"]);
    }
    Box::pin(three.stop()).await;
}

/// Two hubs ask for the same user's KeyPackages at the same time, again and again: nobody gets what another got.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_package_claimed_twice_is_handed_out_once() {
    let three = Three::new().await;
    let alice = three.person(&three.a, "alice").await;
    let bob = three.person(&three.b, "bob").await;
    three.person(&three.c, "cathy").await;
    alice.does(&["create", "one"]).await;
    bob.does(&["create", "two"]).await;
    let rooms = [only_room(&three.a).await, only_room(&three.b).await];
    let mut engines = [
        rogue(&three, &alice, "copy-alice"),
        rogue(&three, &bob, "copy-bob"),
    ];
    let peers = [three.a.peer(), three.b.peer()];
    let mut handed_out = BTreeSet::new();
    for _ in 0..8 {
        let claims: Vec<Vec<u8>> = engines
            .iter_mut()
            .zip(&rooms)
            .map(|(engine, room)| engine.claim(room.as_str(), &uri(CATHY)).unwrap())
            .collect();
        let ask = async |at: usize| {
            let (to, body) = (domain("c.example"), claims[at].clone().into());
            let answer = peers[at]
                .post(&to, Endpoint::KeyMaterial, CATHY, "r", body)
                .await
                .unwrap();
            KeyMaterialResponse::from_bytes(&answer.body).unwrap()
        };
        let (one, again, two) = tokio::join!(ask(0), ask(0), ask(1));
        assert_eq!(one.to_bytes(), again.to_bytes(), "the same request");
        for answer in [one, two] {
            assert_eq!(answer.user_status, KeyMaterialUserCode::Success);
            for (_, package) in answer
                .key_packages()
                .filter(|(_, package)| !package.is_last_resort())
            {
                assert!(
                    handed_out.insert(package.reference().unwrap()),
                    "handed out twice"
                );
            }
        }
    }
    assert_eq!(handed_out.len(), 16);
    Box::pin(three.stop()).await;
}

/// Members of three providers, each with a client of its own, who each add somebody at the same time: as many commits for
/// one epoch, then one fewer for the next. `CAUSEWAY_CROWD` says how many, else 16.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_three_providers_adds_at_once() {
    let many = std::env::var("CAUSEWAY_CROWD").map_or(16, |text| text.parse().unwrap());
    let three = Three::new().await;
    let home = |number: usize| match number % 3 {
        0 => (&three.a, "a.example"),
        1 => (&three.b, "b.example"),
        _ => (&three.c, "c.example"),
    };
    let alice = three.person(&three.a, "alice").await;
    alice.does(&["create", "crowd"]).await;
    let room = only_room(&three.a).await;
    let (mut members, mut users, mut friends) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..many {
        let (provider, domain) = home(number);
        members.push(three.person(provider, &format!("m{number}")).await);
        users.push(format!("mimi://{domain}/u/m{number}"));
        three.person(provider, &format!("f{number}")).await;
        friends.push(format!("mimi://{domain}/u/f{number}"));
    }
    let mut adding = vec!["add", "crowd"];
    adding.extend(users.iter().map(String::as_str));
    alice.does(&adding).await;
    three.quiet().await;
    for member in &members {
        member.does(&["sync"]).await;
    }
    let before = three.epoch(&three.a, &room).await;
    let (hub, of) = (&three, &room);
    let insist = async |member: &Person, friend: &String| {
        for _ in 0..200 {
            // Refused, or too busy; or it was done although the client can't know.
            if member.tries(&["add", "crowd", friend]).await.is_ok()
                || hub.participants(of).await.contains(friend)
            {
                return;
            }
            let _ = member.tries(&["sync"]).await;
        }
        panic!("{friend} was never added");
    };
    let all = members
        .iter()
        .zip(&friends)
        .map(|(member, friend)| insist(member, friend));
    futures_util::future::join_all(all).await;
    three.quiet().await;
    assert_eq!(three.participants(&room).await.len(), 2 * many + 1);
    assert_eq!(three.epoch(&three.a, &room).await, before + many as u64);
    alice.does(&["send", "crowd", "all here"]).await;
    three.quiet().await;
    for member in &members {
        member.does(&["sync"]).await;
        assert_eq!(texts(member, &room), ["all here"]);
    }
    Box::pin(three.stop()).await;
}

/// Bob leaves while Cathy adds somebody, and either of them is overtaken on the way to the hub.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_against_a_leave() {
    for leave_is_late in [true, false] {
        let ways = [["b.example", "a.example"], ["c.example", "a.example"]];
        let (three, [from_b, from_c]) = Three::tapped(ways).await;
        let ([alice, bob, cathy], room) = three.clubhouse().await;
        let dora = three.person(&three.a, "dora").await;
        let leave: (&Person, &[&str]) = (&bob, &["leave", "clubhouse"]);
        let add: (&Person, &[&str]) = (&cathy, &["add", "clubhouse", DORA]);
        let (tap, late, early) = if leave_is_late {
            (&from_b, leave, add)
        } else {
            (&from_c, add, leave)
        };
        tap.catch(Some(Endpoint::Update));
        let overtaking = async {
            let caught = tap.next().await;
            tap.catch(None);
            early.0.does(early.1).await;
            three.quiet().await;
            let answer = tap.carry(&caught.request).await;
            let outcome = UpdateRoomResponse::from_bytes(&answer.body).unwrap().outcome;
            assert!(!matches!(outcome, UpdateOutcome::Success { .. }), "{outcome:?}");
            caught.answer(answer);
        };
        // The client tries again by itself, with what it has read meanwhile.
        tokio::join!(late.0.does(late.1), overtaking);
        three.all_read(&[&alice, &cathy, &dora]).await;
        let participants = BTreeSet::from_iter(three.participants(&room).await);
        assert_eq!(participants, [ALICE, CATHY, DORA].map(str::to_owned).into());
        alice.does(&["send", "clubhouse", "without Bob"]).await;
        three.all_read(&[&cathy, &dora, &bob]).await;
        for person in [&cathy, &dora] {
            assert_eq!(texts(person, &room), ["without Bob"]);
        }
        assert_eq!(texts(&bob, &room), [""; 0]);
        Box::pin(three.stop()).await;
    }
}

/// Bob speaks while he is removed: what the hub has taken before counts, though his provider learns of it later; what
/// comes to the hub afterwards doesn't, though it was sent before.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_against_a_removal() {
    for in_time in [true, false] {
        let (three, [from_b]) = Three::tapped([["b.example", "a.example"]]).await;
        let ([alice, bob, cathy], room) = three.clubhouse().await;
        from_b.catch(Some(Endpoint::SubmitMessage));
        let removing = async {
            let caught = from_b.next().await;
            let mut answer = None;
            if in_time {
                answer = Some(from_b.carry(&caught.request).await);
            }
            alice.does(&["remove", "clubhouse", BOB]).await;
            let answer = match answer {
                Some(answer) => answer,
                None => from_b.carry(&caught.request).await,
            };
            let outcome = SubmitMessageResponse::from_bytes(&answer.body).unwrap();
            caught.answer(answer);
            outcome
        };
        // Refused, accepted, or still queued if the answer takes longer than the client waits: the feed says it.
        let (_, outcome) = tokio::join!(bob.tries(&["send", "clubhouse", "a word"]), removing);
        three.all_read(&[&alice, &cathy, &bob]).await;
        assert_eq!(three.participants(&room).await, [ALICE, CATHY]);
        let fate = |item: FeedItem| match item {
            FeedItem::Status { state, .. } => Some(state),
            _ => None,
        };
        let told = three.feed(&three.b, &room, BOB).await;
        let told = told.into_iter().rev().find_map(fate).unwrap();
        let heard: &[&str] = if in_time {
            assert!(
                matches!(outcome, SubmitMessageResponse::Accepted { .. }),
                "{outcome:?}"
            );
            assert!(matches!(told, SubmissionState::Accepted { .. }), "{told:?}");
            &["a word"]
        } else {
            assert_eq!(outcome, SubmitMessageResponse::NotAllowed);
            assert!(matches!(told, SubmissionState::Refused { .. }), "{told:?}");
            &[]
        };
        for (provider, person, user) in [(&three.a, &alice, ALICE), (&three.c, &cathy, CATHY)] {
            assert_eq!(texts(person, &room), heard);
            // Nothing after the removal.
            let feed = three.feed(provider, &room, user).await;
            let message = |item: &FeedItem| matches!(item, FeedItem::Message { .. });
            let removal = |item: &FeedItem| matches!(item, FeedItem::Commit { .. });
            assert!(
                feed.iter().rposition(message) < feed.iter().rposition(removal),
                "{user}"
            );
        }
        Box::pin(three.stop()).await;
    }
}

fn is_welcome(notify: &Passing) -> bool {
    let told = FanoutMessage::decode_all(&notify.body).unwrap();
    told[0].message().welcome().is_some()
}

/// A provider that is in the room already gets a Welcome for another user of its own before the commit that goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_before_its_commit() {
    let (three, [to_b]) = Three::tapped([["a.example", "b.example"]]).await;
    let ([alice, bob, cathy], room) = three.clubhouse().await;
    let carol = three.person(&three.b, "carol").await;
    to_b.catch(Some(Endpoint::Notify));
    alice.does(&["add", "clubhouse", CAROL]).await;
    alice.does(&["send", "clubhouse", "one"]).await;
    let mut told = to_b.take(3).await;
    to_b.catch(None);
    assert!(!is_welcome(&told[0]), "the hub's own order is another");
    told.sort_by_key(|notify| !is_welcome(notify));
    assert!(is_welcome(&told[0]) && !is_welcome(&told[1]));
    to_b.deliver(told).await;
    three.all_read(&[&carol, &bob, &cathy]).await;
    for person in [&carol, &bob, &cathy] {
        assert_eq!(texts(person, &room), ["one"]);
    }
    carol.does(&["send", "clubhouse", "two"]).await;
    three.all_read(&[&alice, &bob, &cathy]).await;
    for person in [&alice, &bob, &cathy] {
        assert_eq!(texts(person, &room), ["one", "two"]);
    }
    Box::pin(three.stop()).await;
}

/// The same in another order.
fn shuffled(mut notifies: Vec<Passing>, seed: u64) -> Vec<Passing> {
    notifies.reverse();
    let mut random = seed;
    for at in (1..notifies.len()).rev() {
        if seed == 0 {
            break;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        notifies.swap(at, usize::try_from(random >> 33).unwrap() % (at + 1));
    }
    notifies
}

/// Commits, Welcomes and messages in other orders at each follower, doubled: each has everything once, every message after
/// the commit that leads to its epoch, and the hub's order by the hub's times. (A message that comes after the commit
/// which ends its epoch can't be missed before.)
#[tokio::test(flavor = "multi_thread")]
async fn notify_doubled_and_in_any_order() {
    let ways = [["a.example", "b.example"], ["a.example", "c.example"]];
    let (three, [to_b, to_c]) = Three::tapped(ways).await;
    let ([alice, bob, cathy], room) = three.clubhouse().await;
    let carol = three.person(&three.b, "carol").await;
    three.person(&three.a, "dora").await;
    let (mut all, mut turned_away) = (Vec::new(), 0);
    for seed in 0..4 {
        to_b.catch(Some(Endpoint::Notify));
        to_c.catch(Some(Endpoint::Notify));
        let texts = ["one", "two", "three"].map(|text| format!("{seed} {text}"));
        alice.does(&["send", "clubhouse", &texts[0]]).await;
        alice.does(&["add", "clubhouse", CAROL]).await;
        alice.does(&["send", "clubhouse", &texts[1]]).await;
        alice.does(&["add", "clubhouse", DORA]).await;
        alice.does(&["remove", "clubhouse", DORA, CAROL]).await;
        alice.does(&["send", "clubhouse", &texts[2]]).await;
        all.extend(texts);
        let (for_b, for_c) = (to_b.take(7).await, to_c.take(6).await);
        turned_away += to_b.deliver(shuffled(for_b, seed)).await;
        turned_away += to_c.deliver(shuffled(for_c, seed + 1)).await;
        for person in [&bob, &cathy, &carol] {
            person.does(&["sync"]).await;
        }
        for provider in [&three.b, &three.c] {
            assert_eq!(
                three.epoch(provider, &room).await,
                three.epoch(&three.a, &room).await
            );
        }
    }
    assert!(turned_away > 0);
    for person in [&alice, &bob, &cathy] {
        let mut said = said(person, &room);
        said.sort();
        let said: Vec<String> = said.into_iter().map(|(_, text)| text).collect();
        assert_eq!(said, all);
    }
    // Carol was there for a while each time.
    let for_carol: Vec<_> = all.iter().filter(|text| text.ends_with("two")).collect();
    assert_eq!(self::texts(&carol, &room).iter().collect::<Vec<_>>(), for_carol);
    Box::pin(three.stop()).await;
}

/// Clocks that differ by an hour, and a hub whose clock is put back: nothing is refused for it, and a room's times never go
/// back.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ() {
    let three = Three::new().await;
    three.b.clock.by_minutes(30);
    three.c.clock.by_minutes(-30);
    let ([alice, bob, cathy], room) = three.clubhouse().await;
    let mut said = Vec::new();
    for minutes in [0, -60, 90] {
        three.a.clock.by_minutes(minutes);
        for (name, person) in [("alice", &alice), ("bob", &bob), ("cathy", &cathy)] {
            let text = format!("{name} {minutes}");
            person.does(&["send", "clubhouse", &text]).await;
            said.push(text);
        }
        bob.does(&["renew-keys", "clubhouse"]).await;
        three.all_read(&[&alice, &bob, &cathy]).await;
    }
    for person in [&alice, &bob, &cathy] {
        assert_eq!(texts(person, &room), said);
    }
    for (provider, user) in [(&three.a, ALICE), (&three.b, BOB), (&three.c, CATHY)] {
        let engine = provider.service.engine();
        let page = engine.feed(&room, &uri(user), 1, usize::MAX, None).await.unwrap();
        // A status is the own provider's; all else is the hub's.
        let hubs = page
            .entries
            .iter()
            .filter(|e| !matches!(e.item, FeedItem::Status { .. }));
        let times: Vec<u64> = hubs.map(|entry| entry.at).collect();
        assert!(times.is_sorted(), "{user}: {times:?}");
    }
    Box::pin(three.stop()).await;
}
