//! What the way through a homeserver costs: `scripts/bench appservice`.
//!
//! A real Synapse, two gateways, and beside ours an application service that does nothing but look at the clock when an
//! event reaches it. What that one sees is Synapse's own share; the rest is ours. Latency is from a client's call to
//! when the other side has it: Alice's message in the feed of Bob's provider, Bob's message in Alice's Matrix sync. Before
//! each load the homeserver takes the same load alone, in a room that is no portal.
//!
//! `--quick`: fewer of everything. `--all`: more, among it an outage with 10,000 events waiting. `--json`: a line of JSON
//! for each case. `--keep`: the logs stay, and are named.

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
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
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

/// Messages of the right form: one that the client composes, then copies of it with other ciphertexts. The gateways see no
/// difference, and ten thousand are made at once; nobody here opens them.
fn compose(profile: &Path, room: &str, n: usize) -> Vec<(String, Vec<u8>)> {
    let mut engine = Engine::open(profile, None, Duration::from_secs(10)).unwrap();
    let first = engine
        .compose(
            room,
            "a message of a usual length, some words long",
            "text/plain;charset=utf-8",
        )
        .unwrap();
    let octets = engine.submission(room, &first).unwrap().0.message.0;
    (0..n)
        .map(|n| {
            let mut octets = octets.clone();
            let end = octets.len();
            octets[end - 8..].copy_from_slice(&(n as u64).to_be_bytes());
            (format!("{first}-{n}"), octets)
        })
        .collect()
}

