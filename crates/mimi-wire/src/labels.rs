//! Octets that are signed, sealed to, or hashed under a label (RFC 9420 sections 5.1.2, 5.1.3 and 5.2).
//!
//! This crate does no public-key cryptography: it makes the octets, the caller signs, verifies or seals them.

use crate::codec::encode_opaque;
use crate::mls::HashAlgorithm;

/// What every MLS 1.0 label starts with.
pub const PREFIX: &str = "MLS 1.0 ";

/// Label of the signature over a `KeyMaterialRequestTBS`.
pub const KEY_MATERIAL_REQUEST: &str = "KeyMaterialRequestTBS";
/// Label of the signature over a `GroupInfoRequestTBS`.
pub const GROUP_INFO_REQUEST: &str = "GroupInfoRequestTBS";
/// Label of the signature over a `GroupInfoResponseTBS`.
pub const GROUP_INFO_RESPONSE: &str = "GroupInfoResponseTBS";
/// Label of the encryption of a `GroupInfoRatchetTreeTBE`; the context is the room's identifier.
pub const GROUP_INFO_ENCRYPTION: &str = "GroupInfo and ratchet_tree encryption";
/// Label of the signature over a `FrankingIntegrityTBS`.
pub const FRANKING_INTEGRITY: &str = "FrankingIntegrityTBS";
/// Label of a `KeyPackageRef` (with [`PREFIX`] already in it, as RFC 9420 section 5.2 writes it).
pub const KEY_PACKAGE_REFERENCE: &str = "MLS 1.0 KeyPackage Reference";
/// Label of a `ProposalRef` (with [`PREFIX`] already in it).
pub const PROPOSAL_REFERENCE: &str = "MLS 1.0 Proposal Reference";

fn labelled(label: &str, content: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(PREFIX.len() + label.len());
    full.extend_from_slice(PREFIX.as_bytes());
    full.extend_from_slice(label.as_bytes());
    let mut out = Vec::with_capacity(full.len() + content.len() + 8);
    encode_opaque(&full, &mut out);
    encode_opaque(content, &mut out);
    out
}

/// `SignContent`: what `SignWithLabel(key, label, content)` signs.
pub fn sign_content(label: &str, content: &[u8]) -> Vec<u8> {
    labelled(label, content)
}

/// `EncryptContext`: the HPKE `info` of `EncryptWithLabel(key, label, context, plaintext)`. `aad` is empty.
pub fn encrypt_info(label: &str, context: &[u8]) -> Vec<u8> {
    labelled(label, context)
}

/// `RefHash(label, value)`; `label` is taken as it is.
pub fn ref_hash(algorithm: HashAlgorithm, label: &str, value: &[u8]) -> Vec<u8> {
    let mut input = Vec::with_capacity(label.len() + value.len() + 8);
    encode_opaque(label.as_bytes(), &mut input);
    encode_opaque(value, &mut input);
    algorithm.hash(&input)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sign_content_has_the_prefix() {
        assert_eq!(super::sign_content("x", b"ab"), b"\x09MLS 1.0 x\x02ab");
        assert_eq!(super::encrypt_info("x", b""), b"\x09MLS 1.0 x\x00");
    }
}
