//! A store for simulations: a disk that forgets what was not synced, tears what was being written, and fills up.
//!
//! The disk is a file of frames, one per batch, each with its length and checksum. A commit appends its frame and
//! waits for the sync, which takes a while and covers whatever was appended before it; only then readers see the
//! batch. [`SimStore::crash`] keeps a prefix of the unsynced octets, cut anywhere; opening the disk again reads frames
//! up to the first that is not whole.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Batch, BlobHash, Collected, Committed, Guard, MemoryStore, OwnerKey, Scan, Snapshot, Space, Stats, Store,
    StoreError, Verify, VerifyReport,
};

/// What outlives the process.
#[derive(Debug, Default)]
struct Disk {
    octets: Vec<u8>,
    /// Up to here a crash takes nothing back.
    synced: usize,
    /// Octets there is room for.
    room: usize,
    /// How long a sync takes.
    sync: Duration,
}

/// See the module. A clone is another handle on the same open store.
#[derive(Clone)]
pub struct SimStore {
    disk: Arc<Mutex<Disk>>,
    open: Arc<Mutex<Open>>,
    /// All batches on the disk, synced or not: what the next one is judged against.
    ahead: MemoryStore,
    /// What is synced.
    seen: MemoryStore,
    /// Held where batches are put in order.
    order: Arc<tokio::sync::Mutex<()>>,
}

/// What ends with the process.
#[derive(Default)]
struct Open {
    /// Batches behind the synced ones, each with the end of its frame.
    unsynced: Vec<(usize, Batch)>,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimStore {
    /// A store on a new disk, on which a sync takes this long.
    pub async fn create(sync: Duration) -> SimStore {
        let disk = Disk {
            room: usize::MAX,
            sync,
            ..Disk::default()
        };
        SimStore::open(Arc::new(Mutex::new(disk)), MemoryStore::new()).await
    }

    async fn open(disk: Arc<Mutex<Disk>>, blobs: MemoryStore) -> SimStore {
        let ahead = MemoryStore::new();
        let seen = blobs;
        let mut at = 0;
        loop {
            let frame = lock(&disk)
                .octets
                .get(at..)
                .and_then(whole)
                .map(Bytes::copy_from_slice);
            let Some(frame) = frame else { break };
            at += frame.len() + 8;
            if let Ok(batch) = Batch::from_bytes(&frame) {
                // It was judged when it was written.
                let restored = |batch: Batch| Batch {
                    restoring: true,
                    ..batch
                };
                let _ = ahead.commit(restored(batch.clone())).await;
                let _ = seen.commit(restored(batch)).await;
            }
        }
        {
            let mut disk = lock(&disk);
            disk.octets.truncate(at);
            disk.synced = at;
        }
        SimStore {
            disk,
            open: Arc::default(),
            ahead,
            seen,
            order: Arc::default(),
        }
    }

    /// The process dies: this handle and its clones are of no use any more. Of the unsynced octets the first `kept`
    /// thousandths stay.
    pub fn crash(&self, kept: u32) {
        lock(&self.open).closed = true;
        let mut disk = lock(&self.disk);
        let unsynced = disk.octets.len() - disk.synced;
        let end = disk.synced + unsynced * usize::try_from(kept.min(1000)).unwrap_or(0) / 1000;
        disk.octets.truncate(end);
    }

    /// Opens the disk again.
    pub async fn reopen(&self) -> SimStore {
        lock(&self.open).closed = true;
        let blobs = MemoryStore::new();
        for hash in self.seen.blob_hashes() {
            if let Ok(Some(bytes)) = self.seen.blob_get(&hash).await {
                let _ = blobs.blob_put(bytes).await;
            }
        }
        SimStore::open(self.disk.clone(), blobs).await
    }

    /// From now on there is room for so many octets more, or (none) for any number.
    pub fn fill(&self, more: Option<usize>) {
        let mut disk = lock(&self.disk);
        disk.room = more.map_or(usize::MAX, |more| disk.octets.len().saturating_add(more));
    }

    /// From now on a sync takes this long.
    pub fn slow(&self, sync: Duration) {
        lock(&self.disk).sync = sync;
    }

    fn check(&self) -> Result<(), StoreError> {
        if lock(&self.open).closed {
            Err(StoreError::Closed)
        } else {
            Ok(())
        }
    }

    fn full(&self, bytes: usize) -> Result<(), StoreError> {
        let disk = lock(&self.disk);
        if disk.octets.len().saturating_add(bytes) > disk.room {
            return Err(StoreError::DiskFull {
                path: "simulated".into(),
                free: 0,
                reserve: bytes as u64,
            });
        }
        Ok(())
    }
}

/// The octets of the frame at the beginning, if it is whole.
fn whole(octets: &[u8]) -> Option<&[u8]> {
    let (length, rest) = octets.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let frame = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    (crc32fast::hash(frame) == u32::from_be_bytes(*sum)).then_some(frame)
}

#[async_trait]
impl Store for SimStore {
    async fn acquire(&self, owner: &OwnerKey) -> Result<Guard, StoreError> {
        let claimed = self.commit(Batch::claiming(owner.clone())).await?;
        claimed.guard.ok_or(StoreError::Closed)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.check()?;
        batch.check()?;
        let frame = batch.to_bytes();
        self.full(frame.len())?;
        let order = self.order.lock().await;
        let committed = self.ahead.commit(batch.clone()).await?;
        let end = {
            let mut disk = lock(&self.disk);
            let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            disk.octets.extend_from_slice(&length.to_be_bytes());
            disk.octets
                .extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
            disk.octets.extend_from_slice(&frame);
            disk.octets.len()
        };
        lock(&self.open).unsynced.push((end, batch));
        drop(order);
        let sync = lock(&self.disk).sync;
        tokio::time::sleep(sync).await;
        self.check()?;
        let _order = self.order.lock().await;
        let synced = {
            let mut disk = lock(&self.disk);
            disk.synced = disk.synced.max(end);
            let mut open = lock(&self.open);
            let count = open.unsynced.iter().take_while(|(at, _)| *at <= end).count();
            open.unsynced.drain(..count).collect::<Vec<_>>()
        };
        for (_, batch) in synced {
            // Judged in the same order against the same records.
            self.seen.commit(batch).await?;
        }
        Ok(committed)
    }

    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.check()?;
        self.seen.get(space, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.check()?;
        self.seen.scan(scan).await
    }

    async fn blob_put(&self, bytes: Bytes) -> Result<BlobHash, StoreError> {
        self.check()?;
        self.full(bytes.len())?;
        self.seen.blob_put(bytes).await
    }

    async fn blob_get(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError> {
        self.check()?;
        self.seen.blob_get(hash).await
    }

    async fn collect_blobs(
        &self,
        referenced: HashSet<BlobHash>,
        grace: Duration,
    ) -> Result<Collected, StoreError> {
        self.check()?;
        self.seen.collect_blobs(referenced, grace).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.check()?;
        self.seen.snapshot().await
    }

    async fn verify(&self, depth: Verify) -> Result<VerifyReport, StoreError> {
        self.check()?;
        self.seen.verify(depth).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.check()?;
        self.seen.stats().await
    }
}
