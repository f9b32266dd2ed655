//! The reader of exports against arbitrary records and arbitrary bytes.

use proptest::{collection::vec, prelude::*, sample::select};
use store::{
    Batch, BlobHash, MemoryStore, Space, Store as _, StoreError,
    export::{export, import},
};

use crate::model::block_on;

fn spaces() -> Vec<Space> {
    Space::ALL
        .iter()
        .copied()
        .filter(|space| *space != Space::Lease)
        .collect()
}

pub(crate) async fn exported(records: &[(Space, Vec<u8>, Vec<u8>)], blob: &[u8]) -> Vec<u8> {
    let store = MemoryStore::new();
    let mut batch = Batch::new();
    for (space, key, value) in records {
        batch.put(*space, key, value.clone());
    }
    store.commit(batch).await.unwrap();
    store.blob_put(blob.to_vec().into()).await.unwrap();
    let mut text = Vec::new();
    export(&store, &mut text, |_| {}).await.unwrap();
    text
}

fn record() -> impl Strategy<Value = (Space, Vec<u8>, Vec<u8>)> {
    (
        select(spaces()),
        vec(any::<u8>(), 0..40),
        vec(any::<u8>(), 0..300),
    )
        .prop_filter("the store's own", |(space, key, _)| {
            *space != Space::Meta || !key.starts_with(b"store.")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_records_come_back(records in vec(record(), 0..20), blob in vec(any::<u8>(), 0..300)) {
        block_on(async {
            let text = exported(&records, &blob).await;
            let store = MemoryStore::new();
            import(&store, &mut &text[..], |_| {}).await.unwrap();
            let mut again = Vec::new();
            export(&store, &mut again, |_| {}).await.unwrap();
            // All but the header, which tells how many batches there were.
            let rest = |text: &[u8]| text.iter().copied().skip_while(|byte| *byte != b'\n').collect::<Vec<_>>();
            let lines = |text: &[u8]| rest(text).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
            let (before, after) = (lines(&text), lines(&again));
            assert_eq!(before.len(), after.len());
            assert_eq!(before[..before.len() - 2], after[..after.len() - 2]);
            assert_eq!(store.blob_get(&BlobHash::of(&blob)).await.unwrap().unwrap(), blob);
        });
    }

    #[test]
    fn no_altered_export_is_taken(
        records in vec(record(), 1..4),
        place in any::<prop::sample::Index>(),
        removed in 0_usize..20,
        put in vec(any::<u8>(), 0..20),
    ) {
        block_on(async {
            let text = exported(&records, b"blob").await;
            let start = place.index(text.len());
            let end = (start + removed).min(text.len());
            let altered = [&text[..start], &put, &text[end..]].concat();
            let taken = import(&MemoryStore::new(), &mut &altered[..], |_| {}).await.is_ok();
            assert_eq!(taken, altered == text);
        });
    }

    #[test]
    fn rubbish_is_refused(text in vec(any::<u8>(), 0..2000)) {
        block_on(async {
            let error = import(&MemoryStore::new(), &mut &text[..], |_| {}).await.unwrap_err();
            assert!(matches!(error, StoreError::BadExport { line: 1, .. }), "{error}");
        });
    }

    #[test]
    fn names_of_blobs_come_back(hash in any::<[u8; 32]>(), text in "[0-9a-fA-F]{0,70}") {
        let hash = BlobHash::from(hash);
        prop_assert_eq!(hash.to_string().parse::<BlobHash>(), Ok(hash));
        if let Ok(hash) = text.parse::<BlobHash>() {
            prop_assert_eq!(hash.to_string(), text);
        }
    }
}
