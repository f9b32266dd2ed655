//! What a store tells about itself.

use std::time::Duration;

use crate::Space;

/// How thorough [`Store::verify`](crate::Store::verify) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// What is also done at every open: the head, and the first and last records of each space. Milliseconds.
    Quick,
    /// Every record, piece, counter and blob.
    Full,
}

/// What [`Store::verify`](crate::Store::verify) found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// How thorough it was.
    pub depth: Verify,
    /// Records looked at.
    pub records: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// What is wrong; at most [`VerifyReport::MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
}

impl VerifyReport {
    /// Problems beyond this many are not listed.
    pub const MAX_PROBLEMS: usize = 1000;

    /// True if nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn new(depth: Verify) -> VerifyReport {
        VerifyReport {
            depth,
            records: 0,
            blobs: 0,
            problems: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, space: Option<Space>, key: &[u8], why: impl Into<String>) {
        if self.problems.len() < VerifyReport::MAX_PROBLEMS {
            self.problems.push(Problem {
                space,
                key: key.to_vec(),
                why: why.into(),
            });
        }
    }
}

/// One thing that is wrong in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Space of the record concerned, if it is one.
    pub space: Option<Space>,
    /// Its key; for a blob its hash; else empty.
    pub key: Vec<u8>,
    /// What is wrong.
    pub why: String,
}

/// Size of one space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceStats {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and values, as the callers see them.
    pub bytes: u64,
}

/// Sizes and counters of a store.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Name of the implementation: `memory`, `sled`.
    pub engine: &'static str,
    /// Format of the stored data.
    pub format: u32,
    /// Number of the last durable batch.
    pub commit: u64,
    /// Size of each space that has records, by code.
    pub spaces: Vec<(Space, SpaceStats)>,
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Bytes on disk, blobs included; 0 in memory.
    pub disk_bytes: u64,
    /// Free bytes on that disk; none in memory.
    pub free_bytes: Option<u64>,
    /// Values the engine has put into files of its own that it never syncs. Anything but 0 is a fault.
    pub unsynced_files: u64,
    /// Groups written since the store was opened; each costs one sync.
    pub groups: u64,
    /// Batches written since the store was opened.
    pub batches: u64,
    /// Batches refused since the store was opened.
    pub refused: u64,
    /// Time spent in syncs since the store was opened.
    pub sync_time: Duration,
    /// The longest of them.
    pub sync_max: Duration,
    /// Why the store takes no more writes, if so. A node with this set is not ready.
    pub read_only: Option<String>,
}

impl Stats {
    /// Records of all spaces.
    pub fn records(&self) -> u64 {
        self.spaces.iter().map(|(_, stats)| stats.records).sum()
    }

    /// Bytes of all records' keys and values.
    pub fn bytes(&self) -> u64 {
        self.spaces.iter().map(|(_, stats)| stats.bytes).sum()
    }
}

/// What [`Store::collect_blobs`](crate::Store::collect_blobs) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs deleted.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Blobs that stay.
    pub kept: u64,
    /// True if nothing was looked at because a snapshot is open.
    pub deferred: bool,
}
