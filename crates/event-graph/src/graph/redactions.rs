//! Redactions and their targets, whichever comes first (rooms, "Handling redactions").

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Graph, Redaction,
    index::{Ix, Status},
    view::TableView,
};
use crate::{
    EventId,
    auth::{
        power::{Field, required},
        rules::{View as _, power},
    },
    ids::server_of_user,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Redactions {
    /// Redaction events by a target that isn't there yet.
    waiting: BTreeMap<EventId, BTreeSet<Ix>>,
    /// The first redaction that took effect, by target.
    applied: BTreeMap<Ix, Ix>,
}

impl Graph {
    /// Pairs up a redaction with its target, or an event with redactions that waited for it. `redacts` is what
    /// the event wants redacted, if it is a redaction.
    pub(super) fn pair_redactions(&mut self, ix: Ix, redacts: Option<EventId>) -> Vec<Redaction> {
        let mut effects = Vec::new();
        if let Some(target) = redacts
            && self.index.record(ix).status == Status::Accepted
        {
            match self.index.get(&target) {
                Some(target) => self.apply(target, ix, &mut effects),
                None => drop(self.redactions.waiting.entry(target).or_default().insert(ix)),
            }
        }
        if self.redactions.waiting.is_empty() {
            return effects;
        }
        let id = self.index.record(ix).id;
        for by in self.redactions.waiting.remove(&id).unwrap_or_default() {
            self.apply(ix, by, &mut effects);
        }
        effects
    }

    fn apply(&mut self, target: Ix, by: Ix, effects: &mut Vec<Redaction>) {
        let valid = target != by && self.index.record(target).status != Status::Rejected;
        if valid && self.may_redact(target, by) {
            self.redactions.applied.entry(target).or_insert(by);
            effects.push(Redaction {
                target: self.index.record(target).id,
                by: self.index.record(by).id,
            });
        }
    }

    /// The redaction's sender has the redact level where the redaction was made, or is of the target's
    /// server.
    fn may_redact(&self, target: Ix, by: Ix) -> bool {
        let (target, by) = (self.index.record(target), self.index.record(by));
        let states = &self.states;
        let view = TableView {
            index: &self.index,
            interner: &self.interner,
            event: |slot| states.get(by.before, slot),
        };
        let Some(create) = view.create() else { return false };
        // A create event can't be redacted in effect: its content decides what the room is.
        if target.id == create.id {
            return false;
        }
        let levels = view.power_levels();
        let level = power(by.sender, create, levels, &self.rules);
        let enough = level >= required(levels, Field::Redact);
        let server = |user| server_of_user(self.interner.text(user));
        enough || server(by.sender) == server(target.sender)
    }

    /// The redaction that took effect on an event.
    pub fn redacted_by(&self, event: EventId) -> Option<EventId> {
        let target = self.index.get(&event)?;
        let by = self.redactions.applied.get(&target)?;
        Some(self.index.record(*by).id)
    }

    /// How many redactions wait for their target.
    pub fn waiting_redactions(&self) -> usize {
        self.redactions.waiting.values().map(BTreeSet::len).sum()
    }
}
