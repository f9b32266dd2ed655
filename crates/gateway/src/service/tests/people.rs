//! Consent and searches between two providers, over the wire and through the command-line client.

use super::conversation::Person;
use super::*;
use crate::config::ConsentRequiredOf;
use mimi_wire::components::AppDataDictionary;
use mimi_wire::protocol::{
    ConsentEntry, ConsentOperation, IdentifierQueryCode, IdentifierRequest, IdentifierResponse, QueryElement,
    SearchIdentifierType,
};
use mimi_wire::{Encode as _, MimiUri};

const ALICE: &str = "mimi://a.example/u/alice";
const BOB: &str = "mimi://b.example/u/bob";

/// Both providers; at b.example who comes from elsewhere has to ask.
async fn two(folder: &Path) -> [Provider; 2] {
    let [a, mut b] = configurations(folder);
    b.users.consent_required_of = ConsentRequiredOf::Foreign;
    [start(a).await, start(b).await]
}

/// Repeats until it is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if so().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alice_asks_bob_and_may_add_him_then() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = two(folder.path()).await;
    let alice = Person::new(folder.path(), &a, "alice").await;
    let bob = Person::new(folder.path(), &b, "bob").await;
    let open = async || {
        let open = b.service.engine().open_consent_requests().await.unwrap();
        open.len()
    };
    alice.does(&["create", "club"]).await;
    let refused = alice.tries(&["add", "club", BOB]).await.unwrap_err();
    assert!(refused.cause().contains("consent"), "{}", refused.cause());

    alice.does(&["consent", "request", "bob@b.example"]).await;
    until("asked", async || open().await == 1).await;
    alice.does(&["consent"]).await;
    alice.does(&["consent", "--json"]).await;
    bob.does(&["notices"]).await;
    bob.does(&["consent", "grant", ALICE]).await;
    let granted = async || {
        let book = a
            .service
            .engine()
            .consents(room_engine::RequestContext::default(), &uri(ALICE))
            .await;
        book.unwrap().of_others[0].answer.is_some_and(|a| a.granted)
    };
    until("granted", granted).await;
    assert_eq!(open().await, 0);
    alice.does(&["add", "club", BOB]).await;

    // Carol asks after somebody who isn't there, and learns as much as if he were.
    let carol = Person::new(folder.path(), &a, "carol").await;
    carol.does(&["consent", "request", "nobody@b.example"]).await;
    let sent = async || {
        let user = uri("mimi://a.example/u/carol");
        let book = a
            .service
            .engine()
            .consents(room_engine::RequestContext::default(), &user)
            .await;
        book.unwrap().of_others[0].sent == Some(room_engine::Sent::Delivered)
    };
    until("delivered", sent).await;
    carol.does(&["consent", "cancel", "nobody@b.example"]).await;

    // A provider that is none of ours doesn't take it, and Carol is told.
    carol.does(&["consent", "request", "dave@d.example"]).await;
    let failed = async || {
        let user = uri("mimi://a.example/u/carol");
        let book = a
            .service
            .engine()
            .consents(room_engine::RequestContext::default(), &user)
            .await;
        let of_others = book.unwrap().of_others;
        of_others
            .iter()
            .any(|one| matches!(one.sent, Some(room_engine::Sent::Failed { .. })))
    };
    until("failed", failed).await;

    // Found by what he says, where he says so.
    let search = ["find", "b.example", "--handle", "im:bob@b.example"];
    assert!(alice.tries(&search).await.is_err());
    bob.does(&[
        "profile",
        "set",
        "vcard:IMPP",
        "im:bob@b.example",
        "--search",
        "exact",
    ])
    .await;
    bob.does(&["profile", "set", "oidc:name", "Bob", "--shown"]).await;
    bob.does(&["profile"]).await;
    alice.does(&search).await;
    let part = ["find", "b.example", "--name-part", "Bob"];
    assert!(
        alice
            .tries(&part)
            .await
            .unwrap_err()
            .cause()
            .contains("whole values")
    );
    bob.does(&["profile", "unset", "vcard:IMPP"]).await;
    assert!(alice.tries(&search).await.is_err());
    bob.does(&["consent", "require", "nobody"]).await;
    bob.does(&["consent", "forget", ALICE]).await;
    alice.does(&["create", "second"]).await;
    alice.does(&["add", "second", BOB]).await;
    b.service.stop().await;
    a.service.stop().await;
}

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

