//! Events of servers that are in a room and lie, withhold, or flood.

use crate::peer::{Peer, ok, status};
use crate::room::{Room, VERSION, altered, now, user};
use crate::world::{NODE, Node, ctx, until};
use event_graph::{EventId, Pdu, SigningIdentity};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// A node in the room of a peer.
pub(crate) async fn two() -> (Node, Arc<Peer>) {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    node.join(&peer).await;
    (node, peer)
}

/// The room still works: what an honest user says next counts.
pub(crate) async fn still_works(node: &Node, peer: &Peer) {
    let said = peer.say("still here");
    node.send(peer, "honest", &[said.raw().to_value()]).await;
    let id = said.event_id().to_string();
    assert!(node.accepted(&peer.room_id()).await.contains(&id));
}

pub(crate) fn nowhere(n: u64) -> EventId {
    let mut hash = [0xee; 32];
    hash[..8].copy_from_slice(&n.to_be_bytes());
    EventId::from_hash(hash)
}

/// ATK-05, ATK-24: no event without the signature of its sender's server, whoever brings it.
#[tokio::test]
async fn events_with_forged_signatures_are_dropped() {
    let (node, peer) = two().await;
    let other = Peer::start(&node.authority, 2).await;
    let room = peer.room.lock().unwrap().clone();
    let forged_key = SigningIdentity::from_seed(peer.name.as_str(), "ed25519:p", &[9; 32]);
    let draft = room.message(&peer.identity, "forged");
    let by_wrong_key = draft.sign(&forged_key, VERSION).unwrap();
    let mut of_other = draft.clone();
    of_other.sender = user(&other.identity, "victim");
    let of_other = of_other.sign(&peer.identity, VERSION).unwrap();
    let mut of_us = draft.clone();
    of_us.sender = format!("@_causeway:{NODE}");
    let of_us = of_us.sign(&peer.identity, VERSION).unwrap();
    let good = draft.sign(&peer.identity, VERSION).unwrap();
    let unsigned = altered(&good, "/signatures", json!({}));
    let list = [
        by_wrong_key.raw().to_value(),
        of_other.raw().to_value(),
        of_us.raw().to_value(),
        unsigned,
    ];
    let told = node.send(&peer, "1", &list).await;
    // The first and the last are one event: signatures are no part of its id.
    assert_eq!(told.len(), 3);
    assert!(told.values().all(Option::is_some), "{told:?}");
    for pdu in [&by_wrong_key, &of_other, &of_us, &good] {
        assert!(!node.holds(pdu).await);
    }
    still_works(&node, &peer).await;
}

/// ATK-36: an old key signs nothing that is newer than its end.
#[tokio::test]
async fn events_of_an_expired_key_are_dropped() {
    let node = Node::new().await;
    let peer = Peer::start(&node.authority, 1).await;
    let old = SigningIdentity::from_seed(peer.name.as_str(), "ed25519:old", &[8; 32]);
    let expired = now() - 60_000;
    let listed = json!({ "ed25519:old": { "key": old.verify_key().to_base64(), "expired_ts": expired } });
    let document = crate::peer::key_document(&peer.identity, now() + 86_400_000, &listed);
    peer.script(move |asked| asked.target.ends_with("key/v2/server").then(|| ok(&document)));
    node.join(&peer).await;
    let room = peer.room.lock().unwrap().clone();
    let mut draft = room.message(&peer.identity, "old key");
    let late = draft.sign(&old, VERSION).unwrap();
    draft.origin_server_ts = expired;
    let in_time = draft.sign(&old, VERSION).unwrap();
    let told = node
        .send(&peer, "1", &[late.raw().to_value(), in_time.raw().to_value()])
        .await;
    assert!(told[&late.event_id().to_string()].is_some());
    assert_eq!(told[&in_time.event_id().to_string()], None);
    assert!(!node.holds(&late).await && node.holds(&in_time).await);
}

#[tokio::test]
async fn events_of_rooms_that_are_not_here_are_not_kept() {
    let (node, peer) = two().await;
    let mut elsewhere = Room::new(&peer.identity);
    let said = elsewhere.say(&peer.identity, "elsewhere");
    let create = elsewhere.events[0].clone();
    let told = node
        .send(
            &peer,
            "1",
            &[
                said.raw().to_value(),
                create.raw().to_value(),
                json!({ "room_id": 7 }),
                json!({}),
            ],
        )
        .await;
    assert!(told.is_empty());
    assert!(!node.holds(&said).await && !node.holds(&create).await);
    still_works(&node, &peer).await;
}

