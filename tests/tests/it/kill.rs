//! Death under load: whatever was acknowledged is there afterwards, once.
//!
//! Alice talks through the portal of a real homeserver, Bob through the client API of the other provider, both without
//! pause. Meanwhile one gateway after the other dies, at a named point between two steps or at any instant. In the end
//! each has every message of the other exactly once, in the same order.

mod transactions;

use crate::support::{Place, homeserver_there};
use causeway_tests::client;
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider, run};
use causeway_tests::synapse::Synapse;
use mls_client::matrix::Matrix;
use mls_client::state::{Entry, Membership, What};
use mls_client::transport::Http;
use mls_client::{Client, Engine, Options};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Points in the code, in the order a command passes them; and any instant.
const POINTS: [&str; 8] = [
    "engine.before-commit",
    "store.before-sync",
    "any instant",
    "store.after-sync",
    "engine.after-commit",
    "sender.after-send",
    "any instant",
    "sender.after-cursor",
];
/// Longest wait for a point to be reached; then the process is killed where it is.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest wait for everything to arrive at the end.
const DRAIN: Duration = Duration::from_mins(3);

/// A random number below a bound.
fn random(below: u32) -> u32 {
    getrandom::u32().unwrap() % below
}

/// How often things die: `CAUSEWAY_KILLS`, else ten times.
fn kills() -> usize {
    std::env::var("CAUSEWAY_KILLS")
        .ok()
        .map_or(10, |text| text.parse().unwrap())
}

/// A device that goes on where the command-line client left it.
pub(crate) fn device(profile: &Path) -> Client<Http> {
    let engine = Engine::open(profile, None, Duration::from_secs(10)).unwrap();
    let account = engine.account().unwrap();
    let http = Http::new(&account.provider_url, None)
        .unwrap()
        .with_token(&account.session.token);
    let matrix = account
        .matrix
        .clone()
        .map(|session| Matrix::resume(session, None).unwrap());
    Client::new(engine, http, matrix, Options::default())
}

