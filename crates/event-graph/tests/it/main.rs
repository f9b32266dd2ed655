//! Tests over the public interface: recorded rooms, vectors, attacks, and generated rooms against ruma.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(unreachable_pub)]

mod attacks;
mod convergence;
mod corpus;
mod differential;
mod files;
mod fixtures;
mod owner;
mod receipt;
mod theirs;
mod vectors;
mod world;

use std::path::PathBuf;

/// The folder of data of outside origin; none if it isn't there, which on CI is a failure.
fn data() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../..")
        .join("shared/data");
    let path = std::env::var_os("CAUSEWAY_SHARED_DATA").map_or(root, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "test data is missing at {}",
        path.display()
    );
    println!("SKIPPED: no test data at {}", path.display());
    None
}

/// How many generated cases a long-running property gets.
fn cases(default: u32) -> u32 {
    std::env::var("EVENT_GRAPH_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}
