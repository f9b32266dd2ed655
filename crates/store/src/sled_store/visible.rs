//! What readers see while a group is being written: the state before it.
//!
//! Sled shows a batch as soon as it is applied, some time before it is durable. Whoever read it then could send an
//! outbox entry that is gone after a power cut. So the writer first lays out the earlier values of all keys it is about
//! to change; readers look there first; when the group is synced, they are dropped. The same earlier values, kept for
//! longer, are what makes a snapshot, since sled has none.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{system::System, table::Undo};

/// Bytes of earlier values after which a snapshot is given up.
pub(super) const SNAPSHOT_LIMIT: usize = 256 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Visible {
    /// Last durable system record.
    system: System,
    /// Earlier values of what the group under way changes. Empty between groups; stays for good if a group fails.
    pending: Arc<Undo>,
    snapshots: HashMap<u64, SnapshotUndo>,
    next_snapshot: u64,
}

/// Earlier values of what has changed since a snapshot was taken.
pub(super) struct SnapshotUndo {
    pub(super) undo: Undo,
    pub(super) system: System,
    bytes: usize,
    /// It grew too large and was emptied.
    pub(super) lost: bool,
}

impl Visible {
    pub(super) fn new(system: System) -> Visible {
        Visible {
            system,
            ..Visible::default()
        }
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    pub(super) fn pending(&self) -> &Undo {
        &self.pending
    }

    /// A group is about to be applied.
    pub(super) fn begin(&mut self, earlier: Arc<Undo>) {
        for snapshot in self.snapshots.values_mut().filter(|snapshot| !snapshot.lost) {
            for (raw, value) in &*earlier {
                if !snapshot.undo.contains_key(raw) {
                    snapshot.bytes += raw.len() + value.as_ref().map_or(0, bytes::Bytes::len);
                    snapshot.undo.insert(raw.clone(), value.clone());
                }
            }
            if snapshot.bytes > SNAPSHOT_LIMIT {
                snapshot.lost = true;
                snapshot.undo = BTreeMap::new();
            }
        }
        self.pending = earlier;
    }

    /// The group is durable.
    pub(super) fn end(&mut self, system: System) {
        self.system = system;
        self.pending = Arc::default();
    }

    pub(super) fn open_snapshot(&mut self) -> u64 {
        let id = self.next_snapshot;
        self.next_snapshot += 1;
        let (undo, system) = (Undo::clone(&self.pending), self.system.clone());
        self.snapshots.insert(
            id,
            SnapshotUndo {
                undo,
                system,
                bytes: 0,
                lost: false,
            },
        );
        id
    }

    pub(super) fn snapshot(&self, id: u64) -> Option<&SnapshotUndo> {
        self.snapshots.get(&id)
    }

    /// Returns what is to be freed once the lock is released.
    pub(super) fn close_snapshot(&mut self, id: u64) -> Option<SnapshotUndo> {
        self.snapshots.remove(&id)
    }

    pub(super) fn has_snapshots(&self) -> bool {
        !self.snapshots.is_empty()
    }
}
