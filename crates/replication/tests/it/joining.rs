//! Joining a room through servers that lie, and asking servers that don't answer as they should.

use crate::peer::{Asked, Authority, Peer, key_document, ok, status};
use crate::room::{Room, VERSION, now, user};
use crate::rooms::still_works;
use crate::world::{NODE, Node, ctx};
use axum::body::Body;
use axum::response::Response;
use event_graph::SigningIdentity;
use http::StatusCode;
use replication::federation::FederationError;
use replication::{RequestError, ServerName};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::sim::SimStore;

async fn fails(node: &Node, peer: &Peer, what: &str) -> String {
    let via = std::slice::from_ref(&peer.name);
    let joined = node.federation.join(&ctx(), &peer.room_id(), via, false).await;
    joined.expect_err(what).to_string()
}

/// Answers `send_join` with an honest answer that `change` has changed.
fn lie(peer: &Arc<Peer>, change: impl Fn(&mut Value) + Send + Sync + 'static) {
    let of = Arc::downgrade(peer);
    peer.script(move |asked| {
        let peer = of.upgrade()?;
        if !asked.target.contains("/send_join/") {
            return None;
        }
        let (state, chain) = peer.room.lock().unwrap().lists();
        let mut answer = json!({
            "origin": peer.name.as_str(), "members_omitted": false, "event": asked.body, "state": state,
            "auth_chain": chain, "servers_in_room": [peer.name.as_str()],
        });
        change(&mut answer);
        Some(ok(&answer))
    });
}

#[tokio::test]
async fn an_honest_server() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    node.join(&peer).await;
    let said = peer.say("hello");
    let told = node.send(&peer, "1", &[said.raw().to_value()]).await;
    assert_eq!(told, [(said.event_id().to_string(), None)].into());
    assert!(
        node.accepted(&peer.room_id())
            .await
            .contains(&said.event_id().to_string())
    );
}

/// ATK-45: a template is no order; what is signed is our own membership and nothing else.
#[tokio::test]
async fn a_template_is_never_signed() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let of = Arc::downgrade(&peer);
    peer.script(move |asked| {
        let peer = of.upgrade()?;
        if !asked.target.contains("/make_join/") {
            return None;
        }
        let room = peer.room.lock().unwrap();
        let admin = format!("@_causeway:{NODE}");
        Some(ok(&json!({ "room_version": "12", "event": {
            "type": "m.room.power_levels", "state_key": "", "sender": "@alice:a.example", "room_id": "!other",
            "content": { "users": { "@eve:evil.example": 100 }, "membership": "ban", "displayname": "Eve" },
            "prev_events": [room.newest().event_id()], "depth": 99, "redacts": "$x", "origin_server_ts": 1,
            "auth_events": room.auth("m.room.member", &admin, Some(&admin), &json!({ "membership": "join" })),
        } })))
    });
    node.join(&peer).await;
    let joins = peer.joins.lock().unwrap();
    let signed = &joins[0];
    let admin = format!("@_causeway:{NODE}");
    assert_eq!(signed["type"], "m.room.member");
    assert_eq!(
        (&signed["sender"], &signed["state_key"]),
        (&json!(admin), &json!(admin))
    );
    assert_eq!(signed["content"], json!({ "membership": "join" }));
    assert_eq!(signed["room_id"], json!(peer.room_id()));
    assert!(signed.get("redacts").is_none());
}

/// ATK-13, ATK-42: a state from a stranger is verified event by event, and judged.
#[tokio::test]
async fn a_state_that_lies_is_refused() {
    type Change = Box<dyn Fn(&mut Value) + Send + Sync>;
    let remove = |event_type: &'static str| -> Change {
        Box::new(move |answer: &mut Value| {
            let state = answer["state"].as_array_mut().unwrap();
            state.retain(|e| e["type"] != event_type);
        })
    };
    let cases: Vec<(&str, Change)> = vec![
        ("no create event", remove("m.room.create")),
        ("no join rules", remove("m.room.join_rules")),
        (
            "two events of one key",
            Box::new(|answer| {
                let first = answer["state"][0].clone();
                answer["state"].as_array_mut().unwrap().push(first);
            }),
        ),
        (
            "members left out",
            Box::new(|answer| answer["members_omitted"] = json!(true)),
        ),
        ("no state", Box::new(|answer| answer["state"] = json!([]))),
        ("no list", Box::new(|answer| answer["state"] = json!({}))),
        (
            "unsigned state",
            Box::new(|answer| {
                for event in answer["state"].as_array_mut().unwrap() {
                    event["signatures"] = json!({});
                }
            }),
        ),
        (
            "an auth chain of nothing",
            Box::new(|answer| {
                answer["auth_chain"] = json!([]);
                let state = answer["state"].as_array_mut().unwrap();
                state.retain(|e| e["type"] == "m.room.create");
            }),
        ),
    ];
    for (what, change) in cases {
        let node = Node::new().await;
        let peer = Peer::start(&node.authority, 1).await;
        lie(&peer, change);
        fails(&node, &peer, what).await;
        let graphs = node.engine.shared_graphs().await.unwrap();
        assert!(graphs.iter().all(|g| !g.joined), "{what}");
    }
}

