//! What connects rooms with their portals on the homeserver.

use super::encoding::{B64, decimal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that was asked for on the Matrix side and that only an MLS client can do (`GET /wishes`). A request, never
/// an order: whoever controls a homeserver can make one up. A client shows it to its user before it lets anybody in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wish {
    /// Its id.
    pub id: String,
    /// When it was made, Unix ms.
    #[serde(rename = "made_at", with = "decimal")]
    #[schemars(with = "String")]
    pub at: u64,
    /// The room it is about; none for a new one.
    pub room: Option<String>,
    /// The Matrix room in which it was asked for; empty where there is none to answer in.
    pub asked_in: String,
    /// What is wished for.
    #[serde(flatten)]
    pub want: Want,
}

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

/// `POST /wishes/{id}`: what became of a wish. Whoever wished is told.
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

/// `PUT /rooms/{room}/card`: what a member knows of a room whose hub is elsewhere, for the portal to show. A provider
/// that follows a room can't read this itself. It tells the own provider the participants, their roles, the name, the
/// subject and the picture's address, which the hub knows anyway; nothing is judged by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoomCard {
    /// The epoch it is of.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub epoch: u64,
    /// The room's name.
    pub name: Option<String>,
    /// Its subject.
    pub topic: Option<String>,
    /// The `https` address of its picture.
    #[serde(default)]
    pub picture: Option<String>,
    /// The data of the component `roles_list`.
    pub roles: Option<B64>,
    /// User URIs with role indices.
    pub participants: Vec<CardParticipant>,
}

/// `PUT /wake`: have this client woken over the homeserver. There is something in a feed: it gets a to-device event
/// `org.causeway.wake` with `room` and `pos`, for a Welcome also with the Welcome, at most every five seconds for a room.
/// It is a hint: after one, follow the feed for ten seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetWake {
    /// The Matrix device of this user that is to get the events; none to get no more.
    pub matrix_device: Option<String>,
}

/// A participant on a [`RoomCard`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CardParticipant {
    /// The user's URI.
    pub user: String,
    /// The role's index.
    pub role: u32,
}
