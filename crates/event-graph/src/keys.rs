//! Ed25519: what is signed with, what is verified with, and which signatures count.
//!
//! The set of accepted signatures is that of libsodium's `crypto_sign_verify_detached`, which the reference
//! homeserver uses: canonical S, canonical A, neither A nor R of small order, cofactorless equation. See
//! docs/decisions/0010.

use std::{collections::BTreeMap, fmt};

use base64::{
    Engine as _, alphabet,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD},
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::json::{JsonError, Raw, to_canonical};

/// Unpadded base64 as the specification's appendix has it, read with the tolerance it asks for: padding may
/// be there, and the unused bits of the last character don't matter.
pub(crate) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why 32 octets are not a key that signatures are accepted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not base64 of 32 octets.
    #[error("not 32 octets of base64")]
    Encoding,
    /// Not a point on the curve, or not its canonical encoding.
    #[error("not the canonical encoding of a curve point")]
    NotAPoint,
    /// A point of small order, for which anyone can make signatures.
    #[error("point of small order")]
    SmallOrder,
    /// A key whose private half is public knowledge.
    #[error("a key that is known to have leaked: anyone can sign with it")]
    Leaked,
}

/// Public keys whose private half anyone can make. Other servers refuse what is signed with them, so an event that
/// one server took would split the room.
const LEAKED: [&str; 1] = [
    // CVE-2026-24044: a deployment tool that seeded its generator with a constant.
    "l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og",
];

/// A public key of a server. Decompressed once; small orders and other encodings are refused here, so
/// that verification needs to look at the signature alone.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyKey(VerifyingKey);

impl VerifyKey {
    /// Takes the key's 32 octets.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::NotAPoint);
        }
        if key.is_weak() {
            return Err(KeyError::SmallOrder);
        }
        let key = Self(key);
        if LEAKED.contains(&key.to_base64().as_str()) {
            return Err(KeyError::Leaked);
        }
        Ok(key)
    }

    /// Takes the key as in `/_matrix/key/v2/server`.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = LENIENT.decode(text).map_err(|_| KeyError::Encoding)?;
        Self::from_bytes(&bytes.try_into().map_err(|_| KeyError::Encoding)?)
    }

    /// The key's octets.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key as in `/_matrix/key/v2/server`.
    pub fn to_base64(&self) -> String {
        STANDARD_NO_PAD.encode(self.0.as_bytes())
    }

    /// True if `signature` is the key's signature over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyKey({})", self.to_base64())
    }
}

/// Where public keys come from. The caller fetches and keeps them; this crate only asks.
pub trait KeyLookup {
    /// The key `key_id` of `server`, if it may sign an event of time `at` (unix milliseconds): room versions
    /// 5 and later accept a key only up to its `valid_until_ts` or `expired_ts`.
    fn key(&self, server: &str, key_id: &str, at: i64) -> Option<&VerifyKey>;
}

/// Keys in memory.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    keys: BTreeMap<String, BTreeMap<String, (VerifyKey, Option<i64>)>>,
}

impl KeyRing {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key, valid for events up to and including `valid_until` (unix milliseconds), or for ever.
    pub fn insert(&mut self, server: &str, key_id: &str, key: VerifyKey, valid_until: Option<i64>) {
        self.keys
            .entry(server.to_owned())
            .or_default()
            .insert(key_id.to_owned(), (key, valid_until));
    }

    /// True if there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl KeyLookup for KeyRing {
    fn key(&self, server: &str, key_id: &str, at: i64) -> Option<&VerifyKey> {
        let (key, until) = self.keys.get(server)?.get(key_id)?;
        until.is_none_or(|until| at <= until).then_some(key)
    }
}

/// A server's name and the key it signs with.
pub struct SigningIdentity {
    server_name: String,
    key_id: String,
    // Zeroizes itself when dropped.
    key: SigningKey,
}

impl SigningIdentity {
    /// An identity from a 32-octet seed. `key_id` is like `ed25519:1`.
    pub fn from_seed(server_name: &str, key_id: &str, seed: &[u8; 32]) -> Self {
        Self {
            server_name: server_name.to_owned(),
            key_id: key_id.to_owned(),
            key: SigningKey::from_bytes(seed),
        }
    }

    /// The server that signs.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// The key's id.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Why others would refuse what this signs, if they would: a server must not start with such a key.
    pub fn check(&self) -> Result<(), KeyError> {
        VerifyKey::from_bytes(self.verify_key().as_bytes()).map(drop)
    }

    /// The public half.
    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey(self.key.verifying_key())
    }

    /// Signs octets.
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// The signature over a JSON object without its `signatures` and `unsigned` (appendices, "Signing
    /// JSON"), in base64.
    pub fn sign_json(&self, object: &serde_json::Value) -> Result<String, JsonError> {
        Ok(STANDARD_NO_PAD.encode(self.sign_bytes(signable(object)?.as_bytes())))
    }
}

impl fmt::Debug for SigningIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningIdentity")
            .field("server_name", &self.server_name)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// The octets of a JSON object that are signed.
pub fn signable(object: &serde_json::Value) -> Result<String, JsonError> {
    let canonical = to_canonical(object)?;
    let mut out = String::with_capacity(canonical.len());
    write_signable(Raw::new(&canonical), &mut out);
    Ok(out)
}

pub(crate) fn write_signable(object: Raw<'_>, out: &mut String) {
    out.push('{');
    for entry in object.entries().into_iter().flatten() {
        if entry.key == "signatures" || entry.key == "unsigned" {
            continue;
        }
        if !out.ends_with('{') {
            out.push(',');
        }
        out.push_str(entry.whole);
    }
    out.push('}');
}

/// A 64-octet signature from base64.
pub(crate) fn decode_signature(text: &str) -> Option<[u8; 64]> {
    let mut out = [0; 66];
    let n = LENIENT.decode_slice(text, &mut out).ok()?;
    out.get(..64).filter(|_| n == 64)?.try_into().ok()
}

/// Verifies that `server` signed `object` with one of the keys the lookup knows.
pub fn verify_json(object: &serde_json::Value, server: &str, keys: &impl KeyLookup, at: i64) -> bool {
    let Ok(message) = signable(object) else {
        return false;
    };
    let Some(signatures) = object
        .get("signatures")
        .and_then(|s| s.get(server))
        .and_then(|s| s.as_object())
    else {
        return false;
    };
    signatures.iter().any(|(key_id, signature)| {
        let signature = signature.as_str().and_then(decode_signature);
        match (keys.key(server, key_id, at), signature) {
            (Some(key), Some(signature)) => key.verifies(message.as_bytes(), &signature),
            _ => false,
        }
    })
}
