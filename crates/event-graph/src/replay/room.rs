//! Documents, and rooms loaded from them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Contested, ReadError, Report, fixture::Fixture, synthetic::Synthetic};
use crate::{Arrival, EventId, Graph, KeyRing, Outcome, Pdu, RoomVersion, Verdict, VerifyKey};

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
    Plain(Vec<Value>),
}

/// Reads a document of any known form.
pub fn read(bytes: &[u8]) -> Result<Document, ReadError> {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        return match value.get("format").and_then(Value::as_str) {
            Some("synapse-state-fixture-1") => Ok(Document::Fixture(serde_json::from_value(value)?)),
            Some("synthetic-stateres-1") => Ok(Document::Synthetic(serde_json::from_value(value)?)),
            Some(other) => Err(ReadError::Form(format!("unknown format {other:?}"))),
            None => match value {
                Value::Array(pdus) => Ok(Document::Plain(pdus)),
                Value::Object(_) if value.get("sender").is_some() => Ok(Document::Plain(vec![value])),
                Value::Object(_) if value.get("pdus").is_some_and(Value::is_array) => Ok(Document::Plain(
                    value
                        .get("pdus")
                        .and_then(Value::as_array)
                        .cloned()
                        .unwrap_or_default(),
                )),
                _ => Err(ReadError::Form("neither PDUs nor a known format".to_owned())),
            },
        };
    }
    let lines: Vec<&[u8]> = bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.trim_ascii().is_empty())
        .collect();
    let header: Value = serde_json::from_slice(lines.first().copied().unwrap_or_default())?;
    if header.get("forks").is_some() && header.get("room_version").is_some() {
        return Ok(Document::Contested(Box::new(Contested::read(
            &header,
            lines.get(1..).unwrap_or_default(),
        )?)));
    }
    let pdus: Result<Vec<Value>, _> = lines.iter().map(|l| serde_json::from_slice(l)).collect();
    Ok(Document::Plain(pdus?))
}

/// Public keys as fixtures have them.
pub(super) type VerifyKeys = BTreeMap<String, BTreeMap<String, String>>;

pub(super) fn key_ring(keys: &VerifyKeys) -> Result<KeyRing, String> {
    let mut ring = KeyRing::new();
    for (server, keys) in keys {
        for (id, key) in keys {
            let key = VerifyKey::from_base64(key).map_err(|e| format!("key {id} of {server}: {e}"))?;
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
}

impl LoadedRoom {
    /// Reads and admits events given with the ids they should have, if any.
    pub(super) fn load<'a>(
        version: RoomVersion,
        keys: &KeyRing,
        events: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    ) -> Self {
        let mut room = Self {
            graph: Graph::new(version),
            pdus: BTreeMap::new(),
            problems: Vec::new(),
            outcomes: Vec::new(),
        };
        let mut order = Vec::new();
        for (claimed, value) in events {
            let name = claimed.unwrap_or("an event");
            let text = value.to_string();
            let pdu = match Pdu::parse(text.as_bytes(), version) {
                Ok(pdu) => pdu,
                Err(error) => {
                    room.problems.push(format!("{name}: {error}"));
                    continue;
                }
            };
            let id = pdu.event_id();
            if claimed.is_some_and(|c| c != id.to_string()) {
                room.problems
                    .push(format!("{name}: its id by reference hash is {id}"));
            }
            if !pdu.content_hash_matches() {
                room.problems.push(format!("{name}: content hash doesn't match"));
            }
            let pdu = if keys.is_empty() {
                pdu.assume_verified()
            } else {
                match pdu.clone().verify(keys) {
                    Ok(pdu) => pdu,
                    Err(error) => {
                        room.problems.push(format!("{name}: {error}"));
                        pdu.assume_verified()
                    }
                }
            };
            order.push(id);
            room.pdus.insert(id, pdu);
        }
        // The create event first: before it nothing can be placed.
        order.sort_by_key(|id| {
            room.pdus
                .get(id)
                .is_none_or(|p| p.event_type() != "m.room.create")
        });
        for id in order {
            if let Some(pdu) = room.pdus.get(&id) {
                room.outcomes
                    .extend(room.graph.admit_as(pdu, Arrival::Recorded(None)));
            }
        }
        room
    }

    /// Loads the room of a document with one room; of a synthetic one the given room.
    pub fn of(document: &Document, room: usize) -> Result<Self, ReadError> {
        match document {
            Document::Fixture(f) => f.load(),
            Document::Synthetic(s) => s.load(room),
            Document::Contested(c) => Ok(c.load_all()),
            Document::Plain(pdus) => Ok(load_plain(pdus)),
        }
    }
}

/// The room version that plain PDUs are of: that of their create event, or 12.
fn version_of(pdus: &[Value]) -> RoomVersion {
    let create = pdus
        .iter()
        .find(|p| p.get("type").and_then(Value::as_str) == Some("m.room.create"));
    let version = create.and_then(|c| c.get("content")?.get("room_version")?.as_str());
    version.and_then(|v| v.parse().ok()).unwrap_or(RoomVersion::V12)
}

fn load_plain(pdus: &[Value]) -> LoadedRoom {
    let events = pdus.iter().map(|p| p.get("pdu").unwrap_or(p)).collect::<Vec<_>>();
    let version = version_of(&events.iter().map(|v| (*v).clone()).collect::<Vec<_>>());
    LoadedRoom::load(version, &KeyRing::new(), events.into_iter().map(|v| (None, v)))
}

pub(super) fn check_plain(pdus: &[Value], name: &str) -> Report {
    let room = load_plain(pdus);
    let mut report = Report {
        name: name.to_owned(),
        events: pdus.len(),
        differences: room.problems,
        ..Report::default()
    };
    for outcome in &room.outcomes {
        match &outcome.verdict {
            Verdict::Accepted | Verdict::Held { .. } | Verdict::Duplicate => {}
            other => report.notes.push(format!("{}: {other}", outcome.event_id)),
        }
    }
    let missing = room.graph.missing();
    if !missing.is_empty() {
        let held = room.graph.held();
        report.differences.push(format!(
            "{held} events wait for {} that are not in the file",
            missing.len()
        ));
    }
    report
}
