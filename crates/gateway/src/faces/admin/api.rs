//! The types of the admin API. `schemas/admin-api.json` is made from them.
//!
//! Served below [`PREFIX`]; every request carries `Authorization: Bearer <admin token>`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /accounts` | | array of [`Account`] |
//! | `POST /accounts` | [`AddAccount`] | [`AccountAdded`] |
//! | `DELETE /accounts/{user}` | | 204 |
//! | `GET /rooms` | | array of [`Room`] |
//! | `GET /rooms/{room}` | | [`Room`] |
//! | `POST /rooms/{room}/unbridge`, `bridge`, `sync_portal` | | 204 |
//! | `POST /rooms/{room}/upgrade_portal` | [`UpgradePortal`] | 204 |
//! | `GET /queues` | | array of [`Queue`] |
//! | `GET /homeserver` | | [`HomeserverStatus`] |
//! | `GET /homeserver/set-aside` | | array of [`SetAsideEvent`] |
//! | `GET /nodes` | | [`Nodes`] |
//! | `POST /nodes` | [`AddNode`] | 204 |
//! | `DELETE /nodes/{node}` | | 204 |
//! | `POST /nodes/{node}/lead` | | 204 |
//! | `POST /nodes/take-over` | [`TakeOver`] | [`TakenOver`] |
//! | `POST /nodes/release` | [`Release`] | 204 |
//! | `GET /reports` | | array of [`Report`], newest first |
//! | `GET /reports/{id}` | | [`Report`] with contents |
//! | `POST /reload` | | [`Reloaded`] |
//! | `GET /graphs` | | array of [`Graph`]: those that other servers take part in, made, or invite to |
//! | `GET /graphs/{room}` | | [`GraphState`] |
//! | `POST /graphs/{room}/join` | [`JoinGraph`] | [`GraphJoined`] |
//! | `POST /graphs/{room}/leave` | | [`GraphEvent`] |
//! | `POST /graphs/{room}/invite` | [`InviteToGraph`] | [`GraphEvent`] |
//! | `POST /graphs/{room}/send` | [`SendToGraph`] | [`GraphEvent`] |
//! | `POST /graphs/{room}/rebuild` | [`RebuildRoom`] | [`RoomRebuilt`] |
//! | `GET /graphs/{room}/events` | | every event with its verdict as JSON lines, in order of admission |
//! | `GET /export` | | an export of the store, JSON Lines |
//! | `POST /unfence` | [`Unfence`] | [`Unfenced`] |

use room_engine::outbox::Destination;
use room_engine::{AccountView, QueueView, RoomView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod graphs;
mod homeserver;
mod nodes;
mod reports;
pub use graphs::{
    Graph, GraphEvent, GraphJoined, GraphState, GraphStateEntry, InviteToGraph, JoinGraph, RebuildRoom,
    RoomRebuilt, SendToGraph,
};
pub use homeserver::{HomeserverStatus, SetAsideEvent};
pub use nodes::{AddNode, Node, Nodes, Release, TakeOver, TakenOver};
pub use reports::{Report, ReportedMessage};

/// The path below which everything here is served.
pub const PREFIX: &str = "/_causeway/admin/v1";

/// An account of this provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The user URI.
    pub user: String,
    /// Whether it signs in with a local token; otherwise through the homeserver.
    pub local: bool,
    /// Unix ms.
    pub created_at: u64,
    /// Devices it has signed in with.
    pub devices: usize,
}

/// `POST /accounts`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AddAccount {
    /// Local part of the new account's user URI.
    pub user: String,
}

/// What `POST /accounts` answers.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccountAdded {
    /// The user URI.
    pub user: String,
    /// What the account signs in with. It is shown this once; only its hash is kept.
    pub token: String,
}

