//! Parents that nobody here holds, of events that were taken on a state another server gave: where the graph ends
//! below, and where backfill goes on.

use std::collections::BTreeMap;

use super::{
    Graph,
    index::{Ix, Status},
};
use crate::{EventId, Pdu};

/// The missing parents with those that follow them.
pub(super) type Gaps = BTreeMap<EventId, Vec<Ix>>;

impl Graph {
    /// Notes the parents that an event at a given state lacks.
    pub(super) fn open_gaps(&mut self, pdu: &Pdu, ix: Ix) {
        for parent in pdu.prev_events() {
            if !self.has_state(*parent) {
                self.gaps.entry(*parent).or_default().push(ix);
            }
        }
    }

    /// Ties an event to those that came before it and follow it. Gives those that count: if there are any, the event is
    /// no forward extremity.
    pub(super) fn close_gap(&mut self, id: EventId, ix: Ix) -> Vec<Ix> {
        if self.gaps.is_empty() {
            return Vec::new();
        }
        let mut children = self.gaps.remove(&id).unwrap_or_default();
        for child in &children {
            self.index.add_prev(*child, ix);
        }
        children.retain(|child| self.index.record(*child).status == Status::Accepted);
        children
    }

    /// The missing parents, those of the newest events first: what to ask other servers' history for.
    pub fn backward_extremities(&self) -> Vec<EventId> {
        let depth = |children: &[Ix]| children.iter().map(|c| self.index.depth(*c)).max();
        let mut out: Vec<_> = self.gaps.iter().map(|(id, c)| (depth(c), *id)).collect();
        out.sort_unstable_by(|a, b| b.cmp(a));
        out.into_iter().map(|(_, id)| id).collect()
    }
}
