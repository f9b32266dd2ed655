//! Files that commands make: never overwritten by accident, secrets readable by their owner only.

use crate::failure::{Code, Failure};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

fn failed(path: &Path, error: std::io::Error) -> Failure {
    if error.kind() == ErrorKind::AlreadyExists {
        return Failure::new(
            Code::Exists,
            format!("{} exists already", path.display()),
            "keep it, or move it away first; nothing is ever overwritten",
        );
    }
    Failure::new(
        Code::Internal,
        format!("{} can't be written", path.display()),
        "check that the folder is writable and the disk has room",
    )
    .with_source(error)
}

fn create(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        let dir_mode = if mode == 0o600 { 0o700 } else { 0o755 };
        DirBuilder::new()
            .recursive(true)
            .mode(dir_mode)
            .create(folder)
            .map_err(|e| failed(folder, e))?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|e| failed(path, e))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|e| failed(path, e))
}

/// Writes a new file, mode 0644; makes its folder.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    create(path, text, 0o644)
}

/// Writes a new file, mode 0600; makes its folder with mode 0700.
pub fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    create(path, text, 0o600)
}

/// Puts a secret in the place of another, whole or not at all. Who may read the file stays as it was.
pub fn replace_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let Ok(before) = std::fs::metadata(path) else {
        return write_secret(path, text);
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // Left behind by a crash.
    let _ = std::fs::remove_file(beside);
    create(beside, text, 0o600)?;
    // The group lets a homeserver read its registration. Only root can give a file away; others own it already.
    let _ = std::os::unix::fs::chown(beside, Some(before.uid()), Some(before.gid()));
    std::fs::set_permissions(beside, before.permissions())
        .and_then(|()| std::fs::rename(beside, path))
        .map_err(|e| failed(path, e))?;
    let folder = path
        .parent()
        .filter(|f| !f.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| failed(path, e))
}

/// Reads a text file.
pub fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| {
        Failure::new(
            Code::Internal,
            format!("{} can't be read", path.display()),
            "check that it exists and is readable by this user",
        )
        .with_source(e)
    })
}

/// Whether anybody but the owner may read or write the file. `None` if it isn't there.
pub fn open_to_others(path: &Path) -> Option<bool> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    Some(mode & 0o077 != 0)
}
