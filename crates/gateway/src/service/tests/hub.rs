//! What a hub answers a follower over TLS, code by code, and what it leaves as it is. The follower's clients are real;
//! what a hostile provider would make of them is made with copies of their profiles.

use super::conversation::{Person, view};
use super::*;
use mimi_wire::codec::UnixMillis;
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{
    AbuseType, ConsentOperation, FanoutMessage, HandshakeBundle, IdentifierQueryCode, KeyMaterialClientCode,
    KeyMaterialResponse, KeyMaterialUserCode, SubmitMessageRequest, SubmitMessageResponse,
    SubmitResponseCode, UpdateResponseCode, UpdateRoomResponse,
};
use mimi_wire::{Encode as _, MimiUri};
use mls_client::api::{B64, FeedEntry, FeedItem, LogPage};
use std::collections::BTreeSet;
use std::time::Duration;

const ALICE: &str = "mimi://a.example/u/alice";
const BOB: &str = "mimi://b.example/u/bob";
const CAROL: &str = "mimi://b.example/u/carol";
const DORA: &str = "mimi://a.example/u/dora";

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

/// Alice at the hub; Bob and Carol at the follower, both in her room and up to date.
struct Scene {
    folder: tempfile::TempDir,
    a: Provider,
    b: Provider,
    alice: Person,
    bob: Person,
    carol: Person,
    room: MimiUri,
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = configurations(folder.path());
    let (a, b) = (start(a).await, start(b).await);
    let alice = Person::new(folder.path(), &a, "alice").await;
    let bob = Person::new(folder.path(), &b, "bob").await;
    let carol = Person::new(folder.path(), &b, "carol").await;
    for person in [&alice, &bob, &carol] {
        person.does(&["register-keys"]).await;
    }
    alice.does(&["create", "club"]).await;
    alice.does(&["add", "club", BOB, CAROL]).await;
    let room = view(&a).await.room;
    let scene = Scene {
        folder,
        a,
        b,
        alice,
        bob,
        carol,
        room,
    };
    scene.caught_up(&scene.bob, BOB).await;
    scene.caught_up(&scene.carol, CAROL).await;
    scene
}

