//! What several nodes cost: part of `scripts/bench replication`.
//!
//! Nodes of one provider in this process, each with its store on disk and synced, all disks the same one; requests
//! between them are calls, so that what is measured is the log and the disk and not a network. A decision is a batch as a
//! commit leaves it, 8 KiB in four records. Times are by the clock.
//!
//! Fails where a goal is missed. `--quick`: fewer of everything. `--json`: a line of JSON for each case.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs
)]

use async_trait::async_trait;
use lane::{Answer, Call, Cluster, ClusterSettings, Link, LinkError, Member, NodeName, ReplicatedStore};
use room_engine::Sequencer as _;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use store::{Batch, SledOptions, SledStore, Space, Store};

/// Writers at a time, where many write.
const WRITERS: u64 = 64;
/// When the node that orders is lost, another one orders within seconds: milliseconds.
const TAKEN_OVER: f64 = 5_000.0;

fn flag(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

/// Whether a goal was missed.
static MISSED: AtomicBool = AtomicBool::new(false);

/// One figure, beside that of one node where there is one, and what it has to reach where that was set.
fn case(case: &str, unit: &str, ours: f64, one: Option<f64>, goal: Option<f64>) {
    let ratio = one.map(|one| if unit == "/s" { ours / one } else { one / ours });
    let holds = goal.map(|goal| if unit == "/s" { ours >= goal } else { ours <= goal });
    if holds == Some(false) {
        MISSED.store(true, Ordering::Relaxed);
    }
    if flag("--json") {
        println!(
            "{}",
            json!({"area": "replication", "case": case, "ours": ours, "peer": one, "unit": unit,
                "peer_name": "one node", "ratio": ratio, "goal": goal, "holds": holds})
        );
    } else {
        let beside = match (one, ratio) {
            (Some(one), Some(ratio)) => format!("one node {one:>8.2} {unit:<3} {ratio:>7.2} times"),
            _ => String::new(),
        };
        let verdict = match (goal, holds) {
            (Some(goal), Some(true)) => format!("  (goal {goal}: holds)"),
            (Some(goal), _) => format!("  (goal {goal}: MISSED)"),
            (None, _) => String::new(),
        };
        println!("  {case:<58} {ours:>9.2} {unit:<3} {beside}{verdict}");
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

/// Nodes that reach each other by calls, but for the dead.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<BTreeMap<NodeName, Cluster>>>);

struct Way(Net, NodeName);

#[async_trait]
impl Link for Way {
    async fn call(&self, to: &NodeName, _: &Member, call: Call) -> Result<Answer, LinkError> {
        let known = {
            let nodes = self.0.0.lock().unwrap();
            nodes.get(&self.1).and_then(|_| nodes.get(to).cloned())
        };
        let answer = match known {
            Some(cluster) => cluster.answer(&self.1, call.method, &call.path, call.body).await,
            None => None,
        };
        answer.ok_or_else(|| LinkError::Unreachable {
            node: to.clone(),
            why: "it is dead".to_owned(),
        })
    }
}

/// When a node first showed what was written, by number.
type Shown = Arc<Mutex<BTreeMap<u64, Instant>>>;

struct Nodes {
    net: Net,
    clusters: Vec<Cluster>,
    shown: Vec<Shown>,
    next: AtomicU64,
}

fn number_of(batch: &Batch) -> Option<u64> {
    let mut writes = batch.writes();
    let (_, key, _) = writes.find(|(space, _, _)| *space == Space::Handshake)?;
    key.try_into().ok().map(u64::from_be_bytes)
}

impl Nodes {
    async fn start(dir: &Path, count: usize) -> Self {
        let net = Net::default();
        let mut clusters: Vec<Cluster> = Vec::new();
        let mut shown = Vec::new();
        for number in 1..=count {
            let name = NodeName::from(format!("cw{number}").as_str());
            let member = Member {
                address: name.to_string(),
                key: String::new(),
            };
            let settings = ClusterSettings {
                join: number > 1,
                ..ClusterSettings::new(name.clone(), member.clone())
            };
            let store = SledStore::open(SledOptions::new(dir.join(format!("{count}.{number}"))))
                .await
                .unwrap();
            let seen = Shown::default();
            let applied = {
                let seen = seen.clone();
                move |batch: &Batch| {
                    if let Some(number) = number_of(batch) {
                        seen.lock().unwrap().entry(number).or_insert_with(Instant::now);
                    }
                }
            };
            let way = Arc::new(Way(net.clone(), name.clone()));
            let cluster = Cluster::start(settings, Arc::new(store), way, applied)
                .await
                .unwrap();
            net.0.lock().unwrap().insert(name.clone(), cluster.clone());
            match clusters.first() {
                None => drop(cluster.terms().wait_for(Option::is_some).await.unwrap()),
                Some(first) => first.add(name, member).await.unwrap(),
            }
            clusters.push(cluster);
            shown.push(seen);
        }
        Self {
            net,
            clusters,
            shown,
            next: AtomicU64::new(1),
        }
    }

    /// Has one decision made final by a node; returns its number.
    async fn decide(&self, at: usize) -> Result<u64, store::StoreError> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let key = number.to_be_bytes();
        let mut batch = Batch::new();
        for space in [Space::Handshake, Space::Event, Space::Feed, Space::Outbox] {
            batch.put(space, key, vec![7; 2048]);
        }
        ReplicatedStore::new(self.clusters[at].clone())
            .commit(batch)
            .await
            .map(|_| number)
    }

    async fn end(self) {
        for cluster in &self.clusters {
            cluster.stop().await;
        }
    }
}

/// The value that so many of a hundred don't exceed.
fn percentile(mut values: Vec<f64>, of: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * of / 100]
}

/// One after the other: how long each takes, and how long until every node shows it.
async fn alone(nodes: &Nodes, count: u64) -> (Vec<f64>, Vec<f64>) {
    let (mut took, mut visible) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let began = Instant::now();
        let number = nodes.decide(0).await.unwrap();
        took.push(began.elapsed().as_secs_f64() * 1e3);
        for shown in &nodes.shown[1..] {
            let at = loop {
                if let Some(at) = shown.lock().unwrap().get(&number) {
                    break *at;
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            };
            visible.push((at - began).as_secs_f64() * 1e3);
        }
    }
    (took, visible)
}

/// Many at a time: decisions a second.
async fn together(nodes: &Nodes, count: u64) -> f64 {
    let began = Instant::now();
    let writers = (0..WRITERS).map(|_| async {
        for _ in 0..count / WRITERS {
            nodes.decide(0).await.unwrap();
        }
    });
    futures_util::future::join_all(writers).await;
    (count / WRITERS * WRITERS) as f64 / began.elapsed().as_secs_f64()
}

/// The node that orders dies: how long until another one's decision is final.
async fn death(nodes: &Nodes) -> f64 {
    let name = nodes.clusters[0].name().clone();
    nodes.net.0.lock().unwrap().remove(&name);
    let began = Instant::now();
    loop {
        for at in 1..nodes.clusters.len() {
            if nodes.clusters[at].term().is_ok() && nodes.decide(at).await.is_ok() {
                return began.elapsed().as_secs_f64() * 1e3;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let dir = tempfile::tempdir().unwrap();
    let (few, many) = if flag("--quick") { (50, 640) } else { (300, 6_400) };
    let one = Nodes::start(dir.path(), 1).await;
    let (one_took, _) = alone(&one, few).await;
    let one_many = together(&one, many).await;
    one.end().await;
    let three = Nodes::start(dir.path(), 3).await;
    let (took, visible) = alone(&three, few).await;
    for (name, of) in [("p50", 50), ("p99", 99)] {
        let beside = Some(percentile(one_took.clone(), of));
        case(
            &format!("success with three nodes, {name}"),
            "ms",
            percentile(took.clone(), of),
            beside,
            None,
        );
    }
    for (name, of) in [("p50", 50), ("p99", 99)] {
        case(
            &format!("handed in at one node, visible on another, {name}"),
            "ms",
            percentile(visible.clone(), of),
            None,
            None,
        );
    }
    let three_many = together(&three, many).await;
    case(
        "decisions with three nodes, 64 at a time",
        "/s",
        three_many,
        Some(one_many),
        None,
    );
    case(
        "without handshakes when the node that orders dies",
        "ms",
        death(&three).await,
        None,
        Some(TAKEN_OVER),
    );
    three.end().await;
    verdict()
}
