//! What Matrix servers say to each other and to application services, as octets: names, signed requests, bodies.
//!
//! Pure: nothing here asks anybody. What a body means is for those who asked for it; what an event means is
//! `event_graph`'s. Everything that comes in is bounded where it is read, and never panics.

pub mod answers;
pub mod auth;
pub mod discovery;
pub mod keys;
pub mod push;
pub mod requests;
pub mod server_name;

pub use server_name::ServerName;
