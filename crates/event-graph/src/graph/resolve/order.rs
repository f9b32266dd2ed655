//! The two orders of state resolution.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::{Ix, Room, Scratch, difference::FULL};
use crate::{
    EventId,
    auth::{
        facts::{Body, Create},
        power::Power,
        rules::power,
    },
    graph::index::Kind,
    intern::Slot,
};

/// Splits the full conflicted set: power events with what of their auth chains is in the set, and the rest.
pub(super) fn power_events(room: Room<'_>, full: &[Ix], scratch: &mut Scratch) -> (Vec<Ix>, Vec<Ix>) {
    scratch.place.start(room.index.len());
    let mut power: Vec<Ix> = Vec::new();
    for ix in full {
        if room.index.record(*ix).power() && scratch.place.get(ix.0).is_none() {
            scratch.place.set(ix.0, 0);
            power.push(*ix);
        }
    }
    let mut next = 0;
    while let Some(ix) = power.get(next).copied() {
        next += 1;
        for cited in room.index.auths(ix) {
            let in_full = scratch.flags.get(cited.0).unwrap_or(0) & FULL != 0;
            if in_full && scratch.place.get(cited.0).is_none() {
                scratch.place.set(cited.0, 0);
                power.push(cited);
            }
        }
    }
    let rest = full
        .iter()
        .copied()
        .filter(|ix| scratch.place.get(ix.0).is_none())
        .collect();
    (power, rest)
}

/// "x < y if x's sender has greater power than y's sender, when looking at their respective `auth_events`;
/// or ... `origin_server_ts` is less ...; or ... `event_id` is less".
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ByPower(Reverse<Power>, i64, EventId, u32);

/// The reverse topological power ordering, by Kahn's algorithm. `scratch.place` holds the members.
pub(super) fn reverse_topological(room: Room<'_>, events: &[Ix], scratch: &mut Scratch) -> Vec<Ix> {
    let create = create_event(room, events);
    for (i, ix) in events.iter().enumerate() {
        scratch.place.set(ix.0, i as u32);
    }
    // Edges from cited to citing, as lists in one array.
    let mut first: Vec<u32> = vec![u32::MAX; events.len()];
    let mut links: Vec<(u32, u32)> = Vec::with_capacity(events.len() * 3);
    let mut waiting: Vec<u32> = vec![0; events.len()];
    for (i, ix) in events.iter().enumerate() {
        for cited in room.index.auths(*ix) {
            let Some(place) = scratch.place.get(cited.0) else {
                continue;
            };
            if let (Some(head), Some(count)) = (first.get_mut(place as usize), waiting.get_mut(i)) {
                links.push((i as u32, std::mem::replace(head, links.len() as u32)));
                *count += 1;
            }
        }
    }
    let key = |place: usize| {
        let ix = events.get(place).copied().unwrap_or(Ix(0));
        let record = room.index.record(ix);
        Reverse(ByPower(
            Reverse(sender_power(room, ix, create)),
            record.ts,
            record.id,
            place as u32,
        ))
    };
    let free = waiting
        .iter()
        .enumerate()
        .filter(|(_, n)| **n == 0)
        .map(|(i, _)| key(i));
    let mut free: BinaryHeap<Reverse<ByPower>> = free.collect();
    let mut out = Vec::with_capacity(events.len());
    while let Some(Reverse(ByPower(.., place))) = free.pop() {
        out.extend(events.get(place as usize));
        let mut link = first.get(place as usize).copied().unwrap_or(u32::MAX);
        while let Some((citing, next)) = links.get(link as usize).copied() {
            link = next;
            if let Some(count) = waiting.get_mut(citing as usize) {
                *count -= 1;
                if *count == 0 {
                    free.push(key(citing as usize));
                }
            }
        }
    }
    out
}

/// The power of an event's sender by the power levels that the event itself cites.
fn sender_power(room: Room<'_>, ix: Ix, create: Option<&Create>) -> Power {
    let record = room.index.record(ix);
    let levels = room.index.levels(ix).and_then(|l| room.index.power_levels(l));
    match create {
        Some(create) => power(record.sender, create, levels, room.rules),
        None => Power::Level(levels.map_or(0, |l| l.user(record.sender))),
    }
}

/// The room's create event: what the first event here that has one cites, or, in version 12, event 0.
fn create_event<'a>(room: Room<'a>, events: &[Ix]) -> Option<&'a Create> {
    let cited = || {
        let all = events.iter().flat_map(|ix| room.index.auths(*ix).chain([*ix]));
        all.into_iter()
            .find(|a| room.index.record(*a).slot() == Some(Slot::CREATE))
    };
    let create = if room.index.record(Ix(0)).kind == Kind::Create {
        Some(Ix(0))
    } else {
        cited()
    };
    match room.index.body(create?)? {
        Body::Create(create) => Some(create),
        _ => None,
    }
}

/// The mainline ordering based on `levels`.
pub(super) fn mainline(
    room: Room<'_>,
    levels: Option<Ix>,
    events: Vec<Ix>,
    scratch: &mut Scratch,
) -> Vec<Ix> {
    let mut line = Vec::new();
    let mut at = levels;
    while let Some(ix) = at {
        line.push(ix);
        at = room.index.levels(ix);
    }
    // Position by how old the mainline event is: 1 for the oldest. 0 is for events without any, which come
    // first ("infinity" in the text, where greater comes first).
    scratch.place.start(room.index.len());
    for (i, ix) in line.iter().rev().enumerate() {
        scratch.place.set(ix.0, i as u32 + 1);
    }
    let mut keyed: Vec<(u32, i64, EventId, Ix)> = events
        .into_iter()
        .map(|ix| {
            let record = room.index.record(ix);
            (
                position(room, room.index.levels(ix), scratch),
                record.ts,
                record.id,
                ix,
            )
        })
        .collect();
    keyed.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| a.2.cmp(&b.2)));
    debug_assert!(
        keyed
            .windows(2)
            .all(|w| matches!(w, [a, b] if a.2.cmp(&b.2) != Ordering::Equal))
    );
    keyed.into_iter().map(|(.., ix)| ix).collect()
}

/// The nearest mainline event from `levels` on, remembered for every event passed on the way.
fn position(room: Room<'_>, levels: Option<Ix>, scratch: &mut Scratch) -> u32 {
    let mut at = levels;
    let mut found = 0;
    while let Some(ix) = at {
        if let Some(place) = scratch.place.get(ix.0) {
            found = place;
            break;
        }
        at = room.index.levels(ix);
    }
    let mut at = levels;
    while let Some(ix) = at {
        if scratch.place.get(ix.0).is_some() {
            break;
        }
        scratch.place.set(ix.0, found);
        at = room.index.levels(ix);
    }
    found
}
