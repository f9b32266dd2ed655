//! Wishes: what somebody asked for on the Matrix side that only an MLS client can do.
//!
//! In an opaque room no key exists here. Who starts a chat with the bot, invites, bans or renames in a portal asks for a
//! commit that a member's own client has to make. The gateway writes the wish down for that user; the client reads it,
//! does it or declines, and says so; the one who asked is told in the Matrix room.
//!
//! A wish is a request, never an order: whoever controls a homeserver can make one up, so a client shows it to its user
//! before it lets anybody into a room.

pub use client_api::{Want, WishOutcome};
use mimi_wire::uri::MimiUri;
use serde::{Deserialize, Serialize};

use crate::outbox::OutboxBody;
use crate::owner::{UriKey, half_sha256};
use crate::records::key;

/// Wishes that a user may have open at once.
pub(crate) const MOST_WISHES: usize = 100;

/// An open wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Its id: the same for the same Matrix event.
    pub id: String,
    /// When it was made, Unix ms.
    pub at: u64,
    /// The room it is about; none for a new one.
    pub room: Option<String>,
    /// The Matrix room in which it was asked for, where the answer goes.
    pub asked_in: String,
    /// What is wished for.
    #[serde(flatten)]
    pub want: Want,
}

/// The id of the wish that a Matrix event makes.
pub(crate) fn wish_id(event_id: &str) -> String {
    hex::encode(half_sha256(event_id.as_bytes()))
}

/// Where a wish is kept (space `Wish`).
pub(crate) fn wish_key(user: &MimiUri, id: &str) -> Vec<u8> {
    key(&[&UriKey::of(user).0, id.as_bytes()])
}

/// A notice of the bot, as any Matrix client shows it.
pub(crate) fn notice(text: &str) -> serde_json::Value {
    serde_json::json!({"msgtype": "m.notice", "body": text})
}

/// An outbox entry that says something in any room that the bot is in.
pub(crate) fn say(room_id: &str, distinct: &str, content: serde_json::Value) -> OutboxBody {
    OutboxBody::BotSend {
        room_id: room_id.to_owned(),
        txn_id: hex::encode(half_sha256(format!("{room_id} {distinct}").as_bytes())),
        event_type: "m.room.message".to_owned(),
        content,
    }
}