/// A repeat gives the same answer and no second event; other content under the same number is judged by itself.
#[tokio::test]
async fn a_replayed_transaction_with_other_content() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let (one, two) = (peer.say("one"), peer.say("two"));
    let first = node.send(&peer, "same", &[one.raw().to_value()]).await;
    let before = node.heads(&room).await;
    assert_eq!(node.send(&peer, "same", &[one.raw().to_value()]).await, first);
    let after = node.heads(&room).await;
    assert_eq!((before.events, before.heads), (after.events, after.heads));
    let forged = altered(&one, "/content/body", json!("another"));
    let told = node.send(&peer, "same", &[forged, two.raw().to_value()]).await;
    assert_eq!(told[&two.event_id().to_string()], None);
    // What was stored under the id keeps its content.
    let kept = node.engine.event(one.event_id(), VERSION).await.unwrap().unwrap();
    assert_eq!(kept.content_value()["body"], "one");
    assert!(node.accepted(&room).await.contains(&two.event_id().to_string()));
}

/// ATK-01, ATK-40: depth orders nothing, and numbers out of range are no events.
#[tokio::test]
async fn absurd_depths_leave_the_room_usable() {
    let (node, peer) = two().await;
    let room = peer.room.lock().unwrap().clone();
    let mut deep = room.message(&peer.identity, "deep");
    deep.depth = event_graph::limits::MAX_INTEGER.unsigned_abs();
    let deep = deep.sign(&peer.identity, VERSION).unwrap();
    peer.room.lock().unwrap().take(deep.clone());
    let told = node.send(&peer, "1", &[deep.raw().to_value()]).await;
    assert_eq!(told[&deep.event_id().to_string()], None);
    let mut next = peer.room.lock().unwrap().message(&peer.identity, "next");
    next.depth = event_graph::limits::MAX_INTEGER.unsigned_abs();
    let next = next.sign(&peer.identity, VERSION).unwrap();
    let told = node.send(&peer, "2", &[next.raw().to_value()]).await;
    assert_eq!(told[&next.event_id().to_string()], None);
    assert!(
        node.accepted(&peer.room_id())
            .await
            .contains(&next.event_id().to_string())
    );
}

/// ATK-42: there is one create event.
#[tokio::test]
async fn a_second_create_event_is_refused() {
    let (node, peer) = two().await;
    let room = peer.room.lock().unwrap().clone();
    let eve = user(&peer.identity, "eve");
    let second = room.draft(&eve, "m.room.create", Some(""), json!({ "room_version": "12" }));
    // Our own code makes no such event; a hostile server does.
    if let Ok(second) = second.sign(&peer.identity, VERSION) {
        let told = node.send(&peer, "1", &[second.raw().to_value()]).await;
        assert!(told.values().all(Option::is_some), "{told:?}");
        assert!(
            !node
                .accepted(&room.id)
                .await
                .contains(&second.event_id().to_string())
        );
    }
    let create = node.state(&room.id).await[&("m.room.create".to_owned(), String::new())];
    assert_eq!(create, room.events[0].event_id());
    still_works(&node, &peer).await;
}

/// ATK-12: what is of another room authorises nothing.
#[tokio::test]
async fn auth_events_of_another_room() {
    let (node, peer) = two().await;
    let other = Peer::start(&node.authority, 2).await;
    node.join(&other).await;
    let mut draft = peer
        .room
        .lock()
        .unwrap()
        .message(&peer.identity, "authorised elsewhere");
    draft.auth_events = vec![
        other
            .room
            .lock()
            .unwrap()
            .get("m.room.power_levels", "")
            .event_id(),
    ];
    let pdu = draft.sign(&peer.identity, VERSION).unwrap();
    node.send(&peer, "1", &[pdu.raw().to_value()]).await;
    assert!(
        !node
            .accepted(&peer.room_id())
            .await
            .contains(&pdu.event_id().to_string())
    );
    still_works(&node, &peer).await;
}

