//! Strings and state keys as small numbers, given once at admission.

use std::hash::{BuildHasher as _, RandomState};

use rustc_hash::FxHashMap;

/// An interned string: an event type, a user id, a state key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Sym(pub(crate) u32);

/// An interned (type, state key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u32);

impl Sym {
    pub(crate) const EMPTY: Self = Self(0);
    pub(crate) const CREATE: Self = Self(1);
    pub(crate) const MEMBER: Self = Self(2);
    pub(crate) const POWER_LEVELS: Self = Self(3);
    pub(crate) const JOIN_RULES: Self = Self(4);
    pub(crate) const THIRD_PARTY_INVITE: Self = Self(5);
}

const WELL_KNOWN: [&str; 6] = [
    "",
    "m.room.create",
    "m.room.member",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.third_party_invite",
];

impl Slot {
    pub(crate) const CREATE: Self = Self(0);
    pub(crate) const POWER_LEVELS: Self = Self(1);
    pub(crate) const JOIN_RULES: Self = Self(2);
}

const VACANT: u32 = u32::MAX;
/// Marks a slot that is no membership.
const OTHER: u32 = 1 << 31;

/// Makes room for `more` elements and little besides: what doubles is half empty.
pub(crate) fn tight<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 16).max(16));
    }
}

/// The tables. Strings of strangers are hashed with a keyed hash, so that nobody can choose strings that
/// collide; no result depends on the key.
#[derive(Debug, Clone)]
pub(crate) struct Interner {
    text: Vec<u8>,
    /// End of each string in `text`.
    ends: Vec<u32>,
    /// Open addressing, at most 7/8 full.
    table: Vec<u32>,
    hasher: RandomState,
    /// Of each slot the user whose membership it is, or the place among `others`.
    slots: Vec<u32>,
    others: Vec<(Sym, Sym)>,
    /// The slot (m.room.member, user) by the user's number.
    member_slots: Vec<u32>,
    other_slots: FxHashMap<(Sym, Sym), Slot>,
}

impl Interner {
    pub(crate) fn new() -> Self {
        let mut interner = Self {
            text: Vec::new(),
            ends: Vec::new(),
            table: vec![VACANT; 64],
            hasher: RandomState::new(),
            slots: Vec::new(),
            others: Vec::new(),
            member_slots: Vec::new(),
            other_slots: FxHashMap::default(),
        };
        for word in WELL_KNOWN {
            interner.sym(word);
        }
        for event_type in [Sym::CREATE, Sym::POWER_LEVELS, Sym::JOIN_RULES] {
            interner.slot(event_type, Sym::EMPTY);
        }
        interner
    }

    /// The text of a symbol.
    pub(crate) fn text(&self, sym: Sym) -> &str {
        let i = sym.0 as usize;
        let start = i
            .checked_sub(1)
            .and_then(|p| self.ends.get(p))
            .copied()
            .unwrap_or(0);
        let end = self.ends.get(i).copied().unwrap_or(start);
        let octets = self.text.get(start as usize..end as usize);
        str::from_utf8(octets.unwrap_or_default()).unwrap_or_default()
    }

