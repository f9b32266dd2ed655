//! Credentials, capabilities, extensions, leaf nodes (RFC 9420 sections 5.3, 7.2, 13).

use super::CipherSuite;
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, wire_fields};
use crate::components::{AppDataDictionary, credential_type, extension_type};
use serde::Serialize;

/// `Credential`. RFC 9420 gives both its types one vector as body, and so do the types added since; an
/// unknown type is taken to have that form too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Credential {
    /// See [`credential_type`].
    pub credential_type: u16,
    /// `basic`: the identity. `x509`: the certificates, each with its header. Otherwise opaque.
    pub body: Opaque,
}

impl Credential {
    /// A basic credential.
    pub fn basic(identity: impl Into<Vec<u8>>) -> Self {
        Self {
            credential_type: credential_type::BASIC,
            body: Opaque(identity.into()),
        }
    }

    /// The identity of a basic credential.
    pub fn identity(&self) -> Option<&[u8]> {
        (self.credential_type == credential_type::BASIC).then_some(&self.body)
    }

    /// The DER certificates of an X.509 credential, end entity first.
    pub fn certificates(&self) -> Option<Vec<Opaque>> {
        if self.credential_type != credential_type::X509 {
            return None;
        }
        read_certificates(&mut Reader::new(&self.body)).ok()
    }
}

fn read_certificates(r: &mut Reader<'_>) -> Result<Vec<Opaque>, DecodeError> {
    let mut certificates = Vec::new();
    while !r.is_empty() {
        certificates.push(Opaque::decode(r)?);
    }
    Ok(certificates)
}

impl Encode for Credential {
    fn encode(&self, out: &mut Vec<u8>) {
        self.credential_type.encode(out);
        self.body.encode(out);
    }
}

impl Decode for Credential {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let credential_type = r.field("Credential.credential_type").u16()?;
        let mut body = r.field("Credential.body").window()?;
        let octets = Opaque(body.remaining().to_vec());
        if credential_type == credential_type::X509 {
            read_certificates(&mut body)?;
        }
        Ok(Self {
            credential_type,
            body: octets,
        })
    }
}

/// `Capabilities` of a leaf node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Capabilities {
    /// MLS versions.
    pub versions: Vec<u16>,
    /// Cipher suites.
    pub cipher_suites: Vec<CipherSuite>,
    /// Extension types beyond the default ones.
    pub extensions: Vec<u16>,
    /// Proposal types beyond the default ones.
    pub proposals: Vec<u16>,
    /// Credential types.
    pub credentials: Vec<u16>,
}

wire_fields!(Capabilities {
    versions,
    cipher_suites,
    extensions,
    proposals,
    credentials
});

/// `RequiredCapabilities`: what every member must support.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct RequiredCapabilities {
    /// Extension types.
    pub extension_types: Vec<u16>,
    /// Proposal types.
    pub proposal_types: Vec<u16>,
    /// Credential types.
    pub credential_types: Vec<u16>,
}

wire_fields!(RequiredCapabilities {
    extension_types,
    proposal_types,
    credential_types
});

impl RequiredCapabilities {
    /// Whether a client with `capabilities` can be in a group that requires this.
    pub fn are_met_by(&self, capabilities: &Capabilities) -> bool {
        // RFC 9420 section 7.2: the default types are supported by all and need not be listed.
        let default_extension = |t: u16| (1..=5).contains(&t);
        let default_proposal = |t: u16| (1..=7).contains(&t);
        self.extension_types
            .iter()
            .all(|&t| default_extension(t) || capabilities.extensions.contains(&t))
            && self
                .proposal_types
                .iter()
                .all(|&t| default_proposal(t) || capabilities.proposals.contains(&t))
            && self
                .credential_types
                .iter()
                .all(|t| capabilities.credentials.contains(t))
    }
}

/// `Extension`: a type and octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Extension {
    /// See [`extension_type`].
    pub extension_type: u16,
    /// The extension's own encoding.
    pub extension_data: Opaque,
}

wire_fields!(Extension {
    extension_type,
    extension_data
});

impl Extension {
    /// The data of the first extension of a type.
    pub fn find(extensions: &[Self], wanted: u16) -> Option<&[u8]> {
        extensions
            .iter()
            .find(|e| e.extension_type == wanted)
            .map(|e| e.extension_data.as_bytes())
    }

    /// The application data dictionary among `extensions`, if there is one.
    pub fn app_data_dictionary(extensions: &[Self]) -> Option<Result<AppDataDictionary, DecodeError>> {
        Self::find(extensions, extension_type::APP_DATA_DICTIONARY).map(AppDataDictionary::from_bytes)
    }
}

/// `Lifetime` of a KeyPackage's leaf, in seconds since the UNIX epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Lifetime {
    /// First second of validity.
    #[serde(serialize_with = "crate::codec::serialize_decimal")]
    pub not_before: u64,
    /// Last second of validity.
    #[serde(serialize_with = "crate::codec::serialize_decimal")]
    pub not_after: u64,
}

wire_fields!(Lifetime {
    not_before,
    not_after
});

/// Where a leaf node came from, with what goes with that.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeafNodeSource {
    /// A KeyPackage.
    KeyPackage(Lifetime),
    /// An Update proposal.
    Update,
    /// A commit's path.
    Commit {
        /// Hash of the parent node.
        parent_hash: Opaque,
    },
}

impl Encode for LeafNodeSource {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::KeyPackage(lifetime) => {
                out.push(1);
                lifetime.encode(out);
            }
            Self::Update => out.push(2),
            Self::Commit { parent_hash } => {
                out.push(3);
                parent_hash.encode(out);
            }
        }
    }
}

impl Decode for LeafNodeSource {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        match r.u8()? {
            1 => Lifetime::decode(r).map(Self::KeyPackage),
            2 => Ok(Self::Update),
            3 => Opaque::decode(r).map(|parent_hash| Self::Commit { parent_hash }),
            other => Err(at.unknown("leaf node source", other)),
        }
    }
}

/// `LeafNode`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct LeafNode {
    /// HPKE public key.
    pub encryption_key: Opaque,
    /// Signature public key.
    pub signature_key: Opaque,
    /// Who it is.
    pub credential: Credential,
    /// What it supports.
    pub capabilities: Capabilities,
    /// Where it came from.
    pub source: LeafNodeSource,
    /// Extensions.
    pub extensions: Vec<Extension>,
    /// Signature over all of the above and, except in a KeyPackage, the place in the group.
    pub signature: Opaque,
}

wire_fields!(LeafNode {
    encryption_key,
    signature_key,
    credential,
    capabilities,
    source,
    extensions,
    signature,
});
