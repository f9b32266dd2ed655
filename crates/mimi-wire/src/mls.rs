//! MLS structures (RFC 9420, draft-ietf-mls-extensions-10), as far as a provider has to look into them.
//!
//! MIMI embeds MLS structures without a length, so their end is found by parsing them. What is signed or
//! hashed keeps its exact octets: [`MlsMessage`], [`Welcome`], [`KeyPackage`], [`GroupInfo`] and
//! [`RatchetTree`] own what they were parsed from and write that back. Nothing here checks a signature.

mod group;
mod key_package;
mod leaf;
mod message;
mod proposal;
mod public;
mod semi_private;
mod suite;

pub use group::{
    ExternalSender, GroupContext, GroupInfo, GroupInfoContent, HpkeCiphertext, Node, ParentNode, RatchetTree,
    Welcome,
};
pub use key_package::{KeyPackage, KeyPackageContent};
pub use leaf::{
    Capabilities, Credential, Extension, LeafNode, LeafNodeSource, Lifetime, RequiredCapabilities,
};
pub use message::{MlsMessage, WireFormat};
pub use proposal::{
    AppDataOperation, AppDataUpdate, AppEphemeral, Commit, PreSharedKeyId, Proposal, ProposalOrRef, Psk,
    ReInit, UpdatePath, UpdatePathNode,
};
pub use public::{Content, ContentType, PublicMessage, Sender};
pub use semi_private::{KeyForExternalReceiver, SemiPrivateMessage};
pub use suite::{CipherSuite, HashAlgorithm};

use crate::codec::{Opaque, wire_fields};
use serde::{Deserialize, Serialize};

/// `ProtocolVersion` mls10.
pub const MLS10: u16 = 1;

/// An MLS epoch; a decimal string in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

wire_fields!(Epoch { 0 });
crate::codec::decimal_json!(Epoch);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Defines a newtype over octets with a meaning of their own.
macro_rules! octets {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Opaque);

        wire_fields!($name { 0 });

        impl $name {
            /// The octets.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                Self(Opaque(bytes))
            }
        }

        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> Self {
                Self(Opaque(bytes.to_vec()))
            }
        }
    };
}

octets! {
    /// The identifier of an MLS group: opaque octets, chosen by the hub.
    GroupId
}
octets! {
    /// Names a KeyPackage by its hash (RFC 9420 section 5.2).
    KeyPackageRef
}
octets! {
    /// Names a proposal by its hash (RFC 9420 section 5.2).
    ProposalRef
}

#[cfg(test)]
mod tests;
