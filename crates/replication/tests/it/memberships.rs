//! Leaving, knocking and inviting through this server: path, body and event have to agree, and be signed by the server of
//! the sender.

use crate::outsiders::{member, three};
use crate::peer::Peer;
use crate::room::{VERSION, altered, user};
use crate::world::{NODE, Node};
use event_graph::{Pdu, SigningIdentity};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// As `three`, in a room that may be knocked at.
async fn knocking() -> (Node, Arc<Peer>, Arc<Peer>) {
    let (node, peer, other) = three().await;
    let rules = {
        let mut room = peer.room.lock().unwrap();
        room.put(
            &peer.identity,
            "m.room.join_rules",
            "",
            json!({ "join_rule": "knock" }),
        )
    };
    let told = node.send(&peer, "rules", &[rules.raw().to_value()]).await;
    assert_eq!(told[&rules.event_id().to_string()], None);
    (node, peer, other)
}

/// ATK-06, ATK-14.
#[tokio::test]
async fn send_leave_and_send_knock_take_what_their_paths_name() {
    let (node, peer, other) = knocking().await;
    let elsewhere = Peer::start(&node.authority, 3).await;
    node.join(&elsewhere).await;
    let (room, other_room) = (peer.room_id(), elsewhere.room_id());
    let eve = user(&peer.identity, "eve");
    for (endpoint, name, membership) in [
        ("v2/send_leave", "mallory", "leave"),
        ("v1/send_knock", "knocker", "knock"),
    ] {
        let who = user(&other.identity, name);
        let put = async |by: &SigningIdentity, room: &str, event: &str, body: &Value| {
            let target = format!("/_matrix/federation/{endpoint}/{room}/{event}");
            node.ask(by, Method::PUT, &target, Some(body)).await
        };
        let before = node.heads(&room).await;
        let elsewhere_before = node.heads(&other_room).await;
        let good = member(&peer, &other.identity, &who, &who, membership);
        let by_another = member(&peer, &peer.identity, &who, &who, membership);
        let of_another = member(&peer, &other.identity, &eve, &eve, membership);
        let join = member(&peer, &other.identity, &who, &who, "join");
        let for_another = member(&peer, &other.identity, &who, &eve, membership);
        let body = good.raw().to_value();
        let unsigned = altered(&good, "/signatures", json!({}));
        let changed = altered(&good, "/content/reason", json!("changed"));
        let id = |pdu: &Pdu| pdu.event_id().to_string();
        let (own, peers) = (&*other.identity, &*peer.identity);
        for (what, by, path, event, body) in [
            (
                "signed by another",
                own,
                &room,
                id(&by_another),
                by_another.raw().to_value(),
            ),
            (
                "signed and sent by another",
                peers,
                &room,
                id(&by_another),
                by_another.raw().to_value(),
            ),
            ("sent by another", peers, &room, id(&good), body.clone()),
            (
                "of another server's user",
                own,
                &room,
                id(&of_another),
                of_another.raw().to_value(),
            ),
            (
                "for another server's user",
                own,
                &room,
                id(&for_another),
                for_another.raw().to_value(),
            ),
            ("unsigned", own, &room, id(&good), unsigned),
            ("content changed", own, &room, id(&good), changed),
            ("another membership", own, &room, id(&join), join.raw().to_value()),
            ("another event's id", own, &room, id(&join), body.clone()),
            ("another room", own, &other_room, id(&good), body.clone()),
        ] {
            let (status, answer) = put(by, path, &event, &body).await;
            assert!(status.is_client_error(), "{endpoint}, {what}: {status} {answer}");
        }
        for pdu in [&good, &by_another, &of_another, &for_another, &join] {
            assert!(!node.holds(pdu).await, "{endpoint}: {}", pdu.as_str());
        }
        assert_eq!(node.heads(&room).await, before, "{endpoint}");
        assert_eq!(node.heads(&other_room).await, elsewhere_before, "{endpoint}");
        let (status, answer) = put(own, &room, &id(&good), &body).await;
        assert_eq!(status, StatusCode::OK, "{endpoint}: {answer}");
        assert!(node.accepted(&room).await.contains(&id(&good)), "{endpoint}");
        peer.room.lock().unwrap().take(good);
    }
}

