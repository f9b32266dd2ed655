//! Wishes: what somebody asked for on the Matrix side that only an MLS client can do.
//!
//! In an opaque room no key exists here. Who starts a chat with the bot, invites, bans or renames in a portal asks for a
//! commit that a member's own client has to make. The gateway writes the wish down for that user; the client reads it,
//! does it or declines, and says so; the one who asked is told in the Matrix room.
//!
//! A wish is a request, never an order: whoever controls a homeserver can make one up, so a client shows it to its user
//! before it lets anybody into a room.

use mimi_wire::uri::MimiUri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outbox::OutboxBody;
use crate::owner::{UriKey, half_sha256};
use crate::records::key;

/// Wishes that a user may have open at once.
pub(crate) const MOST_WISHES: usize = 100;

/// What is wished for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "want", rename_all = "snake_case")]
pub enum Want {
    /// Found a room and add these users.
    Start {
        /// User URIs.
        users: Vec<String>,
        /// The room's name.
        name: Option<String>,
    },
    /// Add a user to the room.
    Add {
        /// The user's URI.
        user: String,
    },
    /// Take a user out of the room.
    Remove {
        /// The user's URI.
        user: String,
    },
    /// Take a user out and keep them out.
    Ban {
        /// The user's URI.
        user: String,
    },
    /// Let a banned user in again.
    Unban {
        /// The user's URI.
        user: String,
    },
    /// Give a user another role.
    SetRole {
        /// The user's URI.
        user: String,
        /// The role's index.
        role: u32,
    },
    /// Change the room's name.
    Rename {
        /// The name.
        name: String,
    },
    /// Change the room's subject.
    SetTopic {
        /// The subject.
        topic: String,
    },
    /// Change the room's picture.
    SetPicture {
        /// Its `https` address; empty: none.
        address: String,
    },
    /// Leave the room.
    Leave,
}

impl Want {
    /// In words, for people: "add mimi://b.example/u/bob".
    pub fn words(&self) -> String {
        match self {
            Self::Start { users, .. } => format!("start a chat with {}", users.join(", ")),
            Self::Add { user } => format!("add {user}"),
            Self::Remove { user } => format!("remove {user}"),
            Self::Ban { user } => format!("ban {user}"),
            Self::Unban { user } => format!("unban {user}"),
            Self::SetRole { user, role } => format!("give {user} role {role}"),
            Self::Rename { name } => format!("rename the room to {name:?}"),
            Self::SetTopic { topic } => format!("set the topic to {topic:?}"),
            Self::SetPicture { address } if address.is_empty() => "take the room's picture away".to_owned(),
            Self::SetPicture { address } => format!("set the room's picture to {address}"),
            Self::Leave => "leave the room".to_owned(),
        }
    }
}

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

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum WishOutcome {
    /// Done.
    Done {
        /// The room, where one was founded.
        #[serde(default)]
        room: Option<String>,
    },
    /// Not done, for good.
    Declined {
        /// Why, for people.
        reason: String,
    },
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
