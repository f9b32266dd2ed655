//! Reading a snapshot page by page.

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    blocking,
    shared::{OpenSnapshot, PAGE},
};
use crate::{BlobHash, Record, Snapshot, Space, SpaceStats, StoreError, key};

pub(super) struct SledSnapshot {
    /// Taken out while a page is being read on another thread.
    open: Option<OpenSnapshot>,
    rest: key::Range,
}

impl SledSnapshot {
    pub(super) fn new(open: OpenSnapshot) -> SledSnapshot {
        SledSnapshot {
            open: Some(open),
            rest: key::everything(),
        }
    }
}

#[async_trait]
impl Snapshot for SledSnapshot {
    fn counts(&self) -> Vec<(Space, SpaceStats)> {
        self.open
            .as_ref()
            .map_or_else(Vec::new, |open| open.system().spaces())
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Record>, StoreError> {
        let range = self.rest.clone();
        let open = self.open.take().ok_or(StoreError::SnapshotLost)?;
        let (open, page) = blocking(move || {
            let page = open.page(range, false, limit.min(PAGE));
            Ok((open, page))
        })
        .await?;
        self.open = Some(open);
        let mut records = Vec::new();
        for (raw, value) in page? {
            let (space, key) = key::split(&raw);
            let value = value?;
            let space = space.ok_or_else(|| StoreError::damaged("a record of a space nobody knows"))?;
            records.push(Record {
                space,
                key: Bytes::copy_from_slice(key),
                value,
            });
            self.rest = key::behind(key::everything(), raw, false);
        }
        Ok(records)
    }

    async fn blobs(&self) -> Result<Vec<BlobHash>, StoreError> {
        let shared = self
            .open
            .as_ref()
            .ok_or(StoreError::SnapshotLost)?
            .shared()
            .clone();
        blocking(move || Ok(shared.blobs.list()?.0)).await
    }
}
