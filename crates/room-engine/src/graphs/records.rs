//! Records of graphs.

use event_graph::{AuthRule, EventId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::carrier::Sha256Hash;
use crate::owner::UriKey;
use crate::records::{GraphHead, GraphRecord, key, parse};
use store::{Space, StoreError};

/// A room of another server (space `GraphRoom`, key: [`UriKey`] of the room id).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ForeignRecord {
    pub(crate) v: u8,
    pub(crate) graph: GraphRecord,
    pub(crate) head: GraphHead,
    pub(crate) outbox_next: BTreeMap<String, u64>,
    /// Whether the node user is in it.
    pub(crate) joined: bool,
    pub(crate) created_at: u64,
}

/// An invitation of the node user (space `GraphInvite`, key: [`UriKey`] of the room id).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InviteRecord {
    pub(crate) room_id: String,
    pub(crate) room_version: String,
    pub(crate) sender: String,
    /// The server that brought it.
    pub(crate) origin: String,
    pub(crate) event: String,
    pub(crate) received_at: u64,
}

/// A place in a graph's order of admission (space `Timeline`): the event's id where it was simply accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum TimelineEntry {
    Plain(EventId),
    Noted(Noted),
}

/// How an event fared that was not simply accepted on its parents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    pub(crate) event: EventId,
    /// Known by its auth events alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) outlier: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) rejected: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) backfilled: bool,
    /// The rule it broke when it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) soft_failed: Option<AuthRule>,
    /// Blob with the ids of the state before it, where its parents were not to be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Sha256Hash>,
}

impl Noted {
    pub(crate) fn plain(event: EventId) -> Self {
        Self {
            event,
            outlier: false,
            rejected: false,
            backfilled: false,
            soft_failed: None,
            state: None,
        }
    }
}

impl TimelineEntry {
    pub(crate) fn of(noted: Noted) -> Self {
        if noted == Noted::plain(noted.event) {
            Self::Plain(noted.event)
        } else {
            Self::Noted(noted)
        }
    }

    pub(crate) fn noted(self) -> Noted {
        match self {
            Self::Plain(event) => Noted::plain(event),
            Self::Noted(noted) => noted,
        }
    }
}

/// An event of a timeline and the name of its verdict.
pub(crate) fn place(key: &[u8], value: &[u8]) -> Result<(EventId, &'static str), StoreError> {
    Ok(match parse(Space::Timeline, key, value)? {
        TimelineEntry::Plain(event) => (event, "accepted"),
        TimelineEntry::Noted(noted) => {
            let verdict = match &noted {
                Noted { rejected: true, .. } => "rejected",
                Noted { outlier: true, .. } => "outlier",
                Noted {
                    soft_failed: Some(_), ..
                } => "soft_failed",
                _ => "accepted",
            };
            (noted.event, verdict)
        }
    })
}

pub(crate) fn timeline_key(graph: UriKey, position: u64) -> Vec<u8> {
    key(&[&graph.0, &position.to_be_bytes()])
}

pub(crate) fn held_key(graph: UriKey, event: EventId) -> Vec<u8> {
    key(&[&graph.0, event.as_bytes()])
}

/// Where the MIMI room of a graph is found (space `RoomIndex`).
pub(crate) fn graph_index_key(room_id: &str) -> Vec<u8> {
    key(&[b"graph:", room_id.as_bytes()])
}

pub(crate) fn invite_key(room_id: &str) -> Vec<u8> {
    UriKey::of_text(room_id).0.to_vec()
}
