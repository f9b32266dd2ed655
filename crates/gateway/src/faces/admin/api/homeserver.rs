//! The way between the homeserver and this provider.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /homeserver`: the way between the homeserver and this provider. Times are Unix ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HomeserverStatus {
    /// When the homeserver last pushed anything.
    pub last_transaction: Option<u64>,
    /// When a heartbeat last came back.
    pub heartbeat_seen: Option<u64>,
    /// How long it took, ms.
    pub heartbeat_took: Option<u64>,
    /// Since when heartbeats don't come back in time.
    pub late_since: Option<u64>,
    /// Since when the homeserver can't be talked to.
    pub unreachable_since: Option<u64>,
    /// When all portals were last compared with their timelines.
    pub compared: Option<u64>,
    /// Events found in timelines that were never pushed, since the start.
    pub missed: u64,
    /// How often the homeserver turned out to have gone back in time, since the start.
    pub rewound: u64,
    /// Matrix room ids of portals that the bot can't read any more.
    pub portals_lost: Vec<String>,
    /// What to see to.
    pub warnings: Vec<String>,
}

/// `GET /homeserver/set-aside`: an event that nothing could be done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetAsideEvent {
    /// When it came, Unix ms.
    pub at: u64,
    /// Its id, where it has one.
    pub event_id: Option<String>,
    /// Matrix room id, where it has one.
    pub room_id: Option<String>,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub reason: String,
    /// The event as it came, up to a bound.
    pub event: String,
}

impl From<appservice::Watched> for HomeserverStatus {
    fn from(watched: appservice::Watched) -> Self {
        Self {
            warnings: watched.warnings(),
            last_transaction: watched.last_transaction,
            heartbeat_seen: watched.heartbeat_seen,
            heartbeat_took: watched.heartbeat_took,
            late_since: watched.late_since,
            unreachable_since: watched.unreachable.map(|(since, _)| since),
            compared: watched.compared,
            missed: watched.missed,
            rewound: watched.rewound,
            portals_lost: watched.portals_lost,
        }
    }
}

impl From<room_engine::SetAside> for SetAsideEvent {
    fn from(one: room_engine::SetAside) -> Self {
        Self {
            at: one.at,
            event_id: one.event_id,
            room_id: one.room_id,
            code: one.code,
            reason: one.reason,
            event: one.event,
        }
    }
}
