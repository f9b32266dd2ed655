//! Random forks with recorded resolutions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ReadError, Report,
    fixture::{Entry, first_difference},
    room::{LoadedRoom, VerifyKeys, key_ring},
};

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
    pub(super) fn load(&self, room: usize) -> Result<LoadedRoom, ReadError> {
        let keys = key_ring(&self.verify_keys)?;
        let room = self
            .rooms
            .get(room)
            .ok_or_else(|| ReadError::Form(format!("no room {room}")))?;
        let events = room
            .events
            .iter()
            .map(|(id, value)| (Some(id.as_str()), value.get()));
        Ok(LoadedRoom::load(room.room_version.parse()?, &keys, events))
    }
}

pub(super) fn check(synthetic: &Synthetic, name: &str) -> Report {
    let mut report = Report {
        name: name.to_owned(),
        ..Report::default()
    };
    for (i, room) in synthetic.rooms.iter().enumerate() {
        report.events += room.events.len();
        let mut loaded = match synthetic.load(i) {
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
