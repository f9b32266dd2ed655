//! Rooms recorded from several homeservers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ReadError, Report,
    room::{LoadedRoom, VerifyKeys, key_ring},
};
use crate::{Arrival, EventId, Graph, Verdict, graph::StateEntry};

/// (type, state key, event).
pub(super) type Entry = (String, String, EventId);

/// `synapse-state-fixture-1`, as far as it is compared.
#[derive(Debug, Deserialize)]
pub struct Fixture {
    scenario: String,
    room_version: String,
    verify_keys: VerifyKeys,
    #[serde(default)]
    servers_left: Vec<String>,
    events: BTreeMap<String, Box<RawValue>>,
    views: BTreeMap<String, View>,
    resolutions: Vec<Row>,
    state_maps: BTreeMap<String, Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
struct View {
    order: Vec<EventId>,
    forward_extremities: Vec<EventId>,
    current_state: Vec<Entry>,
    #[serde(default)]
    outliers: Vec<EventId>,
    #[serde(default)]
    rejected: BTreeMap<EventId, serde_json::Value>,
    #[serde(default)]
    soft_failed: Vec<EventId>,
    #[serde(default)]
    state_before: BTreeMap<EventId, Option<String>>,
}

#[derive(Debug, Deserialize)]
struct Row {
    server: String,
    event_id: Option<EventId>,
    prev_events: Vec<EventId>,
    state_sets: Vec<String>,
    resolved: String,
    caveat: Option<String>,
}

impl Fixture {
    pub(super) fn load(&self) -> Result<LoadedRoom, ReadError> {
        let keys = key_ring(&self.verify_keys)?;
        let events = self
            .events
            .iter()
            .map(|(id, value)| (Some(id.as_str()), value.get()));
        Ok(LoadedRoom::load(self.room_version.parse()?, &keys, events))
    }

