//! Walks over the graph that serve other servers: auth chains, history, gaps.

use std::collections::{BTreeSet, BinaryHeap};

use rustc_hash::FxHashSet;

use super::{
    Graph,
    index::{Ix, Place},
};
use crate::EventId;

impl Graph {
    /// Every event that some events cite, directly or not, cited ones first. Unknown ids are passed over. The create
    /// event, which in room version 12 nobody names, is there as if it were named.
    pub fn auth_chain(&self, events: &[EventId]) -> Vec<EventId> {
        let mut seen: BTreeSet<Ix> = BTreeSet::new();
        if self.rules.room_id_is_create_hash {
            seen.extend(self.create());
        }
        let mut stack: Vec<Ix> = events.iter().filter_map(|id| self.index.get(id)).collect();
        while let Some(ix) = stack.pop() {
            stack.extend(self.index.auths(ix).filter(|cited| seen.insert(*cited)));
        }
        // A cited event has the smaller number.
        seen.into_iter().map(|ix| self.index.record(ix).id).collect()
    }

    /// History for another server (`GET /backfill`): the events named and what is below, greatest depth first, at
    /// most `limit`. Rejected events and outliers are left out, but what is below them is not.
    pub fn backfill(&self, from: &[EventId], limit: usize) -> Vec<EventId> {
        let roots = from.iter().filter_map(|id| self.index.get(id));
        self.downwards(roots, &[], limit, |_| true)
    }

    /// What another server lacks (`POST /get_missing_events`): the events below `latest` down to `earliest`, neither
    /// included, and none of a depth below `min_depth`; the newest `limit` of them, oldest first.
    pub fn missing_events(
        &self,
        latest: &[EventId],
        earliest: &[EventId],
        limit: usize,
        min_depth: u64,
    ) -> Vec<EventId> {
        let roots: Vec<Ix> = latest.iter().filter_map(|id| self.index.get(id)).collect();
        let parents = roots.iter().flat_map(|ix| self.index.prevs(*ix));
        let stop: Vec<Ix> = earliest
            .iter()
            .chain(latest)
            .filter_map(|id| self.index.get(id))
            .collect();
        let mut out = self.downwards(parents, &stop, limit, |ix| self.index.depth(ix) >= min_depth);
        out.reverse();
        out
    }

    /// Events in order of depth, the greatest first, along `prev_events`.
    fn downwards(
        &self,
        roots: impl Iterator<Item = Ix>,
        stop: &[Ix],
        limit: usize,
        wanted: impl Fn(Ix) -> bool,
    ) -> Vec<EventId> {
        let mut seen: FxHashSet<Ix> = stop.iter().copied().collect();
        let mut queue: BinaryHeap<(u64, Ix)> = BinaryHeap::new();
        for ix in roots {
            if seen.insert(ix) {
                queue.push((self.index.depth(ix), ix));
            }
        }
        let mut out = Vec::new();
        while out.len() < limit
            && let Some((_, ix)) = queue.pop()
        {
            if !wanted(ix) {
                continue;
            }
            let record = self.index.record(ix);
            let served = record.status != super::index::Status::Rejected && record.place() != Place::Outlier;
            if served {
                out.push(record.id);
            }
            for parent in self.index.prevs(ix) {
                if seen.insert(parent) {
                    queue.push((self.index.depth(parent), parent));
                }
            }
        }
        out
    }

    /// The accepted event nearest to a time (`GET /timestamp_to_event`): the first at or after it, or the last at or
    /// before it.
    pub fn nearest(&self, ts: i64, forwards: bool) -> Option<EventId> {
        let shown = (0..self.index.len())
            .map(|n| Ix(n as u32))
            .filter(|ix| self.index.record(*ix).status == super::index::Status::Accepted)
            .filter(|ix| self.index.record(*ix).place() != Place::Outlier)
            .map(|ix| (self.index.record(ix).ts, self.index.depth(ix), ix));
        let nearest = if forwards {
            shown.filter(|(at, ..)| *at >= ts).min()
        } else {
            shown.filter(|(at, ..)| *at <= ts).max()
        };
        nearest.map(|(.., ix)| self.index.record(ix).id)
    }
}
