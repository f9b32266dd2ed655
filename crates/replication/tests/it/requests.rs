//! Requests of servers that are not who they say they are, or want what is not theirs.

use crate::peer::{Peer, endless, key_document, ok};
use crate::room::{VERSION, now, user};
use crate::world::{NODE, Node, ctx};
use axum::body::Body;
use event_graph::SigningIdentity;
use http::{Method, Request, StatusCode};
use replication::server::{Admission, Admitted, Denied};
use replication::{auth, server};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DAY: i64 = 86_400_000;
const VERSION_TARGET: &str = "/_matrix/federation/v1/query/profile?user_id=@_causeway:node.test";

#[tokio::test]
async fn forged_keys_sign_nothing() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    assert_eq!(node.get(&peer.identity, VERSION_TARGET).await, StatusCode::OK);
    let name = peer.name.as_str();
    // Another key under the same id, and an id that the server doesn't list.
    for forged in [
        SigningIdentity::from_seed(name, "ed25519:p", &[9; 32]),
        SigningIdentity::from_seed(name, "ed25519:q", &[1; 32]),
    ] {
        assert_eq!(node.get(&forged, VERSION_TARGET).await, StatusCode::UNAUTHORIZED);
    }
    // Unknown key ids don't make us ask again and again.
    for n in 0..20 {
        let forged = SigningIdentity::from_seed(name, &format!("ed25519:x{n}"), &[1; 32]);
        assert_eq!(node.get(&forged, VERSION_TARGET).await, StatusCode::UNAUTHORIZED);
    }
    assert!(peer.count("key/v2/server") <= 2);
}

