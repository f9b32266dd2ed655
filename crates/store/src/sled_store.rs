//! The store on sled, and what it takes to trust it.
//!
//! docs/decisions/0002-sled-store.md says why sled, and what we do about its weak sides.

mod blobs;
mod layout;
mod shared;
mod snapshot;
mod system;
mod table;
mod verify;
mod visible;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use self::{
    blobs::BlobDir,
    layout::{FORMAT, Layout, MIGRATIONS, Migration},
    shared::{OpenSnapshot, PAGE, Shared},
    snapshot::SledSnapshot,
    system::System,
    table::Table,
    writer::Request,
};
use crate::{
    Batch, BlobHash, Collected, Committed, Guard, MAX_BLOB, OwnerKey, Scan, Snapshot, Space, Stats, Store,
    StoreError, Verify, VerifyReport, export, judge,
};

/// Batches that may wait for the writer; more wait for their place.
const QUEUE: usize = 1024;

/// How to open a store on sled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SledOptions {
    /// Directory of the store; created if need be.
    pub path: PathBuf,
    /// Bytes of sled's page cache. The process takes several times as much.
    pub cache_bytes: u64,
    /// Trades speed for less space on disk.
    pub low_space: bool,
    /// Bytes that must stay free on the disk. Below, commits are refused as [`StoreError::DiskFull`], before sled meets
    /// a full disk itself, which it doesn't survive well.
    pub reserve_bytes: u64,
}

impl SledOptions {
    /// 64 MiB of cache, 128 MiB of reserve.
    pub fn new(path: impl Into<PathBuf>) -> SledOptions {
        const MIB: u64 = 1024 * 1024;
        SledOptions {
            path: path.into(),
            cache_bytes: 64 * MIB,
            low_space: false,
            reserve_bytes: 128 * MIB,
        }
    }
}

/// A durable store on sled, for one process.
///
/// Dropping it waits for what is queued, then lets go of the directory.
pub struct SledStore {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Request>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SledStore {
    /// Newest format of the stored data that this program knows.
    pub const FORMAT: u32 = FORMAT;

    /// Opens or creates a store: locks it, checks its format (newer refused, older migrated), looks for lost batches
    /// and damaged records (bounded: milliseconds, whatever the size).
    pub async fn open(options: SledOptions) -> Result<SledStore, StoreError> {
        blocking(move || SledStore::open_as(&options, FORMAT, MIGRATIONS)).await
    }

