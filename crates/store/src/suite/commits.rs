//! Atomicity, fencing, expectations, concurrency.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Harness, get, guard, keys, put};
use crate::{
    Batch, Expected, Guard, MAX_BATCH_BYTES, MAX_KEY, MAX_VALUE, OwnerKey, Scan, Space, Store, StoreError,
};

/// All records of a batch are there, or none.
pub async fn a_batch_is_written_whole_or_not_at_all(harness: &impl Harness) {
    let store = harness.create().await;
    put(&store, Space::Room, "taken", "1").await;
    let mut batch = Batch::new();
    batch
        .put(Space::Event, "a", "1")
        .put(Space::Outbox, "b", "2")
        .delete(Space::Room, "taken");
    let mut refused = batch.clone();
    refused.expect_absent(Space::Room, "taken");
    assert!(store.commit(refused).await.is_err());
    assert_eq!(get(&store, Space::Event, "a").await, None);
    assert_eq!(get(&store, Space::Outbox, "b").await, None);
    assert_eq!(get(&store, Space::Room, "taken").await, Some(b"1".to_vec()));
    store.commit(batch).await.unwrap();
    assert_eq!(get(&store, Space::Event, "a").await, Some(b"1".to_vec()));
    assert_eq!(get(&store, Space::Outbox, "b").await, Some(b"2".to_vec()));
    assert_eq!(get(&store, Space::Room, "taken").await, None);
}

/// Where a batch names a key twice, the later call counts.
pub async fn a_later_call_of_a_batch_counts(harness: &impl Harness) {
    let store = harness.create().await;
    let mut batch = Batch::new();
    batch
        .put(Space::Room, "a", "1")
        .put(Space::Room, "a", "2")
        .delete(Space::Room, "b")
        .put(Space::Room, "b", "3");
    batch.put(Space::Room, "c", "4").delete(Space::Room, "c");
    store.commit(batch).await.unwrap();
    assert_eq!(get(&store, Space::Room, "a").await, Some(b"2".to_vec()));
    assert_eq!(get(&store, Space::Room, "b").await, Some(b"3".to_vec()));
    assert_eq!(get(&store, Space::Room, "c").await, None);
}

