//! Admission of application messages.

use crate::client::{Plan, domain, uri};
use crate::room::{NOW, Room};
use delivery_service::{MessageRefusal, MessageSettings, RoleIndex, View};
use mimi_wire::components::{ParticipantListUpdate, UserIndexRolePair};
use mimi_wire::protocol::{HandshakeBundle, SubmitMessageRequest, SubmitMessageResponse};

const STRICT: MessageSettings = MessageSettings { past_epochs: 0 };

fn judge(room: &Room, actor: &str, request: &SubmitMessageRequest) -> Result<(), MessageRefusal> {
    room.group.judge_message(&domain(actor), request, STRICT)
}

#[test]
fn participants_speak_through_their_provider() {
    let mut room = Room::of_three();
    let request = room.clients[1].message(b"hello", Some([7; 32]));
    assert_eq!(judge(&room, "b.example", &request), Ok(()));
    assert_eq!(
        judge(&room, "c.example", &request),
        Err(MessageRefusal::ForeignSender)
    );
    let stranger = uri("mimi://b.example/u/mallory");
    let request = SubmitMessageRequest::new(request.app_message().clone(), stranger.clone()).unwrap();
    assert_eq!(
        judge(&room, "b.example", &request),
        Err(MessageRefusal::NotAParticipant(stranger))
    );
}

#[test]
fn epochs() {
    let mut room = Room::of_three();
    let before = room.group.epoch();
    let old = room.clients[1].message(b"old", None);
    let snapshot = room.group.snapshot().unwrap();
    let bundle = room.clients[0].commit(Plan::default());
    room.accept(0, &bundle);
    let current = room.group.epoch();
    let refusal = judge(&room, "b.example", &old).unwrap_err();
    assert_eq!(refusal, MessageRefusal::EpochTooOld { current });
    assert_eq!(
        refusal.to_response(),
        SubmitMessageResponse::EpochTooOld {
            current_epoch: current
        }
    );
    let tolerant = MessageSettings { past_epochs: 1 };
    assert_eq!(
        room.group.judge_message(&domain("b.example"), &old, tolerant),
        Ok(())
    );
    let new = room.clients[1].message(b"new", None);
    room.group = delivery_service::Group::restore(&snapshot).unwrap();
    let refusal = judge(&room, "b.example", &new).unwrap_err();
    assert_eq!(refusal, MessageRefusal::EpochInFuture { current: before });
    assert_eq!(refusal.to_response(), SubmitMessageResponse::NotAllowed);
}

#[test]
fn who_is_on_the_way_out_is_silent_at_once() {
    let mut room = Room::of_three();
    let message = room.clients[1].message(b"last words", None);
    let other = room.clients[2].message(b"still here", None);
    let bundle = room.clients[1].leave();
    room.accept(1, &bundle);
    let bob = uri("mimi://b.example/u/bob");
    assert_eq!(
        judge(&room, "b.example", &message),
        Err(MessageRefusal::NotAParticipant(bob))
    );
    assert_eq!(judge(&room, "c.example", &other), Ok(()));
    let carol = uri("mimi://c.example/u/carol");
    let judged = room.group.propose_removal(&room.hub, &carol, NOW).unwrap();
    room.group.apply(judged).unwrap();
    assert_eq!(
        judge(&room, "c.example", &other),
        Err(MessageRefusal::NotAParticipant(carol))
    );
}

#[test]
fn who_has_no_client_left_is_silent() {
    let mut room = Room::of_three();
    let bob = uri("mimi://b.example/u/bob");
    let message = room.clients[1].message(b"from the last device", None);
    let removal = HandshakeBundle::proposals(room.clients[1].self_remove(), vec![]).unwrap();
    room.accept(1, &removal);
    assert!(room.group.is_participant(&bob, View::Effective));
    let refusal = judge(&room, "b.example", &message).unwrap_err();
    assert_eq!(refusal, MessageRefusal::NotAParticipant(bob.clone()));
    // Still a participant, so a new device may come in and speak.
    let bundle = room.clients[0].commit(Plan::default());
    room.accept(0, &bundle);
    let laptop = room.join_externally("mimi://b.example/d/bob/laptop");
    let message = room.clients[laptop].message(b"back again", None);
    assert_eq!(judge(&room, "b.example", &message), Ok(()));
}

#[test]
fn a_new_role_speaks_and_other_groups_are_elsewhere() {
    let mut room = Room::of_three();
    let change = UserIndexRolePair {
        user_index: 1,
        role_index: RoleIndex(3),
    };
    let list = ParticipantListUpdate {
        changed_role_participants: vec![change],
        ..Default::default()
    };
    let bundle = room.clients[0].commit(Plan {
        list: Some(list),
        ..Plan::default()
    });
    room.accept(0, &bundle);
    let message = room.clients[1].message(b"promoted", None);
    assert_eq!(judge(&room, "b.example", &message), Ok(()));
    let mut other = crate::client::TestClient::new("mimi://a.example/d/alice/phone");
    other.found(&room.hub, &uri("mimi://a.example/r/other"));
    let message = other.message(b"elsewhere", None);
    assert_eq!(
        judge(&room, "a.example", &message),
        Err(MessageRefusal::WrongGroup)
    );
}
