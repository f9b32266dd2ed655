//! Three nodes are a store like any other: the shared suite runs on the one that orders.

use crate::net::Net;
use async_trait::async_trait;
use bytes::Bytes;
use lane::{Cluster, ClusterSettings, Member, NodeName, ReplicatedStore};
use room_engine::Sequencer as _;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use store::suite::Harness;
use store::{
    Batch, BlobHash, Collected, Committed, Guard, MemoryStore, OwnerKey, Scan, Snapshot, Space, Stats, Store,
    StoreError, Verify, VerifyReport,
};

/// Three nodes in memory.
struct Three;

/// The store of the one that orders, with the others behind it.
struct Ordering {
    store: ReplicatedStore,
    clusters: Vec<Cluster>,
}

impl Harness for Three {
    type Store = Ordering;

    async fn create(&self) -> Ordering {
        let net = Net::new(1);
        let mut clusters = Vec::new();
        for number in 1..=3 {
            let name = NodeName::from(format!("cw{number}").as_str());
            let member = Member {
                address: name.to_string(),
                key: String::new(),
            };
            let settings = ClusterSettings {
                join: number > 1,
                commit: Duration::from_mins(1),
                ..ClusterSettings::new(name.clone(), member.clone())
            };
            let cluster = Cluster::start(settings, Arc::new(MemoryStore::new()), net.link(&name, 1), |_| ());
            let cluster = cluster.await.unwrap();
            net.up(1, cluster.clone());
            clusters.push(cluster);
            if number == 1 {
                clusters[0].terms().wait_for(Option::is_some).await.unwrap();
            } else {
                clusters[0].add(name, member).await.unwrap();
            }
        }
        Ordering {
            store: ReplicatedStore::new(clusters[0].clone()),
            clusters,
        }
    }

    async fn reopen(&self, store: Ordering) -> Ordering {
        // What one knows the majority knows: the next to order has all of it.
        let mut terms = store.clusters[1].terms();
        let to = store.clusters[0]
            .hand_over(Some(store.clusters[1].name().clone()))
            .await;
        if to.is_ok() {
            terms.wait_for(Option::is_some).await.unwrap();
            let term = store.clusters[1].term().unwrap();
            store.clusters[1].confirm(term).await.unwrap();
            let store_of = ReplicatedStore::new(store.clusters[1].clone());
            return Ordering {
                store: store_of,
                clusters: store.clusters,
            };
        }
        store
    }
}

#[async_trait]
impl Store for Ordering {
    async fn acquire(&self, owner: &OwnerKey) -> Result<Guard, StoreError> {
        self.store.acquire(owner).await
    }
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.store.commit(batch).await
    }
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(space, key).await
    }
    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.store.scan(scan).await
    }
    async fn blob_put(&self, bytes: Bytes) -> Result<BlobHash, StoreError> {
        self.store.blob_put(bytes).await
    }
    async fn blob_get(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError> {
        self.store.blob_get(hash).await
    }
    async fn collect_blobs(
        &self,
        referenced: HashSet<BlobHash>,
        grace: Duration,
    ) -> Result<Collected, StoreError> {
        self.store.collect_blobs(referenced, grace).await
    }
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot().await
    }
    async fn verify(&self, depth: Verify) -> Result<VerifyReport, StoreError> {
        self.store.verify(depth).await
    }
    async fn stats(&self) -> Result<Stats, StoreError> {
        self.store.stats().await
    }
}

macro_rules! suite {
    ($($test:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                store::suite::$test(&Three).await;
            }
        )+
    };
}

// Not those of exports and sizes, which are of one node's own store, and those that write a node's own records.
suite! {
    a_batch_is_written_whole_or_not_at_all
    a_later_call_of_a_batch_counts
    a_new_lease_fences_the_old_one
    a_claim_and_its_writes_are_one_step
    an_owner_nobody_acquired_is_fenced
    a_version_is_used_once
    an_empty_batch_advances_its_guard
    owners_do_not_disturb_each_other
    expectations_hold_or_nothing_is_written
    expectations_see_the_store_before_the_batch
    a_refused_batch_takes_no_other_down
    concurrent_commits_are_all_there
    one_of_many_racing_batches_wins
    commit_numbers_grow
    the_stores_own_records_are_refused
    values_of_every_critical_length_come_back
    long_and_short_values_replace_each_other
    everything_is_there_after_reopening
    keys_are_in_byte_order
    a_blob_comes_back_by_its_hash
}
