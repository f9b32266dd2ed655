//! What federation costs: `scripts/bench replication`.
//!
//! A node in this process, its store on disk and synced, and a real Synapse; both join rooms of a server that does what
//! a benchmark wants. The load is made and signed before the clock starts. Times are by the clock: the server that sends
//! runs in this process, too, so that its share counts against the node.
//!
//! Fails where a goal is missed. `--quick`: fewer of everything. `--all`: also joins of 10,000 members. `--json`: a line of JSON for each case.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs
)]

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/peer.rs"]
mod peer;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/room.rs"]
mod room;

use causeway_tests::matrix::User;
use causeway_tests::process::free_addresses;
use causeway_tests::synapse::{Synapse, python};
use delivery_service::HubIdentity;
use event_graph::{Pdu, SigningIdentity};
use http::Method;
use peer::{Authority, Peer};
use replication::{
    AddressPolicy, Bounds, ClientSettings, Federation, FederationClient, KeyStore, OwnKeys, ServerName,
    discovery, server,
};
use room::{VERSION, now, user};
use room_engine::{Engine, EngineConfig, Keys, Limits, RequestContext, SystemClock, UserPolicies};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store::{SledOptions, SledStore, Store};

/// Events a second that /send takes in.
const TAKEN_IN: f64 = 3_000.0;
/// Members of the large room, and how long joining it may take, in milliseconds.
const LARGE: usize = 10_000;
const LARGE_JOIN: f64 = 2_000.0;

