//! Proposals and commits (RFC 9420 section 12, draft-ietf-mls-extensions-10 sections 4 to 7).

use super::{CipherSuite, Epoch, Extension, GroupId, HpkeCiphertext, KeyPackage, LeafNode, ProposalRef};
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, wire_fields};
use crate::components::proposal_type;
use serde::Serialize;

/// `Proposal`. A type that is not listed can't be delimited and is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Proposal {
    /// `add`
    Add(Box<KeyPackage>),
    /// `update`
    Update(Box<LeafNode>),
    /// `remove`
    Remove {
        /// Leaf index.
        removed: u32,
    },
    /// `psk`
    PreSharedKey(PreSharedKeyId),
    /// `reinit`
    ReInit(ReInit),
    /// `external_init`
    ExternalInit {
        /// KEM output.
        kem_output: Opaque,
    },
    /// `group_context_extensions`
    GroupContextExtensions(Vec<Extension>),
    /// `app_data_update`
    AppDataUpdate(AppDataUpdate),
    /// `app_ephemeral`
    AppEphemeral(AppEphemeral),
    /// `self_remove`
    SelfRemove,
}

impl Proposal {
    /// The number of its type, see [`proposal_type`].
    pub fn proposal_type(&self) -> u16 {
        match self {
            Self::Add(_) => proposal_type::ADD,
            Self::Update(_) => proposal_type::UPDATE,
            Self::Remove { .. } => proposal_type::REMOVE,
            Self::PreSharedKey(_) => proposal_type::PSK,
            Self::ReInit(_) => proposal_type::REINIT,
            Self::ExternalInit { .. } => proposal_type::EXTERNAL_INIT,
            Self::GroupContextExtensions(_) => proposal_type::GROUP_CONTEXT_EXTENSIONS,
            Self::AppDataUpdate(_) => proposal_type::APP_DATA_UPDATE,
            Self::AppEphemeral(_) => proposal_type::APP_EPHEMERAL,
            Self::SelfRemove => proposal_type::SELF_REMOVE,
        }
    }
}

impl Encode for Proposal {
    fn encode(&self, out: &mut Vec<u8>) {
        self.proposal_type().encode(out);
        match self {
            Self::Add(key_package) => key_package.encode(out),
            Self::Update(leaf) => leaf.encode(out),
            Self::Remove { removed } => removed.encode(out),
            Self::PreSharedKey(id) => id.encode(out),
            Self::ReInit(reinit) => reinit.encode(out),
            Self::ExternalInit { kem_output } => kem_output.encode(out),
            Self::GroupContextExtensions(extensions) => extensions.encode(out),
            Self::AppDataUpdate(update) => update.encode(out),
            Self::AppEphemeral(ephemeral) => ephemeral.encode(out),
            Self::SelfRemove => {}
        }
    }
}

impl Decode for Proposal {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.field("Proposal.proposal_type").clone();
        Ok(match r.u16()? {
            proposal_type::ADD => Self::Add(Box::new(KeyPackage::decode(r)?)),
            proposal_type::UPDATE => Self::Update(Box::new(LeafNode::decode(r)?)),
            proposal_type::REMOVE => Self::Remove {
                removed: r.field("Remove.removed").u32()?,
            },
            proposal_type::PSK => Self::PreSharedKey(PreSharedKeyId::decode(r)?),
            proposal_type::REINIT => Self::ReInit(ReInit::decode(r)?),
            proposal_type::EXTERNAL_INIT => Self::ExternalInit {
                kem_output: Opaque::decode(r.field("ExternalInit.kem_output"))?,
            },
            proposal_type::GROUP_CONTEXT_EXTENSIONS => {
                Self::GroupContextExtensions(Vec::decode(r.field("GroupContextExtensions.extensions"))?)
            }
            proposal_type::APP_DATA_UPDATE => Self::AppDataUpdate(AppDataUpdate::decode(r)?),
            proposal_type::APP_EPHEMERAL => Self::AppEphemeral(AppEphemeral::decode(r)?),
            proposal_type::SELF_REMOVE => Self::SelfRemove,
            other => return Err(at.unknown("proposal type", other)),
        })
    }
}

/// `ReInit`: the group is to go on as another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ReInit {
    /// Identifier of the new group.
    pub group_id: GroupId,
    /// Its MLS version.
    pub version: u16,
    /// Its cipher suite.
    pub cipher_suite: CipherSuite,
    /// Its extensions.
    pub extensions: Vec<Extension>,
}

wire_fields!(ReInit {
    group_id,
    version,
    cipher_suite,
    extensions
});

/// `PreSharedKeyID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct PreSharedKeyId {
    /// Which key.
    pub psk: Psk,
    /// Nonce.
    pub psk_nonce: Opaque,
}

