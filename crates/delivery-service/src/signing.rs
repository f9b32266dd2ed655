//! The hub's signature keys: of each scheme that a room's cipher suite may call for, out of one seed.
//!
//! A hub signs in a room with the scheme of the room's suite: its own proposals (RFC 9420 section 12.1.8.1) as well as
//! franks (draft-ietf-mimi-protocol-06 section 5.4.1). docs/decisions/0004 says why one seed gives both keys.

use ed25519_dalek::{Signer as _, SigningKey as Ed25519Key};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mimi_wire::mls::CipherSuite;
use openmls_traits::types::SignatureScheme;
use p256::ecdsa::{Signature as P256Signature, SigningKey as P256Key};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::crypto;

/// The cipher suites of the rooms that a hub takes up, best first.
pub const CIPHER_SUITES: [CipherSuite; 3] = [
    CipherSuite::X25519_AES128,
    CipherSuite::P256_AES128,
    CipherSuite::X25519_CHACHA,
];

/// What the P-256 key is derived with; never to be changed, since rooms name the key for ever.
const P256_INFO: &[u8] = b"causeway hub signature key, P-256";

/// A signature scheme for which a hub has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Ed25519, of the suites 0x0001 and 0x0003.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, of the suite 0x0002.
    P256,
}

impl Scheme {
    /// The scheme of a suite; `None` if a hub takes up no rooms of that suite.
    pub fn of(suite: CipherSuite) -> Option<Self> {
        if !CIPHER_SUITES.contains(&suite) {
            return None;
        }
        match crypto::supported(suite.0)?.signature_algorithm() {
            SignatureScheme::ED25519 => Some(Self::Ed25519),
            SignatureScheme::ECDSA_SECP256R1_SHA256 => Some(Self::P256),
            _ => None,
        }
    }

    pub(crate) fn mls(self) -> SignatureScheme {
        match self {
            Self::Ed25519 => SignatureScheme::ED25519,
            Self::P256 => SignatureScheme::ECDSA_SECP256R1_SHA256,
        }
    }
}

/// The public keys that follow from a seed, as MLS writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeys {
    /// 32 octets.
    pub ed25519: Vec<u8>,
    /// The uncompressed point, 65 octets.
    pub p256: Vec<u8>,
}

/// The public keys of a hub's seed.
pub fn public_keys(seed: &[u8; 32]) -> PublicKeys {
    let key = SigningKey::from_seed(seed);
    PublicKeys {
        ed25519: key.public(Scheme::Ed25519),
        p256: key.public(Scheme::P256),
    }
}

/// The keys of one seed. Zeroized on drop.
pub(crate) struct SigningKey {
    ed25519: Ed25519Key,
    p256: P256Key,
    /// Both public keys, each as often needed as its private one.
    public: PublicOctets,
}

struct PublicOctets {
    ed25519: [u8; 32],
    p256: Vec<u8>,
}

