//! Export and import: the way from one store to another, and into a backup.
//!
//! An export is JSON Lines. The first line is the header, the last one the end; between them all records, ordered by
//! space and key, then all blobs. Keys, values and blobs are standard base64.
//!
//! ```text
//! {"causeway_export":1,"store_format":1,"commit":"42","spaces":{"room":{"records":1,"bytes":9}},"records":1}
//! {"space":"room","key":"cm9vbQ","value":"c3RhdGU"}
//! {"blob":"9f86…0a08","data":"dGVzdA"}
//! {"end":{"records":1,"blobs":1,"sha256":"…"}}
//! ```
//!
//! The hash at the end is the SHA-256 of all lines before it, line ends included. Records are of one moment; blobs are
//! those present when the records were through, so every blob a record refers to is among them.

mod line;
mod read;
mod write;

pub use read::{import, import_and, inspect};
pub use write::export;

/// Newest format of exports; every older one can be read.
pub const EXPORT_FORMAT: u32 = 1;

/// Set in a store while an import goes on.
pub(crate) const IMPORTING: &[u8] = b"store.importing";

/// How far an export or import has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records done.
    pub records: u64,
    /// Records there are, as the header says.
    pub records_total: u64,
    /// Blobs done.
    pub blobs: u64,
    /// Blobs there are; 0 while unknown, and throughout an import.
    pub blobs_total: u64,
}

/// What an export or import has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Records.
    pub records: u64,
    /// Blobs.
    pub blobs: u64,
    /// SHA-256 of the export up to its last line.
    pub sha256: [u8; 32],
}

impl Summary {
    fn of(done: Progress, sha256: [u8; 32]) -> Self {
        Self {
            records: done.records,
            blobs: done.blobs,
            sha256,
        }
    }
}