/// ATK-36.
#[tokio::test]
async fn expired_keys_sign_no_requests() {
    let node = Node::new().await;
    let (past, old) = (
        Peer::start(&node.authority, 1).await,
        Peer::start(&node.authority, 2).await,
    );
    let document = key_document(&past.identity, now() - 1, &json!({}));
    past.script(move |asked| asked.target.ends_with("key/v2/server").then(|| ok(&document)));
    assert_eq!(
        node.get(&past.identity, VERSION_TARGET).await,
        StatusCode::UNAUTHORIZED
    );

    // The key that signs is an old one by now.
    let newer = SigningIdentity::from_seed(old.name.as_str(), "ed25519:new", &[3; 32]);
    let listed = json!({ old.identity.key_id(): {
        "key": old.identity.verify_key().to_base64(), "expired_ts": now() + DAY,
    } });
    let document = key_document(&newer, now() + DAY, &listed);
    old.script(move |asked| asked.target.ends_with("key/v2/server").then(|| ok(&document)));
    assert_eq!(
        node.get(&old.identity, VERSION_TARGET).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(node.get(&newer, VERSION_TARGET).await, StatusCode::OK);
}

#[tokio::test]
async fn keys_of_another_server_in_an_answer_do_not_count() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    // It answers with a document of somebody else, rightly signed by him.
    let other = SigningIdentity::from_seed("b.example", "ed25519:p", &[1; 32]);
    let document = key_document(&other, now() + DAY, &json!({}));
    peer.script(move |asked| asked.target.ends_with("key/v2/server").then(|| ok(&document)));
    assert_eq!(
        node.get(&peer.identity, VERSION_TARGET).await,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn requests_for_others_and_of_ourselves_are_refused() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let call = async |by: &SigningIdentity, to: &str, header: Option<String>| {
        let header = header.unwrap_or_else(|| auth::sign(by, "GET", VERSION_TARGET, to, None));
        let request = Request::get(VERSION_TARGET).header("authorization", header);
        node.raw(request.body(Body::empty()).unwrap()).await.0
    };
    assert_eq!(call(&peer.identity, NODE, None).await, StatusCode::OK);
    assert_eq!(
        call(&peer.identity, "b.example", None).await,
        StatusCode::UNAUTHORIZED
    );
    // Who claims to be us is not asked for keys.
    let own = SigningIdentity::from_seed(NODE, "ed25519:n", &[7; 32]);
    assert_eq!(call(&own, NODE, None).await, StatusCode::UNAUTHORIZED);
    let malformed = Some("X-Matrix origin=a".to_owned());
    assert_eq!(call(&own, NODE, malformed).await, StatusCode::UNAUTHORIZED);
    let request = Request::get(VERSION_TARGET).body(Body::empty()).unwrap();
    assert_eq!(node.raw(request).await.0, StatusCode::UNAUTHORIZED);
    // Two headers of different servers.
    let other = Peer::start(&node.authority, 2).await;
    let request = Request::get(VERSION_TARGET)
        .header(
            "authorization",
            auth::sign(&peer.identity, "GET", VERSION_TARGET, NODE, None),
        )
        .header(
            "authorization",
            auth::sign(&other.identity, "GET", VERSION_TARGET, NODE, None),
        );
    let both = node.raw(request.body(Body::empty()).unwrap()).await;
    assert_eq!(both.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_transaction_of_another_origin_is_refused() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let content = json!({ "origin": "b.example", "origin_server_ts": now(), "pdus": [] });
    let target = "/_matrix/federation/v1/send/1";
    let (status, _) = node
        .ask(&peer.identity, Method::PUT, target, Some(&content))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

/// ATK-15, ATK-40: what is no canonical JSON is never parsed further.
#[tokio::test]
async fn bodies_that_are_no_canonical_json_are_refused() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let target = "/_matrix/federation/v1/send/1";
    for body in [
        "",
        "[]",
        "{",
        "{\"pdus\":[NaN]}",
        "{\"pdus\":[1.5]}",
        "{\"pdus\":[{\"depth\":9007199254740992}]}",
        "{\"pdus\":[],\"pdus\":[]}",
        "{\"pdus\":{}}",
        "{\"pdus\":[]} x",
        "\u{feff}{\"pdus\":[]}",
    ] {
        let header = auth::sign(
            &peer.identity,
            "PUT",
            target,
            NODE,
            Some(body).filter(|b| !b.is_empty()),
        );
        let request = Request::put(target).header("authorization", header);
        let (status, answer) = node.raw(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
    }
}

/// ATK-34, ATK-49: bounds before anything is parsed, and nothing is inflated.
#[tokio::test]
async fn large_and_slow_bodies_are_cut_off() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let target = "/_matrix/federation/v1/send/1";
    let put = |body: Body| {
        let header = auth::sign(&peer.identity, "PUT", target, NODE, None);
        let request = Request::put(target).header("authorization", header);
        node.raw(request.body(body).unwrap())
    };
    let (status, _) = put(Body::from(vec![b' '; (8 << 20) + 1])).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = put(endless()).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    // A gzip header is read as what it is: no JSON.
    let (status, _) = put(Body::from(vec![0x1f, 0x8b, 8, 0])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let many = |name: &str, count: usize| json!({ name: vec![json!({}); count] });
    for (content, expected) in [
        (many("pdus", 51), StatusCode::BAD_REQUEST),
        (many("edus", 101), StatusCode::BAD_REQUEST),
        (many("edus", 100), StatusCode::OK),
    ] {
        let (status, _) = node
            .ask(&peer.identity, Method::PUT, target, Some(&content))
            .await;
        assert_eq!(status, expected);
    }
}

/// Lets three requests of a server in.
#[derive(Default)]
struct Three(Mutex<HashMap<String, usize>>);

impl Admission for Three {
    fn enter(&self, origin: &str) -> Result<Admitted, Denied> {
        let mut counted = self.0.lock().unwrap();
        let count = counted.entry(origin.to_owned()).or_default();
        *count += 1;
        if *count > 3 {
            return Err(Denied {
                reason: "too many".to_owned(),
                retry_after: Duration::from_millis(1500),
            });
        }
        Ok(Box::new(()))
    }
}

#[tokio::test]
async fn a_server_that_asks_too_much_is_put_off_and_nobody_pays_for_another() {
    let mut node = Node::new().await;
    let time = Duration::from_secs(10);
    node.router = server::router(node.federation.clone(), time, Arc::new(Three::default()));
    let flood = Peer::start(&node.authority, 1).await;
    let quiet = Peer::start(&node.authority, 2).await;
    // What only bears a server's name counts for nobody.
    let forged = SigningIdentity::from_seed(quiet.name.as_str(), "ed25519:p", &[9; 32]);
    for _ in 0..5 {
        assert_eq!(node.get(&forged, VERSION_TARGET).await, StatusCode::UNAUTHORIZED);
    }
    for _ in 0..3 {
        assert_eq!(node.get(&flood.identity, VERSION_TARGET).await, StatusCode::OK);
    }
    let (status, answer) = node.ask(&flood.identity, Method::GET, VERSION_TARGET, None).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer["errcode"], "M_LIMIT_EXCEEDED");
    assert_eq!(answer["retry_after_ms"], 1500);
    assert_eq!(node.get(&quiet.identity, VERSION_TARGET).await, StatusCode::OK);
}

#[tokio::test]
async fn unknown_endpoints_and_methods() {
    let node = Node::new().await;
    for (method, target, expected) in [
        (
            Method::GET,
            "/_matrix/federation/v1/nothing",
            StatusCode::NOT_FOUND,
        ),
        (Method::GET, "/", StatusCode::NOT_FOUND),
        (
            Method::GET,
            "/_matrix/federation/v1/send/1",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            Method::PUT,
            "/_matrix/federation/v1/version",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .body(Body::empty())
            .unwrap();
        let (status, answer) = node.raw(request).await;
        assert_eq!(
            (status, answer["errcode"].as_str()),
            (expected, Some("M_UNRECOGNIZED"))
        );
    }
}

/// ATK-02, ATK-04, ATK-20, ATK-26, ATK-48: who is not in a room learns nothing of it.
#[tokio::test]
async fn strangers_learn_nothing_of_a_room() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let stranger = Peer::start(&node.authority, 2).await;
    node.join(&peer).await;
    let (room, event) = {
        let room = peer.room.lock().unwrap();
        (room.id.clone(), room.newest().event_id().to_string())
    };
    let federation = "/_matrix/federation/v1";
    let targets = [
        format!("{federation}/event/{event}"),
        format!("{federation}/event_auth/{room}/{event}"),
        format!("{federation}/state/{room}?event_id={event}"),
        format!("{federation}/state_ids/{room}?event_id={event}"),
        format!("{federation}/backfill/{room}?v={event}&limit=10"),
        format!("{federation}/timestamp_to_event/{room}?ts={}&dir=b", now()),
        format!("{federation}/hierarchy/{room}"),
        format!("/_matrix/federation/unstable/org.causeway/heads/{room}"),
    ];
    for target in &targets {
        assert_eq!(node.get(&peer.identity, target).await, StatusCode::OK, "{target}");
        let status = node.get(&stranger.identity, target).await;
        assert!(
            [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&status),
            "{target}: {status}"
        );
    }
    let wanted = json!({ "earliest_events": [], "latest_events": [event], "limit": 10 });
    let target = format!("{federation}/get_missing_events/{room}");
    let (status, _) = node
        .ask(&stranger.identity, Method::POST, &target, Some(&wanted))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = node
        .ask(&peer.identity, Method::POST, &target, Some(&wanted))
        .await;
    assert_eq!(status, StatusCode::OK);
}

/// ATK-30, ATK-39: only what is this server's own, and no alias of anybody.
#[tokio::test]
async fn others_users_and_aliases_are_not_told() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let federation = "/_matrix/federation/v1";
    for target in [
        format!("{federation}/user/devices/@eve:{}", peer.name),
        format!("{federation}/user/devices/@alice:{NODE}"),
        format!("{federation}/query/profile?user_id=@alice:a.example"),
        format!("{federation}/query/directory?room_alias=%23a:{NODE}"),
    ] {
        assert_eq!(
            node.get(&peer.identity, &target).await,
            StatusCode::NOT_FOUND,
            "{target}"
        );
    }
    let wanted = json!({ "device_keys": { format!("@eve:{}", peer.name): [] } });
    let target = format!("{federation}/user/keys/query");
    let (status, answer) = node
        .ask(&peer.identity, Method::POST, &target, Some(&wanted))
        .await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "device_keys": {} })));
}

