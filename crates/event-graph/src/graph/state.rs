//! Room state at every event without a map for each.
//!
//! A [`Group`] is a state. It differs from its parent group in one entry, for up to [`PENDING`] groups; then
//! the entries move together into a persistent tree over the slots, which shares all it doesn't change. So an
//! event costs a few dozen octets, a look-up a few steps, and the entries in which two states differ are
//! found without visiting what they share.

use crate::intern::{Slot, tight};

use super::index::Ix;

/// A state of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group(pub(crate) u32);

impl Group {
    /// The state before the create event.
    pub(crate) const EMPTY: Self = Self(0);
}

const PENDING: u8 = 31;
const BITS: u32 = 3;
const WIDTH: usize = 1 << BITS;
/// Both "no child" and, in a leaf, "no event"; events are stored plus one.
const NIL: u32 = 0;

type Node = [u32; WIDTH];

/// Either an entry over a parent, or a tree.
#[derive(Debug, Clone, Copy)]
struct GroupRecord {
    /// The parent; of a tree its root.
    link: u32,
    slot: u32,
    /// The event plus one.
    event: u32,
    height: u8,
    /// How many groups back, this one included, until a tree holds everything; 0 is a tree.
    pending: u8,
}

impl GroupRecord {
    const EMPTY: Self = Self::tree(NIL, 0);

    const fn tree(root: u32, height: u8) -> Self {
        Self {
            link: root,
            slot: 0,
            event: NIL,
            height,
            pending: 0,
        }
    }
}

/// All states of a room.
#[derive(Debug, Clone)]
pub(crate) struct States {
    groups: Vec<GroupRecord>,
    nodes: Vec<Node>,
}

/// How far the arenas had grown, to go back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoint(usize, usize);

impl States {
    pub(crate) fn new() -> Self {
        Self {
            groups: vec![GroupRecord::EMPTY],
            nodes: vec![[NIL; WIDTH]],
        }
    }

    fn group(&self, group: Group) -> GroupRecord {
        let record = self.groups.get(group.0 as usize);
        record.copied().unwrap_or(GroupRecord::EMPTY)
    }

    fn node(&self, node: u32) -> &Node {
        static EMPTY: Node = [NIL; WIDTH];
        self.nodes.get(node as usize).unwrap_or(&EMPTY)
    }

    /// The event that is the state for a slot.
    #[inline]
    pub(crate) fn get(&self, group: Group, slot: Slot) -> Option<Ix> {
        let mut record = self.group(group);
        while record.pending > 0 {
            if record.slot == slot.0 {
                return record.event.checked_sub(1).map(Ix);
            }
            record = self.group(Group(record.link));
        }
        self.tree_get(record.link, record.height, slot.0)
    }

    #[inline]
    fn tree_get(&self, root: u32, height: u8, slot: u32) -> Option<Ix> {
        let mut shift = u32::from(height) * BITS;
        if slot >> shift >> BITS != 0 {
            return None;
        }
        let mut node = root;
        loop {
            if node == NIL {
                return None;
            }
            let child = self
                .node(node)
                .get((slot >> shift) as usize % WIDTH)
                .copied()
                .unwrap_or(NIL);
            if shift == 0 {
                return child.checked_sub(1).map(Ix);
            }
            node = child;
            shift -= BITS;
        }
    }

    /// The state with one entry changed.
    pub(crate) fn set(&mut self, group: Group, slot: Slot, event: Ix) -> Group {
        let from = self.group(group);
        let next = GroupRecord {
            link: group.0,
            slot: slot.0,
            event: event.0 + 1,
            height: from.height,
            pending: from.pending + 1,
        };
        tight(&mut self.groups, 1);
        self.groups.push(next);
        let group = Group(self.groups.len() as u32 - 1);
        if next.pending > PENDING {
            let (root, height) = self.flushed(group);
            if let Some(record) = self.groups.get_mut(group.0 as usize) {
                *record = GroupRecord::tree(root, height);
            }
        }
        group
    }

    /// The state with many entries changed or removed; `changes` has each slot once, sorted.
    pub(crate) fn set_many(&mut self, group: Group, changes: &[(Slot, Option<Ix>)]) -> Group {
        if changes.is_empty() {
            return group;
        }
        let (root, height) = self.flushed(group);
        let items: Vec<(u32, u32)> = changes
            .iter()
            .map(|(s, e)| (s.0, e.map_or(NIL, |e| e.0 + 1)))
            .collect();
        let (root, height) = self.tree_set(root, height, &items);
        tight(&mut self.groups, 1);
        self.groups.push(GroupRecord::tree(root, height));
        Group(self.groups.len() as u32 - 1)
    }

