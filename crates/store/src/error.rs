//! What can go wrong, and what to do then.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use crate::{OwnerKey, Space};

/// Why a store refused or failed.
///
/// An error is cheap to clone: when a group of batches fails, each committer gets it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else has acquired the owner since. Remedy: stop working for it; acquire again and load its state
    /// afresh if it should be ours.
    #[error("owner {owner} was acquired by another worker (our lease {held}, now {found})")]
    Fenced {
        /// The owner.
        owner: OwnerKey,
        /// Lease of the refused batch.
        held: u64,
        /// Lease in the store; 0 if the store has never seen the owner.
        found: u64,
    },
    /// The batch does not follow the owner's last one. Remedy: a worker lost count (an earlier commit failed with an
    /// unknown outcome); drop the state in memory, acquire and load again.
    #[error("owner {owner} is at version {found}, the batch expected {expected}")]
    VersionConflict {
        /// The owner.
        owner: OwnerKey,
        /// Version of the refused batch's guard.
        expected: u64,
        /// Version in the store.
        found: u64,
    },
    /// A record was not as the batch expected it. Remedy: read it and decide again.
    #[error("record {space}/{key} is not as expected: {expected}", key = hex::encode(key))]
    ExpectationFailed {
        /// Its space.
        space: Space,
        /// Its key.
        key: Vec<u8>,
        /// What was expected.
        expected: Expected,
    },
    /// Above a limit of the store. Remedy: put values above [`crate::MAX_VALUE`] into blobs; split the batch.
    #[error("{what} of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The batch writes records only the store may write. Remedy: a programming error; use another space or key.
    #[error("records of {space} with this key are written by the store alone")]
    Reserved {
        /// The space.
        space: Space,
    },
    /// What was read is not what was written. Remedy: stop the node, keep the files, run `causeway store verify`,
    /// check the disk, restore from the last backup or export.
    #[error("the store is damaged at {at}: {why}; run `causeway store verify` and restore from a backup or export", at = place(*space, key))]
    Corrupt {
        /// Space of the damaged record; none if the damage is not in a record.
        space: Option<Space>,
        /// Its key; empty if the damage is not in a record.
        key: Vec<u8>,
        /// What is wrong.
        why: String,
    },
    /// Written by a newer program. Remedy: install that version (or a later one); a store is never taken back.
    #[error("the store has format {found}, this program supports up to {supported}: use a newer program")]
    NewerFormat {
        /// Format found.
        found: u32,
        /// Newest format this program knows.
        supported: u32,
    },
    /// Another process has the store open. Remedy: stop it; one process per store.
    #[error("the store at {} is open in another process", path.display())]
    Locked {
        /// Directory of the store.
        path: PathBuf,
    },
    /// Less free space than the reserve. The batch was not written; reads go on. Remedy: free some space; commits are
    /// taken again without a restart.
    #[error("{free} bytes are free at {}, below the reserve of {reserve}: free some space", path.display())]
    DiskFull {
        /// Directory of the store.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// The operating system refused. Remedy: see the cause (permissions, disk).
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: Arc<io::Error>,
    },
    /// A write or sync failed earlier, so it is unknown what the disk holds; reads show the last durable state.
    /// Remedy: mend the cause and restart the node; everything acknowledged is there.
    #[error("the store takes no more writes since one failed ({why}): mend the cause and restart")]
    ReadOnly {
        /// The first failure.
        why: Arc<str>,
    },
    /// This node can't make the write final now: another node orders, or too few can be reached. Whether it was
    /// written is unknown until the record is read again. Remedy: repeat the request, here or at another node.
    #[error("this node can't make it final now: {why}")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// What is missing.
        why: Arc<str>,
    },
    /// The store was closed. Remedy: open it again; during shutdown, none.
    #[error("the store is closed")]
    Closed,
    /// Too much was written while the snapshot was open, so it was given up. Remedy: take a new one, when there is
    /// less to do.
    #[error("the snapshot was given up: too much was written meanwhile; take a new one")]
    SnapshotLost,
    /// An import needs an empty store. Remedy: import into a new directory.
    #[error("the store is not empty: import into a new one")]
    NotEmpty,
    /// An import into this store was not finished. Remedy: delete the directory and import again.
    #[error("an import into this store was broken off: delete it and import again")]
    HalfImported,
    /// The export to be imported is malformed, cut short or altered. Remedy: use another copy of it.
    #[error("line {line} of the export: {why}")]
    BadExport {
        /// Line, counted from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
}

impl StoreError {
    /// True if the batch was judged and refused: nothing was written, and the same batch will be refused again.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            StoreError::Fenced { .. }
                | StoreError::VersionConflict { .. }
                | StoreError::ExpectationFailed { .. }
                | StoreError::TooLarge { .. }
                | StoreError::Reserved { .. }
        )
    }

    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> StoreError {
        StoreError::Io {
            what,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn damaged(why: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            space: None,
            key: Vec::new(),
            why: why.into(),
        }
    }
}

/// What a batch expected of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// No record under the key.
    Absent,
    /// A value with a certain SHA-256.
    ValueSha256,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expected::Absent => "it should not exist",
            Expected::ValueSha256 => "it should have another value",
        })
    }
}

fn place(space: Option<Space>, key: &[u8]) -> String {
    match space {
        Some(space) => format!("{space}/{}", hex::encode(key)),
        None => "the database".to_owned(),
    }
}
