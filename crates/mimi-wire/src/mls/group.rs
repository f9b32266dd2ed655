//! Group state as it is handed to joiners: GroupInfo, ratchet tree, Welcome (RFC 9420 sections 7, 8, 12.4.3).

use super::{
    CipherSuite, Credential, Epoch, Extension, GroupId, KeyPackageRef, LeafNode, key_package::read_version,
};
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, wire_fields};
use crate::components::{AppDataDictionary, extension_type};
use serde::Serialize;

/// `HPKECiphertext`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HpkeCiphertext {
    /// KEM output.
    pub kem_output: Opaque,
    /// Sealed octets.
    pub ciphertext: Opaque,
}

wire_fields!(HpkeCiphertext {
    kem_output,
    ciphertext
});

/// `ExternalSender`: someone outside the group whose proposals its members accept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ExternalSender {
    /// Signature public key.
    pub signature_key: Opaque,
    /// Who it is.
    pub credential: Credential,
}

wire_fields!(ExternalSender {
    signature_key,
    credential
});

/// `GroupContext`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct GroupContext {
    /// Cipher suite.
    pub cipher_suite: CipherSuite,
    /// Group identifier.
    pub group_id: GroupId,
    /// Epoch.
    pub epoch: Epoch,
    /// Hash of the ratchet tree.
    pub tree_hash: Opaque,
    /// Hash of all commits.
    pub confirmed_transcript_hash: Opaque,
    /// What all members agree on.
    pub extensions: Vec<Extension>,
}

impl Encode for GroupContext {
    fn encode(&self, out: &mut Vec<u8>) {
        super::MLS10.encode(out);
        self.cipher_suite.encode(out);
        self.group_id.encode(out);
        self.epoch.encode(out);
        self.tree_hash.encode(out);
        self.confirmed_transcript_hash.encode(out);
        self.extensions.encode(out);
    }
}

impl Decode for GroupContext {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_version(r.field("GroupContext.version"))?;
        Ok(Self {
            cipher_suite: CipherSuite::decode(r.field("GroupContext.cipher_suite"))?,
            group_id: GroupId::decode(r.field("GroupContext.group_id"))?,
            epoch: Epoch::decode(r.field("GroupContext.epoch"))?,
            tree_hash: Opaque::decode(r.field("GroupContext.tree_hash"))?,
            confirmed_transcript_hash: Opaque::decode(r.field("GroupContext.confirmed_transcript_hash"))?,
            extensions: Vec::decode(r.field("GroupContext.extensions"))?,
        })
    }
}

/// A GroupInfo with its exact octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupInfo {
    bytes: Vec<u8>,
    content: GroupInfoContent,
}

/// The fields of a GroupInfo.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct GroupInfoContent {
    /// The group's agreed state.
    pub group_context: GroupContext,
    /// Extensions for joiners, such as `external_pub` and `ratchet_tree`.
    pub extensions: Vec<Extension>,
    /// Confirmation tag of the epoch.
    pub confirmation_tag: Opaque,
    /// Leaf index of the signer.
    pub signer: u32,
    /// The signer's signature over all of the above.
    pub signature: Opaque,
}

wire_fields!(GroupInfoContent {
    group_context,
    extensions,
    confirmation_tag,
    signer,
    signature
});

impl GroupInfo {
    /// Makes a GroupInfo of its fields, such as a hub does with a `PartialGroupInfo`.
    pub fn new(content: GroupInfoContent) -> Self {
        Self {
            bytes: content.to_bytes(),
            content,
        }
    }

    /// The exact octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fields.
    pub fn content(&self) -> &GroupInfoContent {
        &self.content
    }

    /// Group identifier.
    pub fn group_id(&self) -> &GroupId {
        &self.content.group_context.group_id
    }

    /// Epoch.
    pub fn epoch(&self) -> Epoch {
        self.content.group_context.epoch
    }

    /// Cipher suite.
    pub fn cipher_suite(&self) -> CipherSuite {
        self.content.group_context.cipher_suite
    }

    /// Confirmation tag of the epoch.
    pub fn confirmation_tag(&self) -> &[u8] {
        &self.content.confirmation_tag
    }

    /// Extensions of the GroupInfo itself.
    pub fn extensions(&self) -> &[Extension] {
        &self.content.extensions
    }

    /// Extensions of the GroupContext.
    pub fn group_extensions(&self) -> &[Extension] {
        &self.content.group_context.extensions
    }

