//! What a hub answers a follower over TLS, code by code.

use super::conversation::{Person, view};
use super::scene::{ALICE, BOB, CAROL, DORA, Scene, bundle, message, scene, uri};
use super::*;
use mimi_wire::protocol::{
    AbuseType, ConsentOperation, HandshakeBundle, IdentifierQueryCode, KeyMaterialClientCode,
    KeyMaterialUserCode, SubmitMessageResponse, SubmitResponseCode, UpdateResponseCode,
};
use mls_client::api::{B64, FeedEntry, FeedItem, LogPage};
use std::collections::BTreeSet;

/// How a code comes about.
enum Reached {
    /// In the test below.
    Here,
    /// Elsewhere: this test's file and name, checked to be there.
    By(&'static str, &'static str),
}

use Reached::{By, Here};

fn update_code(code: UpdateResponseCode) -> Reached {
    match code {
        UpdateResponseCode::Success
        | UpdateResponseCode::WrongEpoch
        | UpdateResponseCode::NotAllowed
        | UpdateResponseCode::InvalidProposal => Here,
    }
}

fn submit_code(code: SubmitResponseCode) -> Reached {
    match code {
        SubmitResponseCode::Accepted | SubmitResponseCode::NotAllowed | SubmitResponseCode::EpochTooOld => {
            Here
        }
    }
}

fn group_info_code(code: GroupInfoCode) -> Reached {
    match code {
        GroupInfoCode::Success | GroupInfoCode::NotAuthorized | GroupInfoCode::NoSuchRoom => Here,
    }
}

fn key_material_code(code: KeyMaterialUserCode) -> Reached {
    const PEOPLE: &str = include_str!("../../../../room-engine/tests/it/people.rs");
    match code {
        KeyMaterialUserCode::Success
        | KeyMaterialUserCode::PartialSuccess
        | KeyMaterialUserCode::NoCompatibleMaterial
        | KeyMaterialUserCode::UserUnknown
        | KeyMaterialUserCode::NoConsent
        | KeyMaterialUserCode::IncompatibleProtocol
        | KeyMaterialUserCode::UserDeleted => Here,
        KeyMaterialUserCode::NoConsentForThisRoom => By(PEOPLE, "a_grant_for_one_room_opens_that_room_alone"),
    }
}

fn key_material_client_code(code: KeyMaterialClientCode) -> Reached {
    const KEYS: &str = include_str!("../../../../delivery-service/tests/it/keys.rs");
    match code {
        KeyMaterialClientCode::Success | KeyMaterialClientCode::KeyMaterialExhausted => Here,
        KeyMaterialClientCode::NothingCompatible => By(KEYS, "the_fitting_key_package_is_chosen"),
    }
}

fn identifier_code(code: IdentifierQueryCode) -> Reached {
    const PEOPLE: &str = include_str!("people.rs");
    match code {
        IdentifierQueryCode::Success
        | IdentifierQueryCode::NotFound
        | IdentifierQueryCode::Ambiguous
        | IdentifierQueryCode::Forbidden
        | IdentifierQueryCode::UnsupportedField => By(PEOPLE, "every_code_of_identifier_query_is_reached"),
    }
}

fn consent_operation(operation: ConsentOperation) -> Reached {
    const PEOPLE: &str = include_str!("people.rs");
    match operation {
        ConsentOperation::Request | ConsentOperation::Grant => {
            By(PEOPLE, "alice_asks_bob_and_may_add_him_then")
        }
        ConsentOperation::Cancel | ConsentOperation::Revoke => By(
            PEOPLE,
            "consent_endpoints_say_201_whoever_is_meant_and_refuse_what_they_must",
        ),
    }
}

fn abuse_type(kind: AbuseType) -> Reached {
    const ABUSE: &str = include_str!("abuse.rs");
    match kind {
        AbuseType::Reserved => By(ABUSE, "a_report_reaches_the_hub_s_operator_with_its_proof"),
    }
}

