//! State resolution v2 and v2.1 (rooms/v2 and rooms/v12, "State resolution") over interned events.
//!
//! The work follows the contested part: the conflicted entries come from the difference of the state trees;
//! the auth difference and the conflicted subgraph from walks over the auth edges that stop where the states
//! agree again; and everything by event number is in arrays that are kept between calls and told apart by a
//! stamp, so that nothing is cleared and nothing of the room copied.

mod difference;
mod iterate;
mod order;

use super::{
    index::{Index, Ix},
    state::{Group, States},
};
use crate::{
    intern::{Interner, Slot},
    version::Rules,
};

/// An array of values that are forgotten all at once.
#[derive(Debug, Clone)]
pub(crate) struct Stamped<T> {
    stamp: u32,
    cells: Vec<(u32, T)>,
}

impl<T: Copy + Default> Stamped<T> {
    fn new() -> Self {
        Self {
            stamp: 0,
            cells: Vec::new(),
        }
    }

    /// Forgets all values and makes room for `len` of them.
    fn start(&mut self, len: usize) {
        if self.cells.len() < len {
            // Fresh zeroed memory costs nothing until it is touched.
            let grown = len.next_power_of_two();
            self.cells = vec![(0, T::default()); grown];
            self.stamp = 0;
        }
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.cells.fill((0, T::default()));
            self.stamp = 1;
        }
    }

    #[inline]
    fn get(&self, i: u32) -> Option<T> {
        self.cells
            .get(i as usize)
            .and_then(|(s, v)| (*s == self.stamp).then_some(*v))
    }

    #[inline]
    fn set(&mut self, i: u32, value: T) {
        if let Some(cell) = self.cells.get_mut(i as usize) {
            *cell = (self.stamp, value);
        }
    }
}

/// A set of numbers that gives its greatest first; empty again when it has given all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Descending {
    words: Vec<u64>,
    top: usize,
}

impl Descending {
    fn start(&mut self, len: usize) {
        if self.words.len() * 64 < len {
            self.words = vec![0; len.next_power_of_two().div_ceil(64)];
        }
        self.top = 0;
    }

    #[inline]
    fn insert(&mut self, i: u32) {
        let word = i as usize / 64;
        if let Some(w) = self.words.get_mut(word) {
            *w |= 1 << (i % 64);
            self.top = self.top.max(word);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        loop {
            let word = self.words.get_mut(self.top)?;
            if *word != 0 {
                let bit = 63 - word.leading_zeros();
                *word &= !(1 << bit);
                return Some(self.top as u32 * 64 + bit);
            }
            self.top = self.top.checked_sub(1)?;
        }
    }
}

/// Memory the resolver keeps between calls; no content of one call is seen by the next.
#[derive(Debug, Clone)]
pub(crate) struct Scratch {
    queue: Descending,
    /// Which states reach an event.
    mask: Stamped<u64>,
    /// What is known of an event's place in the auth difference, and whether it is in the full conflicted
    /// set: bits of [`difference`].
    flags: Stamped<u8>,
    /// Slots that are conflicted.
    conflicted: Stamped<()>,
    /// The state as resolved so far.
    resolved: Stamped<u32>,
    /// Place of an event in the list of power events, and later on the mainline.
    place: Stamped<u32>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            queue: Descending::default(),
            mask: Stamped::new(),
            flags: Stamped::new(),
            conflicted: Stamped::new(),
            resolved: Stamped::new(),
            place: Stamped::new(),
        }
    }
}

/// The outcome of a resolution, as changes to the first of the states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// Sorted by slot.
    pub(crate) changes: Vec<(Slot, Option<Ix>)>,
    /// How many events were in the conflicted state set.
    pub(crate) conflicted: usize,
    /// How many were in the full conflicted set.
    pub(crate) full: usize,
}

/// What a resolution reads.
#[derive(Clone, Copy)]
pub(crate) struct Room<'a> {
    pub(crate) index: &'a Index,
    pub(crate) states: &'a States,
    pub(crate) interner: &'a Interner,
    pub(crate) rules: &'a Rules,
}

/// Resolves at least two states.
pub(crate) fn resolve(room: Room<'_>, groups: &[Group], scratch: &mut Scratch) -> Resolution {
    let Some(first) = groups.first().copied() else {
        return Resolution::default();
    };
    // Conflicted: not the same event in every state.
    let slots = room.states.differing(groups);
    if slots.is_empty() {
        return Resolution::default();
    }
    scratch.conflicted.start(room.interner.slot_count());
    for slot in &slots {
        scratch.conflicted.set(slot.0, ());
    }
    let conflicted = difference::conflicted_events(room, groups, &slots, scratch);
    let mut full = conflicted.clone();
    difference::auth_difference(room, groups, &conflicted, scratch, &mut full);
    if room.rules.state_resolution_v2_1 {
        difference::subgraph(room, &conflicted, scratch, &mut full);
    }

    // 1. Power events, and what of their auth chains is in the full conflicted set.
    let (power, rest) = order::power_events(room, &full, scratch);
    let power = order::reverse_topological(room, &power, scratch);
    // 2. v2 starts from the unconflicted state, v2.1 from nothing.
    scratch.resolved.start(room.interner.slot_count());
    let base = (!room.rules.state_resolution_v2_1).then_some(first);
    let mut touched = Vec::new();
    iterate::auth_checks(room, base, &power, scratch, &mut touched);
    // 3. The rest along the mainline of the power levels now in force.
    let levels = iterate::resolved_event(room, base, Slot::POWER_LEVELS, scratch);
    let rest = order::mainline(room, levels, rest, scratch);
    // 4.
    iterate::auth_checks(room, base, &rest, scratch, &mut touched);
    // 5. Unconflicted entries stand; what no state set had and the checks let in is new.
    touched.sort_unstable();
    touched.dedup();
    let mut changes: Vec<(Slot, Option<Ix>)> = slots
        .iter()
        .map(|slot| (*slot, scratch.resolved.get(slot.0).map(Ix)))
        .filter(|(slot, event)| room.states.get(first, *slot) != *event)
        .collect();
    for slot in touched {
        if scratch.conflicted.get(slot.0).is_none() && room.states.get(first, slot).is_none() {
            changes.push((slot, scratch.resolved.get(slot.0).map(Ix)));
        }
    }
    changes.sort_unstable_by_key(|(slot, _)| *slot);
    Resolution {
        changes,
        conflicted: conflicted.len(),
        full: full.len(),
    }
}
