//! The story of the demo.

use crate::hub::Hub;
use crate::person::Person;
use delivery_service::CIPHER_SUITES;
use mimi_wire::MimiUri;
use mls_client::NewRoom;
use mls_client::state::Membership;

pub(crate) fn uri(user: &str) -> MimiUri {
    mls_client::engine::parse_user(user).unwrap()
}

#[tokio::test]
async fn two_providers_talk_a_device_joins_and_a_user_leaves() {
    story(None).await;
}

#[tokio::test]
async fn the_same_with_p256() {
    story(Some(2)).await;
}

#[tokio::test]
async fn the_same_with_chacha() {
    story(Some(3)).await;
}

async fn story(suite: Option<u16>) {
    let hub = Hub::of_suites(&CIPHER_SUITES);
    let mut alice = Person::new(&hub, "alice@a.example", "laptop");
    let mut bob = Person::new(&hub, "bob@b.example", "phone");
    let mut carol = Person::new(&hub, "carol@b.example", "tablet");
    for person in [&mut alice, &mut bob, &mut carol] {
        person.sync().await;
    }

    let new = NewRoom {
        suite,
        ..NewRoom::default()
    };
    let room = alice.client().create_as("Tea", new).await.unwrap();
    alice.client().add(&room, &[uri("bob@b.example")]).await.unwrap();
    bob.sync().await;
    assert_eq!(
        bob.users(&room),
        ["mimi://a.example/u/alice", "mimi://b.example/u/bob"]
    );
    assert_eq!(bob.client().engine().find_room("Tea").unwrap(), room);

    alice.say(&room, "hello Bob").await.unwrap();
    bob.sync().await;
    bob.say(&room, "hello Alice").await.unwrap();
    alice.sync().await;
    assert_eq!(alice.texts(&room), ["hello Bob", "hello Alice"]);
    assert_eq!(bob.texts(&room), ["hello Bob", "hello Alice"]);
    let (hers, his) = (alice.messages(&room), bob.messages(&room));
    assert_eq!(hers[0].message_id, his[0].message_id);
    assert!(hers[0].own && !his[0].own);
    assert_eq!(his[0].client, "mimi://a.example/d/alice/laptop");

    let mut second = Person::new(&hub, "bob@b.example", "desk");
    second.sync().await;
    assert_eq!(
        second.client().engine().room(&room).unwrap().membership,
        Membership::Outside
    );
    second.client().join(&room).await.unwrap();
    second.say(&room, "from my desk").await.unwrap();
    alice.sync().await;
    bob.sync().await;
    assert_eq!(alice.texts(&room).last().unwrap(), "from my desk");
    assert_eq!(
        alice.messages(&room).last().unwrap().sender,
        "mimi://b.example/u/bob"
    );
    assert_eq!(second.texts(&room), ["from my desk"]);

    bob.client().add(&room, &[uri("@carol:b.example")]).await.unwrap();
    for person in [&mut alice, &mut second, &mut carol] {
        person.sync().await;
    }
    carol.say(&room, "thanks").await.unwrap();

    bob.client().leave(&room).await.unwrap();
    assert_eq!(
        bob.client().engine().room(&room).unwrap().membership,
        Membership::Leaving
    );
    alice.sync().await;
    for person in [&mut bob, &mut second, &mut carol] {
        person.sync().await;
    }
    assert_eq!(
        bob.client().engine().room(&room).unwrap().membership,
        Membership::Left
    );
    assert_eq!(
        second.client().engine().room(&room).unwrap().membership,
        Membership::Left
    );
    let left = [
        "mimi://a.example/d/alice/laptop",
        "mimi://b.example/d/carol/tablet",
    ];
    assert_eq!(alice.clients(&room), left);
    assert_eq!(carol.clients(&room), left);
    assert_eq!(
        alice.users(&room),
        ["mimi://a.example/u/alice", "mimi://b.example/u/carol"]
    );

    alice.say(&room, "and then there were two").await.unwrap();
    carol.sync().await;
    bob.sync().await;
    assert_eq!(carol.texts(&room), ["thanks", "and then there were two"]);
    assert!(!bob.texts(&room).contains(&"and then there were two".into()));
    assert!(bob.say(&room, "still there?").await.is_err());
    for person in [&mut alice, &mut bob, &mut second, &mut carol] {
        assert_eq!(person.problems(&room), Vec::<String>::new());
        person.restart();
    }
    assert_eq!(alice.texts(&room).len(), 5);
}

#[tokio::test]
async fn a_user_who_left_can_come_back() {
    let hub = Hub::new();
    let mut alice = Person::new(&hub, "alice@a.example", "one");
    let mut bob = Person::new(&hub, "bob@b.example", "one");
    bob.sync().await;
    let room = alice.client().create("Again").await.unwrap();
    alice.client().add(&room, &[uri("bob@b.example")]).await.unwrap();
    bob.sync().await;
    bob.client().leave(&room).await.unwrap();
    alice.sync().await;
    bob.sync().await;
    alice.client().add(&room, &[uri("bob@b.example")]).await.unwrap();
    bob.sync().await;
    bob.say(&room, "back").await.unwrap();
    alice.sync().await;
    assert_eq!(alice.texts(&room), ["back"]);
}

#[tokio::test]
async fn a_member_can_be_removed() {
    let hub = Hub::new();
    let mut alice = Person::new(&hub, "alice@a.example", "one");
    let mut bob = Person::new(&hub, "bob@b.example", "one");
    bob.sync().await;
    let room = alice.client().create("Out").await.unwrap();
    alice.client().add(&room, &[uri("bob@b.example")]).await.unwrap();
    alice
        .client()
        .remove(&room, &[uri("bob@b.example")])
        .await
        .unwrap();
    bob.sync().await;
    assert_eq!(
        bob.client().engine().room(&room).unwrap().membership,
        Membership::Left
    );
    assert_eq!(alice.users(&room), ["mimi://a.example/u/alice"]);
    assert!(
        alice
            .client()
            .remove(&room, &[uri("bob@b.example")])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_suite_that_one_side_does_not_have_founds_no_room() {
    let hub = Hub::of_suites(&CIPHER_SUITES);
    let mut alice = Person::new(&hub, "alice@a.example", "laptop");
    for suite in [0, 4, 5, 7, 0xf000] {
        let new = NewRoom {
            suite: Some(suite),
            ..NewRoom::default()
        };
        let error = alice.client().create_as("None", new).await.unwrap_err();
        assert!(error.to_string().contains("cipher suite"), "{error}");
        assert_eq!(alice.client().engine().rooms().count(), 0);
    }
}

/// A profile of before there were keys for P-256 has one as soon as it is needed, and keeps it.
#[tokio::test]
async fn an_old_profile_gets_its_p256_key() {
    let hub = Hub::of_suites(&CIPHER_SUITES);
    let mut alice = Person::new(&hub, "alice@a.example", "laptop");
    assert!(alice.client().engine().account().unwrap().p256.is_none());
    alice.sync().await;
    let key = |person: &mut Person| {
        let account = person.client().engine().account().unwrap();
        account.p256.as_ref().map(|key| key.public().to_vec())
    };
    let made = key(&mut alice).unwrap();
    assert_eq!(made.len(), 65);
    alice.restart();
    alice.sync().await;
    assert_eq!(key(&mut alice), Some(made));
}