/// Every code is one that was reached, or that a test which is there reaches.
fn complete<C: Copy + Ord + std::fmt::Debug>(all: &[C], how: impl Fn(C) -> Reached, reached: &[C]) {
    let reached: BTreeSet<C> = reached.iter().copied().collect();
    for code in all {
        match how(*code) {
            Here => assert!(reached.contains(code), "{code:?} was not reached"),
            By(file, test) => {
                assert!(file.contains(&format!("fn {test}(")), "{code:?}: no test {test}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_is_reached() {
    let scene = Box::pin(scene()).await;
    let room = &scene.room;
    let (mut updates, mut submits, mut infos) = (Vec::new(), Vec::new(), Vec::new());
    let epoch = view(&scene.a).await.epoch;

    // A message, and the same of an epoch that is over.
    let mut bob = scene.rogue(&scene.bob);
    let said = message(&mut bob, room, "hello");
    let group_id = view(&scene.a).await.group_id.unwrap();
    let accepted = scene.submit(&said, BOB).await;
    submits.push(accepted.code());
    let old = super::conversation::of_epoch(&said, &group_id, epoch - 1);
    submits.push(scene.submit(&old, BOB).await.code());

    // By role: an ordinary participant gives nobody another role.
    let mut bob = scene.rogue(&scene.bob);
    bob.set_roles(room.as_str(), vec![(ALICE.to_owned(), 2)]).unwrap();
    let by_role = scene.update(bundle(&mut bob, room)).await;
    assert_eq!(
        by_role.outcome.code(),
        UpdateResponseCode::NotAllowed,
        "{by_role:?}"
    );

    // A commit of a proposal that the hub has never accepted.
    let mut carol = scene.rogue(&scene.carol);
    carol.leave(room.as_str()).unwrap();
    let leave = bundle(&mut carol, room);
    let messages: Vec<B64> = HandshakeBundle::from_bytes(&leave)
        .unwrap()
        .messages()
        .map(|message| B64(message.as_bytes().to_vec()))
        .collect();
    let mut bob = scene.rogue(&scene.bob);
    let pos = bob.room(room.as_str()).unwrap().next;
    let entry = FeedEntry {
        pos,
        at: 1,
        event_id: None,
        item: FeedItem::Proposals { messages },
    };
    let page = LogPage {
        entries: vec![entry],
        next: pos + 1,
    };
    bob.feed(room.as_str(), &page).unwrap();
    assert!(bob.commit_proposals(room.as_str()).unwrap());
    let unknown = scene.update(bundle(&mut bob, room)).await;
    updates.push(unknown.outcome.code());

    // Carol leaves: accepted, and from now on she is out, though no commit says so yet.
    let mut carol_speaks = scene.rogue(&scene.carol);
    let late = message(&mut carol_speaks, room, "am I still here?");
    let mut bob_renames = scene.rogue(&scene.bob);
    bob_renames
        .describe(room.as_str(), Some("pub".to_owned()), None)
        .unwrap();
    let without = bundle(&mut bob_renames, room);
    let left = scene.update(leave.clone()).await;
    assert_eq!(left.outcome.code(), UpdateResponseCode::Success, "{left:?}");
    updates.push(left.outcome.code());
    assert_eq!(scene.update(leave).await, left, "a repeat has the first outcome");
    let cut_off = scene.submit(&late, CAROL).await;
    assert_eq!(cut_off, SubmitMessageResponse::NotAllowed);
    submits.push(cut_off.code());
    // A commit that leaves the accepted proposal out.
    let refused = scene.update(without).await;
    assert_eq!(
        refused.outcome.code(),
        UpdateResponseCode::NotAllowed,
        "{refused:?}"
    );
    updates.push(refused.outcome.code());
    assert_eq!(view(&scene.a).await.epoch, epoch);
    // One that has it is taken; then what was made for the epoch before is stale.
    let mut stale = scene.rogue(&scene.bob);
    stale
        .describe(room.as_str(), Some("bar".to_owned()), None)
        .unwrap();
    let stale = bundle(&mut stale, room);
    scene.alice.does(&["sync"]).await;
    assert_eq!(view(&scene.a).await.epoch, epoch + 1);
    updates.push(scene.update(stale).await.outcome.code());

    // GroupInfo: for a participant's new device, for nobody else, of no other room.
    let second = Person::device(scene.folder.path(), &scene.b, "bob", "d2").await;
    second.does(&["rooms"]).await;
    let mut second = scene.rogue(&second);
    let query = second.ask_group_info(room.as_str()).unwrap().request.0;
    let stranger = Person::device(scene.folder.path(), &scene.b, "carol", "d2").await;
    stranger.does(&["rooms"]).await;
    let mut stranger = scene.rogue(&stranger);
    let strange = stranger.ask_group_info(room.as_str()).unwrap().request.0;
    for (variable, query) in [
        (room.as_str(), &query),
        (room.as_str(), &strange),
        ("mimi://a.example/r/nowhere", &query),
    ] {
        let (status, body) = scene.post(Endpoint::GroupInfo, variable, query.clone()).await;
        assert_eq!(status, StatusCode::OK);
        infos.push(GroupInfoResponse::from_bytes(&body).unwrap().code());
    }

    let (users, clients) = key_material(&scene).await;
    complete(UpdateResponseCode::ALL, update_code, &updates);
    complete(SubmitResponseCode::ALL, submit_code, &submits);
    complete(GroupInfoCode::ALL, group_info_code, &infos);
    complete(KeyMaterialUserCode::ALL, key_material_code, &users);
    complete(KeyMaterialClientCode::ALL, key_material_client_code, &clients);
    complete(IdentifierQueryCode::ALL, identifier_code, &[]);
    complete(ConsentOperation::ALL, consent_operation, &[]);
    complete(AbuseType::ALL, abuse_type, &[]);
    scene.stop().await;
}

/// Codes of keyMaterial, as Bob's own room at b gets them from a.
async fn key_material(scene: &Scene) -> (Vec<KeyMaterialUserCode>, Vec<KeyMaterialClientCode>) {
    scene.bob.does(&["create", "pub"]).await;
    let rooms = scene.b.service.engine().rooms().await.unwrap();
    let pub_ = rooms
        .into_iter()
        .find(|room| room.hub.as_str() == "b.example")
        .unwrap()
        .room;
    // Dora has a device without KeyPackages, Alice one with and one without.
    scene.a.signed_in("dora").await;
    let token = std::fs::read_to_string(scene.folder.path().join("alice.token")).unwrap();
    let login = json!({"kind": "local_token", "user": "alice", "token": token.trim(), "device": "bare"});
    let (users, mut clients) = {
        let mut users = Vec::new();
        let mut clients = Vec::new();
        for user in [ALICE, DORA, "mimi://a.example/u/nobody"] {
            let request = scene.rogue(&scene.bob).claim(pub_.as_str(), &uri(user)).unwrap();
            let answer = scene.claim(request, user).await;
            users.push(answer.user_status);
            clients.extend(answer.clients.iter().map(|client| client.material.code()));
        }
        (users, clients)
    };
    let (status, answer) = scene.a.client(Method::POST, "/login", None, Some(login)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let request = scene.rogue(&scene.bob).claim(pub_.as_str(), &uri(ALICE)).unwrap();
    let answer = scene.claim(request, ALICE).await;
    clients.extend(answer.clients.iter().map(|client| client.material.code()));
    // Who a provider's own users are is no secret to them.
    let mut users = [users, vec![answer.user_status]].concat();
    let request = scene
        .rogue(&scene.bob)
        .claim(pub_.as_str(), &uri("mimi://b.example/u/nobody"))
        .unwrap();
    let engine = scene.b.service.engine();
    let own = engine
        .serve_key_material(
            room_engine::RequestContext::default(),
            &domain("b.example"),
            request,
        )
        .await
        .unwrap();
    users.push(own.user_status);
    // Another protocol than MLS 1.0.
    let mut other = scene.rogue(&scene.bob).claim(pub_.as_str(), &uri(ALICE)).unwrap();
    other[0] = 2;
    users.push(scene.claim(other, ALICE).await.user_status);
    // Dora had let Bob in; then she left for good.
    let hub = scene.a.service.engine();
    let ctx = room_engine::RequestContext::default();
    hub.answer_consent(
        ctx,
        &uri(DORA),
        &uri(BOB),
        None,
        room_engine::ConsentAnswer::Grant,
    )
    .await
    .unwrap();
    let (status, _) = scene.a.admin(Method::DELETE, "/accounts/dora", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let request = scene.rogue(&scene.bob).claim(pub_.as_str(), &uri(DORA)).unwrap();
    users.push(scene.claim(request, DORA).await.user_status);
    (users, clients)
}
