//! The hub's judgement against real openmls clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unnecessary_wraps
)]
#![allow(unreachable_pub, missing_docs)]

mod client;
mod room;
mod setup;

mod bundles;
mod corpus;
mod flow;
mod founding;
mod franking;
mod hostile;
mod keys;
mod messages;
mod random;
mod rebuilding;
mod refusals;
mod snapshots;
