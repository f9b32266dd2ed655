//! A store in memory with something in its way.

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashSet;
use std::ops::Deref;
use std::time::Duration;
use store::{
    Batch, BlobHash, Collected, Committed, Guard, MemoryStore, OwnerKey, Scan, Snapshot, Space, Stats, Store,
    StoreError, Verify, VerifyReport,
};

/// What stands in the way; what it doesn't say passes.
#[async_trait]
pub(crate) trait Hook: Send + Sync + 'static {
    async fn acquire(&self, store: &MemoryStore, owner: &OwnerKey) -> Result<Guard, StoreError> {
        store.acquire(owner).await
    }
    async fn commit(&self, store: &MemoryStore, batch: Batch) -> Result<Committed, StoreError> {
        store.commit(batch).await
    }
    async fn get(&self, store: &MemoryStore, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        store.get(space, key).await
    }
    async fn scan(&self, store: &MemoryStore, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        store.scan(scan).await
    }
}

/// A store with a hook, which can be told things through it.
#[derive(Default)]
pub(crate) struct Hooked<H> {
    inner: MemoryStore,
    hook: H,
}

impl<H> Deref for Hooked<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.hook
    }
}

#[async_trait]
impl<H: Hook> Store for Hooked<H> {
    async fn acquire(&self, owner: &OwnerKey) -> Result<Guard, StoreError> {
        self.hook.acquire(&self.inner, owner).await
    }
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.hook.commit(&self.inner, batch).await
    }
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.hook.get(&self.inner, space, key).await
    }
    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.hook.scan(&self.inner, scan).await
    }
    async fn blob_put(&self, bytes: Bytes) -> Result<BlobHash, StoreError> {
        self.inner.blob_put(bytes).await
    }
    async fn blob_get(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError> {
        self.inner.blob_get(hash).await
    }
    async fn collect_blobs(
        &self,
        referenced: HashSet<BlobHash>,
        grace: Duration,
    ) -> Result<Collected, StoreError> {
        self.inner.collect_blobs(referenced, grace).await
    }
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.inner.snapshot().await
    }
    async fn verify(&self, depth: Verify) -> Result<VerifyReport, StoreError> {
        self.inner.verify(depth).await
    }
    async fn stats(&self) -> Result<Stats, StoreError> {
        self.inner.stats().await
    }
}
