//! What the way through a homeserver costs: `scripts/bench appservice`.
//!
//! A real Synapse, two gateways, and beside ours an application service that does nothing but look at the clock when an
//! event reaches it. What that one sees is Synapse's own share; the rest is ours. Latency is from a client's call to
//! when the other side has it: Alice's message in the feed of Bob's provider, Bob's message in Alice's Matrix sync.
//!
//! `--quick`: fewer of everything. `--json`: a line of JSON for each case.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs
)]

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_tests::client::Client;
use causeway_tests::matrix::{User, http};
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider};
use causeway_tests::synapse::Synapse;
use mls_client::Engine;
use mls_client::api::FeedItem;
use mls_client::transport::{Http, Transport as _};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Seen = Arc<Mutex<HashMap<String, Instant>>>;

/// Messages a second of the loaded run.
const RATE: u32 = 50;

fn flag(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

/// One figure.
fn case(case: &str, ours: f64, unit: &str) {
    if flag("--json") {
        println!(
            "{}",
            json!({"area": "appservice", "case": case, "ours": ours, "unit": unit})
        );
    } else {
        println!("  {case:<78} {ours:>9.1} {unit}");
    }
}

/// The application service that does nothing: event id to when it came.
async fn empty_appservice(server_name: &str, file: &Path) -> Seen {
    let seen = Seen::default();
    let [address] = free_addresses().unwrap();
    let registration = json!({
        "id": "empty", "url": format!("http://{address}"), "as_token": "empty-as", "hs_token": "empty-hs",
        "sender_localpart": "empty", "rate_limited": false,
        "namespaces": {"users": [{"exclusive": false, "regex": format!("@alice:{server_name}")}], "aliases": [], "rooms": []},
    });
    std::fs::write(file, registration.to_string()).unwrap();
    let router = axum::Router::new()
        .fallback(|State(seen): State<Seen>, body: axum::body::Bytes| async move {
            let now = Instant::now();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            for event in body["events"].as_array().into_iter().flatten() {
                let id = event["event_id"].as_str().unwrap().to_owned();
                seen.lock().unwrap().entry(id).or_insert(now);
            }
            "{}"
        })
        .with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    seen
}

/// A device's session with its provider.
fn transport(profile: &Path) -> Http {
    let engine = Engine::open(profile, None, Duration::from_secs(10)).unwrap();
    let account = engine.account().unwrap();
    Http::new(&account.provider_url, None)
        .unwrap()
        .with_token(&account.session.token)
}

/// Composes messages: their ids and octets.
fn compose(profile: &Path, room: &str, n: usize) -> Vec<(String, Vec<u8>)> {
    let mut engine = Engine::open(profile, None, Duration::from_secs(10)).unwrap();
    (0..n)
        .map(|n| {
            let id = engine
                .compose(room, &format!("message {n}"), "text/plain;charset=utf-8")
                .unwrap();
            let (submission, _) = engine.submission(room, &id).unwrap();
            (id, submission.message.0.clone())
        })
        .collect()
}

/// Follows a feed: the octets of each message, and when they were there.
fn follow(http: Http, room: String) -> Arc<Mutex<HashMap<Vec<u8>, Instant>>> {
    let seen: Arc<Mutex<HashMap<Vec<u8>, Instant>>> = Arc::default();
    let there = seen.clone();
    tokio::spawn(async move {
        let mut from = 1;
        loop {
            match http.log(&room, from, 200, Duration::from_secs(20)).await {
                Ok(page) => {
                    let now = Instant::now();
                    for entry in &page.entries {
                        if let FeedItem::Message { message, .. } = &entry.item {
                            there.lock().unwrap().entry(message.0.clone()).or_insert(now);
                        }
                    }
                    from = page.next;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    seen
}

/// Follows a user's sync: for each carrier event in the portal its message's octets, and when they were there.
fn follow_portal(alice: User, portal: String) -> Arc<Mutex<HashMap<Vec<u8>, Instant>>> {
    let seen: Arc<Mutex<HashMap<Vec<u8>, Instant>>> = Arc::default();
    let there = seen.clone();
    tokio::spawn(async move {
        let mut since = String::new();
        loop {
            let path = format!("/_matrix/client/v3/sync?timeout=20000{since}");
            let Ok(sync) = alice.call(reqwest::Method::GET, &path, None).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let now = Instant::now();
            let timeline = &sync["rooms"]["join"][&portal]["timeline"]["events"];
            for event in timeline.as_array().into_iter().flatten() {
                for pointer in ["/content/payload/data", "/content/data", "/content/message"] {
                    if let Some(text) = event.pointer(pointer).and_then(Value::as_str) {
                        let octets = URL_SAFE_NO_PAD
                            .decode(text)
                            .or_else(|_| base64::engine::general_purpose::STANDARD_NO_PAD.decode(text))
                            .or_else(|_| base64::engine::general_purpose::STANDARD.decode(text));
                        if let Ok(octets) = octets {
                            there.lock().unwrap().entry(octets).or_insert(now);
                        }
                    }
                }
            }
            since = format!("&since={}", sync["next_batch"].as_str().unwrap());
        }
    });
    seen
}

fn quantile(all: &mut [Duration], q: f64) -> f64 {
    if all.is_empty() {
        return f64::NAN;
    }
    all.sort();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let place = ((all.len() - 1) as f64 * q).round() as usize;
    all[place].as_secs_f64() * 1000.0
}

fn show(what: &str, mut all: Vec<Duration>, of: usize) {
    let n = all.len();
    for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
        case(
            &format!("{what}, {name} of {n}/{of}"),
            quantile(&mut all, q),
            "ms",
        );
    }
}

async fn all_there(what: &str, count: usize, within: Duration, mut have: impl FnMut() -> usize) {
    let end = Instant::now() + within;
    while have() < count {
        if Instant::now() > end {
            println!(
                "  {what}: only {} of {count} within {} s",
                have(),
                within.as_secs()
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Resident memory of a process, MiB.
fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib: f64 = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or_default();
    kib / 1024.0
}

struct Stage {
    synapse: Synapse,
    a: Provider,
    b: Provider,
    alice: Client,
    bob: Client,
    matrix: User,
    room: String,
    portal: String,
    empty: Seen,
}

async fn stage(place: &Path) -> Stage {
    let [homeserver] = free_addresses().unwrap();
    let (for_a, for_b) = (Addresses::free().unwrap(), Addresses::free().unwrap());
    let url = format!("http://{homeserver}");
    let ca = place.join("ca");
    let (peer_a, peer_b) = (("a.example", for_a.mimi), ("b.example", for_b.mimi));
    let mut a = Provider::init(&place.join("a"), "a.example", for_a, &ca, &[peer_b], Some(&url))
        .await
        .unwrap();
    let mut b = Provider::init(&place.join("b"), "b.example", for_b, &ca, &[peer_a], None)
        .await
        .unwrap();
    let file = place.join("empty.yaml");
    let empty = empty_appservice("a.example", &file).await;
    let mut synapse = Synapse::configure(
        &place.join("synapse"),
        "a.example",
        homeserver,
        &[a.registration(), file],
    )
    .unwrap();
    synapse.start().await.unwrap();
    a.start(None).await.unwrap();
    b.start(None).await.unwrap();
    let matrix = synapse.register("alice", "password").await.unwrap();
    let profiles = place.join("profiles");
    let alice = Client::login_matrix(&profiles, "Alice", &a, &synapse, ("alice", "password"), "phone")
        .await
        .unwrap();
    let token = b.add_user("bob").await.unwrap();
    let bob = Client::login_token(&profiles, "Bob", &b, ("bob", &token), "laptop")
        .await
        .unwrap();
    let room = alice.run(&["create", "Bench"]).await.unwrap()["room"]
        .as_str()
        .unwrap()
        .to_owned();
    alice.run(&["add", &room, &bob.user]).await.unwrap();
    for (client, text) in [(&alice, "first"), (&bob, "second")] {
        client.send(&room, text, Duration::from_mins(1)).await.unwrap();
    }
    let portal = causeway_tests::matrix::eventually("the portal", Duration::from_mins(1), || async {
        let mut command = a.command()?;
        let shown = causeway_tests::provider::run(command.args(["room", "show", &room, "--json"])).await?;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        Ok(shown["portal"].as_str().map(ToOwned::to_owned))
    })
    .await
    .unwrap();
    matrix.join(&portal).await.unwrap();
    Stage {
        synapse,
        a,
        b,
        alice,
        bob,
        matrix,
        room,
        portal,
        empty,
    }
}

/// Alice to Bob, and what Synapse takes of it.
async fn there(stage: &Stage, load: &str, messages: usize, gap: Duration) {
    let composed = compose(stage.alice.profile(), &stage.room, messages);
    let at_bob = follow(transport(stage.bob.profile()), stage.room.clone());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut tick = tokio::time::interval(gap);
    let mut sending = Vec::new();
    for (id, octets) in composed {
        tick.tick().await;
        let (matrix, portal) = (stage.matrix.clone(), stage.portal.clone());
        sending.push(tokio::spawn(async move {
            let content = json!({"id": id, "message": URL_SAFE_NO_PAD.encode(&octets)});
            let sent = Instant::now();
            let event = matrix
                .send(&portal, "org.causeway.message", &id, content)
                .await
                .unwrap();
            (sent, Instant::now(), event, octets)
        }));
    }
    let mut sent = Vec::new();
    for one in sending {
        sent.push(one.await.unwrap());
    }
    all_there("at Bob's provider", messages, Duration::from_mins(2), || {
        let there = at_bob.lock().unwrap();
        sent.iter()
            .filter(|(_, _, _, octets)| there.contains_key(octets))
            .count()
    })
    .await;
    let (bob, empty) = (at_bob.lock().unwrap(), stage.empty.lock().unwrap());
    let (mut answered, mut whole, mut synapse, mut ours) = (vec![], vec![], vec![], vec![]);
    for (began, done, event, octets) in &sent {
        answered.push(*done - *began);
        if let Some(at) = bob.get(octets) {
            whole.push(*at - *began);
            if let Some(pushed) = empty.get(event) {
                synapse.push(*pushed - *began);
                ours.push(at.saturating_duration_since(*pushed));
            }
        }
    }
    show(
        &format!("{load}: Synapse answers Alice's client"),
        answered,
        messages,
    );
    show(
        &format!("{load}: send to the empty appservice (Synapse's share)"),
        synapse,
        messages,
    );
    show(
        &format!("{load}: send to Bob's feed (all of it)"),
        whole,
        messages,
    );
    show(
        &format!("{load}: empty appservice to Bob's feed (ours, both gateways)"),
        ours,
        messages,
    );
}

/// Bob to Alice's portal.
async fn back(stage: &Stage, load: &str, messages: usize, gap: Duration) {
    let composed = compose(stage.bob.profile(), &stage.room, messages);
    let at_alice = follow_portal(stage.matrix.clone(), stage.portal.clone());
    let in_feed = follow(transport(stage.alice.profile()), stage.room.clone());
    let http = Arc::new(transport(stage.bob.profile()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut tick = tokio::time::interval(gap);
    let mut sending = Vec::new();
    for (id, octets) in composed {
        tick.tick().await;
        let (http, room) = (http.clone(), stage.room.clone());
        sending.push(tokio::spawn(async move {
            let sent = Instant::now();
            let message = mls_client::api::SubmitMessage {
                id,
                message: mls_client::api::B64(octets.clone()),
            };
            http.submit(&room, &message).await.unwrap();
            (sent, octets)
        }));
    }
    let mut sent = Vec::new();
    for one in sending {
        sent.push(one.await.unwrap());
    }
    all_there("in Alice's portal", messages, Duration::from_mins(2), || {
        let there = at_alice.lock().unwrap();
        sent.iter()
            .filter(|(_, octets)| there.contains_key(octets))
            .count()
    })
    .await;
    let (portal, feed) = (at_alice.lock().unwrap(), in_feed.lock().unwrap());
    let since = |there: &HashMap<Vec<u8>, Instant>| {
        sent.iter()
            .filter_map(|(began, octets)| Some(there.get(octets)?.saturating_duration_since(*began)))
            .collect::<Vec<_>>()
    };
    show(
        &format!("{load}: Bob's submit to Alice's feed"),
        since(&feed),
        messages,
    );
    show(
        &format!("{load}: Bob's submit to Alice's sync (portal copy)"),
        since(&portal),
        messages,
    );
}

/// Transactions of 100 events that all concern us, one after the other, as a homeserver sends them after an outage.
async fn catch_up(stage: &Stage, waiting: usize) {
    let registration = std::fs::read_to_string(stage.a.registration()).unwrap();
    let token = registration
        .lines()
        .find_map(|line| line.strip_prefix("hs_token: "))
        .unwrap()
        .trim()
        .to_owned();
    let composed = compose(stage.alice.profile(), &stage.room, waiting);
    let in_feed = follow(transport(stage.alice.profile()), stage.room.clone());
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
            .bearer_auth(&token)
            .json(&json!({"events": events}))
            .build()
            .unwrap();
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
    all_there("after the outage", waiting, Duration::from_mins(10), count).await;
    let done = started.elapsed();
    let n = handled.len();
    show("handler, 100 events a transaction, durable", handled, n);
    let rate = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
    case(
        &format!("{waiting} events waiting: acknowledged"),
        rate(waiting, taken),
        "/s",
    );
    case(
        &format!("{waiting} events waiting: accepted and in the feed"),
        rate(count(), done),
        "/s",
    );
    case("gateway's resident memory before", before, "MiB");
    case("gateway's resident memory after", resident(pid), "MiB");
}

#[tokio::main]
async fn main() {
    causeway_tests::install_tls();
    // cargo bench passes --bench; without a homeserver there is nothing to measure.
    assert!(
        causeway_tests::synapse::python().is_some(),
        "the homeserver isn't installed; scripts/bench does that"
    );
    let (messages, waiting) = if flag("--quick") {
        (20, 1000)
    } else {
        (100, 10_000)
    };
    let say = |what: &str| {
        if !flag("--json") {
            println!("{what}");
        }
    };
    let place = tempfile::tempdir().unwrap();
    let mut stage = stage(place.path()).await;
    say("idle: two messages a second");
    let gap = Duration::from_millis(500);
    there(&stage, "idle", messages, gap).await;
    back(&stage, "idle", messages, gap).await;
    say("loaded: 50 messages a second offered");
    let gap = Duration::from_secs(1) / RATE;
    there(&stage, "loaded", messages * 3, gap).await;
    back(&stage, "loaded", messages * 3, gap).await;
    say("after an outage");
    catch_up(&stage, waiting).await;
    case(
        "resident memory of the peer",
        resident(stage.b.id().unwrap()),
        "MiB",
    );
    case(
        "resident memory of Synapse",
        resident(stage.synapse.id().unwrap()),
        "MiB",
    );
    stage.a.stop().await.unwrap();
    stage.b.stop().await.unwrap();
    stage.synapse.stop().await.unwrap();
}