impl std::fmt::Debug for AccountAdded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountAdded")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// The room URI.
    pub room: String,
    /// Its hub.
    pub hub: String,
    /// Whether this provider is the hub.
    pub is_hub: bool,
    /// Where this provider has several nodes: the one that orders what this provider decides about the room, as far
    /// as it is known.
    #[serde(default)]
    pub leader: Option<String>,
    /// Its name, where known.
    pub name: Option<String>,
    /// MLS group id, hex.
    pub group_id: Option<String>,
    /// The MLS cipher suite of the group, where known: the hub knows it.
    #[serde(default)]
    pub cipher_suite: Option<u16>,
    /// Newest epoch known here, decimal.
    pub epoch: String,
    /// Matrix room id of the graph.
    pub graph: String,
    /// Room version of the graph.
    pub room_version: String,
    /// Events in the graph.
    pub events: u64,
    /// Its forward extremities.
    pub heads: Vec<String>,
    /// Entries of the handshake log.
    pub log_entries: u64,
    /// Matrix room id of the portal, where there is one.
    pub portal: Option<String>,
    /// How the portal stands: `none`, `wanted`, `linked`, `closing`, `unbridged`.
    #[serde(default)]
    pub portal_state: String,
    /// Who takes part.
    pub participants: Vec<Participant>,
    /// Position after the newest feed entry.
    pub feed_next: u64,
    /// Restored from a backup, and not known yet to be up to date: the room takes no handshakes.
    #[serde(default)]
    pub fenced: bool,
    /// While it is fenced: a later epoch that somebody has shown, decimal.
    #[serde(default)]
    pub ahead: Option<String>,
}

/// `POST /rooms/{room}/upgrade_portal`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpgradePortal {
    /// The Matrix room version of the new portal.
    pub version: String,
}

/// `POST /unfence`: fenced rooms take handshakes again although peers may have gone on since the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unfence {
    /// This room; all of them where it is null.
    pub room: Option<String>,
}

/// What `POST /unfence` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unfenced {
    /// The rooms that were fenced.
    pub rooms: Vec<String>,
}

impl From<Vec<mimi_wire::MimiUri>> for Unfenced {
    fn from(rooms: Vec<mimi_wire::MimiUri>) -> Self {
        Self {
            rooms: rooms.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A participant of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Participant {
    /// The user URI.
    pub user: String,
    /// Role index; at a follower unknown.
    pub role: Option<u32>,
}

/// What waits for a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// A provider's domain, or `homeserver`.
    pub destination: String,
    /// Entries waiting.
    pub waiting: usize,
    /// Time of the oldest, Unix ms.
    pub oldest: Option<u64>,
}

/// What `POST /reload` answers: the configuration was read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Peers with a section of their own now.
    pub peers: usize,
    /// Keys of the configuration that have changed but hold only after a restart.
    pub needs_restart: Vec<String>,
}

/// Any error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdminError {
    /// For programs.
    pub code: String,
    /// For people.
    pub error: String,
}

/// `GET /readyz`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// Whether the service takes requests that change something.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// What an operator should see to, though requests are taken: above all a homeserver that doesn't push.
    pub warnings: Vec<String>,
}

impl From<AccountView> for Account {
    fn from(view: AccountView) -> Self {
        Self {
            user: view.user.to_string(),
            local: view.local,
            created_at: view.created_at,
            devices: view.devices,
        }
    }
}

impl From<RoomView> for Room {
    fn from(view: RoomView) -> Self {
        let participant = |(user, role): (mimi_wire::MimiUri, Option<u32>)| Participant {
            user: user.to_string(),
            role,
        };
        Self {
            room: view.room.to_string(),
            hub: view.hub.to_string(),
            is_hub: view.is_hub,
            leader: None,
            name: view.name,
            group_id: view.group_id.map(hex::encode),
            cipher_suite: view.suite,
            epoch: view.epoch.to_string(),
            graph: view.graph,
            room_version: view.room_version,
            events: view.events,
            heads: view.heads,
            log_entries: view.log_entries,
            portal: view.portal,
            portal_state: view.portal_state.to_owned(),
            participants: view.participants.into_iter().map(participant).collect(),
            feed_next: view.feed_next,
            fenced: view.fenced,
            ahead: view.ahead.map(|epoch| epoch.to_string()),
        }
    }
}

impl From<QueueView> for Queue {
    fn from(view: QueueView) -> Self {
        Self {
            destination: destination(&view.destination),
            waiting: view.waiting,
            oldest: view.oldest,
        }
    }
}

/// A destination as a label.
pub fn destination(destination: &Destination) -> String {
    match destination {
        Destination::Provider(domain) => domain.to_string(),
        Destination::Homeserver => "homeserver".to_owned(),
        Destination::Server(name) => format!("server {name}"),
    }
}
