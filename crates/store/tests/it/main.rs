//! Tests of the stores.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use store::{Batch, MemoryStore, OwnerKey, Scan, Space, Store as _, StoreError};

#[tokio::test]
async fn a_batch_is_read_back_and_a_stale_guard_refused() {
    let store = MemoryStore::new();
    let owner = OwnerKey::new("room");
    let guard = store.acquire(&owner).await.unwrap();
    let mut batch = Batch::guarded(guard.clone());
    batch.put(Space::Room, "a", "1").put(Space::Room, "b", "2");
    let next = store.commit(batch).await.unwrap().guard.unwrap();
    assert_eq!(next.version, guard.version + 1);
    assert_eq!(store.scan(Scan::all(Space::Room)).await.unwrap().len(), 2);
    let refused = store.commit(Batch::guarded(guard)).await;
    assert!(matches!(refused, Err(StoreError::VersionConflict { .. })));
    store.acquire(&owner).await.unwrap();
    let refused = store.commit(Batch::guarded(next)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })));
}
