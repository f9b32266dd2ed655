//! What is asked of a graph, and what it answers.

use event_graph::{AuthRule, EventId, Pdu, RoomVersion};
use serde_json::Value;
use std::collections::BTreeSet;

/// A change of one's own membership that another server asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `join`
    Join,
    /// `leave`
    Leave,
    /// `knock`
    Knock,
}

impl Change {
    /// The membership's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Knock => "knock",
        }
    }
}

/// A question of another server. It has to be in the room.
#[derive(Clone, Debug)]
pub enum Question {
    /// `/event`, `/get_missing_events`' single case: the event itself.
    Event(EventId),
    /// `/event_auth`
    AuthChain(EventId),
    /// `/state`, `/state_ids`: the state before the event, and its auth chain.
    StateBefore(EventId),
    /// `/get_missing_events`
    Missing {
        /// Where to stop.
        earliest: Vec<EventId>,
        /// Where to begin; not in the answer.
        latest: Vec<EventId>,
        /// Most events.
        limit: usize,
        /// No event less deep.
        min_depth: u64,
    },
    /// `/backfill`
    Backfill {
        /// Where to begin; in the answer.
        from: Vec<EventId>,
        /// Most events.
        limit: usize,
    },
    /// `/timestamp_to_event`
    Nearest {
        /// Unix ms.
        ts: i64,
        /// Later or earlier.
        forwards: bool,
    },
    /// The forward extremities.
    Heads,
    /// The current state.
    CurrentState,
    /// What `/hierarchy` shows.
    Summary,
}

/// What a graph is asked to do.
#[derive(Clone, Debug)]
pub enum GraphCommand {
    /// Begins a room of another server.
    Establish {
        /// Its version.
        version: RoomVersion,
    },
    /// Takes verified events in.
    Admit {
        /// Who sent them; its ACL is asked. None for what we fetched ourselves.
        origin: Option<String>,
        /// The events.
        pdus: Vec<Pdu>,
        /// Events of the past: not judged by the current state.
        past: bool,
    },
    /// Takes verified events for the sake of those that cite them.
    Outliers {
        /// The events, each after those it cites.
        pdus: Vec<Pdu>,
    },
    /// Takes an event whose parents can't be had, at a state that another server gave.
    AtState {
        /// The event.
        pdu: Pdu,
        /// The events of the state before it.
        state: Vec<EventId>,
    },
    /// A whole copy of an event that is here without its content.
    Complete {
        /// The copy.
        pdu: Pdu,
    },
    /// Events that can't be had: what waits for them is dropped.
    GiveUp {
        /// Their ids.
        events: Vec<EventId>,
    },
    /// `make_join`, `make_leave`, `make_knock`
    Template {
        /// The asking server.
        origin: String,
        /// Whose membership.
        user: String,
        /// What it is to become.
        change: Change,
        /// Room versions that the asking server knows; empty: not asked.
        versions: Vec<String>,
    },
    /// `send_join`, `send_leave`, `send_knock`
    Receive {
        /// The sending server.
        origin: String,
        /// The event, verified.
        pdu: Pdu,
        /// What it must be.
        change: Change,
    },
    /// An invitation, made and signed, to be countersigned by the invited server before it is admitted.
    Invite {
        /// Whom.
        user: String,
    },
    /// An event of ours or of one who joins through us, verified: admitted and sent to all servers of the room.
    Relay {
        /// The event.
        pdu: Pdu,
    },
    /// Makes an event of the node user.
    Own {
        /// Its type.
        event_type: String,
        /// Its state key.
        state_key: Option<String>,
        /// Its content.
        content: Value,
    },
    /// An event on top of all extremities, if there are several.
    Merge,
    /// Answers a question.
    Ask {
        /// Who asks; none for ourselves.
        asker: Option<String>,
        /// What.
        question: Question,
    },
}

/// How an event fared.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// Part of the room.
    Accepted,
    /// There, not shown.
    SoftFailed(AuthRule),
    /// Forbidden.
    Rejected(AuthRule),
    /// Was there before.
    Known,
    /// Waits for others.
    Held,
    /// Not taken, and why.
    Dropped(&'static str),
}

/// What came of taking events in.
#[derive(Clone, Debug, Default)]
pub struct Admitted {
    /// The events that were given, in order.
    pub fates: Vec<(EventId, Fate)>,
    /// Events that others wait for.
    pub missing: Vec<EventId>,
    /// Events that wait.
    pub held: Vec<EventId>,
    /// Carriers that are here without their content.
    pub incomplete: Vec<EventId>,
    /// Whether extremities have piled up.
    pub wants_merge: bool,
}

/// What a server that joins, leaves or knocks gets.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The event as it is stored.
    pub pdu: Pdu,
    /// How it fared; the rest is empty unless it was accepted.
    pub fate: Fate,
    /// The state before it.
    pub state: Vec<Pdu>,
    /// Its auth chain.
    pub auth_chain: Vec<Pdu>,
    /// Servers in the room.
    pub servers: BTreeSet<String>,
}

/// An event with the state that an invited user may see.
#[derive(Clone, Debug)]
pub struct Stripped {
    /// The event.
    pub pdu: Pdu,
    /// The state, whole events.
    pub state: Vec<Pdu>,
}

/// The end of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Forward extremities.
    pub heads: Vec<EventId>,
    /// Servers in the room besides this one.
    pub servers: BTreeSet<String>,
    /// Events that others wait for.
    pub missing: Vec<EventId>,
    /// Events that wait.
    pub held: Vec<EventId>,
    /// Carriers without content.
    pub incomplete: Vec<EventId>,
    /// Events in the graph.
    pub events: usize,
    /// Whether this node's user is in the room.
    pub joined: bool,
}

/// What is told of a room to those who look for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphSummary {
    /// The room.
    pub room_id: String,
    /// Its version.
    pub room_version: String,
    /// `content.name` of `m.room.name`.
    pub name: Option<String>,
    /// `content.topic` of `m.room.topic`.
    pub topic: Option<String>,
    /// `content.join_rule`.
    pub join_rule: Option<String>,
    /// Users in the room.
    pub joined: usize,
}

/// An invitation of the node user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteView {
    /// The room.
    pub room_id: String,
    /// Its version.
    pub room_version: String,
    /// Who invites.
    pub sender: String,
    /// The server that brought the invitation.
    pub origin: String,
}

/// What a graph answers.
#[derive(Debug)]
#[non_exhaustive]
pub enum GraphReply {
    /// Done.
    Done,
    /// Events were taken in.
    Admitted(Admitted),
    /// A template and the room's version.
    Template {
        /// The unsigned event.
        event: Value,
        /// The version.
        version: RoomVersion,
    },
    /// The room has a version that the asking server doesn't know.
    IncompatibleVersion(RoomVersion),
    /// A membership event was taken in.
    Joined(Box<Joined>),
    /// An invitation.
    Stripped(Box<Stripped>),
    /// An event of ours.
    Own(Pdu),
    /// Events.
    Events(Vec<Pdu>),
    /// A state and its auth chain.
    State {
        /// The state.
        state: Vec<EventId>,
        /// The auth chain.
        auth_chain: Vec<EventId>,
    },
    /// A state as type, state key and event.
    Entries(Vec<(String, String, EventId)>),
    /// The end of the graph.
    Heads(Heads),
    /// A summary.
    Summary(GraphSummary),
}
