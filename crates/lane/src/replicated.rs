//! A store whose commits are final at the majority of the nodes.

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use store::{
    Batch, BlobHash, Collected, Committed, Guard, OwnerKey, Scan, Snapshot, Space, Stats, Store, StoreError,
    Verify, VerifyReport,
};

use super::cluster::Cluster;

/// Reads come from the node's own store. A commit is an entry of the replicated log: it returns once the majority has
/// it on disk and this node has written it. A blob returns once the majority has it, so that whoever leads next can
/// get it from somebody.
#[derive(Clone)]
pub struct ReplicatedStore {
    local: Arc<dyn Store>,
    cluster: Cluster,
}

impl ReplicatedStore {
    /// Over the store that the cluster was started on.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            local: cluster.local().clone(),
            cluster,
        }
    }
}

#[async_trait]
impl Store for ReplicatedStore {
    async fn acquire(&self, owner: &OwnerKey) -> Result<Guard, StoreError> {
        let claimed = self.commit(Batch::claiming(owner.clone())).await?;
        claimed.guard.ok_or(StoreError::Closed)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        batch.check()?;
        if let Some((space, ..)) = batch.writes().find(|(space, ..)| space.is_local()) {
            return Err(StoreError::Reserved { space });
        }
        self.cluster.propose(batch).await
    }

    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.cluster.read(self.local.get(space, key)).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.cluster.read(self.local.scan(scan)).await
    }

    async fn blob_put(&self, bytes: Bytes) -> Result<BlobHash, StoreError> {
        let hash = self.local.blob_put(bytes.clone()).await?;
        self.cluster.spread(&hash, bytes).await?;
        Ok(hash)
    }

    async fn blob_get(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError> {
        match self.local.blob_get(hash).await? {
            Some(bytes) => Ok(Some(bytes)),
            None => self.cluster.pull(hash).await,
        }
    }

    async fn collect_blobs(
        &self,
        referenced: HashSet<BlobHash>,
        grace: Duration,
    ) -> Result<Collected, StoreError> {
        self.local.collect_blobs(referenced, grace).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.cluster.read(self.local.snapshot()).await
    }

    async fn verify(&self, depth: Verify) -> Result<VerifyReport, StoreError> {
        self.local.verify(depth).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.local.stats().await
    }
}
