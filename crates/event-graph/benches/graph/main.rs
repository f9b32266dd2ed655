//! Contested sets and ingest against ruma-state-res and ruma-signatures, as ratios of CPU time.
//!
//! `cargo bench -p event-graph --bench graph [-- quick]`. Peers do the same work in the same process: auth
//! difference and conflicted subgraph included, from state maps and events that are parsed already. The result
//! digests have to be the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    unreachable_pub,
    dead_code
)]

mod contested;
#[path = "../../tests/it/theirs.rs"]
mod theirs;

use std::{
    collections::{HashMap, HashSet},
    hint::black_box,
};

use event_graph::{Draft, EventId, Graph, KeyRing, Pdu, RoomVersion, SigningIdentity};
use ruma::{
    OwnedEventId, RoomVersionId,
    state_res::{StateMap, resolve, utils::event_id_set::EventIdSet},
};
use serde_json::json;
use theirs::Theirs;

/// CPU time of this thread in milliseconds.
fn cpu_ms() -> f64 {
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

fn best(runs: usize, mut work: impl FnMut()) -> f64 {
    (0..runs)
        .map(|_| {
            let start = cpu_ms();
            work();
            cpu_ms() - start
        })
        .fold(f64::INFINITY, f64::min)
}

struct Peer {
    version: RoomVersionId,
    events: HashMap<OwnedEventId, Theirs>,
    maps: Vec<StateMap<OwnedEventId>>,
}

impl Peer {
    fn new(set: &contested::Set, maps: &[Vec<(String, String, EventId)>]) -> Self {
        let owned = |id: &EventId| OwnedEventId::try_from(id.to_string()).unwrap();
        let events = set
            .pdus
            .iter()
            .map(|p| (owned(&p.event_id()), Theirs::new(p, false)))
            .collect();
        let map = |m: &Vec<(String, String, EventId)>| {
            m.iter()
                .map(|(t, k, id)| ((t.as_str().into(), k.clone()), owned(id)))
                .collect()
        };
        Self {
            version: set.version.as_str().try_into().unwrap(),
            events,
            maps: maps.iter().map(map).collect(),
        }
    }

    /// The auth chain of a state, the subgraph, the resolution: what a server on ruma does.
    fn resolve(&self) -> StateMap<OwnedEventId> {
        let chain = |map: &StateMap<OwnedEventId>| {
            let mut seen: EventIdSet<OwnedEventId> = EventIdSet::with_capacity(map.len());
            let mut stack: Vec<&OwnedEventId> = map.values().collect();
            while let Some(id) = stack.pop() {
                if seen.insert(id.clone()) {
                    stack.extend(&self.events[id].auth_events);
                }
            }
            seen
        };
        let rules = self.version.rules().unwrap();
        resolve(
            &rules.authorization,
            rules.state_res.v2_rules().unwrap(),
            &self.maps,
            self.maps.iter().map(chain).collect(),
            |id| self.events.get(id),
            |conflicted| Some(self.subgraph(conflicted)),
        )
        .unwrap()
    }

    /// One walk down and one up over what it found, which is what a careful caller does.
    fn subgraph(&self, conflicted: &StateMap<Vec<OwnedEventId>>) -> EventIdSet<OwnedEventId> {
        let set: HashSet<&OwnedEventId> = conflicted.values().flatten().collect();
        let mut below: HashSet<&OwnedEventId> = HashSet::new();
        let mut citing: HashMap<&OwnedEventId, Vec<&OwnedEventId>> = HashMap::new();
        let mut stack: Vec<&OwnedEventId> = set.iter().copied().collect();
        while let Some(id) = stack.pop() {
            if below.insert(id) {
                for cited in &self.events[id].auth_events {
                    citing.entry(cited).or_default().push(id);
                    stack.push(cited);
                }
            }
        }
        let mut out = EventIdSet::new();
        let mut seen: HashSet<&OwnedEventId> = HashSet::new();
        let mut stack: Vec<&OwnedEventId> = set.into_iter().collect();
        while let Some(id) = stack.pop() {
            if seen.insert(id) {
                out.insert(id.clone());
                stack.extend(citing.get(id).into_iter().flatten());
            }
        }
        out
    }
}

fn digest<'a>(entries: impl Iterator<Item = (String, String, String)> + 'a) -> Vec<(String, String, String)> {
    let mut out: Vec<_> = entries.collect();
    out.sort();
    out
}

