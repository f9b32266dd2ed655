//! Three providers over TLS: the draft's example (draft-ietf-mimi-protocol-06 section 3) step by step, and what comes of it
//! when one of them is restarted or away.

use super::conversation::Person;
use super::scene::{copy_folder, uri};
use super::tap::Tap;
use super::*;
use mimi_wire::MimiUri;
use room_engine::FeedItem;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) const ALICE: &str = "mimi://a.example/u/alice";
pub(super) const BOB: &str = "mimi://b.example/u/bob";
pub(super) const CATHY: &str = "mimi://c.example/u/cathy";

pub(super) struct Three {
    folder: tempfile::TempDir,
    pub(super) a: Provider,
    pub(super) b: Provider,
    pub(super) c: Provider,
}

impl Three {
    pub(super) async fn new() -> Self {
        Self::tapped([]).await.0
    }

    /// With a tap on each of these ways, from the one provider to the other.
    pub(super) async fn tapped<const N: usize>(ways: [[&str; 2]; N]) -> (Self, [Tap; N]) {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a.example", "b.example", "c.example"];
        let mut all = configured(folder.path(), names);
        let at = |wanted: &str| names.iter().position(|name| *name == wanted).unwrap();
        let mut taps = Vec::new();
        for [from, to] in ways {
            let to = all[at(to)].clone();
            taps.push(Tap::between(folder.path(), &mut all[at(from)], &to).await);
        }
        let [a, b, c] = all;
        let three = Self {
            a: start(a).await,
            b: start(b).await,
            c: start(c).await,
            folder,
        };
        (three, taps.try_into().unwrap_or_else(|_| unreachable!()))
    }

    pub(super) async fn person(&self, provider: &Provider, name: &str) -> Person {
        let person = Person::new(self.folder.path(), provider, name).await;
        person.does(&["register-keys"]).await;
        person
    }

