//! Export and import.

use super::{Harness, guard, put};
use crate::{
    Batch, MemoryStore, OwnerKey, Record, Space, Store, StoreError,
    export::{Progress, export, import, inspect},
};

async fn filled(harness: &impl Harness) -> impl Store {
    let store = harness.create().await;
    let held = store.acquire(&OwnerKey::new("room")).await.unwrap();
    let mut batch = Batch::guarded(held);
    batch
        .put(Space::Meta, "", "")
        .put(Space::DeadLetter, [0, 255], vec![0, 255, 10, 13]);
    for number in 0_u32..1200 {
        batch.put(Space::Event, number.to_be_bytes(), vec![7; number as usize]);
    }
    guard(store.commit(batch).await.unwrap());
    for length in [0_usize, 1, 100_000] {
        store.blob_put(vec![9; length].into()).await.unwrap();
    }
    store
}

async fn exported(store: &impl Store) -> Vec<u8> {
    let mut out = Vec::new();
    export(store, &mut out, |_| {}).await.unwrap();
    out
}

async fn records(store: &impl Store) -> Vec<Record> {
    let mut snapshot = store.snapshot().await.unwrap();
    let mut found = Vec::new();
    loop {
        let page = snapshot.next(1000).await.unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

/// Imports into a new store of the kind under test.
async fn refused(harness: &impl Harness, text: &[u8]) -> StoreError {
    assert!(inspect(&mut &text[..]).is_err());
    let store = harness.create().await;
    import(&store, &mut &text[..], |_| {})
        .await
        .expect_err("the import should fail")
}

/// There and back through a store of another kind: records, leases and blobs are the same, and so is the export.
pub async fn an_export_makes_the_same_store_again(harness: &impl Harness) {
    let store = filled(harness).await;
    let mut text = Vec::new();
    let mut steps: Vec<Progress> = Vec::new();
    let told = export(&store, &mut text, |progress| steps.push(progress))
        .await
        .unwrap();
    assert_eq!((told.records, told.blobs), (1203, 3));
    assert_eq!(inspect(&mut &text[..]).unwrap(), told);
    assert!(steps.is_sorted_by_key(|progress| progress.records + progress.blobs));
    assert_eq!(
        steps.last().map(|progress| (progress.records, progress.blobs)),
        Some((1203, 3))
    );

    let memory = MemoryStore::new();
    let read = import(&memory, &mut &text[..], |_| {}).await.unwrap();
    assert_eq!(read, told);
    let again = harness.create().await;
    import(&again, &mut &exported(&memory).await[..], |_| {})
        .await
        .unwrap();
    let again = harness.reopen(again).await;
    assert_eq!(records(&again).await, records(&store).await);
    for length in [0_usize, 1, 100_000] {
        let hash = crate::BlobHash::of(&vec![9; length]);
        assert_eq!(again.blob_get(&hash).await.unwrap().unwrap(), vec![9; length]);
    }
    // The lease goes on where it was.
    let held = again.acquire(&OwnerKey::new("room")).await.unwrap();
    assert_eq!((held.lease, held.version), (2, 1));
}

/// Nothing, exported and imported, is nothing.
pub async fn an_export_of_an_empty_store_is_importable(harness: &impl Harness) {
    let text = exported(&harness.create().await).await;
    let store = harness.create().await;
    assert_eq!(import(&store, &mut &text[..], |_| {}).await.unwrap().records, 0);
    assert_eq!(store.stats().await.unwrap().records(), 0);
    put(&harness.reopen(store).await, Space::Room, "a", "1").await;
}

/// An import never mixes with what is there.
pub async fn an_import_needs_an_empty_store(harness: &impl Harness) {
    let text = exported(&filled(harness).await).await;
    let with_record = harness.create().await;
    put(&with_record, Space::Room, "a", "1").await;
    let with_blob = harness.create().await;
    with_blob.blob_put("blob".into()).await.unwrap();
    for store in [with_record, with_blob] {
        assert!(matches!(
            import(&store, &mut &text[..], |_| {}).await,
            Err(StoreError::NotEmpty)
        ));
    }
}

/// Any change of an export is noticed.
pub async fn an_altered_export_is_refused(harness: &impl Harness) {
    let store = harness.create().await;
    put(&store, Space::Room, "room", "state").await;
    store.blob_put("blob".into()).await.unwrap();
    let text = exported(&store).await;
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 4);
    for place in (0..text.len()).step_by(41) {
        let mut altered = text.clone();
        altered[place] ^= 1;
        refused(harness, &altered).await;
    }
    let orders: [&[usize]; 5] = [
        &[0, 2, 1, 3],
        &[0, 1, 1, 2, 3],
        &[0, 1, 3],
        &[0, 1, 2, 3, 3],
        &[1, 2, 3],
    ];
    for order in orders {
        let altered: Vec<u8> = order
            .iter()
            .flat_map(|line| lines[*line].iter().copied())
            .collect();
        assert!(
            matches!(refused(harness, &altered).await, StoreError::BadExport { .. }),
            "{order:?}"
        );
    }
}

/// An export that ends early is noticed wherever it ends.
pub async fn a_cut_export_is_refused(harness: &impl Harness) {
    let store = harness.create().await;
    put(&store, Space::Room, "room", "state").await;
    let text = exported(&store).await;
    for length in (0..text.len()).step_by(29).chain([text.len() - 1]) {
        let error = refused(harness, &text[..length]).await;
        assert!(matches!(error, StoreError::BadExport { .. }), "{error}");
    }
}

/// A newer format is named as such, not taken for rubbish.
pub async fn an_export_from_a_newer_program_is_refused(harness: &impl Harness) {
    let headers = [
        r#"{"causeway_export":2,"store_format":1,"commit":"0","spaces":{},"records":0}"#,
        r#"{"causeway_export":1,"store_format":99,"commit":"0","spaces":{},"records":0}"#,
    ];
    for header in headers {
        let error = refused(harness, format!("{header}\n").as_bytes()).await;
        assert!(matches!(error, StoreError::NewerFormat { .. }), "{error}");
    }
}

/// Records of a kind this program doesn't know are never dropped quietly.
pub async fn an_export_with_a_space_unknown_here_is_refused(harness: &impl Harness) {
    let store = harness.create().await;
    put(&store, Space::Room, "room", "state").await;
    let text = String::from_utf8(exported(&store).await)
        .unwrap()
        .replace(r#""space":"room""#, r#""space":"later""#);
    match refused(harness, text.as_bytes()).await {
        StoreError::BadExport { line: 2, .. } => {}
        other => panic!("{other}"),
    }
}
