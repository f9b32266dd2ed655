//! One event of a transaction, as far as this side of the homeserver needs it.
//!
//! Homeservers send the client format with additions of their own (`age`, `user_id`, `invite_room_state`). We read
//! seven fields, each with a bound. A poisonous event fails alone:
//! [`RoomEvent::parse`] is asked once per event, never for a list.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Longest identifier, event type and state key (Matrix, "Size limits").
pub const MAX_ID: usize = 255;
/// Largest event taken, in octets of JSON. Homeservers refuse PDUs above 65,536; in the client format an invite
/// carries the state of the room besides.
pub const MAX_EVENT: usize = 1024 * 1024;
/// Deepest nesting of a content.
pub const MAX_DEPTH: usize = 64;

/// An event of a room.
#[derive(Clone, Debug)]
pub struct RoomEvent {
    /// The room. Opaque: since room version 12 it names no server.
    pub room_id: String,
    /// The event. Opaque too.
    pub event_id: String,
    /// Who sent it.
    pub sender: String,
    /// Its type.
    pub event_type: String,
    /// Its state key, for state events.
    pub state_key: Option<String>,
    /// The homeserver's time, Unix ms.
    pub origin_server_ts: u64,
    /// Its content, a JSON object.
    pub content: Value,
}

/// Why an event can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Larger than [`MAX_EVENT`].
    #[error("an event of {0} octets")]
    TooLarge(usize),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Not an event: a field is missing or of the wrong type.
    #[error("not an event: {0}")]
    Malformed(String),
    /// A field is too long, empty, or lacks its sigil.
    #[error("{0} is not usable")]
    Field(&'static str),
}

impl EventError {
    /// For metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::TooDeep => "too_deep",
            Self::Malformed(_) => "malformed",
            Self::Field(_) => "field",
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    room_id: String,
    event_id: String,
    sender: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    state_key: Option<String>,
    #[serde(default)]
    origin_server_ts: u64,
    content: Value,
}

/// The event id alone, for events that are no good otherwise.
pub fn event_id(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Id {
        event_id: String,
    }
    let id: Id = serde_json::from_str(raw.get()).ok()?;
    (id.event_id.len() <= MAX_ID).then_some(id.event_id)
}

impl RoomEvent {
    /// Reads one event.
    pub fn parse(raw: &RawValue) -> Result<Self, EventError> {
        let text = raw.get();
        if text.len() > MAX_EVENT {
            return Err(EventError::TooLarge(text.len()));
        }
        if depth(text) > MAX_DEPTH {
            return Err(EventError::TooDeep);
        }
        let wire: Wire = serde_json::from_str(text).map_err(|e| EventError::Malformed(e.to_string()))?;
        let sigil =
            |field: &str, sigil: char| field.len() <= MAX_ID && field.len() > 1 && field.starts_with(sigil);
        for (name, good) in [
            ("room_id", sigil(&wire.room_id, '!')),
            ("event_id", sigil(&wire.event_id, '$')),
            ("sender", sigil(&wire.sender, '@') && wire.sender.contains(':')),
            (
                "type",
                !wire.event_type.is_empty() && wire.event_type.len() <= MAX_ID,
            ),
            (
                "state_key",
                wire.state_key.as_ref().is_none_or(|key| key.len() <= MAX_ID),
            ),
            ("content", wire.content.is_object()),
        ] {
            if !good {
                return Err(EventError::Field(name));
            }
        }
        Ok(Self {
            room_id: wire.room_id,
            event_id: wire.event_id,
            sender: wire.sender,
            event_type: wire.event_type,
            state_key: wire.state_key,
            origin_server_ts: wire.origin_server_ts,
            content: wire.content,
        })
    }

    /// The membership that this event gives to a user, if it is a member event of that user.
    pub fn membership_of(&self, user: &str) -> Option<&str> {
        if self.event_type != "m.room.member" || self.state_key.as_deref() != Some(user) {
            return None;
        }
        self.content.get("membership")?.as_str()
    }

    /// The server part of the sender.
    pub fn sender_server(&self) -> &str {
        self.sender.split_once(':').map_or("", |(_, server)| server)
    }
}

/// The deepest nesting of a JSON text that has been found valid.
fn depth(text: &str) -> usize {
    let (mut deepest, mut now) = (0_usize, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                now = now.saturating_add(1);
                deepest = deepest.max(now);
            }
            b'}' | b']' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
