//! What can be asked of a graph.

use std::collections::BTreeSet;

use super::{
    Graph, Verdict,
    index::{Ix, Kind, Place, Status},
    state::Group,
};
use crate::{
    EventId, GraphHead, auth::facts::Membership, ids::server_of_user, intern::Slot, limits::MAX_PREV_EVENTS,
    version::RoomVersion,
};

/// An entry of room state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateEntry<'a> {
    /// The event type.
    pub event_type: &'a str,
    /// The state key.
    pub state_key: &'a str,
    /// The event.
    pub event_id: EventId,
}

/// A resolved state and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedState<'a> {
    /// Sorted by type and state key.
    pub state: Vec<StateEntry<'a>>,
    /// Events in the conflicted state set.
    pub conflicted: usize,
    /// Events in the full conflicted set.
    pub full_conflicted: usize,
}

impl Graph {
    /// The room version.
    pub fn room_version(&self) -> RoomVersion {
        self.version
    }

    /// The room's id, once an event was taken.
    pub fn room_id(&self) -> Option<&str> {
        self.room_id.as_deref()
    }

    /// How many events the graph has, rejected ones and outliers included, held ones not.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True before the first event.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if the graph has the event.
    pub fn contains(&self, id: EventId) -> bool {
        self.index.get(&id).is_some()
    }

    /// True if the graph has the event and the state after it.
    pub fn has_state(&self, id: EventId) -> bool {
        self.index
            .get(&id)
            .is_some_and(|ix| self.index.record(ix).place() != Place::Outlier)
    }

    /// How an event fared.
    pub fn verdict(&self, id: EventId) -> Option<Verdict> {
        if self.held.contains(&id) {
            let missing = self.held.wanted_by(&id);
            return Some(Verdict::Held { missing });
        }
        let ix = self.index.get(&id)?;
        let record = self.index.record(ix);
        Some(match (record.status, self.index.broken_rule(ix)) {
            (Status::Accepted, _) if record.place() == Place::Outlier => Verdict::Outlier,
            (Status::SoftFailed, Some((_, rule))) => Verdict::SoftFailed { rule },
            (Status::Rejected, Some((check, rule))) => Verdict::Rejected { check, rule },
            _ => Verdict::Accepted,
        })
    }

    /// The forward extremities in order of admission.
    pub fn extremities(&self) -> Vec<EventId> {
        self.extremities
            .iter()
            .map(|ix| self.index.record(*ix).id)
            .collect()
    }

    /// What the next event stands on: if there are more than twenty extremities, the newest.
    pub fn head(&self) -> GraphHead {
        let skip = self.extremities.len().saturating_sub(MAX_PREV_EVENTS);
        let on = self.extremities.iter().skip(skip);
        let mut head = GraphHead::new();
        for ix in on {
            let record = self.index.record(*ix);
            head.extremities.push(record.id);
            head.max_depth = head.max_depth.max(self.index.depth(*ix));
            head.newest_ts = head.newest_ts.max(record.ts);
        }
        head
    }

    /// True if extremities have piled up so that an event on top of them is worth it.
    pub fn wants_merge(&self) -> bool {
        self.extremities.len() > 10
    }

    /// Events that others wait for: what to fetch.
    pub fn missing(&self) -> Vec<EventId> {
        self.held.missing()
    }