impl Scene {
    /// Reads until the follower has all that the hub has sent.
    async fn caught_up(&self, person: &Person, user: &str) {
        loop {
            let here = self.b.service.engine().room(&self.room).await.unwrap();
            if here.is_some_and(|here| here.participants.iter().any(|(one, _)| one.as_str() == user))
                && self
                    .a
                    .service
                    .engine()
                    .queues()
                    .await
                    .unwrap()
                    .iter()
                    .all(|q| q.waiting == 0)
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        person.does(&["sync"]).await;
    }

    /// A copy of somebody's client, to do with it what an honest one would not.
    fn rogue(&self, person: &Person) -> mls_client::Engine {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let copy = self.folder.path().join(format!("copy{number}"));
        copy_folder(&person.profile, &copy);
        mls_client::Engine::open(&copy, None, Duration::from_secs(15)).unwrap()
    }

    async fn post(&self, endpoint: Endpoint, variable: &str, body: Vec<u8>) -> (StatusCode, Bytes) {
        let to = domain("a.example");
        let answer = self
            .b
            .peer()
            .post(&to, endpoint, variable, "r1", body.into())
            .await
            .unwrap();
        (answer.status, answer.body)
    }

    async fn update(&self, bundle: Vec<u8>) -> UpdateRoomResponse {
        let (status, body) = self.post(Endpoint::Update, self.room.as_str(), bundle).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        UpdateRoomResponse::from_bytes(&body).unwrap()
    }

    async fn submit(&self, message: &[u8], user: &str) -> SubmitMessageResponse {
        let message = MlsMessage::from_bytes(message).unwrap();
        let request = SubmitMessageRequest::new(message, uri(user)).unwrap();
        let (status, body) = self
            .post(Endpoint::SubmitMessage, self.room.as_str(), request.to_bytes())
            .await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        SubmitMessageResponse::from_bytes(&body).unwrap()
    }

    async fn claim(&self, request: Vec<u8>, target: &str) -> KeyMaterialResponse {
        let (status, body) = self.post(Endpoint::KeyMaterial, target, request).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        KeyMaterialResponse::from_bytes(&body).unwrap()
    }

    async fn stop(self) {
        self.b.service.stop().await;
        self.a.service.stop().await;
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A bundle that the client would hand in now.
fn bundle(engine: &mut mls_client::Engine, room: &MimiUri) -> Vec<u8> {
    engine.prepare(room.as_str()).unwrap().unwrap().bundle.0
}

fn message(engine: &mut mls_client::Engine, room: &MimiUri, text: &str) -> Vec<u8> {
    let id = engine
        .compose(room.as_str(), text, "text/plain;charset=utf-8")
        .unwrap();
    engine.submission(room.as_str(), &id).unwrap().0.message.0
}

/// How a code comes about.
enum Reached {
    /// In the test below.
    Here,
    /// Elsewhere: this test's file and name, checked to be there.
    By(&'static str, &'static str),
    /// This provider never says it; its clients understand it (the test of that name).
    Understood(&'static str, &'static str),
}

use Reached::{By, Here, Understood};

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
    const LINES: &str = include_str!("../../../../mls-client/src/wire.rs");
    match code {
        KeyMaterialUserCode::Success
        | KeyMaterialUserCode::PartialSuccess
        | KeyMaterialUserCode::NoCompatibleMaterial
        | KeyMaterialUserCode::UserUnknown
        | KeyMaterialUserCode::NoConsent => Here,
        KeyMaterialUserCode::NoConsentForThisRoom => By(PEOPLE, "a_grant_for_one_room_opens_that_room_alone"),
        KeyMaterialUserCode::IncompatibleProtocol | KeyMaterialUserCode::UserDeleted => {
            Understood(LINES, "every_refusal_of_key_material_is_told_in_words")
        }
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
            By(file, test) | Understood(file, test) => {
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
    (users, clients)
}

/// What each endpoint is fed in the next test: a name, the variable, a body that would be right.
async fn right(scene: &Scene) -> Vec<(Endpoint, String, Vec<u8>)> {
    use mimi_wire::components::AppDataDictionary;
    use mimi_wire::protocol::{ConsentEntry, IdentifierRequest, QueryElement, SearchIdentifierType};
    let room = scene.room.as_str().to_owned();
    let mut bob = scene.rogue(&scene.bob);
    let said = message(&mut bob, &scene.room, "said by nobody");
    let submit = SubmitMessageRequest::new(MlsMessage::from_bytes(&said).unwrap(), uri(BOB)).unwrap();
    let mut carol = scene.rogue(&scene.carol);
    carol.leave(&room).unwrap();
    let second = Person::device(scene.folder.path(), &scene.b, "bob", "d2").await;
    second.does(&["rooms"]).await;
    let info = scene.rogue(&second).ask_group_info(&room).unwrap().request.0;
    let commit = HandshakeBundle::from_bytes(&bundle(&mut carol, &scene.room)).unwrap();
    let notify = FanoutMessage::application(UnixMillis(1), MlsMessage::from_bytes(&said).unwrap(), None);
    let consent = |operation| {
        ConsentEntry {
            consent_operation: operation,
            requester_uri: uri(BOB),
            target_uri: uri(ALICE),
            room_id: None,
            client_key_packages: Vec::new(),
            consent_extensions: AppDataDictionary::default(),
        }
        .to_bytes()
    };
    let query = IdentifierRequest {
        query_elements: vec![QueryElement {
            search_type: SearchIdentifierType::Email,
            field_name: String::new(),
            search_value: "x@a.example".to_owned(),
        }],
        id_request_extensions: AppDataDictionary::default(),
    };
    let claim = scene.rogue(&scene.bob).claim(&room, &uri(DORA)).unwrap();
    vec![
        (Endpoint::Update, room.clone(), commit.to_bytes()),
        (Endpoint::SubmitMessage, room.clone(), submit.to_bytes()),
        (Endpoint::GroupInfo, room.clone(), info),
        (Endpoint::Notify, room, notify.unwrap().to_bytes()),
        (Endpoint::KeyMaterial, DORA.to_owned(), claim),
        (
            Endpoint::RequestConsent,
            ALICE.to_owned(),
            consent(ConsentOperation::Request),
        ),
        (
            Endpoint::UpdateConsent,
            ALICE.to_owned(),
            consent(ConsentOperation::Revoke),
        ),
        (
            Endpoint::IdentifierQuery,
            "a.example".to_owned(),
            query.to_bytes(),
        ),
    ]
}

/// Whether an answer says no.
fn says_no(endpoint: Endpoint, status: StatusCode, body: &[u8]) -> bool {
    if status.is_client_error() {
        return true;
    }
    if status != StatusCode::OK {
        return false;
    }
    match endpoint {
        Endpoint::Update => {
            UpdateRoomResponse::from_bytes(body).unwrap().outcome.code() != UpdateResponseCode::Success
        }
        Endpoint::SubmitMessage => {
            SubmitMessageResponse::from_bytes(body).unwrap().code() != SubmitResponseCode::Accepted
        }
        Endpoint::GroupInfo => GroupInfoResponse::from_bytes(body).unwrap().code() != GroupInfoCode::Success,
        Endpoint::KeyMaterial => {
            KeyMaterialResponse::from_bytes(body).unwrap().user_status != KeyMaterialUserCode::Success
        }
        _ => false,
    }
}

/// Everything that could have changed at the hub.
async fn state(scene: &Scene) -> (Value, Value, Vec<room_engine::FeedEntry>, Value) {
    let feed = scene
        .a
        .service
        .engine()
        .feed(&scene.room, &uri(ALICE), 1, usize::MAX, None)
        .await
        .unwrap();
    let (_, rooms) = scene.a.admin(Method::GET, "/rooms", None).await;
    let (_, reports) = scene.a.admin(Method::GET, "/reports", None).await;
    let (_, accounts) = scene.a.admin(Method::GET, "/accounts", None).await;
    (rooms, reports, feed.entries, accounts)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_is_fed_what_it_must_refuse() {
    let scene = Box::pin(scene()).await;
    scene.a.signed_in("dora").await;
    let right = right(&scene).await;
    let before = state(&scene).await;
    let large = vec![0; (4096 << 10) + 1];
    for (endpoint, variable, body) in &right {
        let (endpoint, name) = (*endpoint, endpoint.name());
        // Truncated anywhere, and with something behind the end.
        let cuts = [0, 1, body.len() / 3, body.len() / 2, body.len() - 1];
        let mut bad: Vec<(String, Vec<u8>)> = cuts
            .iter()
            .map(|cut| (format!("cut at {cut}"), body[..*cut].to_vec()))
            .collect();
        bad.push(("one octet more".to_owned(), [&body[..], &[0]].concat()));
        // Each of the others' bodies.
        for (other, _, theirs) in &right {
            let alike = |e: Endpoint| matches!(e, Endpoint::RequestConsent | Endpoint::UpdateConsent);
            if *other != endpoint && !(alike(*other) && alike(endpoint)) {
                bad.push((format!("the body of {}", other.name()), theirs.clone()));
            }
        }
        for (what, body) in bad {
            let (status, answer) = scene.post(endpoint, variable, body).await;
            assert!(
                says_no(endpoint, status, &answer),
                "{name}, {what}: {status} {answer:?}"
            );
        }
        let (status, _) = scene.post(endpoint, variable, large.clone()).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{name}");
        // One octet wrong, wherever: nothing signed is taken, and nothing breaks. A ciphertext, and the tag on a member's
        // proposal, are for members alone to check: a hub has to pass them on.
        if matches!(endpoint, Endpoint::SubmitMessage | Endpoint::Update) {
            continue;
        }
        for at in (0..body.len()).step_by((body.len() / 12).max(1)) {
            let mut wrong = body.clone();
            wrong[at] ^= 0x40;
            let (status, _) = scene.post(endpoint, variable, wrong).await;
            assert!(!status.is_server_error(), "{name}, octet {at}: {status}");
        }
    }
    // About another room, or somebody else's.
    let of = |wanted: Endpoint| right.iter().find(|(e, ..)| *e == wanted).unwrap();
    for endpoint in [
        Endpoint::Update,
        Endpoint::SubmitMessage,
        Endpoint::GroupInfo,
        Endpoint::Notify,
    ] {
        for variable in ["mimi://a.example/r/nowhere", "mimi://b.example/r/x", ALICE] {
            let (status, answer) = scene.post(endpoint, variable, of(endpoint).2.clone()).await;
            assert!(
                says_no(endpoint, status, &answer),
                "{}, {variable}: {status}",
                endpoint.name()
            );
        }
    }
    for endpoint in [
        Endpoint::KeyMaterial,
        Endpoint::RequestConsent,
        Endpoint::UpdateConsent,
    ] {
        let (status, answer) = scene
            .post(endpoint, "mimi://a.example/u/eve", of(endpoint).2.clone())
            .await;
        assert!(
            says_no(endpoint, status, &answer),
            "{}: {status} {answer:?}",
            endpoint.name()
        );
    }
    // A message of another epoch and of another group; one in a foreign user's name.
    let mut bob = scene.rogue(&scene.bob);
    let said = message(&mut bob, &scene.room, "again");
    let group_id = view(&scene.a).await.group_id.unwrap();
    let mut other_group = said.clone();
    let at = said.windows(group_id.len()).position(|w| w == group_id).unwrap();
    other_group[at] ^= 1;
    let to_room = scene.room.as_str();
    for (message, user) in [
        (super::conversation::of_epoch(&said, &group_id, 0), BOB),
        (super::conversation::of_epoch(&said, &group_id, 9), BOB),
        (other_group, BOB),
        (said.clone(), ALICE),
        (said, "mimi://b.example/u/eve"),
    ] {
        let request =
            SubmitMessageRequest::new(MlsMessage::from_bytes(&message).unwrap(), uri(user)).unwrap();
        let (status, answer) = scene
            .post(Endpoint::SubmitMessage, to_room, request.to_bytes())
            .await;
        assert!(
            says_no(Endpoint::SubmitMessage, status, &answer),
            "{user}: {status} {answer:?}"
        );
    }
    // Nothing of all this has left a trace.
    let after = state(&scene).await;
    assert_eq!(before.0, after.0);
    assert_eq!(before.1, after.1);
    assert_eq!(before.2.len(), after.2.len());
    assert_eq!(before.3, after.3);
    assert_eq!(scene.a.text("/healthz").await.0, StatusCode::OK);
    // And what was right is still taken, once however often it comes.
    let (_, variable, body) = of(Endpoint::Update);
    let (status, first) = scene.post(Endpoint::Update, variable, body.clone()).await;
    assert!(!says_no(Endpoint::Update, status, &first), "{first:?}");
    assert_eq!(
        scene.post(Endpoint::Update, variable, body.clone()).await,
        (status, first)
    );
    scene.stop().await;
}
