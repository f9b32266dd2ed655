//! Servers that are not in a room, or that its ACL denies.

use crate::peer::{Peer, ok, status};
use crate::room::{VERSION, now, user};
use crate::rooms::{nowhere, still_works, two};
use crate::world::{NODE, Node, ctx, until};
use event_graph::{Pdu, SigningIdentity};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// A membership event of the peer's room, not taken there.
pub(crate) fn member(
    peer: &Peer,
    by: &SigningIdentity,
    sender: &str,
    state_key: &str,
    membership: &str,
) -> Pdu {
    let room = peer.room.lock().unwrap();
    let content = json!({ "membership": membership });
    let draft = room.draft(sender, "m.room.member", Some(state_key), content);
    draft.sign(by, VERSION).unwrap()
}

/// A node, the room's server, and another one with `@mallory` in the room.
pub(crate) async fn three() -> (Node, Arc<Peer>, Arc<Peer>) {
    let (node, peer) = two().await;
    let other = Peer::start(&node.authority, 2).await;
    let mallory = user(&other.identity, "mallory");
    let join = member(&peer, &other.identity, &mallory, &mallory, "join");
    peer.room.lock().unwrap().take(join.clone());
    let told = node.send(&other, "join", &[join.raw().to_value()]).await;
    assert_eq!(told[&join.event_id().to_string()], None);
    assert!(
        node.heads(&peer.room_id())
            .await
            .servers
            .contains(other.name.as_str())
    );
    (node, peer, other)
}

/// From now on the room denies every server whose name is an address of loopback: all but the node.
async fn deny(node: &Node, peer: &Peer) {
    let acl = json!({ "allow": ["*"], "deny": ["127.0.0.?"], "allow_ip_literals": true });
    let acl = peer
        .room
        .lock()
        .unwrap()
        .put(&peer.identity, "m.room.server_acl", "", acl);
    let told = node.send(peer, "acl", &[acl.raw().to_value()]).await;
    assert_eq!(told[&acl.event_id().to_string()], None);
}

/// A server that isn't in the room has no place among what waits there, neither by what it sends nor by what it answers.
#[tokio::test]
async fn a_stranger_fills_no_hold() {
    let (node, peer) = two().await;
    let stranger = Peer::start(&node.authority, 2).await;
    let room = peer.room_id();
    let template = {
        let mallory = user(&stranger.identity, "mallory");
        let content = json!({ "msgtype": "m.text", "body": "in the air" });
        peer.room
            .lock()
            .unwrap()
            .draft(&mallory, "m.room.message", None, content)
    };
    let in_the_air = |n: u64| {
        let mut draft = template.clone();
        draft.prev_events = vec![nowhere(n)];
        draft.sign(&stranger.identity, VERSION).unwrap().raw().to_value()
    };
    let answers: Vec<Value> = (0..20).map(|n| in_the_air(1_000_000 + n)).collect();
    stranger.script(move |asked| {
        asked
            .target
            .contains("/get_missing_events/")
            .then(|| ok(&json!({ "events": answers })))
    });
    peer.script(|asked| {
        let about_events = ["/get_missing_events/", "/event/", "/state", "/backfill/"]
            .iter()
            .any(|p| asked.target.contains(p));
        about_events.then(|| status(StatusCode::NOT_FOUND))
    });
    let (hidden, child) = (peer.say("hidden"), peer.say("child"));
    node.send(&peer, "gap", &[child.raw().to_value()]).await;
    for txn in 0..2 {
        let events: Vec<Value> = (0..50).map(|n| in_the_air(txn * 50 + n)).collect();
        let told = node.send(&stranger, &format!("{txn}"), &events).await;
        assert!(told.values().all(Option::is_some), "{told:?}");
    }
    let asked = peer.count("/get_missing_events/");
    until(|| async { peer.count("/get_missing_events/") >= asked + 2 }).await;
    assert_eq!(node.heads(&room).await.held, [child.event_id()]);
    assert_eq!(stranger.count("/get_missing_events/"), 0);
    // What needs nothing is judged: so it may join.
    let mallory = user(&stranger.identity, "mallory");
    let mut join = peer.room.lock().unwrap().draft(
        &mallory,
        "m.room.member",
        Some(&mallory),
        json!({ "membership": "join" }),
    );
    join.prev_events = vec![hidden.prev_events()[0]];
    let join = join.sign(&stranger.identity, VERSION).unwrap();
    let told = node.send(&stranger, "join", &[join.raw().to_value()]).await;
    assert_eq!(told[&join.event_id().to_string()], None);
    assert!(node.heads(&room).await.servers.contains(stranger.name.as_str()));
}

