//! What servers of a room are told of its past: what it holds, as far as they may see it.

use crate::outsiders::member;
use crate::peer::Peer;
use crate::room::{Room, VERSION, now, user};
use crate::rooms::two;
use crate::world::Node;
use event_graph::{EventId, Pdu, SigningIdentity};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const V1: &str = "/_matrix/federation/v1";

async fn get(node: &Node, by: &SigningIdentity, target: &str) -> Value {
    let (status, body) = node.ask(by, Method::GET, &format!("{V1}/{target}"), None).await;
    assert_eq!(status, StatusCode::OK, "{target}: {body}");
    body
}

/// Events of a list by their ids.
fn by_id(list: &Value) -> BTreeMap<EventId, Value> {
    let events = list.as_array().unwrap().iter();
    let read = |event: &Value| {
        let pdu = Pdu::parse_trusted(event.to_string().as_bytes(), VERSION).unwrap();
        (pdu.event_id(), event.clone())
    };
    events.map(read).collect()
}

fn ids(list: &Value) -> BTreeSet<EventId> {
    let texts = list.as_array().unwrap().iter();
    texts.map(|id| id.as_str().unwrap().parse().unwrap()).collect()
}

/// ATK-02: by every way to the past a server sees what was said before its users came only if the room's history is for
/// those who come later; state it gets whole, to judge by.
#[tokio::test]
async fn what_was_said_before_a_server_came() {
    for (visibility, open) in [
        ("joined", false),
        ("invited", false),
        ("shared", true),
        ("world_readable", true),
    ] {
        let (node, peer) = two().await;
        let late = Peer::start(&node.authority, 2).await;
        let room = peer.room_id();
        let content = json!({ "history_visibility": visibility });
        let rule = {
            let mut room = peer.room.lock().unwrap();
            room.put(&peer.identity, "m.room.history_visibility", "", content)
        };
        let before = peer.say("before");
        let name = {
            let mut room = peer.room.lock().unwrap();
            room.put(&peer.identity, "m.room.name", "", json!({ "name": "room" }))
        };
        let mallory = user(&late.identity, "mallory");
        let join = member(&peer, &late.identity, &mallory, &mallory, "join");
        peer.room.lock().unwrap().take(join.clone());
        let (after, last) = (peer.say("after"), peer.say("last"));
        let sent = [&rule, &before, &name, &join, &after, &last].map(|pdu| pdu.raw().to_value());
        let told = node.send(&peer, "1", &sent).await;
        assert!(told.values().all(Option::is_none), "{told:?}");

        let whole = |pdu: &Pdu| (pdu.event_id(), pdu.raw().to_value());
        let seen = if open { before.clone() } else { before.redact() };
        let page: BTreeMap<_, _> = [&rule, &seen, &name, &join, &after].map(whole).into();
        let event = get(&node, &late.identity, &format!("event/{}", before.event_id())).await;
        assert_eq!(by_id(&event["pdus"]), [whole(&seen)].into(), "{visibility}");
        let event = get(&node, &late.identity, &format!("event/{}", after.event_id())).await;
        assert_eq!(by_id(&event["pdus"]), [whole(&after)].into(), "{visibility}");
        let target = format!("backfill/{room}?v={}&limit=5", after.event_id());
        let backfilled = get(&node, &late.identity, &target).await;
        assert_eq!(by_id(&backfilled["pdus"]), page, "{visibility}");
        let parent = rule.prev_events()[0];
        let wanted = json!({ "earliest_events": [parent], "latest_events": [last.event_id()], "limit": 10 });
        let target = format!("{V1}/get_missing_events/{room}");
        let missing = async |by: &SigningIdentity| {
            let (status, body) = node.ask(by, Method::POST, &target, Some(&wanted)).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            by_id(&body["events"])
        };
        assert_eq!(missing(&late.identity).await, page, "{visibility}");
        // Whose user was there sees all of it.
        let page: BTreeMap<_, _> = [&rule, &before, &name, &join, &after].map(whole).into();
        assert_eq!(missing(&peer.identity).await, page, "{visibility}");
    }
}

