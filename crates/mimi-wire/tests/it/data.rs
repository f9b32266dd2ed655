//! Where test data of outside origin lies. It is not part of the project.

use std::path::PathBuf;

/// The path of a data file or folder; `None`, with a note, where the data isn't there. In CI that is a failure.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CAUSEWAY_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
    println!("SKIPPED: {} is missing", path.display());
    None
}

/// A JSON data file.
pub(crate) fn json(name: &str) -> Option<serde_json::Value> {
    Some(serde_json::from_slice(&std::fs::read(path(name)?).unwrap()).unwrap())
}

/// Octets of a hexadecimal JSON string.
pub(crate) fn octets(value: &serde_json::Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}
