//! One provider on three nodes: real processes, killed, stopped for a while and cut off, under traffic.
//!
//! Alice and Amy have their accounts at the provider on three nodes and talk through different ones; Bob's provider
//! has one. Ann adds a guest and takes them out again all the time. Whatever was handed in is there afterwards, once, in
//! one order, at every node and at Bob's provider, and each epoch has one commit.

mod changes;

use crate::kill::{device, drain, read, talk};
use crate::support::Place;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use causeway_tests::client::Client;
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider, run};
use mls_client::transport::Http;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What a node says of all.
pub(crate) async fn nodes(node: &Provider) -> Option<Value> {
    let text = run(node.command().unwrap().args(["node", "ls", "--json"]))
        .await
        .ok()?;
    serde_json::from_str(&text).ok()
}

/// The number of the node that orders, once one does that these agree on.
pub(crate) async fn leader(nodes_of: &[Provider], among: &[usize]) -> usize {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        for at in among {
            let view = nodes(&nodes_of[*at]).await;
            let name = view
                .as_ref()
                .and_then(|view| view["leader"].as_str())
                .map(str::to_owned);
            let found =
                name.and_then(|name| among.iter().find(|at| name == format!("cw{}", **at + 1)).copied());
            if let Some(found) = found {
                return found;
            }
        }
        assert!(Instant::now() < end, "no node orders");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn signal(node: &Provider, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(node.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Where a node is.
pub(crate) struct Spot {
    pub(crate) addresses: Addresses,
    /// Where the other nodes come in.
    pub(crate) listen: SocketAddr,
    pub(crate) namespace: Option<String>,
}

impl Spot {
    pub(crate) fn here() -> Self {
        let [listen] = free_addresses().unwrap();
        Self {
            addresses: Addresses::free().unwrap(),
            listen,
            namespace: None,
        }
    }
}

/// A provider on three nodes, one on one, and those who talk.
pub(crate) struct Talk {
    /// The three nodes.
    pub(crate) a: Vec<Provider>,
    b: Provider,
    room: String,
    stop: Arc<AtomicBool>,
    talking: Vec<JoinHandle<(mls_client::Client<Http>, Vec<String>)>>,
    changing: JoinHandle<(mls_client::Client<Http>, u32)>,
}

/// What is said before the talk begins, one by each.
const FIRST: [&str; 4] = ["the first", "the second", "the third", "the fourth"];

impl Talk {
    /// Alice and Amy at the third and the second of the nodes, Bob at the other provider, which knows of the second only; all
    /// talk. Ann, at the first, adds and removes Gus, who has his account where Bob has.
    pub(crate) async fn begin(place: &Place, spots: [Spot; 3], for_b: Addresses) -> Self {
        let ca = place.path("ca");
        let peer_a = ("a.example", spots[1].addresses.mimi);
        let peer_b = ("b.example", for_b.mimi);
        let mut b = Provider::init(&place.path("b"), "b.example", for_b, &ca, &[peer_a], None)
            .await
            .unwrap();
        b.start(None).await.unwrap();
        let (a, alice_token) = found(place, &spots, peer_b).await;

        // Any node answers on every face.
        let amy_token = a[1].add_user("amy").await.unwrap();
        let bob_token = b.add_user("bob").await.unwrap();
        let profiles = place.path("profiles");
        let login = async |name: &str, provider: &Provider, user: (&str, &str)| {
            Client::login_token(&profiles, name, provider, user, "phone")
                .await
                .unwrap()
        };
        let alice = login("Alice", &a[2], ("alice", &alice_token)).await;
        let amy = login("Amy", &a[1], ("amy", &amy_token)).await;
        let bob = login("Bob", &b, ("bob", &bob_token)).await;
        let (ann_token, gus_token) = (
            a[0].add_user("ann").await.unwrap(),
            b.add_user("gus").await.unwrap(),
        );
        let ann = login("Ann", &a[0], ("ann", &ann_token)).await;
        let gus = login("Gus", &b, ("gus", &gus_token)).await;
        let room = alice.run(&["create", "Nodes"]).await.unwrap()["room"]
            .as_str()
            .unwrap()
            .to_owned();
        for client in [&amy, &bob, &ann] {
            alice.run(&["add", &room, &client.user]).await.unwrap();
        }
        for (client, text) in [&alice, &amy, &bob, &ann].into_iter().zip(FIRST) {
            client.send(&room, text, Duration::from_mins(1)).await.unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let talking = [(&alice, "Alice"), (&amy, "Amy"), (&bob, "Bob")]
            .map(|(client, name)| {
                tokio::spawn(talk(device(client.profile()), room.clone(), name, stop.clone()))
            })
            .into();
        let changing = changes::change(ann, room.clone(), gus.user, stop.clone());
        Self {
            a,
            b,
            room,
            changing: tokio::spawn(changing),
            stop,
            talking,
        }
    }

    /// The number of the node that orders, as those with these numbers see it.
    pub(crate) async fn leader(&self, among: &[usize]) -> usize {
        leader(&self.a, among).await
    }

    /// Waits until those with these numbers see one of them order.
    pub(crate) async fn other_leader(&self, than: usize) -> usize {
        let rest: Vec<usize> = (0..3).filter(|at| *at != than).collect();
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let now = self.leader(&rest).await;
            if now != than {
                return now;
            }
            assert!(Instant::now() < end, "nobody took over");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// All of them stop, hand in what waits, and read all: nothing is lost or doubled, and every store holds the same.
    pub(crate) async fn end(self) {
        let Self {
            mut a,
            mut b,
            room,
            stop,
            talking,
            changing,
        } = self;
        stop.store(true, Ordering::SeqCst);
        let mut devices = Vec::new();
        let mut written = Vec::new();
        for talking in talking {
            let (device, texts) = talking.await.unwrap();
            devices.push(device);
            written.push(texts);
        }
        let (ann, changed) = changing.await.unwrap();
        devices.push(ann);
        let count = written.iter().map(Vec::len).sum::<usize>() + FIRST.len();
        println!("{count} messages, {changed} changes");
        assert!(changed > 0);
        // What a device has not handed in yet it hands in now; then all have read all, once, in one order.
        for device in &mut devices {
            drain(device, &room, 0).await;
        }
        let mut seen = Vec::new();
        for device in &mut devices {
            drain(device, &room, count).await;
            seen.push(read(device, &room));
        }
        for texts in &seen {
            let once: BTreeSet<&(String, String)> = texts.iter().collect();
            assert_eq!(once.len(), texts.len(), "doubled: {texts:?}");
            for text in written.iter().flatten() {
                assert!(texts.iter().any(|(_, there)| there == text), "lost: {text}");
            }
        }
        assert_eq!(seen[0], seen[1], "Alice and Amy read the same in the same order");
        assert_eq!(seen[1], seen[2], "Bob reads what they read");
        assert_eq!(seen[2], seen[3], "and so does Ann");
        let epochs: BTreeSet<_> = devices
            .iter()
            .map(|device| device.engine().epoch(&room).unwrap())
            .collect();
        let [Some(epoch)] = epochs.iter().copied().collect::<Vec<_>>()[..] else {
            panic!("not in one epoch: {epochs:?}");
        };
        assert_eq!(seen[0].len(), count);
        // All of it is distributed once no node has anything to send or to hand over, twice in a row.
        let mut quiet = 0;
        let end = Instant::now() + Duration::from_mins(1);
        while quiet < 2 {
            let mut waiting = 0.0;
            for provider in a.iter().chain([&b]) {
                let metrics = provider.metrics().await.unwrap_or_default();
                waiting += metrics
                    .iter()
                    .filter(|(name, _)| name.starts_with("causeway_outbox_waiting"))
                    .map(|(_, value)| *value)
                    .sum::<f64>();
            }
            quiet = if waiting == 0.0 { quiet + 1 } else { 0 };
            assert!(Instant::now() < end, "{waiting} entries still wait to be sent");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }

        // Every node holds the same.
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let mut applied = Vec::new();
            for node in &a {
                applied.push(nodes(node).await.map(|view| view["applied"].as_u64()));
            }
            if applied.iter().all(|one| one.is_some() && *one == applied[0]) {
                break;
            }
            assert!(Instant::now() < end, "the nodes are apart: {applied:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for node in &mut a {
            node.stop().await.unwrap();
        }
        b.stop().await.unwrap();
        let mut exports = Vec::new();
        for node in a.iter().chain([&b]) {
            run(node.command().unwrap().args(["store", "verify"]))
                .await
                .unwrap();
            let file = node.dir().join("export.jsonl");
            run(node.command().unwrap().args(["store", "export"]).arg(&file))
                .await
                .unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            let lines: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            // Every message of everybody is in the feed, once: what each says is known to the devices alone.
            let messages = lines
                .iter()
                .filter(|line| line["space"] == "feed")
                .filter(|line| is_of_kind(line, "message"));
            assert_eq!(
                messages.count(),
                count,
                "messages in the feed of {}",
                node.dir().display()
            );
            if node.domain() == "a.example" {
                let commits = lines
                    .iter()
                    .filter(|line| line["space"] == "feed" && is_of_kind(line, "commit"));
                assert_eq!(commits.count() as u64, epoch, "one commit for each epoch");
            }
            let shared: Vec<Value> = lines
                .into_iter()
                .filter(|line| {
                    line["space"].as_str().is_some_and(|space| {
                        !space.starts_with("raft_") && space != "pending_message" && space != "meta"
                    })
                })
                .collect();
            exports.push(shared);
        }
        assert!(exports[0].len() > 100, "{} records", exports[0].len());
        assert!(
            exports[0] == exports[1] && exports[1] == exports[2],
            "the nodes' records differ"
        );
    }
}

/// A provider on three nodes. Returns them and the token of Alice, who was there before there were several.
pub(crate) async fn found(
    place: &Place,
    spots: &[Spot; 3],
    peer: (&str, SocketAddr),
) -> (Vec<Provider>, String) {
    found_beside(place, spots, peer, None).await
}

/// The same beside a homeserver, which may be away.
async fn found_beside(
    place: &Place,
    spots: &[Spot; 3],
    peer: (&str, SocketAddr),
    homeserver: Option<&str>,
) -> (Vec<Provider>, String) {
    let [one, ..] = spots;
    let (ca, dir) = (place.path("ca"), place.path("a1"));
    let mut first = Provider::init(&dir, "a.example", one.addresses, &ca, &[peer], homeserver)
        .await
        .unwrap();
    if let Some(namespace) = &one.namespace {
        first.inside(namespace);
    }

    // The first node alone, with something in its store from before it was one of several.
    first.start_waiting().await.unwrap();
    let alice_token = match homeserver {
        None => first.add_user("alice").await.unwrap(),
        // Its users are the accounts.
        Some(_) => String::new(),
    };
    first.stop().await.unwrap();
    (join(place, spots, first).await, alice_token)
}

/// Two further nodes for a provider that is not running.
pub(crate) async fn join(place: &Place, spots: &[Spot; 3], mut first: Provider) -> Vec<Provider> {
    let [one, ..] = spots;
    first.cluster(one.listen).unwrap();
    first.start_waiting().await.unwrap();
    let mut a = vec![first];
    leader(&a, &[0]).await;
    for (number, spot) in (2..).zip(&spots[1..]) {
        let dir = place.path(&format!("a{number}"));
        let name = format!("cw{number}");
        let (mut joined, line) = a[0].join(&dir, &name, spot.addresses, spot.listen).await.unwrap();
        if let Some(namespace) = &spot.namespace {
            joined.inside(namespace);
        }
        joined.start_waiting().await.unwrap();
        // Any node takes the command.
        let at = &a[number - 2];
        run(at.command().unwrap().args(["node", "add", &line]))
            .await
            .unwrap();
        a.push(joined);
    }
    leader(&a, &[0, 1, 2]).await;
    a
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_lose_nothing_and_double_nothing() {
    causeway_tests::install_tls();
    let place = Place::new();
    let spots = [Spot::here(), Spot::here(), Spot::here()];
    let mut talk = Talk::begin(&place, spots, Addresses::free().unwrap()).await;
    let all = [0, 1, 2];

    // The node that orders dies.
    let dead = talk.leader(&all).await;
    talk.a[dead].kill().await.unwrap();
    let killed = Instant::now();
    let next = talk.other_leader(dead).await;
    println!(
        "node {} was killed; node {} ordered {:?} later",
        dead + 1,
        next + 1,
        killed.elapsed()
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    talk.a[dead].start(None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    // The node that orders hears and says nothing for a while, and then goes on as if nothing had been.
    let silent = talk.leader(&all).await;
    signal(&talk.a[silent], rustix::process::Signal::STOP);
    talk.other_leader(silent).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    signal(&talk.a[silent], rustix::process::Signal::CONT);
    tokio::time::sleep(Duration::from_secs(1)).await;

    // It hands over when it is told to end.
    let going = talk.leader(&all).await;
    talk.a[going].stop().await.unwrap();
    talk.other_leader(going).await;
    let handed_over = talk.a[going].log_lines().unwrap();
    assert!(
        handed_over.iter().any(|line| line["message"] == "handed over"),
        "it went without handing over"
    );
    talk.a[going].start(None).await.unwrap();
    let orders = talk.leader(&all).await;
    let mut show = talk.a[orders].command().unwrap();
    let shown = run(show.args(["room", "show", &talk.room])).await.unwrap();
    assert!(
        shown.contains(&format!("leader         node cw{}", orders + 1)),
        "{shown}"
    );
    talk.end().await;
}

/// What the homeserver pushes may reach any node.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_reaches_any_node() {
    causeway_tests::install_tls();
    let place = Place::new();
    let spots = [Spot::here(), Spot::here(), Spot::here()];
    let nobody = free_addresses::<1>().unwrap()[0];
    let homeserver = format!("http://{nobody}");
    let (mut a, _) = found_beside(&place, &spots, ("b.example", nobody), Some(&homeserver)).await;
    let registration = std::fs::read_to_string(a[0].registration()).unwrap();
    let token = registration
        .lines()
        .find_map(|line| line.strip_prefix("hs_token: "))
        .unwrap()
        .trim_matches('"');
    for (number, node) in a.iter().enumerate() {
        let url = format!(
            "http://{}/_matrix/app/v1/transactions/{number}",
            node.addresses().appservice
        );
        let answer = causeway_tests::matrix::http()
            .unwrap()
            .put(url)
            .bearer_auth(token)
            .json(&serde_json::json!({ "events": [] }))
            .send()
            .await
            .unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
    }
    for node in &mut a {
        node.stop().await.unwrap();
    }
}

/// What a node's readiness complains about.
pub(crate) async fn reasons(node: &Provider) -> String {
    node.readiness()
        .await
        .map(|page| page["reasons"].to_string())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_survivor_of_a_lost_majority_goes_on_on_an_operators_word() {
    causeway_tests::install_tls();
    let place = Place::new();
    let spots = [Spot::here(), Spot::here(), Spot::here()];
    let for_b = Addresses::free().unwrap();
    let (mut a, _) = found(&place, &spots, ("b.example", for_b.mimi)).await;
    a[1].add_user("before").await.unwrap();
    let force = async |a: &[Provider], lost: &[&str]| {
        let mut command = a[2].command().unwrap();
        command.args(["node", "force-sequencer", "--reason", "fire in the second hall"]);
        for name in lost {
            command.args(["--lost", name]);
        }
        run(&mut command).await
    };
    let refused = force(&a, &["cw1", "cw2"]).await.unwrap_err().to_string();
    assert!(
        refused.contains("majority") || refused.contains("orders already"),
        "{refused}"
    );
    // What the survivor never got is lost, so it has to get it first.
    let applied = async |node: &Provider| nodes(node).await.map(|view| view["applied"].as_u64());
    let end = Instant::now() + Duration::from_mins(1);
    while applied(&a[2]).await != applied(&a[0]).await {
        assert!(Instant::now() < end, "it is behind for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    a[0].kill().await.unwrap();
    a[1].kill().await.unwrap();
    let end = Instant::now() + Duration::from_mins(1);
    while !reasons(&a[2]).await.contains("majority") {
        assert!(Instant::now() < end, "it never missed the others");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = force(&a, &["cw2"]).await.unwrap_err().to_string();
    assert!(refused.contains("cw1, cw2"), "{refused}");
    let said = force(&a, &["cw1", "cw2"]).await.unwrap();
    assert!(said.contains("cw3 orders alone"), "{said}");
    a[2].add_user("after").await.unwrap();
    let users = run(a[2].command().unwrap().args(["user", "ls", "--json"]))
        .await
        .unwrap();
    for name in ["alice", "before", "after"] {
        assert!(users.contains(name), "{users}");
    }
    let view = nodes(&a[2]).await.unwrap();
    assert_eq!(view["taken_over"]["reason"], "fire in the second hall");

    // One of the lost is back: it orders nothing, says so, and leads to the one that took over.
    a[1].start_waiting().await.unwrap();
    let end = Instant::now() + Duration::from_mins(1);
    while !reasons(&a[1]).await.contains("given up") {
        assert!(Instant::now() < end, "it never learned: {}", reasons(&a[1]).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    a[1].add_user("later").await.unwrap();
    let users = run(a[2].command().unwrap().args(["user", "ls", "--json"]))
        .await
        .unwrap();
    assert!(users.contains("later"), "{users}");
    for node in &mut a[1..] {
        node.stop().await.unwrap();
    }
}

/// Whether an exported record of a feed is of this kind.
fn is_of_kind(line: &Value, kind: &str) -> bool {
    let octets = STANDARD_NO_PAD
        .decode(line["value"].as_str().unwrap().trim_end_matches('='))
        .unwrap();
    let record: Value = serde_json::from_slice(&octets).unwrap();
    record["item"]["kind"] == kind
}
