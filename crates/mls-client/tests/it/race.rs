//! Others are faster: commits of one epoch, messages refused for theirs.

use crate::hub::Hub;
use crate::person::Person;
use crate::story::uri;
use mls_client::api::{SubmissionState, UpdateRequest};
use mls_client::engine::{Outcome, Sent};
use mls_client::transport::Transport as _;

async fn couple(hub: &Hub) -> (Person, Person, String) {
    let mut alice = Person::new(hub, "alice@a.example", "one");
    let mut bob = Person::new(hub, "bob@b.example", "one");
    bob.sync().await;
    let room = alice.client().create("Race").await.unwrap();
    alice.client().add(&room, &[uri("bob@b.example")]).await.unwrap();
    bob.sync().await;
    (alice, bob, room)
}

#[tokio::test]
async fn a_message_refused_for_its_epoch_is_encrypted_anew_under_the_same_id() {
    let hub = Hub::new();
    let (mut alice, mut bob, room) = couple(&hub).await;
    let mut carol = Person::new(&hub, "carol@b.example", "one");
    carol.sync().await;

    let mut engine = alice.engine();
    let id = engine.compose(&room, "late", "text/plain;charset=utf-8").unwrap();
    let (first, attempt) = engine.submission(&room, &id).unwrap();
    assert_eq!(attempt, 1);
    bob.client().add(&room, &[uri("carol@b.example")]).await.unwrap();
    let status = alice.line.submit(&room, &first).await.unwrap();
    assert!(matches!(
        status.state,
        SubmissionState::Refused {
            current_epoch: Some(2),
            ..
        }
    ));
    assert_eq!(engine.submitted(&room, &status).unwrap(), Sent::Again);
    alice.put_back(engine);
    alice.restart();
    alice.sync().await;

    let sent = alice.client().engine().sent(&room, &id).unwrap();
    assert!(matches!(sent, Sent::Accepted(_)));
    bob.sync().await;
    carol.sync().await;
    assert_eq!(bob.texts(&room), ["late"]);
    assert_eq!(carol.texts(&room), ["late"]);
    assert_eq!(
        alice.messages(&room)[0].message_id,
        bob.messages(&room)[0].message_id
    );
}

#[tokio::test]
async fn of_two_commits_of_one_epoch_the_second_is_built_anew() {
    let hub = Hub::new();
    let (mut alice, mut bob, room) = couple(&hub).await;
    let mut carol = Person::new(&hub, "carol@b.example", "one");
    let mut dave = Person::new(&hub, "dave@a.example", "one");
    carol.sync().await;
    dave.sync().await;

    let mut engine = alice.engine();
    let user = uri("dave@a.example");
    let request = mls_client::api::ClaimRequest {
        request: engine.claim(&room, &user).unwrap().into(),
    };
    let material = alice.line.claim(&room, &request).await.unwrap().response.0;
    engine.add(&room, &[(user, material)]).unwrap();
    let mine: UpdateRequest = engine.prepare(&room).unwrap().unwrap();
    bob.client().add(&room, &[uri("carol@b.example")]).await.unwrap();
    let answer = alice.line.update(&room, &mine).await.unwrap();
    let outcome = engine.answered(&room, &answer.response.0).unwrap();
    assert_eq!(outcome, Outcome::Stale { current: Some(2) });
    assert!(engine.busy(&room).unwrap());
    alice.put_back(engine);
    alice.sync().await;
    for person in [&mut bob, &mut carol, &mut dave] {
        person.sync().await;
        assert_eq!(person.users(&room).len(), 4);
        assert_eq!(person.problems(&room), Vec::<String>::new());
    }
    dave.say(&room, "all here").await.unwrap();
    carol.sync().await;
    assert_eq!(carol.texts(&room), ["all here"]);
}

#[tokio::test]
async fn messages_of_five_past_epochs_can_be_read() {
    let hub = Hub::new();
    let (mut alice, mut bob, room) = couple(&hub).await;
    let mut engine = alice.engine();
    let mut old = Vec::new();
    for text in ["one", "two"] {
        let id = engine.compose(&room, text, "text/plain;charset=utf-8").unwrap();
        old.push(engine.submission(&room, &id).unwrap().0);
    }
    for name in ["c", "d", "e", "f", "g"] {
        let user = format!("{name}@b.example");
        let mut person = Person::new(&hub, &user, name);
        person.sync().await;
        bob.client().add(&room, &[uri(&user)]).await.unwrap();
    }
    // The hub took it in time, a node that was cut off brings it late.
    hub.accept_late(&alice.line, &room, &old[0]);
    bob.sync().await;
    assert_eq!(bob.texts(&room), ["one"]);
    let mut person = Person::new(&hub, "h@b.example", "h");
    person.sync().await;
    bob.client().add(&room, &[uri("h@b.example")]).await.unwrap();
    hub.accept_late(&alice.line, &room, &old[1]);
    bob.sync().await;
    assert_eq!(bob.texts(&room), ["one"]);
    assert_eq!(bob.problems(&room).len(), 1);
}

#[tokio::test]
async fn who_wants_to_speak_commits_the_proposals_that_are_in_the_way() {
    let hub = Hub::new();
    let (mut alice, mut bob, room) = couple(&hub).await;
    bob.client().leave(&room).await.unwrap();
    alice.say(&room, "bye").await.unwrap();
    assert_eq!(alice.users(&room), ["mimi://a.example/u/alice"]);
    assert_eq!(alice.texts(&room), ["bye"]);
    assert_eq!(hub.world().rooms[&room].epoch(), 2);
}

#[tokio::test]
async fn a_removal_by_the_hub_takes_the_user_out_of_the_list_too() {
    let hub = Hub::new();
    let (mut alice, mut bob, room) = couple(&hub).await;
    hub.take_out(&room, "mimi://b.example/u/bob");
    bob.client().catch_up(&room).await.unwrap();
    assert!(
        !bob.client().engine().can_commit(&room).unwrap(),
        "who is taken out can't commit that"
    );
    alice.sync().await;
    assert_eq!(alice.users(&room), ["mimi://a.example/u/alice"]);
    bob.sync().await;
    assert_eq!(alice.problems(&room), Vec::<String>::new());
    assert!(bob.say(&room, "me").await.is_err());
}

#[tokio::test]
async fn a_leave_that_an_external_commit_could_not_carry_whole_is_completed() {
    let hub = Hub::new();
    let (mut alice, mut bob, room) = couple(&hub).await;
    bob.client().leave(&room).await.unwrap();
    // The newcomer takes in Bob's SelfRemove; openmls leaves out his update of the list.
    let mut desk = Person::new(&hub, "alice@a.example", "desk");
    desk.sync().await;
    desk.client().join(&room).await.unwrap();
    assert_eq!(
        desk.clients(&room),
        ["mimi://a.example/d/alice/desk", "mimi://a.example/d/alice/one"]
    );
    assert!(desk.client().engine().can_commit(&room).unwrap());
    alice.sync().await;
    assert_eq!(alice.users(&room), ["mimi://a.example/u/alice"]);
    for person in [&mut desk, &mut bob] {
        person.sync().await;
        assert_eq!(person.problems(&room), Vec::<String>::new());
    }
    assert_eq!(desk.users(&room), ["mimi://a.example/u/alice"]);
    assert!(!desk.client().engine().can_commit(&room).unwrap());
    assert_eq!(hub.world().rooms[&room].epoch(), 3);
}