fn contested_sets(quick: bool) {
    println!("| contested | members | mix | version | ours ms | ruma ms | ratio | full conflicted |");
    println!("|---|---|---|---|---|---|---|---|");
    let sizes: &[(usize, usize)] = if quick {
        &[(100, 1_000), (10_000, 20_000)]
    } else {
        &[
            (100, 1_000),
            (1_000, 5_000),
            (10_000, 20_000),
            (100, 100_000),
            (50_000, 100_000),
        ]
    };
    for (contested, members) in sizes {
        for mix in [
            contested::Mix::Member,
            contested::Mix::Power,
            contested::Mix::PlChain,
        ] {
            for version in [RoomVersion::V11, RoomVersion::V12] {
                if *members == 100_000 && mix != contested::Mix::Power {
                    continue;
                }
                let set = contested::make(version, *members, *contested, mix);
                let mut graph = set.graph.clone();
                let maps: Vec<Vec<(String, String, EventId)>> = set
                    .tips
                    .iter()
                    .map(|t| {
                        let state = set.graph.state_after(*t).unwrap();
                        state
                            .iter()
                            .map(|e| (e.event_type.into(), e.state_key.into(), e.event_id))
                            .collect()
                    })
                    .collect();
                let runs = if *contested > 1_000 { 5 } else { 50 };
                let ours = best(runs, || {
                    black_box(graph.resolve_and_forget(&set.tips).unwrap());
                });
                let peer = Peer::new(&set, &maps);
                let theirs = best(if *contested > 1_000 { 2 } else { 10 }, || {
                    black_box(peer.resolve());
                });
                let resolved = graph.resolve_after(&set.tips).unwrap();
                let full = resolved.full_conflicted;
                let mine = digest(resolved.state.iter().map(|e| {
                    (
                        e.event_type.to_owned(),
                        e.state_key.to_owned(),
                        e.event_id.to_string(),
                    )
                }));
                let other = digest(
                    peer.resolve()
                        .iter()
                        .map(|((t, k), id)| (t.to_string(), k.clone(), id.to_string())),
                );
                assert!(mine == other, "the results differ");
                println!(
                    "| {contested} | {members} | {mix:?} | {} | {ours:.3} | {theirs:.1} | {:.0} | {full} |",
                    version.as_str(),
                    theirs / ours
                );
            }
        }
    }
}

/// A room in order: joins, messages, topics.
fn ingest(events: usize) {
    let identity = SigningIdentity::from_seed("a.test", "ed25519:b", &[3; 32]);
    let mut keys = KeyRing::new();
    keys.insert("a.test", "ed25519:b", identity.verify_key(), None);
    let version = RoomVersion::V12;
    let mut graph = Graph::new(version);
    let mut wire: Vec<Vec<u8>> = Vec::with_capacity(events);
    for i in 0..events {
        let user = format!("@u{}:a.test", i / 10);
        let creator = "@u0:a.test";
        let (event_type, key, sender, content) = match i {
            0 => (
                "m.room.create",
                Some(String::new()),
                creator,
                json!({"room_version": "12"}),
            ),
            1 => (
                "m.room.member",
                Some(creator.to_owned()),
                creator,
                json!({"membership": "join"}),
            ),
            2 => (
                "m.room.power_levels",
                Some(String::new()),
                creator,
                json!({"users": {"@u1:a.test": 50}}),
            ),
            3 => (
                "m.room.join_rules",
                Some(String::new()),
                creator,
                json!({"join_rule": "public"}),
            ),
            _ if i % 10 == 0 => {
                let content = json!({"membership": "join", "displayname": user});
                ("m.room.member", Some(user.clone()), user.as_str(), content)
            }
            _ => (
                "m.room.message",
                None,
                user.as_str(),
                json!({"msgtype": "m.text", "body": "x".repeat(120)}),
            ),
        };
        let keys =
            event_graph::auth::auth_keys(version, event_type, sender, key.as_deref(), &content).unwrap();
        let head = graph.head();
        let draft = Draft {
            room_id: graph.room_id().map(str::to_owned),
            event_type: event_type.into(),
            sender: sender.into(),
            state_key: key,
            content,
            prev_events: head.prev_events(),
            auth_events: graph.auth_events_for(&keys),
            depth: head.next_depth(),
            origin_server_ts: 1_700_000_000_000 + i as i64,
        };
        let pdu = draft.sign(&identity, version).unwrap();
        assert!(graph.admit(&pdu)[0].verdict.is_accepted());
        wire.push(pdu.as_bytes().to_vec());
    }
    let bytes = graph.index_bytes();
    let per = |ms: f64| ms * 1000.0 / events as f64;
    let unsigned = best(3, || {
        let mut graph = Graph::new(version);
        for octets in &wire {
            graph.admit(&Pdu::parse_trusted(octets, version).unwrap());
        }
        black_box(graph);
    });
    let signed = best(1, || {
        let mut graph = Graph::new(version);
        for octets in &wire {
            graph.admit(&Pdu::parse(octets, version).unwrap().verify(&keys).unwrap());
        }
        black_box(graph);
    });
    let parsing = best(3, || {
        for octets in &wire {
            black_box(Pdu::parse(octets, version).unwrap());
        }
    });
    // What single verification alone takes for messages of this size.
    let message = vec![b'x'; 600];
    let signature = identity.sign_bytes(&message);
    let key = identity.verify_key();
    let single = best(3, || {
        for _ in 0..2_000 {
            assert!(black_box(&key).verifies(&message, &signature));
        }
    }) / 2_000.0
        * 1000.0;
    println!();
    println!("ingest of {events} events in order:");
    println!(
        "  without signatures {:.2} us an event, of which parsing and hashing {:.2}",
        per(unsigned),
        per(parsing)
    );
    println!(
        "  with signatures {:.2} us an event ({:.0}/s); one verification alone takes {single:.2} us, so {:.0} % of what it allows",
        per(signed),
        1e6 / per(signed),
        100.0 * single / per(signed)
    );
    println!("  index {:.0} bytes an event", bytes as f64 / events as f64);
}

fn main() {
    let quick = std::env::args().any(|a| a == "quick");
    contested_sets(quick);
    ingest(if quick { 20_000 } else { 100_000 });
}
