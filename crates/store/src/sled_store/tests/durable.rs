//! Nobody sees what a crash could take back.

use std::sync::Arc;

use super::{get, open, put};
use crate::{
    Batch, Scan, Space, Store as _, StoreError, key,
    sled_store::{
        SledStore,
        table::{Change, Undo},
        visible::{SNAPSHOT_LIMIT, Visible},
    },
};

/// The state between applying a group and its sync, for as long as we like: `a` replaced, `b` deleted, `c` new.
fn apply_unsynced(store: &SledStore) {
    let [a, b, c] = ["a", "b", "c"].map(|name| key::raw(Space::Room, name.as_bytes()));
    let read = |raw: &Vec<u8>| store.shared.table.read(raw).unwrap();
    let earlier: Undo = [&a, &b, &c]
        .into_iter()
        .map(|raw| (raw.clone(), read(raw)))
        .collect();
    let long = vec![b'x'; 20_000].into();
    let short = "new".into();
    let after = [(&a, Some(&long)), (&b, None), (&c, Some(&short))];
    store.shared.visible_mut().begin(Arc::new(earlier.clone()));
    let changes = after.map(|(raw, after)| Change {
        raw,
        before: earlier[raw].as_ref(),
        after,
    });
    let system = store.shared.visible().system().encode();
    store.shared.table.apply(changes.into_iter(), &system).unwrap();
}

async fn names(store: &SledStore, scan: Scan) -> Vec<(String, usize)> {
    let found = store.scan(scan).await.unwrap();
    found
        .into_iter()
        .map(|(key, value)| (String::from_utf8(key.to_vec()).unwrap(), value.len()))
        .collect()
}

#[tokio::test]
async fn an_applied_group_is_invisible_until_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    for name in ["a", "b", "d"] {
        put(&store, name, "old").await;
    }
    let before = [("a".to_owned(), 3), ("b".to_owned(), 3), ("d".to_owned(), 3)];
    apply_unsynced(&store);
    assert_eq!(get(&store, "a").await.as_deref(), Some("old"));
    assert_eq!(get(&store, "b").await.as_deref(), Some("old"));
    assert_eq!(get(&store, "c").await, None);
    assert_eq!(names(&store, Scan::all(Space::Room)).await, before);
    assert_eq!(names(&store, Scan::all(Space::Room).limit(2)).await, before[..2]);
    let mut backwards = names(&store, Scan::all(Space::Room).limit(5).reverse()).await;
    backwards.reverse();
    assert_eq!(backwards, before);
    let mut snapshot = store.snapshot().await.unwrap();

    store.shared.table.sync().unwrap();
    let system = store.shared.visible().system().clone();
    store.shared.visible_mut().end(system);
    let after = [("a".to_owned(), 20_000), ("c".to_owned(), 3), ("d".to_owned(), 3)];
    assert_eq!(names(&store, Scan::all(Space::Room)).await, after);
    // The snapshot was taken before the sync and stays there.
    let found = snapshot.next(10).await.unwrap();
    assert!(found.iter().all(|record| record.value == "old") && found.len() == 3);
}

#[tokio::test]
async fn after_a_failed_sync_readers_keep_the_last_durable_state_and_writers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    put(&store, "a", "old").await;
    store
        .shared
        .table
        .fail_sync
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let mut batch = Batch::new();
    batch.put(Space::Room, "a", "new");
    assert!(matches!(
        store.commit(batch.clone()).await,
        Err(StoreError::Io { .. })
    ));
    // Even if the disk were well again: nobody knows what it holds.
    store
        .shared
        .table
        .fail_sync
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(
        store.commit(batch).await,
        Err(StoreError::ReadOnly { .. })
    ));
    assert!(matches!(
        store.blob_put("blob".into()).await,
        Err(StoreError::ReadOnly { .. })
    ));
    assert_eq!(get(&store, "a").await.as_deref(), Some("old"));
    assert!(store.stats().await.unwrap().read_only.is_some());
    store.close().await;
    let store = open(dir.path()).await.unwrap();
    // Not acknowledged, so either is right.
    assert!(get(&store, "a").await.is_some());
    put(&store, "a", "newer").await;
}

#[test]
fn a_snapshot_that_costs_too_much_memory_is_given_up() {
    let mut visible = Visible::default();
    let (old, value) = (
        visible.open_snapshot(),
        bytes::Bytes::from(vec![0; SNAPSHOT_LIMIT / 4 - 1]),
    );
    for number in 0_u8..5 {
        // The values share their bytes here; what counts is what they would take.
        visible.begin(Arc::new(Undo::from([(vec![number], Some(value.clone()))])));
        visible.end(crate::sled_store::system::System::default());
        assert_eq!(visible.snapshot(old).unwrap().lost, number == 4);
    }
    let new = visible.open_snapshot();
    assert!(!visible.snapshot(new).unwrap().lost);
    assert!(visible.snapshot(old).unwrap().undo.is_empty());
}