/// Writes without pause until told to stop. Answers with the device and what it wrote.
pub(crate) async fn talk(
    mut device: Client<Http>,
    room: String,
    name: &'static str,
    stop: Arc<AtomicBool>,
) -> (Client<Http>, Vec<String>) {
    let mut written = Vec::new();
    for n in 1_u32.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let text = format!("{name} says number {n}");
        let before = composed(&device, &room);
        // While a gateway is dead this fails; what was composed by then is sent on by `sync`.
        let sent = device
            .send(&room, &text, "text/plain;charset=utf-8", Duration::from_secs(2))
            .await;
        if composed(&device, &room) > before {
            written.push(text);
        }
        if sent.is_err() {
            let _ = device.sync().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (device, written)
}

/// Messages of this device's own, sent or to be sent.
fn composed(device: &Client<Http>, room: &str) -> usize {
    let room = device.engine().room(room).unwrap();
    let sent = room
        .history
        .iter()
        .filter(|e| matches!(&e.what, What::Message(m) if m.own))
        .count();
    // One that is accepted, but not yet read from the feed, is in one of the two.
    sent + room.outgoing.len()
}

/// Reads and repeats until nothing of this device waits and it has so many messages.
pub(crate) async fn drain(device: &mut Client<Http>, room: &str, messages: usize) {
    let end = Instant::now() + DRAIN;
    loop {
        let outcome = device.sync().await;
        let state = device.engine().room(room).unwrap();
        let have = state
            .history
            .iter()
            .filter(|e| is_message(e) && e.pos.is_some())
            .count();
        if state.outgoing.is_empty() && have >= messages {
            return;
        }
        assert!(
            Instant::now() < end,
            "after {} s {have} of {messages} messages are there, {} wait; the last sync: {outcome:?}",
            DRAIN.as_secs(),
            state.outgoing.len()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn is_message(entry: &Entry) -> bool {
    matches!(entry.what, What::Message(_))
}

/// What a device has read, in the feed's order: sender's user URI and text.
pub(crate) fn read(device: &Client<Http>, room: &str) -> Vec<(String, String)> {
    let room = device.engine().room(room).unwrap();
    assert_eq!(room.membership, Membership::Member);
    let mut entries: Vec<&Entry> = room.history.iter().filter(|e| e.pos.is_some()).collect();
    entries.sort_by_key(|e| e.pos);
    entries
        .into_iter()
        .filter_map(|entry| match &entry.what {
            What::Message(m) => Some((m.sender.clone(), m.text.clone())),
            What::Change(_) => None,
            What::Problem { what, reason } => panic!("{what} can't be read: {reason}"),
        })
        .collect()
}

/// Starts the provider so that it dies at a point; answers once it is dead.
async fn die(provider: &mut Provider, point: &str) {
    if point == "any instant" {
        provider.start(None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(u64::from(random(900)))).await;
        provider.kill().await.unwrap();
        return;
    }
    let armed = format!("{point}:{}", 1 + random(12));
    // It may die before it is ready, which is a death like any other.
    let started = provider.start(Some(&armed)).await;
    let end = Instant::now() + PATIENCE;
    while !provider.died().unwrap() {
        assert!(started.is_ok(), "{}", started.unwrap_err());
        if Instant::now() > end {
            println!("{armed} was not reached");
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    provider.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_message_arrives_exactly_once() {
    if !homeserver_there() {
        return;
    }
    causeway_tests::install_tls();
    let place = Place::new();
    let [homeserver] = free_addresses().unwrap();
    let (for_a, for_b) = (Addresses::free().unwrap(), Addresses::free().unwrap());
    let url = format!("http://{homeserver}");
    let (ca, peer_a, peer_b) = (
        place.path("ca"),
        ("a.example", for_a.mimi),
        ("b.example", for_b.mimi),
    );
    let mut a = Provider::init(&place.path("a"), "a.example", for_a, &ca, &[peer_b], Some(&url))
        .await
        .unwrap();
    let mut b = Provider::init(&place.path("b"), "b.example", for_b, &ca, &[peer_a], None)
        .await
        .unwrap();
    let mut synapse = Synapse::configure(
        &place.path("synapse"),
        "a.example",
        homeserver,
        &[a.registration()],
    )
    .unwrap();
    synapse.start().await.unwrap();
    a.start(None).await.unwrap();
    b.start(None).await.unwrap();

    synapse.register("alice", "password").await.unwrap();
    let profiles = place.path("profiles");
    let alice =
        client::Client::login_matrix(&profiles, "Alice", &a, &synapse, ("alice", "password"), "phone")
            .await
            .unwrap();
    let token = b.add_user("bob").await.unwrap();
    let bob = client::Client::login_token(&profiles, "Bob", &b, ("bob", &token), "laptop")
        .await
        .unwrap();
    let room = alice.run(&["create", "Load"]).await.unwrap()["room"]
        .as_str()
        .unwrap()
        .to_owned();
    alice.run(&["add", &room, &bob.user]).await.unwrap();
    alice
        .send(&room, "the first", Duration::from_mins(1))
        .await
        .unwrap();
    bob.send(&room, "the second", Duration::from_mins(1))
        .await
        .unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let talking = [(&alice, "Alice"), (&bob, "Bob")]
        .map(|(client, name)| tokio::spawn(talk(device(client.profile()), room.clone(), name, stop.clone())));
    for n in 0..kills() {
        // Each round through the points begins with the other provider.
        let victim = if (n + n / POINTS.len()).is_multiple_of(2) {
            &mut a
        } else {
            &mut b
        };
        victim.stop().await.unwrap();
        let point = POINTS[n % POINTS.len()];
        die(victim, point).await;
        victim.start(None).await.unwrap();
        println!("kill {}: {} at {point}", n + 1, victim.domain());
        tokio::time::sleep(Duration::from_millis(u64::from(random(500)))).await;
    }
    stop.store(true, Ordering::SeqCst);
    let [alice, bob] = talking;
    let ((mut alice, of_alice), (mut bob, of_bob)) = (alice.await.unwrap(), bob.await.unwrap());
    let all = of_alice.len() + of_bob.len() + 2;
    println!("{} messages of Alice, {} of Bob", of_alice.len(), of_bob.len());
    drain(&mut alice, &room, all).await;
    drain(&mut bob, &room, all).await;

    let (at_alice, at_bob) = (read(&alice, &room), read(&bob, &room));
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, text) in &at_bob {
        *times.entry(text.as_str()).or_default() += 1;
    }
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
    for (sender, written) in [
        ("mimi://a.example/u/alice", &of_alice),
        ("mimi://b.example/u/bob", &of_bob),
    ] {
        let lost: Vec<_> = written
            .iter()
            .filter(|text| {
                !at_bob
                    .iter()
                    .any(|(from, there)| from == sender && there == *text)
            })
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
    assert_eq!(at_alice, at_bob, "both read the same in the same order");
    assert_eq!(at_bob.len(), all);

    for provider in [&mut a, &mut b] {
        provider.stop().await.unwrap();
        run(provider.command().unwrap().args(["store", "verify"]))
            .await
            .unwrap();
    }
    synapse.stop().await.unwrap();
}
