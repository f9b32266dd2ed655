//! Values of all lengths, persistence, counters.

use super::{Harness, get, guard, keys, put};
use crate::{Batch, OwnerKey, Scan, Space, SpaceStats, Store, Verify};

/// Around the sizes where a value changes its form: in one piece, in several, at the limit.
const LENGTHS: [usize; 14] = [
    0, 1, 4079, 4080, 4087, 4088, 4089, 4095, 4096, 4097, 8192, 8193, 65_535, 65_536,
];

/// Bytes that differ from length to length and from place to place.
fn value(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| u8::try_from((place * 31 + place / 251 + length) % 256).unwrap())
        .collect()
}

/// Every length comes back as it was, at once and after a restart; 65,537 is refused.
pub async fn values_of_every_critical_length_come_back(harness: &impl Harness) {
    let store = harness.create().await;
    for length in LENGTHS {
        put(&store, Space::Event, length.to_be_bytes(), value(length)).await;
        assert_eq!(
            get(&store, Space::Event, length.to_be_bytes()).await,
            Some(value(length))
        );
    }
    let mut batch = Batch::new();
    batch.put(Space::Event, "long", value(65_537));
    assert!(store.commit(batch).await.is_err());
    let store = harness.reopen(store).await;
    for (key, found) in store.scan(Scan::all(Space::Event)).await.unwrap() {
        let length = usize::from_be_bytes(key[..].try_into().unwrap());
        assert_eq!(found, value(length), "{length}");
    }
    assert_eq!(keys(&store, Scan::all(Space::Event)).await.len(), LENGTHS.len());
}

/// A value leaves nothing of the one it replaces.
pub async fn long_and_short_values_replace_each_other(harness: &impl Harness) {
    let store = harness.create().await;
    for old in LENGTHS {
        for new in LENGTHS {
            let mut batch = Batch::new();
            batch.put(Space::Event, "a", value(old));
            store.commit(batch).await.unwrap();
            put(&store, Space::Event, "a", value(new)).await;
            assert_eq!(
                get(&store, Space::Event, "a").await,
                Some(value(new)),
                "{old} to {new}"
            );
        }
    }
    let mut batch = Batch::new();
    batch
        .put(Space::Event, "b", value(65_536))
        .put(Space::Event, "b", value(10))
        .delete(Space::Event, "a");
    store.commit(batch).await.unwrap();
    let store = harness.reopen(store).await;
    assert_eq!(get(&store, Space::Event, "b").await, Some(value(10)));
    assert_eq!(keys(&store, Scan::all(Space::Event)).await, [b"b"]);
    // A full check finds pieces without a record.
    assert_eq!(store.verify(Verify::Full).await.unwrap().problems, []);
}

/// Records, deletes, blobs, leases and versions outlive the process.
pub async fn everything_is_there_after_reopening(harness: &impl Harness) {
    let mut store = harness.create().await;
    let owner = OwnerKey::new("room");
    let blob = store.blob_put("blob".into()).await.unwrap();
    for round in 0_u64..4 {
        let mut held = store.acquire(&owner).await.unwrap();
        assert_eq!((held.lease, held.version), (round + 1, round * 10));
        for number in 0_u64..10 {
            let mut batch = Batch::guarded(held);
            batch
                .put(Space::Timeline, (round * 10 + number).to_be_bytes(), "x")
                .put(Space::Room, "a", "y");
            if number == 9 {
                batch.delete(Space::Room, "a");
            }
            held = guard(store.commit(batch).await.unwrap());
        }
        store = harness.reopen(store).await;
        let expected: Vec<Vec<u8>> = (0..(round + 1) * 10)
            .map(|key| key.to_be_bytes().to_vec())
            .collect();
        assert_eq!(keys(&store, Scan::all(Space::Timeline)).await, expected);
        assert_eq!(get(&store, Space::Room, "a").await, None);
        assert_eq!(
            store.blob_get(&blob).await.unwrap().as_deref(),
            Some(&b"blob"[..])
        );
    }
}

/// Statistics tell the records and bytes of each space.
pub async fn sizes_are_counted(harness: &impl Harness) {
    let store = harness.create().await;
    assert_eq!(store.stats().await.unwrap().records(), 0);
    put(&store, Space::Room, "a", "12345").await;
    put(&store, Space::Room, "bb", value(10_000)).await;
    put(&store, Space::Room, "a", "1").await;
    put(&store, Space::Event, "gone", "1").await;
    let mut batch = Batch::new();
    batch
        .delete(Space::Event, "gone")
        .delete(Space::Event, "never there");
    store.commit(batch).await.unwrap();
    store.blob_put("blob".into()).await.unwrap();
    let store = harness.reopen(store).await;
    let stats = store.stats().await.unwrap();
    assert_eq!(
        stats.spaces,
        [(
            Space::Room,
            SpaceStats {
                records: 2,
                bytes: 2 + 10_002
            }
        )]
    );
    assert_eq!((stats.records(), stats.bytes()), (2, 10_004));
    assert_eq!((stats.blobs, stats.blob_bytes), (1, 4));
    assert_eq!((stats.unsynced_files, stats.read_only), (0, None));
}

/// Neither check finds fault with a store in order, and the full one sees every record.
pub async fn a_healthy_store_verifies_clean(harness: &impl Harness) {
    let store = harness.create().await;
    assert!(store.verify(Verify::Full).await.unwrap().is_clean());
    for number in 0_u32..300 {
        let mut batch = Batch::new();
        batch.put(Space::Event, number.to_be_bytes(), value(number as usize * 20));
        store.commit(batch).await.unwrap();
    }
    store.blob_put("blob".into()).await.unwrap();
    let store = harness.reopen(store).await;
    for depth in [Verify::Quick, Verify::Full] {
        let report = store.verify(depth).await.unwrap();
        assert_eq!(report.problems, [], "{depth:?}");
        assert!(report.records > 0);
    }
    let report = store.verify(Verify::Full).await.unwrap();
    assert_eq!((report.records, report.blobs), (300, 1));
}
