//! Tests against data and code of other origin.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod bodies;
mod content_examples;
mod corpus;
mod data;
mod differential;
mod mls_vectors;
mod replay;
mod round_trips;
mod strategies;
mod wire_kats;
