//! What the next event stands on.

use serde::{Deserialize, Serialize};

use crate::{
    EventId, Pdu,
    limits::{MAX_INTEGER, MAX_PREV_EVENTS},
};

/// The forward extremities of a room, with what a new event takes from them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GraphHead {
    /// Accepted events that no accepted event has as a parent, newest last.
    pub extremities: Vec<EventId>,
    /// The greatest depth of any of them.
    pub max_depth: u64,
    /// The newest time of any event below: a clock that went back must not make time do so.
    pub newest_ts: i64,
}

impl GraphHead {
    /// A room without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an accepted event on top. Its parents are no extremities any more.
    pub fn accept(&mut self, event: &Pdu) {
        self.extremities
            .retain(|id| !event.prev_events().contains(id) && *id != event.event_id());
        self.extremities.push(event.event_id());
        self.max_depth = self.max_depth.max(event.depth());
        self.newest_ts = self.newest_ts.max(event.origin_server_ts());
    }

    /// Parents for a new event: all extremities, or the newest twenty.
    pub fn prev_events(&self) -> Vec<EventId> {
        let skip = self.extremities.len().saturating_sub(MAX_PREV_EVENTS);
        self.extremities.iter().skip(skip).copied().collect()
    }

    /// Depth for a new event, at most 2^53 - 1.
    pub fn next_depth(&self) -> u64 {
        (self.max_depth + 1).min(MAX_INTEGER.unsigned_abs())
    }

    /// Time for a new event when the clock says `now` (unix milliseconds).
    pub fn next_ts(&self, now: i64) -> i64 {
        now.max(self.newest_ts)
    }
}
