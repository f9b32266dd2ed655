//! The shared suite: what every store must do, as named tests.
//!
//! An implementation gives a [`Harness`] to [`store_suite!`](crate::store_suite), which makes a test of each function
//! here. They panic where a promise is broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc
)]

mod blobs;
mod commits;
mod exports;
pub mod model;
mod scans;
mod values;

use std::future::Future;

pub use self::{blobs::*, commits::*, exports::*, scans::*, values::*};
use crate::{Batch, Committed, Guard, Scan, Space, Store};

/// How the suite gets its stores.
pub trait Harness: Sync {
    /// The store under test.
    type Store: Store;

    /// A new, empty store.
    fn create(&self) -> impl Future<Output = Self::Store> + Send;

    /// Closes a store and opens it again. A store that is not durable returns itself.
    fn reopen(&self, store: Self::Store) -> impl Future<Output = Self::Store> + Send;
}

/// Makes a test of each function of [`suite`](crate::suite).
#[macro_export]
macro_rules! store_suite {
    ($harness:expr) => {
        $crate::store_suite! { @ $harness;
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
            what_is_too_large_is_refused
            values_of_every_critical_length_come_back
            long_and_short_values_replace_each_other
            everything_is_there_after_reopening
            sizes_are_counted
            a_healthy_store_verifies_clean
            keys_are_in_byte_order
            scans_stay_in_their_space
            prefixes_end_where_they_should
            pages_join_without_gap_or_overlap
            starts_outside_the_prefix
            long_scans_are_of_one_moment
            a_snapshot_is_of_one_moment
            a_snapshot_pages_through_everything
            a_blob_comes_back_by_its_hash
            a_blob_too_large_is_refused
            blobs_are_collected_when_old_and_unreferenced
            blobs_stay_while_a_snapshot_is_open
            an_export_makes_the_same_store_again
            an_export_of_an_empty_store_is_importable
            an_import_needs_an_empty_store
            an_altered_export_is_refused
            a_cut_export_is_refused
            an_export_from_a_newer_program_is_refused
            an_export_with_a_space_unknown_here_is_refused
        }
    };
    (@ $harness:expr; $($test:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::suite::$test(&$harness).await;
            }
        )+
    };
}

/// Puts one record in a batch of its own.
pub(crate) async fn put(store: &impl Store, space: Space, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
    let mut batch = Batch::new();
    batch.put(space, key, value.as_ref().to_vec());
    store.commit(batch).await.unwrap();
}

/// Reads one record as a vector.
pub(crate) async fn get(store: &impl Store, space: Space, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    store.get(space, key.as_ref()).await.unwrap().map(Vec::from)
}

/// Keys of a scan.
pub(crate) async fn keys(store: &impl Store, scan: Scan) -> Vec<Vec<u8>> {
    store
        .scan(scan)
        .await
        .unwrap()
        .into_iter()
        .map(|(key, _)| key.to_vec())
        .collect()
}

/// The guard of a commit that must have one.
pub(crate) fn guard(committed: Committed) -> Guard {
    committed.guard.expect("a guarded batch returns a guard")
}