    /// The tree of a group with its pending entries in it.
    fn flushed(&mut self, group: Group) -> (u32, u8) {
        let mut items: Vec<(u32, u32)> = Vec::with_capacity(usize::from(PENDING) + 1);
        let mut record = self.group(group);
        while record.pending > 0 {
            // The newest entry of a slot comes first and counts.
            if items.iter().all(|(slot, _)| *slot != record.slot) {
                items.push((record.slot, record.event));
            }
            record = self.group(Group(record.link));
        }
        items.sort_unstable();
        self.tree_set(record.link, record.height, &items)
    }

    fn tree_set(&mut self, mut root: u32, mut height: u8, items: &[(u32, u32)]) -> (u32, u8) {
        let Some((last, _)) = items.last() else {
            return (root, height);
        };
        while last >> (u32::from(height) * BITS) >> BITS != 0 {
            if root != NIL {
                let mut up = [NIL; WIDTH];
                if let Some(first) = up.first_mut() {
                    *first = root;
                }
                tight(&mut self.nodes, 1);
                self.nodes.push(up);
                root = self.nodes.len() as u32 - 1;
            }
            height += 1;
        }
        (self.node_set(root, u32::from(height) * BITS, items), height)
    }

    /// A copy of `node` with sorted items set. Recursion is at most eleven deep.
    fn node_set(&mut self, node: u32, shift: u32, items: &[(u32, u32)]) -> u32 {
        let mut copy = *self.node(node);
        let child_of = |slot: u32| (slot >> shift) as usize % WIDTH;
        for run in items.chunk_by(|a, b| child_of(a.0) == child_of(b.0)) {
            let Some((slot, event)) = run.first() else {
                continue;
            };
            let place = child_of(*slot);
            let old = copy.get(place).copied().unwrap_or(NIL);
            let new = if shift == 0 {
                *event
            } else {
                self.node_set(old, shift - BITS, run)
            };
            if let Some(child) = copy.get_mut(place) {
                *child = new;
            }
        }
        tight(&mut self.nodes, 1);
        self.nodes.push(copy);
        self.nodes.len() as u32 - 1
    }

    /// Every entry of a state, by slot.
    pub(crate) fn entries(&self, group: Group) -> Vec<(Slot, Ix)> {
        let mut pending: Vec<(u32, u32)> = Vec::new();
        let mut record = self.group(group);
        while record.pending > 0 {
            if pending.iter().all(|(slot, _)| *slot != record.slot) {
                pending.push((record.slot, record.event));
            }
            record = self.group(Group(record.link));
        }
        let mut out: Vec<(u32, u32)> = Vec::new();
        self.collect(
            record.link,
            u32::from(record.height) * BITS,
            0,
            &mut |slot, event| {
                if pending.iter().all(|(s, _)| *s != slot) {
                    out.push((slot, event));
                }
            },
        );
        out.extend(pending);
        out.sort_unstable();
        out.into_iter()
            .filter_map(|(s, e)| Some((Slot(s), Ix(e.checked_sub(1)?))))
            .collect()
    }

    fn collect(&self, node: u32, shift: u32, base: u32, found: &mut impl FnMut(u32, u32)) {
        if node == NIL {
            return;
        }
        for (i, child) in self.node(node).iter().enumerate() {
            let slot = base | (i as u32) << shift;
            if *child == NIL {
                continue;
            }
            if shift == 0 {
                found(slot, *child);
            } else {
                self.collect(*child, shift - BITS, slot, found);
            }
        }
    }

