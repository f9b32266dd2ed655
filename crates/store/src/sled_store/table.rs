//! Records in sled: framing, checksums, pieces, ordered walks.
//!
//! One tree holds everything. A key begins with a letter: `r` records, `c` pieces of long values, `s` the system record.
//! A record is 4 bytes of length, 4 bytes of CRC-32 over key and value, and the value itself if it fits into 4 KiB.
//! A longer value lies in pieces of 4 KiB: sled puts anything larger into files of its own which it never syncs.

use std::{
    collections::BTreeMap,
    fs::File,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use super::SledOptions;
use crate::{MAX_VALUE, StoreError, key};

/// Largest value sled gets to see.
const PIECE: usize = 4096;
const HEADER: usize = 8;
const TREE: &[u8] = b"causeway";
const RECORD: u8 = b'r';
const CHUNK: u8 = b'c';
const SYSTEM: &[u8] = b"s";

/// Earlier values of keys that have changed since: what a reader sees instead. `None`: there was no record.
pub(super) type Undo = BTreeMap<Vec<u8>, Option<Bytes>>;

/// A record as a walk meets it: its raw key, and its value or what is wrong with it.
pub(super) type Met = (Vec<u8>, Result<Bytes, StoreError>);

/// Change of one record, for [`Table::apply`].
pub(super) struct Change<'a> {
    pub(super) raw: &'a [u8],
    pub(super) before: Option<&'a Bytes>,
    pub(super) after: Option<&'a Bytes>,
}

pub(super) struct Table {
    db: sled::Db,
    tree: sled::Tree,
    /// The database file, opened by us: `flush` of sled ends in `sync_file_range`, which is no fsync.
    file: File,
    path: PathBuf,
    /// Makes the next syncs fail.
    #[cfg(test)]
    pub(super) fail_sync: std::sync::atomic::AtomicBool,
}

