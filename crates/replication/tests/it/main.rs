//! This node as a Matrix server among others that mean no good. One node in process, its peers on loopback over TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod discovery;
mod heads;
mod joining;
mod keys;
mod memberships;
mod mutated;
mod outsiders;
mod peer;
mod pulled;
mod requests;
mod room;
mod rooms;
mod sending;
mod visible;
mod world;