/// What a node says of itself, which is little and the same to everybody.
#[tokio::test]
async fn what_a_node_tells_of_itself() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let (us, v1) = (format!("@_causeway:{NODE}"), "/_matrix/federation/v1");
    let no_rooms = json!({ "chunk": [], "total_room_count_estimate": 0 });
    let wanted_keys = json!({ "device_keys": { &us: [] } });
    let wanted_key = json!({ "one_time_keys": { &us: { "D": "signed_curve25519" } } });
    for (target, asked, expected) in [
        (
            format!("query/profile?user_id={us}"),
            None,
            json!({ "displayname": "Causeway" }),
        ),
        (
            format!("query/profile?user_id={us}&field=displayname"),
            None,
            json!({ "displayname": "Causeway" }),
        ),
        (
            format!("query/profile?user_id={us}&field=avatar_url"),
            None,
            json!({}),
        ),
        (
            format!("user/devices/{us}"),
            None,
            json!({ "user_id": us, "stream_id": 1, "devices": [] }),
        ),
        ("publicRooms".to_owned(), None, no_rooms.clone()),
        ("publicRooms".to_owned(), Some(json!({ "limit": 10 })), no_rooms),
        (
            "user/keys/query".to_owned(),
            Some(wanted_keys),
            json!({ "device_keys": { &us: {} } }),
        ),
        (
            "user/keys/claim".to_owned(),
            Some(wanted_key),
            json!({ "one_time_keys": {} }),
        ),
    ] {
        let method = asked.as_ref().map_or(Method::GET, |_| Method::POST);
        let target = format!("{v1}/{target}");
        let answer = node.ask(&peer.identity, method, &target, asked.as_ref()).await;
        assert_eq!(answer, (StatusCode::OK, expected), "{target}");
    }
    // What is read before anybody can show who he is.
    let open = async |target: &str| {
        let (status, body) = node.raw(Request::get(target).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{target}");
        body
    };
    let version = open(&format!("{v1}/version")).await;
    assert_eq!(
        version,
        json!({ "server": { "name": "Causeway", "version": env!("CARGO_PKG_VERSION") } })
    );
    assert_eq!(
        open("/.well-known/matrix/server").await,
        json!({ "m.server": NODE })
    );
    let own = SigningIdentity::from_seed(NODE, "ed25519:n", &[7; 32]);
    for target in ["/_matrix/key/v2/server", "/_matrix/key/v2/server/ed25519:n"] {
        let document = open(target).await;
        let valid_until = document["valid_until_ts"].as_i64().unwrap();
        assert!(valid_until > now());
        assert_eq!(document, key_document(&own, valid_until, &json!({})));
    }
}

