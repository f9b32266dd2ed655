//! Scans and snapshots.

use super::{Harness, get, keys, put};
use crate::{Batch, Scan, Space, Store};

/// Keys that are near each other in every way a prefix scan can get wrong.
const KEYS: [&[u8]; 13] = [
    b"",
    b"\0",
    b"\0\0",
    b"a",
    b"a\0",
    b"a\0b",
    b"aa",
    b"a\xfe",
    b"a\xff",
    b"a\xff\xff",
    b"b",
    b"\xff",
    b"\xff\xff",
];

async fn fill(store: &impl Store, space: Space) {
    let mut batch = Batch::new();
    for key in KEYS.iter().rev() {
        batch.put(space, key, key.to_vec());
    }
    store.commit(batch).await.unwrap();
}

fn all() -> Vec<Vec<u8>> {
    KEYS.iter().map(|key| key.to_vec()).collect()
}

/// Records come in the order of their keys' bytes, or the other way round.
pub async fn keys_are_in_byte_order(harness: &impl Harness) {
    let store = harness.create().await;
    fill(&store, Space::Event).await;
    assert_eq!(keys(&store, Scan::all(Space::Event)).await, all());
    let backwards: Vec<Vec<u8>> = all().into_iter().rev().collect();
    assert_eq!(keys(&store, Scan::all(Space::Event).reverse()).await, backwards);
    for (key, value) in store.scan(Scan::all(Space::Event)).await.unwrap() {
        assert_eq!(key, value);
    }
}

/// A scan never returns a neighbour's records.
pub async fn scans_stay_in_their_space(harness: &impl Harness) {
    let store = harness.create().await;
    for space in Space::ALL.iter().filter(|space| **space != Space::Lease) {
        fill(&store, *space).await;
    }
    for space in Space::ALL.iter().filter(|space| **space != Space::Lease) {
        assert_eq!(keys(&store, Scan::all(*space)).await, all(), "{space}");
        assert_eq!(
            keys(&store, Scan::all(*space).reverse().limit(1)).await,
            [b"\xff\xff"],
            "{space}"
        );
        assert_eq!(
            keys(&store, Scan::prefix(*space, [0xff])).await.len(),
            2,
            "{space}"
        );
    }
    assert!(keys(&store, Scan::all(Space::Lease)).await.is_empty());
}

/// A prefix covers exactly the keys that begin with it, also at the end of the byte range.
pub async fn prefixes_end_where_they_should(harness: &impl Harness) {
    let store = harness.create().await;
    fill(&store, Space::Event).await;
    let prefixes: [&[u8]; 9] = [
        b"",
        b"\0",
        b"a",
        b"a\0",
        b"a\xff",
        b"\xff",
        b"\xff\xff",
        b"\xff\xff\xff",
        b"c",
    ];
    for prefix in prefixes {
        let expected: Vec<Vec<u8>> = all().into_iter().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(
            keys(&store, Scan::prefix(Space::Event, prefix)).await,
            expected,
            "{prefix:?}"
        );
        let backwards: Vec<Vec<u8>> = expected.into_iter().rev().collect();
        assert_eq!(
            keys(&store, Scan::prefix(Space::Event, prefix).reverse()).await,
            backwards,
            "{prefix:?}"
        );
    }
}

/// Reading page by page gives the same as reading at once, whatever the page and direction.
pub async fn pages_join_without_gap_or_overlap(harness: &impl Harness) {
    let store = harness.create().await;
    fill(&store, Space::Event).await;
    for prefix in [&b""[..], b"a", b"\xff"] {
        for reverse in [false, true] {
            let scan = Scan {
                reverse,
                ..Scan::prefix(Space::Event, prefix)
            };
            let whole = keys(&store, scan.clone()).await;
            for limit in 1..=whole.len() + 1 {
                let mut joined: Vec<Vec<u8>> = Vec::new();
                loop {
                    let mut page = scan.clone().limit(limit);
                    page.after = joined.last().map(|key| key.clone().into());
                    let page = keys(&store, page).await;
                    assert!(page.len() <= limit);
                    let last = page.len() < limit;
                    joined.extend(page);
                    if last {
                        break;
                    }
                }
                assert_eq!(joined, whole, "{prefix:?} by {limit}, reverse {reverse}");
            }
        }
    }
    assert!(keys(&store, Scan::all(Space::Event).limit(0)).await.is_empty());
}