fn flag(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

/// Whether a goal was missed.
static MISSED: AtomicBool = AtomicBool::new(false);

/// One figure, beside Synapse's where there is one, and what it has to reach where that was set.
fn case(case: &str, unit: &str, ours: f64, synapse: Option<f64>, goal: Option<f64>) {
    let ratio = synapse.map(|peer| if unit == "/s" { ours / peer } else { peer / ours });
    let holds = goal.map(|goal| if unit == "/s" { ours >= goal } else { ours <= goal });
    if holds == Some(false) {
        MISSED.store(true, Ordering::Relaxed);
    }
    if flag("--json") {
        println!(
            "{}",
            json!({"area": "replication", "case": case, "ours": ours, "peer": synapse, "unit": unit,
                "peer_name": "synapse", "ratio": ratio, "goal": goal, "holds": holds})
        );
    } else {
        let beside = match (synapse, ratio) {
            (Some(peer), Some(ratio)) => format!("synapse {peer:>9.1} {unit:<3} {ratio:>7.1} times"),
            _ => String::new(),
        };
        let verdict = match (goal, holds) {
            (Some(goal), Some(true)) => format!("  (goal {goal}: holds)"),
            (Some(goal), _) => format!("  (goal {goal}: MISSED)"),
            (None, _) => String::new(),
        };
        println!("  {case:<58} {ours:>9.1} {unit:<3} {beside}{verdict}");
    }
}

/// Fails if a goal was missed.
fn verdict() -> ExitCode {
    if MISSED.load(Ordering::Relaxed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn ctx() -> RequestContext {
    RequestContext {
        request_id: "bench".to_owned(),
    }
}

fn client(authority: &Authority, identity: &Arc<SigningIdentity>) -> FederationClient {
    let settings = ClientSettings {
        addresses: AddressPolicy::Any,
        roots: authority.roots(),
        timeout: Duration::from_mins(2),
        well_known_port: discovery::HTTPS,
    };
    FederationClient::new(identity.clone(), settings).unwrap()
}

/// Certificate, key, and the authority's certificate, as files.
fn files(authority: &Authority, dir: &Path) -> [PathBuf; 3] {
    let (certificate, key) = authority.issue();
    let texts = [
        certificate.pem(),
        key.serialize_pem(),
        authority.certificate.pem(),
    ];
    let files = ["tls.pem", "tls.key", "ca.pem"].map(|name| dir.join(name));
    for (file, text) in files.iter().zip(texts) {
        std::fs::write(file, text).unwrap();
    }
    files
}

/// A node that listens.
async fn node(authority: &Authority, dir: &Path) -> (Federation, ServerName) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let identity = || SigningIdentity::from_seed(&name, "ed25519:n", &[7; 32]);
    let config = EngineConfig {
        provider: "a.example".parse().unwrap(),
        node_name: name.clone(),
        homeserver: None,
        limits: Limits::default(),
        users: UserPolicies::default(),
    };
    let keys = Keys {
        node: identity(),
        hub: HubIdentity::from_seeds("a.example".parse().unwrap(), [1; 32], [2; 32], [3; 32]),
    };
    let store: Arc<dyn Store> = Arc::new(SledStore::open(SledOptions::new(dir)).await.unwrap());
    let engine = Engine::open(config, keys, store.clone(), Arc::new(SystemClock))
        .await
        .unwrap();
    let identity = Arc::new(identity());
    let client = client(authority, &identity);
    let keys = KeyStore::new(client.clone(), store, now);
    let federation = Federation::new(
        engine,
        client,
        keys,
        OwnKeys::new(identity, BTreeMap::new()),
        Bounds::default(),
    );
    let routes = server::router(
        federation.clone(),
        Duration::from_secs(30),
        Arc::new(server::Everybody),
    );
    let listener = authority.listen(listener);
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (federation, ServerName::parse(&name).unwrap())
}

/// Transactions of fifty, as they go out.
fn transactions(peer: &Peer, pdus: &[Pdu]) -> Vec<(String, Pdu)> {
    let content = |pdus: &[Pdu]| {
        let events: Vec<Value> = pdus.iter().map(|p| p.raw().to_value()).collect();
        let content = json!({ "origin": peer.name.as_str(), "origin_server_ts": now(), "pdus": events });
        event_graph::json::to_canonical(&content).unwrap()
    };
    pdus.chunks(50)
        .map(|pdus| (content(pdus), pdus.last().unwrap().clone()))
        .collect()
}

fn messages(peer: &Peer, count: usize) -> Vec<Pdu> {
    (0..count).map(|n| peer.say(&format!("message {n}"))).collect()
}

/// Gives a peer's room this many more members.
fn members(peer: &Peer, count: usize) {
    let mut room = peer.room.lock().unwrap();
    for n in 0..count {
        let user = user(&peer.identity, &format!("u{n}"));
        let draft = room.draft(
            &user,
            "m.room.member",
            Some(&user),
            json!({ "membership": "join" }),
        );
        let join = draft.sign(&peer.identity, VERSION).unwrap();
        room.take(join);
    }
}

async fn put(client: &FederationClient, to: &ServerName, n: usize, content: String) {
    let target = format!("/_matrix/federation/v1/send/{n}");
    client
        .request(Method::PUT, to, &target, Some(content), 1 << 20)
        .await
        .unwrap();
}

/// Waits until Synapse shows an event.
async fn shown(sam: &User, room: &str, pdu: &Pdu) {
    let path = format!(
        "/_matrix/client/v3/rooms/{}/event/{}",
        replication::client::segment(room),
        replication::client::segment(&pdu.event_id().to_string())
    );
    while sam.call(reqwest::Method::GET, &path, None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn inbound(authority: &Authority, ours: &(Federation, ServerName), theirs: Option<&(Synapse, User)>) {
    let count = if flag("--quick") { 1_000 } else { 10_000 };
    let peer = Peer::start(authority, 1).await;
    let (federation, name) = ours;
    let via = std::slice::from_ref(&peer.name);
    federation
        .join(&ctx(), &peer.room_id(), via, false)
        .await
        .unwrap();
    let load = transactions(&peer, &messages(&peer, count));
    let client = client(authority, &peer.identity);
    let began = Instant::now();
    for (n, (content, _)) in load.into_iter().enumerate() {
        put(&client, name, n, content).await;
    }
    let ours = count as f64 / began.elapsed().as_secs_f64();
    let events = federation.heads(&ctx(), &peer.room_id()).await.unwrap().events;
    assert!(events > count, "{events} events arrived");
    let mut synapse = None;
    if let Some((server, sam)) = theirs {
        let peer = Peer::start(authority, 2).await;
        let room = peer.room_id();
        sam.join_via(&room, peer.name.as_str()).await.unwrap();
        let count = if flag("--quick") { 100 } else { 300 };
        let load = transactions(&peer, &messages(&peer, count));
        let client = self::client(authority, &peer.identity);
        let to = ServerName::parse(server.server_name()).unwrap();
        let began = Instant::now();
        for (n, (content, newest)) in load.into_iter().enumerate() {
            put(&client, &to, n, content).await;
            // It acknowledges first and works afterwards, and drops what piles up beyond a hundred.
            shown(sam, &room, &newest).await;
        }
        synapse = Some(count as f64 / began.elapsed().as_secs_f64());
    }
    case(
        "inbound events by /send, durable, one server",
        "/s",
        ours,
        synapse,
        Some(TAKEN_IN),
    );
}

async fn joins(
    authority: &Authority,
    ours: &(Federation, ServerName),
    theirs: Option<&(Synapse, User)>,
    count: usize,
) {
    let (federation, name) = ours;
    let peer = Peer::start(authority, 3).await;
    members(&peer, count);
    let room = peer.room_id();
    let began = Instant::now();
    let via = std::slice::from_ref(&peer.name);
    federation.join(&ctx(), &room, via, false).await.unwrap();
    let took = began.elapsed().as_secs_f64() * 1e3;
    let mut synapse = None;
    if let Some((_, sam)) = theirs {
        let peer = Peer::start(authority, 4).await;
        members(&peer, count);
        let began = Instant::now();
        sam.join_via(&peer.room_id(), peer.name.as_str()).await.unwrap();
        synapse = Some(began.elapsed().as_secs_f64() * 1e3);
    }
    case(
        &format!("joining a room of {count} members"),
        "ms",
        took,
        synapse,
        (count == LARGE).then_some(LARGE_JOIN),
    );

    // Somebody joins that room through us.
    let joiner = Peer::start(authority, 5).await;
    let client = client(authority, &joiner.identity);
    let zoe = user(&joiner.identity, "zoe");
    let encoded = replication::client::segment(&room);
    let began = Instant::now();
    let target = format!(
        "/_matrix/federation/v1/make_join/{encoded}/{}?ver=12",
        replication::client::segment(&zoe)
    );
    let template: Value = client.get(name, &target, 1 << 20).await.unwrap();
    let event = &template["event"];
    let mut draft =
        joiner
            .room
            .lock()
            .unwrap()
            .draft(&zoe, "m.room.member", Some(&zoe), event["content"].clone());
    draft.room_id = Some(room.clone());
    draft.prev_events = serde_json::from_value(event["prev_events"].clone()).unwrap();
    draft.auth_events = serde_json::from_value(event["auth_events"].clone()).unwrap();
    draft.depth = event["depth"].as_u64().unwrap();
    let join = draft.sign(&joiner.identity, VERSION).unwrap();
    let target = format!(
        "/_matrix/federation/v2/send_join/{encoded}/{}",
        replication::client::segment(&join.event_id().to_string())
    );
    let body = Some(join.as_str().to_owned());
    let answer = client
        .request(Method::PUT, name, &target, body, 128 << 20)
        .await
        .unwrap();
    let took = began.elapsed().as_secs_f64() * 1e3;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert!(answer["state"].as_array().unwrap().len() > count);
    case(
        &format!("serving a join of a room of {count} members"),
        "ms",
        took,
        None,
        None,
    );
}

async fn catching_up(authority: &Authority, ours: &(Federation, ServerName)) {
    let count = if flag("--quick") { 1_000 } else { 10_000 };
    let (federation, name) = ours;
    let peer = Peer::start(authority, 6).await;
    let room = peer.room_id();
    let via = std::slice::from_ref(&peer.name);
    federation.join(&ctx(), &room, via, false).await.unwrap();
    messages(&peer, count);
    let newest = peer.say("newest");
    let load = transactions(&peer, std::slice::from_ref(&newest));
    let client = client(authority, &peer.identity);
    let began = Instant::now();
    for (n, (content, _)) in load.into_iter().enumerate() {
        put(&client, name, n, content).await;
    }
    while federation.heads(&ctx(), &room).await.unwrap().heads != [newest.event_id()] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed().as_secs_f64() * 1e3;
    assert!(federation.heads(&ctx(), &room).await.unwrap().events > count);
    case(
        &format!("catching up after {count} missed events"),
        "ms",
        took,
        None,
        None,
    );
}

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ours = node(&authority, &dir.path().join("store")).await;
    let mut theirs = None;
    if python().is_some() {
        let [listen, for_clients] = free_addresses().unwrap();
        let name = format!("localhost:{}", listen.port());
        let mut synapse = Synapse::configure(&dir.path().join("synapse"), &name, for_clients, &[]).unwrap();
        let [certificate, key, ca] = files(&authority, dir.path());
        synapse
            .federate(listen, &certificate, &key, &ca, VERSION.as_str())
            .unwrap();
        synapse.start().await.unwrap();
        let sam = synapse.register("sam", "secret").await.unwrap();
        theirs = Some((synapse, sam));
    } else {
        println!("SKIPPED beside Synapse: it isn't installed");
    }
    inbound(&authority, &ours, theirs.as_ref()).await;
    let members = if flag("--quick") { 100 } else { 1_000 };
    joins(&authority, &ours, theirs.as_ref(), members).await;
    if flag("--all") {
        // A homeserver takes half a minute and more for it: it is measured at the smaller size.
        joins(&authority, &ours, None, LARGE).await;
    }
    catching_up(&authority, &ours).await;
    if let Some((mut synapse, _)) = theirs {
        synapse.stop().await.unwrap();
    }
    verdict()
}