wire_fields!(PreSharedKeyId { psk, psk_nonce });

/// Which pre-shared key is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Psk {
    /// A key from outside MLS.
    External {
        /// Its name.
        psk_id: Opaque,
    },
    /// A key from an epoch of a group.
    Resumption {
        /// `application(1)`, `reinit(2)`, `branch(3)`.
        usage: u8,
        /// The group.
        psk_group_id: GroupId,
        /// The epoch.
        psk_epoch: Epoch,
    },
    /// A key of an application component.
    Application {
        /// The component.
        component_id: u16,
        /// Its name.
        psk_id: Opaque,
    },
}

impl Encode for Psk {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::External { psk_id } => {
                out.push(1);
                psk_id.encode(out);
            }
            Self::Resumption {
                usage,
                psk_group_id,
                psk_epoch,
            } => {
                out.extend_from_slice(&[2, *usage]);
                psk_group_id.encode(out);
                psk_epoch.encode(out);
            }
            Self::Application { component_id, psk_id } => {
                out.push(3);
                component_id.encode(out);
                psk_id.encode(out);
            }
        }
    }
}

impl Decode for Psk {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        Ok(match r.u8()? {
            1 => Self::External {
                psk_id: Opaque::decode(r)?,
            },
            2 => {
                let at = r.clone();
                let usage = r.u8()?;
                if !(1..=3).contains(&usage) {
                    return Err(at.unknown("resumption PSK usage", usage));
                }
                Self::Resumption {
                    usage,
                    psk_group_id: GroupId::decode(r)?,
                    psk_epoch: Epoch::decode(r)?,
                }
            }
            3 => Self::Application {
                component_id: r.u16()?,
                psk_id: Opaque::decode(r)?,
            },
            other => return Err(at.unknown("PSK type", other)),
        })
    }
}

/// `AppDataUpdate`: changes one component of the group's application data dictionary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct AppDataUpdate {
    /// See [`crate::components::component_id`].
    pub component_id: u16,
    /// What happens to it.
    pub operation: AppDataOperation,
}

wire_fields!(AppDataUpdate {
    component_id,
    operation
});

/// What happens to a component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AppDataOperation {
    /// The component's own update format is applied to its data.
    Update(Opaque),
    /// The component is taken out of the dictionary.
    Remove,
}

impl Encode for AppDataOperation {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Update(update) => {
                out.push(1);
                update.encode(out);
            }
            Self::Remove => out.push(2),
        }
    }
}

impl Decode for AppDataOperation {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        match r.u8()? {
            1 => Opaque::decode(r).map(Self::Update),
            2 => Ok(Self::Remove),
            other => Err(at.unknown("AppDataUpdate operation", other)),
        }
    }
}

/// `AppEphemeral`: data for a component that leaves no trace in the group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct AppEphemeral {
    /// The component.
    pub component_id: u16,
    /// Its data.
    pub data: Opaque,
}

wire_fields!(AppEphemeral { component_id, data });

/// `ProposalOrRef` in a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProposalOrRef {
    /// A proposal of the committer, in full.
    Proposal(Proposal),
    /// A proposal sent before.
    Reference(ProposalRef),
}

impl Encode for ProposalOrRef {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Proposal(proposal) => {
                out.push(1);
                proposal.encode(out);
            }
            Self::Reference(reference) => {
                out.push(2);
                reference.encode(out);
            }
        }
    }
}

impl Decode for ProposalOrRef {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.field("ProposalOrRef.type").clone();
        match r.u8()? {
            1 => Proposal::decode(r).map(Self::Proposal),
            2 => ProposalRef::decode(r).map(Self::Reference),
            other => Err(at.unknown("ProposalOrRef type", other)),
        }
    }
}

/// `Commit`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Commit {
    /// What is committed, in this order.
    pub proposals: Vec<ProposalOrRef>,
    /// New keys on the committer's path to the root.
    pub path: Option<UpdatePath>,
}

wire_fields!(Commit { proposals, path });

/// `UpdatePath`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct UpdatePath {
    /// The committer's new leaf.
    pub leaf_node: LeafNode,
    /// The nodes above it.
    pub nodes: Vec<UpdatePathNode>,
}

wire_fields!(UpdatePath { leaf_node, nodes });

/// `UpdatePathNode`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct UpdatePathNode {
    /// The node's new public key.
    pub encryption_key: Opaque,
    /// Its path secret, sealed to each node of the copath's resolution.
    pub encrypted_path_secret: Vec<HpkeCiphertext>,
}

wire_fields!(UpdatePathNode {
    encryption_key,
    encrypted_path_secret
});
