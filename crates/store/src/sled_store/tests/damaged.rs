//! Damaged records, pieces, counters and blobs, each made on purpose.

use std::{collections::HashSet, fs, time::Duration};

use super::{get, open, put};
use crate::{Batch, Problem, Space, Store as _, StoreError, Verify, sled_store::SledStore};

async fn problems(store: &SledStore, depth: Verify) -> Vec<Problem> {
    store.verify(depth).await.unwrap().problems
}

/// The key under which sled has a record, or a piece of it.
fn stored(kind: u8, name: &str, piece: &[u8]) -> Vec<u8> {
    [&[kind, Space::Room.code()], name.as_bytes(), piece].concat()
}

async fn with_records() -> (tempfile::TempDir, SledStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    put(&store, "long", &"x".repeat(10_000)).await;
    put(&store, "short", "value").await;
    (dir, store)
}

fn corrupt(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Corrupt {
            space: Some(Space::Room),
            why,
            ..
        }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_altered_record_is_never_returned() {
    type Case = (&'static str, fn(&mut Vec<u8>));
    let cases: [Case; 5] = [
        ("its checksum is wrong", |record| record[8] ^= 1),
        ("its checksum is wrong", |record| record[4] ^= 1),
        ("its length is wrong", |record| _ = record.pop()),
        ("its length is impossible", |record| record[0] = 1),
        ("its header is cut off", |record| record.truncate(7)),
    ];
    for (told, alter) in cases {
        let (dir, store) = with_records().await;
        let key = stored(b'r', "short", b"");
        let tree = store.shared.table.tree();
        let mut record = tree.get(&key).unwrap().unwrap().to_vec();
        alter(&mut record);
        tree.insert(key, record).unwrap();
        assert_eq!(corrupt(store.get(Space::Room, b"short").await), told);
        assert_eq!(corrupt(store.scan(crate::Scan::all(Space::Room)).await), told);
        // The one beside it is well.
        assert!(get(&store, "long").await.is_some());
        for depth in [Verify::Quick, Verify::Full] {
            let problem = Problem {
                space: Some(Space::Room),
                key: b"short".to_vec(),
                why: told.to_owned(),
            };
            assert!(problems(&store, depth).await.contains(&problem));
        }
        // Nothing is written over it unseen, and other batches go on.
        let mut batch = Batch::new();
        batch.put(Space::Room, "short", "new");
        corrupt(store.commit(batch).await);
        put(&store, "other", "1").await;
        store.close().await;
        assert!(open(dir.path()).await.is_err());
    }
}

#[tokio::test]
async fn a_record_under_another_key_is_not_taken_for_it() {
    let (_dir, store) = with_records().await;
    let tree = store.shared.table.tree();
    let record = tree.get(stored(b'r', "short", b"")).unwrap().unwrap();
    tree.insert(stored(b'r', "other", b""), record).unwrap();
    assert_eq!(
        corrupt(store.get(Space::Room, b"other").await),
        "its checksum is wrong"
    );
}

#[tokio::test]
async fn missing_altered_and_stray_pieces_are_found() {
    let (_dir, store) = with_records().await;
    let tree = store.shared.table.tree();
    tree.insert(stored(b'c', "short", &[0]), "stray").unwrap();
    tree.insert(stored(b'c', "long", &[9]), "stray").unwrap();
    tree.insert(stored(b'c', "nothing", &[0]), "stray").unwrap();
    let found = problems(&store, Verify::Full).await;
    let strays: HashSet<&[u8]> = found.iter().map(|problem| &problem.key[..]).collect();
    assert_eq!(strays, HashSet::from([&b"short"[..], b"long", b"nothing"]));
    assert!(
        found
            .iter()
            .all(|problem| problem.why.contains("belongs to no record"))
    );

    tree.insert(stored(b'c', "long", &[1]), "altered").unwrap();
    assert_eq!(
        corrupt(store.get(Space::Room, b"long").await),
        "its length is wrong"
    );
    tree.remove(stored(b'c', "long", &[1])).unwrap();
    assert_eq!(
        corrupt(store.get(Space::Room, b"long").await),
        "a piece is missing"
    );
}

#[tokio::test]
async fn records_that_vanish_are_missed() {
    let (_dir, store) = with_records().await;
    store
        .shared
        .table
        .tree()
        .remove(stored(b'r', "short", b""))
        .unwrap();
    let found = problems(&store, Verify::Full).await;
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .why
            .starts_with("1 records of 10004 bytes are there, 2 of 10014"),
        "{found:?}"
    );
}

#[tokio::test]
async fn records_of_an_unknown_space_are_reported_not_shown() {
    let (_dir, store) = with_records().await;
    store
        .shared
        .table
        .tree()
        .insert([b'r', 200, b'a'], &[0; 8])
        .unwrap();
    assert_eq!(problems(&store, Verify::Full).await.len(), 1);
    let mut snapshot = store.snapshot().await.unwrap();
    assert!(snapshot.next(100).await.is_err());
}

#[tokio::test]
async fn a_damaged_blob_is_not_returned_and_mended_by_putting_it_again() {
    let (dir, store) = with_records().await;
    let hash = store.blob_put("blob".into()).await.unwrap();
    let name = hash.to_string();
    let file = dir.path().join("blobs").join(&name[..2]).join(&name);
    fs::write(&file, "blub").unwrap();
    assert!(matches!(
        store.blob_get(&hash).await,
        Err(StoreError::Corrupt { .. })
    ));
    assert_eq!(problems(&store, Verify::Full).await[0].key, hash.as_bytes());
    store.blob_put("blob".into()).await.unwrap();
    assert_eq!(store.blob_get(&hash).await.unwrap().unwrap(), "blob");
    assert_eq!(problems(&store, Verify::Full).await, []);
}

#[tokio::test]
async fn putting_a_blob_again_makes_it_young() {
    let (dir, store) = with_records().await;
    let hash = store.blob_put("blob".into()).await.unwrap();
    let name = hash.to_string();
    let file = dir.path().join("blobs").join(&name[..2]).join(&name);
    let age = |time| {
        let file = fs::File::options().write(true).open(&file).unwrap();
        file.set_modified(time).unwrap();
    };
    age(std::time::SystemTime::UNIX_EPOCH);
    store.blob_put("blob".into()).await.unwrap();
    let collected = store
        .collect_blobs(HashSet::new(), Duration::from_hours(1))
        .await
        .unwrap();
    assert_eq!(collected.removed, 0);
    age(std::time::SystemTime::UNIX_EPOCH);
    let collected = store
        .collect_blobs(HashSet::new(), Duration::from_hours(1))
        .await
        .unwrap();
    assert_eq!(collected.removed, 1);
}

#[tokio::test]
async fn strange_files_are_reported_and_unfinished_ones_cleared_away() {
    let (dir, store) = with_records().await;
    let blobs = dir.path().join("blobs");
    fs::create_dir_all(blobs.join("ab")).unwrap();
    fs::write(blobs.join("ab/readme"), "hello").unwrap();
    fs::write(blobs.join("tmp/unfinished"), "hel").unwrap();
    fs::create_dir_all(dir.path().join("sled/blobs")).unwrap();
    fs::write(dir.path().join("sled/blobs/1"), "large").unwrap();
    let found = problems(&store, Verify::Full).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(store.stats().await.unwrap().unsynced_files, 1);
    store.close().await;
    open(dir.path()).await.unwrap();
    assert!(!blobs.join("tmp/unfinished").exists());
}
