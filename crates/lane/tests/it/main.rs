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

mod net;
mod sim;
mod suite;
mod take_over;
mod world;
