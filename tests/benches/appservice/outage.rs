//! What waits after an outage, and how fast it is taken in.

use crate::loads::{offer, put};
use crate::report::{all_there, case, rate, resident, show_within};
use crate::stage::{Stage, compose, transport};
use crate::watchers::follow;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_tests::matrix::http;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What a transaction of a hundred events may take until it is answered, p99.
const HANDLER_MS: f64 = 50.0;

/// The gateway is away while Alice goes on.
pub(crate) async fn outage(stage: &mut Stage, waiting: usize) {
    let composed = compose(stage.alice.profile(), &stage.room, waiting);
    stage.a.stop().await.unwrap();
    let began = Instant::now();
    // As fast as the homeserver takes them.
    let mut sent = Vec::new();
    for page in composed.chunks(8) {
        sent.extend(
            offer(page.to_vec(), Duration::from_millis(1), |id, octets| {
                put(stage.matrix.clone(), stage.portal.clone(), id, octets)
            })
            .await,
        );
    }
    case(
        &format!("outage: {waiting} events sent to Synapse alone"),
        rate(waiting, began.elapsed()),
        "/s",
    );
    let in_feed = follow(transport(stage.alice.profile()), stage.room.clone()).await;
    let at_bob = follow(transport(stage.bob.profile()), stage.room.clone()).await;
    let began = Instant::now();
    stage.a.start(None).await.unwrap();
    let up = began.elapsed();
    for (what, seen) in [("in the feed", &in_feed), ("at Bob's provider", &at_bob)] {
        all_there(what, waiting, Duration::from_mins(10), || {
            let there = seen.lock().unwrap();
            sent.iter().filter(|one| there.contains_key(&one.octets)).count()
        })
        .await;
        case(
            &format!("outage: {waiting} events waiting, {what} after the gateway's start"),
            rate(waiting, began.elapsed().saturating_sub(up)),
            "/s",
        );
    }
}

/// Transactions of 100 events that all concern us, one after the other: what a homeserver that is faster would see.
pub(crate) async fn catch_up(stage: &Stage, waiting: usize) {
    let registration = std::fs::read_to_string(stage.a.registration()).unwrap();
    let registration = appservice::Registration::from_yaml(&registration).unwrap();
    let token = registration.hs_token.expose();
    let composed = compose(stage.alice.profile(), &stage.room, waiting);
    let in_feed = follow(transport(stage.alice.profile()), stage.room.clone()).await;
    let http = http().unwrap();
    let pid = stage.a.id().unwrap();
    let before = resident(pid);
    let started = Instant::now();
    let mut handled = Vec::new();
    for (n, page) in composed.chunks(100).enumerate() {
        let events: Vec<Value> = page
            .iter()
            .map(|(id, octets)| {
                json!({"type": "org.causeway.message", "room_id": stage.portal, "event_id": format!("$bench-{id}"),
                    "sender": "@alice:a.example", "origin_server_ts": 1, "unsigned": {"age": 1}, "age": 1, "user_id": "@alice:a.example",
                    "content": {"id": id, "message": URL_SAFE_NO_PAD.encode(octets)}})
            })
            .collect();
        let url = format!(
            "http://{}/_matrix/app/v1/transactions/bench-{n}",
            stage.a.addresses().appservice
        );
        let request = http
            .put(url)
            .bearer_auth(token)
            .json(&json!({ "events": events }));
        let request = request.build().unwrap();
        let began = Instant::now();
        let answer = http.execute(request).await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        handled.push(began.elapsed());
    }
    let taken = started.elapsed();
    let count = || {
        let there = in_feed.lock().unwrap();
        composed
            .iter()
            .filter(|(_, octets)| there.contains_key(octets))
            .count()
    };
    all_there("after the burst", waiting, Duration::from_mins(10), count).await;
    let done = started.elapsed();
    let n = handled.len();
    let what = "burst: handler, 100 events a transaction, durable";
    show_within(what, handled, n, HANDLER_MS);
    case(
        &format!("burst: {waiting} events acknowledged"),
        rate(waiting, taken),
        "/s",
    );
    case(
        &format!("burst: {waiting} events accepted and in the feed"),
        rate(count(), done),
        "/s",
    );
    case("gateway's resident memory before the burst", before, "MiB");
    case("gateway's resident memory after it", resident(pid), "MiB");
}
