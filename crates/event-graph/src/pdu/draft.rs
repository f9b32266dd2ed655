//! Making events.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{ParseError, Pdu, parse};
use crate::{
    ids::EventId,
    json::{JsonError, to_canonical},
    keys::SigningIdentity,
    version::RoomVersion,
};

/// An event in the making.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The room; none for the create event of a room version 12 room.
    pub room_id: Option<String>,
    /// The type.
    pub event_type: String,
    /// The sender's user id.
    pub sender: String,
    /// The state key, for a state event.
    pub state_key: Option<String>,
    /// The content, an object.
    pub content: Value,
    /// The parents.
    pub prev_events: Vec<EventId>,
    /// The events that authorise this one, see [`crate::auth::auth_keys`].
    pub auth_events: Vec<EventId>,
    /// One more than the deepest parent, at most 2^53 - 1.
    pub depth: u64,
    /// Unix milliseconds.
    pub origin_server_ts: i64,
}

/// Why a draft can't become an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The content holds what canonical JSON doesn't allow.
    #[error("content is not canonical JSON: {0}")]
    Json(#[from] JsonError),
    /// The event would not pass the format check of a receiver.
    #[error("event would be malformed: {0}")]
    Format(#[from] ParseError),
}

impl Draft {
    /// Hashes and signs the event.
    pub fn sign(&self, identity: &SigningIdentity, version: RoomVersion) -> Result<Pdu, BuildError> {
        let mut event = self.to_object();
        let bare = to_canonical(&Value::Object(event.clone()))?;
        let hash = STANDARD_NO_PAD.encode(Sha256::digest(bare.as_bytes()));
        event.insert("hashes".to_owned(), json!({ "sha256": hash }));
        event.insert("signatures".to_owned(), json!({}));
        let unsigned = Value::Object(event).to_string();
        let parsed = parse::parse(unsigned.as_bytes(), version)?;
        let signature = STANDARD_NO_PAD.encode(identity.sign_bytes(parsed.message().as_bytes()));
        countersigned(&parsed.assume_verified(), identity, &signature)
    }

    fn to_object(&self) -> Map<String, Value> {
        let ids = |ids: &[EventId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut event = Map::new();
        let mut put = |key: &str, value: Value| event.insert(key.to_owned(), value);
        put("type", json!(self.event_type));
        put("sender", json!(self.sender));
        put("content", self.content.clone());
        put("prev_events", json!(ids(&self.prev_events)));
        put("auth_events", json!(ids(&self.auth_events)));
        put("depth", json!(self.depth));
        put("origin_server_ts", json!(self.origin_server_ts));
        if let Some(room_id) = &self.room_id {
            put("room_id", json!(room_id));
        }
        if let Some(state_key) = &self.state_key {
            put("state_key", json!(state_key));
        }
        event
    }
}

impl Pdu {
    /// Adds another server's signature, as an invited server or the authoriser of a restricted join does.
    pub fn countersign(&self, identity: &SigningIdentity) -> Result<Self, BuildError> {
        let parsed = parse::parse(self.as_bytes(), self.room_version())?;
        let signature = STANDARD_NO_PAD.encode(identity.sign_bytes(parsed.message().as_bytes()));
        countersigned(self, identity, &signature)
    }
}

fn countersigned(pdu: &Pdu, identity: &SigningIdentity, signature: &str) -> Result<Pdu, BuildError> {
    let mut event = pdu.raw().to_value();
    if let Some(signatures) = event.get_mut("signatures").and_then(Value::as_object_mut) {
        let own = signatures
            .entry(identity.server_name())
            .or_insert_with(|| json!({}));
        if let Some(own) = own.as_object_mut() {
            own.insert(identity.key_id().to_owned(), json!(signature));
        }
    }
    let text = to_canonical(&event)?;
    Ok(Pdu::parse_trusted(text.as_bytes(), pdu.room_version())?)
}
