//! PDUs and nothing else.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ReadError, Report,
    room::{LoadedRoom, VerifyKeys, key_ring},
};
use crate::{KeyRing, RoomVersion, Verdict};

/// A PDU as a file has it.
#[derive(Debug)]
pub(super) struct Given {
    /// The id it is said to have.
    pub(super) event_id: Option<String>,
    pub(super) pdu: Box<RawValue>,
}

/// The PDUs of one room.
#[derive(Debug)]
pub struct Plain {
    pdus: Vec<Given>,
    version: Option<RoomVersion>,
    keys: KeyRing,
    notes: Vec<String>,
}

impl Plain {
    pub(super) fn new(
        pdus: Vec<Given>,
        version: Option<String>,
        keys: Option<VerifyKeys>,
    ) -> Result<Self, ReadError> {
        if pdus.is_empty() {
            return Err(ReadError::Form("no events".to_owned()));
        }
        Ok(Self {
            pdus,
            version: version.map(|v| v.parse()).transpose()?,
            keys: key_ring(&keys.unwrap_or_default())?,
            notes: Vec::new(),
        })
    }

    /// Settles the room version: as the file or the create event says, or else the caller.
    pub(super) fn of_version(mut self, said: Option<RoomVersion>) -> Result<Self, ReadError> {
        if self.version.is_none() {
            self.version = self.version_by_create()?.or(said);
        }
        if self.version.is_none() {
            self.notes
                .push("no create event: read as room version 12; --room-version says otherwise".to_owned());
        }
        Ok(self)
    }

    fn version_by_create(&self) -> Result<Option<RoomVersion>, ReadError> {
        #[derive(Deserialize)]
        struct Event {
            r#type: String,
            content: Content,
        }
        #[derive(Deserialize)]
        struct Content {
            room_version: Option<String>,
        }
        let mut events = self
            .pdus
            .iter()
            .map(|g| serde_json::from_str::<Event>(g.pdu.get()));
        let create = events.find_map(|e| e.ok().filter(|e| e.r#type == "m.room.create"));
        // A create event that doesn't say is of version 1.
        let said = create.map(|c| c.content.room_version.unwrap_or_else(|| "1".to_owned()));
        Ok(said.map(|v| v.parse()).transpose()?)
    }

    /// Keys to verify signatures with, besides those in the file.
    pub fn add_keys(&mut self, keys: &VerifyKeys) -> Result<(), ReadError> {
        if !keys.is_empty() {
            self.keys = key_ring(keys)?;
        }
        Ok(())
    }

    pub(super) fn load(&self) -> LoadedRoom {
        let events = self.pdus.iter().map(|g| (g.event_id.as_deref(), g.pdu.get()));
        LoadedRoom::load(self.version.unwrap_or(RoomVersion::V12), &self.keys, events)
    }

    pub(super) fn check(&self, name: &str) -> Report {
        let room = self.load();
        let mut report = Report {
            name: name.to_owned(),
            events: self.pdus.len(),
            differences: room.problems,
            notes: self.notes.clone(),
            ..Report::default()
        };
        if self.keys.is_empty() {
            report
                .notes
                .push("no keys: signatures are not verified".to_owned());
        }
        for outcome in &room.outcomes {
            let line = format!("{}: {}", outcome.event_id, outcome.verdict);
            match &outcome.verdict {
                Verdict::Accepted | Verdict::Held { .. } | Verdict::Duplicate => {}
                Verdict::Dropped(_) => report.differences.push(line),
                _ => report.notes.push(line),
            }
        }
        let missing = room.graph.missing();
        if let Some(first) = missing.first() {
            let held = room.graph.held();
            report.differences.push(format!(
                "{held} events wait for {} that are not in the file, {first} among them",
                missing.len()
            ));
        }
        report
    }
}