/// ATK-09: templates are made for users of the asking server only.
#[tokio::test]
async fn a_server_asks_for_its_own_users_only() {
    let node = Node::new().await;
    let (peer, other) = (
        Peer::start(&node.authority, 1).await,
        Peer::start(&node.authority, 2).await,
    );
    node.join(&peer).await;
    let room = peer.room_id();
    for change in ["make_join", "make_leave", "make_knock"] {
        let target = format!("/_matrix/federation/v1/{change}/{room}/@eve:{}?ver=12", peer.name);
        assert_eq!(
            node.get(&other.identity, &target).await,
            StatusCode::FORBIDDEN,
            "{change}"
        );
    }
    let own = format!("/_matrix/federation/v1/make_join/{room}/@mallory:{}", other.name);
    let (status, answer) = node
        .ask(&other.identity, Method::GET, &format!("{own}?ver=11"), None)
        .await;
    assert_eq!(
        (status, answer["errcode"].as_str()),
        (StatusCode::BAD_REQUEST, Some("M_INCOMPATIBLE_ROOM_VERSION"))
    );
    assert_eq!(
        node.get(&other.identity, &format!("{own}?ver=12")).await,
        StatusCode::OK
    );
}

/// ATK-06, ATK-14: path, body and event have to agree, and be signed by the sender's server.
#[tokio::test]
async fn send_join_takes_what_its_path_names() {
    let node = Node::new().await;
    let (peer, other) = (
        Peer::start(&node.authority, 1).await,
        Peer::start(&node.authority, 2).await,
    );
    node.join(&peer).await;
    let mallory = user(&other.identity, "mallory");
    let (room, draft) = {
        let room = peer.room.lock().unwrap();
        let content = json!({ "membership": "join" });
        (
            room.id.clone(),
            room.draft(&mallory, "m.room.member", Some(&mallory), content),
        )
    };
    let put = async |by: &SigningIdentity, room: &str, event: &str, body: &Value| {
        let target = format!("/_matrix/federation/v2/send_join/{room}/{event}");
        node.ask(by, Method::PUT, &target, Some(body)).await.0
    };
    let good = draft.sign(&other.identity, VERSION).unwrap();
    let (id, body) = (good.event_id().to_string(), good.raw().to_value());
    let forged = draft.sign(&peer.identity, VERSION).unwrap();
    let by_peer = (forged.event_id().to_string(), forged.raw().to_value());
    let other_id = peer.room.lock().unwrap().newest().event_id().to_string();
    let other_room = Peer::start(&node.authority, 3).await;
    node.join(&other_room).await;
    let mut altered = body.clone();
    altered["content"]["displayname"] = json!("Eve");
    let mut leave = draft.clone();
    leave.content = json!({ "membership": "leave" });
    let leave = leave.sign(&other.identity, VERSION).unwrap();
    for (what, status) in [
        (
            "signed by another server",
            put(&peer.identity, &room, &by_peer.0, &by_peer.1).await,
        ),
        (
            "sent by another server",
            put(&peer.identity, &room, &id, &body).await,
        ),
        (
            "another event's id",
            put(&other.identity, &room, &other_id, &body).await,
        ),
        (
            "another room",
            put(&other.identity, &other_room.room_id(), &id, &body).await,
        ),
        (
            "content changed",
            put(&other.identity, &room, &id, &altered).await,
        ),
        (
            "no join",
            put(
                &other.identity,
                &room,
                &leave.event_id().to_string(),
                &leave.raw().to_value(),
            )
            .await,
        ),
    ] {
        assert!(status.is_client_error(), "{what}: {status}");
    }
    assert!(!node.holds(&good).await && !node.holds(&leave).await);
    assert_eq!(put(&other.identity, &room, &id, &body).await, StatusCode::OK);
    assert!(node.holds(&good).await);
    let servers = node.federation.heads(&ctx(), &room).await.unwrap().servers;
    assert!(servers.contains(other.name.as_str()));
}