    fn open_as(
        options: &SledOptions,
        supported: u32,
        migrations: &[(u32, Migration)],
    ) -> Result<SledStore, StoreError> {
        let layout = Layout::open(&options.path)?;
        let format = layout.format()?;
        if let Some(found) = format.filter(|format| *format > supported) {
            return Err(StoreError::NewerFormat { found, supported });
        }
        let (head, half) = layout.read_head()?;
        if half {
            tracing::warn!("one of the two copies in HEAD is unreadable");
        }
        let blobs = BlobDir::open(&layout.blobs())?;
        let table = Table::open(&layout.sled(), options)?;
        let system = match (table.system()?, format) {
            (Some(record), _) => System::decode(&record)?,
            (None, None) if head == 0 => create(&table, &layout)?,
            (None, _) => return Err(StoreError::damaged("the database is empty")),
        };
        if system.commit < head {
            return Err(StoreError::damaged(format!(
                "the database ends at batch {}, but batch {head} was acknowledged",
                system.commit
            )));
        }
        // The last process may have died before its last sync; what we show from now on must be durable.
        table.sync()?;
        layout.write_head(system.commit)?;
        match format {
            Some(format) => migrate(&table, &layout, format, supported, migrations)?,
            // Nothing was acknowledged yet: the creation was broken off and is finished now.
            None if head == 0 => layout.set_format(supported)?,
            None => return Err(StoreError::damaged("FORMAT is missing")),
        }
        // A migration may have changed sizes.
        let system = table
            .system()?
            .map_or(Ok(system), |record| System::decode(&record))?;
        let shared = Arc::new(Shared::new(table, blobs, layout, options.reserve_bytes, system));
        if shared.get(Space::Meta, export::IMPORTING)?.is_some() {
            return Err(StoreError::HalfImported);
        }
        let report = verify::verify(&shared, Verify::Quick)?;
        for problem in &report.problems {
            tracing::error!(space = ?problem.space, key = hex::encode(&problem.key), "{}", problem.why);
        }
        if let Some(problem) = report
            .problems
            .into_iter()
            .find(|problem| problem.space.is_some())
        {
            return Err(StoreError::Corrupt {
                space: problem.space,
                key: problem.key,
                why: problem.why,
            });
        }
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("store-writer".to_owned())
                .spawn(move || writer::run(&shared, requests))
                .map_err(|error| StoreError::io("start the writer of", &options.path, error))?
        };
        Ok(SledStore {
            shared,
            queue: Some(queue),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Directory of the store.
    pub fn path(&self) -> &Path {
        self.shared.layout.path()
    }

    /// Waits until everything queued is written and the directory is free for another process.
    pub async fn close(self) {
        // The drop does it; it may block.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    async fn ask(&self, request: impl FnOnce(writer::Reply) -> Request) -> Result<Committed, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(request(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.queue = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the store's writer had died");
        }
    }
}

/// Makes a fresh database durable, with an empty system record.
fn create(table: &Table, layout: &Layout) -> Result<System, StoreError> {
    let system = System::default();
    table.apply(std::iter::empty(), &system.encode())?;
    table.sync()?;
    layout::sync_dir(&layout.sled())?;
    layout::sync_dir(layout.path())?;
    Ok(system)
}

fn migrate(
    table: &Table,
    layout: &Layout,
    mut format: u32,
    supported: u32,
    migrations: &[(u32, Migration)],
) -> Result<(), StoreError> {
    while format < supported {
        let Some((_, step)) = migrations.iter().find(|(from, _)| *from == format) else {
            return Err(StoreError::damaged(format!(
                "there is no way from format {format} to {supported}"
            )));
        };
        tracing::info!(from = format, "migrating the store");
        step(table)?;
        table.sync()?;
        format += 1;
        layout.set_format(format)?;
    }
    Ok(())
}

/// Runs what may block on the disk away from the executor.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let run = move || table::shield(call);
    // The other error is a runtime that shuts down.
    tokio::task::spawn_blocking(run)
        .await
        .map_err(|_| StoreError::Closed)?
}

#[async_trait]
impl Store for SledStore {
    async fn acquire(&self, owner: &OwnerKey) -> Result<Guard, StoreError> {
        let claimed = self.commit(Batch::claiming(owner.clone())).await?;
        claimed.guard.ok_or(StoreError::Closed)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        if let Err(error) = judge::check_limits(&batch) {
            self.shared.count(|counters| counters.refused += 1);
            return Err(error);
        }
        self.ask(|reply| Request { batch, reply }).await
    }

    /// A read takes microseconds, less than a hop to another thread, so it runs where it is called; unless the writer
    /// is inside sled, which makes readers wait for up to some milliseconds: then it must not hold up the executor.
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if !self.shared.busy() {
            return self.shared.get(space, key);
        }
        let (shared, key) = (Arc::clone(&self.shared), key.to_vec());
        blocking(move || shared.get(space, &key)).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        if scan.limit <= PAGE && !self.shared.busy() {
            return self.shared.scan(&scan);
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.scan(&scan)).await
    }

    async fn blob_put(&self, bytes: Bytes) -> Result<BlobHash, StoreError> {
        if bytes.len() > MAX_BLOB {
            return Err(StoreError::TooLarge {
                what: "a blob",
                bytes: bytes.len(),
                limit: MAX_BLOB,
            });
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            shared.check_writable(bytes.len() as u64)?;
            shared.blobs.put(&bytes)
        })
        .await
    }

    async fn blob_get(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError> {
        let (shared, hash) = (Arc::clone(&self.shared), *hash);
        blocking(move || shared.blobs.get(&hash)).await
    }

    async fn collect_blobs(
        &self,
        referenced: HashSet<BlobHash>,
        grace: Duration,
    ) -> Result<Collected, StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            if shared.visible().has_snapshots() {
                return Ok(Collected {
                    deferred: true,
                    ..Collected::default()
                });
            }
            shared.blobs.collect(&referenced, grace)
        })
        .await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(SledSnapshot::new(OpenSnapshot::new(&self.shared))))
    }

    async fn verify(&self, depth: Verify) -> Result<VerifyReport, StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || verify::verify(&shared, depth)).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let system = shared.visible().system().clone();
            let counters = shared.count(|_| {});
            let (blobs, blob_bytes) = shared.blobs.size()?;
            Ok(Stats {
                engine: "sled",
                format: FORMAT,
                commit: system.commit,
                spaces: system.spaces(),
                blobs,
                blob_bytes,
                disk_bytes: shared.table.disk_bytes()? + blob_bytes,
                free_bytes: shared.free_bytes(),
                unsynced_files: shared.table.unsynced_files(),
                groups: counters.groups,
                batches: counters.batches,
                refused: counters.refused,
                sync_time: counters.sync_time,
                sync_max: counters.sync_max,
                read_only: shared.read_only().map(|why| why.to_string()),
            })
        })
        .await
    }
}
