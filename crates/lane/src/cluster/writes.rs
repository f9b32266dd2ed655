//! Writes by way of the log, and what becomes of those whose end nobody heard.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use store::{Batch, Committed, StoreError};

use super::{Cluster, unavailable};
use crate::types::Proposal;

/// Writes that were given up. Their entries stay in the log, and may become final later.
#[derive(Default)]
pub(super) struct GivenUp {
    count: AtomicU64,
    /// So many of them are final, or never will be.
    settled: AtomicU64,
}

/// A write that waits for its end. Dropped before it has heard of it, it is given up.
struct Waiting<'a>(Option<&'a GivenUp>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(given_up) = self.0 {
            given_up.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Cluster {
    /// Waits for an answer of the lane, but not for ever.
    pub(super) async fn within<T, E: std::fmt::Display>(
        &self,
        what: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.0.settings.commit, what).await {
            Ok(done) => done.map_err(unavailable),
            Err(_) => Err(unavailable("the majority of the nodes does not answer")),
        }
    }

    pub(crate) async fn propose(&self, batch: Batch) -> Result<Committed, StoreError> {
        let raft = self.lane()?;
        let owner = batch.owner().cloned();
        let mut waiting = Waiting(Some(&self.0.given_up));
        let written = self.within(raft.client_write(Proposal(batch.to_bytes()))).await?;
        waiting.0 = None;
        written.data.into_result(owner)
    }

    /// Waits until nothing that was given up can become final any more: an entry behind it is. A read index does not wait
    /// for entries that the majority has yet to confirm.
    pub(super) async fn settle(&self) -> Result<(), StoreError> {
        let given_up = &self.0.given_up;
        let count = given_up.count.load(Ordering::SeqCst);
        if given_up.settled.load(Ordering::SeqCst) < count {
            self.propose(Batch::new()).await?;
            given_up.settled.fetch_max(count, Ordering::SeqCst);
        }
        Ok(())
    }
}
