//! KeyPackages (RFC 9420 section 10).

use super::{Capabilities, CipherSuite, Extension, KeyPackageRef, LeafNode, LeafNodeSource, Lifetime, MLS10};
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader};
use crate::components::component_id;
use crate::labels;
use serde::Serialize;

/// A KeyPackage with its exact octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPackage {
    bytes: Vec<u8>,
    content: KeyPackageContent,
}

/// The fields of a KeyPackage.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct KeyPackageContent {
    /// Cipher suite.
    pub cipher_suite: CipherSuite,
    /// HPKE public key that a Welcome is sealed to.
    pub init_key: Opaque,
    /// The leaf its owner will have.
    pub leaf_node: LeafNode,
    /// Extensions.
    pub extensions: Vec<Extension>,
    /// Signature over all of the above.
    pub signature: Opaque,
}

impl Decode for KeyPackageContent {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_version(r.field("KeyPackage.version"))?;
        let content = Self {
            cipher_suite: CipherSuite::decode(r.field("KeyPackage.cipher_suite"))?,
            init_key: Opaque::decode(r.field("KeyPackage.init_key"))?,
            leaf_node: LeafNode::decode(r.field("KeyPackage.leaf_node"))?,
            extensions: Vec::decode(r.field("KeyPackage.extensions"))?,
            signature: Opaque::decode(r.field("KeyPackage.signature"))?,
        };
        if !matches!(content.leaf_node.source, LeafNodeSource::KeyPackage(_)) {
            return Err(r.invalid("the leaf node of a KeyPackage must have source key_package"));
        }
        Ok(content)
    }
}

/// Reads an MLS protocol version and refuses all but mls10.
pub(super) fn read_version(r: &mut Reader<'_>) -> Result<(), DecodeError> {
    let at = r.clone();
    match r.u16()? {
        MLS10 => Ok(()),
        other => Err(at.unknown("MLS version", other)),
    }
}

impl KeyPackage {
    /// The exact octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fields.
    pub fn content(&self) -> &KeyPackageContent {
        &self.content
    }

    /// Its reference; `None` if the cipher suite's hash is not known here.
    pub fn reference(&self) -> Option<KeyPackageRef> {
        let hash = self.content.cipher_suite.hash()?;
        Some(labels::ref_hash(hash, labels::KEY_PACKAGE_REFERENCE, &self.bytes).into())
    }

    /// Cipher suite.
    pub fn cipher_suite(&self) -> CipherSuite {
        self.content.cipher_suite
    }

    /// HPKE public key that a Welcome is sealed to.
    pub fn init_key(&self) -> &[u8] {
        &self.content.init_key
    }

    /// Identity octets of the leaf's credential, if it is a basic one.
    pub fn leaf_identity(&self) -> Option<&[u8]> {
        self.content.leaf_node.credential.identity()
    }

    /// When the KeyPackage may be used.
    pub fn lifetime(&self) -> Lifetime {
        match self.content.leaf_node.source {
            LeafNodeSource::KeyPackage(lifetime) => lifetime,
            // Refused by the decoder.
            _ => Lifetime {
                not_before: 0,
                not_after: 0,
            },
        }
    }

    /// What its owner's client supports.
    pub fn capabilities(&self) -> &Capabilities {
        &self.content.leaf_node.capabilities
    }

    /// Whether it may be handed out more than once (component `last_resort_key_package`).
    pub fn is_last_resort(&self) -> bool {
        matches!(
            Extension::app_data_dictionary(&self.content.extensions),
            Some(Ok(dictionary)) if dictionary.get(component_id::LAST_RESORT_KEY_PACKAGE).is_some()
        )
    }
}

impl Encode for KeyPackage {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }
}

impl Decode for KeyPackage {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = r.clone();
        let content = KeyPackageContent::decode(r)?;
        Ok(Self {
            bytes: r.since(&start).to_vec(),
            content,
        })
    }
}

impl Serialize for KeyPackage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.content.serialize(serializer)
    }
}
