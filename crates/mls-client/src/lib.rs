//! A MIMI client on openmls: command line, tests, conformance runs, bridged rooms.

pub mod cli;
pub mod client;
mod content;
pub mod engine;
mod error;
pub mod matrix;
mod mls;
pub mod state;
pub mod storage;
pub mod transport;
mod wire;

pub use client::{Client, Options};
pub use client_api as api;
pub use engine::{Engine, NewRoom};
pub use error::ClientError;
