//! Cipher suites and their hash functions.

use crate::codec::wire_fields;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// An MLS cipher suite by its number (RFC 9420 section 17.1). Unknown numbers are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CipherSuite(pub u16);

wire_fields!(CipherSuite { 0 });

impl CipherSuite {
    /// `MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519`, mandatory in MLS.
    pub const X25519_AES128: Self = Self(1);
    /// `MLS_128_DHKEMP256_AES128GCM_SHA256_P256`.
    pub const P256_AES128: Self = Self(2);
    /// `MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519`.
    pub const X25519_CHACHA: Self = Self(3);

    /// The suite's hash function; `None` for a suite this crate does not know.
    pub const fn hash(self) -> Option<HashAlgorithm> {
        match self.0 {
            1..=3 => Some(HashAlgorithm::Sha256),
            4..=6 => Some(HashAlgorithm::Sha512),
            7 => Some(HashAlgorithm::Sha384),
            _ => None,
        }
    }
}

/// A hash function of a cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl HashAlgorithm {
    /// The digest of `input`.
    pub fn hash(self, input: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(input).to_vec(),
            Self::Sha384 => Sha384::digest(input).to_vec(),
            Self::Sha512 => Sha512::digest(input).to_vec(),
        }
    }
}
