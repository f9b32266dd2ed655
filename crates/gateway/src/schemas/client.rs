//! OpenAPI of the client API.

use super::operation::{Body, Document};
use mls_client::api::{
    ApiError, AssetRef, BlobRef, ClaimRequest, ConsentAct, Consents, CreateRoom, Device, GroupInfoQuery,
    HubAnswer, KeyPackageStock, LogPage, LoginRequest, LoginResponse, NewSettings, Notices, PREFIX,
    ProviderInfo, ReportAbuse, RoomCard, RoomSummary, SearchAnswer, SearchRequest, SetWake, Settings,
    SubmissionStatus, SubmitMessage, UpdateRequest, UploadKeyPackages, Wish, WishOutcome,
};
use serde_json::Value;

pub(super) fn describe() -> Value {
    let mut d = Document::new::<ApiError>();
    let path = |rest: &str| format!("{PREFIX}{rest}");
    let answer = d.json::<ProviderInfo>();
    d.add(
        ("get", &path("/provider"), 200),
        "What a client must know before it makes a key.",
        true,
        &[],
        (Body::None, answer),
    );
    let bodies = (d.json::<LoginRequest>(), d.json::<LoginResponse>());
    d.add(
        ("post", &path("/login"), 200),
        "Signs a device in.",
        true,
        &[],
        bodies,
    );
    d.add(
        ("post", &path("/logout"), 204),
        "Ends the session.",
        false,
        &[],
        (Body::None, Body::None),
    );
    let answer = d.json::<Vec<Device>>();
    d.add(
        ("get", &path("/devices"), 200),
        "The user's devices.",
        false,
        &[],
        (Body::None, answer),
    );
    let bodies = (d.json::<UploadKeyPackages>(), d.json::<KeyPackageStock>());
    d.add(
        ("post", &path("/key_packages"), 200),
        "Adds to the device's stock.",
        false,
        &[],
        bodies,
    );
    let answer = d.json::<KeyPackageStock>();
    d.add(
        ("get", &path("/key_packages"), 200),
        "The device's stock.",
        false,
        &[],
        (Body::None, answer),
    );
    people(&mut d);
    let bodies = (d.json::<CreateRoom>(), d.json::<RoomSummary>());
    d.add(
        ("post", &path("/rooms"), 200),
        "Founds a room.",
        false,
        &[],
        bodies,
    );
    let answer = d.json::<Vec<RoomSummary>>();
    d.add(
        ("get", &path("/rooms"), 200),
        "The user's rooms.",
        false,
        &[],
        (Body::None, answer),
    );
    let bodies = (d.json::<ClaimRequest>(), d.json::<HubAnswer>());
    d.add(
        ("post", &path("/rooms/{room}/claims"), 200),
        "Fetches KeyPackages through the hub.",
        false,
        &[],
        bodies,
    );
    let bodies = (d.json::<UpdateRequest>(), d.json::<HubAnswer>());
    d.add(
        ("post", &path("/rooms/{room}/update"), 200),
        "Hands a commit or proposals to the hub.",
        false,
        &[],
        bodies,
    );
    let bodies = (d.json::<GroupInfoQuery>(), d.json::<HubAnswer>());
    d.add(
        ("post", &path("/rooms/{room}/group_info"), 200),
        "Asks the hub for the GroupInfo.",
        false,
        &[],
        bodies,
    );
    let bodies = (d.json::<SubmitMessage>(), d.json::<SubmissionStatus>());
    d.add(
        ("post", &path("/rooms/{room}/messages"), 200),
        "Submits a message.",
        false,
        &[],
        bodies,
    );
    let answer = d.json::<LogPage>();
    let query = [
        ("from", "First position wanted."),
        ("limit", "Entries at most."),
        ("wait_ms", "How long to wait for the first entry; 60,000 at most."),
    ];
    d.add(
        ("get", &path("/rooms/{room}/log"), 200),
        "A page of the room's feed.",
        false,
        &query,
        (Body::None, answer),
    );
    let body = d.json::<RoomCard>();
    d.add(
        ("put", &path("/rooms/{room}/card"), 204),
        "Tells what a member knows of a room whose hub is elsewhere, for the portal to show.",
        false,
        &[],
        (body, Body::None),
    );
    let body = d.json::<ReportAbuse>();
    d.add(
        ("post", &path("/rooms/{room}/reports"), 204),
        "Reports abuse to the room's hub.",
        false,
        &[],
        (body, Body::None),
    );
    let body = d.json::<SetWake>();
    d.add(
        ("put", &path("/wake"), 204),
        "Has the client woken by to-device events of the homeserver.",
        false,
        &[],
        (body, Body::None),
    );
    let answer = d.json::<Vec<Wish>>();
    d.add(
        ("get", &path("/wishes"), 200),
        "What was asked for on the Matrix side and waits for a client.",
        false,
        &[],
        (Body::None, answer),
    );
    let body = d.json::<WishOutcome>();
    d.add(
        ("post", &path("/wishes/{id}"), 204),
        "Tells what became of a wish.",
        false,
        &[],
        (body, Body::None),
    );
    let answer = d.json::<AssetRef>();
    d.add(
        ("post", &path("/assets"), 200),
        "Keeps what the client has encrypted, for a message that names its address.",
        false,
        &[],
        (Body::Octets, answer),
    );
    d.add(
        ("get", &path("/rooms/{room}/assets"), 200),
        "An asset (`url`, a string) that a message of the room names, through the room's hub.",
        false,
        &[],
        (Body::None, Body::Octets),
    );
    d.add(
        ("get", &path("/rooms/{room}/ohttp"), 200),
        "The keys of the hub's OHTTP gateway (application/ohttp-keys).",
        false,
        &[],
        (Body::None, Body::Octets),
    );
    d.add(
        ("post", &path("/rooms/{room}/ohttp"), 200),
        "Relays a message/ohttp-req to the hub's gateway; the answer is message/ohttp-res.",
        false,
        &[],
        (Body::Octets, Body::Octets),
    );
    let answer = d.json::<BlobRef>();
    d.add(
        ("put", &path("/blobs"), 200),
        "Stores octets.",
        false,
        &[],
        (Body::Octets, answer),
    );
    d.add(
        ("get", &path("/blobs/{sha256}"), 200),
        "Reads octets.",
        false,
        &[],
        (Body::None, Body::Octets),
    );
    d.finish(
        "Causeway client API",
        "Between MLS clients and their own provider. {room} is the room URI, percent-encoded as one path segment.",
    )
}

