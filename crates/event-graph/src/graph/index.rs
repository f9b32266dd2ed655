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
    intern::{Slot, Sym},
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

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: EventId,
    pub(crate) ts: i64,
    pub(crate) depth: u64,
    edges: u32,
    prevs: u8,
    auths: u8,
    pub(crate) status: Status,
    /// Known by its auth events alone: no parents, no state.
    pub(crate) outlier: bool,
    pub(crate) kind: Kind,
    pub(crate) foreign_state_key: bool,
    /// A power event in the sense of state resolution.
    pub(crate) power: bool,
    pub(crate) sender: Sym,
    slot: u32,
    body: u32,
    /// Newest entry of the list of events that cite this one.
    citers: u32,
    /// The power levels event it cites.
    levels: u32,
    pub(crate) before: Group,
    pub(crate) after: Group,
}

impl Record {
    /// The state key's slot; none for a message.
    pub(crate) fn slot(&self) -> Option<Slot> {
        (self.slot != NONE).then_some(Slot(self.slot))
    }

    /// The power levels event it cites.
    pub(crate) fn levels(&self) -> Option<Ix> {
        (self.levels != NONE).then_some(Ix(self.levels))
    }
}

/// The table.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    records: Vec<Record>,
    /// Open addressing over the ids, at most 7/8 full. Ids are hashes already.
    table: Vec<u32>,
    edges: Vec<u32>,
    citers: Vec<(u32, u32)>,
    /// Slots that some event had which was not rejected.
    used: Vec<bool>,
    bodies: Vec<Body>,
    broken: rustc_hash::FxHashMap<u32, (Check, AuthRule)>,
}

/// What a record is made of.
pub(crate) struct NewEvent<'a> {
    pub(crate) id: EventId,
    pub(crate) ts: i64,
    pub(crate) depth: u64,
    pub(crate) facts: Facts,
    pub(crate) prevs: &'a [Ix],
    pub(crate) auths: &'a [Ix],
    pub(crate) outlier: bool,
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
            citers: Vec::new(),
            used: Vec::new(),
            bodies: Vec::new(),
            broken: rustc_hash::FxHashMap::default(),
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
            prevs: 0,
            auths: 0,
            status: Status::Rejected,
            outlier: true,
            kind: Kind::Other,
            foreign_state_key: false,
            power: false,
            sender: Sym::EMPTY,
            slot: NONE,
            body: NONE,
            citers: NONE,
            levels: NONE,
            before: Group::EMPTY,
            after: Group::EMPTY,
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
        self.edges
            .get(start..start + usize::from(r.auths))
            .unwrap_or_default()
            .iter()
            .map(|i| Ix(*i))
    }

    /// First entry of the list of accepted state events that cite `ix`, newest first.
    pub(crate) fn first_citer(&self, ix: Ix) -> u32 {
        self.record(ix).citers
    }

    /// An entry of such a list: the citing event and the next entry.
    pub(crate) fn citer(&self, entry: u32) -> Option<(Ix, u32)> {
        self.citers.get(entry as usize).map(|(ix, next)| (Ix(*ix), *next))
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
        let edges = self.edges.len() as u32;
        self.edges.extend(new.prevs.iter().chain(new.auths).map(|i| i.0));
        let slot = facts.state_key.map_or(NONE, |(_, slot)| slot.0);
        let is_levels = |a: &&Ix| self.record(**a).slot() == Some(Slot::POWER_LEVELS);
        let levels = new.auths.iter().find(is_levels).map_or(NONE, |a| a.0);
        self.records.push(Record {
            id: new.id,
            ts: new.ts,
            depth: new.depth,
            edges,
            prevs: new.prevs.len() as u8,
            auths: new.auths.len() as u8,
            status: new.status,
            outlier: new.outlier,
            kind,
            foreign_state_key: facts.foreign_state_key,
            power,
            sender: facts.sender,
            slot,
            body,
            citers: NONE,
            levels,
            before: new.before,
            after: new.after,
        });
        if let Some(rule) = new.broken {
            self.broken.insert(ix.0, rule);
        }
        if slot != NONE && !rejected {
            if self.used.len() <= slot as usize {
                self.used.resize(slot as usize + 1, false);
            }
            if let Some(used) = self.used.get_mut(slot as usize) {
                *used = true;
            }
            for cited in new.auths {
                let entry = self.citers.len() as u32;
                if let Some(record) = self.records.get_mut(cited.0 as usize) {
                    let next = std::mem::replace(&mut record.citers, entry);
                    self.citers.push((ix.0, next));
                }
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
        verdict: (Status, Option<(Check, AuthRule)>),
        groups: (Group, Group),
    ) {
        let auths: SmallVec<[Ix; 10]> = self.auths(ix).collect();
        let edges = self.edges.len() as u32;
        self.edges.extend(prevs.iter().chain(&auths).map(|i| i.0));
        if let Some(record) = self.records.get_mut(ix.0 as usize) {
            record.edges = edges;
            record.prevs = prevs.len() as u8;
            record.outlier = false;
            record.status = verdict.0;
            (record.before, record.after) = groups;
        }
        match verdict.1 {
            Some(rule) => drop(self.broken.insert(ix.0, rule)),
            None => drop(self.broken.remove(&ix.0)),
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
            + self.citers.capacity() * 8
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
