//! The table of a room's events: 32-bit numbers for ids, edges in both directions, what the auth rules need.
//!
//! Numbers are given in order of admission, and an event is admitted after the events it cites: a cited event
//! always has the smaller number.

use smallvec::SmallVec;

use super::{Check, state::Group};
use crate::{
    EventId,
    auth::{
        AuthRule,
        facts::{Body, Facts, JoinRule, Member, Membership},
        power::PowerLevels,
    },
    intern::{Slot, Sym, tight},
};

/// The number of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ix(pub(crate) u32);

pub(crate) const NONE: u32 = u32::MAX;

/// How an event fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Accepted,
    SoftFailed,
    Rejected,
}

/// Where an event's state comes from, and whether it can be a forward extremity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On parents that are there.
    Linked,
    /// The same, by backfill: never an extremity.
    Backfilled,
    /// On a state that another server gave.
    AtState,
    /// The same, by backfill.
    BackfilledAtState,
    /// Known by its auth events alone: no parents, no state.
    Outlier,
}

/// What kind of event it is to the auth rules and the resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Other,
    Create,
    Member(Membership),
    PowerLevels,
    JoinRules(JoinRule),
    ThirdPartyInvite,
}

/// Flags of a record.
const FOREIGN_STATE_KEY: u8 = 1;
const POWER: u8 = 2;
const CITING: u8 = 4;
const HAS_PARENTS: u8 = 8;
const ON_CREATE_ALONE: u8 = 16;
/// A depth that is kept elsewhere, being too great.
const DEEP: u32 = u32::MAX;
const NO_LEVELS: u8 = u8::MAX;

/// One event, in 80 octets.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: EventId,
    pub(crate) ts: i64,
    depth: u32,
    edges: u32,
    pub(crate) sender: Sym,
    slot: u32,
    body: u32,
    /// Newest entry of the list of events that cite this one.
    citers: u32,
    pub(crate) before: Group,
    pub(crate) after: Group,
    prevs: u8,
    auths: u8,
    /// Which of the cited events is the power levels event.
    levels: u8,
    pub(crate) status: Status,
    place: Place,
    pub(crate) kind: Kind,
    flags: u8,
}

impl Record {
    /// The state key's slot; none for a message.
    pub(crate) fn slot(&self) -> Option<Slot> {
        (self.slot != NONE).then_some(Slot(self.slot))
    }

    /// Where its state comes from.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The state key starts with `@` and isn't the sender.
    pub(crate) fn foreign_state_key(&self) -> bool {
        self.flags & FOREIGN_STATE_KEY != 0
    }

    /// A power event in the sense of state resolution.
    pub(crate) fn power(&self) -> bool {
        self.flags & POWER != 0
    }

    /// It names parents, whether the graph has them or not.
    pub(crate) fn has_parents(&self) -> bool {
        self.flags & HAS_PARENTS != 0
    }

    /// The only parent it names is the create event.
    pub(crate) fn only_parent_is_create(&self) -> bool {
        self.flags & ON_CREATE_ALONE != 0
    }

    /// How far apart its cited events lie among the edges.
    fn stride(&self) -> usize {
        if self.flags & CITING == 0 { 1 } else { 2 }
    }
}

/// The table.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    records: Vec<Record>,
    /// Open addressing over the ids, at most 7/8 full. Ids are hashes already.
    table: Vec<u32>,
    /// Of each event its parents, then the events it cites. Of a state event that counts, each cited event is followed
    /// by the next entry of the list of those that cite the same: the citing event's number times 16, and which of its
    /// cited events it is (there are at most ten).
    edges: Vec<u32>,
    /// Slots that some event had which was not rejected.
    used: Vec<bool>,
    bodies: Vec<Body>,
    broken: rustc_hash::FxHashMap<u32, (Check, AuthRule)>,
    /// Depths beyond 32 bits.
    deep: rustc_hash::FxHashMap<u32, u64>,
}