    /// The application data dictionary of the GroupContext, if there is one.
    pub fn app_data(&self) -> Option<Result<AppDataDictionary, DecodeError>> {
        Extension::app_data_dictionary(self.group_extensions())
    }

    /// Whether a ratchet tree is embedded, which MIMI does not want.
    pub fn has_ratchet_tree(&self) -> bool {
        Extension::find(self.extensions(), extension_type::RATCHET_TREE).is_some()
    }
}

impl Encode for GroupInfo {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }
}

impl Decode for GroupInfo {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = r.clone();
        let content = GroupInfoContent::decode(r)?;
        Ok(Self {
            bytes: r.since(&start).to_vec(),
            content,
        })
    }
}

impl Serialize for GroupInfo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.content.serialize(serializer)
    }
}

/// A Welcome with its exact octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Welcome {
    bytes: Vec<u8>,
    cipher_suite: CipherSuite,
    key_package_refs: Vec<KeyPackageRef>,
}

impl Welcome {
    /// The exact octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Cipher suite.
    pub fn cipher_suite(&self) -> CipherSuite {
        self.cipher_suite
    }

    /// The KeyPackages it is for, in its order.
    pub fn key_package_refs(&self) -> &[KeyPackageRef] {
        &self.key_package_refs
    }
}

impl Encode for Welcome {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }
}

impl Decode for Welcome {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = r.clone();
        let cipher_suite = CipherSuite::decode(r.field("Welcome.cipher_suite"))?;
        let mut secrets = r.field("Welcome.secrets").window()?;
        let mut key_package_refs = Vec::new();
        while !secrets.is_empty() {
            key_package_refs.push(KeyPackageRef::decode(
                secrets.field("EncryptedGroupSecrets.new_member"),
            )?);
            HpkeCiphertext::decode(secrets.field("EncryptedGroupSecrets.encrypted_group_secrets"))?;
        }
        r.field("Welcome.encrypted_group_info").opaque()?;
        Ok(Self {
            bytes: r.since(&start).to_vec(),
            cipher_suite,
            key_package_refs,
        })
    }
}

impl Serialize for Welcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut view = serializer.serialize_struct("Welcome", 3)?;
        view.serialize_field("cipher_suite", &self.cipher_suite)?;
        view.serialize_field("key_package_refs", &self.key_package_refs)?;
        view.serialize_field("octets", &self.bytes.len())?;
        view.end()
    }
}

/// A ratchet tree, `optional<Node> ratchet_tree<V>`, with its exact octets: the body of the RFC 9420
/// extension of that name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RatchetTree {
    bytes: Vec<u8>,
}

impl RatchetTree {
    /// The exact octets, vector header included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The nodes, parsed anew.
    pub fn nodes(&self) -> Vec<Option<Node>> {
        Vec::from_bytes(&self.bytes).unwrap_or_default()
    }
}

impl Encode for RatchetTree {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }
}

impl Decode for RatchetTree {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = r.clone();
        let mut window = r.window()?;
        // Node by node, so that no more than one is in memory beside the octets.
        while !window.is_empty() {
            <Option<Node>>::decode(window.field("RatchetTree.node"))?;
        }
        Ok(Self {
            bytes: r.since(&start).to_vec(),
        })
    }
}

impl Serialize for RatchetTree {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.nodes().serialize(serializer)
    }
}

/// `Node` of a ratchet tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// A member.
    Leaf(Box<LeafNode>),
    /// An inner node.
    Parent(ParentNode),
}

impl Encode for Node {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leaf(leaf) => {
                out.push(1);
                leaf.encode(out);
            }
            Self::Parent(parent) => {
                out.push(2);
                parent.encode(out);
            }
        }
    }
}

impl Decode for Node {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        match r.u8()? {
            1 => LeafNode::decode(r).map(|leaf| Self::Leaf(Box::new(leaf))),
            2 => ParentNode::decode(r).map(Self::Parent),
            other => Err(at.unknown("node type", other)),
        }
    }
}

/// `ParentNode`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ParentNode {
    /// HPKE public key.
    pub encryption_key: Opaque,
    /// Hash of the node above.
    pub parent_hash: Opaque,
    /// Leaves below that don't know the private key.
    pub unmerged_leaves: Vec<u32>,
}

wire_fields!(ParentNode {
    encryption_key,
    parent_hash,
    unmerged_leaves
});
