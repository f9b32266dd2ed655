//! Resolution of contested sets, against ruma-state-res.

use std::{
    collections::{HashMap, HashSet},
    hint::black_box,
};

use event_graph::{EventId, Graph, RoomVersion};
use ruma::{
    OwnedEventId, RoomVersionId,
    state_res::{StateMap, resolve, utils::event_id_set::EventIdSet},
};

use crate::{
    Extent, best,
    contested::{self, Mix, Set, make},
    report::{Case, Report},
    theirs::Theirs,
};

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

type Digest = Vec<(String, String, String)>;

fn our_digest(graph: &mut Graph, tips: &[EventId]) -> Digest {
    let resolved = graph.resolve_after(tips).unwrap();
    let entries = resolved.state.iter();
    let mut out: Digest = entries
        .map(|e| (e.event_type.into(), e.state_key.into(), e.event_id.to_string()))
        .collect();
    out.sort();
    out
}

fn their_digest(peer: &Peer) -> Digest {
    let resolved = peer.resolve();
    let mut out: Digest = resolved
        .iter()
        .map(|((t, k), id)| (t.to_string(), k.clone(), id.to_string()))
        .collect();
    out.sort();
    out
}

fn maps(set: &Set) -> Vec<Vec<(String, String, EventId)>> {
    let state = |tip: &EventId| {
        let state = set.graph.state_after(*tip).unwrap();
        let entry =
            |e: &event_graph::graph::StateEntry<'_>| (e.event_type.into(), e.state_key.into(), e.event_id);
        state.iter().map(entry).collect()
    };
    set.tips.iter().map(state).collect()
}

/// Goals by the number of contested events.
fn goal(contested: usize) -> (&'static str, fn(ours: f64, ratio: f64) -> bool) {
    match contested {
        10_000 => ("at least 30, at most 15 ms", |ours, ratio| {
            ratio >= 30.0 && ours <= 15.0
        }),
        50_000 => ("at least 5, at most 100 ms", |ours, ratio| {
            ratio >= 5.0 && ours <= 100.0
        }),
        _ => ("at least 5", |_, ratio| ratio >= 5.0),
    }
}

/// One set: our time and the ratio to ruma's.
fn measure((contested, members): (usize, usize), mix: Mix, version: RoomVersion, report: &mut Report) -> f64 {
    let set = make(version, members, contested, mix);
    let mut graph = set.graph.clone();
    let ours = best(if contested > 1_000 { 5 } else { 50 }, || {
        black_box(graph.resolve_and_forget(&set.tips).unwrap());
    });
    let peer = Peer::new(&set, &maps(&set));
    let theirs = best(if contested > 1_000 { 2 } else { 10 }, || {
        black_box(peer.resolve());
    });
    assert!(
        our_digest(&mut graph, &set.tips) == their_digest(&peer),
        "the results differ"
    );
    let (goal, holds) = goal(contested);
    report.add(&Case {
        name: format!("resolve {contested} in {members}, {mix:?}, v{version}"),
        ours,
        peer: theirs,
        unit: "ms",
        peer_name: "ruma-state-res",
        goal,
        holds: holds(ours, theirs / ours),
    });
    ours
}

pub fn run(extent: Extent, report: &mut Report) {
    let usual = [(100, 1_000), (1_000, 5_000), (10_000, 20_000)];
    let every = [100, 1_000, 10_000].map(|c| [1_000, 5_000, 20_000].map(|m| (c, m)));
    let sizes = match extent {
        Extent::Quick => usual[..1].to_vec(),
        Extent::Usual => usual.to_vec(),
        Extent::All => every.concat(),
    };
    let versions = [RoomVersion::V11, RoomVersion::V12];
    let mixes = [Mix::Member, Mix::Power, Mix::PlChain];
    let mut small = HashMap::new();
    for size in sizes {
        for mix in mixes {
            for version in versions {
                let ours = measure(size, mix, version, report);
                if size == (100, 1_000) {
                    small.insert((mix, version), ours);
                }
            }
        }
    }
    if extent == Extent::Quick {
        return;
    }
    for mix in mixes {
        for version in versions {
            let ours = measure((100, 100_000), mix, version, report);
            let small = small[&(mix, version)];
            report.add(&Case {
                name: format!("the same 100, room 100 times bigger, {mix:?}, v{version}"),
                ours,
                peer: small,
                unit: "ms",
                peer_name: "itself in 1,000 members",
                goal: "at most 1.5 times",
                holds: ours <= small * 1.5,
            });
            if mix == Mix::Power || extent == Extent::All {
                measure((50_000, 100_000), mix, version, report);
            }
        }
    }
}
