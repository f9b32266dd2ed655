//! Everything around the engine: configuration, command line, HTTP faces, senders, metrics. The binary `causeway` is
//! a thin shell over [`cli::main`]; tests drive the parts directly.

pub mod assets;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod faces;
pub mod failure;
pub mod files;
mod heads;
pub mod keys;
pub mod manager;
pub mod matrix;
pub mod mimi_client;
mod pictures;
pub mod reload;
pub mod schemas;
pub mod senders;
pub mod service;
pub mod tls;
pub mod web;

/// Version, commit and the format of the store, as `--version` prints them.
pub fn version() -> String {
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("CAUSEWAY_COMMIT"));
    format!(
        "{version} (commit {commit}, store format {})",
        store::SledStore::FORMAT
    )
}
