//! Admission: checks 4 to 6 on receipt, for events whose parents and auth events are there.

use smallvec::{SmallVec, smallvec};

use super::{
    Check, DropReason, Graph, Outcome, Verdict,
    index::{Ix, Kind, NewEvent, Place, Status},
    state::Group,
    view::TableView,
};
use crate::{
    EventId, Pdu,
    auth::{
        AuthRule,
        facts::{Body, Facts},
        rules::{Candidate, check},
    },
    intern::{Slot, Sym},
};

/// The auth events with the slots they stand for.
pub(super) type CitedEvents = SmallVec<[(Slot, Ix); 8]>;

/// How an event came: what check 6 makes of it, and whether it can become a forward extremity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// As a new event: check 6 judges it by what had arrived before.
    New,
    /// As a new event that the room's policy server did not sign (check 7): soft-failed unless it is rejected.
    Refused,
    /// From below what the graph has, by backfill: no check 6, never a forward extremity.
    Backfilled,
    /// With the outcome of checks 6 and 7 on record, as from the own store: the rule the event broke, if any. Soft
    /// failure depends on what had arrived before, so it isn't judged again; all else follows from the events.
    Recorded(Option<AuthRule>),
}

fn outcome(event_id: EventId, verdict: Verdict) -> Outcome {
    Outcome {
        event_id,
        verdict,
        redactions: Vec::new(),
    }
}

impl Graph {
    /// Takes an event. The first outcome is its own; the others are those of events that had waited for it.
    pub fn admit(&mut self, pdu: &Pdu) -> SmallVec<[Outcome; 1]> {
        self.admit_as(pdu, Arrival::New)
    }

    /// Takes an event that came in some other way than as a new one.
    pub fn admit_as(&mut self, pdu: &Pdu, arrival: Arrival) -> SmallVec<[Outcome; 1]> {
        let id = pdu.event_id();
        match self.gate(pdu, true) {
            Ok(()) => {}
            Err(Verdict::Held { .. }) if self.held.contains(&id) => {
                return smallvec![outcome(id, Verdict::Duplicate)];
            }
            Err(Verdict::Held { missing }) => {
                let verdict = if self.held.hold(pdu, arrival, &missing) {
                    Verdict::Held { missing }
                } else {
                    Verdict::Dropped(DropReason::HoldFull)
                };
                return smallvec![outcome(id, verdict)];
            }
            Err(verdict) => return self.refuse(id, verdict),
        }
        let own = self.judge(pdu, arrival, None);
        self.with_released(own)
    }

    /// Takes an event for the sake of those that cite it: its auth events have to be there, its parents not.
    /// It gets no state and is no parent until it comes through [`Graph::admit`] or [`Graph::admit_at_state`].
    pub fn admit_outlier(&mut self, pdu: &Pdu) -> SmallVec<[Outcome; 1]> {
        let id = pdu.event_id();
        if self.contains(id) {
            return smallvec![outcome(id, Verdict::Duplicate)];
        }
        if let Err(verdict) = self.gate(pdu, false) {
            return self.refuse(id, verdict);
        }
        let facts = Facts::read(&pdu.into(), self.version, &mut self.interner);
        let (auths, verdict) = self.check_auth_events(pdu, &facts);
        let (status, broken) = match verdict {
            Ok(_) => (Status::Accepted, None),
            Err(rule) => (Status::Rejected, Some((Check::AuthEvents, rule))),
        };
        if self.index.len() == 0 && (pdu.event_type() != "m.room.create" || status == Status::Rejected) {
            return smallvec![outcome(id, Verdict::Dropped(DropReason::NoCreate))];
        }
        self.index.insert(NewEvent {
            id,
            ts: pdu.origin_server_ts(),
            depth: pdu.depth(),
            facts,
            parents: self.parents_of(pdu),
            prevs: &[],
            auths: &auths,
            place: Place::Outlier,
            status,
            broken,
            before: Group::EMPTY,
            after: Group::EMPTY,
        });
        let verdict = match broken {
            None => Verdict::Outlier,
            Some((check, rule)) => Verdict::Rejected { check, rule },
        };
        self.with_released(outcome(id, verdict))
    }