    /// The slots in which the states are not all the same, sorted.
    pub(crate) fn differing(&self, groups: &[Group]) -> Vec<Slot> {
        let Some((first, rest)) = groups.split_first() else {
            return Vec::new();
        };
        let mut slots: Vec<u32> = Vec::new();
        let mut base = self.group(*first);
        while base.pending > 0 {
            slots.push(base.slot);
            base = self.group(Group(base.link));
        }
        for group in rest {
            let mut other = self.group(*group);
            while other.pending > 0 {
                slots.push(other.slot);
                other = self.group(Group(other.link));
            }
            let height = base.height.max(other.height);
            let at = u32::from(height) * BITS;
            self.tree_diff(
                (base.link, base.height),
                (other.link, other.height),
                at,
                0,
                &mut slots,
            );
        }
        slots.sort_unstable();
        slots.dedup();
        slots.retain(|slot| {
            let mine = self.get(*first, Slot(*slot));
            rest.iter().any(|g| self.get(*g, Slot(*slot)) != mine)
        });
        slots.into_iter().map(Slot).collect()
    }

    /// Slots in which two trees differ. A tree lower than `shift` is the first child of what would be above.
    fn tree_diff(&self, a: (u32, u8), b: (u32, u8), shift: u32, base: u32, out: &mut Vec<u32>) {
        if a.0 == b.0 && (a.1 == b.1 || a.0 == NIL) {
            return;
        }
        let level = (shift / BITS) as u8;
        let children = |t: (u32, u8)| {
            if t.0 == NIL {
                [NIL; WIDTH]
            } else if t.1 == level {
                *self.node(t.0)
            } else {
                let mut up = [NIL; WIDTH];
                if let Some(first) = up.first_mut() {
                    *first = t.0;
                }
                up
            }
        };
        let below = |t: (u32, u8)| {
            if t.1 == level {
                level.saturating_sub(1)
            } else {
                t.1
            }
        };
        let (ca, cb) = (children(a), children(b));
        for (i, (x, y)) in ca.iter().zip(&cb).enumerate() {
            let slot = base | (i as u32) << shift;
            if shift == 0 {
                if x != y {
                    out.push(slot);
                }
            } else {
                self.tree_diff((*x, below(a)), (*y, below(b)), shift - BITS, slot, out);
            }
        }
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint(self.groups.len(), self.nodes.len())
    }

    /// Forgets every group made since.
    pub(crate) fn roll_back(&mut self, to: Checkpoint) {
        self.groups.truncate(to.0);
        self.nodes.truncate(to.1);
    }

    /// Octets of memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.groups.capacity() * size_of::<GroupRecord>() + self.nodes.capacity() * size_of::<Node>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against plain maps: a tree of states, each made of an earlier one by one change or many.
        #[test]
        fn states_are_maps(
            steps in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(),
                prop::collection::btree_map(0u32..2000, prop::option::weighted(0.9, 0u32..50), 1..20)), 1..60)
        ) {
            let mut states = States::new();
            let mut maps: Vec<BTreeMap<u32, u32>> = vec![BTreeMap::new()];
            let mut groups = vec![Group::EMPTY];
            for (parent, many, changes) in steps {
                let p = parent.index(groups.len());
                let mut map = maps[p].clone();
                let group = if many {
                    let list: Vec<_> = changes.iter().map(|(s, e)| (Slot(*s), e.map(Ix))).collect();
                    for (s, e) in &changes {
                        match e { Some(e) => { map.insert(*s, *e); } None => { map.remove(s); } }
                    }
                    states.set_many(groups[p], &list)
                } else {
                    let mut g = groups[p];
                    for (s, e) in &changes {
                        if let Some(e) = e { map.insert(*s, *e); g = states.set(g, Slot(*s), Ix(*e)); }
                    }
                    g
                };
                groups.push(group);
                maps.push(map);
            }
            for (g, m) in groups.iter().zip(&maps) {
                let entries: Vec<_> = states.entries(*g).into_iter().map(|(s, e)| (s.0, e.0)).collect();
                prop_assert_eq!(&entries, &m.iter().map(|(a, b)| (*a, *b)).collect::<Vec<_>>());
                for s in (0..2000).step_by(97) {
                    prop_assert_eq!(states.get(*g, Slot(s)).map(|e| e.0), m.get(&s).copied());
                }
            }
            for (i, j, k) in [(0, 1, 0), (groups.len() / 2, groups.len() - 1, 1)] {
                let three = [groups[i], groups[j], groups[k]];
                let want: Vec<_> = (0..2000u32).filter(|s| {
                    let v = maps[i].get(s);
                    maps[j].get(s) != v || maps[k].get(s) != v
                }).collect();
                let got: Vec<_> = states.differing(&three).into_iter().map(|s| s.0).collect();
                prop_assert_eq!(got, want);
            }
        }
    }
}
