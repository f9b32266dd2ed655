//! The room as it stands: forward extremities, the state over them, and check 6 against it.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::{
    Current, Graph,
    admit::CitedEvents,
    index::{Ix, Place, Status},
    resolve::{Room, resolve},
    state::Group,
    view::TableView,
};
use crate::{
    auth::{
        AuthRule,
        facts::Facts,
        rules::{Candidate, check},
    },
    intern::Slot,
};

impl Graph {
    /// Check 6. Where all extremities have the same events in the slots that count, so has their resolution,
    /// and it need not be made.
    pub(super) fn check_current(
        &mut self,
        event: &Candidate<'_>,
        cited: &CitedEvents,
        before: Group,
        facts: &Facts,
    ) -> Result<(), AuthRule> {
        let groups = self.groups_over(&self.extremities);
        let settled = match groups.as_slice() {
            [] => return Ok(()),
            [only] => Some(*only),
            [first, ..] => self.same_in_all(&groups, facts).then_some(*first),
        };
        if let Some(group) = settled {
            if group == before || self.agrees(cited, group, facts) {
                return Ok(());
            }
            return self.check_group(event, group);
        }
        self.merge_extremities();
        let find = |slot: Slot| self.merged_entry(slot);
        let view = TableView {
            index: &self.index,
            interner: &self.interner,
            event: find,
        };
        check(event, &view, &self.rules)
    }

    /// True if the states agree on every slot that the event's rules look at.
    fn same_in_all(&mut self, groups: &[Group], facts: &Facts) -> bool {
        let mut slots = facts.auth_slots(&self.rules, &mut self.interner);
        slots.push(Slot::CREATE);
        let Some((first, rest)) = groups.split_first() else {
            return false;
        };
        slots.iter().all(|slot| self.same_in(*first, rest, *slot))
    }

    /// The different states after some events.
    fn groups_over(&self, events: &[Ix]) -> SmallVec<[Group; 8]> {
        let mut groups: SmallVec<[Group; 8]> = SmallVec::new();
        for ix in events {
            let after = self.index.record(*ix).after;
            if !groups.contains(&after) {
                groups.push(after);
            }
        }
        groups
    }

    /// The state over some events: theirs, or the resolution of theirs.
    pub(super) fn state_over(&mut self, events: &[Ix]) -> Group {
        let groups = self.groups_over(events);
        match groups.as_slice() {
            [] => return Group::EMPTY,
            [only] => return *only,
            _ => {}
        }
        // New events mostly stand on all extremities, whose state is known.
        if self.current.is_some()
            && events.len() == self.extremities.len()
            && events.iter().all(|e| self.extremities.contains(e))
        {
            return self.current_group();
        }
        let changes = self.resolve_groups(&groups);
        self.states
            .set_many(groups.first().copied().unwrap_or(Group::EMPTY), &changes)
    }

    fn resolve_groups(&mut self, groups: &[Group]) -> Vec<(Slot, Option<Ix>)> {
        let room = Room {
            index: &self.index,
            states: &self.states,
            interner: &self.interner,
            rules: &self.rules,
        };
        resolve(room, groups, &mut self.scratch).changes
    }

    /// Makes the state over the forward extremities, if it isn't there.
    fn merge_extremities(&mut self) {
        if self.current.is_some() {
            return;
        }
        let groups = self.groups_over(&self.extremities);
        self.current = Some(match groups.as_slice() {
            [] => Current::Group(Group::EMPTY),
            [only] => Current::Group(*only),
            [first, ..] => Current::Merged {
                base: *first,
                changes: self.resolve_groups(&groups),
            },
        });
    }

    /// One entry of the state over the forward extremities; where they agree on it, nothing is resolved.
    pub(super) fn current_entry(&mut self, slot: Slot) -> Option<Ix> {
        let groups = self.groups_over(&self.extremities);
        let (first, rest) = groups.split_first()?;
        if self.current.is_none() && self.same_in(*first, rest, slot) {
            return self.states.get(*first, slot);
        }
        self.merge_extremities();
        self.merged_entry(slot)
    }

