//! The directory of a store.
//!
//! ```text
//! LOCK      held by the process that has the store open
//! FORMAT    one line: `causeway-store 2`; written last when a store is created
//! HEAD      number of the last acknowledged batch; written after each sync, itself not synced
//! sled/     the database
//! blobs/    large values by hash, two digits to a directory
//! ```
//!
//! Sled takes a damaged log for one that a crash cut short: it opens without a word, with everything behind the damage
//! gone. HEAD is how we notice: it never runs ahead of what is durable, so a database that ends before it has lost
//! acknowledged batches.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::table::Table;
use crate::StoreError;

/// Newest format this program knows.
///
/// 2: the kinds of records that rooms are kept in changed. The records are migrated by whoever opens the store to use
/// them (`room-engine/src/migrate.rs`); the number keeps an older program from reading them.
pub(super) const FORMAT: u32 = 2;

/// Takes a store from one format to the next. Runs before anything else has access; may be run again from the start
/// if the process dies in the middle.
pub(super) type Migration = fn(&Table) -> Result<(), StoreError>;

/// Steps to [`FORMAT`]: the format a step starts from, and the step.
pub(super) const MIGRATIONS: &[(u32, Migration)] = &[(1, |_| Ok(()))];

const MAGIC: &str = "causeway-store ";

/// The locked directory of a store.
pub(super) struct Layout {
    path: PathBuf,
    lock: File,
    head: File,
}

impl Layout {
    /// Creates the directory if need be and locks it.
    pub(super) fn open(path: &Path) -> Result<Layout, StoreError> {
        create_dir(path)?;
        let lock = open_file(&path.join("LOCK"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path.join("LOCK"), error)),
        }
        let created =
            !path.join("HEAD").exists() && !path.join("sled").exists() && !path.join("FORMAT").exists();
        if !created && !path.join("HEAD").exists() {
            return Err(StoreError::damaged("HEAD is missing"));
        }
        let layout = Layout {
            path: path.to_owned(),
            lock,
            head: open_file(&path.join("HEAD"))?,
        };
        if created {
            layout.write_head(0)?;
            layout
                .head
                .sync_all()
                .map_err(|error| StoreError::io("sync", path.join("HEAD"), error))?;
            sync_dir(path)?;
        }
        Ok(layout)
    }

    pub(super) fn sled(&self) -> PathBuf {
        self.path.join("sled")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// The store's format; none if its creation was not finished.
    pub(super) fn format(&self) -> Result<Option<u32>, StoreError> {
        let file = self.path.join("FORMAT");
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(StoreError::io("read", file, error)),
        };
        let number = text
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.strip_suffix('\n')?.parse().ok());
        number
            .map(Some)
            .ok_or_else(|| StoreError::damaged("FORMAT is not `causeway-store N`"))
    }

    /// Sets the format, atomically.
    pub(super) fn set_format(&self, format: u32) -> Result<(), StoreError> {
        let (file, new) = (self.path.join("FORMAT"), self.path.join("FORMAT.new"));
        let write = || {
            let mut out = File::create(&new)?;
            writeln!(out, "{MAGIC}{format}")?;
            out.sync_all()?;
            fs::rename(&new, &file)
        };
        write().map_err(|error| StoreError::io("write", &file, error))?;
        sync_dir(&self.path)
    }

    /// The last batch known to be acknowledged, and whether one of the two copies was unreadable.
    pub(super) fn read_head(&self) -> Result<(u64, bool), StoreError> {
        let mut slots = [0; 2 * SLOT];
        self.head
            .read_exact_at(&mut slots, 0)
            .map_err(|_| StoreError::damaged("HEAD is cut off"))?;
        let (left, right) = slots.split_at(SLOT);
        match (parse_slot(left), parse_slot(right)) {
            (Some(left), Some(right)) => Ok((left.max(right), false)),
            (Some(commit), None) | (None, Some(commit)) => Ok((commit, true)),
            (None, None) => Err(StoreError::damaged("HEAD is unreadable")),
        }
    }

    /// Notes that this batch is durable. Two slots in turn, so that a torn write leaves the one before.
    pub(super) fn write_head(&self, commit: u64) -> Result<(), StoreError> {
        let number = commit.to_be_bytes();
        let mut slot = [0; SLOT];
        let (text, crc) = slot.split_at_mut(8);
        text.copy_from_slice(&number);
        crc.copy_from_slice(&crc32fast::hash(&number).to_be_bytes());
        let write = |index: u64| self.head.write_all_at(&slot, index * SLOT as u64);
        let written = if commit == 0 {
            write(0).and_then(|()| write(1))
        } else {
            write(commit % 2)
        };
        written.map_err(|error| StoreError::io("write", self.path.join("HEAD"), error))
    }

    /// Bytes free for us on the disk.
    pub(super) fn free_bytes(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|error| StoreError::io("measure", &self.path, error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The locked file as a child inherits it.
    #[cfg(test)]
    pub(super) fn lock_again(&self) -> File {
        self.lock.try_clone().unwrap()
    }
}

impl Drop for Layout {
    /// Closing the file is not enough: a process that is just being started holds it too, until it runs its own program.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

/// Number (8 bytes) and its CRC-32.
const SLOT: usize = 12;

fn parse_slot(slot: &[u8]) -> Option<u64> {
    let (number, crc) = slot.split_first_chunk::<8>()?;
    let crc = u32::from_be_bytes(crc.try_into().ok()?);
    (crc32fast::hash(number) == crc).then(|| u64::from_be_bytes(*number))
}

fn open_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options
        .open(path)
        .map_err(|error| StoreError::io("open", path, error))
}

/// Creates a directory for us alone, with the ones above it that are missing, and makes that durable.
pub(super) fn create_dir(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    create_dir(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !path.is_dir() => {
            Err(StoreError::io("create", path, error))
        }
        _ => sync_dir(parent),
    }
}

/// Makes names created in or removed from a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| StoreError::io("sync", path, error))
}
