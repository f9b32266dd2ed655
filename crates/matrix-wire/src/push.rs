//! A homeserver's transaction, as far as an application service reads it.
//!
//! Stable and unstable spellings of each field are taken (Application Service API, "Pushing events"; MSC2409, MSC3202,
//! MSC4203). Only a body that is no JSON object with a list of events is refused: any other answer than 200 makes the
//! homeserver stop and send the same again, so what is no good inside is set aside instead.

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

pub mod event;

pub use event::{EventError, RoomEvent};

use event::{MAX_ID, event_id};

/// Most events taken in one transaction, and most messages and ephemeral events.
pub const MAX_EVENTS: usize = 1000;

/// Why a body is no transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// No JSON.
    #[error("{0}")]
    NotJson(String),
    /// JSON, but no object with a list of events.
    #[error("{0}")]
    BadJson(String),
    /// More than [`MAX_EVENTS`].
    #[error("more than {MAX_EVENTS} events in one transaction")]
    TooMany,
}

/// What came in a transaction.
#[derive(Clone, Debug, Default)]
pub struct Incoming {
    /// The homeserver's number for it.
    pub txn_id: String,
    /// Events of rooms, in the homeserver's order.
    pub events: Vec<RoomEvent>,
    /// What can't be read, each with its reason.
    pub unusable: Vec<Unusable>,
    /// Messages to devices of ours, in order.
    pub to_device: Vec<ToDevice>,
    /// Typing, receipts, presence: how many of which type. Nothing here acts on them.
    pub ephemeral: BTreeMap<String, usize>,
    /// Users whose devices changed, and users whose devices are no longer of concern.
    pub device_lists: DeviceLists,
    /// One-time keys left, by user, device and algorithm.
    pub one_time_keys: KeyCounts,
    /// Algorithms of unused fallback keys, by user and device.
    pub fallback_keys: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// One-time keys left, by user, device and algorithm.
pub type KeyCounts = BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>;

/// An event that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Its id, where it has one.
    pub event_id: Option<String>,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub reason: String,
    /// As it came.
    pub event: String,
}

/// A message to a device of ours.
#[derive(Clone, Debug)]
pub struct ToDevice {
    /// Who sent it.
    pub sender: String,
    /// Its type.
    pub event_type: String,
    /// The user it is for.
    pub to_user: String,
    /// The device it is for.
    pub to_device: String,
    /// Its content, a JSON object.
    pub content: Box<RawValue>,
}

/// Changes in device lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DeviceLists {
    /// Users whose devices changed.
    pub changed: Vec<String>,
    /// Users with whom no room is shared any more.
    pub left: Vec<String>,
}

/// The fields, in every spelling. A field of a wrong type is as good as absent, but for `events`.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default, borrow)]
    events: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    ephemeral: Option<&'a RawValue>,
    #[serde(default, borrow, rename = "de.sorunome.msc2409.ephemeral")]
    ephemeral_msc2409: Option<&'a RawValue>,
    #[serde(default, borrow)]
    to_device: Option<&'a RawValue>,
    #[serde(default, borrow, rename = "de.sorunome.msc2409.to_device")]
    to_device_msc2409: Option<&'a RawValue>,
    #[serde(default, borrow)]
    device_lists: Option<&'a RawValue>,
    #[serde(default, borrow, rename = "org.matrix.msc3202.device_lists")]
    device_lists_msc3202: Option<&'a RawValue>,
    #[serde(default, borrow)]
    device_one_time_keys_count: Option<&'a RawValue>,
    #[serde(default, borrow, rename = "org.matrix.msc3202.device_one_time_keys_count")]
    keys_count_msc3202: Option<&'a RawValue>,
    /// An earlier spelling, which Synapse still sends beside the other.
    #[serde(default, borrow, rename = "org.matrix.msc3202.device_one_time_key_counts")]
    key_counts_msc3202: Option<&'a RawValue>,
    #[serde(default, borrow)]
    device_unused_fallback_key_types: Option<&'a RawValue>,
    #[serde(
        default,
        borrow,
        rename = "org.matrix.msc3202.device_unused_fallback_key_types"
    )]
    fallback_msc3202: Option<&'a RawValue>,
}

