//! The engine with real MLS clients: providers in one process, no network between them but the outbox.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod aside;
mod blobs;
mod faces;
mod faults;
mod fence;
mod follower;
mod graph;
mod hooked;
mod hostile;
mod inbox;
mod keys;
mod mallory;
mod migrate;
mod people;
mod portal;
mod races;
mod rebuilt;
mod sender;
mod story;
mod together;
mod torn;
mod world;
