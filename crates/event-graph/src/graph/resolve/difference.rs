//! The full conflicted set: conflicted events, auth difference, conflicted state subgraph.

use super::{Ix, Room, Scratch};
use crate::{graph::state::Group, intern::Slot};

/// In the full conflicted set.
pub(super) const FULL: u8 = 1;
/// Every state reaches it.
const COVERED: u8 = 2;
/// Some state doesn't reach it.
const UNCOVERED: u8 = 4;
/// Below a conflicted event, or one itself.
const BELOW: u8 = 8;
/// A conflicted event, or above one that is.
const ABOVE: u8 = 16;

/// The conflicted state set, each event once. Marks which states hold it.
pub(super) fn conflicted_events(
    room: Room<'_>,
    groups: &[Group],
    slots: &[Slot],
    scratch: &mut Scratch,
) -> Vec<Ix> {
    let events = room.index.len();
    scratch.mask.start(events);
    scratch.flags.start(events);
    scratch.queue.start(events);
    let mut out = Vec::with_capacity(slots.len() * 2);
    for slot in slots {
        for (i, group) in groups.iter().enumerate() {
            let Some(ix) = room.states.get(*group, *slot) else {
                continue;
            };
            let bit = 1u64 << (i % 64);
            if let Some(mask) = scratch.mask.get(ix.0) {
                scratch.mask.set(ix.0, mask | bit);
            } else {
                scratch.mask.set(ix.0, bit);
                scratch.flags.set(ix.0, FULL);
                out.push(ix);
            }
        }
    }
    out
}

/// Adds the auth difference: what some states reach and others don't.
///
/// An event's mask says which states reach it from a conflicted event of theirs. Events come in descending
/// order, so that everything citing an event was seen before it and its mask is final. Where all states reach
/// an event, or one that cites it, they reach all below, and the walk ends.
pub(super) fn auth_difference(
    room: Room<'_>,
    groups: &[Group],
    conflicted: &[Ix],
    scratch: &mut Scratch,
    full: &mut Vec<Ix>,
) {
    if groups.len() > 64 {
        return wide_auth_difference(room, groups, scratch, full);
    }
    let Some(first) = groups.first().copied() else {
        return;
    };
    let all = u64::MAX >> (64 - groups.len() as u32);
    for ix in conflicted {
        scratch.queue.insert(ix.0);
    }
    while let Some(i) = scratch.queue.pop() {
        let mask = scratch.mask.get(i).unwrap_or(0);
        if mask == all || covered(room, first, Ix(i), scratch) {
            mark(scratch, i, COVERED);
            continue;
        }
        let flags = mark(scratch, i, UNCOVERED | FULL);
        if flags & FULL == 0 {
            full.push(Ix(i));
        }
        for cited in room.index.auths(Ix(i)) {
            let before = scratch.mask.get(cited.0).unwrap_or(0);
            scratch.mask.set(cited.0, before | mask);
            scratch.queue.insert(cited.0);
        }
    }
}

/// Adds flags; gives those that were there.
fn mark(scratch: &mut Scratch, i: u32, flags: u8) -> u8 {
    let before = scratch.flags.get(i).unwrap_or(0);
    scratch.flags.set(i, before | flags);
    before
}

/// True if `ix` is in every state, or below an event that is, or below an event that all states reach.
///
/// Searches upwards along the events that cite `ix`. Every event is settled at most once in a resolution.
fn covered(room: Room<'_>, first: Group, ix: Ix, scratch: &mut Scratch) -> bool {
    if let Some(verdict) = settled(room, first, ix, scratch) {
        return verdict;
    }
    // A path upwards, with where to go on at each event.
    let mut path = vec![(ix, room.index.first_citer(ix))];
    while let Some((at, entry)) = path.last_mut() {
        let Some((citer, next)) = room.index.citer(*entry) else {
            mark(scratch, at.0, UNCOVERED);
            path.pop();
            continue;
        };
        *entry = next;
        match settled(room, first, citer, scratch) {
            Some(true) => {
                for (below, _) in path {
                    mark(scratch, below.0, COVERED);
                }
                return true;
            }
            Some(false) => {}
            None => path.push((citer, room.index.first_citer(citer))),
        }
    }
    false
}

/// What is known, or can be seen at once, of an event being covered.
fn settled(room: Room<'_>, first: Group, ix: Ix, scratch: &mut Scratch) -> Option<bool> {
    let flags = scratch.flags.get(ix.0).unwrap_or(0);
    if flags & COVERED != 0 {
        return Some(true);
    }
    if flags & UNCOVERED != 0 {
        return Some(false);
    }
    let slot = room.index.record(ix).slot()?;
    let unconflicted = scratch.conflicted.get(slot.0).is_none() && room.states.get(first, slot) == Some(ix);
    if unconflicted {
        mark(scratch, ix.0, COVERED);
        return Some(true);
    }
    None
}

/// The auth difference of more states than a mask has bits: the whole chains, counted.
fn wide_auth_difference(room: Room<'_>, groups: &[Group], scratch: &mut Scratch, full: &mut Vec<Ix>) {
    let mut counts = vec![0u32; room.index.len()];
    for group in groups {
        for (_, ix) in room.states.entries(*group) {
            scratch.queue.insert(ix.0);
        }
        while let Some(i) = scratch.queue.pop() {
            if let Some(count) = counts.get_mut(i as usize) {
                *count += 1;
            }
            for cited in room.index.auths(Ix(i)) {
                scratch.queue.insert(cited.0);
            }
        }
    }
    for (i, count) in counts.iter().enumerate() {
        let partly = *count > 0 && (*count as usize) < groups.len();
        if partly && mark(scratch, i as u32, FULL) & FULL == 0 {
            full.push(Ix(i as u32));
        }
    }
}

/// Adds the conflicted state subgraph (v2.1): what lies on a path of auth edges between conflicted events.
///
/// No path leads below the conflicted event with the smallest number, as cited events have smaller ones.
pub(super) fn subgraph(room: Room<'_>, conflicted: &[Ix], scratch: &mut Scratch, full: &mut Vec<Ix>) {
    let Some(lowest) = conflicted.iter().min().copied() else {
        return;
    };
    for ix in conflicted {
        mark(scratch, ix.0, ABOVE);
        scratch.queue.insert(ix.0);
    }
    let mut below = Vec::with_capacity(conflicted.len() * 2);
    while let Some(i) = scratch.queue.pop() {
        below.push(Ix(i));
        for cited in room.index.auths(Ix(i)) {
            if cited >= lowest && mark(scratch, cited.0, BELOW) & BELOW == 0 {
                scratch.queue.insert(cited.0);
            }
        }
    }
    for ix in below.into_iter().rev() {
        let flags = scratch.flags.get(ix.0).unwrap_or(0);
        let above = flags & ABOVE != 0
            || room
                .index
                .auths(ix)
                .any(|a| scratch.flags.get(a.0).unwrap_or(0) & ABOVE != 0);
        if above {
            mark(scratch, ix.0, ABOVE | FULL);
            if flags & FULL == 0 {
                full.push(ix);
            }
        }
    }
}