    /// Waits until nothing is left to send anywhere: the hub last, since what comes to it leaves by it.
    pub(super) async fn quiet(&self) {
        for provider in [&self.b, &self.c, &self.a] {
            loop {
                let queues = provider.service.engine().queues().await.unwrap();
                if queues.iter().all(|queue| queue.waiting == 0) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Everybody reads, one after the other, and does what there is to do.
    pub(super) async fn all_read(&self, people: &[&Person]) {
        self.quiet().await;
        for person in people {
            person.does(&["sync"]).await;
            self.quiet().await;
        }
    }

    /// Alice, Bob and Cathy, of a provider each, and Alice's room with all of them in it.
    pub(super) async fn clubhouse(&self) -> ([Person; 3], MimiUri) {
        let alice = self.person(&self.a, "alice").await;
        let bob = self.person(&self.b, "bob").await;
        let cathy = self.person(&self.c, "cathy").await;
        alice.does(&["create", "clubhouse"]).await;
        let room = only_room(&self.a).await;
        alice.does(&["add", "clubhouse", BOB, CATHY]).await;
        self.all_read(&[&bob, &cathy]).await;
        ([alice, bob, cathy], room)
    }

    pub(super) async fn epoch(&self, provider: &Provider, room: &MimiUri) -> u64 {
        provider.service.engine().room(room).await.unwrap().unwrap().epoch
    }

    /// Who takes part, as the hub has it.
    pub(super) async fn participants(&self, room: &MimiUri) -> Vec<String> {
        let view = self.a.service.engine().room(room).await.unwrap().unwrap();
        view.participants
            .iter()
            .map(|(user, _)| user.to_string())
            .collect()
    }

    pub(super) async fn feed(&self, provider: &Provider, room: &MimiUri, user: &str) -> Vec<FeedItem> {
        let engine = provider.service.engine();
        let page = engine.feed(room, &uri(user), 1, usize::MAX, None).await.unwrap();
        page.entries.into_iter().map(|entry| entry.item).collect()
    }

    /// Somebody does something, then the hub loses its memory.
    async fn restarted_after(mut self, person: &Person, does: &[&str]) -> Self {
        person.does(does).await;
        self.quiet().await;
        self.a.service.stop().await;
        self.a.service = serve(&self.a.config, self.a.store.clone(), self.a.clock.clone()).await;
        self
    }

    pub(super) async fn stop(self) {
        for provider in [self.c, self.b, self.a] {
            provider.service.stop().await;
        }
    }
}

/// What a person has read in a room, in the feed's order, with the hub's time of each.
pub(super) fn said(person: &Person, room: &MimiUri) -> Vec<(u64, String)> {
    let engine = mls_client::Engine::open(&person.profile, None, Duration::from_secs(15)).unwrap();
    let room = engine.room(room.as_str()).unwrap();
    let said = room.ordered().into_iter().filter_map(|entry| match &entry.what {
        mls_client::state::What::Message(message) => Some((entry.at, message.text.clone())),
        _ => None,
    });
    said.collect()
}

pub(super) fn texts(person: &Person, room: &MimiUri) -> Vec<String> {
    said(person, room).into_iter().map(|(_, text)| text).collect()
}

/// A copy of somebody's client.
pub(super) fn rogue(three: &Three, person: &Person, name: &str) -> mls_client::Engine {
    let copy = three.folder.path().join(name);
    copy_folder(&person.profile, &copy);
    mls_client::Engine::open(&copy, None, Duration::from_secs(15)).unwrap()
}

pub(super) async fn only_room(provider: &Provider) -> MimiUri {
    provider.service.engine().rooms().await.unwrap().remove(0).room
}

#[tokio::test(flavor = "multi_thread")]
async fn the_draft_s_example_step_by_step() {
    let three = Three::new().await;
    let alice = three.person(&three.a, "alice").await;
    let bob = three.person(&three.b, "bob").await;
    let cathy = three.person(&three.c, "cathy").await;

    // 3.1 Alice creates a room: nothing goes anywhere.
    alice.does(&["create", "clubhouse"]).await;
    let room = only_room(&three.a).await;
    assert_eq!(three.participants(&room).await, [ALICE]);
    for other in [&three.b, &three.c] {
        assert!(other.service.engine().rooms().await.unwrap().is_empty());
    }

    // 3.2 Alice adds Bob: his provider gets the Welcome.
    alice.does(&["add", "clubhouse", BOB]).await;
    three.all_read(&[&bob]).await;
    assert_eq!(three.participants(&room).await, [ALICE, BOB]);
    assert!(three.c.service.engine().rooms().await.unwrap().is_empty());

    // 3.3 Bob adds Cathy: her KeyPackages through the hub, the commit to the hub, which tells everybody.
    bob.does(&["add", "clubhouse", CATHY]).await;
    three.all_read(&[&cathy, &alice]).await;
    assert_eq!(three.participants(&room).await, [ALICE, BOB, CATHY]);
    // Which epoch a Welcome leads to is sealed; a provider learns it by the next commit.
    for provider in [&three.a, &three.b] {
        assert_eq!(three.epoch(provider, &room).await, 2);
    }

    // 3.4 Cathy sends a message.
    cathy.does(&["send", "clubhouse", "hello from c"]).await;
    three.all_read(&[&alice, &bob]).await;
    for person in [&alice, &bob] {
        assert_eq!(texts(person, &room), ["hello from c"]);
    }
    // Franked by the hub, the same for both.
    let mut franks = BTreeSet::new();
    for (provider, user) in [(&three.a, ALICE), (&three.b, BOB)] {
        for item in three.feed(provider, &room, user).await {
            if let FeedItem::Message { frank, .. } = item {
                franks.insert(frank.unwrap());
            }
        }
    }
    assert_eq!(franks.len(), 1);

    // 3.5 Bob leaves: proposals, in force at once, and the next commit takes him out of the group.
    bob.does(&["leave", "clubhouse"]).await;
    assert_eq!(three.participants(&room).await, [ALICE, CATHY]);
    assert_eq!(three.epoch(&three.a, &room).await, 2);
    three.all_read(&[&cathy, &alice]).await;
    assert_eq!(three.epoch(&three.a, &room).await, 3);
    assert_eq!(three.epoch(&three.c, &room).await, 3);
    three.quiet().await;

    // 3.6 Cathy adds a new device, by external commit.
    let second = Person::device(three.folder.path(), &three.c, "cathy", "d2").await;
    second.does(&["rooms"]).await;
    second.does(&["join", "clubhouse"]).await;
    three.all_read(&[&alice, &cathy]).await;
    assert_eq!(three.epoch(&three.a, &room).await, 4);
    alice.does(&["send", "clubhouse", "to both of you"]).await;
    three.all_read(&[&cathy, &second]).await;
    assert_eq!(texts(&second, &room), ["to both of you"]);
    assert_eq!(texts(&cathy, &room).last().unwrap(), "to both of you");
    // Bob's provider was told of nothing after his leaving had been committed.
    bob.does(&["sync"]).await;
    assert_eq!(texts(&bob, &room), ["hello from c"]);
    assert!(three.epoch(&three.b, &room).await <= 3);
    Box::pin(three.stop()).await;
}

/// Bob has two devices. When he leaves, the Remove of the second one is lost with its epoch as soon as somebody comes in by
/// external commit, which can't carry it. The hub proposes it anew and staples that to the commit (section 5.3).
#[tokio::test(flavor = "multi_thread")]
async fn what_an_external_commit_could_not_carry_is_stapled_to_it() {
    let three = Three::new().await;
    let ([alice, bob, cathy], room) = three.clubhouse().await;
    let second = Person::device(three.folder.path(), &three.b, "bob", "d2").await;
    second.does(&["rooms"]).await;
    second.does(&["join", "clubhouse"]).await;
    three.all_read(&[&alice, &cathy, &bob]).await;
    bob.does(&["leave", "clubhouse"]).await;
    three.quiet().await;
    let epoch = three.epoch(&three.a, &room).await;

    let tablet = Person::device(three.folder.path(), &three.c, "cathy", "d2").await;
    tablet.does(&["rooms"]).await;
    tablet.does(&["join", "clubhouse"]).await;
    three.quiet().await;
    assert_eq!(three.epoch(&three.a, &room).await, epoch + 1);
    // The hub's own and the followers' copies: each has the commit with one Remove stapled to it.
    for (provider, user) in [(&three.a, ALICE), (&three.c, CATHY)] {
        let stapled = three
            .feed(provider, &room, user)
            .await
            .into_iter()
            .rev()
            .find_map(|item| match item {
                FeedItem::Commit {
                    external_proposals, ..
                } => Some(external_proposals.len()),
                _ => None,
            });
        assert_eq!(stapled, Some(1), "{user}");
    }
    assert_eq!(three.participants(&room).await, [ALICE, CATHY]);

    // The next member's commit carries it out, and the list is right; those who are left talk on.
    three.all_read(&[&cathy, &alice, &tablet]).await;
    assert_eq!(three.epoch(&three.a, &room).await, epoch + 2);
    alice.does(&["send", "clubhouse", "without Bob"]).await;
    three.all_read(&[&cathy, &tablet]).await;
    for person in [&cathy, &tablet] {
        assert_eq!(texts(person, &room), ["without Bob"]);
    }
    let members = rogue(&three, &alice, "copy-alice")
        .members(room.as_str())
        .unwrap();
    let clients: BTreeSet<&str> = members.clients.iter().map(String::as_str).collect();
    let expected = [
        "mimi://a.example/d/alice/d1",
        "mimi://c.example/d/cathy/d1",
        "mimi://c.example/d/cathy/d2",
    ];
    assert_eq!(clients, BTreeSet::from(expected));
    Box::pin(three.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_is_restarted_at_each_step() {
    let mut three = Three::new().await;
    let alice = three.person(&three.a, "alice").await;
    let bob = three.person(&three.b, "bob").await;
    let cathy = three.person(&three.c, "cathy").await;
    let steps: [(&Person, &[&str]); 11] = [
        (&alice, &["create", "clubhouse"]),
        (&alice, &["add", "clubhouse", BOB]),
        (&bob, &["sync"]),
        (&bob, &["add", "clubhouse", CATHY]),
        (&cathy, &["sync"]),
        (&cathy, &["send", "clubhouse", "one"]),
        (&alice, &["send", "clubhouse", "two"]),
        (&bob, &["send", "clubhouse", "three"]),
        (&bob, &["leave", "clubhouse"]),
        (&cathy, &["sync"]),
        (&alice, &["sync"]),
    ];
    for (person, does) in steps {
        three = Box::pin(three.restarted_after(person, does)).await;
    }
    let tablet = Person::device(three.folder.path(), &three.c, "cathy", "d2").await;
    let steps: [(&Person, &[&str]); 3] = [
        (&tablet, &["rooms"]),
        (&tablet, &["join", "clubhouse"]),
        (&alice, &["send", "clubhouse", "four"]),
    ];
    for (person, does) in steps {
        three = Box::pin(three.restarted_after(person, does)).await;
    }
    let room = only_room(&three.a).await;
    three.all_read(&[&alice, &cathy, &tablet, &bob]).await;
    assert_eq!(three.participants(&room).await, [ALICE, CATHY]);
    for person in [&alice, &cathy] {
        assert_eq!(texts(person, &room), ["one", "two", "three", "four"]);
    }
    assert_eq!(texts(&tablet, &room), ["four"]);
    assert_eq!(texts(&bob, &room), ["one", "two", "three"]);
    Box::pin(three.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_down_for_an_hour_has_everything_afterwards_in_order() {
    let mut three = Three::new().await;
    let ([alice, bob, cathy], room) = three.clubhouse().await;
    three.c.service.stop().await;
    let mut said = Vec::new();
    for number in 0..20 {
        for provider in [&three.a.clock, &three.b.clock, &three.c.clock] {
            provider.by_minutes(3);
        }
        let text = format!("message {number}");
        let speaker = if number % 3 == 0 { &bob } else { &alice };
        speaker.does(&["send", "clubhouse", &text]).await;
        said.push(text);
        if number % 5 == 4 {
            alice.does(&["renew-keys", "clubhouse"]).await;
            bob.does(&["sync"]).await;
        }
    }
    // Nobody waited for the one that is down.
    bob.does(&["sync"]).await;
    assert_eq!(texts(&bob, &room), said);
    three.c.service = serve(&three.c.config, three.c.store.clone(), three.c.clock.clone()).await;
    three.all_read(&[&cathy]).await;
    assert_eq!(texts(&cathy, &room), said);
    assert_eq!(
        three.epoch(&three.c, &room).await,
        three.epoch(&three.a, &room).await
    );
    cathy.does(&["send", "clubhouse", "back"]).await;
    three.all_read(&[&alice]).await;
    assert_eq!(texts(&alice, &room).last().unwrap(), "back");
    Box::pin(three.stop()).await;
}
