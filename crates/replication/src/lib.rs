//! A Causeway node as a Matrix server towards other Matrix servers.
//!
//! Requests are authenticated by [`auth`] with keys that [`keys`] keeps. Whatever we ask of others goes through
//! [`client`], which finds them ([`discovery`]) without letting them lead us into the own network ([`guard`]).

pub mod auth;
pub mod client;
pub mod discovery;
pub mod guard;
pub mod keys;
pub mod server_name;
mod srv;

pub use client::{ClientSettings, FederationClient, RequestError};
pub use guard::AddressPolicy;
pub use keys::{KeyStore, OwnKeys};
pub use server_name::ServerName;
