//! Events that are fetched from a server of the room: they go through the door of those that are sent, and a gap that
//! stays is closed at the state that a server gives.

use crate::peer::{Peer, ok, status};
use crate::room::{Room, VERSION, altered};
use crate::rooms::two;
use crate::world::{NODE, Node, until};
use event_graph::{EventId, Pdu, SigningIdentity};
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// State events that would count at once if they were what they say, as a lying server hands them out.
struct Lies {
    /// Unsigned, signed with another key, in the name of others, or of another room.
    events: HashMap<EventId, Value>,
    /// Rightly signed, with another content than was hashed: of this the copy without content is taken.
    emptied: (EventId, Value),
}

impl Lies {
    fn of(peer: &Peer) -> Self {
        let room = peer.room.lock().unwrap();
        let identity = &peer.identity;
        let draft = |key: &str| {
            let eve = crate::room::user(identity, "eve");
            room.draft(&eve, "org.example.lie", Some(key), json!({ "is": "so" }))
        };
        let good = |key: &str| draft(key).sign(identity, VERSION).unwrap();
        let another_key = SigningIdentity::from_seed(peer.name.as_str(), "ed25519:p", &[9; 32]);
        let (unsigned, hashed) = (good("unsigned"), good("content"));
        let forged = draft("forged").sign(&another_key, VERSION).unwrap();
        let mut of_us = draft("ours");
        of_us.sender = format!("@_causeway:{NODE}");
        let of_us = of_us.sign(identity, VERSION).unwrap();
        let foreign = Room::new(identity).put(identity, "org.example.lie", "foreign", json!({}));
        let mut events: HashMap<EventId, Value> = [&forged, &of_us, &foreign]
            .map(|pdu| (pdu.event_id(), pdu.raw().to_value()))
            .into();
        events.insert(unsigned.event_id(), altered(&unsigned, "/signatures", json!({})));
        let emptied = altered(&hashed, "/content/is", json!("forged"));
        Self {
            events,
            emptied: (hashed.event_id(), emptied),
        }
    }

    fn ids(&self) -> Vec<EventId> {
        self.events.keys().copied().chain([self.emptied.0]).collect()
    }

    fn values(&self) -> Vec<Value> {
        let emptied = self.emptied.1.clone();
        self.events.values().cloned().chain([emptied]).collect()
    }

    fn get(&self, id: EventId) -> Option<&Value> {
        (id == self.emptied.0)
            .then_some(&self.emptied.1)
            .or_else(|| self.events.get(&id))
    }

    /// None of them is here, but for one that lost its content.
    async fn are_not_believed(&self, node: &Node, room: &str, way: &str) {
        let accepted = node.accepted(room).await;
        for (id, event) in &self.events {
            assert!(!accepted.contains(&id.to_string()), "{way}: {event}");
            let stored = node.engine.event(*id, VERSION).await.unwrap();
            assert!(stored.is_none(), "{way}: {event}");
        }
        if let Some(stored) = node.engine.event(self.emptied.0, VERSION).await.unwrap() {
            assert_eq!(stored.content_value(), json!({}), "{way}");
        }
        let state = node.state(room).await;
        let lies = state
            .iter()
            .filter(|((t, _), id)| t == "org.example.lie" && **id != self.emptied.0);
        assert_eq!(lies.count(), 0, "{way}: {state:?}");
    }
}

/// An event that the peer's room doesn't have yet, on top of it and of others.
fn child(peer: &Peer, others: &[EventId]) -> Pdu {
    let mut draft = peer.room.lock().unwrap().message(&peer.identity, "child");
    draft.prev_events.extend(others);
    draft.sign(&peer.identity, VERSION).unwrap()
}

fn id_at_end(target: &str) -> Option<EventId> {
    target.rsplit('/').next()?.parse().ok()
}

/// ATK-05, ATK-24: what a server answers to `get_missing_events`, `event` and `backfill` is verified like what it sends.
#[tokio::test]
async fn what_is_fetched_takes_the_door_of_what_is_sent() {
    for way in ["/get_missing_events/", "/event/", "/backfill/"] {
        let (node, peer) = two().await;
        let room = peer.room_id();
        let lies = Arc::new(Lies::of(&peer));
        let hidden = peer.say("hidden");
        let child = child(&peer, &lies.ids());
        let (told, honest) = (lies.clone(), hidden.clone());
        peer.script(move |asked| {
            if asked.target.ends_with("key/v2/server") {
                return None;
            }
            let missing = asked.target.contains("/get_missing_events/");
            if missing && way == "/event/" {
                // Else it would be asked for nothing more.
                return Some(ok(&json!({ "events": [] })));
            }
            if !asked.target.contains(way) {
                return Some(status(StatusCode::NOT_FOUND));
            }
            let mut events = told.values();
            events.push(honest.raw().to_value());
            if way == "/event/" {
                let id = id_at_end(&asked.target)?;
                let honest = (id == honest.event_id()).then(|| honest.raw().to_value());
                events = told.get(id).cloned().or(honest).into_iter().collect();
            }
            let name = if missing { "events" } else { "pdus" };
            Some(ok(&json!({ name: events })))
        });
        node.send(&peer, "1", &[child.raw().to_value()]).await;
        let id = hidden.event_id().to_string();
        until(|| async { node.accepted(&room).await.contains(&id) }).await;
        lies.are_not_believed(&node, &room, way).await;
        assert_eq!(node.heads(&room).await.held, [child.event_id()], "{way}");
        // Those that don't verify are asked for again, and are no truer then.
        let asked = peer.count("/get_missing_events/");
        until(|| async { peer.count("/get_missing_events/") >= asked + 2 }).await;
        lies.are_not_believed(&node, &room, way).await;
    }
}

