//! Rooms on several servers: the Matrix server-server API in both directions, joining, and healing.
//!
//! A Causeway node is a Matrix server of its own. Whatever another server sends goes through one door
//! ([`federation`]): the request is authenticated ([`matrix_wire::auth`], [`keys`]), every event is verified, and the room's owner
//! in the engine judges it. Whatever we ask of others goes through [`client`], which finds them ([`discovery`])
//! without letting them lead us into the own network ([`guard`]).

pub mod client;
pub mod discovery;
pub mod federation;
pub mod guard;
pub mod healing;
mod history;
pub mod join;
pub mod keys;
pub mod sender;
pub mod server;
mod srv;

pub use client::{ClientSettings, FederationClient, RequestError};
pub use federation::{Bounds, Federation, FederationError};
pub use guard::AddressPolicy;
pub use keys::KeyStore;
pub use matrix_wire::keys::OwnKeys;
pub use matrix_wire::{ServerName, auth};
pub use sender::EventTransport;
