//! Random forks with recorded resolutions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ReadError, Report,
    fixture::{Entry, first_difference},
    room::{LoadedRoom, VerifyKeys, key_ring},
};
use crate::{KeyRing, RoomVersion};

/// `synthetic-stateres-1`.
#[derive(Debug, Deserialize)]
pub struct Synthetic {
    verify_keys: VerifyKeys,
    rooms: Vec<Room>,
}

#[derive(Debug, Deserialize)]
#[allow(clippy::struct_field_names)] // the format's names
struct Room {
    room: u64,
    room_version: String,
    events: BTreeMap<String, Box<RawValue>>,
    state_maps: BTreeMap<String, Vec<Entry>>,
    resolutions: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    state_sets: Vec<String>,
    resolved: String,
}

impl Synthetic {
    fn room(&self, room: usize) -> Result<(&Room, KeyRing, RoomVersion), ReadError> {
        let found = self.rooms.get(room);
        let found = found.ok_or_else(|| ReadError::Form(format!("no room {room}")))?;
        Ok((found, key_ring(&self.verify_keys)?, found.room_version.parse()?))
    }

    pub(super) fn load(&self, room: usize) -> Result<LoadedRoom, ReadError> {
        let (room, keys, version) = self.room(room)?;
        Ok(LoadedRoom::load(version, &keys, room.events()))
    }

    /// The room as its maker took it: an event counts if the events it cites allow it. What a branch held need not be
    /// the state after any event: a merge with a branch that had made none since the last merge is over the result of
    /// that, not over the states of the events below.
    fn load_as_made(&self, room: usize) -> Result<LoadedRoom, ReadError> {
        let (room, keys, version) = self.room(room)?;
        Ok(LoadedRoom::load_by_citations(version, &keys, room.events()))
    }
}

impl Room {
    fn events(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        self.events
            .iter()
            .map(|(id, value)| (Some(id.as_str()), value.get()))
    }
}

pub(super) fn check(synthetic: &Synthetic, name: &str) -> Report {
    let mut report = Report {
        name: name.to_owned(),
        ..Report::default()
    };
    for (i, room) in synthetic.rooms.iter().enumerate() {
        report.events += room.events.len();
        let mut loaded = match synthetic.load_as_made(i) {
            Ok(loaded) => loaded,
            Err(error) => {
                report.differences.push(format!("room {}: {error}", room.room));
                continue;
            }
        };
        let problems = loaded
            .problems
            .drain(..)
            .map(|p| format!("room {}: {p}", room.room));
        report.differences.extend(problems);
        for (n, row) in room.resolutions.iter().enumerate() {
            let maps: Option<Vec<_>> = row
                .state_sets
                .iter()
                .map(|s| room.state_maps.get(s).cloned())
                .collect();
            let (Some(maps), Some(wanted)) = (maps, room.state_maps.get(&row.resolved)) else {
                report
                    .differences
                    .push(format!("room {}: a state map is missing", room.room));
                continue;
            };
            report.resolutions += 1;
            match loaded.graph.resolve_maps(&maps) {
                None => report
                    .differences
                    .push(format!("room {}: a state holds an unknown event", room.room)),
                Some(ours) => {
                    if let Some(difference) = first_difference(wanted, &ours.state) {
                        report
                            .differences
                            .push(format!("room {}: resolution {n}: {difference}", room.room));
                    }
                }
            }
        }
    }
    report
}
