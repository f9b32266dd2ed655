//! The client against two providers in memory.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod audit;
mod feed;
mod http;
mod hub;
mod kill;
mod person;
mod race;
mod story;