/// Users outside of any room.
fn people(d: &mut Document) {
    let path = |rest: &str| format!("{PREFIX}{rest}");
    let answer = d.json::<Notices>();
    let query = [
        ("since", "The version that is known already."),
        ("wait_ms", "How long to wait for another; 60,000 at most."),
    ];
    d.add(
        ("get", &path("/notices"), 200),
        "What waits for the user or the device.",
        false,
        &query,
        (Body::None, answer),
    );
    let answer = d.json::<Consents>();
    d.add(
        ("get", &path("/consents"), 200),
        "Who may add whom to rooms.",
        false,
        &[],
        (Body::None, answer),
    );
    let bodies = (d.json::<ConsentAct>(), d.json::<Consents>());
    d.add(
        ("post", &path("/consents"), 200),
        "Asks for consent, answers, takes back.",
        false,
        &[],
        bodies,
    );
    let answer = d.json::<Settings>();
    d.add(
        ("get", &path("/settings"), 200),
        "What the user decides about consent and about being found.",
        false,
        &[],
        (Body::None, answer),
    );
    let bodies = (d.json::<NewSettings>(), d.json::<Settings>());
    d.add(
        ("put", &path("/settings"), 200),
        "Replaces that.",
        false,
        &[],
        bodies,
    );
    let bodies = (d.json::<SearchRequest>(), d.json::<SearchAnswer>());
    d.add(
        ("post", &path("/search"), 200),
        "Looks for users at a provider.",
        false,
        &[],
        bodies,
    );
}