/// ATK-50, ATK-19, ATK-31: a denied server is denied in every spelling, and a hostile pattern costs nothing.
#[tokio::test]
async fn a_server_that_the_acl_denies() {
    let (node, peer) = two().await;
    let other = Peer::start(&node.authority, 2).await;
    let mallory = user(&other.identity, "mallory");
    let join = {
        let mut room = peer.room.lock().unwrap();
        let draft = room.draft(
            &mallory,
            "m.room.member",
            Some(&mallory),
            json!({ "membership": "join" }),
        );
        let join = draft.sign(&other.identity, VERSION).unwrap();
        room.take(join.clone());
        join
    };
    node.send(&peer, "1", &[join.raw().to_value()]).await;
    let room = peer.room_id();
    let target = format!("/_matrix/federation/v1/event/{}", join.event_id());
    assert_eq!(node.get(&other.identity, &target).await, StatusCode::OK);
    // Both peers are addresses of one host; so the ACL denies addresses, and the rest is asked of the denied one.
    let stars = "*a".repeat(200);
    let acl = json!({ "allow": ["*"], "deny": ["127.0.0.?", stars], "allow_ip_literals": true });
    let acl = peer
        .room
        .lock()
        .unwrap()
        .put(&peer.identity, "m.room.server_acl", "", acl);
    let told = node.send(&peer, "2", &[acl.raw().to_value()]).await;
    assert_eq!(told[&acl.event_id().to_string()], None);
    assert_eq!(node.get(&other.identity, &target).await, StatusCode::FORBIDDEN);
    let said = {
        let room = peer.room.lock().unwrap();
        let content = json!({ "msgtype": "m.text", "body": "denied" });
        room.draft(&mallory, "m.room.message", None, content)
            .sign(&other.identity, VERSION)
            .unwrap()
    };
    let told = node.send(&other, "3", &[said.raw().to_value()]).await;
    assert!(told[&said.event_id().to_string()].is_some());
    assert!(!node.accepted(&room).await.contains(&said.event_id().to_string()));
}

/// What waits for a parent that nobody gives out waits, and holds up nothing else.
#[tokio::test]
async fn withheld_parents() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let hidden = peer.say("hidden");
    let child = peer.say("child");
    // The hidden one is never given out, in no way.
    let id = hidden.event_id().to_string();
    let of = Arc::downgrade(&peer);
    peer.script(move |asked| {
        let peer = of.upgrade()?;
        if asked.target.contains("/get_missing_events/") || asked.target.contains("/state") {
            return Some(status(StatusCode::NOT_FOUND));
        }
        if asked.target.contains(&id) {
            return Some(status(StatusCode::FORBIDDEN));
        }
        Some(peer.honest(asked))
    });
    node.send(&peer, "1", &[child.raw().to_value()]).await;
    until(|| async { peer.count("/get_missing_events/") >= 2 }).await;
    let heads = node.heads(&room).await;
    assert_eq!(
        (heads.missing, heads.held),
        (vec![hidden.event_id()], vec![child.event_id()])
    );
    assert!(!node.accepted(&room).await.contains(&child.event_id().to_string()));
    // On what is known others can go on.
    let aside = {
        let room = peer.room.lock().unwrap();
        let mut draft = room.message(&peer.identity, "aside");
        draft.prev_events = vec![hidden.prev_events()[0]];
        draft.sign(&peer.identity, VERSION).unwrap()
    };
    node.send(&peer, "2", &[aside.raw().to_value()]).await;
    assert!(node.accepted(&room).await.contains(&aside.event_id().to_string()));
    // Once it is given out after all, both count.
    node.send(&peer, "3", &[hidden.raw().to_value()]).await;
    let accepted = node.accepted(&room).await;
    assert!(
        accepted.contains(&hidden.event_id().to_string()) && accepted.contains(&child.event_id().to_string())
    );
}

/// Events without end, each citing one more that is missing: bounds hold, and the room goes on.
#[tokio::test]
async fn a_backfill_without_end() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let template = peer.room.lock().unwrap().message(&peer.identity, "before that");
    let identity = peer.identity.clone();
    let made = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let next = {
        let (made, template, identity) = (made.clone(), template.clone(), identity.clone());
        move || -> Pdu {
            let mut draft = template.clone();
            let n = made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            draft.prev_events = vec![nowhere(n)];
            draft.sign(&identity, VERSION).unwrap()
        }
    };
    let before = node.accepted(&room).await;
    let first = next();
    peer.script(move |asked| {
        if asked.target.contains("/get_missing_events/") {
            let events: Vec<Value> = (0..20).map(|_| next().raw().to_value()).collect();
            return Some(ok(&json!({ "events": events })));
        }
        let other = ["/event/", "/state", "/backfill/"]
            .iter()
            .any(|p| asked.target.contains(p));
        other.then(|| status(StatusCode::NOT_FOUND))
    });
    node.send(&peer, "1", &[first.raw().to_value()]).await;
    until(|| async { peer.count("/get_missing_events/") >= 30 }).await;
    let heads = node.heads(&room).await;
    assert!(heads.held.len() <= 2_000, "{}", heads.held.len());
    assert_eq!(node.accepted(&room).await, before);
    peer.script(|_| None);
    still_works(&node, &peer).await;
}