/// ATK-03, ATK-12, ATK-27: events of a state that their own auth events forbid change nothing.
#[tokio::test]
async fn forged_events_of_a_state_do_not_count() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let other = Room::new(&peer.identity);
    // Signed rightly by the server, but by a user who may not, with auth events that don't allow it, and of another room.
    let (levels, foreign) = {
        let room = peer.room.lock().unwrap();
        let mallory = user(&peer.identity, "mallory");
        let content = json!({ "users": { mallory.clone(): 100 } });
        let levels = room.draft(&mallory, "m.room.power_levels", Some(""), content);
        let foreign = other.get("m.room.join_rules", "").clone();
        (levels.sign(&peer.identity, VERSION).unwrap(), foreign)
    };
    let (levels_id, foreign_id) = (levels.event_id(), foreign.event_id());
    lie(&peer, move |answer| {
        let state = answer["state"].as_array_mut().unwrap();
        state.retain(|e| e["type"] != "m.room.power_levels");
        state.push(levels.raw().to_value());
        state.push(foreign.raw().to_value());
    });
    let via = std::slice::from_ref(&peer.name);
    let room = peer.room_id();
    if node.federation.join(&ctx(), &room, via, false).await.is_ok() {
        let state: Vec<_> = node.state(&room).await.into_values().collect();
        assert!(!state.contains(&levels_id) && !state.contains(&foreign_id));
        assert!(!node.accepted(&room).await.contains(&levels_id.to_string()));
    }
    assert!(node.engine.event(foreign_id, VERSION).await.unwrap().is_none());
}

/// The copy of our event that comes back is taken only if it is our event.
#[tokio::test]
async fn another_event_in_place_of_our_join() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let newest = peer.room.lock().unwrap().newest().raw().to_value();
    lie(&peer, move |answer| answer["event"] = newest.clone());
    node.join(&peer).await;
    let member =
        node.state(&peer.room_id()).await[&("m.room.member".to_owned(), format!("@_causeway:{NODE}"))];
    let pdu = node.engine.event(member, VERSION).await.unwrap().unwrap();
    assert_eq!(pdu.sender(), format!("@_causeway:{NODE}"));
}

#[tokio::test]
async fn templates_without_sense() {
    let good = json!({ "room_version": "12", "event": { "prev_events": [], "auth_events": [], "depth": 1 } });
    for (what, answer) in [
        (
            "unknown version",
            altered_value(&good, "/room_version", json!("org.example.13")),
        ),
        ("no version", altered_value(&good, "/room_version", json!(null))),
        ("no parents", good.clone()),
        (
            "parents of another kind",
            altered_value(&good, "/event/prev_events", json!([1])),
        ),
        (
            "too many parents",
            altered_value(&good, "/event/prev_events", json!(vec![EVENT; 21])),
        ),
        (
            "depth below none",
            altered_value(&good, "/event/depth", json!(-1)),
        ),
        ("no event", json!({ "room_version": "12" })),
        ("a list", json!([])),
    ] {
        let node = Node::new().await;
        let peer = Peer::start(&node.authority, 1).await;
        peer.script(move |asked| asked.target.contains("/make_join/").then(|| ok(&answer)));
        fails(&node, &peer, what).await;
    }
}

const EVENT: &str = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn altered_value(value: &Value, pointer: &str, to: Value) -> Value {
    let mut value = value.clone();
    *value.pointer_mut(pointer).unwrap() = to;
    value
}

/// ATK-17, ATK-34: answers are read within bounds; redirects are not followed.
#[tokio::test]
async fn oversized_answers_and_redirects() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let trap = Peer::start(&node.authority, 2).await;
    let to = format!("https://{}/trap", trap.name);
    peer.script(move |asked: &Asked| match asked.target.as_str() {
        "/large" => Some(Response::new(Body::from(vec![b' '; 4 << 20]))),
        "/refusal" => {
            let body = json!({ "errcode": "M_X", "error": "x".repeat(1 << 20) });
            Some(with_status(ok(&body), StatusCode::BAD_REQUEST))
        }
        "/away" => {
            let mut response = status(StatusCode::FOUND);
            response.headers_mut().insert("location", to.parse().unwrap());
            Some(response)
        }
        _ => None,
    });
    let get = async |target: &str| {
        let client = node.federation.client();
        client
            .get::<Value>(&peer.name, target, 1 << 20)
            .await
            .unwrap_err()
    };
    assert!(matches!(get("/large").await, RequestError::TooLarge(_)));
    assert!(matches!(get("/refusal").await, RequestError::TooLarge(_)));
    assert!(
        matches!(get("/away").await, RequestError::Refused { status, .. } if status == StatusCode::FOUND)
    );
    assert!(trap.asked.lock().unwrap().is_empty());
}