fn entry(operation: ConsentOperation, requester: &str, target: &str) -> Bytes {
    let entry = ConsentEntry {
        consent_operation: operation,
        requester_uri: uri(requester),
        target_uri: uri(target),
        room_id: None,
        client_key_packages: Vec::new(),
        consent_extensions: AppDataDictionary::default(),
    };
    entry.to_bytes().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_endpoints_say_201_whoever_is_meant_and_refuse_what_they_must() {
    use ConsentOperation::{Cancel, Grant, Request, Revoke};
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = two(folder.path()).await;
    b.signed_in("bob").await;
    let peer = a.peer();
    let to = domain("b.example");
    let nobody = "mimi://b.example/u/nobody";
    let other = "mimi://c.example/u/carol";
    let (ask, tell) = (Endpoint::RequestConsent, Endpoint::UpdateConsent);
    for (endpoint, path, body, status) in [
        (ask, BOB, entry(Request, ALICE, BOB), 201),
        (ask, BOB, entry(Request, ALICE, BOB), 201),
        (ask, "b.example", entry(Request, ALICE, BOB), 201),
        (ask, BOB, entry(Cancel, ALICE, BOB), 201),
        (ask, BOB, entry(Cancel, ALICE, BOB), 201),
        (ask, nobody, entry(Request, ALICE, nobody), 201),
        (tell, BOB, entry(Grant, BOB, ALICE), 201),
        (tell, nobody, entry(Revoke, nobody, ALICE), 201),
        // Not theirs to say, not ours to hear.
        (ask, BOB, entry(Request, other, BOB), 403),
        (ask, other, entry(Request, ALICE, other), 403),
        (tell, BOB, entry(Grant, BOB, other), 403),
        // Something else.
        (ask, BOB, entry(Grant, ALICE, BOB), 400),
        (tell, BOB, entry(Request, BOB, ALICE), 400),
        (ask, nobody, entry(Request, ALICE, BOB), 400),
        (ask, "c.example", entry(Request, ALICE, BOB), 400),
        (ask, BOB, Bytes::from_static(b"\x01\x18"), 400),
        (ask, BOB, Bytes::from(vec![0; (4096 << 10) + 1]), 413),
    ] {
        let answer = peer.post(&to, endpoint, path, "r1", body).await.unwrap();
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{} {path} {:?}",
            endpoint.name(),
            answer.body
        );
        assert!(status != 201 || answer.body.is_empty());
    }
    let book = b
        .service
        .engine()
        .consents(room_engine::RequestContext::default(), &uri(BOB))
        .await
        .unwrap();
    assert!(book.of_me.is_empty(), "taken back: {book:?}");
    assert_eq!(book.of_others.len(), 1);
    b.service.stop().await;
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_identifier_query_is_reached() {
    use IdentifierQueryCode as Code;
    use SearchIdentifierType as By;
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = two(folder.path()).await;
    let token = b.signed_in("bob").await;
    let profile = json!({"profile": [
        {"vocabulary": "oidc", "name": "email", "value": "bob@b.example", "search": "exact", "shown": true},
        {"vocabulary": "oidc", "name": "name", "value": "Bob", "search": "no", "shown": false},
    ]});
    let (status, answer) = b
        .client(Method::PUT, "/settings", Some(&token), Some(profile))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let wrong = json!({"profile": [{"vocabulary": "oidc", "name": "password", "value": "x"}]});
    let (status, _) = b
        .client(Method::PUT, "/settings", Some(&token), Some(wrong))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let peer = a.peer();
    let to = domain("b.example");
    let ask = async |path: &str, body: Vec<u8>| {
        let asked = peer
            .post(&to, Endpoint::IdentifierQuery, path, "r1", body.into())
            .await;
        asked.unwrap()
    };
    let query = |elements: &[(By, &str, &str)]| IdentifierRequest {
        query_elements: elements
            .iter()
            .map(|(by, name, value)| QueryElement {
                search_type: *by,
                field_name: (*name).to_owned(),
                search_value: (*value).to_owned(),
            })
            .collect(),
        id_request_extensions: AppDataDictionary::default(),
    };
    for (elements, code) in [
        (vec![(By::Email, "", "bob@b.example")], Code::Success),
        (vec![(By::Email, "", "eve@b.example")], Code::NotFound),
        (vec![(By::OidcStdClaim, "name", "Bob")], Code::NotFound),
        (vec![(By::PartialName, "", "Bob")], Code::Ambiguous),
        (vec![], Code::Forbidden),
        (vec![(By::VcardField, "X-PASSWORD", "1")], Code::UnsupportedField),
    ] {
        let answer = ask("b.example", query(&elements).to_bytes()).await;
        assert_eq!(answer.status, StatusCode::OK);
        let response = IdentifierResponse::from_bytes(&answer.body).unwrap();
        assert_eq!(response.response_code, code, "{elements:?}");
        let shown: Vec<_> = response.found_profiles.iter().flat_map(|p| &p.fields).collect();
        let found = code == Code::Success;
        assert_eq!(
            (response.uri.len(), shown.len()),
            (usize::from(found), usize::from(found))
        );
    }
    let malformed = ask("b.example", b"\x41".to_vec()).await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
    let elsewhere = ask("c.example", query(&[]).to_bytes()).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
    b.service.stop().await;
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_waits_for_notices_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = two(folder.path()).await;
    let token = b.signed_in("bob").await;
    let (status, first) = b.client(Method::GET, "/notices", Some(&token), None).await;
    assert_eq!((status, &first["consent_requests"]), (StatusCode::OK, &json!([])));
    assert_eq!(first["key_packages"]["low"], true);
    let since = format!("/notices?since={}", first["version"]);
    let (_, same) = b.client(Method::GET, &since, Some(&token), None).await;
    assert_eq!(same, first, "nothing new, no wait");
    let path = format!("{since}&wait_ms=60000");
    let waits = b.client(Method::GET, &path, Some(&token), None);
    let asks = async {
        let body = entry(ConsentOperation::Request, ALICE, BOB);
        let to = domain("b.example");
        a.peer()
            .post(&to, Endpoint::RequestConsent, BOB, "r1", body)
            .await
    };
    let ((_, woken), asked) = tokio::join!(waits, asks);
    assert_eq!(asked.unwrap().status, StatusCode::CREATED);
    assert_eq!(woken["consent_requests"][0]["user"], ALICE);
    assert_eq!(woken["consent_requests"][0]["state"], "asked");
    b.service.stop().await;
    a.service.stop().await;
}