/// ATK-50: what a denied server asks of the room is refused, whatever it is.
#[tokio::test]
async fn a_denied_server_is_refused_everywhere() {
    let (node, peer, other) = three().await;
    let (room, event) = (peer.room_id(), peer.room.lock().unwrap().newest().event_id());
    let mallory = user(&other.identity, "mallory");
    let knocker = user(&other.identity, "knocker");
    let v1 = "/_matrix/federation/v1";
    let questions = [
        format!("{v1}/event/{event}"),
        format!("{v1}/event_auth/{room}/{event}"),
        format!("{v1}/state/{room}?event_id={event}"),
        format!("{v1}/state_ids/{room}?event_id={event}"),
        format!("{v1}/backfill/{room}?v={event}&limit=10"),
        format!("{v1}/timestamp_to_event/{room}?ts={}&dir=b", now()),
        format!("{v1}/hierarchy/{room}"),
        format!("{v1}/make_join/{room}/{knocker}?ver=12"),
        format!("{v1}/make_leave/{room}/{mallory}?ver=12"),
        format!("/_matrix/federation/unstable/org.causeway/heads/{room}"),
    ];
    let missing = format!("{v1}/get_missing_events/{room}");
    let wanted = json!({ "earliest_events": [], "latest_events": [event], "limit": 10 });
    let ask = async |method: Method, target: &str, body: Option<&Value>| {
        node.ask(&other.identity, method, target, body).await.0
    };
    for target in &questions {
        assert_eq!(ask(Method::GET, target, None).await, StatusCode::OK, "{target}");
    }
    assert_eq!(ask(Method::POST, &missing, Some(&wanted)).await, StatusCode::OK);
    deny(&node, &peer).await;
    for target in &questions {
        // Whoever may not see the room does not learn by its summary that it is here.
        let expected = if target.contains("/hierarchy/") {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::FORBIDDEN
        };
        assert_eq!(ask(Method::GET, target, None).await, expected, "{target}");
    }
    assert_eq!(
        ask(Method::POST, &missing, Some(&wanted)).await,
        StatusCode::FORBIDDEN
    );
    let knock = format!("{v1}/make_knock/{room}/{knocker}?ver=12");
    assert_eq!(ask(Method::GET, &knock, None).await, StatusCode::FORBIDDEN);
    for (version, name, sender, membership) in [
        ("v2", "send_join", &knocker, "join"),
        ("v2", "send_leave", &mallory, "leave"),
        ("v1", "send_knock", &knocker, "knock"),
    ] {
        let pdu = member(&peer, &other.identity, sender, sender, membership);
        let target = format!("/_matrix/federation/{version}/{name}/{room}/{}", pdu.event_id());
        let body = pdu.raw().to_value();
        assert_eq!(
            ask(Method::PUT, &target, Some(&body)).await,
            StatusCode::FORBIDDEN,
            "{name}"
        );
        assert!(!node.holds(&pdu).await, "{name}");
    }
    let said = {
        let room = peer.room.lock().unwrap();
        let content = json!({ "msgtype": "m.text", "body": "denied" });
        let draft = room.draft(&mallory, "m.room.message", None, content);
        draft.sign(&other.identity, VERSION).unwrap()
    };
    let told = node.send(&other, "said", &[said.raw().to_value()]).await;
    assert!(told[&said.event_id().to_string()].is_some());
    assert!(!node.holds(&said).await);
}

/// An invitation that the room doesn't take isn't signed, nor kept: of a server that the room denies, and of a user who
/// may not invite.
#[tokio::test]
async fn invitations_that_the_room_refuses_are_not_signed() {
    let (node, peer, other) = three().await;
    let room = peer.room_id();
    let us = format!("@_causeway:{NODE}");
    let create = peer
        .room
        .lock()
        .unwrap()
        .get("m.room.create", "")
        .raw()
        .to_value();
    let invite = async |by: &Peer, sender: &str| {
        let pdu = member(&peer, &by.identity, sender, &us, "invite");
        let target = format!("/_matrix/federation/v2/invite/{room}/{}", pdu.event_id());
        let body = json!({
            "event": pdu.raw().to_value(), "invite_room_state": [create], "room_version": VERSION.as_str(),
        });
        let answer = node.ask(&by.identity, Method::PUT, &target, Some(&body)).await;
        (answer.0, answer.1["event"].is_object(), node.holds(&pdu).await)
    };
    let leave = json!({ "membership": "leave" });
    let left = node
        .engine
        .graph_send(ctx(), &room, "m.room.member".to_owned(), Some(us.clone()), leave);
    let left = left.await.unwrap();
    peer.room.lock().unwrap().take(left);
    // A user who isn't in the room.
    let nobody = user(&other.identity, "nobody");
    assert_eq!(
        invite(&other, &nobody).await,
        (StatusCode::FORBIDDEN, false, true)
    );
    assert!(node.engine.invites().await.unwrap().is_empty());
    deny(&node, &peer).await;
    let mallory = user(&other.identity, "mallory");
    assert_eq!(
        invite(&other, &mallory).await,
        (StatusCode::FORBIDDEN, false, false)
    );
    assert!(node.engine.invites().await.unwrap().is_empty());
    // One that the room would take.
    let allow = json!({ "allow": ["*"] });
    let allow = peer
        .room
        .lock()
        .unwrap()
        .put(&peer.identity, "m.room.server_acl", "", allow);
    let admit = room_engine::graphs::GraphCommand::Admit {
        origin: None,
        pdus: vec![allow],
        past: false,
    };
    node.engine.graph(ctx(), &room, admit).await.unwrap();
    assert_eq!(invite(&other, &mallory).await, (StatusCode::OK, true, true));
    assert_eq!(node.engine.invites().await.unwrap().len(), 1);
    node.federation
        .join(&ctx(), &room, std::slice::from_ref(&peer.name), false)
        .await
        .unwrap();
    still_works(&node, &peer).await;
}