    /// The room, and what each server's order of arrival makes of its events.
    pub(super) fn load_with_arrivals(&self) -> Result<LoadedRoom, ReadError> {
        let mut room = self.load()?;
        for (server, view) in &self.views {
            for (id, verdict) in arrivals(self, view, &room).verdicts {
                if let Verdict::SoftFailed { rule } = verdict {
                    let at = room.soft_failed.entry(id).or_default();
                    at.insert(server.clone(), rule);
                }
            }
        }
        Ok(room)
    }
}

pub(super) fn check(fixture: &Fixture, name: &str) -> Report {
    let mut report = Report {
        name: name.to_owned(),
        events: fixture.events.len(),
        ..Report::default()
    };
    if report.name.is_empty() {
        report.name.clone_from(&fixture.scenario);
    }
    let mut room = match fixture.load() {
        Ok(room) => room,
        Err(error) => {
            report.differences.push(error.to_string());
            return report;
        }
    };
    report.differences.append(&mut room.problems);
    for row in &fixture.resolutions {
        check_row(fixture, row, &mut room.graph, &mut report);
    }
    for (server, view) in &fixture.views {
        check_view(fixture, server, view, &mut room, &mut report);
        check_arrival(fixture, server, view, &room, &mut report);
    }
    report
}

fn check_row(fixture: &Fixture, row: &Row, graph: &mut Graph, report: &mut Report) {
    let label = row
        .event_id
        .map_or_else(|| "its extremities".to_owned(), |id| id.to_string());
    let maps: Option<Vec<Vec<Entry>>> = row
        .state_sets
        .iter()
        .map(|name| fixture.state_maps.get(name).cloned())
        .collect();
    let (Some(maps), Some(wanted)) = (maps, fixture.state_maps.get(&row.resolved)) else {
        report
            .differences
            .push(format!("{}: {label}: a state map is missing", row.server));
        return;
    };
    if let Some(caveat) = &row.caveat {
        report.notes.push(format!(
            "{}: resolution before {label} not compared: {caveat}",
            row.server
        ));
        return;
    }
    report.resolutions += 1;
    let Some(resolved) = graph.resolve_maps(&maps) else {
        report
            .differences
            .push(format!("{}: {label}: a state holds an unknown event", row.server));
        return;
    };
    if let Some(difference) = first_difference(wanted, &resolved.state) {
        let over = row.prev_events.len();
        report.differences.push(format!(
            "{}: resolution before {label} over {over} parents: {difference}",
            row.server
        ));
    }
}

/// The first entry in which a recorded state and ours differ.
pub(super) fn first_difference(recorded: &[Entry], ours: &[StateEntry<'_>]) -> Option<String> {
    let recorded: BTreeMap<_, _> = recorded
        .iter()
        .map(|(t, k, id)| ((t.as_str(), k.as_str()), *id))
        .collect();
    let ours: BTreeMap<_, _> = ours
        .iter()
        .map(|e| ((e.event_type, e.state_key), e.event_id))
        .collect();
    let keys: BTreeSet<_> = recorded.keys().chain(ours.keys()).collect();
    let name = |id: Option<&EventId>| id.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    keys.into_iter()
        .find(|k| recorded.get(*k) != ours.get(*k))
        .map(|key| {
            format!(
                "({}, {:?}): recorded {}, here {}",
                key.0,
                key.1,
                name(recorded.get(key)),
                name(ours.get(key))
            )
        })
}

/// The current state of a server's view: the resolution over its extremities.
fn check_view(fixture: &Fixture, server: &str, view: &View, room: &mut LoadedRoom, report: &mut Report) {
    if fixture.servers_left.iter().any(|s| s == server) {
        report.notes.push(format!(
            "{server}: nobody of that server is in the room any more, so it keeps no current state ({} entries recorded)",
            view.current_state.len()
        ));
        return;
    }
    let Some(resolved) = room.graph.resolve_after(&view.forward_extremities) else {
        report
            .differences
            .push(format!("{server}: a forward extremity is not in the file"));
        return;
    };
    report.views += 1;
    let Some(difference) = first_difference(&view.current_state, &resolved.state) else {
        return;
    };
    match hole(view, room) {
        Some(why) => report.notes.push(format!(
            "{server}: current state does not follow from the file ({why}): {difference}"
        )),
        None => report
            .differences
            .push(format!("{server}: current state: {difference}")),
    }
}

/// Why a view's state may not follow from the events: something below its extremities that the server never
/// had, or had only as an outlier, so that its states there came from elsewhere.
fn hole(view: &View, room: &LoadedRoom) -> Option<String> {
    let had: BTreeSet<_> = view
        .order
        .iter()
        .filter(|id| !view.outliers.contains(id))
        .collect();
    let mut seen = BTreeSet::new();
    let mut stack: Vec<EventId> = view.forward_extremities.clone();
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        if !had.contains(&id) {
            // Before its join a server has only what authorises the join.
            let state_known = view
                .state_before
                .iter()
                .any(|(e, s)| s.is_some() && room.pdus.get(e).is_some_and(|p| p.prev_events().contains(&id)));
            if !state_known {
                return Some(format!("the server does not hold {id} in the graph"));
            }
            continue;
        }
        stack.extend(
            room.pdus
                .get(&id)
                .map(|p| p.prev_events().to_vec())
                .unwrap_or_default(),
        );
    }
    None
}

/// Outliers come in batches, in no order: takes those that are needed with what they cite first.
fn cited_outliers(graph: &mut Graph, room: &LoadedRoom, view: &View, wanted: &[EventId]) {
    let mut stack: Vec<EventId> = wanted.to_vec();
    while let Some(id) = stack.pop() {
        let Some(pdu) = room.pdus.get(&id).filter(|_| view.outliers.contains(&id)) else {
            continue;
        };
        let create = EventId::from_room_id(pdu.room_id()).filter(|c| *c != id);
        let cited = pdu.auth_events().iter().copied().chain(create);
        let missing: Vec<EventId> = cited.filter(|a| !graph.contains(*a)).collect();
        if missing.is_empty() {
            graph.admit_outlier(pdu);
        } else if missing.iter().all(|m| view.outliers.contains(m)) {
            stack.push(id);
            stack.extend(missing);
        }
    }
}

/// What a view's order of arrival makes of its events.
#[derive(Default)]
struct Arrivals {
    verdicts: BTreeMap<EventId, Verdict>,
    unplaced: Vec<String>,
}

/// Replays a view's order of arrival: outliers as such, and events whose parents the server never had on the state
/// that it was given for them.
fn arrivals(fixture: &Fixture, view: &View, room: &LoadedRoom) -> Arrivals {
    let mut graph = Graph::new(room.graph.room_version());
    let mut out = Arrivals::default();
    for id in &view.order {
        let Some(pdu) = room.pdus.get(id) else { continue };
        let mut outcomes = Vec::new();
        cited_outliers(&mut graph, room, view, pdu.auth_events());
        if view.outliers.contains(id) {
            outcomes.extend(graph.admit_outlier(pdu));
        } else if pdu.prev_events().iter().all(|p| graph.has_state(*p)) {
            outcomes.extend(graph.admit(pdu));
        } else {
            let map = view
                .state_before
                .get(id)
                .and_then(|name| fixture.state_maps.get(name.as_deref()?));
            let Some(map) = map else {
                out.unplaced
                    .push(format!("the state that {id} was taken on is not recorded"));
                continue;
            };
            let state: Vec<EventId> = map.iter().map(|(.., id)| *id).collect();
            cited_outliers(&mut graph, room, view, &state);
            outcomes.extend(graph.admit_at_state(pdu, &state, Arrival::New));
        }
        for outcome in outcomes {
            match outcome.verdict {
                Verdict::Held { .. } | Verdict::Dropped(_) => {
                    out.unplaced
                        .push(format!("{}: {}", outcome.event_id, outcome.verdict));
                }
                Verdict::Duplicate => {}
                verdict => drop(out.verdicts.insert(outcome.event_id, verdict)),
            }
        }
    }
    out
}

/// Soft failures and rejections in a view's order of arrival. They depend on what the server knew when, and on how
/// it came by it, so they are told and decide nothing.
fn check_arrival(fixture: &Fixture, server: &str, view: &View, room: &LoadedRoom, report: &mut Report) {
    let Arrivals { verdicts, unplaced } = arrivals(fixture, view, room);
    if let Some(first) = unplaced.first() {
        let n = unplaced.len();
        report.notes.push(format!(
            "{server}: {n} events of its order of arrival can't be placed; {first}"
        ));
    }
    let ours = |wanted: fn(&Verdict) -> bool| -> BTreeSet<EventId> {
        let found = verdicts.iter().filter(|(_, v)| wanted(v));
        found.map(|(id, _)| *id).collect()
    };
    let rejected = ours(|v| matches!(v, Verdict::Rejected { .. }));
    for id in rejected.iter().filter(|id| !view.rejected.contains_key(*id)) {
        let verdict = verdicts.get(id).map(ToString::to_string).unwrap_or_default();
        report
            .notes
            .push(format!("{server}: {id} not rejected there, here {verdict}"));
    }
    for id in view
        .rejected
        .keys()
        .filter(|id| verdicts.contains_key(*id) && !rejected.contains(*id))
    {
        report
            .notes
            .push(format!("{server}: {id} rejected there, not here"));
    }
    let soft = ours(|v| matches!(v, Verdict::SoftFailed { .. }));
    let recorded: BTreeSet<_> = view.soft_failed.iter().copied().collect();
    let agreed = recorded.intersection(&soft).count();
    report.soft_failures.0 += agreed;
    report.soft_failures.1 += recorded.len();
    if recorded != soft {
        let only = |a: &BTreeSet<EventId>, b: &BTreeSet<EventId>| a.difference(b).count();
        report.notes.push(format!(
            "{server}: soft failures depend on what the server knew when: {agreed} as recorded, {} only there, {} only here",
            only(&recorded, &soft),
            only(&soft, &recorded)
        ));
    }
}
