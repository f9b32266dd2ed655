//! Graphs that other Matrix servers have to do with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A graph that other Matrix servers have to do with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Graph {
    /// The graph's room id.
    pub graph: String,
    /// Its room version.
    pub room_version: String,
    /// The MIMI room that it is the graph of.
    pub room: Option<String>,
    /// How the node user stands: `joined`, `left`, `invited`.
    pub membership: String,
    /// Other servers in it; for an invitation, the one that invites.
    pub servers: Vec<String>,
    /// Forward extremities.
    pub heads: Vec<String>,
    /// Events.
    pub events: u64,
}

/// `GET /graphs/{room}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphState {
    /// The graph's room id.
    pub graph: String,
    /// Whether the node user is in it.
    pub joined: bool,
    /// Other servers in it.
    pub servers: Vec<String>,
    /// Forward extremities.
    pub heads: Vec<String>,
    /// Events that others wait for.
    pub missing: Vec<String>,
    /// Events that wait for others.
    pub held: usize,
    /// Events that are here without the content that their hash demands.
    pub incomplete: Vec<String>,
    /// Events.
    pub events: usize,
    /// The current state.
    pub state: Vec<GraphStateEntry>,
}

/// One entry of a room's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphStateEntry {
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The state key.
    pub state_key: String,
    /// The event.
    pub event_id: String,
}

/// `POST /graphs/{room}/join`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JoinGraph {
    /// Servers to join through; empty: the one that invited, else the one that the room id names.
    #[serde(default)]
    pub via: Vec<String>,
    /// Fetch and judge all that was in the room before.
    #[serde(default)]
    pub history: bool,
}

/// What `POST /graphs/{room}/join` answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GraphJoined {
    /// The server that helped.
    pub via: String,
    /// The room's version.
    pub room_version: String,
    /// The join.
    pub event_id: String,
    /// State events.
    pub state: usize,
    /// Events of history.
    pub history: usize,
}

/// `POST /graphs/{room}/invite`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InviteToGraph {
    /// A Matrix user id of another server.
    pub user: String,
}

/// `POST /graphs/{room}/send`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SendToGraph {
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The state key, for a state event.
    pub state_key: Option<String>,
    /// The content.
    pub content: serde_json::Value,
}

/// `POST /graphs/{room}/rebuild`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RebuildRoom {
    /// Whatever happened behind what the graph holds may be lost.
    #[serde(default)]
    pub accept_rollback: bool,
}

/// What `POST /graphs/{room}/rebuild` answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RoomRebuilt {
    /// The room URI.
    pub room: String,
    /// Its epoch now, decimal.
    pub epoch: String,
    /// Entries of the handshake log.
    pub log_entries: u64,
    /// The entry at which the MLS group begins.
    pub begins_at: u64,
    /// Application messages.
    pub messages: usize,
}

/// An event that came of a request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GraphEvent {
    /// Its id.
    pub event_id: String,
}
