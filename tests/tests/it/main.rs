//! Real processes against each other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod any_node;
mod appservice;
mod backup;
mod claims;
mod clients;
mod content;
mod fault_proxy;
mod faults;
mod federation;
mod graph;
mod kill;
mod namespaces;
mod nodes;
mod portal;
mod portal_ghosts;
mod reload;
mod support;
