//! Message identifiers (section 3.3).

use super::ContentError;
use crate::uri::MimiUri;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Number of SHA-256 in IANA's Named Information registry, the first octet of every identifier.
const SHA_256: u8 = 1;

/// A message identifier: 32 octets, hexadecimal as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 32]);

impl MessageId {
    /// The identifier of a message from its encoding as sent, salt, sender and room.
    ///
    /// Since version 08 of the draft the URIs have their lengths in front.
    pub fn derive(sender: &MimiUri, room: &MimiUri, message: &[u8], salt: &[u8; 16]) -> Self {
        let mut hash = Sha256::new();
        for uri in [sender, room] {
            // An identifier has 2,048 octets at most.
            hash.update(
                u16::try_from(uri.as_bytes().len())
                    .unwrap_or(u16::MAX)
                    .to_be_bytes(),
            );
            hash.update(uri.as_bytes());
        }
        hash.update(message);
        hash.update(salt);
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [SHA_256; 32];
        for (to, from) in id.iter_mut().skip(1).zip(digest) {
            *to = from;
        }
        Self(id)
    }

    /// Takes octets that are an identifier of a known hash.
    pub fn from_octets(octets: [u8; 32]) -> Result<Self, ContentError> {
        match octets.first() {
            Some(&SHA_256) => Ok(Self(octets)),
            first => Err(ContentError::MessageIdHash(first.copied().unwrap_or_default())),
        }
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for MessageId {
    type Err = ContentError;

    fn from_str(text: &str) -> Result<Self, ContentError> {
        let mut octets = [0; 32];
        hex::decode_to_slice(text, &mut octets).map_err(|_| ContentError::Shape {
            field: "messageId",
            expected: "64 hexadecimal digits",
        })?;
        Self::from_octets(octets)
    }
}

impl Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