/// A long absence: all that was said meanwhile comes, though only the newest event was sent.
#[tokio::test]
async fn a_deep_gap_is_filled() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let missed: Vec<String> = (0..3_000)
        .map(|n| peer.say(&n.to_string()).event_id().to_string())
        .collect();
    let newest = peer.say("newest");
    node.send(&peer, "1", &[newest.raw().to_value()]).await;
    until(|| async { node.heads(&room).await.missing.is_empty() }).await;
    let accepted = node.accepted(&room).await;
    assert!(missed.iter().all(|id| accepted.contains(id)));
    assert_eq!(node.heads(&room).await.heads, [newest.event_id()]);
}

/// A history that never meets what is known is given up, at a bound.
#[tokio::test]
async fn a_history_without_end() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let template = peer.room.lock().unwrap().message(&peer.identity, "before that");
    let made = std::sync::atomic::AtomicU64::new(0);
    let pages = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (counted, identity) = (pages.clone(), peer.identity.clone());
    let first = {
        let mut draft = template.clone();
        draft.prev_events = vec![nowhere(u64::MAX)];
        draft.sign(&identity, VERSION).unwrap()
    };
    peer.script(move |asked| {
        if asked.target.contains("/backfill/") {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            // More than was asked for, and each leads on to others.
            let events: Vec<Value> = (0..250)
                .map(|_| {
                    let mut draft = template.clone();
                    draft.prev_events = vec![nowhere(made.fetch_add(1, std::sync::atomic::Ordering::SeqCst))];
                    draft.sign(&identity, VERSION).unwrap().raw().to_value()
                })
                .collect();
            return Some(ok(&json!({ "pdus": events })));
        }
        let about_events = ["/get_missing_events/", "/event/", "/state"]
            .iter()
            .any(|p| asked.target.contains(p));
        about_events.then(|| status(StatusCode::NOT_FOUND))
    });
    node.send(&peer, "1", &[first.raw().to_value()]).await;
    // Rounds go on, but this server's history is not fetched a second time.
    until(|| async { peer.count("/get_missing_events/") >= 3 }).await;
    assert!(pages.load(std::sync::atomic::Ordering::SeqCst) <= 22);
    assert_eq!(node.heads(&room).await.held, [first.event_id()]);
    peer.script(|_| None);
    still_works(&node, &peer).await;
}

/// Events that hang in the air: `CAUSEWAY_UNCONNECTED`, else 2,250. Fifty go in a transaction.
fn unconnected() -> u64 {
    std::env::var("CAUSEWAY_UNCONNECTED")
        .ok()
        .map_or(2_250, |text| text.parse().unwrap())
}

/// Thousands of events that hang in the air: no more than the bound is kept, the rest is dropped with a reason.
#[tokio::test]
async fn many_unconnected_events() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let template = peer.room.lock().unwrap().message(&peer.identity, "in the air");
    peer.script(|asked| {
        let about_events = ["/get_missing_events/", "/event/", "/state"]
            .iter()
            .any(|p| asked.target.contains(p));
        about_events.then(|| status(StatusCode::NOT_FOUND))
    });
    let mut dropped = 0;
    let transactions = unconnected() / 50;
    for txn in 0..transactions {
        let events: Vec<Value> = (0..50)
            .map(|n| {
                let mut draft = template.clone();
                draft.prev_events = vec![nowhere(txn * 50 + n)];
                draft.sign(&peer.identity, VERSION).unwrap().raw().to_value()
            })
            .collect();
        let told = node.send(&peer, &txn.to_string(), &events).await;
        dropped += told.values().filter(|e| e.is_some()).count();
    }
    assert_eq!(node.heads(&room).await.held.len(), 2_000);
    assert_eq!(dropped as u64, transactions * 50 - 2_000);
    peer.script(|_| None);
    still_works(&node, &peer).await;
}

/// ATK-10, ATK-29, ATK-38: receipts, typing, presence, devices and messages in the name of anybody do nothing: nobody here
/// has any of it.
#[tokio::test]
async fn ephemeral_events_in_others_names_do_nothing() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let before = node.heads(&room).await;
    let ours = format!("@_causeway:{NODE}");
    let edus = json!([
        { "edu_type": "m.receipt", "content": { &room: { "m.read": { &ours: { "event_ids": ["$x"], "data": {} } } } } },
        { "edu_type": "m.typing", "content": { "room_id": &room, "user_id": &ours, "typing": true } },
        { "edu_type": "m.presence", "content": { "push": [{ "user_id": &ours, "presence": "online" }] } },
        { "edu_type": "m.device_list_update", "content": { "user_id": &ours, "device_id": 7, "stream_id": "x" } },
        { "edu_type": "m.direct_to_device", "content": { "sender": &ours, "type": "x", "messages": { "@x:y": 1 } } },
        { "edu_type": "m.signing_key_update", "content": [] },
    ]);
    let content = json!({
        "origin": peer.name.as_str(), "origin_server_ts": now(), "pdus": [], "edus": edus,
    });
    let target = "/_matrix/federation/v1/send/edus";
    let (status, answer) = node
        .ask(&peer.identity, Method::PUT, target, Some(&content))
        .await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "pdus": {} })));
    assert_eq!(node.heads(&room).await, before);
    still_works(&node, &peer).await;
}