/// Whoever acquired an owner before can't write for it any more.
pub async fn a_new_lease_fences_the_old_one(harness: &impl Harness) {
    let store = harness.create().await;
    let owner = OwnerKey::new("room");
    let old = store.acquire(&owner).await.unwrap();
    let old = guard(store.commit(Batch::guarded(old)).await.unwrap());
    let new = store.acquire(&owner).await.unwrap();
    assert_eq!((new.lease, new.version), (old.lease + 1, old.version));
    let mut batch = Batch::guarded(old.clone());
    batch.put(Space::Room, "a", "1");
    match store.commit(batch).await {
        Err(StoreError::Fenced {
            owner: named,
            held,
            found,
        }) => {
            assert_eq!((named, held, found), (owner.clone(), old.lease, new.lease));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(get(&store, Space::Room, "a").await, None);
    // Also across a restart.
    let store = harness.reopen(store).await;
    assert!(matches!(
        store.commit(Batch::guarded(old)).await,
        Err(StoreError::Fenced { .. })
    ));
    store.commit(Batch::guarded(new)).await.unwrap();
}

/// A batch that claims its owner writes and fences in one step, or neither.
pub async fn a_claim_and_its_writes_are_one_step(harness: &impl Harness) {
    let store = harness.create().await;
    let owner = OwnerKey::new("room");
    let old = store.acquire(&owner).await.unwrap();
    let mut refused = Batch::claiming(owner.clone());
    refused
        .put(Space::Room, "a", "1")
        .expect_value(Space::Room, "a", b"0");
    assert!(store.commit(refused).await.is_err());
    let old = guard(store.commit(Batch::guarded(old)).await.unwrap());
    let mut claim = Batch::claiming(owner);
    claim.put(Space::Room, "a", "1");
    let new = guard(store.commit(claim).await.unwrap());
    assert_eq!((new.lease, new.version), (old.lease + 1, old.version));
    assert_eq!(get(&store, Space::Room, "a").await, Some(b"1".to_vec()));
    assert!(matches!(
        store.commit(Batch::guarded(old)).await,
        Err(StoreError::Fenced { .. })
    ));
    store.commit(Batch::guarded(new)).await.unwrap();
}

/// A guard that no acquire of this store gave out is worth nothing.
pub async fn an_owner_nobody_acquired_is_fenced(harness: &impl Harness) {
    let store = harness.create().await;
    let made_up = Guard {
        owner: OwnerKey::new("room"),
        lease: 1,
        version: 0,
    };
    assert!(matches!(
        store.commit(Batch::guarded(made_up)).await,
        Err(StoreError::Fenced {
            held: 1,
            found: 0,
            ..
        })
    ));
}

/// Two batches can't both follow the same one.
pub async fn a_version_is_used_once(harness: &impl Harness) {
    let store = harness.create().await;
    let first = store.acquire(&OwnerKey::new("room")).await.unwrap();
    let second = guard(store.commit(Batch::guarded(first.clone())).await.unwrap());
    assert_eq!(
        second,
        Guard {
            version: first.version + 1,
            ..first.clone()
        }
    );
    assert!(matches!(
        store.commit(Batch::guarded(first)).await,
        Err(StoreError::VersionConflict {
            expected: 0,
            found: 1,
            ..
        })
    ));
    let ahead = Guard {
        version: 9,
        ..second.clone()
    };
    assert!(matches!(
        store.commit(Batch::guarded(ahead)).await,
        Err(StoreError::VersionConflict {
            expected: 9,
            found: 1,
            ..
        })
    ));
    let store = harness.reopen(store).await;
    store.commit(Batch::guarded(second)).await.unwrap();
}

/// A batch of nothing still checks and uses its guard; one without a guard does nothing.
pub async fn an_empty_batch_advances_its_guard(harness: &impl Harness) {
    let store = harness.create().await;
    let first = store.acquire(&OwnerKey::new("room")).await.unwrap();
    let next = guard(store.commit(Batch::guarded(first)).await.unwrap());
    assert_eq!(next.version, 1);
    assert_eq!(store.commit(Batch::new()).await.unwrap().guard, None);
}

/// Leases and versions are each owner's own.
pub async fn owners_do_not_disturb_each_other(harness: &impl Harness) {
    let store = harness.create().await;
    let names = ["", "a", "a\0", "aa", "b"];
    let mut guards = Vec::new();
    for name in names {
        guards.push(store.acquire(&OwnerKey::new(name)).await.unwrap());
    }
    for (times, guard) in guards.iter_mut().enumerate() {
        for _ in 0..times {
            *guard = super::guard(store.commit(Batch::guarded(guard.clone())).await.unwrap());
        }
    }
    for (times, guard) in guards.into_iter().enumerate() {
        assert_eq!((guard.lease, guard.version), (1, times as u64));
        store.commit(Batch::guarded(guard)).await.unwrap();
    }
}

/// A batch whose expectation fails says which one, and writes nothing.
pub async fn expectations_hold_or_nothing_is_written(harness: &impl Harness) {
    type Case = (fn(&mut Batch), &'static [u8], Option<Expected>);
    let store = harness.create().await;
    put(&store, Space::Room, "there", "1").await;
    let cases: [Case; 6] = [
        (|batch| _ = batch.expect_absent(Space::Room, "none"), b"", None),
        (
            |batch| _ = batch.expect_absent(Space::Room, "there"),
            b"there",
            Some(Expected::Absent),
        ),
        (
            |batch| _ = batch.expect_value(Space::Room, "there", b"1"),
            b"",
            None,
        ),
        (
            |batch| _ = batch.expect_value(Space::Room, "there", b"2"),
            b"there",
            Some(Expected::ValueSha256),
        ),
        (
            |batch| _ = batch.expect_value(Space::Room, "none", b""),
            b"none",
            Some(Expected::ValueSha256),
        ),
        (
            |batch| _ = batch.expect_value_sha256(Space::Event, "there", Sha256::digest(b"1").into()),
            b"there",
            Some(Expected::ValueSha256),
        ),
    ];
    for (index, (expect, named, failed)) in cases.into_iter().enumerate() {
        let key = [u8::try_from(index).unwrap()];
        let mut batch = Batch::new();
        batch.put(Space::Timeline, key, "x");
        expect(&mut batch);
        match (store.commit(batch).await, failed) {
            (Ok(_), None) => assert!(get(&store, Space::Timeline, key).await.is_some()),
            (
                Err(StoreError::ExpectationFailed {
                    key: found, expected, ..
                }),
                Some(failed),
            ) => {
                assert_eq!((&found[..], expected), (named, failed));
                assert_eq!(get(&store, Space::Timeline, key).await, None);
            }
            (other, _) => panic!("case {index}: {other:?}"),
        }
    }
}

/// A batch may expect a record absent and put it.
pub async fn expectations_see_the_store_before_the_batch(harness: &impl Harness) {
    let store = harness.create().await;
    let mut batch = Batch::new();
    batch.put(Space::Room, "a", "1").expect_absent(Space::Room, "a");
    store.commit(batch).await.unwrap();
    let mut batch = Batch::new();
    batch
        .delete(Space::Room, "a")
        .expect_value(Space::Room, "a", b"1");
    store.commit(batch).await.unwrap();
    assert_eq!(get(&store, Space::Room, "a").await, None);
}

/// Batches that come in together are judged each for itself.
pub async fn a_refused_batch_takes_no_other_down(harness: &impl Harness) {
    let store = Arc::new(harness.create().await);
    put(&*store, Space::Room, "taken", "1").await;
    let mut tasks = Vec::new();
    for number in 0_u32..100 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut batch = Batch::new();
            batch.put(Space::Event, number.to_be_bytes(), "x");
            if number % 3 == 0 {
                batch.expect_absent(Space::Room, "taken");
            }
            store.commit(batch).await.is_ok()
        }));
    }
    for (number, task) in (0_u32..).zip(tasks) {
        let accepted = number % 3 != 0;
        assert_eq!(task.await.unwrap(), accepted);
        assert_eq!(
            get(&*store, Space::Event, number.to_be_bytes()).await.is_some(),
            accepted
        );
    }
}