    /// True if states agree on a slot, and so does their resolution. An absent entry counts only if no event ever
    /// had the slot: resolution can bring back one that all states lack.
    fn same_in(&self, first: Group, rest: &[Group], slot: Slot) -> bool {
        let entry = self.states.get(first, slot);
        (rest.is_empty() || entry.is_some() || !self.index.was_used(slot))
            && rest.iter().all(|g| self.states.get(*g, slot) == entry)
    }

    fn merged_entry(&self, slot: Slot) -> Option<Ix> {
        match self.current.as_ref()? {
            Current::Group(group) => self.states.get(*group, slot),
            Current::Merged { base, changes } => match changes.binary_search_by_key(&slot, |(s, _)| *s) {
                Ok(i) => changes.get(i).and_then(|(_, event)| *event),
                Err(_) => self.states.get(*base, slot),
            },
        }
    }

    /// The state over the forward extremities.
    pub(super) fn current_group(&mut self) -> Group {
        self.merge_extremities();
        let group = match &self.current {
            None => Group::EMPTY,
            Some(Current::Group(group)) => return *group,
            Some(Current::Merged { base, changes }) => self.states.set_many(*base, changes),
        };
        self.current = Some(Current::Group(group));
        group
    }

    /// Makes an accepted event an extremity in place of its parents. Events behind parents that don't count
    /// (rejected or soft-failed) are followed by it just the same.
    pub(super) fn advance(&mut self, ix: Ix) {
        let replaced = self.replaced_by(ix);
        let current = self.current.take();
        let alone = self.extremities.iter().all(|e| replaced.contains(e));
        let keeps = self.keeps_states(ix, &replaced);
        self.extremities.retain(|e| !replaced.contains(e));
        self.extremities.push(ix);
        // A lone extremity's state is the room's; an event that changes nothing leaves the states as they
        // were; otherwise resolution waits until it is asked for.
        self.current = if alone {
            Some(Current::Group(self.index.record(ix).after))
        } else {
            current.filter(|_| keeps)
        };
    }

    /// Lets an event that counts, and that one in front follows already, take its place behind it: what it follows is in
    /// front no more.
    pub(super) fn pass(&mut self, ix: Ix) {
        let replaced = self.replaced_by(ix);
        let before = self.extremities.len();
        self.extremities.retain(|e| !replaced.contains(e));
        if self.extremities.len() != before {
            self.current = None;
        }
    }

    /// Whether an event that counts is a forward extremity, or one follows it. What came as history is not.
    pub(super) fn is_in_front(&self, ix: Ix) -> bool {
        !matches!(
            self.index.record(ix).place(),
            Place::Backfilled | Place::BackfilledAtState
        )
    }

    /// What an event takes the place of: its parents, and what is behind those that don't count.
    fn replaced_by(&self, ix: Ix) -> SmallVec<[Ix; 8]> {
        let mut replaced: SmallVec<[Ix; 8]> = self.index.prevs(ix).collect();
        if replaced
            .iter()
            .any(|p| self.index.record(*p).status != Status::Accepted)
        {
            self.look_behind(&mut replaced);
        }
        replaced
    }

    /// Adds what is behind parents that don't count.
    fn look_behind(&self, replaced: &mut SmallVec<[Ix; 8]>) {
        let mut seen: FxHashSet<Ix> = FxHashSet::default();
        let mut stack: Vec<Ix> = std::mem::take(replaced).into_vec();
        while let Some(parent) = stack.pop() {
            if !seen.insert(parent) {
                continue;
            }
            replaced.push(parent);
            if self.index.record(parent).status != Status::Accepted {
                stack.extend(self.index.prevs(parent));
            }
        }
    }

    /// True if `ix` takes the place of one extremity and has its state, so that the states over all
    /// extremities are the same as before.
    fn keeps_states(&self, ix: Ix, replaced: &[Ix]) -> bool {
        let [parent] = replaced else { return false };
        self.extremities.contains(parent) && self.index.record(*parent).after == self.index.record(ix).after
    }
}
