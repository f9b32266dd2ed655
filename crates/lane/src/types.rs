//! What the log holds, and what openraft has to know about it.

use bytes::Bytes;
use openraft::impls::leader_id_std::LeaderId;
use serde::{Deserialize, Serialize};
use std::fmt;
use store::{Committed, Expected, Guard, OwnerKey, Space, StoreError};

/// A node's name: its Matrix server name, for example `cw1.example.org`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl NodeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the others reach a node and know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Host and port of its node API.
    pub address: String,
    /// Its public key: `ed25519:VERSION KEY`, unpadded base64.
    pub key: String,
}

/// One decision: a batch in its octets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl Serialize for Proposal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octets;
        impl serde::de::Visitor<'_> for Octets {
            type Value = Proposal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("octets")
            }

            fn visit_bytes<E: serde::de::Error>(self, octets: &[u8]) -> Result<Proposal, E> {
                Ok(Proposal(Bytes::copy_from_slice(octets)))
            }

            fn visit_byte_buf<E: serde::de::Error>(self, octets: Vec<u8>) -> Result<Proposal, E> {
                Ok(Proposal(octets.into()))
            }
        }
        deserializer.deserialize_bytes(Octets)
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} octets)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

/// What became of an entry when it was applied. The same at every node, as all judge it on the same records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Nothing of the provider's: an entry of the log itself.
    Own,
    /// Written.
    Written {
        /// Lease and version of the owner's next guard.
        guard: Option<(u64, u64)>,
        /// The store's number of the batch at the node that answers.
        commit: u64,
    },
    /// [`StoreError::Fenced`]
    Fenced {
        /// Lease of the batch.
        held: u64,
        /// Lease in the store.
        found: u64,
    },
    /// [`StoreError::VersionConflict`]
    Version {
        /// Version of the batch.
        expected: u64,
        /// Version in the store.
        found: u64,
    },
    /// [`StoreError::ExpectationFailed`]
    Expectation {
        /// Code of the space.
        space: u8,
        /// Key of the record.
        key: Vec<u8>,
        /// Whether it should not have been there.
        absent: bool,
    },
    /// Octets that are no batch: written by a newer program.
    Unreadable,
}

impl Outcome {
    /// A refusal of the store is an outcome like any other; a failure that may pass is none.
    pub(super) fn of(result: Result<Committed, StoreError>) -> Result<Self, StoreError> {
        Ok(match result {
            Ok(committed) => Self::Written {
                guard: committed.guard.map(|guard| (guard.lease, guard.version)),
                commit: committed.commit,
            },
            Err(StoreError::Fenced { held, found, .. }) => Self::Fenced { held, found },
            Err(StoreError::VersionConflict { expected, found, .. }) => Self::Version { expected, found },
            Err(StoreError::ExpectationFailed { space, key, expected }) => Self::Expectation {
                space: space.code(),
                key,
                absent: matches!(expected, Expected::Absent),
            },
            // Judged before it was proposed; a newer node may have other limits.
            Err(StoreError::TooLarge { .. } | StoreError::Reserved { .. }) => Self::Unreadable,
            Err(error) => return Err(error),
        })
    }

    /// What the committer is told.
    pub(super) fn into_result(self, owner: Option<OwnerKey>) -> Result<Committed, StoreError> {
        let owner_or_none = || owner.clone().unwrap_or_else(|| OwnerKey::new(Bytes::new()));
        match self {
            Self::Written { guard, commit } => Ok(Committed {
                guard: guard.zip(owner).map(|((lease, version), owner)| Guard {
                    owner,
                    lease,
                    version,
                }),
                commit,
            }),
            Self::Fenced { held, found } => Err(StoreError::Fenced {
                owner: owner_or_none(),
                held,
                found,
            }),
            Self::Version { expected, found } => Err(StoreError::VersionConflict {
                owner: owner_or_none(),
                expected,
                found,
            }),
            Self::Expectation { space, key, absent } => Err(StoreError::ExpectationFailed {
                space: Space::from_code(space).unwrap_or(Space::Meta),
                key,
                expected: if absent {
                    Expected::Absent
                } else {
                    Expected::ValueSha256
                },
            }),
            Self::Own | Self::Unreadable => Err(StoreError::Corrupt {
                space: Some(Space::RaftLog),
                key: Vec::new(),
                why: "an entry of the replicated log holds no batch that this program knows".to_owned(),
            }),
        }
    }
}

openraft::declare_raft_types!(
    /// The types of the lane. One leader a term, so that a term names who decided.
    pub(crate) Types:
        D = Proposal,
        R = Outcome,
        NodeId = NodeName,
        Node = Member,
        Term = u64,
        LeaderId = LeaderId<u64, NodeName>,
        AsyncRuntime = super::runtime::Runtime,
);

pub(super) type LogId = openraft::alias::LogIdOf<Types>;
pub(super) type Entry = openraft::alias::EntryOf<Types>;
pub(super) type Vote = openraft::alias::VoteOf<Types>;
pub(super) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(super) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;

/// A failed store, as openraft takes it.
pub(super) fn io(error: StoreError) -> std::io::Error {
    std::io::Error::other(error)
}
