//! What is sent to servers that refuse some of it, or don't keep up.

use crate::peer::{Peer, ok, status};
use crate::rooms::two;
use crate::world::{Node, until};
use axum::response::{IntoResponse as _, Response};
use event_graph::Pdu;
use http::StatusCode;
use replication::EventTransport;
use replication::sender::AHEAD;
use room_engine::outbox::{Delivery, Destination, OutboxBody, OutboxEntry, Transport as _};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

fn entry(to: &Peer, seq: usize, pdu: &Pdu) -> OutboxEntry {
    OutboxEntry {
        destination: Destination::Server(to.name.as_str().to_owned()),
        room: "room".to_owned(),
        seq: seq as u64,
        request_id: "test".to_owned(),
        queued_at: 0,
        body: OutboxBody::Event {
            graph: pdu.room_id().to_owned(),
            event: pdu.event_id(),
        },
        octets: room_engine::carrier::Octets::default(),
    }
}

/// A node with so many events for another server.
async fn waiting(count: usize) -> (Node, Arc<Peer>, Arc<Peer>, Vec<OutboxEntry>) {
    let (node, peer) = two().await;
    let to = Peer::start(&node.authority, 2).await;
    let said: Vec<Pdu> = (0..count).map(|n| peer.say(&format!("{n}"))).collect();
    for (txn, some) in said.chunks(50).enumerate() {
        let some: Vec<_> = some.iter().map(|pdu| pdu.raw().to_value()).collect();
        node.send(&peer, &format!("{txn}"), &some).await;
    }
    let entries = said.iter().enumerate().map(|(n, pdu)| entry(&to, n, pdu));
    let entries = entries.collect();
    (node, peer, to, entries)
}

fn refusal(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let body = json!({ "errcode": "M_BAD_JSON", "error": "that one" });
    (status, axum::Json(body)).into_response()
}

/// ATK-28: an event that a server will never take is set aside, by itself, and what comes after it goes on.
#[tokio::test]
async fn one_event_that_a_server_will_not_have_holds_up_no_other() {
    let (node, _peer, to, entries) = waiting(5).await;
    let poison = json!("2");
    let taken = Arc::new(Mutex::new(Vec::new()));
    let seen = taken.clone();
    to.script(move |asked| {
        if !asked.target.contains("/send/") {
            return None;
        }
        let pdus = asked.body["pdus"].as_array().unwrap();
        if pdus.iter().any(|pdu| pdu["content"]["body"] == poison) {
            return Some(refusal(if pdus.len() > 1 { 413 } else { 400 }));
        }
        let bodies = pdus.iter().map(|pdu| pdu["content"]["body"].clone());
        seen.lock().unwrap().extend(bodies);
        Some(ok(&json!({ "pdus": {} })))
    });
    let transport = EventTransport::new(node.federation.clone());
    let deliveries = transport.deliver_all(&entries).await;
    let told: Vec<&str> = deliveries
        .iter()
        .map(|delivery| match delivery {
            Delivery::Done => "done",
            Delivery::Retry { .. } => "retry",
            Delivery::Refused { .. } => "refused",
        })
        .collect();
    assert_eq!(told, ["done", "done", "refused", "done", "done"]);
    assert_eq!(*taken.lock().unwrap(), ["0", "1", "3", "4"].map(|n| json!(n)));
}

/// What may pass by itself is no reason to set anything aside.
#[tokio::test]
async fn a_server_that_is_not_itself_loses_nothing() {
    let (node, _peer, to, entries) = waiting(2).await;
    let transport = EventTransport::new(node.federation.clone());
    for code in [401, 403, 404, 408, 429, 500, 502] {
        to.script(move |asked| asked.target.contains("/send/").then(|| refusal(code)));
        let deliveries = transport.deliver_all(&entries).await;
        assert!(
            matches!(deliveries[..], [Delivery::Retry { .. }]),
            "{code}: {deliveries:?}"
        );
    }
    // What answers so is no Matrix server.
    to.script(|asked| {
        asked
            .target
            .contains("/send/")
            .then(|| StatusCode::BAD_REQUEST.into_response())
    });
    let deliveries = transport.deliver_all(&entries).await;
    assert!(
        matches!(deliveries[..], [Delivery::Retry { .. }]),
        "{deliveries:?}"
    );
    to.script(|_| None);
    assert_eq!(
        transport.deliver_all(&entries).await,
        [Delivery::Done, Delivery::Done]
    );
}

/// A homeserver acknowledges before it processes: what it doesn't show to hold is followed by no more than a trickle.
#[tokio::test]
async fn a_server_that_shows_nothing_gets_a_trickle() {
    let (node, _peer, to, entries) = waiting(AHEAD + 20).await;
    let transport = EventTransport::new(node.federation.clone());
    let shows = Arc::new(AtomicBool::new(false));
    let does = shows.clone();
    to.script(move |asked| {
        let shown = if does.load(Ordering::SeqCst) {
            ok(&json!({ "pdus": [] }))
        } else {
            status(StatusCode::NOT_FOUND)
        };
        asked.target.contains("/event/").then_some(shown)
    });
    let done = |deliveries: &[Delivery]| deliveries.iter().filter(|d| **d == Delivery::Done).count();
    let deliveries = transport.deliver_all(&entries).await;
    assert_eq!(done(&deliveries), AHEAD);
    assert!(matches!(deliveries.last(), Some(Delivery::Retry { .. })));
    // One by one from here on, each after it was looked whether the newest is there.
    let mut sent = AHEAD;
    let mut asked = 0;
    for _ in 0..3 {
        until(|| async { done(&transport.deliver_all(&entries[sent..]).await) == 1 }).await;
        sent += 1;
        assert!(to.count("/event/") > asked);
        asked = to.count("/event/");
    }
    assert_eq!(to.count("/send/"), 4);
    shows.store(true, Ordering::SeqCst);
    assert_eq!(
        done(&transport.deliver_all(&entries[sent..]).await),
        entries.len() - sent
    );
}