impl SigningKey {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        let ed25519 = Ed25519Key::from_bytes(seed);
        let p256 = p256_key(seed);
        let public = PublicOctets {
            ed25519: ed25519.verifying_key().to_bytes(),
            p256: p256.verifying_key().to_encoded_point(false).as_bytes().to_vec(),
        };
        Self {
            ed25519,
            p256,
            public,
        }
    }

    /// The public key, as `SignaturePublicKey` of MLS.
    pub(crate) fn public_octets(&self, scheme: Scheme) -> &[u8] {
        match scheme {
            Scheme::Ed25519 => &self.public.ed25519,
            Scheme::P256 => &self.public.p256,
        }
    }

    fn public(&self, scheme: Scheme) -> Vec<u8> {
        self.public_octets(scheme).to_vec()
    }

    /// Signs as RFC 9420 section 5.1.2 wants it: Ed25519 plain, ECDSA as the DER encoding of `ECDSA-Sig-Value`. Neither
    /// draws random numbers (RFC 6979 for the latter).
    pub(crate) fn sign(&self, scheme: Scheme, content: &[u8]) -> Vec<u8> {
        match scheme {
            Scheme::Ed25519 => self.ed25519.sign(content).to_bytes().to_vec(),
            Scheme::P256 => {
                let signature: P256Signature = p256::ecdsa::signature::Signer::sign(&self.p256, content);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }

    /// Verifies a signature of this key's.
    pub(crate) fn verify(&self, scheme: Scheme, content: &[u8], signature: &[u8]) -> bool {
        crypto::verify(scheme.mls(), self.public_octets(scheme), content, signature)
    }
}

/// The P-256 key of a seed: the first of HKDF-Expand-SHA256(seed, info || n) that is a private key, n counting from 0
/// in one octet. All but one in 2^32 seeds have it at 0.
fn p256_key(seed: &[u8; 32]) -> P256Key {
    let mut n = 0_u8;
    loop {
        if let Ok(key) = P256Key::from_slice(expand(seed, n).as_slice()) {
            return key;
        }
        n = n.wrapping_add(1);
    }
}

/// The first block of HKDF-Expand (RFC 5869 section 2.3): HMAC(seed, info || n || 0x01).
fn expand(seed: &[u8; 32], n: u8) -> Zeroizing<[u8; 32]> {
    // HMAC takes keys of any length; only the type says that it might not.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(seed) else {
        return Zeroizing::new([0; 32]);
    };
    mac.update(P256_INFO);
    mac.update(&[n, 1]);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    /// Made once without this code, from HMAC and the curve's parameters. Should the derivation change, hubs would lose
    /// the keys that their rooms name.
    #[test]
    fn the_p256_key_of_a_seed_stays_what_it_is() {
        let known = [
            "040e265d2079e3d79e7ee344b171442a0a2fceca275098b1aa60782a06f52161492d0b474c68a1297e2f43c69fbbeb16d8b2767487c5b878c043230a0bfd5f8506",
            "042eb98315b46f7b635142ef07c1f8629acedfa653ac760ffa80fe54db6ba9c146d980ab6720d0629b35c3796755efc5cae1b26fb40c99857230ca989570c9c928",
        ];
        for (n, expected) in (1_u8..).zip(known) {
            let keys = public_keys(&[n; 32]);
            assert_eq!(hex::encode(&keys.p256), expected);
            let ed25519 = Ed25519Key::from_bytes(&[n; 32]).verifying_key();
            assert_eq!(keys.ed25519, ed25519.to_bytes());
        }
    }

    #[test]
    fn a_p256_signature_is_a_der_sequence_and_the_same_each_time() {
        let key = SigningKey::from_seed(&[1; 32]);
        for n in 0..32_u8 {
            let signature = key.sign(Scheme::P256, &[n]);
            assert_eq!(signature, key.sign(Scheme::P256, &[n]));
            // SEQUENCE of two INTEGERs, with nothing behind them.
            assert_eq!(signature[0], 0x30);
            assert_eq!(usize::from(signature[1]), signature.len() - 2);
            let r = usize::from(signature[3]);
            assert_eq!((signature[2], signature[4 + r]), (2, 2));
            assert_eq!(usize::from(signature[5 + r]), signature.len() - 6 - r);
            assert!(key.verify(Scheme::P256, &[n], &signature));
            assert!(!key.verify(Scheme::P256, &[n, n], &signature));
            // r and s side by side are not what MLS wants.
            let plain = P256Signature::from_der(&signature).unwrap().to_bytes();
            assert!(!key.verify(Scheme::P256, &[n], &plain));
        }
    }

    #[test]
    fn schemes_of_suites() {
        let schemes = CIPHER_SUITES.map(|suite| Scheme::of(suite).unwrap());
        assert_eq!(schemes, [Scheme::Ed25519, Scheme::P256, Scheme::Ed25519]);
        let all: Vec<u16> = (0..=u16::MAX)
            .filter(|suite| Scheme::of(CipherSuite(*suite)).is_some())
            .collect();
        assert_eq!(all, [1, 2, 3]);
    }
}