    /// Takes an event whose parents are not to be had but for which another server gave the state before it,
    /// as on joining over federation. The state's events have to be in the graph, as outliers at least; one
    /// that isn't, or was rejected, is left out.
    pub fn admit_at_state(
        &mut self,
        pdu: &Pdu,
        state: &[EventId],
        arrival: Arrival,
    ) -> SmallVec<[Outcome; 1]> {
        let id = pdu.event_id();
        if let Err(verdict) = self.gate(pdu, false) {
            return self.refuse(id, verdict);
        }
        let mut entries: Vec<(Slot, Option<Ix>)> = state
            .iter()
            .filter_map(|id| self.index.get(id))
            .filter(|ix| self.index.record(*ix).status != Status::Rejected)
            .filter_map(|ix| Some((self.index.record(ix).slot()?, Some(ix))))
            .collect();
        entries.sort_unstable();
        entries.dedup_by_key(|(slot, _)| *slot);
        let before = self.states.set_many(Group::EMPTY, &entries);
        self.held.forget(&id);
        let own = self.judge(pdu, arrival, Some(before));
        self.with_released(own)
    }

    /// What keeps an event from being judged now: it doesn't belong here, is known, or needs others first.
    fn gate(&mut self, pdu: &Pdu, parents: bool) -> Result<(), Verdict> {
        self.belongs(pdu).map_err(Verdict::Dropped)?;
        if self.has_state(pdu.event_id()) {
            return Err(Verdict::Duplicate);
        }
        let missing = self.missing_for(pdu, parents);
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Verdict::Held { missing })
        }
    }

    /// The outcomes for an event that the gate kept out. What waits for an event of another room waits in vain.
    fn refuse(&mut self, id: EventId, verdict: Verdict) -> SmallVec<[Outcome; 1]> {
        let foreign = verdict == Verdict::Dropped(DropReason::OtherRoom);
        let mut out = smallvec![outcome(id, verdict)];
        if foreign {
            out.extend(self.give_up(id, DropReason::CitesOtherRoom));
        }
        out
    }

    /// Judges whoever waited for this event and needs nothing more, and whoever waited for those.
    fn with_released(&mut self, own: Outcome) -> SmallVec<[Outcome; 1]> {
        let mut out: SmallVec<[Outcome; 1]> = smallvec![own];
        let mut next = 0;
        while self.held.len() > 0 {
            let Some(done) = out.get(next) else { break };
            for (pdu, arrival) in self.held.release(&done.event_id) {
                // An outlier serves those that cite it, not those that follow it.
                let missing = self.missing_for(&pdu, true);
                if missing.is_empty() {
                    let outcome = self.judge(&pdu, arrival, None);
                    out.push(outcome);
                } else if !self.held.hold(&pdu, arrival, &missing) {
                    out.push(outcome(pdu.event_id(), Verdict::Dropped(DropReason::HoldFull)));
                }
            }
            next += 1;
        }
        out
    }

    /// Says that an event can't be had. What waits for it, directly or not, is dropped.
    pub fn give_up(&mut self, id: EventId, reason: DropReason) -> Vec<Outcome> {
        let gone = self.held.give_up(&id);
        gone.into_iter()
            .map(|(pdu, cites)| {
                let reason = if cites { reason } else { DropReason::Unobtainable };
                outcome(pdu.event_id(), Verdict::Dropped(reason))
            })
            .collect()
    }

    fn belongs(&mut self, pdu: &Pdu) -> Result<(), DropReason> {
        if pdu.room_version() != self.version {
            return Err(DropReason::OtherRoom);
        }
        match &self.room_id {
            None => self.room_id = Some(pdu.room_id().into()),
            Some(room_id) if **room_id != *pdu.room_id() => return Err(DropReason::OtherRoom),
            Some(_) => {}
        }
        let id = pdu.event_id();
        if pdu.prev_events().contains(&id) || pdu.auth_events().contains(&id) {
            return Err(DropReason::SelfReference);
        }
        let create = pdu.event_type() == "m.room.create";
        if create && self.create().is_some_and(|ix| self.index.record(ix).id != id) {
            return Err(DropReason::SecondCreate);
        }
        Ok(())
    }

    /// The accepted create event.
    pub(super) fn create(&self) -> Option<Ix> {
        let record = self.index.record(Ix(0));
        (record.kind == Kind::Create && record.status != Status::Rejected).then_some(Ix(0))
    }

    /// What `pdu` needs and the graph lacks. Whoever needs parents needs them with their state.
    pub(super) fn missing_for(&self, pdu: &Pdu, parents: bool) -> Vec<EventId> {
        let mut missing = Vec::new();
        let mut want = |id: EventId, with_state: bool| {
            let there = self
                .index
                .get(&id)
                .is_some_and(|ix| !with_state || self.index.record(ix).place() != Place::Outlier);
            if !there && !missing.contains(&id) {
                missing.push(id);
            }
        };
        if pdu.event_type() != "m.room.create" {
            if self.rules.room_id_is_create_hash
                && let Some(create) = EventId::from_room_id(pdu.room_id())
            {
                want(create, false);
            }
            pdu.auth_events().iter().for_each(|id| want(*id, false));
        }
        if parents {
            pdu.prev_events().iter().for_each(|id| want(*id, true));
        }
        missing
    }

    /// Checks 4 to 6. With `given` the state before the event is not that after its parents.
    fn judge(&mut self, pdu: &Pdu, arrival: Arrival, given: Option<Group>) -> Outcome {
        let id = pdu.event_id();
        let facts = Facts::read(&pdu.into(), self.version, &mut self.interner);
        // 4.
        let (auths, cited) = self.check_auth_events(pdu, &facts);
        let prevs: SmallVec<[Ix; 4]> = pdu
            .prev_events()
            .iter()
            .filter_map(|p| self.index.get(p))
            .collect();
        let before = match given {
            Some(group) => group,
            None => self.state_over(&prevs),
        };
        let verdict = match cited {
            Err(rule) => Verdict::Rejected {
                check: Check::AuthEvents,
                rule,
            },
            Ok(cited) => self.judge_by_state(pdu, &facts, &cited, before, arrival),
        };
        if self.index.len() == 0 && matches!(verdict, Verdict::Rejected { .. }) {
            // Event 0 is the accepted create event; before it there is no room to be rejected from.
            return outcome(id, verdict);
        }
        let place = match (given, arrival) {
            (None, Arrival::Backfilled) => Place::Backfilled,
            (None, _) => Place::Linked,
            (Some(_), Arrival::Backfilled) => Place::BackfilledAtState,
            (Some(_), _) => Place::AtState,
        };
        let ix = self.enter(pdu, facts, &prevs, &auths, (place, before), &verdict);
        let followers = self.close_gap(id, ix);
        if verdict.is_accepted() && arrival != Arrival::Backfilled {
            if followers.is_empty() {
                self.advance(ix);
            } else if followers.iter().any(|follower| self.is_in_front(*follower)) {
                self.pass(ix);
            }
        }
        if given.is_some() {
            self.open_gaps(pdu, ix);
        }
        let redactions = self.pair_redactions(ix, pdu.redacts());
        Outcome {
            event_id: id,
            verdict,
            redactions,
        }
    }

    /// Checks 5 and 6.
    fn judge_by_state(
        &mut self,
        pdu: &Pdu,
        facts: &Facts,
        cited: &CitedEvents,
        before: Group,
        arrival: Arrival,
    ) -> Verdict {
        let event = self.candidate(pdu, facts);
        // 5. The rules look at nothing but the slots an event may cite: where the state before the event has
        // the same events there, the answer is that of check 4.
        if !self.agrees(cited, before, facts)
            && let Err(rule) = self.check_group(&event, before)
        {
            return Verdict::Rejected {
                check: Check::StateBefore,
                rule,
            };
        }
        // 6.
        let broken = match arrival {
            Arrival::New => self.check_current(&event, cited, before, facts).err(),
            Arrival::Refused => Some(AuthRule::PolicyServer),
            Arrival::Backfilled => None,
            Arrival::Recorded(broken) => broken,
        };
        broken.map_or(Verdict::Accepted, |rule| Verdict::SoftFailed { rule })
    }

    fn candidate<'a>(&self, pdu: &Pdu, facts: &'a Facts) -> Candidate<'a> {
        let (some, only_create) = self.parents_of(pdu);
        Candidate::new(facts, some, only_create)
    }

    /// Whether an event names parents, and the create event alone.
    fn parents_of(&self, pdu: &Pdu) -> (bool, bool) {
        let create = self.create().map(|ix| self.index.record(ix).id);
        let only = matches!(pdu.prev_events(), [only] if Some(*only) == create);
        (!pdu.prev_events().is_empty(), only)
    }

    /// Rules 2 and 3, and the others against the auth events. Gives the auth events known, and those in their
    /// slots.
    fn check_auth_events(
        &mut self,
        pdu: &Pdu,
        facts: &Facts,
    ) -> (SmallVec<[Ix; 10]>, Result<CitedEvents, AuthRule>) {
        let auths: SmallVec<[Ix; 10]> = pdu
            .auth_events()
            .iter()
            .filter_map(|id| self.index.get(id))
            .collect();
        let mut cited = CitedEvents::new();
        let event = self.candidate(pdu, facts);
        if facts.event_type == Sym::CREATE {
            // A create event cites nothing.
            let slots = self.cite(&[], &auths, &mut cited);
            let verdict = slots.and_then(|()| self.check_cited(&event, &cited));
            return (auths, verdict.map(|()| cited));
        }
        // 2.
        if self.rules.room_id_is_create_hash {
            match self.create() {
                Some(create) => cited.push((Slot::CREATE, create)),
                None => return (auths, Err(AuthRule::RoomIdNamesNoCreate)),
            }
        }
        // 3.
        let expected = facts.auth_slots(&self.rules, &mut self.interner);
        if let Err(rule) = self.cite(&expected, &auths, &mut cited) {
            return (auths, Err(rule));
        }
        let verdict = self.check_cited(&event, &cited);
        (auths, verdict.map(|()| cited))
    }

    /// Rule 3.
    fn cite(&self, expected: &[Slot], auths: &[Ix], cited: &mut CitedEvents) -> Result<(), AuthRule> {
        for ix in auths {
            let record = self.index.record(*ix);
            // 3.2
            let slot = record
                .slot()
                .filter(|s| expected.contains(s))
                .ok_or(AuthRule::AuthEventsUnexpected)?;
            // 3.1
            if cited.iter().any(|(s, _)| *s == slot) {
                return Err(AuthRule::AuthEventsDuplicate);
            }
            // 3.3
            if record.status == Status::Rejected {
                return Err(AuthRule::AuthEventsRejected);
            }
            cited.push((slot, *ix));
        }
        Ok(())
    }

    fn check_cited(&self, event: &Candidate<'_>, cited: &CitedEvents) -> Result<(), AuthRule> {
        let find = |slot: Slot| cited.iter().find(|(s, _)| *s == slot).map(|(_, ix)| *ix);
        let view = TableView {
            index: &self.index,
            interner: &self.interner,
            event: find,
        };
        check(event, &view, &self.rules)
    }

    pub(super) fn check_group(&self, event: &Candidate<'_>, group: Group) -> Result<(), AuthRule> {
        let states = &self.states;
        let view = TableView {
            index: &self.index,
            interner: &self.interner,
            event: |slot| states.get(group, slot),
        };
        check(event, &view, &self.rules)
    }

    /// True if a state has the events that were cited, and no other in a slot that could have been.
    pub(super) fn agrees(&mut self, cited: &CitedEvents, group: Group, facts: &Facts) -> bool {
        if facts.event_type == Sym::CREATE {
            return true;
        }
        let mut slots = facts.auth_slots(&self.rules, &mut self.interner);
        if self.rules.room_id_is_create_hash {
            slots.push(Slot::CREATE);
        }
        slots.iter().all(|slot| {
            let theirs = cited.iter().find(|(s, _)| s == slot).map(|(_, ix)| *ix);
            self.states.get(group, *slot) == theirs
        })
    }

    fn enter(
        &mut self,
        pdu: &Pdu,
        facts: Facts,
        prevs: &[Ix],
        auths: &[Ix],
        (place, before): (Place, Group),
        verdict: &Verdict,
    ) -> Ix {
        let (status, broken) = match verdict {
            Verdict::Rejected { check, rule } => (Status::Rejected, Some((*check, *rule))),
            Verdict::SoftFailed { rule } => (Status::SoftFailed, Some((Check::CurrentState, *rule))),
            _ => (Status::Accepted, None),
        };
        let known = self.index.get(&pdu.event_id());
        let ix = known.unwrap_or(Ix(self.index.len() as u32));
        let after = match facts.state_key {
            Some((_, slot)) if status != Status::Rejected => self.states.set(before, slot, ix),
            _ => before,
        };
        if known.is_some() {
            self.index
                .promote(ix, prevs, place, (status, broken), (before, after));
            return ix;
        }
        debug_assert!(!matches!(facts.body, Body::Create(_)) || ix == Ix(0) || status == Status::Rejected);
        self.index.insert(NewEvent {
            id: pdu.event_id(),
            ts: pdu.origin_server_ts(),
            depth: pdu.depth(),
            facts,
            parents: self.parents_of(pdu),
            prevs,
            auths,
            place,
            status,
            broken,
            before,
            after,
        })
    }
}
