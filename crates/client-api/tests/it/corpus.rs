//! The fuzz target's corpus.

#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../../mimi-wire/tests/it/replay.rs"]
mod replay;

use checks::KINDS;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

#[test]
fn bodies() {
    replay::replay(FUZZ, "bodies", checks::bodies);
}

/// Bodies of each kind, as they go over the wire.
const SAMPLES: &[(&str, &str)] = &[
    (
        "ApiError",
        r#"{"code":"rate_limited","error":"too many requests","retry_after_ms":1000}"#,
    ),
    ("AssetRef", r#"{"url":"https://a.example/v1/asset/x","size":7}"#),
    ("BlobRef", r#"{"sha256":"00ff","size":7}"#),
    ("ClaimRequest", r#"{"request":"AAEC"}"#),
    (
        "ConsentAct",
        r#"{"act":"refuse","user":"mimi://b.example/u/bob","room":"mimi://a.example/r/club","tell":true}"#,
    ),
    (
        "Consents",
        r#"{"of_me":[{"user":"mimi://b.example/u/bob","state":"asked","at":7}],"of_others":[{"user":"u","room":"r","state":"failed","at":1,"reason":"no such user"}]}"#,
    ),
    (
        "CreateRoom",
        r#"{"room":"mimi://a.example/r/club","group_info":"AA","ratchet_tree":"AA"}"#,
    ),
    (
        "Device",
        r#"{"client":"mimi://a.example/d/alice/d1","key_packages":20,"last_resort":true,"created_at":1700000000000}"#,
    ),
    ("GroupInfoQuery", r#"{"request":"_-8"}"#),
    ("HubAnswer", r#"{"response":""}"#),
    (
        "KeyPackageStock",
        r#"{"available":3,"last_resort":false,"last_resort_used":true,"low":true}"#,
    ),
    (
        "LogPage",
        r#"{"entries":[{"pos":"1","at":"1700000000000","event_id":"$x","kind":"welcome","message":"AA","ratchet_tree":"AA"},{"pos":"2","at":"2","event_id":null,"kind":"commit","message":"AA","external_proposals":["AA"]},{"pos":"3","at":"3","event_id":null,"kind":"message","message":"AA","frank":null},{"pos":"4","at":"4","event_id":null,"kind":"status","id":"m1","state":"refused","code":"epoch_too_old","reason":"old","current_epoch":"18446744073709551615"},{"pos":"5","at":"5","event_id":null,"kind":"wish","id":"w","made_at":"5","room":null,"asked_in":"!r","want":"set_role","user":"u","role":2},{"pos":"6","at":"6","event_id":null,"kind":"proposals","messages":[]}],"next":"7"}"#,
    ),
    (
        "LoginRequest",
        r#"{"kind":"local_token","user":"alice","token":"secret","device":"d1"}"#,
    ),
    (
        "LoginRequest",
        r#"{"kind":"matrix_openid","access_token":"t","device":"d1"}"#,
    ),
    (
        "LoginResponse",
        r#"{"result":"session","token":"t","user":"u","client":"c"}"#,
    ),
    (
        "LoginResponse",
        r#"{"result":"challenge","nonce":"n","bot":"@_mimi:a.example"}"#,
    ),
    (
        "NewSettings",
        r#"{"consent_required_of":"everybody","profile":[{"vocabulary":"vcard","name":"FN","value":"Alice","search":"partial","shown":true}]}"#,
    ),
    (
        "Notices",
        r#"{"version":1,"consent_requests":[],"consents_of_others":[],"key_packages":{"available":0,"last_resort":true}}"#,
    ),
    (
        "ProviderInfo",
        r#"{"provider":"a.example","external_sender":"AA","franking_agent":"AA","cipher_suites":[1,2,3],"login":["matrix_openid","local_token"],"homeserver":null,"bot":null}"#,
    ),
    ("ReportAbuse", r#"{"report":"AA"}"#),
    (
        "RoomCard",
        r#"{"epoch":"3","name":"Club","topic":null,"picture":"https://a.example/p","roles":"AA","participants":[{"user":"u","role":1}]}"#,
    ),
    (
        "RoomSummary",
        r#"{"room":"r","hub":"a.example","name":null,"group_id":"AA","epoch":"1","portal":"!p","first":"1","next":"9","joined":true}"#,
    ),
    (
        "SearchAnswer",
        r#"{"result":"success","found":[{"user":"u","fields":[{"vocabulary":"oidc","name":"name","value":"Alice"}]}]}"#,
    ),
    (
        "SearchRequest",
        r#"{"provider":"b.example","elements":[{"by":"oidc_claim","name":"email","value":"x@b.example"},{"by":"handle","value":"im:x@b.example"}]}"#,
    ),
    ("SetWake", r#"{"matrix_device":"ABC"}"#),
    (
        "Settings",
        r#"{"provider_requires_of":"foreign","provider_search":"exact","profile":[]}"#,
    ),
    (
        "SubmissionStatus",
        r#"{"id":"m1","state":"accepted","accepted_at":"7","frank":"AA"}"#,
    ),
    ("SubmissionStatus", r#"{"id":"m1","state":"queued"}"#),
    ("SubmitMessage", r#"{"id":"m1","message":"AAEC"}"#),
    ("UpdateRequest", r#"{"bundle":"AA"}"#),
    ("UploadKeyPackages", r#"{"key_packages":["AA","AQ"]}"#),
    (
        "Wish",
        r#"{"id":"w","made_at":"1","room":"r","asked_in":"!r","want":"start","users":["u"],"name":"x"}"#,
    ),
    ("WishOutcome", r#"{"outcome":"declined","reason":"no"}"#),
];

/// The samples are bodies, each of its kind, and no kind is without one.
#[test]
fn samples() {
    for (kind, check) in KINDS {
        let mut of = SAMPLES.iter().filter(|(of, _)| of == kind).peekable();
        assert!(of.peek().is_some(), "{kind}");
        assert!(of.all(|(_, json)| check(json.as_bytes())), "{kind}");
    }
}

/// Writes the corpus anew when asked to.
#[test]
fn update() {
    if !replay::updates() {
        return;
    }
    for (number, (kind, json)) in SAMPLES.iter().enumerate() {
        let place = KINDS.iter().position(|(of, _)| of == kind).unwrap();
        let input = [&[u8::try_from(place).unwrap()], json.as_bytes()].concat();
        replay::write(FUZZ, "bodies", &format!("{kind}-{number}"), &input);
    }
}