fn with_status(mut response: Response, status: StatusCode) -> Response {
    *response.status_mut() = status;
    response
}

/// A certificate of an authority that isn't trusted is none.
#[tokio::test]
async fn an_untrusted_certificate() {
    let node = Node::new().await;
    let peer = Peer::start(&crate::peer::Authority::new(), 1).await;
    let got = node
        .federation
        .client()
        .get::<Value>(&peer.name, "/x", 1024)
        .await;
    assert!(matches!(got, Err(RequestError::Unreachable { .. })));
    assert!(peer.asked.lock().unwrap().is_empty());
}

/// A key answer that is too large, malformed, or whose server is away.
#[tokio::test]
async fn key_answers_that_are_none() {
    let node = Node::new().await;
    let target = "/_matrix/federation/v1/query/profile?user_id=@_causeway:node.test";
    for n in 0..4_u8 {
        let peer = Peer::start(&node.authority, n + 1).await;
        let document = key_document(&peer.identity, now() + 1000, &json!({}));
        peer.script(move |asked| {
            let asked = asked.target.ends_with("key/v2/server");
            asked.then(|| match n {
                0 => Response::new(Body::from(vec![b'['; 1 << 20])),
                1 => Response::new(Body::from("[".repeat(60_000))),
                2 => ok(&altered_value(&document, "/valid_until_ts", json!("x"))),
                _ => with_status(ok(&document), StatusCode::INTERNAL_SERVER_ERROR),
            })
        });
        assert_eq!(
            node.get(&peer.identity, target).await,
            StatusCode::UNAUTHORIZED,
            "{n}"
        );
    }
    let away = SigningIdentity::from_seed("127.0.0.1:1", "ed25519:p", &[1; 32]);
    assert_eq!(node.get(&away, target).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nobody_to_join_through() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let room = peer.room_id();
    peer.stop();
    let nobody = ServerName::parse("127.0.0.1:1").unwrap();
    let joined = node.federation.join(&ctx(), &room, &[nobody], false).await;
    assert!(matches!(joined, Err(FederationError::Nobody(_))));
}

/// The node dies while it joins: at each write in turn nothing more reaches the disk. Started again it takes what it is
/// sent, is in the room with all of its state or not at all, and joins when it is asked to.
#[tokio::test]
async fn a_join_that_a_crash_cuts_off_is_done_again() {
    for history in [false, true] {
        let mut crashes = 0;
        for kib in 0.. {
            let disk = SimStore::create(Duration::ZERO).await;
            let node = Node::on(Authority::new(), Arc::new(disk.clone())).await;
            let peer = Peer::start(&node.authority, 1).await;
            for number in 0..30 {
                peer.say(&format!("before {number}"));
            }
            let (room, via) = (peer.room_id(), std::slice::from_ref(&peer.name));
            disk.fill(Some(kib * 1024));
            let joined = node.federation.join(&ctx(), &room, via, history).await;
            disk.crash(0);
            node.engine.close().await;
            let disk = disk.reopen().await;
            disk.fill(None);
            let node = Node::on(node.authority, Arc::new(disk)).await;
            let said = peer.say("while it was away");
            node.send(&peer, "away", &[said.raw().to_value()]).await;
            let graphs = node.engine.shared_graphs().await.unwrap();
            let is_in = graphs.iter().any(|graph| graph.room_id == room && graph.joined);
            assert!(
                is_in || joined.is_err(),
                "{kib}: what was told to be joined is not"
            );
            if !is_in {
                crashes += 1;
                let again = node.federation.join(&ctx(), &room, via, history).await;
                again.unwrap_or_else(|e| panic!("{kib} of history {history}: {e}"));
            }
            let create = ("m.room.create".to_owned(), String::new());
            let own = ("m.room.member".to_owned(), format!("@_causeway:{NODE}"));
            let state = node.state(&room).await;
            assert!(
                state.contains_key(&create) && state.contains_key(&own),
                "{kib}: {state:?}"
            );
            still_works(&node, &peer).await;
            if joined.is_ok() {
                break;
            }
        }
        assert!(crashes > 2, "{crashes}");
    }
}
