//! Documents, and rooms loaded from them.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::{Contested, ReadError, fixture::Fixture, plain::Plain, synthetic::Synthetic};
use crate::{Arrival, AuthRule, EventId, Graph, KeyRing, Outcome, Pdu, RoomVersion, Verdict, VerifyKey};

/// A file's content.
#[derive(Debug)]
#[non_exhaustive]
pub enum Document {
    /// A room recorded from several homeservers (`synapse-state-fixture-1`).
    Fixture(Box<Fixture>),
    /// Random forks with recorded resolutions (`synthetic-stateres-1`).
    Synthetic(Box<Synthetic>),
    /// A contested set: events and the states to merge.
    Contested(Box<Contested>),
    /// PDUs and nothing else.
    Plain(Box<Plain>),
}

/// Public keys as fixtures have them: by server and key id, in base64.
pub type VerifyKeys = BTreeMap<String, BTreeMap<String, String>>;

pub(super) fn key_ring(keys: &VerifyKeys) -> Result<KeyRing, ReadError> {
    let mut ring = KeyRing::new();
    for (server, keys) in keys {
        for (id, key) in keys {
            let key = VerifyKey::from_base64(key)
                .map_err(|e| ReadError::Form(format!("key {id} of {server}: {e}")))?;
            ring.insert(server, id, key, None);
        }
    }
    Ok(ring)
}

/// A room with its events and how they fared.
#[derive(Debug)]
pub struct LoadedRoom {
    /// The graph after all events.
    pub graph: Graph,
    /// The events, verified where there were keys.
    pub pdus: BTreeMap<EventId, Pdu>,
    /// What was wrong with events on reading.
    pub problems: Vec<String>,
    /// Outcomes in order of admission.
    pub outcomes: Vec<Outcome>,
    /// Soft failures by event and server, where the file records in which order events arrived.
    pub soft_failed: BTreeMap<EventId, BTreeMap<String, AuthRule>>,
}

impl LoadedRoom {
    /// Reads and admits events given with the ids they should have, if any. A file is the room's past and has no
    /// order of arrival, so there is no check 6.
    pub(super) fn load<'a>(
        version: RoomVersion,
        keys: &KeyRing,
        events: impl Iterator<Item = (Option<&'a str>, &'a str)>,
    ) -> Self {
        Self::load_by(version, keys, events, |graph, pdu| {
            graph.admit_as(pdu, Arrival::Recorded(None))
        })
    }

    /// The same with each event taken by the events it cites alone: check 4 and no other.
    pub(super) fn load_by_citations<'a>(
        version: RoomVersion,
        keys: &KeyRing,
        events: impl Iterator<Item = (Option<&'a str>, &'a str)>,
    ) -> Self {
        Self::load_by(version, keys, events, Graph::admit_outlier)
    }

    fn load_by<'a>(
        version: RoomVersion,
        keys: &KeyRing,
        events: impl Iterator<Item = (Option<&'a str>, &'a str)>,
        admit: impl Fn(&mut Graph, &Pdu) -> SmallVec<[Outcome; 1]>,
    ) -> Self {
        let mut room = Self {
            graph: Graph::new(version),
            pdus: BTreeMap::new(),
            problems: Vec::new(),
            outcomes: Vec::new(),
            soft_failed: BTreeMap::new(),
        };
        let mut given = Vec::new();
        for (claimed, text) in events {
            given.extend(room.take(claimed, text, version, keys));
        }
        for id in parents_first(&given, &room.pdus) {
            if let Some(pdu) = room.pdus.get(&id) {
                room.outcomes.extend(admit(&mut room.graph, pdu));
            }
        }
        room
    }

    /// Reads one event and notes what is wrong with it.
    fn take(
        &mut self,
        claimed: Option<&str>,
        text: &str,
        version: RoomVersion,
        keys: &KeyRing,
    ) -> Option<EventId> {
        let name = claimed.map_or_else(|| format!("event {}", self.pdus.len() + 1), ToOwned::to_owned);
        let mut problem = |what: &dyn std::fmt::Display| self.problems.push(format!("{name}: {what}"));
        let parsed = match Pdu::parse(text.as_bytes(), version) {
            Ok(parsed) => parsed,
            Err(error) => {
                problem(&error);
                return None;
            }
        };
        let id = parsed.event_id();
        if claimed.is_some_and(|c| c != id.to_string()) {
            problem(&format_args!("its id by reference hash is {id}"));
        }
        if !parsed.content_hash_matches() {
            problem(&"content hash doesn't match");
        }
        if !keys.is_empty()
            && let Err(error) = parsed.clone().verify(keys)
        {
            problem(&error);
        }
        self.pdus.insert(id, parsed.assume_verified());
        Some(id)
    }

    /// Loads the room of a document with one room; of a synthetic one the given room.
    pub fn of(document: &Document, room: usize) -> Result<Self, ReadError> {
        match document {
            Document::Synthetic(s) => s.load(room),
            _ if room > 0 => Err(ReadError::Form(format!("no room {room}, the file has one"))),
            Document::Fixture(f) => f.load_with_arrivals(),
            Document::Contested(c) => Ok(c.load_all()),
            Document::Plain(plain) => Ok(plain.load()),
        }
    }

    /// How an event fared; if nothing else is to be said, where and by which rule it was soft-failed.
    pub(super) fn verdict(&self, id: EventId) -> Option<Verdict> {
        let dropped = || {
            let outcome = self.outcomes.iter().find(|o| o.event_id == id)?;
            Some(outcome.verdict.clone())
        };
        let verdict = self.graph.verdict(id).or_else(dropped)?;
        let soft = self.soft_failed.get(&id).and_then(|at| at.values().next());
        match soft {
            Some(rule) if verdict.is_accepted() => Some(Verdict::SoftFailed { rule: *rule }),
            _ => Some(verdict),
        }
    }
}

/// The events so that each comes after those it needs, otherwise as they are given; the create event first, as
/// nothing can be placed before it.
fn parents_first(given: &[EventId], pdus: &BTreeMap<EventId, Pdu>) -> Vec<EventId> {
    let create = |id: &&EventId| pdus.get(id).is_some_and(|p| p.event_type() == "m.room.create");
    let mut out = Vec::with_capacity(given.len());
    let mut entered: BTreeSet<EventId> = BTreeSet::new();
    for root in given.iter().filter(create).chain(given) {
        let mut stack = vec![(*root, false)];
        while let Some((id, done)) = stack.pop() {
            let Some(pdu) = pdus.get(&id) else { continue };
            if done {
                out.push(id);
            } else if entered.insert(id) {
                stack.push((id, true));
                let needed = pdu.prev_events().iter().chain(pdu.auth_events());
                stack.extend(needed.map(|n| (*n, false)));
            }
        }
    }
    out
}
