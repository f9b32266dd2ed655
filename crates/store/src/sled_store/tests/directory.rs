//! The directory: locks, missing parts, full disks, broken-off creations and imports.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{get, open, options, put};
use crate::{
    Batch, MemoryStore, Space, Store as _, StoreError, Verify,
    export::{export, import},
    sled_store::SledStore,
};

fn why(result: Result<SledStore, StoreError>) -> String {
    match result {
        Err(StoreError::Corrupt { why, .. }) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn a_store_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    assert!(matches!(open(dir.path()).await, Err(StoreError::Locked { .. })));
    put(&store, "a", "1").await;
    store.close().await;
    assert_eq!(
        get(&open(dir.path()).await.unwrap(), "a").await.as_deref(),
        Some("1")
    );
}

/// A process that is being started holds what its parent has open until it runs its own program.
#[tokio::test]
async fn a_closed_store_can_be_opened_while_a_child_still_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let inherited = store.shared.layout.lock_again();
    store.close().await;
    open(dir.path()).await.unwrap();
    drop(inherited);
}

#[tokio::test]
async fn others_cannot_look_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er");
    let store = open(&path).await.unwrap();
    put(&store, "a", "1").await;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn below_the_reserve_commits_are_refused_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    put(&store, "a", "1").await;
    let blob = store.blob_put("blob".into()).await.unwrap();
    store.close().await;
    let mut options = options(dir.path());
    options.reserve_bytes = u64::MAX;
    let store = SledStore::open(options).await.unwrap();
    let mut batch = Batch::new();
    batch.put(Space::Room, "a", "2");
    assert!(matches!(
        store.commit(batch).await,
        Err(StoreError::DiskFull { .. })
    ));
    assert!(matches!(
        store.blob_put("more".into()).await,
        Err(StoreError::DiskFull { .. })
    ));
    assert_eq!(get(&store, "a").await.as_deref(), Some("1"));
    assert!(store.blob_get(&blob).await.unwrap().is_some());
    // It passes: not a failed write.
    assert_eq!(store.stats().await.unwrap().read_only, None);
}

#[tokio::test]
async fn a_broken_off_creation_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    for parts in [&["FORMAT"][..], &["FORMAT", "sled"], &["FORMAT", "sled", "blobs"]] {
        let path = dir.path().join(parts.len().to_string());
        open(&path).await.unwrap().close().await;
        for part in parts {
            let part = path.join(part);
            if part.is_dir() {
                fs::remove_dir_all(part)
            } else {
                fs::remove_file(part)
            }
            .unwrap();
        }
        let store = open(&path).await.unwrap();
        put(&store, "a", "1").await;
        store.close().await;
        assert_eq!(get(&open(&path).await.unwrap(), "a").await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_missing_part_is_no_new_store() {
    for (part, told) in [
        ("FORMAT", "FORMAT is missing"),
        ("HEAD", "HEAD is missing"),
        ("sled", "the database is empty"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await.unwrap();
        put(&store, "a", "1").await;
        store.close().await;
        let part = dir.path().join(part);
        if part.is_dir() {
            fs::remove_dir_all(part)
        } else {
            fs::remove_file(part)
        }
        .unwrap();
        assert_eq!(why(open(dir.path()).await), told);
    }
}

#[tokio::test]
async fn a_database_older_than_its_head_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    put(&store, "a", "1").await;
    store.shared.layout.write_head(2).unwrap();
    store.close().await;
    assert!(why(open(dir.path()).await).contains("batch 2 was acknowledged"));
}

#[tokio::test]
async fn half_a_head_is_reported_and_none_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    put(&store, "a", "1").await;
    let head = dir.path().join("HEAD");
    let mut slots = fs::read(&head).unwrap();
    slots[0] ^= 1;
    fs::write(&head, &slots).unwrap();
    let report = store.verify(Verify::Quick).await.unwrap();
    assert!(
        report.problems.iter().any(|problem| problem.why.contains("HEAD")),
        "{report:?}"
    );
    slots[12] ^= 1;
    fs::write(&head, &slots).unwrap();
    store.close().await;
    assert_eq!(why(open(dir.path()).await), "HEAD is unreadable");
}

#[tokio::test]
async fn a_store_whose_import_was_broken_off_is_not_opened() {
    let memory = MemoryStore::new();
    let mut text = Vec::new();
    export(&memory, &mut text, |_| {}).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let cut = &text[..text.len() - 5];
    assert!(import(&store, &mut &cut[..], |_| {}).await.is_err());
    store.close().await;
    assert!(matches!(open(dir.path()).await, Err(StoreError::HalfImported)));
}