/// Many owners write at the same time; each batch is there, each version was used once.
pub async fn concurrent_commits_are_all_there(harness: &impl Harness) {
    const OWNERS: u32 = 24;
    const BATCHES: u32 = 20;
    let store = Arc::new(harness.create().await);
    let mut tasks = Vec::new();
    for owner in 0..OWNERS {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut guard = store
                .acquire(&OwnerKey::new(owner.to_be_bytes().to_vec()))
                .await
                .unwrap();
            for number in 0..BATCHES {
                let key = [owner.to_be_bytes(), number.to_be_bytes()].concat();
                let mut batch = Batch::guarded(guard);
                batch
                    .put(Space::Event, &key, key.clone())
                    .put(Space::Timeline, &key, "t");
                guard = super::guard(store.commit(batch).await.unwrap());
                // Who was told reads it.
                assert_eq!(get(&*store, Space::Event, &key).await, Some(key));
            }
            assert_eq!(guard.version, u64::from(BATCHES));
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let expected = (OWNERS * BATCHES) as usize;
    assert_eq!(keys(&*store, Scan::all(Space::Event)).await.len(), expected);
    assert_eq!(keys(&*store, Scan::all(Space::Timeline)).await.len(), expected);
}

/// Of batches that each expect a record absent and put it, one wins.
pub async fn one_of_many_racing_batches_wins(harness: &impl Harness) {
    let store = Arc::new(harness.create().await);
    let mut tasks = Vec::new();
    for number in 0_u32..50 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut batch = Batch::new();
            batch.expect_absent(Space::KeyPackageRef, "one").put(
                Space::KeyPackageRef,
                "one",
                number.to_be_bytes().to_vec(),
            );
            store.commit(batch).await.is_ok()
        }));
    }
    let mut winners = Vec::new();
    for (number, task) in (0_u32..).zip(tasks) {
        if task.await.unwrap() {
            winners.push(number.to_be_bytes().to_vec());
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(get(&*store, Space::KeyPackageRef, "one").await, winners.pop());
}

/// The number of a batch is above those of all batches acknowledged before.
pub async fn commit_numbers_grow(harness: &impl Harness) {
    let mut store = harness.create().await;
    let mut last = 0;
    for _ in 0..3 {
        for _ in 0..5 {
            let number = store.commit(Batch::new()).await.unwrap().commit;
            assert!(number > last);
            last = number;
        }
        assert_eq!(store.stats().await.unwrap().commit, last);
        store = harness.reopen(store).await;
    }
}

/// Leases are not to be forged by writing their records.
pub async fn the_stores_own_records_are_refused(harness: &impl Harness) {
    let store = harness.create().await;
    let own = [
        (Space::Lease, "room"),
        (Space::Meta, "store."),
        (Space::Meta, "store.importing"),
    ];
    for (space, key) in own {
        let (mut put, mut delete) = (Batch::new(), Batch::new());
        put.put(space, key, "1");
        delete.delete(space, key);
        for batch in [put, delete] {
            assert!(matches!(
                store.commit(batch).await,
                Err(StoreError::Reserved { .. })
            ));
        }
    }
    put(&store, Space::Meta, "storey", "1").await;
}

/// Keys, values and batches have limits; what is just within is taken.
pub async fn what_is_too_large_is_refused(harness: &impl Harness) {
    let store = harness.create().await;
    let cases = [
        (MAX_KEY, 1, true),
        (MAX_KEY + 1, 1, false),
        (1, MAX_VALUE, true),
        (1, MAX_VALUE + 1, false),
    ];
    for (key, value, fits) in cases {
        let mut batch = Batch::new();
        batch.put(Space::Room, vec![1; key], vec![2; value]);
        match store.commit(batch).await {
            Ok(_) => assert!(fits),
            Err(StoreError::TooLarge { .. }) => assert!(!fits),
            Err(other) => panic!("{other}"),
        }
    }
    let full = MAX_BATCH_BYTES / MAX_VALUE;
    let mut batch = Batch::new();
    for number in 0..full {
        batch.put(
            Space::Event,
            u32::try_from(number).unwrap().to_be_bytes(),
            vec![3; MAX_VALUE - 4],
        );
    }
    store.commit(batch.clone()).await.unwrap();
    batch.put(Space::Event, "one more", "");
    assert!(matches!(
        store.commit(batch).await,
        Err(StoreError::TooLarge { what: "a batch", .. })
    ));
    assert_eq!(keys(&store, Scan::all(Space::Event)).await.len(), full);
    let owner = OwnerKey::new(vec![1; MAX_KEY + 1]);
    assert!(matches!(
        store.acquire(&owner).await,
        Err(StoreError::TooLarge { .. })
    ));
}
