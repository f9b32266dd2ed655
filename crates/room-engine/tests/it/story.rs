//! The whole story, in one process.

use crate::world::{A, B, World, uri};

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
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, secret) = world.user(B, "bob").await;
    let (mut carol, _) = world.user(B, "carol").await;

    let room = alice.client.create("Clubhouse").await.unwrap();
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    alice.say(&room, "hello Bob").await;
    world.quiet().await;
    assert_eq!(bob.texts(&room).await, said(&[(ALICE, "hello Bob")]));

    world.restart(A).await;
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
