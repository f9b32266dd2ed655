//! What a client must not lose, encrypted at rest.
//!
//! A profile is a directory of its own:
//!
//! | file | holds |
//! |---|---|
//! | `state` | everything, AES-256-GCM under the profile's random data key; replaced as a whole, atomically |
//! | `key` or `key.sealed` | the data key: bare (mode 0600) or wrapped under Argon2id of a passphrase |
//! | `lock` | locked by the one process that may use the profile |
//!
//! One file, one replacement: a key that was used up, the message made with it and the place in the feed change
//! together or not at all. So killing the process at any instant leaves the last saved state, whole.

mod seal;
#[cfg(test)]
mod tests;

pub use seal::Passphrase;

use seal::DataKey;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

const STATE: &str = "state";
const LOCK: &str = "lock";

/// What can go wrong with a profile directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// There is no profile here.
    #[error("no profile in {0}; sign in first (`causeway client login`)")]
    Missing(PathBuf),
    /// There is a profile here already.
    #[error("{0} holds a profile already")]
    Exists(PathBuf),
    /// Another process has it.
    #[error("the profile {0} is in use by another process; wait for it or stop it")]
    InUse(PathBuf),
    /// The data key is wrapped and no passphrase was given.
    #[error(
        "the profile is protected by a passphrase; give it with --passphrase-file or CAUSEWAY_PASSPHRASE"
    )]
    PassphraseNeeded,
    /// The data key doesn't open under this passphrase.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// A file isn't what this program wrote.
    #[error(
        "{file} is damaged: {what}; restore it from a backup, or sign in as a new device in another profile"
    )]
    Corrupt {
        /// Which file.
        file: PathBuf,
        /// What about it.
        what: &'static str,
    },
    /// A newer program wrote it.
    #[error("{file} has format {found}; this program knows formats up to {known}")]
    NewerFormat {
        /// Which file.
        file: PathBuf,
        /// Its format number.
        found: u16,
        /// The newest we know.
        known: u16,
    },
    /// The operating system.
    #[error("{file}: {source}")]
    Io {
        /// Which file.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No randomness to be had.
    #[error("the operating system gave no random octets")]
    Random,
}

fn io_at(file: &Path) -> impl FnOnce(io::Error) -> StorageError + '_ {
    move |source| StorageError::Io {
        file: file.to_owned(),
        source,
    }
}

/// An open profile: one octet string that is replaced as a whole.
pub struct Vault {
    dir: PathBuf,
    key: DataKey,
    _lock: File,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Whether there is a profile in `dir`.
    pub fn exists(dir: &Path) -> bool {
        dir.join(STATE).exists()
    }

    /// Makes a profile in `dir` (created with mode 0700 where missing) that holds `content`.
    pub fn create(dir: &Path, passphrase: Option<&Passphrase>, content: &[u8]) -> Result<Self, StorageError> {
        create_private_dir(dir)?;
        let lock = lock(dir, Duration::ZERO)?;
        if Self::exists(dir) {
            return Err(StorageError::Exists(dir.to_owned()));
        }
        let key = DataKey::generate()?;
        key.store(dir, passphrase)?;
        let vault = Self {
            dir: dir.to_owned(),
            key,
            _lock: lock,
        };
        vault.replace(content)?;
        Ok(vault)
    }

    /// Opens the profile in `dir` and reads what it holds. Waits up to `patience` for another process to let go.
    pub fn open(
        dir: &Path,
        passphrase: Option<&Passphrase>,
        patience: Duration,
    ) -> Result<(Self, Zeroizing<Vec<u8>>), StorageError> {
        if !Self::exists(dir) {
            return Err(StorageError::Missing(dir.to_owned()));
        }
        let lock = lock(dir, patience)?;
        let key = DataKey::load(dir, passphrase)?;
        let vault = Self {
            dir: dir.to_owned(),
            key,
            _lock: lock,
        };
        let content = vault.read()?;
        Ok((vault, content))
    }

    /// Reads what was last saved.
    pub fn read(&self) -> Result<Zeroizing<Vec<u8>>, StorageError> {
        let file = self.dir.join(STATE);
        let sealed = fs::read(&file).map_err(io_at(&file))?;
        self.key.open_state(&file, &sealed)
    }

    /// Replaces what is held by `content`: it, or what was there before, is there after a crash.
    pub fn replace(&self, content: &[u8]) -> Result<(), StorageError> {
        write_atomically(&self.dir, STATE, &self.key.seal_state(content)?)
    }
}

fn create_private_dir(dir: &Path) -> Result<(), StorageError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(io_at(dir))
}

fn lock(dir: &Path, patience: Duration) -> Result<File, StorageError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_at(&path))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(TryLockError::WouldBlock) => return Err(StorageError::InUse(dir.to_owned())),
            Err(TryLockError::Error(e)) => return Err(io_at(&path)(e)),
        }
    }
}

/// Temporary file, sync, rename, sync of the directory: after a crash the name holds the old or the new octets.
fn write_atomically(dir: &Path, name: &str, octets: &[u8]) -> Result<(), StorageError> {
    let (temporary, target) = (dir.join(format!("{name}.new")), dir.join(name));
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary).map_err(io_at(&temporary))?;
    file.write_all(octets)
        .and_then(|()| file.sync_all())
        .map_err(io_at(&temporary))?;
    fs::rename(&temporary, &target).map_err(io_at(&target))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(io_at(dir))
}