impl Incoming {
    /// Reads a body.
    pub fn parse(txn_id: &str, body: &[u8]) -> Result<Self, PushError> {
        // serde would take an array for a struct.
        if body.trim_ascii_start().first() == Some(&b'[') {
            return Err(PushError::BadJson("a transaction is an object".to_owned()));
        }
        let wire: Wire<'_> = serde_json::from_slice(body).map_err(|e| {
            let text = e.to_string();
            if e.is_data() {
                PushError::BadJson(text)
            } else {
                PushError::NotJson(text)
            }
        })?;
        if wire.events.len() > MAX_EVENTS {
            return Err(PushError::TooMany);
        }
        let mut incoming = Self {
            txn_id: txn_id.to_owned(),
            ..Self::default()
        };
        for raw in wire.events {
            incoming.event(raw);
        }
        for raw in listed(wire.to_device.or(wire.to_device_msc2409)) {
            incoming.message(raw);
        }
        for raw in listed(wire.ephemeral.or(wire.ephemeral_msc2409)) {
            incoming.passing(raw);
        }
        incoming.device_lists = lenient(wire.device_lists.or(wire.device_lists_msc3202));
        let counts = wire.device_one_time_keys_count.or(wire.keys_count_msc3202);
        incoming.one_time_keys = lenient(counts.or(wire.key_counts_msc3202));
        incoming.fallback_keys = lenient(wire.device_unused_fallback_key_types.or(wire.fallback_msc3202));
        Ok(incoming)
    }

    /// One poisonous event must not hold up the others: it would come again for ever.
    fn event(&mut self, raw: &RawValue) {
        match RoomEvent::parse(raw) {
            Ok(event) => self.events.push(event),
            Err(error) => self.unusable.push(Unusable {
                event_id: event_id(raw),
                code: error.code(),
                reason: error.to_string(),
                event: raw.get().to_owned(),
            }),
        }
    }

    fn message(&mut self, raw: &RawValue) {
        #[derive(Deserialize)]
        struct Message {
            sender: String,
            #[serde(rename = "type")]
            event_type: String,
            to_user_id: String,
            to_device_id: String,
            content: Box<RawValue>,
        }
        match serde_json::from_str::<Message>(raw.get()) {
            Ok(m)
                if [&m.sender, &m.event_type, &m.to_user_id, &m.to_device_id]
                    .iter()
                    .all(|field| !field.is_empty() && field.len() <= MAX_ID) =>
            {
                self.to_device.push(ToDevice {
                    sender: m.sender,
                    event_type: m.event_type,
                    to_user: m.to_user_id,
                    to_device: m.to_device_id,
                    content: m.content,
                });
            }
            other => self.unusable.push(Unusable {
                event_id: None,
                code: "to_device",
                reason: match other {
                    Ok(_) => "a to-device message with a field that is too long or empty".to_owned(),
                    Err(error) => format!("not a to-device message: {error}"),
                },
                event: raw.get().to_owned(),
            }),
        }
    }

    fn passing(&mut self, raw: &RawValue) {
        #[derive(Deserialize)]
        struct Passing {
            #[serde(rename = "type")]
            event_type: String,
        }
        // Worth nothing a moment later: what can't be read is only counted.
        let event_type = serde_json::from_str::<Passing>(raw.get())
            .ok()
            .map(|p| p.event_type)
            .filter(|t| t.len() <= MAX_ID)
            .unwrap_or_else(|| "unreadable".to_owned());
        *self.ephemeral.entry(event_type).or_default() += 1;
    }

    /// SHA-256 over what identifies the contents: ids of events, and messages whole, since they have none. Not over the
    /// body: each attempt of a homeserver carries other ages.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |octets: &[u8]| {
            hash.update(u64::try_from(octets.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(octets);
        };
        for event in &self.events {
            part(event.event_id.as_bytes());
        }
        part(b"to-device");
        for message in &self.to_device {
            for field in [
                &message.sender,
                &message.event_type,
                &message.to_user,
                &message.to_device,
            ] {
                part(field.as_bytes());
            }
            part(message.content.get().as_bytes());
        }
        hash.finalize().into()
    }
}

/// The entries of a list; anything else has none.
fn listed(raw: Option<&RawValue>) -> Vec<&RawValue> {
    let mut entries: Vec<&RawValue> = raw
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    entries.truncate(MAX_EVENTS);
    entries
}

fn lenient<'a, T: Deserialize<'a> + Default>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
