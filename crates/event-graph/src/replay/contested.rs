//! Contested sets: a forked room and the states to merge.

// Counts of events and octets, shown rounded.
#![allow(clippy::cast_precision_loss)]

use serde::{Deserialize, Serialize};

use super::{ReadError, Report, fixture::Entry, room::LoadedRoom};
use crate::{Arrival, EventId, Graph, KeyRing, Pdu, RoomVersion, Verdict, graph::state::Group};

/// A contested set as read: octets of events in order, and the states.
#[derive(Debug)]
pub struct Contested {
    version: RoomVersion,
    events: Vec<(EventId, Box<str>)>,
    states: Vec<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Line<'a> {
    event_id: Option<EventId>,
    #[serde(borrow)]
    pdu: Option<&'a serde_json::value::RawValue>,
    state_set: Option<Vec<Entry>>,
}

/// The outcome of a resolution with what it took.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The resolved state, sorted by type and state key.
    pub state: Vec<(String, String, EventId)>,
    /// Events loaded.
    pub events: usize,
    /// Events in the conflicted state set.
    pub contested: usize,
    /// Events in the full conflicted set.
    pub full_conflicted: usize,
    /// CPU time of loading, in milliseconds.
    pub load_ms: f64,
    /// The same per event, in microseconds.
    pub load_us_per_event: f64,
    /// Memory of the index per event, in octets.
    pub index_bytes_per_event: f64,
    /// CPU time of resolution, the best of the runs, in milliseconds.
    pub resolve_ms: f64,
    /// The same, the median.
    pub resolve_ms_median: f64,
}

impl Contested {
    pub(super) fn read(version: RoomVersion, lines: &[&str]) -> Result<Self, ReadError> {
        let mut contested = Self {
            version,
            events: Vec::new(),
            states: Vec::new(),
        };
        for (i, line) in lines.iter().enumerate() {
            // The header was line 1.
            let bad = |what: &dyn std::fmt::Display| ReadError::Form(format!("line {}: {what}", i + 2));
            let line: Line<'_> = serde_json::from_str(line).map_err(|e| bad(&e))?;
            match (line.event_id, line.pdu, line.state_set) {
                (Some(id), Some(pdu), None) => contested.events.push((id, pdu.get().into())),
                (None, None, Some(state)) => contested.states.push(state),
                _ => return Err(bad(&"neither event nor state set")),
            }
        }
        if contested.states.is_empty() {
            return Err(ReadError::Form("no state set, so nothing to resolve".to_owned()));
        }
        Ok(contested)
    }

    /// How many states there are to merge.
    pub fn state_sets(&self) -> usize {
        self.states.len()
    }

    /// The events' octets, in order.
    pub fn events(&self) -> impl Iterator<Item = (EventId, &[u8])> {
        self.events.iter().map(|(id, text)| (*id, text.as_bytes()))
    }

    /// The states to merge, as (type, state key, event).
    pub fn states(&self) -> &[Vec<(String, String, EventId)>] {
        &self.states
    }

    /// The room version.
    pub fn room_version(&self) -> RoomVersion {
        self.version
    }

    /// Admits every event, one by one, by the code of receipt; nothing is known of the states. A file is the
    /// room's past and has no order of arrival, so there is no check 6.
    pub fn load(&self) -> (Graph, Vec<String>) {
        let mut graph = Graph::new(self.version);
        let mut problems = Vec::new();
        for (id, text) in &self.events {
            match Pdu::parse(text.as_bytes(), self.version) {
                Ok(pdu) if pdu.event_id() == *id && pdu.content_hash_matches() => {
                    for outcome in graph.admit_as(&pdu.assume_verified(), Arrival::Recorded(None)) {
                        match outcome.verdict {
                            Verdict::Accepted | Verdict::Held { .. } | Verdict::Duplicate => {}
                            other => problems.push(format!("{}: {other}", outcome.event_id)),
                        }
                    }
                }
                Ok(_) => problems.push(format!("{id}: hash doesn't match")),
                Err(error) => problems.push(format!("{id}: {error}")),
            }
        }
        if let Some(missing) = graph.missing().first() {
            problems.push(format!(
                "{} events wait for others, {missing} among them",
                graph.held()
            ));
        }
        (graph, problems)
    }

    /// Loads and resolves; `cpu_ms` is a clock of CPU time.
    pub fn resolve(&self, runs: usize, cpu_ms: impl Fn() -> f64) -> Result<Measured, ReadError> {
        let start = cpu_ms();
        let (graph, problems) = self.load();
        let load_ms = cpu_ms() - start;
        if let Some(problem) = problems.first() {
            return Err(ReadError::Form(problem.clone()));
        }
        measure(
            graph,
            load_ms,
            |graph| graph.groups_of(&self.states),
            runs,
            cpu_ms,
        )
    }

    pub(super) fn load_all(&self) -> LoadedRoom {
        let ids: Vec<String> = self.events.iter().map(|(id, _)| id.to_string()).collect();
        let events = ids.iter().zip(&self.events);
        LoadedRoom::load(
            self.version,
            &KeyRing::new(),
            events.map(|(id, (_, text))| (Some(id.as_str()), &**text)),
        )
    }

    pub(super) fn check(&self, name: &str) -> Report {
        let (mut graph, problems) = self.load();
        let mut report = Report {
            name: name.to_owned(),
            events: self.events.len(),
            differences: problems,
            ..Report::default()
        };
        match graph.resolve_maps(&self.states) {
            None => report
                .differences
                .push("a state set holds an unknown event".to_owned()),
            Some(resolved) => report.notes.push(format!(
                "no resolution is recorded; resolved to {} entries over {} conflicted events",
                resolved.state.len(),
                resolved.conflicted
            )),
        }
        report
    }
}

/// Resolves the states that `groups` picks, `runs` times, keeping nothing in between.
pub(super) fn measure(
    mut graph: Graph,
    load_ms: f64,
    groups: impl FnOnce(&mut Graph) -> Option<Vec<Group>>,
    runs: usize,
    cpu_ms: impl Fn() -> f64,
) -> Result<Measured, ReadError> {
    let events = graph.len();
    let index_bytes = graph.index_bytes();
    let unknown = || ReadError::Form("a state holds an unknown event".to_owned());
    let groups = groups(&mut graph).ok_or_else(unknown)?;
    let mut times = Vec::new();
    let (mut contested, mut full_conflicted) = (0, 0);
    for _ in 0..runs.max(1) {
        let start = cpu_ms();
        (contested, full_conflicted) = graph.resolve_once(&groups);
        times.push(cpu_ms() - start);
    }
    times.sort_by(f64::total_cmp);
    let resolved = graph.resolved(&groups);
    let state = resolved
        .state
        .iter()
        .map(|e| (e.event_type.to_owned(), e.state_key.to_owned(), e.event_id))
        .collect();
    let per_event = |total: f64| total / events.max(1) as f64;
    Ok(Measured {
        state,
        events,
        contested,
        full_conflicted,
        load_ms,
        load_us_per_event: per_event(load_ms * 1000.0),
        index_bytes_per_event: per_event(index_bytes as f64),
        resolve_ms: times.first().copied().unwrap_or_default(),
        resolve_ms_median: times.get(times.len() / 2).copied().unwrap_or_default(),
    })
}
