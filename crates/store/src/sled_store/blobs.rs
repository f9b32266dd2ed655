//! Large values in files named by their hash.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::layout::{create_dir, sync_dir};
use crate::{BlobHash, Collected, StoreError};

pub(super) struct BlobDir {
    root: PathBuf,
    /// Puts share it; the collector takes it for each file, so that it never deletes what was just put again.
    collecting: RwLock<()>,
    /// Directories whose own name this process has made durable, by the first byte of their blobs' hashes.
    durable: [AtomicBool; 256],
    /// Makes names of unfinished files unique.
    unfinished: AtomicU64,
}

impl BlobDir {
    /// Opens the directory and clears away files whose writing was broken off.
    pub(super) fn open(root: &Path) -> Result<BlobDir, StoreError> {
        let tmp = root.join("tmp");
        create_dir(&tmp)?;
        for entry in entries(&tmp)? {
            fs::remove_file(&entry).map_err(|error| StoreError::io("remove", entry, error))?;
        }
        Ok(BlobDir {
            root: root.to_owned(),
            collecting: RwLock::new(()),
            durable: [const { AtomicBool::new(false) }; 256],
            unfinished: AtomicU64::new(0),
        })
    }

    pub(super) fn put(&self, bytes: &[u8]) -> Result<BlobHash, StoreError> {
        let _shared = self.collecting.read().unwrap_or_else(PoisonError::into_inner);
        let hash = BlobHash::of(bytes);
        let path = self.path(&hash);
        let dir = self.dir(&hash)?;
        if fs::read(&path).is_ok_and(|found| found == bytes) {
            // Young again for the collector.
            File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(SystemTime::now()))
                .map_err(|error| StoreError::io("touch", &path, error))?;
        } else {
            // New, or damaged and thereby mended.
            let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
            let tmp = self.root.join("tmp").join(format!("{hash}.{number}"));
            let write = || {
                let mut file = File::create(&tmp)?;
                file.write_all(bytes)?;
                file.sync_all()?;
                fs::rename(&tmp, &path)
            };
            write().map_err(|error| {
                let _ = fs::remove_file(&tmp);
                StoreError::io("write", &path, error)
            })?;
        }
        // Also when the file was there: whoever wrote it may not have come this far.
        sync_dir(&dir)?;
        Ok(hash)
    }

    pub(super) fn get(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError> {
        let path = self.path(hash);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        if BlobHash::of(&bytes) != *hash {
            return Err(StoreError::Corrupt {
                space: None,
                key: hash.as_bytes().to_vec(),
                why: "the blob's bytes do not have its hash".to_owned(),
            });
        }
        Ok(Some(bytes.into()))
    }

    pub(super) fn collect(
        &self,
        referenced: &HashSet<BlobHash>,
        grace: Duration,
    ) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        for hash in self.list()?.0 {
            if referenced.contains(&hash) {
                collected.kept += 1;
                continue;
            }
            let _alone = self.collecting.write().unwrap_or_else(PoisonError::into_inner);
            let path = self.path(&hash);
            let meta = fs::metadata(&path).map_err(|error| StoreError::io("read", &path, error))?;
            // A time in the future counts as young.
            let age = meta
                .modified()
                .ok()
                .and_then(|put| put.elapsed().ok())
                .unwrap_or_default();
            if age < grace {
                collected.kept += 1;
            } else {
                fs::remove_file(&path).map_err(|error| StoreError::io("remove", &path, error))?;
                collected.removed += 1;
                collected.removed_bytes += meta.len();
            }
        }
        Ok(collected)
    }

    /// All blobs in order, and the files that are none.
    pub(super) fn list(&self) -> Result<(Vec<BlobHash>, Vec<PathBuf>), StoreError> {
        let (mut blobs, mut strange) = (Vec::new(), Vec::new());
        for dir in entries(&self.root)? {
            if dir.file_name().is_some_and(|name| name == "tmp") {
                continue;
            }
            for file in entries(&dir)? {
                let hash = file
                    .file_name()
                    .and_then(|name| name.to_str()?.parse::<BlobHash>().ok());
                match hash {
                    Some(hash) if self.path(&hash) == file => blobs.push(hash),
                    _ => strange.push(file),
                }
            }
        }
        blobs.sort_unstable();
        Ok((blobs, strange))
    }

    /// Number of blobs and their bytes.
    pub(super) fn size(&self) -> Result<(u64, u64), StoreError> {
        let (mut count, mut bytes) = (0, 0);
        for hash in self.list()?.0 {
            // Gone in between: collected.
            if let Ok(meta) = fs::metadata(self.path(&hash)) {
                count += 1;
                bytes += meta.len();
            }
        }
        Ok((count, bytes))
    }

    /// The directory of a blob, which is there for good when this returns.
    fn dir(&self, hash: &BlobHash) -> Result<PathBuf, StoreError> {
        let [first, ..] = hash.as_bytes();
        let dir = self.root.join(hex::encode([*first]));
        let durable = self.durable.get(usize::from(*first));
        if !durable.is_some_and(|durable| durable.load(Ordering::Acquire)) {
            create_dir(&dir)?;
            // Also when it was there: whoever created it may not have come to the sync.
            sync_dir(&self.root)?;
            if let Some(durable) = durable {
                durable.store(true, Ordering::Release);
            }
        }
        Ok(dir)
    }

    fn path(&self, hash: &BlobHash) -> PathBuf {
        let name = hash.to_string();
        self.root.join(name.get(..2).unwrap_or_default()).join(name)
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()
    };
    read().map_err(|error| StoreError::io("read", dir, error))
}
