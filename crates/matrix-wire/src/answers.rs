//! What a server answers that is asked about rooms (server-server API): as it says it. Events are octets still; whoever
//! asked verifies and judges them.

use event_graph::{EventId, Pdu};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// An event as it came.
pub type Octets = Box<RawValue>;

/// What `make_join` and its like answer.
#[derive(Debug, Deserialize)]
pub struct Template {
    /// The room's version; of old servers absent.
    #[serde(default)]
    pub room_version: Option<String>,
    /// The template.
    pub event: TemplateEvent,
}

/// What is taken of a template. The rest is not looked at.
#[derive(Debug, Deserialize)]
pub struct TemplateEvent {
    /// Its content.
    #[serde(default)]
    pub content: TemplateContent,
    /// Parents.
    pub prev_events: Vec<EventId>,
    /// Auth events.
    pub auth_events: Vec<EventId>,
    /// Depth, which may be anything.
    pub depth: u64,
}

/// What is taken of a template's content.
#[derive(Debug, Default, Deserialize)]
pub struct TemplateContent {
    /// Who lets us into a restricted room.
    #[serde(default)]
    pub join_authorised_via_users_server: Option<String>,
}

/// What `send_join` answers.
#[derive(Debug, Deserialize)]
pub struct SendJoin {
    /// The state before the join.
    pub state: Vec<Octets>,
    /// What that state cites.
    pub auth_chain: Vec<Octets>,
    /// Our event with the server's signature.
    #[serde(default)]
    pub event: Option<Octets>,
    /// Whether members are left out, which nobody asked for.
    #[serde(default)]
    pub members_omitted: bool,
}

/// What `invite` answers.
#[derive(Debug, Deserialize)]
pub struct Signed {
    /// Our event with the server's signature.
    pub event: Octets,
}

/// A list of events: what `event`, `backfill` and `get_missing_events` answer.
#[derive(Debug, Deserialize)]
pub struct Events {
    /// The events.
    #[serde(default, alias = "pdus")]
    pub events: Vec<Octets>,
}

/// What `state_ids` answers.
#[derive(Debug, Deserialize)]
pub struct StateIds {
    /// The state.
    pub pdu_ids: Vec<EventId>,
    /// What it cites.
    pub auth_chain_ids: Vec<EventId>,
}

/// What `state` answers.
#[derive(Debug, Deserialize)]
pub struct State {
    /// The state.
    pub pdus: Vec<Octets>,
    /// What it cites.
    pub auth_chain: Vec<Octets>,
}

/// What a node of ours answers that is asked for the end of a graph.
#[derive(Debug, Deserialize)]
pub struct Heads {
    /// Its forward extremities.
    pub heads: Vec<EventId>,
}

/// What `timestamp_to_event` answers.
#[derive(Debug, Deserialize)]
pub struct Nearest {
    /// The event.
    pub event_id: EventId,
}

/// The octets of events.
pub fn octets(events: &[Octets]) -> Vec<&[u8]> {
    events.iter().map(|event| event.get().as_bytes()).collect()
}

/// Why a state that a server gave can't be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// An event without a state key.
    #[error("the state holds an event that is no state event")]
    NoStateEvent,
    /// Two events of one type and key.
    #[error("the state holds two events for one key")]
    Twice,
    /// No create event.
    #[error("the state holds no create event")]
    NoCreate,
}

/// The ids of a state that a server gave: state events, one per key, a create event among them.
pub fn state_ids(state: &[Pdu]) -> Result<Vec<EventId>, StateError> {
    let mut keys = BTreeSet::new();
    let mut ids = Vec::with_capacity(state.len());
    for pdu in state {
        let state_key = pdu.state_key().ok_or(StateError::NoStateEvent)?;
        if !keys.insert((pdu.event_type(), state_key)) {
            return Err(StateError::Twice);
        }
        ids.push(pdu.event_id());
    }
    if keys.contains(&("m.room.create", "")) {
        Ok(ids)
    } else {
        Err(StateError::NoCreate)
    }
}