/// ATK-06, ATK-14: nobody invites in another's name, nor into another room than the event's.
#[tokio::test]
async fn an_invitation_is_what_its_path_names() {
    let node = Node::new().await;
    let (peer, other) = (
        Peer::start(&node.authority, 1).await,
        Peer::start(&node.authority, 2).await,
    );
    let us = format!("@_causeway:{NODE}");
    let (room, other_room) = (peer.room_id(), other.room_id());
    let eve = user(&peer.identity, "eve");
    let good = member(&peer, &peer.identity, &eve, &us, "invite");
    let by_another = member(&peer, &other.identity, &eve, &us, "invite");
    let create = |of: &Peer| of.room.lock().unwrap().get("m.room.create", "").raw().to_value();
    let put = async |by: &Peer, of: &Peer, path: &str, event: &str, body: Value| {
        let target = format!("/_matrix/federation/v2/invite/{path}/{event}");
        let body =
            json!({ "event": body, "invite_room_state": [create(of)], "room_version": VERSION.as_str() });
        node.ask(&by.identity, Method::PUT, &target, Some(&body)).await
    };
    let (id, body) = (good.event_id().to_string(), good.raw().to_value());
    let (forged_id, forged) = (by_another.event_id().to_string(), by_another.raw().to_value());
    let newest = peer.room.lock().unwrap().newest().event_id().to_string();
    let unsigned = altered(&good, "/signatures", json!({}));
    let changed = altered(&good, "/content/reason", json!("changed"));
    for (what, by, of, path, event, body) in [
        (
            "signed by another",
            &peer,
            &peer,
            &room,
            &forged_id,
            forged.clone(),
        ),
        (
            "signed and sent by another",
            &other,
            &peer,
            &room,
            &forged_id,
            forged,
        ),
        ("sent by another", &other, &peer, &room, &id, body.clone()),
        ("unsigned", &peer, &peer, &room, &id, unsigned),
        ("content changed", &peer, &peer, &room, &id, changed),
        ("another event's id", &peer, &peer, &room, &newest, body.clone()),
        ("another room", &peer, &peer, &other_room, &id, body.clone()),
        (
            "another room and its state",
            &peer,
            &other,
            &other_room,
            &id,
            body.clone(),
        ),
    ] {
        let (status, answer) = put(by, of, path, event, body).await;
        assert!(status.is_client_error(), "{what}: {status} {answer}");
        assert!(answer.get("event").is_none(), "{what}: {answer}");
    }
    assert!(node.engine.invites().await.unwrap().is_empty());
    assert!(node.engine.shared_graphs().await.unwrap().is_empty());
    assert!(!node.holds(&good).await && !node.holds(&by_another).await);
    let (status, answer) = put(&peer, &peer, &room, &id, body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(node.engine.invites().await.unwrap().len(), 1);
}

/// Who may knock gets a template, and by the event made of it what is shown of a room to those outside.
#[tokio::test]
async fn a_room_that_lets_knock() {
    let (node, peer, other) = knocking().await;
    let room = peer.room_id();
    let knocker = user(&other.identity, "knocker");
    let target = format!("/_matrix/federation/v1/make_knock/{room}/{knocker}?ver=11&ver=12");
    let (status, template) = node.ask(&other.identity, Method::GET, &target, None).await;
    assert_eq!(status, StatusCode::OK, "{template}");
    assert_eq!(template["room_version"], VERSION.as_str());
    let knock = member(&peer, &other.identity, &knocker, &knocker, "knock");
    let made = knock.raw().to_value();
    for field in [
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "prev_events",
        "depth",
    ] {
        assert_eq!(template["event"][field], made[field], "{field}");
    }
    let sorted = |event: &Value| {
        let mut ids: Vec<String> = serde_json::from_value(event["auth_events"].clone()).unwrap();
        ids.sort();
        ids
    };
    assert_eq!(sorted(&template["event"]), sorted(&made));
    let target = format!("/_matrix/federation/v1/send_knock/{room}/{}", knock.event_id());
    let (status, answer) = node.ask(&other.identity, Method::PUT, &target, Some(&made)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let shown: Vec<Value> = ["m.room.create", "m.room.join_rules"]
        .map(|event_type| peer.room.lock().unwrap().get(event_type, "").raw().to_value())
        .into();
    let state = answer["knock_room_state"].as_array().unwrap();
    assert!(shown.iter().all(|event| state.contains(event)), "{answer}");
    assert!(
        state.iter().all(|event| event["type"] != "m.room.member"),
        "{answer}"
    );
    let member = ("m.room.member".to_owned(), knocker);
    assert_eq!(node.state(&room).await[&member], knock.event_id());
}