impl Table {
    pub(super) fn open(path: &Path, options: &SledOptions) -> Result<Table, StoreError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(options.cache_bytes)
            .mode(if options.low_space {
                sled::Mode::LowSpace
            } else {
                sled::Mode::HighThroughput
            })
            .flush_every_ms(None)
            .use_compression(false);
        let (db, tree) = shield(|| {
            let db = open_released(&config).map_err(|error| engine("open", path, error))?;
            let tree = db.open_tree(TREE).map_err(|error| engine("open", path, error))?;
            Ok((db, tree))
        })?;
        let file = path.join("db");
        let file = File::open(&file).map_err(|error| StoreError::io("open", file, error))?;
        Ok(Table {
            db,
            tree,
            file,
            path: path.to_owned(),
            #[cfg(test)]
            fail_sync: std::sync::atomic::AtomicBool::default(),
        })
    }

    /// Reads and checks one record.
    pub(super) fn read(&self, raw: &[u8]) -> Result<Option<Bytes>, StoreError> {
        shield(|| {
            let found = self
                .tree
                .get(record_key(raw))
                .map_err(|error| self.failed("read", error))?;
            found.map(|stored| self.decode(raw, &stored)).transpose()
        })
    }

    /// Records within a range of raw keys, in order, as they were before the changes in `undo`.
    pub(super) fn walk<'a>(
        &'a self,
        undo: &'a Undo,
        range: key::Range,
        reverse: bool,
    ) -> impl Iterator<Item = Met> + 'a {
        let (start, end) = (
            range.0.as_ref().map(|raw| record_key(raw)),
            range.1.as_ref().map(|raw| record_key(raw)),
        );
        let stored = self.tree.range::<Vec<u8>, _>((start, end));
        let earlier = undo.range(range);
        let mut stored: Box<dyn Iterator<Item = _> + 'a> = if reverse {
            Box::new(stored.rev())
        } else {
            Box::new(stored)
        };
        let earlier: Box<dyn Iterator<Item = _> + 'a> = if reverse {
            Box::new(earlier.rev())
        } else {
            Box::new(earlier)
        };
        let mut broken = false;
        let mut stored = std::iter::from_fn(move || {
            if broken {
                return None;
            }
            // An error of sled itself, or a panic on a damaged page, ends the walk.
            let next = shield(|| self.next_stored(&mut stored, undo));
            broken = next.is_err();
            next.unwrap_or_else(|error| Some((Vec::new(), Err(error))))
        })
        .peekable();
        let mut earlier = earlier
            .filter_map(|(raw, value)| Some((raw.clone(), Ok(value.clone()?))))
            .peekable();
        std::iter::from_fn(move || match (stored.peek(), earlier.peek()) {
            (Some((left, _)), Some((right, _))) if (left < right) != reverse => stored.next(),
            (_, Some(_)) => earlier.next(),
            (_, None) => stored.next(),
        })
    }

    /// The next stored record that `undo` does not speak of.
    fn next_stored(
        &self,
        stored: &mut dyn Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
        undo: &Undo,
    ) -> Result<Option<Met>, StoreError> {
        for item in stored {
            let (record, value) = item.map_err(|error| self.failed("read", error))?;
            let raw = record.get(1..).unwrap_or_default();
            if !undo.contains_key(raw) {
                return Ok(Some((raw.to_vec(), self.decode(raw, &value))));
            }
        }
        Ok(None)
    }

    /// Applies changes and the system record in one atomic step. Nothing is durable before [`Table::sync`].
    pub(super) fn apply<'a>(
        &self,
        changes: impl Iterator<Item = Change<'a>>,
        system: &[u8],
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for Change { raw, before, after } in changes {
            let pieces = after.map_or(0, |value| pieces(value.len()));
            match after {
                None => batch.remove(record_key(raw)),
                Some(value) => {
                    batch.insert(record_key(raw), header(raw, value));
                    if pieces > 0 {
                        for (index, piece) in (0..pieces).zip(value.chunks(PIECE)) {
                            batch.insert(chunk_key(raw, index), piece);
                        }
                    }
                }
            }
            for index in pieces..before.map_or(0, |value| self::pieces(value.len())) {
                batch.remove(chunk_key(raw, index));
            }
        }
        batch.insert(SYSTEM, framed(SYSTEM, system));
        shield(|| {
            self.tree
                .apply_batch(batch)
                .map_err(|error| self.failed("write", error))
        })
    }

    /// Makes everything applied so far durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        if self.fail_sync.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(StoreError::io(
                "sync",
                &self.path,
                std::io::Error::other("made to fail"),
            ));
        }
        shield(|| self.db.flush().map_err(|error| self.failed("flush", error)))?;
        self.file
            .sync_data()
            .map_err(|error| StoreError::io("sync", self.path.join("db"), error))
    }

    /// The system record.
    pub(super) fn system(&self) -> Result<Option<Bytes>, StoreError> {
        shield(|| {
            let found = self
                .tree
                .get(SYSTEM)
                .map_err(|error| self.failed("read", error))?;
            let Some(stored) = found else { return Ok(None) };
            self.decode(SYSTEM, &stored)
                .map(Some)
                .map_err(|_| StoreError::damaged("the system record"))
        })
    }

    /// Calls `visit` with each piece's raw key and index, starting behind `after`, at most `limit` times.
    /// Returns where to go on, or none at the end.
    pub(super) fn pieces_after(
        &self,
        after: Option<Vec<u8>>,
        limit: usize,
        mut visit: impl FnMut(&[u8], usize),
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let start = after.map_or(Bound::Included(vec![CHUNK]), Bound::Excluded);
        let mut last = None;
        for (count, item) in self
            .tree
            .range((start, Bound::Excluded(vec![CHUNK + 1])))
            .enumerate()
        {
            if count == limit {
                return Ok(last);
            }
            let (stored, _) = item.map_err(|error| self.failed("read", error))?;
            if let Some((index, raw)) = stored.get(1..).and_then(<[u8]>::split_last) {
                visit(raw, usize::from(*index));
            }
            last = Some(stored.to_vec());
        }
        Ok(None)
    }

    pub(super) fn disk_bytes(&self) -> Result<u64, StoreError> {
        self.db
            .size_on_disk()
            .map_err(|error| self.failed("measure", error))
    }

    /// Files of sled's own for large values. Our values are too small for it, so there should be none.
    pub(super) fn unsynced_files(&self) -> u64 {
        std::fs::read_dir(self.path.join("blobs")).map_or(0, |files| files.count() as u64)
    }

    /// For tests that damage records on purpose.
    #[cfg(test)]
    pub(super) fn tree(&self) -> &sled::Tree {
        &self.tree
    }

    fn decode(&self, raw: &[u8], stored: &[u8]) -> Result<Bytes, StoreError> {
        let corrupt = |why: &str| {
            let (space, key) = key::split(raw);
            StoreError::Corrupt {
                space,
                key: key.to_vec(),
                why: why.to_owned(),
            }
        };
        let (length, crc, inline) = parse_header(stored).ok_or_else(|| corrupt("its header is cut off"))?;
        if length > MAX_VALUE {
            return Err(corrupt("its length is impossible"));
        }
        let value = if pieces(length) == 0 {
            Bytes::copy_from_slice(inline)
        } else {
            let mut value = BytesMut::with_capacity(length);
            for index in 0..pieces(length) {
                let piece = self
                    .tree
                    .get(chunk_key(raw, index))
                    .map_err(|error| self.failed("read", error))?;
                value.extend_from_slice(&piece.ok_or_else(|| corrupt("a piece is missing"))?);
            }
            value.freeze()
        };
        if value.len() != length {
            return Err(corrupt("its length is wrong"));
        }
        if checksum(raw, &value) != crc {
            return Err(corrupt("its checksum is wrong"));
        }
        Ok(value)
    }

    fn failed(&self, what: &'static str, error: sled::Error) -> StoreError {
        engine(what, &self.path, error)
    }
}