    fn find(&self, text: &str) -> Result<Sym, usize> {
        let mask = self.table.len() - 1;
        let mut at = self.hasher.hash_one(text) as usize & mask;
        loop {
            match self.table.get(at).copied().unwrap_or(VACANT) {
                VACANT => return Err(at),
                found if self.text(Sym(found)) == text => return Ok(Sym(found)),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// The symbol of a string, if it has one.
    pub(crate) fn get(&self, text: &str) -> Option<Sym> {
        self.find(text).ok()
    }

    /// The symbol of a string, new if need be.
    pub(crate) fn sym(&mut self, text: &str) -> Sym {
        let at = match self.find(text) {
            Ok(sym) => return sym,
            Err(at) => at,
        };
        let sym = Sym(self.ends.len() as u32);
        tight(&mut self.text, text.len());
        self.text.extend_from_slice(text.as_bytes());
        tight(&mut self.ends, 1);
        self.ends.push(self.text.len() as u32);
        tight(&mut self.member_slots, 1);
        self.member_slots.push(VACANT);
        if let Some(entry) = self.table.get_mut(at) {
            *entry = sym.0;
        }
        if self.ends.len() * 8 > self.table.len() * 7 {
            self.grow();
        }
        sym
    }

    fn grow(&mut self) {
        let size = self.table.len() * 2;
        let mut table = vec![VACANT; size];
        for i in 0..self.ends.len() as u32 {
            let mut at = self.hasher.hash_one(self.text(Sym(i))) as usize & (size - 1);
            while table.get(at).is_some_and(|t| *t != VACANT) {
                at = (at + 1) & (size - 1);
            }
            if let Some(entry) = table.get_mut(at) {
                *entry = i;
            }
        }
        self.table = table;
    }

    /// The slot of a (type, state key), new if need be.
    pub(crate) fn slot(&mut self, event_type: Sym, state_key: Sym) -> Slot {
        if let Some(slot) = self.get_slot(event_type, state_key) {
            return slot;
        }
        let slot = Slot(self.slots.len() as u32);
        tight(&mut self.slots, 1);
        if event_type == Sym::MEMBER {
            self.slots.push(state_key.0);
            if let Some(entry) = self.member_slots.get_mut(state_key.0 as usize) {
                *entry = slot.0;
            }
        } else {
            self.slots.push(OTHER | self.others.len() as u32);
            tight(&mut self.others, 1);
            self.others.push((event_type, state_key));
            self.other_slots.insert((event_type, state_key), slot);
        }
        slot
    }

    /// The slot of a (type, state key), if it has one.
    pub(crate) fn get_slot(&self, event_type: Sym, state_key: Sym) -> Option<Slot> {
        if event_type == Sym::MEMBER {
            return self.member_slot(state_key);
        }
        self.other_slots.get(&(event_type, state_key)).copied()
    }

    /// The slot of a user's membership, if it has one.
    pub(crate) fn member_slot(&self, user: Sym) -> Option<Slot> {
        self.member_slots
            .get(user.0 as usize)
            .copied()
            .filter(|s| *s != VACANT)
            .map(Slot)
    }

    /// The (type, state key) of a slot.
    pub(crate) fn key(&self, slot: Slot) -> (Sym, Sym) {
        match self.slots.get(slot.0 as usize).copied() {
            Some(user) if user & OTHER == 0 => (Sym::MEMBER, Sym(user)),
            Some(other) => self
                .others
                .get((other & !OTHER) as usize)
                .copied()
                .unwrap_or_default(),
            None => Default::default(),
        }
    }

    /// The (type, state key) of a slot as text.
    pub(crate) fn key_text(&self, slot: Slot) -> (&str, &str) {
        let (event_type, state_key) = self.key(slot);
        (self.text(event_type), self.text(state_key))
    }

    /// How many slots there are.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Octets of memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.text.capacity()
            + self.ends.capacity() * 4
            + self.table.capacity() * 4
            + self.slots.capacity() * 4
            + self.others.capacity() * 8
            + self.member_slots.capacity() * 4
            + self.other_slots.capacity() * 14
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_dense() {
        let mut i = Interner::new();
        for (n, word) in WELL_KNOWN.iter().enumerate() {
            assert_eq!(i.sym(word), Sym(n as u32));
        }
        let words: Vec<_> = (0..5000).map(|n| format!("@u{n}:x")).collect();
        let syms: Vec<_> = words.iter().map(|w| i.sym(w)).collect();
        let slots: Vec<_> = syms.iter().map(|s| i.slot(Sym::MEMBER, *s)).collect();
        for ((word, sym), slot) in words.iter().zip(&syms).zip(&slots) {
            assert_eq!(i.sym(word), *sym);
            assert_eq!(i.text(*sym), word);
            assert_eq!(i.slot(Sym::MEMBER, *sym), *slot);
            assert_eq!(i.key_text(*slot), ("m.room.member", word.as_str()));
        }
        assert_eq!(i.get("nowhere"), None);
        assert_eq!(
            i.get_slot(Sym::POWER_LEVELS, Sym::EMPTY),
            Some(Slot::POWER_LEVELS)
        );
    }
}
