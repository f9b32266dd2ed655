//! PDUs: parsed once, kept as canonical octets, unverified and verified as different types.

mod draft;
mod parse;
#[cfg(test)]
mod tests;
mod verify;

use std::{fmt, sync::Arc};

pub use draft::{BuildError, Draft};
pub use parse::{FormatError, ParseError};
pub use verify::VerifyError;

use crate::{ids::EventId, json::Raw, version::RoomVersion};

/// Part of the canonical text, as offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Data {
    version: RoomVersion,
    event_id: EventId,
    /// Canonical JSON without `unsigned`.
    text: Box<str>,
    room_id: Box<str>,
    event_type: Box<str>,
    state_key: Option<Box<str>>,
    sender: Box<str>,
    content: Span,
    prev_events: Vec<EventId>,
    auth_events: Vec<EventId>,
    depth: u64,
    origin_server_ts: i64,
    /// A create event of room version 12 that carries a room id, which rule 1.2 rejects.
    has_stray_room_id: bool,
    redacted: bool,
}

impl Data {
    fn text_of(&self, span: Span) -> &str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }
}

/// An event whose format is right (check 1 on receipt) and nothing else is known of.
#[derive(Debug, Clone)]
pub struct UnverifiedPdu {
    data: Data,
    /// Redacted canonical JSON without signatures: what the event id hashes and servers sign.
    message: String,
    content_hash_matches: bool,
}

/// An event whose format, signatures and content hash were checked, or that we made ourselves. If the content
/// hash did not match, this is the redacted copy, as check 3 on receipt demands.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Pdu(Arc<Data>);

macro_rules! accessors {
    ($($data:tt)+) => {
        /// The reference hash.
        pub fn event_id(&self) -> EventId {
            self.$($data)+.event_id
        }

        /// The room. For the create event of a room version 12 room, the id that follows from it.
        pub fn room_id(&self) -> &str {
            &self.$($data)+.room_id
        }

        /// The room version whose rules the event was read by.
        pub fn room_version(&self) -> RoomVersion {
            self.$($data)+.version
        }

        /// The sender's user id.
        pub fn sender(&self) -> &str {
            &self.$($data)+.sender
        }

        /// The event's type.
        pub fn event_type(&self) -> &str {
            &self.$($data)+.event_type
        }

        /// The state key; state events alone have one.
        pub fn state_key(&self) -> Option<&str> {
            self.$($data)+.state_key.as_deref()
        }

        /// The content, in place.
        pub fn content(&self) -> Raw<'_> {
            Raw::new(self.$($data)+.text_of(self.$($data)+.content))
        }

        /// The content as a tree.
        pub fn content_value(&self) -> serde_json::Value {
            self.content().to_value()
        }

        /// The parents.
        pub fn prev_events(&self) -> &[EventId] {
            &self.$($data)+.prev_events
        }

        /// The events that are to authorise this one.
        pub fn auth_events(&self) -> &[EventId] {
            &self.$($data)+.auth_events
        }

        /// What the event claims as its depth.
        pub fn depth(&self) -> u64 {
            self.$($data)+.depth
        }

        /// What the event claims as its time, in unix milliseconds.
        pub fn origin_server_ts(&self) -> i64 {
            self.$($data)+.origin_server_ts
        }

        /// The event in canonical JSON, with signatures, without `unsigned`.
        pub fn as_bytes(&self) -> &[u8] {
            self.$($data)+.text.as_bytes()
        }

        /// The event in canonical JSON, as text.
        pub fn as_str(&self) -> &str {
            &self.$($data)+.text
        }

        /// The whole event, in place.
        pub fn raw(&self) -> Raw<'_> {
            Raw::new(&self.$($data)+.text)
        }

        /// The event a redaction wants redacted, wherever the room version puts it.
        pub fn redacts(&self) -> Option<EventId> {
            if self.event_type() != "m.room.redaction" {
                return None;
            }
            let holder = if self.room_version().rules().redacts_in_content {
                self.content()
            } else {
                self.raw()
            };
            holder.get("redacts")?.as_str()?.parse().ok()
        }
    };
}

impl UnverifiedPdu {
    accessors!(data);

    /// True if the content hash is that of the content; otherwise verification gives the redacted copy.
    pub fn content_hash_matches(&self) -> bool {
        self.content_hash_matches
    }
}

impl Pdu {
    accessors!(0);

    /// Checks the format of an event that came from outside: the first of the checks on receipt.
    pub fn parse(bytes: &[u8], version: RoomVersion) -> Result<UnverifiedPdu, ParseError> {
        parse::parse(bytes, version)
    }

    /// Reads an event that was verified before it was stored, or whose origin needs no signature. Octets that
    /// crossed a network unverified have no business here.
    pub fn parse_trusted(bytes: &[u8], version: RoomVersion) -> Result<Self, ParseError> {
        let pdu = parse::parse(bytes, version)?;
        Ok(pdu.assume_verified())
    }

    /// True for a create event of room version 12 with a `room_id`, which rule 1.2 rejects.
    pub(crate) fn has_stray_room_id(&self) -> bool {
        self.0.has_stray_room_id
    }

    /// True if this is a redacted copy, because the content hash did not match on receipt or because of
    /// [`Pdu::redact`].
    pub fn is_redacted(&self) -> bool {
        self.0.redacted
    }

    /// The redacted copy; same id, same signatures.
    #[must_use]
    pub fn redact(&self) -> Self {
        Self(Arc::new(parse::redacted(&self.0)))
    }
}

impl fmt::Debug for Pdu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pdu")
            .field("event_id", &self.event_id())
            .field("type", &self.event_type())
            .field("state_key", &self.state_key())
            .field("sender", &self.sender())
            .finish_non_exhaustive()
    }
}