/// Opens sled. Its threads let go of the file only some time after an earlier instance in this process was dropped; no
/// other process can hold it, since we hold LOCK, so waiting is right.
fn open_released(config: &sled::Config) -> sled::Result<sled::Db> {
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..1000 {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(PAUSE);
            }
            opened => return opened,
        }
    }
    config.open()
}

/// How many pieces a value of this length lies in; 0 if it lies in its record.
pub(super) fn pieces(length: usize) -> usize {
    if length > PIECE - HEADER {
        length.div_ceil(PIECE)
    } else {
        0
    }
}

fn record_key(raw: &[u8]) -> Vec<u8> {
    [&[RECORD], raw].concat()
}

fn chunk_key(raw: &[u8], index: usize) -> Vec<u8> {
    // Below 16: a value has at most 64 KiB.
    [&[CHUNK], raw, &[u8::try_from(index).unwrap_or(u8::MAX)]].concat()
}

fn checksum(raw: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(raw);
    hasher.update(value);
    hasher.finalize()
}

/// The record of a value; without the value if that lies in pieces.
fn header(raw: &[u8], value: &[u8]) -> Vec<u8> {
    if pieces(value.len()) == 0 {
        framed(raw, value)
    } else {
        frame(raw, value, &[])
    }
}

fn framed(raw: &[u8], value: &[u8]) -> Vec<u8> {
    frame(raw, value, value)
}

fn frame(raw: &[u8], value: &[u8], inline: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    [
        &length.to_be_bytes()[..],
        &checksum(raw, value).to_be_bytes(),
        inline,
    ]
    .concat()
}

fn parse_header(stored: &[u8]) -> Option<(usize, u32, &[u8])> {
    let (length, rest) = stored.split_first_chunk::<4>()?;
    let (crc, inline) = rest.split_first_chunk::<4>()?;
    Some((
        usize::try_from(u32::from_be_bytes(*length)).ok()?,
        u32::from_be_bytes(*crc),
        inline,
    ))
}

fn engine(what: &'static str, path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => StoreError::io(what, path, error),
        error => StoreError::damaged(format!("sled cannot {what} it: {error}")),
    }
}

/// Turns a panic inside sled, which damaged files can cause, into an error.
pub(super) fn shield<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(StoreError::damaged(format!("sled panicked: {why}")))
    })
}
