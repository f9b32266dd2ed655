//! Several nodes in one process: the shared suite of stores on top of them, and simulated failures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::needless_range_loop,
    clippy::single_match_else,
    missing_docs
)]

mod blobs;
mod confirm;
#[allow(dead_code, reason = "the engine's tests use all of it")]
#[path = "../../../room-engine/tests/it/faces.rs"]
mod faces;
mod intake;
mod members;
mod net;
mod sim;
mod suite;
mod take_over;
mod world;
