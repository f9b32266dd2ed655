//! The trait.

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Batch, BlobHash, Collected, Committed, Guard, OwnerKey, Scan, Space, SpaceStats, Stats, StoreError,
    Verify, VerifyReport,
};

/// A durable, ordered map of records with atomic batches, fencing and content-addressed blobs.
///
/// The crate's documentation lists what every implementation promises; the `suite` module tests it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Claims an owner: raises its lease number, so that later commits under an older lease are refused (fencing).
    ///
    /// Returns the guard for the next commit. The version goes on from where the last holder left it.
    async fn acquire(&self, owner: &OwnerKey) -> Result<Guard, StoreError>;

    /// Writes one atomic, synced batch. When it returns `Ok`, everything in it survives power loss.
    ///
    /// Dropping the returned future does not withdraw the batch: it may be written all the same. After any error but
    /// a refusal ([`StoreError::is_refusal`]) the outcome is unknown until the record is read again.
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError>;

    /// Reads one record.
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Reads records in key order; at most `scan.limit` of them. Fewer than the limit means there are no more.
    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Stores bytes under their SHA-256. File and directory are synced before it returns. Idempotent.
    ///
    /// A blob lives as long as a record refers to it or, without one, until [`Store::collect_blobs`] finds it older
    /// than the grace age; storing it again makes it young again.
    async fn blob_put(&self, bytes: Bytes) -> Result<BlobHash, StoreError>;

    /// Reads a blob; its hash is verified.
    async fn blob_get(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError>;

    /// Deletes blobs that are not in `referenced` and were last put longer than `grace` ago.
    ///
    /// The caller gathers `referenced` from its records before the call; `grace` covers blobs whose record was not
    /// committed yet at that time. Does nothing while a snapshot is open ([`Collected::deferred`]).
    async fn collect_blobs(
        &self,
        referenced: HashSet<BlobHash>,
        grace: Duration,
    ) -> Result<Collected, StoreError>;

    /// Takes a consistent view of all records as they are now. Writers go on meanwhile.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Looks for damage. Findings are in the report; an error means the search itself could not be done.
    async fn verify(&self, depth: Verify) -> Result<VerifyReport, StoreError>;

    /// Sizes and counters. Walks over the names of all blobs.
    async fn stats(&self) -> Result<Stats, StoreError>;
}

/// A consistent view of all records at one moment, read page by page.
#[async_trait]
pub trait Snapshot: Send {
    /// How many records of each space the view holds. Spaces without records are left out.
    fn counts(&self) -> Vec<(Space, SpaceStats)>;

    /// The next records, at most `limit`, ordered by space and key. Empty at the end.
    async fn next(&mut self, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// All blobs present now, in order. Every blob that a record of this view refers to is among them.
    async fn blobs(&self) -> Result<Vec<BlobHash>, StoreError>;
}

/// One record of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Kind of record.
    pub space: Space,
    /// Its key within the space.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}
