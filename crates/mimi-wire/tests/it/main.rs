//! Tests against data and code of other origin.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod content_examples;
mod data;
mod mls_vectors;
mod wire_kats;
