//! A store without a disk: the same semantics, nothing durable. For tests.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Batch, BlobHash, Collected, Committed, Guard, MAX_BLOB, OwnerKey, Record, Scan, Snapshot, Space,
    SpaceStats, Stats, Store, StoreError, Verify, VerifyReport,
    judge::{self, Judged, View},
    key,
};

type Records = BTreeMap<Vec<u8>, Bytes>;

/// A store in memory. A clone is another handle on the same records.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    records: Records,
    /// Open snapshots; each has a copy of its own.
    snapshots: Vec<Weak<Records>>,
    blobs: HashMap<BlobHash, (Bytes, Instant)>,
    commit: u64,
    refused: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    #[cfg(feature = "suite")]
    pub(crate) fn blob_hashes(&self) -> Vec<BlobHash> {
        self.read().blobs.keys().copied().collect()
    }

    // A panic can't leave the state half-written: batches are judged before the first write.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View for State {
    fn value(&mut self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.records.get(&key::raw(space, key)).cloned())
    }
}

impl State {
    fn apply(&mut self, judged: Result<Judged, StoreError>) -> Result<Committed, StoreError> {
        let judged = judged.inspect_err(|_| self.refused += 1)?;
        let records = &mut self.records;
        for write in judged.writes {
            let key = key::raw(write.space, &write.key);
            match write.value {
                Some(value) => records.insert(key, value),
                None => records.remove(&key),
            };
        }
        self.commit += 1;
        Ok(Committed {
            guard: judged.guard,
            commit: self.commit,
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn acquire(&self, owner: &OwnerKey) -> Result<Guard, StoreError> {
        let claimed = self.commit(Batch::claiming(owner.clone())).await?;
        claimed.guard.ok_or(StoreError::Closed)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let mut state = self.write();
        let judged = judge::check_limits(&batch).and_then(|()| judge::judge(&mut *state, batch));
        state.apply(judged)
    }

    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read().records.get(&key::raw(space, key)).cloned())
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let Some(range) = key::range(&scan) else {
            return Ok(Vec::new());
        };
        let state = self.read();
        let found = state.records.range(range);
        let pair =
            |(raw, value): (&Vec<u8>, &Bytes)| (Bytes::copy_from_slice(key::split(raw).1), value.clone());
        Ok(if scan.reverse {
            found.rev().take(scan.limit).map(pair).collect()
        } else {
            found.take(scan.limit).map(pair).collect()
        })
    }

    async fn blob_put(&self, bytes: Bytes) -> Result<BlobHash, StoreError> {
        if bytes.len() > MAX_BLOB {
            return Err(StoreError::TooLarge {
                what: "a blob",
                bytes: bytes.len(),
                limit: MAX_BLOB,
            });
        }
        let hash = BlobHash::of(&bytes);
        self.write().blobs.insert(hash, (bytes, Instant::now()));
        Ok(hash)
    }

    async fn blob_get(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read().blobs.get(hash).map(|(bytes, _)| bytes.clone()))
    }

    async fn collect_blobs(
        &self,
        referenced: HashSet<BlobHash>,
        grace: Duration,
    ) -> Result<Collected, StoreError> {
        let mut state = self.write();
        state.snapshots.retain(|snapshot| snapshot.strong_count() > 0);
        if !state.snapshots.is_empty() {
            return Ok(Collected {
                deferred: true,
                ..Collected::default()
            });
        }
        let mut collected = Collected::default();
        state.blobs.retain(|hash, (bytes, put)| {
            let keep = referenced.contains(hash) || put.elapsed() < grace;
            if keep {
                collected.kept += 1;
            } else {
                collected.removed += 1;
                collected.removed_bytes += bytes.len() as u64;
            }
            keep
        });
        Ok(collected)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let mut state = self.write();
        let records = Arc::new(state.records.clone());
        state.snapshots.push(Arc::downgrade(&records));
        drop(state);
        Ok(Box::new(MemorySnapshot {
            records,
            last: None,
            store: self.clone(),
        }))
    }

    async fn verify(&self, depth: Verify) -> Result<VerifyReport, StoreError> {
        let state = self.read();
        let mut report = VerifyReport::new(depth);
        report.records = state.records.len() as u64;
        for (hash, (bytes, _)) in &state.blobs {
            report.blobs += 1;
            if BlobHash::of(bytes) != *hash {
                report.add(None, hash.as_bytes(), "the blob's bytes do not have its hash");
            }
        }
        Ok(report)
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let state = self.read();
        Ok(Stats {
            engine: "memory",
            format: crate::SledStore::FORMAT,
            commit: state.commit,
            spaces: count(&state.records),
            blobs: state.blobs.len() as u64,
            blob_bytes: state.blobs.values().map(|(bytes, _)| bytes.len() as u64).sum(),
            groups: state.commit,
            batches: state.commit,
            refused: state.refused,
            ..Stats::default()
        })
    }
}

fn count(records: &Records) -> Vec<(Space, SpaceStats)> {
    let mut spaces: BTreeMap<Space, SpaceStats> = BTreeMap::new();
    for (raw, value) in records {
        let (Some(space), key) = key::split(raw) else {
            continue;
        };
        let stats = spaces.entry(space).or_default();
        stats.records += 1;
        stats.bytes += (key.len() + value.len()) as u64;
    }
    spaces.into_iter().collect()
}

struct MemorySnapshot {
    records: Arc<Records>,
    last: Option<Vec<u8>>,
    store: MemoryStore,
}

#[async_trait]
impl Snapshot for MemorySnapshot {
    fn counts(&self) -> Vec<(Space, SpaceStats)> {
        count(&self.records)
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Record>, StoreError> {
        let start = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Vec::new();
        for (raw, value) in self.records.range((start, Bound::Unbounded)).take(limit) {
            if let (Some(space), key) = key::split(raw) {
                page.push(Record {
                    space,
                    key: Bytes::copy_from_slice(key),
                    value: value.clone(),
                });
            }
            self.last = Some(raw.clone());
        }
        Ok(page)
    }

    async fn blobs(&self) -> Result<Vec<BlobHash>, StoreError> {
        let mut blobs: Vec<BlobHash> = self.store.read().blobs.keys().copied().collect();
        blobs.sort_unstable();
        Ok(blobs)
    }
}
