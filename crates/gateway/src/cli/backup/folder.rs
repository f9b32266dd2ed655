//! A backup's folder: files that are written once, synced, and known by their hash.

use super::manifest::{SavedFile, Source};
use crate::failure::{Code, Failure};
use sha2::{Digest as _, Sha256};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

pub(in crate::cli) const STORE: &str = "store.jsonl";
pub(in crate::cli) const CONFIG: &str = "causeway.toml";
pub(in crate::cli) const MANIFEST: &str = "manifest.json";
/// As `sha256sum --check` reads it.
pub(in crate::cli) const SUMS: &str = "SHA256SUMS";

pub(in crate::cli) fn failed(path: &Path, error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        ErrorKind::NotFound => Failure::new(
            Code::NotFound,
            format!("{} is not there", path.display()),
            "check the path",
        ),
        _ => Failure::new(
            Code::Usage,
            format!("{} can't be read or written", path.display()),
            "check the path, its permissions and the disk",
        )
        .with_source(error),
    }
}

pub(in crate::cli) fn exists(path: &Path) -> Failure {
    Failure::new(
        Code::Exists,
        format!("{} exists already", path.display()),
        "name a new one, or move it away; nothing is overwritten",
    )
}

/// Where a backup grows until it is whole.
pub(super) fn partial(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

pub(super) fn create(folder: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .and_then(|()| DirBuilder::new().mode(0o700).create(folder.join("files")))
        .map_err(|e| failed(folder, e))
}

/// Gives a whole backup its name, durably.
pub(super) fn publish(partial: &Path, target: &Path) -> Result<(), Failure> {
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let sync = |path: &Path| File::open(path).and_then(|dir| dir.sync_all());
    sync(&partial.join("files"))
        .and_then(|()| sync(partial))
        .and_then(|()| std::fs::rename(partial, target))
        .and_then(|()| sync(parent))
        .map_err(|e| failed(target, e))
}

pub(in crate::cli) fn create_file(path: &Path, mode: u32) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|e| failed(path, e))
}

pub(in crate::cli) fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|e| failed(path, e))
}

pub(in crate::cli) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| failed(path, e))
}

pub(super) fn mode(path: &Path) -> Result<u32, Failure> {
    let metadata = std::fs::metadata(path).map_err(|e| failed(path, e))?;
    Ok(metadata.permissions().mode() & 0o777)
}

/// Writes a new file of a folder, synced.
pub(in crate::cli) fn write(path: &Path, octets: &[u8], mode: u32) -> Result<(), Failure> {
    let mut file = create_file(path, mode)?;
    file.write_all(octets)
        .and_then(|()| file.sync_all())
        .map_err(|e| failed(path, e))
}

pub(super) fn sha256(octets: &[u8]) -> String {
    hex::encode(Sha256::digest(octets))
}

/// Adds a file to a backup. There it is for its owner alone; `mode` is what it gets back.
pub(super) fn add(
    backup: &Path,
    name: &str,
    octets: &[u8],
    source: Source,
    mode: u32,
) -> Result<SavedFile, Failure> {
    write(&backup.join(name), octets, 0o600)?;
    Ok(SavedFile {
        name: name.to_owned(),
        sha256: sha256(octets),
        size: octets.len() as u64,
        mode,
        source,
    })
}

/// A file of a backup as it is on the disk.
pub(super) fn describe(backup: &Path, name: &str, source: Source) -> Result<SavedFile, Failure> {
    let path = backup.join(name);
    let mut file = open(&path)?;
    let mut hash = Sha256::new();
    let mut size = 0_u64;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer).map_err(|e| failed(&path, e))?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
            break;
        };
        hash.update(part);
        size += part.len() as u64;
    }
    Ok(SavedFile {
        name: name.to_owned(),
        sha256: hex::encode(hash.finalize()),
        size,
        mode: 0o600,
        source,
    })
}

/// A relative path that stays where it starts.
pub(in crate::cli) fn plain(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    let stays = |part: Component<'_>| matches!(part, Component::Normal(_));
    (!name.is_empty() && path.components().all(stays)).then_some(path)
}

/// All regular files below a folder, in order.
pub(super) fn files_below(folder: &Path, most: usize) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(next) = folders.pop() {
        let path = folder.join(&next);
        let entries = std::fs::read_dir(&path).map_err(|e| failed(&path, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| failed(&path, e))?;
            let kind = entry.file_type().map_err(|e| failed(&path, e))?;
            let name = next.join(entry.file_name());
            if kind.is_dir() {
                folders.push(name);
            } else {
                found.push(name);
            }
            if found.len() + folders.len() > most {
                return Err(Failure::new(
                    Code::ConfigValue,
                    format!("{} holds more than {most} files", folder.display()),
                    "keep keys in a folder of their own",
                ));
            }
        }
    }
    found.sort();
    Ok(found)
}
