//! Outside bytes with something changed in them: transactions, and the answers of a server that is asked.
//!
//! `CAUSEWAY_MUTATIONS` of each, else 150. What comes of one is never a panic and never an error of ours, and the room
//! works afterwards.

use crate::peer::{Asked, Peer};
use crate::rooms::{still_works, two};
use crate::world::{NODE, Node, ctx};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use event_graph::json::to_canonical;
use http::Request;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use replication::auth;
use serde_json::json;
use std::sync::{Arc, Mutex};

fn mutations() -> usize {
    std::env::var("CAUSEWAY_MUTATIONS")
        .ok()
        .map_or(150, |text| text.parse().unwrap())
}

/// What happens to octets: at a place in thousandths, octets are put in place of so many.
type Change = (usize, usize, Vec<u8>);

fn change() -> impl Strategy<Value = Change> {
    let token = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..4),
        proptest::sample::select(vec![
            "null",
            "-1",
            "1e400",
            "[]",
            "{}",
            "\"\"",
            "9007199254740993",
            "\\u0000",
            ",",
        ])
        .prop_map(|text: &str| text.as_bytes().to_vec()),
    ];
    (0..1000_usize, 0..12_usize, token)
}

fn changed(octets: &[u8], (place, cut, with): &Change) -> Vec<u8> {
    let at = octets.len() * place / 1000;
    let end = (at + cut).min(octets.len());
    [&octets[..at], with, &octets[end..]].concat()
}

/// Changes, the same in each run.
fn changes() -> Vec<Change> {
    let mut runner = TestRunner::deterministic();
    let strategy = change();
    std::iter::repeat_with(|| strategy.new_tree(&mut runner).unwrap().current())
        .take(mutations())
        .collect()
}

#[tokio::test]
async fn transactions() {
    let (node, peer) = two().await;
    for (number, change) in changes().iter().enumerate() {
        let said = peer.room.lock().unwrap().message(&peer.identity, "mutated");
        let said = said.sign(&peer.identity, crate::room::VERSION).unwrap();
        let content = json!({
            "origin": peer.name.as_str(), "origin_server_ts": 1, "pdus": [said.raw().to_value()],
            "edus": [{ "edu_type": "m.typing", "content": {} }],
        });
        let octets = changed(to_canonical(&content).unwrap().as_bytes(), change);
        let target = format!("/_matrix/federation/v1/send/{number}");
        // Signed as it is, where it can be; else with a signature of something else.
        let text = std::str::from_utf8(&octets).ok();
        let canonical = text.and_then(|text| event_graph::json::canonicalize(text.as_bytes()).ok());
        let authorization = auth::sign(&peer.identity, "PUT", &target, NODE, canonical.as_deref());
        let request = Request::put(&target).header("authorization", authorization);
        let (status, answer) = node.raw(request.body(Body::from(octets)).unwrap()).await;
        assert!(!status.is_server_error(), "{change:?}: {status} {answer}");
    }
    still_works(&node, &peer).await;
}

/// A server whose answers to requests with `part` in their target are changed.
fn mutate(peer: &Arc<Peer>, part: &'static str, change: Change) {
    let honest = Arc::downgrade(peer);
    let busy = Mutex::new(());
    peer.script(move |asked: &Asked| {
        if !asked.target.contains(part) {
            return None;
        }
        let _one = busy.lock().unwrap();
        let answer = honest.upgrade()?.honest(asked);
        let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(answer.into_body(), 64 << 20));
        let body = body?.ok()?;
        let response: Response = changed(&body, &change).into_response();
        Some(response)
    });
}

/// Templates, states of a room, keys: whatever a server says of a room that is joined through it.
#[tokio::test]
async fn answers_to_a_join() {
    let node = Node::new().await;
    let parts = ["make_join", "send_join", "/key/v2/server"];
    for (number, change) in changes().into_iter().enumerate() {
        let seed = u8::try_from(number % 251).unwrap();
        let peer = Peer::start(&node.authority, seed).await;
        mutate(&peer, parts[number % parts.len()], change);
        // It may succeed: not every octet matters.
        let via = std::slice::from_ref(&peer.name);
        let _ = node.federation.join(&ctx(), &peer.room_id(), via, false).await;
    }
    let peer = Peer::start(&node.authority, 252).await;
    node.join(&peer).await;
    still_works(&node, &peer).await;
}
