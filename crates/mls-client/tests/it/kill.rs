//! The client is killed at every request, before it arrives and after; nothing is lost or doubled.

use crate::hub::{Break, Hub};
use crate::person::Person;
use crate::story::uri;
use mls_client::state::{Membership, What};

/// Repeats `step` through kills until it is done.
macro_rules! through {
    ($hub:expr, $person:expr, $done:expr, $step:expr) => {{
        let mut kills = 0;
        loop {
            let result: Result<(), mls_client::ClientError> = $step.await;
            if $hub.mend() {
                $person.restart();
                kills += 1;
                assert!(kills < 3, "the line broke more than once");
                // What was under way is finished, then it is looked whether anything is left to do.
                $person.sync().await;
                if !$done {
                    continue;
                }
            } else {
                result.unwrap();
            }
            break;
        }
    }};
}

fn says(person: &mut Person, room: &str, text: &str) -> bool {
    person.texts(room).iter().any(|t| t == text)
}

/// Whether the line broke: the story may be over before.
async fn story(requests: u32, how: Break) -> bool {
    let hub = Hub::new();
    let mut alice = Person::new(&hub, "alice@a.example", "one");
    let mut bob = Person::new(&hub, "bob@b.example", "one");
    let mut second = Person::new(&hub, "bob@b.example", "two");
    hub.break_after(requests, how);

    through!(hub, bob, true, async { bob.client().sync().await.map(drop) });
    through!(hub, alice, alice.client().engine().rooms().count() > 0, async {
        alice.client().create("Kill").await.map(drop)
    });
    let room = alice.client().engine().rooms().next().unwrap().uri.clone();
    assert_eq!(alice.client().engine().rooms().count(), 1);
    let count = |p: &mut Person| p.users(&room).len();
    through!(hub, alice, count(&mut alice) == 2, async {
        alice.client().add(&room, &[uri("bob@b.example")]).await.map(drop)
    });
    through!(hub, bob, true, async { bob.client().sync().await.map(drop) });
    through!(
        hub,
        alice,
        says(&mut alice, &room, "one"),
        alice.say(&room, "one")
    );
    through!(hub, bob, says(&mut bob, &room, "two"), bob.say(&room, "two"));
    through!(hub, second, true, async {
        second.client().sync().await.map(drop)
    });
    let joined = |p: &mut Person| p.client().engine().room(&room).unwrap().membership == Membership::Member;
    through!(hub, second, joined(&mut second), async {
        second.client().join(&room).await.map(drop)
    });
    through!(
        hub,
        second,
        says(&mut second, &room, "three"),
        second.say(&room, "three")
    );
    through!(hub, bob, true, async { bob.client().sync().await.map(drop) });
    let leaving = |p: &mut Person| p.client().engine().room(&room).unwrap().membership != Membership::Member;
    through!(hub, bob, leaving(&mut bob), async {
        bob.client().leave(&room).await.map(drop)
    });
    through!(hub, alice, true, async { alice.client().sync().await.map(drop) });
    through!(
        hub,
        alice,
        says(&mut alice, &room, "four"),
        alice.say(&room, "four")
    );

    let fired = hub.take_fuse();
    for person in [&mut alice, &mut bob, &mut second] {
        person.sync().await;
        person.sync().await;
        person.restart();
        assert_eq!(person.problems(&room), Vec::<String>::new());
    }
    assert_eq!(alice.texts(&room), ["one", "two", "three", "four"]);
    assert_eq!(bob.texts(&room), ["one", "two", "three"]);
    assert_eq!(second.texts(&room), ["three"]);
    assert_eq!(alice.users(&room), ["mimi://a.example/u/alice"]);
    assert_eq!(alice.clients(&room).len(), 1);
    let epoch = hub.world().rooms[&room].epoch();
    assert_eq!(epoch, 3, "add, join, leave: no commit was made twice");
    // Every line has its place in the feed, and no place is shown twice.
    let mut places: Vec<_> = alice
        .history(&room)
        .iter()
        .map(|e| (e.pos, matches!(e.what, What::Message(_))))
        .collect();
    let before = places.len();
    places.dedup();
    assert_eq!(places.len(), before);
    fired
}

#[tokio::test]
async fn killed_before_any_request_arrives() {
    let mut requests = 0;
    while story(requests, Break::Before).await {
        requests += 1;
    }
    assert!(requests > 30, "the line was hardly used: {requests}");
}

#[tokio::test]
async fn killed_after_any_request_was_acted_on() {
    let mut requests = 0;
    while story(requests, Break::After).await {
        requests += 1;
    }
    assert!(requests > 30, "the line was hardly used: {requests}");
}
