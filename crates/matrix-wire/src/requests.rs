//! What another server's requests hold (server-server API).

use event_graph::EventId;
use event_graph::json::{JsonError, Raw, canonicalize};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

use crate::server_name::ServerName;

/// Most PDUs of a transaction ("Transactions").
pub const MOST_PDUS: usize = 50;
/// Most EDUs of a transaction.
pub const MOST_EDUS: usize = 100;
/// Values of one parameter that are read.
const MOST_VALUES: usize = 100;

/// Why a body is no transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// Not JSON that Matrix accepts.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// JSON, but no object.
    #[error("not an object")]
    NoObject,
    /// It says that somebody else sent it.
    #[error("the transaction names another origin")]
    OtherOrigin,
    /// A list that is none.
    #[error("{0} is no list")]
    NoList(&'static str),
    /// More than fit into one.
    #[error("more than {1} {0}")]
    TooMany(&'static str, usize),
}

/// The body of `/send`, in canonical form.
#[derive(Clone, Debug)]
pub struct Transaction<'a>(Cow<'a, str>);

/// What a transaction holds.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Its events, each in canonical form.
    pub pdus: Vec<Raw<'a>>,
    /// How much there is of what is no event.
    pub edus: usize,
}

impl<'a> Transaction<'a> {
    /// Takes a body.
    pub fn new(body: &'a [u8]) -> Result<Self, TransactionError> {
        Ok(Self(canonicalize(body)?))
    }

    /// Reads it, sent by `origin`.
    pub fn parts(&self, origin: &ServerName) -> Result<Parts<'_>, TransactionError> {
        let content = Raw::new(&self.0);
        if !content.is_object() {
            return Err(TransactionError::NoObject);
        }
        let named = content.get("origin").and_then(Raw::as_str);
        if named.is_some_and(|named| named != origin.as_str()) {
            return Err(TransactionError::OtherOrigin);
        }
        Ok(Parts {
            pdus: list(content, "pdus", MOST_PDUS)?,
            edus: list(content, "edus", MOST_EDUS)?.len(),
        })
    }
}

fn list<'a>(content: Raw<'a>, name: &'static str, most: usize) -> Result<Vec<Raw<'a>>, TransactionError> {
    let Some(list) = content.get(name) else {
        return Ok(Vec::new());
    };
    let elements = list.elements().ok_or(TransactionError::NoList(name))?;
    let elements: Vec<Raw<'a>> = elements.take(most + 1).collect();
    if elements.len() > most {
        return Err(TransactionError::TooMany(name, most));
    }
    Ok(elements)
}

/// The room that an event claims. Without it, there is no version by whose rules the event could be read; create events
/// of version 12, which have none, come with a state only.
pub fn room_of(pdu: Raw<'_>) -> Option<String> {
    pdu.get("room_id").and_then(Raw::as_str).map(Cow::into_owned)
}

/// The body of `get_missing_events`.
#[derive(Debug, Deserialize)]
pub struct MissingRequest {
    /// What the asker has.
    pub earliest_events: Vec<EventId>,
    /// What leads to what it lacks.
    pub latest_events: Vec<EventId>,
    /// How many it wants.
    #[serde(default)]
    pub limit: Option<u64>,
    /// How deep it wants to go.
    #[serde(default)]
    pub min_depth: Option<u64>,
}

/// The body of `invite`, version 2.
#[derive(Debug, Deserialize)]
pub struct InviteRequest {
    /// The room's version.
    pub room_version: String,
    /// The invitation.
    pub event: Box<RawValue>,
    /// What the room is like.
    #[serde(default)]
    pub invite_room_state: Vec<Value>,
}

/// The values of a query's parameter.
pub fn values(query: Option<&str>, name: &str) -> Vec<String> {
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| decode(key) == name)
        .map(|(_, value)| decode(value))
        .take(MOST_VALUES)
        .collect()
}
