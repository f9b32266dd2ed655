//! Blobs and their collection.

use std::{collections::HashSet, time::Duration};

use super::Harness;
use crate::{BlobHash, MAX_BLOB, Store, StoreError};

/// The same bytes have the same name, and come back, also after a restart.
pub async fn a_blob_comes_back_by_its_hash(harness: &impl Harness) {
    let store = harness.create().await;
    let blobs = [vec![], vec![1], vec![2; 65_537], vec![3; 3_000_000]];
    for blob in &blobs {
        for _ in 0..2 {
            assert_eq!(
                store.blob_put(blob.clone().into()).await.unwrap(),
                BlobHash::of(blob)
            );
        }
    }
    assert_eq!(store.stats().await.unwrap().blobs, 4);
    let store = harness.reopen(store).await;
    for blob in &blobs {
        assert_eq!(store.blob_get(&BlobHash::of(blob)).await.unwrap().unwrap(), blob);
    }
    assert_eq!(store.blob_get(&BlobHash::of(b"never put")).await.unwrap(), None);
}

/// A blob has a limit.
pub async fn a_blob_too_large_is_refused(harness: &impl Harness) {
    let store = harness.create().await;
    let refused = store.blob_put(vec![0; MAX_BLOB + 1].into()).await;
    assert!(matches!(
        refused,
        Err(StoreError::TooLarge { what: "a blob", .. })
    ));
    assert_eq!(store.stats().await.unwrap().blobs, 0);
}

/// Only what nobody refers to and is older than the grace age goes.
pub async fn blobs_are_collected_when_old_and_unreferenced(harness: &impl Harness) {
    const AGE: Duration = Duration::from_hours(1);
    let store = harness.create().await;
    let kept = store.blob_put("kept".into()).await.unwrap();
    let orphan = store.blob_put("orphan".into()).await.unwrap();
    let young = store.collect_blobs(HashSet::new(), AGE).await.unwrap();
    assert_eq!((young.removed, young.kept), (0, 2));
    let old = store
        .collect_blobs(HashSet::from([kept]), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        (old.removed, old.removed_bytes, old.kept, old.deferred),
        (1, 6, 1, false)
    );
    assert_eq!(store.blob_get(&orphan).await.unwrap(), None);
    assert!(store.blob_get(&kept).await.unwrap().is_some());
    // It can come back.
    store.blob_put("orphan".into()).await.unwrap();
    assert!(store.blob_get(&orphan).await.unwrap().is_some());
}

/// An export in progress finds every blob its records refer to.
pub async fn blobs_stay_while_a_snapshot_is_open(harness: &impl Harness) {
    let store = harness.create().await;
    let hash = store.blob_put("blob".into()).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert!(
        store
            .collect_blobs(HashSet::new(), Duration::ZERO)
            .await
            .unwrap()
            .deferred
    );
    assert_eq!(snapshot.blobs().await.unwrap(), [hash]);
    drop(snapshot);
    let collected = store.collect_blobs(HashSet::new(), Duration::ZERO).await.unwrap();
    assert_eq!((collected.removed, collected.deferred), (1, false));
}