/// A start that is no key, or lies before or behind the prefix, is only a place in the order.
pub async fn starts_outside_the_prefix(harness: &impl Harness) {
    let store = harness.create().await;
    fill(&store, Space::Event).await;
    let starts: [&[u8]; 9] = [
        b"",
        b"\0\0\0",
        b"_",
        b"a",
        b"a\0a",
        b"a\xff\xff",
        b"b",
        b"zzz",
        b"\xff\xff\xff",
    ];
    for start in starts {
        for prefix in [&b""[..], b"a", b"a\xff"] {
            for reverse in [false, true] {
                let behind = |key: &Vec<u8>| {
                    if reverse {
                        &key[..] < start
                    } else {
                        &key[..] > start
                    }
                };
                let mut expected: Vec<Vec<u8>> = all()
                    .into_iter()
                    .filter(|key| key.starts_with(prefix) && behind(key))
                    .collect();
                if reverse {
                    expected.reverse();
                }
                let scan = Scan {
                    reverse,
                    ..Scan::prefix(Space::Event, prefix).after(start)
                };
                assert_eq!(
                    keys(&store, scan).await,
                    expected,
                    "{prefix:?} {start:?} {reverse}"
                );
            }
        }
    }
}

/// A scan of many records sees each batch whole, whatever is written meanwhile.
pub async fn long_scans_are_of_one_moment(harness: &impl Harness) {
    const RECORDS: u32 = 500;
    let store = std::sync::Arc::new(harness.create().await);
    let round = |number: u8| {
        let mut batch = Batch::new();
        for key in 0..RECORDS {
            batch.put(Space::Event, key.to_be_bytes(), vec![number]);
        }
        batch
    };
    store.commit(round(0)).await.unwrap();
    let writing = {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move {
            for number in 1..30 {
                store.commit(round(number)).await.unwrap();
            }
        })
    };
    while !writing.is_finished() {
        for scan in [
            Scan::all(Space::Event),
            Scan::all(Space::Event).reverse(),
            Scan::all(Space::Event).limit(100),
        ] {
            let limit = scan.limit.min(RECORDS as usize);
            let found = store.scan(scan).await.unwrap();
            assert_eq!(found.len(), limit);
            let first = &found[0].1;
            assert!(found.iter().all(|(_, value)| value == first), "a torn scan");
        }
    }
    writing.await.unwrap();
}

/// A snapshot doesn't see what is put, replaced or deleted after it, and comes to an end.
pub async fn a_snapshot_is_of_one_moment(harness: &impl Harness) {
    let store = harness.create().await;
    for number in 0_u32..300 {
        let mut batch = Batch::new();
        batch.put(
            Space::Event,
            (number * 2).to_be_bytes(),
            vec![1; number as usize * 30],
        );
        store.commit(batch).await.unwrap();
    }
    let mut snapshot = store.snapshot().await.unwrap();
    let counts = snapshot.counts();
    let mut found = Vec::new();
    let mut round = 0_u32;
    loop {
        let page = snapshot.next(10).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page);
        // Before and behind the place the snapshot is at.
        let mut batch = Batch::new();
        batch
            .put(Space::Event, (round * 20 + 1).to_be_bytes(), "new")
            .put(Space::Outbox, round.to_be_bytes(), "new");
        batch.delete(Space::Event, (round * 16).to_be_bytes());
        batch.put(Space::Event, (598 - round * 2).to_be_bytes(), vec![2; 5000]);
        store.commit(batch).await.unwrap();
        round += 1;
    }
    assert_eq!(counts.len(), 1);
    assert_eq!((counts[0].0, counts[0].1.records), (Space::Event, 300));
    assert_eq!(found.len(), 300);
    for (number, record) in (0_u32..).zip(found) {
        assert_eq!(record.space, Space::Event);
        assert_eq!(record.key, (number * 2).to_be_bytes()[..]);
        assert_eq!(record.value, vec![1; number as usize * 30]);
    }
    assert!(snapshot.next(10).await.unwrap().is_empty());
    drop(snapshot);
    assert!(get(&store, Space::Outbox, 0_u32.to_be_bytes()).await.is_some());
}

/// A snapshot holds the records of all spaces, in order.
pub async fn a_snapshot_pages_through_everything(harness: &impl Harness) {
    let store = harness.create().await;
    for space in Space::ALL.iter().filter(|space| **space != Space::Lease) {
        fill(&store, *space).await;
    }
    for limit in [1, 7, 1000] {
        let mut snapshot = store.snapshot().await.unwrap();
        let mut found = Vec::new();
        loop {
            let page = snapshot.next(limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit);
            found.extend(page);
        }
        assert_eq!(found.len(), KEYS.len() * (Space::ALL.len() - 1));
        assert!(found.is_sorted_by(|a, b| (a.space.code(), &a.key) < (b.space.code(), &b.key)));
        let total: u64 = snapshot.counts().iter().map(|(_, size)| size.records).sum();
        assert_eq!(total, found.len() as u64);
    }
    put(&store, Space::Meta, "a", "b").await;
}
