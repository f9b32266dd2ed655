//! Check 1 on receipt, the format, and the hashes that come with it.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::{Data, Pdu, Span, UnverifiedPdu};
use crate::{
    ids::{EventId, is_user_id},
    json::{Entry, JsonError, JsonErrorKind, Raw, canonicalize},
    keys::LENIENT,
    limits::{MAX_AUTH_EVENTS, MAX_ID_BYTES, MAX_PDU_BYTES, MAX_PREV_EVENTS, MAX_WIRE_BYTES},
    redact::write_redacted,
    version::RoomVersion,
};
use base64::Engine as _;

/// Why octets are not a PDU. Such an event is dropped: it has no id to remember it by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Not the JSON that Matrix accepts.
    #[error("not canonical JSON: {0}")]
    Json(#[from] JsonError),
    /// More than 65,536 octets.
    #[error("event of {size} bytes is larger than {MAX_PDU_BYTES}")]
    TooLarge {
        /// Octets of the canonical form.
        size: usize,
    },
    /// A field is missing or has the wrong form.
    #[error("field {field}: {error}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        error: FormatError,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Not there.
    #[error("missing")]
    Missing,
    /// Of another JSON type.
    #[error("wrong type")]
    WrongType,
    /// Longer than the specification allows.
    #[error("too long")]
    TooLong,
    /// More entries than the specification allows.
    #[error("too many entries")]
    TooMany,
    /// Not an identifier of its kind.
    #[error("malformed identifier")]
    BadIdentifier,
    /// A number that may not be negative is.
    #[error("negative")]
    Negative,
}

fn field(field: &'static str, error: FormatError) -> ParseError {
    ParseError::Field { field, error }
}

/// The members the parser looks at.
#[derive(Default)]
struct Fields<'a> {
    auth_events: Option<Raw<'a>>,
    content: Option<Raw<'a>>,
    depth: Option<Raw<'a>>,
    hashes: Option<Raw<'a>>,
    origin_server_ts: Option<Raw<'a>>,
    prev_events: Option<Raw<'a>>,
    room_id: Option<Raw<'a>>,
    sender: Option<Raw<'a>>,
    signatures: Option<Raw<'a>>,
    state_key: Option<Raw<'a>>,
    event_type: Option<Raw<'a>>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, entry: &Entry<'a>) {
        let slot = match entry.key.escaped() {
            "auth_events" => &mut self.auth_events,
            "content" => &mut self.content,
            "depth" => &mut self.depth,
            "hashes" => &mut self.hashes,
            "origin_server_ts" => &mut self.origin_server_ts,
            "prev_events" => &mut self.prev_events,
            "room_id" => &mut self.room_id,
            "sender" => &mut self.sender,
            "signatures" => &mut self.signatures,
            "state_key" => &mut self.state_key,
            "type" => &mut self.event_type,
            _ => return,
        };
        *slot = Some(entry.value);
    }
}

