//! Every endpoint is fed what it must refuse: the right code, and nothing has changed.

use super::conversation::{Person, view};
use super::scene::{ALICE, BOB, DORA, Scene, bundle, message, scene, uri};
use super::*;
use mimi_wire::Encode as _;
use mimi_wire::codec::UnixMillis;
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{
    ConsentOperation, FanoutMessage, HandshakeBundle, KeyMaterialResponse, KeyMaterialUserCode,
    SubmitMessageRequest, SubmitMessageResponse, SubmitResponseCode, UpdateResponseCode, UpdateRoomResponse,
};

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
    let (_, report) = scene.report(&scene.bob, "insult", "a note");
    vec![
        (Endpoint::Update, room.clone(), commit.to_bytes()),
        (Endpoint::SubmitMessage, room.clone(), submit.to_bytes()),
        (Endpoint::GroupInfo, room.clone(), info),
        (Endpoint::ReportAbuse, room.clone(), report.to_bytes()),
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
    scene.alice.does(&["send", "club", "insult"]).await;
    scene.bob.does(&["read", "club"]).await;
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
        // proposal, are for members alone to check: a hub has to pass them on. What a report says beside its evidence
        // is its sender's to say; the evidence has a test of its own.
        if matches!(
            endpoint,
            Endpoint::SubmitMessage | Endpoint::Update | Endpoint::ReportAbuse
        ) {
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
        Endpoint::ReportAbuse,
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

/// roomHead has no body and a proxied download none either: what is to be refused about them is in the head.
#[tokio::test(flavor = "multi_thread")]
async fn endpoints_without_a_body_are_fed_what_they_must_refuse() {
    let scene = Box::pin(scene()).await;
    let before = state(&scene).await;
    let room = scene.room.as_str();
    let head = Endpoint::RoomHead;
    let (status, body) = scene.post(head, room, Vec::new()).await;
    let head_of: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &head_of["epoch"]), (StatusCode::OK, &json!("1")));
    let large = (4096 << 10) + 1;
    for (variable, body, status) in [
        (room, vec![0], 400),
        (room, b"{}".to_vec(), 400),
        (room, vec![0; large], 413),
        ("mimi://a.example/r/nowhere", Vec::new(), 404),
        ("mimi://b.example/r/elsewhere", Vec::new(), 404),
        (ALICE, Vec::new(), 404),
        ("no name", Vec::new(), 400),
    ] {
        let (got, answer) = scene.post(head, variable, body).await;
        assert_eq!(got.as_u16(), status, "{variable}: {answer:?}");
    }
    // Nobody but a peer, in its own name, learns anything; and no method but the right one does anything.
    let stranger = super::bad_input::liar(
        scene.folder.path(),
        &["b.example", "c.example"],
        scene.a.service.addresses().mimi,
    );
    let ask = async |from: &str, method: Method, path: &str, body: Vec<u8>| {
        let asked = stranger
            .request(method, format!("https://a.example/v1/{path}"))
            .header("from", from)
            .body(body)
            .send();
        asked.await.unwrap().status().as_u16()
    };
    let encoded = percent_encoding::utf8_percent_encode(room, percent_encoding::NON_ALPHANUMERIC).to_string();
    let room_head = format!("roomHead/{encoded}");
    for (from, method, path, status) in [
        ("mimi@c.example", Method::POST, room_head.as_str(), 403),
        ("mimi@d.example", Method::POST, &room_head, 403),
        ("mimi@b.example", Method::GET, &room_head, 405),
        (
            "mimi@b.example",
            Method::POST,
            "proxyDownload/https%3A%2F%2Fb.example%2Fx",
            405,
        ),
        ("mimi@b.example", Method::GET, "proxyDownload/%FF%FE", 400),
        (
            "mimi@b.example",
            Method::GET,
            "proxyDownload/https%3A%2F%2Fe.example%2Fx",
            403,
        ),
        (
            "mimi@d.example",
            Method::GET,
            "proxyDownload/https%3A%2F%2Fb.example%2Fx",
            403,
        ),
        ("mimi@b.example", Method::GET, "asset/nothing", 404),
        ("mimi@b.example", Method::POST, "asset/nothing", 405),
        ("mimi@d.example", Method::GET, "asset/nothing", 403),
        ("mimi@b.example", Method::PUT, "ohttp", 405),
        ("mimi@d.example", Method::GET, "ohttp", 403),
    ] {
        assert_eq!(ask(from, method, path, Vec::new()).await, status, "{from} {path}");
    }
    assert_eq!(before.0, state(&scene).await.0);
    assert_eq!(scene.a.text("/healthz").await.0, StatusCode::OK);
    scene.stop().await;
}