/// ATK-53: many events whose parents come later, the youngest first. None is thrown away, and what was missing is not asked
/// for again once it is there.
#[tokio::test]
async fn events_in_reverse_order_all_count() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let said: Vec<Pdu> = (0..150).map(|n| peer.say(&format!("{n}"))).collect();
    let backwards: Vec<Value> = said.iter().rev().map(|pdu| pdu.raw().to_value()).collect();
    for (txn, events) in backwards.chunks(50).enumerate() {
        node.send(&peer, &txn.to_string(), events).await;
    }
    until(|| async {
        let accepted = node.accepted(&room).await;
        said.iter()
            .all(|pdu| accepted.contains(&pdu.event_id().to_string()))
    })
    .await;
    assert!(node.heads(&room).await.missing.is_empty());
    still_works(&node, &peer).await;
}

/// ATK-28, ATK-43: a server that refuses or is away holds up nobody else, and one poisoned event no other.
#[tokio::test]
async fn one_bad_event_spoils_no_other() {
    let (node, peer) = two().await;
    let good = peer.say("good");
    let mut odd = good.raw().to_value();
    odd["content"] = json!({ "body": "x".repeat(70_000) });
    let list = [
        odd,
        json!({ "room_id": peer.room_id() }),
        json!({ "room_id": peer.room_id(), "type": 7, "prev_events": "x" }),
        json!([]),
        json!("x"),
        good.raw().to_value(),
    ];
    let told = node.send(&peer, "1", &list).await;
    assert_eq!(told.get(&good.event_id().to_string()), Some(&None));
    still_works(&node, &peer).await;
}

/// A carrier that arrives redacted is asked for again until its content is right (a hostile server hands out emptied
/// copies); a redaction of it has no effect.
#[tokio::test]
async fn emptied_copies_of_carriers() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let carrier = {
        let mut room = peer.room.lock().unwrap();
        let eve = user(&peer.identity, "eve");
        let draft = room.draft(
            &eve,
            "org.causeway.message",
            None,
            json!({ "v": 1, "payload": "AAAA" }),
        );
        let pdu = draft.sign(&peer.identity, VERSION).unwrap();
        room.take(pdu.clone());
        pdu
    };
    node.send(&peer, "1", &[carrier.redact().raw().to_value()]).await;
    assert!(
        node.accepted(&room)
            .await
            .contains(&carrier.event_id().to_string())
    );
    until(|| async { node.heads(&room).await.incomplete.is_empty() }).await;
    let redaction = {
        let mut room = peer.room.lock().unwrap();
        let eve = user(&peer.identity, "eve");
        let draft = room.draft(
            &eve,
            "m.room.redaction",
            None,
            json!({ "redacts": carrier.event_id() }),
        );
        let pdu = draft.sign(&peer.identity, VERSION).unwrap();
        room.take(pdu.clone());
        pdu
    };
    node.send(&peer, "2", &[redaction.raw().to_value()]).await;
    assert!(
        node.accepted(&room)
            .await
            .contains(&redaction.event_id().to_string())
    );
    let kept = node
        .engine
        .event(carrier.event_id(), VERSION)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.content_value()["payload"], "AAAA");
}

/// Invitations to a user of a server that gives back another event come to nothing.
#[tokio::test]
async fn an_invitation_that_comes_back_as_another() {
    let (node, peer) = two().await;
    let room = peer.room_id();
    let newest = peer.room.lock().unwrap().newest().raw().to_value();
    peer.script(move |asked| {
        asked
            .target
            .contains("/invite/")
            .then(|| ok(&json!({ "event": newest })))
    });
    let zoe = user(&peer.identity, "zoe");
    assert!(node.federation.invite(&ctx(), &room, &zoe).await.is_err());
    assert!(
        !node
            .state(&room)
            .await
            .contains_key(&("m.room.member".to_owned(), zoe))
    );
}
