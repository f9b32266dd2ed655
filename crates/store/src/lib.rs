//! The storage trait, its shared suite, and its implementations: memory and sled.
//!
//! # What a store promises
//!
//! 1. **Atomic and durable.** [`Store::commit`] writes a [`Batch`] as a whole or not at all. When it returns `Ok`,
//!    everything in the batch survives the loss of the process and of power.
//! 2. **Reads never show what a crash could take back.** [`Store::get`], [`Store::scan`] and [`Store::snapshot`] see
//!    only batches that are already durable, so nobody acts on an entry that is gone after a restart.
//! 3. **One writer per owner.** A batch under a [`Guard`] is refused once somebody else has acquired the owner
//!    ([`StoreError::Fenced`]) or when it does not follow the owner's last batch ([`StoreError::VersionConflict`]).
//!    The check and the write are one step.
//! 4. **Damage is reported, never returned.** Every value is checked on its way out; what fails its checksum is
//!    [`StoreError::Corrupt`], not data.
//! 5. **A refused batch changes nothing**, and it takes no other batch down with it.
//!
//! The store knows no rooms and no protocols: keys and values are bytes, and a [`Space`] names the kind of record.
//! Keys and configuration of a node are never kept in it.

mod api;
mod batch;
mod blob;
mod error;
pub mod export;
pub mod failpoint;
mod judge;
mod key;
mod memory;
mod report;
#[cfg(feature = "suite")]
pub mod sim;
mod sled_store;
mod space;
#[cfg(feature = "suite")]
pub mod suite;
mod wire;

pub use api::{Record, Snapshot, Store};
pub use batch::{Batch, Committed, Expect, Guard, OwnerKey, Scan};
pub use blob::{BlobHash, BlobHashError};
pub use error::{Expected, StoreError};
pub use memory::MemoryStore;
pub use report::{Collected, Problem, SpaceStats, Stats, Verify, VerifyReport};
pub use sled_store::{SledOptions, SledStore};
pub use space::Space;
pub use wire::BatchError;

/// Longest key, in bytes.
pub const MAX_KEY: usize = 1024;
/// Longest value of a record, in bytes. What is longer goes into a blob.
pub const MAX_VALUE: usize = 64 * 1024;
/// Most keys and values a batch may hold together, in bytes.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Longest blob, in bytes.
pub const MAX_BLOB: usize = 64 * 1024 * 1024;