/// ATK-35: an invitation is checked before anybody sees it.
#[tokio::test]
async fn malformed_invitations_are_refused() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let invited = format!("@_causeway:{NODE}");
    let (room, good, create) = {
        let room = peer.room.lock().unwrap();
        let eve = user(&peer.identity, "eve");
        let draft = room.draft(
            &eve,
            "m.room.member",
            Some(&invited),
            json!({ "membership": "invite" }),
        );
        let create = room.get("m.room.create", "").raw().to_value();
        (room.id.clone(), draft, create)
    };
    let put = async |content: Value, event: &str| {
        let target = format!("/_matrix/federation/v2/invite/{room}/{event}");
        node.ask(&peer.identity, Method::PUT, &target, Some(&content))
            .await
            .0
    };
    let signed = good.sign(&peer.identity, VERSION).unwrap();
    let (id, event) = (signed.event_id().to_string(), signed.raw().to_value());
    let body = |event: &Value, state: Value, version: &str| json!({ "event": event, "invite_room_state": state, "room_version": version });
    let mut for_another = good.clone();
    for_another.state_key = Some("@alice:a.example".to_owned());
    let for_another = for_another.sign(&peer.identity, VERSION).unwrap();
    let mut message = good.clone();
    message.content = json!({ "membership": "join" });
    let no_invite = message.sign(&peer.identity, VERSION).unwrap();
    for (what, status) in [
        ("no create", put(body(&event, json!([]), "12"), &id).await),
        (
            "unknown version",
            put(body(&event, json!([create]), "99"), &id).await,
        ),
        (
            "much state",
            put(body(&event, json!(vec![create.clone(); 51]), "12"), &id).await,
        ),
        (
            "state of another type",
            put(body(&event, json!("x"), "12"), &id).await,
        ),
        ("another id", put(body(&event, json!([create]), "12"), "$x").await),
        (
            "for another user",
            put(
                body(&for_another.raw().to_value(), json!([create]), "12"),
                &for_another.event_id().to_string(),
            )
            .await,
        ),
        (
            "no invitation",
            put(
                body(&no_invite.raw().to_value(), json!([create]), "12"),
                &no_invite.event_id().to_string(),
            )
            .await,
        ),
    ] {
        assert!(status.is_client_error(), "{what}: {status}");
    }
    assert!(node.engine.invites().await.unwrap().is_empty());
    assert_eq!(
        put(body(&event, json!([create]), "12"), &id).await,
        StatusCode::OK
    );
    assert_eq!(node.engine.invites().await.unwrap().len(), 1);
}