/// What a lying or an honest server says of the state before an event.
struct Told {
    ids: Vec<EventId>,
    /// Events that are given beside those of the room.
    more: HashMap<EventId, Value>,
}

/// A node that was sent an event whose parent is never given out, with `changes` of the state between; the state before it
/// is told as `told` changes it.
async fn gap(changes: usize, told: impl FnOnce(&Peer, &mut Told)) -> (Node, Arc<Peer>, Pdu, Pdu) {
    let (node, peer) = two().await;
    let mut given = Told {
        ids: Vec::new(),
        more: HashMap::new(),
    };
    {
        let mut room = peer.room.lock().unwrap();
        for n in 0..changes {
            room.put(
                &peer.identity,
                "org.example.change",
                &n.to_string(),
                json!({ "n": n }),
            );
        }
        given.ids = room.state.values().map(Pdu::event_id).collect();
    }
    told(&peer, &mut given);
    let hidden = peer.say("hidden");
    let child = child(&peer, &[]);
    let (of, not, waits) = (Arc::downgrade(&peer), hidden.event_id(), child.clone());
    peer.script(move |asked| {
        let peer = of.upgrade()?;
        let path = asked.target.split('?').next()?;
        if path.contains("/get_missing_events/") || path.contains("/backfill/") {
            return Some(status(StatusCode::NOT_FOUND));
        }
        let event = |id: EventId| -> Option<Value> {
            let room = peer.room.lock().unwrap();
            let found = room.find(&id.to_string()).filter(|_| id != not);
            let lie = given.more.get(&id).cloned();
            lie.or_else(|| found.map(|pdu| pdu.raw().to_value()))
        };
        if path.contains("/event/") {
            let id = id_at_end(path)?;
            let waits = (id == waits.event_id()).then(|| waits.raw().to_value());
            let found = waits.or_else(|| event(id));
            return Some(found.map_or_else(
                || status(StatusCode::NOT_FOUND),
                |event| ok(&json!({ "pdus": [event] })),
            ));
        }
        if path.contains("/state_ids/") {
            return Some(ok(&json!({ "pdu_ids": given.ids, "auth_chain_ids": [] })));
        }
        if path.contains("/state/") {
            let pdus: Vec<Value> = given.ids.iter().filter_map(|id| event(*id)).collect();
            let chain: Vec<&Value> = given.more.values().collect();
            return Some(ok(&json!({ "pdus": pdus, "auth_chain": chain })));
        }
        None
    });
    node.send(&peer, "1", &[child.raw().to_value()]).await;
    (node, peer, hidden, child)
}

/// Few events of a state are fetched one by one, many as a whole; the event that waited counts at that state.
#[tokio::test]
async fn a_gap_is_closed_at_the_state_that_a_server_gives() {
    for (changes, whole) in [(3, 0), (60, 1)] {
        let (node, peer, hidden, child) = gap(changes, |_, _| {}).await;
        let (room, id) = (peer.room_id(), child.event_id().to_string());
        until(|| async { node.accepted(&room).await.contains(&id) }).await;
        let heads = node.heads(&room).await;
        assert!(heads.missing.is_empty() && heads.held.is_empty());
        assert!(!node.holds(&hidden).await);
        assert_eq!(peer.count("/state/"), whole);
        let expected: std::collections::BTreeMap<_, _> = {
            let state = &peer.room.lock().unwrap().state;
            state
                .iter()
                .map(|(key, pdu)| (key.clone(), pdu.event_id()))
                .collect()
        };
        assert_eq!(node.state(&room).await, expected);
        // What comes next is judged as usual.
        peer.room.lock().unwrap().take(child);
        crate::rooms::still_works(&node, &peer).await;
    }
}

/// ATK-13, ATK-24: of a state that is made up only what verifies is believed.
#[tokio::test]
async fn a_given_state_takes_the_door_of_what_is_sent() {
    for changes in [3, 60] {
        let way = format!("{changes} changes");
        let mut lies = None;
        let (node, peer, hidden, child) = gap(changes, |peer, told| {
            let made = Lies::of(peer);
            told.ids.extend(made.ids());
            told.more = made.ids().into_iter().zip(made.values()).collect();
            lies = Some(made);
        })
        .await;
        let (room, id) = (peer.room_id(), child.event_id().to_string());
        until(|| async { node.accepted(&room).await.contains(&id) }).await;
        lies.unwrap().are_not_believed(&node, &room, &way).await;
        assert!(!node.holds(&hidden).await, "{way}");
        let changed = node
            .state(&room)
            .await
            .into_keys()
            .filter(|(t, _)| t == "org.example.change");
        assert_eq!(changed.count(), changes, "{way}");
    }
}

/// ATK-42: a state without a create event, or without anything, is none at which an event could count, and takes nothing
/// from the room.
#[tokio::test]
async fn a_given_state_without_its_beginning() {
    for all in [false, true] {
        let (node, peer, _, child) = gap(3, |peer, told| {
            let create = peer.room.lock().unwrap().get("m.room.create", "").event_id();
            told.ids.retain(|id| !all && *id != create);
        })
        .await;
        let room = peer.room_id();
        let before = node.state(&room).await;
        until(|| async {
            let waits = !node.heads(&room).await.held.is_empty();
            peer.count("/state_ids/") >= 1 && (!waits || peer.count("/get_missing_events/") >= 2)
        })
        .await;
        assert!(
            !node.accepted(&room).await.contains(&child.event_id().to_string()),
            "{all}"
        );
        let after = node.state(&room).await;
        assert!(
            before.iter().all(|(key, id)| after.get(key) == Some(id)),
            "{all}: {after:?}"
        );
    }
}