pub(super) fn parse(bytes: &[u8], version: RoomVersion) -> Result<UnverifiedPdu, ParseError> {
    if bytes.len() > MAX_WIRE_BYTES {
        return Err(JsonError {
            kind: JsonErrorKind::TooLarge,
            offset: MAX_WIRE_BYTES,
        }
        .into());
    }
    let canonical = canonicalize(bytes)?;
    let event = Raw::new(&canonical);
    let Some(entries) = event.entries() else {
        return Err(field("event", FormatError::WrongType));
    };
    let mut top: SmallVec<[Entry<'_>; 16]> = SmallVec::new();
    let mut unsigned = false;
    let mut fields = Fields::default();
    for entry in entries {
        if entry.key == "unsigned" {
            unsigned = true;
            continue;
        }
        fields.take(&entry);
        top.push(entry);
    }
    // What the sender put into `unsigned` is nobody's word and not part of the event.
    let text: Box<str> = if unsigned {
        join(&top).into()
    } else {
        (*canonical).into()
    };
    if text.len() > MAX_PDU_BYTES {
        return Err(ParseError::TooLarge { size: text.len() });
    }

    let event_type = bounded("type", fields.event_type)?;
    let sender = bounded("sender", fields.sender)?;
    if !is_user_id(&sender) {
        return Err(field("sender", FormatError::BadIdentifier));
    }
    let state_key = match fields.state_key {
        None => None,
        some => Some(bounded("state_key", some)?),
    };
    let content = fields
        .content
        .ok_or_else(|| field("content", FormatError::Missing))?;
    if !content.is_object() {
        return Err(field("content", FormatError::WrongType));
    }
    let depth = integer("depth", fields.depth)?;
    let depth = u64::try_from(depth).map_err(|_| field("depth", FormatError::Negative))?;
    let origin_server_ts = integer("origin_server_ts", fields.origin_server_ts)?;
    let prev_events = ids("prev_events", fields.prev_events, MAX_PREV_EVENTS)?;
    let auth_events = ids("auth_events", fields.auth_events, MAX_AUTH_EVENTS)?;
    let claimed_hash = check_hashes(fields.hashes)?;
    check_signatures(fields.signatures)?;

    let rules = version.rules();
    let mut message = String::with_capacity(text.len());
    write_redacted(top.iter().copied(), &event_type, &rules, true, &mut message);
    let event_id = EventId::from_hash(Sha256::digest(message.as_bytes()).into());

    let derived_room = rules.room_id_is_create_hash && &*event_type == "m.room.create";
    let (room_id, has_stray_room_id) = if derived_room {
        (event_id.to_room_id().into(), fields.room_id.is_some())
    } else {
        let room_id = bounded("room_id", fields.room_id)?;
        let well_formed = if rules.room_id_is_create_hash {
            EventId::from_room_id(&room_id).is_some()
        } else {
            room_id.starts_with('!')
        };
        if !well_formed {
            return Err(field("room_id", FormatError::BadIdentifier));
        }
        (room_id, false)
    };
    let content_hash_matches = claimed_hash == Some(content_hash(&top));
    // Offsets move with the text, so look the content up in it once more.
    let content = span_in(&text, "content");
    let data = Data {
        version,
        event_id,
        text,
        room_id,
        event_type,
        state_key,
        sender,
        content,
        prev_events,
        auth_events,
        depth,
        origin_server_ts,
        has_stray_room_id,
        redacted: false,
    };
    Ok(UnverifiedPdu {
        data,
        message,
        content_hash_matches,
    })
}

/// The object with these members.
fn join(entries: &[Entry<'_>]) -> String {
    let mut out = String::with_capacity(entries.iter().map(|e| e.whole.len() + 1).sum::<usize>() + 1);
    out.push('{');
    for entry in entries {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(entry.whole);
    }
    out.push('}');
    out
}

fn span_in(text: &str, key: &str) -> Span {
    let Some(value) = Raw::new(text).get(key) else {
        return Span::default();
    };
    let start = value.text().as_ptr() as usize - text.as_ptr() as usize;
    // Both fit: a PDU has at most 65,536 octets.
    Span {
        start: start as u32,
        end: (start + value.text().len()) as u32,
    }
}

/// SHA-256 over the event without `unsigned`, `signatures` and `hashes`.
fn content_hash(top: &[Entry<'_>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut open: &[u8] = b"{";
    for entry in top {
        if entry.key == "signatures" || entry.key == "hashes" || entry.key == "unsigned" {
            continue;
        }
        hash.update(open);
        hash.update(entry.whole);
        open = b",";
    }
    hash.update(if open == b"{" { &b"{}"[..] } else { b"}" });
    hash.finalize().into()
}

fn bounded(name: &'static str, value: Option<Raw<'_>>) -> Result<Box<str>, ParseError> {
    let value = value.ok_or_else(|| field(name, FormatError::Missing))?;
    let text = value
        .as_str()
        .ok_or_else(|| field(name, FormatError::WrongType))?;
    if text.len() > MAX_ID_BYTES {
        return Err(field(name, FormatError::TooLong));
    }
    Ok(text.into())
}

fn integer(name: &'static str, value: Option<Raw<'_>>) -> Result<i64, ParseError> {
    let value = value.ok_or_else(|| field(name, FormatError::Missing))?;
    value.as_i64().ok_or_else(|| field(name, FormatError::WrongType))
}

fn ids(name: &'static str, value: Option<Raw<'_>>, most: usize) -> Result<Vec<EventId>, ParseError> {
    let value = value.ok_or_else(|| field(name, FormatError::Missing))?;
    let elements = value
        .elements()
        .ok_or_else(|| field(name, FormatError::WrongType))?;
    let mut out = Vec::with_capacity(4);
    for element in elements {
        if out.len() == most {
            return Err(field(name, FormatError::TooMany));
        }
        let text = element
            .as_escaped_str()
            .ok_or_else(|| field(name, FormatError::WrongType))?;
        // No event has an id of another form, so nothing could ever satisfy such a reference.
        out.push(
            text.parse()
                .map_err(|_| field(name, FormatError::BadIdentifier))?,
        );
    }
    Ok(out)
}

fn check_hashes(hashes: Option<Raw<'_>>) -> Result<Option<[u8; 32]>, ParseError> {
    let hashes = hashes.ok_or_else(|| field("hashes", FormatError::Missing))?;
    if !hashes.is_object() {
        return Err(field("hashes", FormatError::WrongType));
    }
    let sha256 = hashes
        .get("sha256")
        .ok_or_else(|| field("hashes.sha256", FormatError::Missing))?;
    let text = sha256
        .as_escaped_str()
        .ok_or_else(|| field("hashes.sha256", FormatError::WrongType))?;
    let mut out = [0; 33];
    // Text that isn't base64 is the hash of nothing: the content counts as altered.
    let decoded = LENIENT.decode_slice(text, &mut out).ok().filter(|n| *n == 32);
    Ok(decoded.and_then(|_| out.get(..32)?.try_into().ok()))
}

fn check_signatures(signatures: Option<Raw<'_>>) -> Result<(), ParseError> {
    let signatures = signatures.ok_or_else(|| field("signatures", FormatError::Missing))?;
    let servers = signatures
        .entries()
        .ok_or_else(|| field("signatures", FormatError::WrongType))?;
    for server in servers {
        if !server.value.is_object() {
            return Err(field("signatures", FormatError::WrongType));
        }
    }
    Ok(())
}

/// The redacted copy of an event, with signatures.
pub(super) fn redacted(data: &Data) -> Data {
    let mut text = String::with_capacity(data.text.len());
    let top = Raw::new(&data.text).entries().into_iter().flatten();
    write_redacted(top, &data.event_type, &data.version.rules(), false, &mut text);
    let text: Box<str> = text.into();
    Data {
        content: span_in(&text, "content"),
        text,
        redacted: true,
        ..data.clone()
    }
}

impl UnverifiedPdu {
    /// Trusts the event's signatures; the content hash is judged all the same.
    pub(crate) fn assume_verified(self) -> Pdu {
        let data = if self.content_hash_matches {
            self.data
        } else {
            redacted(&self.data)
        };
        Pdu(Arc::new(data))
    }

    /// Redacted canonical JSON without signatures.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}
