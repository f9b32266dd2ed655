//! Owners: every piece of state belongs to one, and one worker per owner is its only writer.

use mimi_wire::uri::MimiUri;
use sha2::{Digest as _, Sha256};
use store::OwnerKey;

use crate::outbox::Destination;

/// Whose state a command changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// A MIMI room, by its URI: group, log, graph, feed, portal.
    Room(MimiUri),
    /// A user of this provider, by its URI: devices, sessions, key packages.
    User(MimiUri),
    /// A graph that another server made, by its room id.
    Graph(String),
    /// What arrives from the homeserver, before it is handed to rooms and users.
    Homeserver,
    /// A destination's queue: what of the outbox it has.
    Destination(Destination),
}

impl Owner {
    /// The key under which the store keeps the owner's lease and version.
    pub(crate) fn key(&self) -> OwnerKey {
        let name = match self {
            Self::Room(uri) => format!("room:{}", hex::encode(UriKey::of(uri).0)),
            Self::User(uri) => format!("user:{}", hex::encode(UriKey::of(uri).0)),
            Self::Graph(room_id) => format!("graph:{}", hex::encode(UriKey::of_text(room_id).0)),
            Self::Homeserver => "homeserver".to_owned(),
            Self::Destination(destination) => format!("dest:{}", hex::encode(destination.key())),
        };
        OwnerKey::new(name)
    }
}

/// A URI as fixed-length part of a record's key: the first half of SHA-256 of its octets. URIs come from peers and
/// may hold any octet, so that a plain URI could not be a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UriKey(pub(crate) [u8; 16]);

impl UriKey {
    pub(crate) fn of(uri: &MimiUri) -> Self {
        Self::of_text(uri.as_str())
    }
    pub(crate) fn of_text(text: &str) -> Self {
        Self(half_sha256(text.as_bytes()))
    }
}

/// The first half of a SHA-256.
pub(crate) fn half_sha256(bytes: &[u8]) -> [u8; 16] {
    let full: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; 16];
    half.copy_from_slice(full.split_at(16).0);
    half
}