    /// How many events wait for others.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The room's current state, sorted by type and state key.
    pub fn current_state(&mut self) -> Vec<StateEntry<'_>> {
        let group = self.current_group();
        self.entries(group)
    }

    /// The event that is the room's current state for a (type, state key).
    pub fn current_event(&mut self, event_type: &str, state_key: &str) -> Option<EventId> {
        let slot = self.slot(event_type, state_key)?;
        self.current_entry(slot).map(|ix| self.index.record(ix).id)
    }

    /// True if a user of the server is in the room. The user that was found last is looked at first, so that asking
    /// for each event costs little.
    pub fn has_member_of(&mut self, server: &str) -> bool {
        let group = self.current_group();
        let is_there = |graph: &Self, ix: Ix| {
            let record = graph.index.record(ix);
            let there = |slot| {
                let user = graph.interner.key_text(slot).1;
                graph.states.get(group, slot) == Some(ix) && server_of_user(user) == Some(server)
            };
            record.kind == Kind::Member(Membership::Join) && record.slot().is_some_and(there)
        };
        if self.seen_member.is_some_and(|ix| is_there(self, ix)) {
            return true;
        }
        let entries = self.states.entries(group);
        self.seen_member = entries
            .into_iter()
            .map(|(_, ix)| ix)
            .find(|ix| is_there(self, *ix));
        self.seen_member.is_some()
    }

    /// The servers that have a user in the room, by its current state. Visits the whole state.
    pub fn joined_servers(&mut self) -> BTreeSet<&str> {
        let group = self.current_group();
        self.servers_in(group)
    }

    /// The servers that have a user in the room, by the state before an event.
    pub fn joined_servers_before(&self, id: EventId) -> Option<BTreeSet<&str>> {
        let record = self.index.record(self.index.get(&id)?);
        (record.place() != Place::Outlier).then(|| self.servers_in(record.before))
    }

    fn servers_in(&self, group: Group) -> BTreeSet<&str> {
        let joined = |ix: &Ix| self.index.record(*ix).kind == Kind::Member(Membership::Join);
        let entries = self.states.entries(group);
        let members = entries.iter().filter(|(_, ix)| joined(ix));
        members
            .filter_map(|(slot, _)| server_of_user(self.interner.key_text(*slot).1))
            .collect()
    }

    /// The events that a new event has to cite, from the current state.
    pub fn auth_events_for(&mut self, keys: &[crate::StateKey]) -> Vec<EventId> {
        keys.iter()
            .filter_map(|k| self.current_event(&k.event_type, &k.state_key))
            .collect()
    }

    /// The state before an event, sorted by type and state key.
    pub fn state_before(&self, id: EventId) -> Option<Vec<StateEntry<'_>>> {
        let record = self.index.record(self.index.get(&id)?);
        (record.place() != Place::Outlier).then(|| self.entries(record.before))
    }

    /// The state after an event, sorted by type and state key.
    pub fn state_after(&self, id: EventId) -> Option<Vec<StateEntry<'_>>> {
        let record = self.index.record(self.index.get(&id)?);
        (record.place() != Place::Outlier).then(|| self.entries(record.after))
    }

    /// One entry of the state before an event.
    pub fn event_before(&self, id: EventId, event_type: &str, state_key: &str) -> Option<EventId> {
        let record = self.index.record(self.index.get(&id)?);
        self.entry_in(record.before, event_type, state_key)
    }

    /// The resolution of the states after some events.
    pub fn resolve_after(&mut self, events: &[EventId]) -> Option<ResolvedState<'_>> {
        let groups = self.groups_after(events)?;
        Some(self.resolved(&groups))
    }

    /// The resolution of states given as lists of (type, state key, event); none if an event is unknown.
    pub fn resolve_maps(&mut self, maps: &[Vec<(String, String, EventId)>]) -> Option<ResolvedState<'_>> {
        let groups = self.groups_of(maps)?;
        Some(self.resolved(&groups))
    }

    /// Handles for states given as lists. A state that is the one after its newest event, as that of a fork's
    /// tip is, is found; others are built.
    pub(crate) fn groups_of(&mut self, maps: &[Vec<(String, String, EventId)>]) -> Option<Vec<Group>> {
        let mut groups = Vec::with_capacity(maps.len());
        for map in maps {
            let mut entries = Vec::with_capacity(map.len());
            for (event_type, state_key, id) in map {
                let (event_type, state_key) = (self.interner.sym(event_type), self.interner.sym(state_key));
                entries.push((self.interner.slot(event_type, state_key), self.index.get(id)?));
            }
            entries.sort_unstable();
            let newest = entries.iter().map(|(_, ix)| *ix).max();
            let after = newest.map_or(Group::EMPTY, |ix| self.index.record(ix).after);
            let group = if self.states.entries(after) == entries {
                after
            } else {
                let changes: Vec<_> = entries.into_iter().map(|(slot, ix)| (slot, Some(ix))).collect();
                self.states.set_many(Group::EMPTY, &changes)
            };
            groups.push(group);
        }
        Some(groups)
    }

    /// Resolves states by handle and gives how many events were conflicted; nothing of it is kept. What
    /// measurements call.
    pub(crate) fn resolve_once(&mut self, groups: &[Group]) -> (usize, usize) {
        let room = super::resolve::Room {
            index: &self.index,
            states: &self.states,
            interner: &self.interner,
            rules: &self.rules,
        };
        let resolution = super::resolve::resolve(room, groups, &mut self.scratch);
        let mark = self.states.checkpoint();
        self.states.set_many(
            groups.first().copied().unwrap_or(Group::EMPTY),
            &resolution.changes,
        );
        self.states.roll_back(mark);
        (resolution.conflicted, resolution.full)
    }

    /// Resolves the states after some events and forgets the result; gives how many events were conflicted.
    /// For measurements.
    pub fn resolve_and_forget(&mut self, events: &[EventId]) -> Option<usize> {
        let groups = self.groups_after(events)?;
        Some(self.resolve_once(&groups).0)
    }

    /// The states after some events, each once.
    pub(crate) fn groups_after(&self, events: &[EventId]) -> Option<Vec<Group>> {
        let after = |id| Some(self.index.record(self.index.get(id)?).after);
        let mut groups = events.iter().map(after).collect::<Option<Vec<Group>>>()?;
        groups.sort_unstable();
        groups.dedup();
        Some(groups)
    }

    pub(crate) fn resolved(&mut self, groups: &[Group]) -> ResolvedState<'_> {
        let room = super::resolve::Room {
            index: &self.index,
            states: &self.states,
            interner: &self.interner,
            rules: &self.rules,
        };
        let resolution = super::resolve::resolve(room, groups, &mut self.scratch);
        let mark = self.states.checkpoint();
        let group = self.states.set_many(
            groups.first().copied().unwrap_or(Group::EMPTY),
            &resolution.changes,
        );
        let entries = self.states.entries(group);
        self.states.roll_back(mark);
        ResolvedState {
            state: self.named(&entries),
            conflicted: resolution.conflicted,
            full_conflicted: resolution.full,
        }
    }

    fn entry_in(&self, group: Group, event_type: &str, state_key: &str) -> Option<EventId> {
        let slot = self.slot(event_type, state_key)?;
        self.states.get(group, slot).map(|ix| self.index.record(ix).id)
    }

    fn slot(&self, event_type: &str, state_key: &str) -> Option<Slot> {
        let (event_type, state_key) = (self.interner.get(event_type)?, self.interner.get(state_key)?);
        self.interner.get_slot(event_type, state_key)
    }

    fn entries(&self, group: Group) -> Vec<StateEntry<'_>> {
        self.named(&self.states.entries(group))
    }

    fn named(&self, entries: &[(Slot, Ix)]) -> Vec<StateEntry<'_>> {
        let mut out: Vec<StateEntry<'_>> = entries
            .iter()
            .map(|(slot, ix)| {
                let (event_type, state_key) = self.interner.key_text(*slot);
                StateEntry {
                    event_type,
                    state_key,
                    event_id: self.index.record(*ix).id,
                }
            })
            .collect();
        out.sort_unstable();
        out
    }

    /// Octets of memory that the index holds; the events themselves are elsewhere.
    pub fn index_bytes(&self) -> usize {
        self.index.bytes() + self.states.bytes() + self.interner.bytes()
    }
}
