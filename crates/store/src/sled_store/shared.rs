//! What the writer and the readers of a store share.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    blobs::BlobDir,
    layout::Layout,
    system::System,
    table::{Met, Table},
    visible::Visible,
};
use crate::{Scan, Space, StoreError, key};

/// Records read under one hold of the lock; longer scans let the writer in between.
pub(super) const PAGE: usize = 128;

pub(super) struct Shared {
    pub(super) table: Table,
    pub(super) blobs: BlobDir,
    pub(super) layout: Layout,
    pub(super) reserve: u64,
    visible: RwLock<Visible>,
    /// The writer is inside sled, which keeps readers waiting until it has applied the group.
    pub(super) applying: AtomicBool,
    read_only: OnceLock<Arc<str>>,
    pub(super) counters: Mutex<Counters>,
}

/// Counted since the store was opened.
#[derive(Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) groups: u64,
    pub(super) batches: u64,
    pub(super) refused: u64,
    pub(super) sync_time: Duration,
    pub(super) sync_max: Duration,
}

impl Shared {
    pub(super) fn new(table: Table, blobs: BlobDir, layout: Layout, reserve: u64, system: System) -> Shared {
        Shared {
            table,
            blobs,
            layout,
            reserve,
            visible: RwLock::new(Visible::new(system)),
            applying: AtomicBool::new(false),
            read_only: OnceLock::new(),
            counters: Mutex::default(),
        }
    }

    // Nothing under these locks can panic halfway through a change.
    pub(super) fn visible(&self) -> RwLockReadGuard<'_, Visible> {
        self.visible.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn visible_mut(&self) -> RwLockWriteGuard<'_, Visible> {
        self.visible.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counters)) -> Counters {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counters);
        *counters
    }

    /// True while a read would have to wait for the writer.
    pub(super) fn busy(&self) -> bool {
        self.applying.load(Ordering::Relaxed)
    }

    /// Takes no more writes from now on.
    pub(super) fn fail(&self, error: &StoreError) {
        let why: Arc<str> = error.to_string().into();
        if self.read_only.set(why).is_ok() {
            tracing::error!(%error, "the store takes no more writes");
        }
    }

    pub(super) fn read_only(&self) -> Option<Arc<str>> {
        self.read_only.get().cloned()
    }

    /// Refuses a write of so many bytes if the store takes none or the disk is too full for it.
    pub(super) fn check_writable(&self, bytes: u64) -> Result<(), StoreError> {
        if let Some(why) = self.read_only() {
            return Err(StoreError::ReadOnly { why });
        }
        let free = self.layout.free_bytes()?;
        if free.saturating_sub(bytes) < self.reserve {
            return Err(StoreError::DiskFull {
                path: self.layout.path().to_owned(),
                free,
                reserve: self.reserve,
            });
        }
        Ok(())
    }

    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let raw = key::raw(space, key);
        let visible = self.visible();
        match visible.pending().get(&raw) {
            Some(earlier) => Ok(earlier.clone()),
            None => self.table.read(&raw),
        }
    }

    pub(super) fn scan(self: &Arc<Self>, scan: &Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let Some(mut range) = key::range(scan) else {
            return Ok(Vec::new());
        };
        let pair = |(raw, value): Met| Ok((Bytes::copy_from_slice(key::split(&raw).1), value?));
        if scan.limit <= PAGE {
            let visible = self.visible();
            return self
                .table
                .walk(visible.pending(), range, scan.reverse)
                .take(scan.limit)
                .map(pair)
                .collect();
        }
        // Page by page from a snapshot: one moment for the whole scan, and no long hold of the lock.
        let snapshot = OpenSnapshot::new(self);
        let mut found = Vec::new();
        loop {
            let page = snapshot.page(range.clone(), scan.reverse, PAGE.min(scan.limit - found.len()))?;
            let last = page.last().map(|(raw, _)| raw.clone());
            found.extend(page.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?);
            match last {
                Some(last) if found.len() < scan.limit => range = key::behind(range, last, scan.reverse),
                _ => return Ok(found),
            }
        }
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.layout.free_bytes().ok()
    }
}

/// A snapshot, closed when dropped.
pub(super) struct OpenSnapshot {
    shared: Arc<Shared>,
    id: u64,
}

impl OpenSnapshot {
    pub(super) fn new(shared: &Arc<Shared>) -> OpenSnapshot {
        let id = shared.visible_mut().open_snapshot();
        OpenSnapshot {
            shared: Arc::clone(shared),
            id,
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The system record at the time of the snapshot.
    pub(super) fn system(&self) -> System {
        self.shared
            .visible()
            .snapshot(self.id)
            .map_or_else(System::default, |snapshot| snapshot.system.clone())
    }

    /// Records within the range as they were then.
    pub(super) fn page(
        &self,
        range: key::Range,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<Met>, StoreError> {
        let visible = self.shared.visible();
        let snapshot = visible.snapshot(self.id).ok_or(StoreError::SnapshotLost)?;
        if snapshot.lost {
            return Err(StoreError::SnapshotLost);
        }
        Ok(self
            .shared
            .table
            .walk(&snapshot.undo, range, reverse)
            .take(limit)
            .collect())
    }
}

impl Drop for OpenSnapshot {
    fn drop(&mut self) {
        // The lock is released before the earlier values are freed.
        let closed = self.shared.visible_mut().close_snapshot(self.id);
        drop(closed);
    }
}