/// What a record is made of.
pub(crate) struct NewEvent<'a> {
    pub(crate) id: EventId,
    pub(crate) ts: i64,
    pub(crate) depth: u64,
    pub(crate) facts: Facts,
    /// It names parents; and the create event as the only one.
    pub(crate) parents: (bool, bool),
    /// The parents that are there.
    pub(crate) prevs: &'a [Ix],
    pub(crate) auths: &'a [Ix],
    pub(crate) place: Place,
    pub(crate) status: Status,
    pub(crate) broken: Option<(Check, AuthRule)>,
    pub(crate) before: Group,
    pub(crate) after: Group,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            records: Vec::new(),
            table: vec![NONE; 64],
            edges: Vec::new(),
            used: Vec::new(),
            bodies: Vec::new(),
            broken: rustc_hash::FxHashMap::default(),
            deep: rustc_hash::FxHashMap::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    fn start(id: &EventId, mask: usize) -> usize {
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(id.as_bytes()) {
            *to = *from;
        }
        u64::from_le_bytes(first) as usize & mask
    }

    pub(crate) fn get(&self, id: &EventId) -> Option<Ix> {
        let mask = self.table.len() - 1;
        let mut at = Self::start(id, mask);
        loop {
            let found = self.table.get(at).copied().unwrap_or(NONE);
            if found == NONE {
                return None;
            }
            if self.records.get(found as usize).is_some_and(|r| r.id == *id) {
                return Some(Ix(found));
            }
            at = (at + 1) & mask;
        }
    }

    /// The record of an event.
    ///
    /// Numbers come from this table alone; another would be a bug, and the first record then stands in.
    #[inline]
    pub(crate) fn record(&self, ix: Ix) -> &Record {
        static NOWHERE: Record = Record {
            id: EventId::from_hash([0; 32]),
            ts: 0,
            depth: 0,
            edges: 0,
            sender: Sym::EMPTY,
            slot: NONE,
            body: NONE,
            citers: NONE,
            before: Group::EMPTY,
            after: Group::EMPTY,
            prevs: 0,
            auths: 0,
            levels: NO_LEVELS,
            status: Status::Rejected,
            place: Place::Outlier,
            kind: Kind::Other,
            flags: 0,
        };
        self.records.get(ix.0 as usize).unwrap_or(&NOWHERE)
    }

    pub(crate) fn prevs(&self, ix: Ix) -> impl Iterator<Item = Ix> + '_ {
        let r = self.record(ix);
        let start = r.edges as usize;
        self.edges
            .get(start..start + usize::from(r.prevs))
            .unwrap_or_default()
            .iter()
            .map(|i| Ix(*i))
    }

    #[inline]
    pub(crate) fn auths(&self, ix: Ix) -> impl Iterator<Item = Ix> + '_ {
        let r = self.record(ix);
        let start = r.edges as usize + usize::from(r.prevs);
        let stride = r.stride();
        self.edges
            .get(start..start + usize::from(r.auths) * stride)
            .unwrap_or_default()
            .iter()
            .step_by(stride)
            .map(|i| Ix(*i))
    }

    /// The power levels event that an event cites.
    #[inline]
    pub(crate) fn levels(&self, ix: Ix) -> Option<Ix> {
        let r = self.record(ix);
        if r.levels == NO_LEVELS {
            return None;
        }
        let at = r.edges as usize + usize::from(r.prevs) + usize::from(r.levels) * r.stride();
        self.edges.get(at).map(|i| Ix(*i))
    }

    /// An event's depth.
    pub(crate) fn depth(&self, ix: Ix) -> u64 {
        match self.record(ix).depth {
            DEEP => self.deep.get(&ix.0).copied().unwrap_or_default(),
            depth => u64::from(depth),
        }
    }

    /// First entry of the list of accepted state events that cite `ix`, newest first.
    pub(crate) fn first_citer(&self, ix: Ix) -> u32 {
        self.record(ix).citers
    }

    /// An entry of such a list: the citing event and the next entry.
    pub(crate) fn citer(&self, entry: u32) -> Option<(Ix, u32)> {
        if entry == NONE {
            return None;
        }
        let citing = Ix(entry >> 4);
        let r = self.record(citing);
        let at = r.edges as usize + usize::from(r.prevs) + (entry & 15) as usize * 2 + 1;
        Some((citing, self.edges.get(at).copied()?))
    }

    /// True if an event that was not rejected ever had the slot.
    pub(crate) fn was_used(&self, slot: Slot) -> bool {
        self.used.get(slot.0 as usize).copied().unwrap_or(false)
    }

    /// The rule that an event broke, if it was rejected or soft-failed.
    pub(crate) fn broken_rule(&self, ix: Ix) -> Option<(Check, AuthRule)> {
        self.broken.get(&ix.0).copied()
    }

    pub(crate) fn body(&self, ix: Ix) -> Option<&Body> {
        self.bodies.get(self.record(ix).body as usize)
    }

    /// The power levels that an event sets.
    pub(crate) fn power_levels(&self, ix: Ix) -> Option<&PowerLevels> {
        match self.body(ix)? {
            Body::PowerLevels(Ok(levels)) => Some(levels),
            _ => None,
        }
    }

    /// The parts of a membership event that few have.
    pub(crate) fn member(&self, ix: Ix) -> Option<&Member> {
        match self.body(ix)? {
            Body::Member(member) => Some(member),
            _ => None,
        }
    }

    pub(crate) fn insert(&mut self, new: NewEvent<'_>) -> Ix {
        let ix = Ix(self.records.len() as u32);
        let NewEvent { facts, .. } = new;
        let kind = kind_of(&facts.body);
        let power = is_power(&facts, kind);
        let rejected = new.status == Status::Rejected;
        // Nobody may cite a rejected event, so nobody asks for its content again.
        let body = if rejected {
            NONE
        } else {
            self.keep_body(facts.body)
        };
        let slot = facts.state_key.map_or(NONE, |(_, slot)| slot.0);
        let citing = slot != NONE && !rejected;
        let is_levels = |a: &Ix| self.record(*a).slot() == Some(Slot::POWER_LEVELS);
        let levels = new.auths.iter().position(is_levels);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let edges = self.edges.len() as u32;
        tight(&mut self.edges, new.prevs.len() + 2 * new.auths.len());
        self.edges.extend(new.prevs.iter().map(|i| i.0));
        for (k, cited) in new.auths.iter().enumerate() {
            self.edges.push(cited.0);
            if citing && let Some(record) = self.records.get_mut(cited.0 as usize) {
                let entry = ix.0 << 4 | k as u32;
                self.edges.push(std::mem::replace(&mut record.citers, entry));
            }
        }
        tight(&mut self.records, 1);
        self.records.push(Record {
            id: new.id,
            ts: new.ts,
            depth: u32::try_from(new.depth).unwrap_or(DEEP),
            edges,
            sender: facts.sender,
            slot,
            body,
            citers: NONE,
            before: new.before,
            after: new.after,
            prevs: new.prevs.len() as u8,
            auths: new.auths.len() as u8,
            levels: levels.map_or(NO_LEVELS, |k| k as u8),
            status: new.status,
            place: new.place,
            kind,
            flags: flag(facts.foreign_state_key, FOREIGN_STATE_KEY)
                | flag(power, POWER)
                | flag(citing, CITING)
                | flag(new.parents.0, HAS_PARENTS)
                | flag(new.parents.1, ON_CREATE_ALONE),
        });
        if u32::try_from(new.depth).unwrap_or(DEEP) == DEEP {
            self.deep.insert(ix.0, new.depth);
        }
        if let Some(rule) = new.broken {
            self.broken.insert(ix.0, rule);
        }
        if citing {
            if self.used.len() <= slot as usize {
                let more = slot as usize + 1 - self.used.len();
                tight(&mut self.used, more);
                self.used.resize(slot as usize + 1, false);
            }
            if let Some(used) = self.used.get_mut(slot as usize) {
                *used = true;
            }
        }
        self.enter(ix);
        ix
    }

    /// Gives an outlier its parents and state, now that they are known.
    pub(crate) fn promote(
        &mut self,
        ix: Ix,
        prevs: &[Ix],
        place: Place,
        verdict: (Status, Option<(Check, AuthRule)>),
        groups: (Group, Group),
    ) {
        self.set_prevs(ix, prevs);
        if let Some(record) = self.records.get_mut(ix.0 as usize) {
            record.place = place;
            record.status = verdict.0;
            (record.before, record.after) = groups;
        }
        match verdict.1 {
            Some(rule) => drop(self.broken.insert(ix.0, rule)),
            None => drop(self.broken.remove(&ix.0)),
        }
    }

    /// Adds a parent that was missing.
    pub(crate) fn add_prev(&mut self, ix: Ix, prev: Ix) {
        let mut prevs: SmallVec<[Ix; 4]> = self.prevs(ix).collect();
        if !prevs.contains(&prev) {
            prevs.push(prev);
            self.set_prevs(ix, &prevs);
        }
    }

    /// Moves an event's edges to where there is room for other parents.
    fn set_prevs(&mut self, ix: Ix, prevs: &[Ix]) {
        let record = self.record(ix);
        let start = record.edges as usize + usize::from(record.prevs);
        let len = usize::from(record.auths) * record.stride();
        let edges = self.edges.len() as u32;
        tight(&mut self.edges, prevs.len() + len);
        self.edges.extend(prevs.iter().map(|i| i.0));
        if start + len <= edges as usize {
            self.edges.extend_from_within(start..start + len);
        }
        if let Some(record) = self.records.get_mut(ix.0 as usize) {
            record.edges = edges;
            record.prevs = prevs.len() as u8;
        }
    }

    fn keep_body(&mut self, body: Body) -> u32 {
        let plain = match &body {
            Body::Other | Body::JoinRules(_) => true,
            Body::Member(m) => {
                m.authorised_via.is_none() && !m.authorised_via_malformed && m.third_party.is_none()
            }
            Body::Create(_) | Body::PowerLevels(_) | Body::ThirdPartyInvite(_) => false,
        };
        if plain {
            return NONE;
        }
        tight(&mut self.bodies, 1);
        self.bodies.push(body);
        self.bodies.len() as u32 - 1
    }

    fn enter(&mut self, ix: Ix) {
        if self.records.len() * 8 > self.table.len() * 7 {
            self.table = vec![NONE; self.table.len() * 2];
            for i in 0..self.records.len() as u32 {
                self.place(Ix(i));
            }
        } else {
            self.place(ix);
        }
    }

    fn place(&mut self, ix: Ix) {
        let mask = self.table.len() - 1;
        let mut at = Self::start(&self.record(ix).id, mask);
        while self.table.get(at).is_some_and(|t| *t != NONE) {
            at = (at + 1) & mask;
        }
        if let Some(entry) = self.table.get_mut(at) {
            *entry = ix.0;
        }
    }

    /// Octets of memory held.
    pub(crate) fn bytes(&self) -> usize {
        let bodies: usize = self
            .bodies
            .iter()
            .map(|b| match b {
                Body::PowerLevels(Ok(levels)) => levels.bytes(),
                _ => 128,
            })
            .sum();
        self.records.capacity() * size_of::<Record>()
            + self.table.capacity() * 4
            + self.edges.capacity() * 4
            + self.used.capacity()
            + self.bodies.capacity() * size_of::<Body>()
            + bodies
    }
}

fn kind_of(body: &Body) -> Kind {
    match body {
        Body::Other => Kind::Other,
        Body::Create(_) => Kind::Create,
        Body::Member(member) => Kind::Member(member.membership),
        Body::PowerLevels(_) => Kind::PowerLevels,
        Body::JoinRules(rule) => Kind::JoinRules(*rule),
        Body::ThirdPartyInvite(_) => Kind::ThirdPartyInvite,
    }
}

/// "Power events": power levels, join rules, and kicks and bans. The create event counts too, as in every
/// implementation.
fn is_power(facts: &Facts, kind: Kind) -> bool {
    match (kind, facts.state_key) {
        (Kind::Create | Kind::PowerLevels | Kind::JoinRules(_), Some((key, _))) => key == Sym::EMPTY,
        (Kind::Member(Membership::Leave | Membership::Ban), Some((key, _))) => key != facts.sender,
        _ => false,
    }
}
