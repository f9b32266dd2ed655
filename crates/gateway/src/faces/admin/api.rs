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
//! | `GET /graphs/{room}/events` | | every event with its verdict as JSON lines, in order of admission |
//! | `GET /export` | | an export of the store, JSON Lines |
//! | `POST /unfence` | [`Unfence`] | [`Unfenced`] |

use room_engine::outbox::Destination;
use room_engine::{AbuseReportView, AccountView, QueueView, ReportedMessageView, RoomView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// The nodes of the provider, as the node that answers sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nodes {
    /// The node that answers.
    pub name: String,
    /// The node that orders, as far as it knows.
    pub leader: Option<String>,
    /// The term of the provider's log.
    pub term: u64,
    /// Entries of the log that it has.
    pub log: u64,
    /// Entries that are in its store.
    pub applied: u64,
    /// All of them.
    pub nodes: Vec<Node>,
    /// Whether nodes hold two entries for one place of the order: nothing is ordered until an operator releases it.
    #[serde(default)]
    pub frozen: bool,
    /// By whose take-over this node was given up, if it was: it takes no part any more.
    #[serde(default)]
    pub given_up: Option<TakenOver>,
    /// By what the log was begun anew without a majority, if it was.
    #[serde(default)]
    pub taken_over: Option<TakenOver>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its name: its Matrix server name.
    pub name: String,
    /// Host and port of its node API.
    pub address: String,
    /// Whether it counts for the majority.
    pub voter: bool,
    /// Entries of the log that it lacks, where the node that orders answers.
    pub lag: Option<u64>,
}

impl From<lane::ClusterView> for Nodes {
    fn from(view: lane::ClusterView) -> Self {
        Self {
            name: view.name,
            leader: view.leader,
            term: view.term,
            log: view.log,
            applied: view.applied,
            nodes: view
                .nodes
                .into_iter()
                .map(|node| Node {
                    name: node.name,
                    address: node.address,
                    voter: node.voter,
                    lag: node.lag,
                })
                .collect(),
            frozen: view.frozen,
            given_up: view.given_up.map(TakenOver::from),
            taken_over: view.taken_over.map(TakenOver::from),
        }
    }
}

/// `POST /nodes/take-over`: this node goes on without a majority.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TakeOver {
    /// The nodes that are lost: all that do not answer.
    pub lost: Vec<String>,
    /// Why; recorded for good.
    pub reason: String,
}

/// A take-over without a majority, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakenOver {
    /// The node that took over.
    pub node: String,
    /// When, Unix ms.
    pub at: u64,
    /// Why.
    pub reason: String,
    /// The nodes that were lost.
    pub lost: Vec<String>,
    /// The newest entry that the node had: what the lost ones made final behind it is lost.
    pub after: u64,
}

impl From<lane::Statement> for TakenOver {
    fn from(statement: lane::Statement) -> Self {
        Self {
            node: statement.node.to_string(),
            at: statement.at,
            reason: statement.reason,
            lost: statement.lost.iter().map(ToString::to_string).collect(),
            after: statement.after.index,
        }
    }
}

/// `POST /nodes/release`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Why this side counts; in the log of the service.
    pub reason: String,
}

/// `POST /nodes`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AddNode {
    /// Name, address and key of the node, as `causeway node self` prints them there.
    pub node: String,
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
    /// Its name, where known.
    pub name: Option<String>,
    /// MLS group id, hex.
    pub group_id: Option<String>,
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

/// A report of abuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Names it.
    pub id: String,
    /// When it came, Unix ms.
    pub at: u64,
    /// The room URI.
    pub room: String,
    /// The provider that it came from.
    pub provider: String,
    /// Who reported, unless anonymously.
    pub reporting_user: Option<String>,
    /// Who is reported.
    pub accused: String,
    /// The reason's code; the draft has no taxonomy yet.
    pub reason: u8,
    /// What the reporter wrote.
    pub note: String,
    /// The evidence.
    pub messages: Vec<ReportedMessage>,
}

/// A message of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedMessage {
    /// When this hub accepted it, Unix ms, as reported.
    pub accepted_at: u64,
    /// Whether this hub's frank proves message, sender, room and time.
    pub proved: bool,
    /// Why it proves nothing.
    pub fault: Option<String>,
    /// MIMI message id, hex, of a proved message.
    pub message_id: Option<String>,
    /// The application data as reported, hex; only where one report is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The text in it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl From<AbuseReportView> for Report {
    fn from(view: AbuseReportView) -> Self {
        let message = |m: ReportedMessageView| ReportedMessage {
            accepted_at: m.accepted_at,
            proved: m.fault.is_none(),
            fault: m.fault,
            message_id: m.message_id.map(hex::encode),
            text: m.content.as_deref().and_then(text),
            content: m.content.map(hex::encode),
        };
        Self {
            id: view.id,
            at: view.at,
            room: view.room.to_string(),
            provider: view.provider,
            reporting_user: view.reporting_user.map(|u| u.to_string()),
            accused: view.accused.to_string(),
            reason: view.reason,
            note: view.note,
            messages: view.messages.into_iter().map(message).collect(),
        }
    }
}

/// The first text part of application data, framed or not.
fn text(data: &[u8]) -> Option<String> {
    use mimi_wire::Decode as _;
    use mimi_wire::components::ApplicationFraming;
    use mimi_wire::content::MimiContent;
    let content = MimiContent::decode(data).ok().or_else(|| {
        let framing = ApplicationFraming::from_bytes(data).ok()?;
        MimiContent::decode(&framing.inner_application_content.0).ok()
    })?;
    content
        .parts()
        .iter()
        .find_map(|part| part.text())
        .map(str::to_owned)
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
            name: view.name,
            group_id: view.group_id.map(hex::encode),
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

/// An event that came of a request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GraphEvent {
    /// Its id.
    pub event_id: String,
}