/// What these events cite by their auth events, and so on; the create event, which nobody cites in version 12, with them.
fn chain<'a>(room: &Room, of: impl IntoIterator<Item = &'a Pdu>) -> BTreeSet<EventId> {
    let mut out = BTreeSet::from([room.get("m.room.create", "").event_id()]);
    let mut open: Vec<EventId> = of
        .into_iter()
        .flat_map(|pdu| pdu.auth_events().to_vec())
        .collect();
    while let Some(id) = open.pop() {
        if out.insert(id) {
            open.extend(room.find(&id.to_string()).unwrap().auth_events());
        }
    }
    out
}

#[tokio::test]
async fn a_room_is_told_as_it_is() {
    let (node, peer) = two().await;
    let by = &peer.identity;
    let mut room = peer.room.lock().unwrap().clone();
    let known = room.events.len();
    room.put(by, "m.room.topic", "", json!({ "topic": "first" }));
    room.put(by, "m.room.power_levels", "", json!({ "users_default": 10 }));
    room.put(by, "m.room.topic", "", json!({ "topic": "second" }));
    let state = room.state.clone();
    let start = now();
    for n in 1..=3 {
        let mut draft = room.message(by, &n.to_string());
        draft.origin_server_ts = start + 10_000 * n;
        room.take(draft.sign(by, VERSION).unwrap());
    }
    *peer.room.lock().unwrap() = room.clone();
    let sent: Vec<Value> = room.events[known..]
        .iter()
        .map(|pdu| pdu.raw().to_value())
        .collect();
    let told = node.send(&peer, "1", &sent).await;
    assert!(told.values().all(Option::is_none), "{told:?}");

    let whole = |pdu: &Pdu| (pdu.event_id(), pdu.raw().to_value());
    let (id, last) = (&room.id, room.newest());
    let values: BTreeMap<_, _> = state.values().map(whole).collect();
    let cited = chain(&room, state.values());
    let body = get(&node, by, &format!("state_ids/{id}?event_id={}", last.event_id())).await;
    assert_eq!(ids(&body["pdu_ids"]), values.keys().copied().collect());
    assert_eq!(ids(&body["auth_chain_ids"]), cited);
    let body = get(&node, by, &format!("state/{id}?event_id={}", last.event_id())).await;
    assert_eq!(by_id(&body["pdus"]), values);
    let events = |ids: &BTreeSet<EventId>| -> BTreeMap<EventId, Value> {
        let found = ids.iter().map(|id| room.find(&id.to_string()).unwrap());
        found.map(whole).collect()
    };
    assert_eq!(by_id(&body["auth_chain"]), events(&cited));
    // Before the first change of the topic there was none.
    let first = &room.events[known];
    let body = get(
        &node,
        by,
        &format!("state_ids/{id}?event_id={}", first.event_id()),
    )
    .await;
    assert_eq!(body["pdu_ids"].as_array().unwrap().len(), state.len() - 1);
    let body = get(&node, by, &format!("event_auth/{id}/{}", last.event_id())).await;
    assert_eq!(by_id(&body["auth_chain"]), events(&chain(&room, [last])));

    let target = format!("backfill/{id}?v={}&limit=4", last.event_id());
    let body = get(&node, by, &target).await;
    let newest: BTreeMap<_, _> = room.events.iter().rev().take(4).map(whole).collect();
    assert_eq!(by_id(&body["pdus"]), newest);
    assert_eq!(body["origin"], crate::world::NODE);
    assert!(body["origin_server_ts"].is_i64());

    for (offset, dir, found) in [
        (15_000, "f", 2),
        (15_000, "b", 1),
        (20_000, "f", 2),
        (20_000, "b", 2),
    ] {
        let target = format!("timestamp_to_event/{id}?ts={}&dir={dir}", start + offset);
        let pdu = &room.events[room.events.len() - 4 + found];
        let expected = json!({ "event_id": pdu.event_id(), "origin_server_ts": pdu.origin_server_ts() });
        assert_eq!(get(&node, by, &target).await, expected, "{offset} {dir}");
    }
    for (ts, dir) in [(1, "b"), (start + 40_000, "f")] {
        let target = format!("{V1}/timestamp_to_event/{id}?ts={ts}&dir={dir}");
        assert_eq!(node.get(by, &target).await, StatusCode::NOT_FOUND, "{dir}");
    }
}