/// Follows a feed from its end: the octets of each message, and when they were there.
async fn follow(http: Http, room: String) -> Sync {
    let seen = Sync::default();
    let there = seen.clone();
    let mut from = 1;
    // A provider that is away has no end to start from.
    while let Ok(page) = http.log(&room, from, 500, Duration::ZERO).await {
        if page.entries.is_empty() {
            break;
        }
        from = page.next;
    }
    tokio::spawn(async move {
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

/// What a user's sync shows of a room, by event id, octets of a carrier event, or id of a settled submission.
type Sync = Arc<Mutex<HashMap<Vec<u8>, Instant>>>;

/// Follows a user's sync of a room. It starts with what is there now.
async fn follow_sync(user: &User, room: &str) -> Sync {
    let filter =
        json!({"room": {"rooms": [room], "timeline": {"limit": 1000}, "state": {"lazy_load_members": true}}});
    let filter: String = filter
        .to_string()
        .bytes()
        .fold(String::new(), |all, byte| all + &format!("%{byte:02X}"));
    let path = format!("/_matrix/client/v3/sync?filter={filter}");
    let get = move |user: User, more: String| {
        let path = format!("{path}{more}");
        async move { user.call(reqwest::Method::GET, &path, None).await }
    };
    let first = get(user.clone(), "&timeout=0".to_owned()).await.unwrap();
    let mut since = first["next_batch"].as_str().unwrap().to_owned();
    let seen = Sync::default();
    let (there, user, room) = (seen.clone(), user.clone(), room.to_owned());
    tokio::spawn(async move {
        loop {
            let Ok(sync) = get(user.clone(), format!("&timeout=20000&since={since}")).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let now = Instant::now();
            let timeline = &sync["rooms"]["join"][&room]["timeline"]["events"];
            let mut there = there.lock().unwrap();
            for event in timeline.as_array().into_iter().flatten() {
                let mut saw = |what: &[u8]| {
                    there.entry(what.to_vec()).or_insert(now);
                };
                let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                saw(text("/event_id").as_bytes());
                if let Ok(octets) = STANDARD_NO_PAD.decode(text("/content/payload/data")) {
                    saw(&octets);
                }
                let several = event.pointer("/content/all").and_then(Value::as_array);
                for status in several.into_iter().flatten().chain([&event["content"]]) {
                    if event["type"] == "org.causeway.status" && status["state"] != "queued" {
                        saw(status["id"].as_str().unwrap_or_default().as_bytes());
                    }
                }
            }
            sync["next_batch"].as_str().unwrap().clone_into(&mut since);
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
    carol: User,
    room: String,
    portal: String,
    /// A room of Carol and Alice that is no portal.
    ordinary: String,
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
    let carol = synapse.register("carol", "password").await.unwrap();
    let ordinary = carol.create_room(&["@alice:a.example"]).await.unwrap();
    matrix.join(&ordinary).await.unwrap();
    Stage {
        synapse,
        a,
        b,
        alice,
        bob,
        matrix,
        carol,
        room,
        portal,
        ordinary,
        empty,
    }
}

/// What was sent: when it began, when it was answered, the event's id where there is one, its octets and its id.
struct Sent {
    began: Instant,
    done: Instant,
    event: String,
    id: String,
    octets: Vec<u8>,
}

/// Hands each message to `send` at its time, whether those before it are answered or not; answers with all of them.
async fn offer<F, S>(messages: Vec<(String, Vec<u8>)>, gap: Duration, send: S) -> Vec<Sent>
where
    F: Future<Output = String> + Send + 'static,
    S: Fn(String, Vec<u8>) -> F,
{
    let mut tick = tokio::time::interval(gap);
    let mut sending = Vec::new();
    for (id, octets) in messages {
        tick.tick().await;
        let answer = send(id.clone(), octets.clone());
        let began = Instant::now();
        sending.push(tokio::spawn(async move {
            let event = answer.await;
            let done = Instant::now();
            Sent {
                began,
                done,
                event,
                id,
                octets,
            }
        }));
    }
    let mut sent = Vec::new();
    for one in sending {
        sent.push(one.await.unwrap());
    }
    sent
}

/// Puts a message into a room as a Matrix client does.
async fn put(user: User, room: String, id: String, octets: Vec<u8>) -> String {
    let content = json!({"id": id, "message": URL_SAFE_NO_PAD.encode(&octets)});
    user.send(&room, "org.causeway.message", &id, content)
        .await
        .unwrap()
}

/// How long each took until `there` says so.
fn since<'a>(sent: &'a [Sent], there: impl Fn(&'a Sent) -> Option<Instant>) -> Vec<Duration> {
    sent.iter()
        .filter_map(|one| Some(there(one)?.saturating_duration_since(one.began)))
        .collect()
}

/// The homeserver alone: a room that is no portal, with nobody in it but two of its users and the empty appservice.
async fn alone(stage: &Stage, load: &str, messages: usize, gap: Duration) {
    let carol = &stage.carol;
    let at_alice = follow_sync(&stage.matrix, &stage.ordinary).await;
    let composed = compose(stage.alice.profile(), &stage.room, messages);
    let sent = offer(composed, gap, |id, octets| {
        put(
            carol.clone(),
            stage.ordinary.clone(),
            format!("alone-{load}-{id}"),
            octets,
        )
    })
    .await;
    let within = Duration::from_mins(1);
    all_there("at the empty appservice", messages, within, || {
        let empty = stage.empty.lock().unwrap();
        sent.iter().filter(|one| empty.contains_key(&one.event)).count()
    })
    .await;
    all_there("in Alice's sync", messages, within, || {
        let there = at_alice.lock().unwrap();
        sent.iter()
            .filter(|one| there.contains_key(one.event.as_bytes()))
            .count()
    })
    .await;
    let (empty, alice) = (stage.empty.lock().unwrap(), at_alice.lock().unwrap());
    let what = |what: &str| format!("{load}: Synapse alone: {what}");
    show(&what("answer"), since(&sent, |one| Some(one.done)), messages);
    show(
        &what("send to the empty appservice"),
        since(&sent, |one| empty.get(&one.event).copied()),
        messages,
    );
    show(
        &what("send to another's sync"),
        since(&sent, |one| alice.get(one.event.as_bytes()).copied()),
        messages,
    );
}

/// Alice to Bob, and what Synapse takes of it.
async fn there(stage: &Stage, load: &str, messages: usize, gap: Duration) {
    let composed = compose(stage.alice.profile(), &stage.room, messages);
    let at_bob = follow(transport(stage.bob.profile()), stage.room.clone()).await;
    let at_alice = follow_sync(&stage.matrix, &stage.portal).await;
    let sent = offer(composed, gap, |id, octets| {
        put(stage.matrix.clone(), stage.portal.clone(), id, octets)
    })
    .await;
    let within = Duration::from_mins(1);
    all_there("at Bob's provider", messages, within, || {
        let there = at_bob.lock().unwrap();
        sent.iter().filter(|one| there.contains_key(&one.octets)).count()
    })
    .await;
    all_there("statuses in the portal", messages, within, || {
        let there = at_alice.lock().unwrap();
        sent.iter()
            .filter(|one| there.contains_key(one.id.as_bytes()))
            .count()
    })
    .await;
    let (bob, empty) = (at_bob.lock().unwrap(), stage.empty.lock().unwrap());
    let status = at_alice.lock().unwrap();
    let ours = sent.iter().filter_map(|one| {
        let pushed = empty.get(&one.event)?;
        Some(bob.get(&one.octets)?.saturating_duration_since(*pushed))
    });
    let what = |what: &str| format!("{load}: Alice's send to {what}");
    show(
        &what("Synapse's answer"),
        since(&sent, |one| Some(one.done)),
        messages,
    );
    show(
        &what("the empty appservice (Synapse's share)"),
        since(&sent, |one| empty.get(&one.event).copied()),
        messages,
    );
    show(
        &what("Bob's feed (all of it)"),
        since(&sent, |one| bob.get(&one.octets).copied()),
        messages,
    );
    show(
        &format!("{load}: empty appservice to Bob's feed (ours, both gateways)"),
        ours.collect(),
        messages,
    );
    show(
        &what("the status in her sync"),
        since(&sent, |one| status.get(one.id.as_bytes()).copied()),
        messages,
    );
}

/// Bob to Alice's portal.
async fn back(stage: &Stage, load: &str, messages: usize, gap: Duration) {
    let composed = compose(stage.bob.profile(), &stage.room, messages);
    let at_alice = follow_sync(&stage.matrix, &stage.portal).await;
    let in_feed = follow(transport(stage.alice.profile()), stage.room.clone()).await;
    let http = Arc::new(transport(stage.bob.profile()));
    let sent = offer(composed, gap, |id, octets| {
        let (http, room) = (http.clone(), stage.room.clone());
        async move {
            let message = mls_client::api::SubmitMessage {
                id,
                message: mls_client::api::B64(octets),
            };
            http.submit(&room, &message).await.unwrap();
            String::new()
        }
    })
    .await;
    all_there("in Alice's portal", messages, Duration::from_mins(1), || {
        let there = at_alice.lock().unwrap();
        sent.iter().filter(|one| there.contains_key(&one.octets)).count()
    })
    .await;
    let (portal, feed) = (at_alice.lock().unwrap(), in_feed.lock().unwrap());
    let what = |what: &str| format!("{load}: Bob's submit to {what}");
    show(
        &what("his provider's answer"),
        since(&sent, |one| Some(one.done)),
        messages,
    );
    show(
        &what("Alice's feed"),
        since(&sent, |one| feed.get(&one.octets).copied()),
        messages,
    );
    show(
        &what("Alice's sync (portal copy)"),
        since(&sent, |one| portal.get(&one.octets).copied()),
        messages,
    );
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The gateway is away while Alice goes on.
async fn outage(stage: &mut Stage, waiting: usize) {
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
async fn catch_up(stage: &Stage, waiting: usize) {
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
    show("burst: handler, 100 events a transaction, durable", handled, n);
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

#[tokio::main]
async fn main() {
    causeway_tests::install_tls();
    // cargo bench passes --bench; without a homeserver there is nothing to measure.
    assert!(
        causeway_tests::synapse::python().is_some(),
        "the homeserver isn't installed; scripts/bench does that"
    );
    let (idle, loaded, waiting, burst) = match (flag("--quick"), flag("--all")) {
        (true, _) => (20, 100, 200, 1000),
        (_, true) => (200, 1000, 10_000, 10_000),
        _ => (60, 500, 1000, 4000),
    };
    let say = |what: &str| {
        if !flag("--json") {
            println!("{what}");
        }
    };
    let place = tempfile::tempdir().unwrap();
    let mut stage = stage(place.path()).await;
    case(
        "gateway's resident memory at rest",
        resident(stage.a.id().unwrap()),
        "MiB",
    );
    for (load, messages, gap) in [
        ("idle", idle, Duration::from_millis(250)),
        ("loaded", loaded, Duration::from_secs(1) / RATE),
    ] {
        say(&format!(
            "{load}: {} messages a second",
            Duration::from_secs(1).div_duration_f64(gap)
        ));
        alone(&stage, load, messages, gap).await;
        there(&stage, load, messages, gap).await;
        back(&stage, load, messages, gap).await;
    }
    say("after an outage");
    outage(&mut stage, waiting).await;
    catch_up(&stage, burst).await;
    for (who, pid) in [("the peer", stage.b.id()), ("Synapse", stage.synapse.id())] {
        case(
            &format!("resident memory of {who}"),
            resident(pid.unwrap()),
            "MiB",
        );
    }
    if flag("--keep") {
        println!("logs are kept in {}", place.keep().display());
    }
    stage.a.stop().await.unwrap();
    stage.b.stop().await.unwrap();
    stage.synapse.stop().await.unwrap();
}
