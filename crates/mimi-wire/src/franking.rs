//! Franking (draft-ietf-mimi-protocol-06 section 5.4.1): how a reported message is proved to have passed
//! through the hub, although the hub could not read it.
//!
//! The sender commits to the content with [`franking_tag`]. The hub binds tag, sender, room and time with
//! [`server_frank`] under a secret of its own, and signs that for everyone with the franking agent's key
//! ([`integrity_content`]). This crate makes and compares the values; signatures are the caller's.

use crate::codec::{Encode, UnixMillis, wire_fields};
use crate::labels;
use crate::mls::CipherSuite;
use crate::uri::MimiUri;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// `ServerFrankingContext`: what the hub knows of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ServerFrankingContext {
    /// The sender, as its provider asserted.
    pub sender_uri: MimiUri,
    /// The room.
    pub room_uri: MimiUri,
    /// When the hub accepted the message.
    pub accepted_timestamp: UnixMillis,
}

wire_fields!(ServerFrankingContext {
    sender_uri,
    room_uri,
    accepted_timestamp
});

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length; only the type says that it might not.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The sender's commitment to its message: HMAC-SHA256 under the salt in the content, over exactly the
/// octets that are MLS application data, the `ApplicationFraming` included where the group has one.
pub fn franking_tag(salt: &[u8; 16], application_data: &[u8]) -> [u8; 32] {
    hmac_sha256(salt, &[application_data])
}

/// The hub's own proof: HMAC-SHA256 under its secret, over tag and context.
pub fn server_frank(hub_key: &[u8], franking_tag: &[u8; 32], context: &ServerFrankingContext) -> [u8; 32] {
    hmac_sha256(hub_key, &[franking_tag, &context.to_bytes()])
}

/// Whether `frank` is what the hub would make of tag and context under `hub_key`. Takes the same time
/// whatever the answer.
pub fn verify_server_frank(
    hub_key: &[u8],
    franking_tag: &[u8; 32],
    context: &ServerFrankingContext,
    frank: &[u8; 32],
) -> bool {
    server_frank(hub_key, franking_tag, context).ct_eq(frank).into()
}

/// Whether a tag received with a message commits to that message. Takes the same time whatever the answer.
pub fn verify_franking_tag(salt: &[u8; 16], application_data: &[u8], tag: &[u8; 32]) -> bool {
    franking_tag(salt, application_data).ct_eq(tag).into()
}

/// `FrankingIntegrityTBS`.
pub fn integrity_tbs(
    server_frank: &[u8; 32],
    franking_signature_ciphersuite: CipherSuite,
    context: &ServerFrankingContext,
) -> Vec<u8> {
    let mut out = server_frank.to_vec();
    franking_signature_ciphersuite.encode(&mut out);
    context.encode(&mut out);
    out
}

/// The octets that `franking_integrity_signature` is over.
pub fn integrity_content(
    server_frank: &[u8; 32],
    franking_signature_ciphersuite: CipherSuite,
    context: &ServerFrankingContext,
) -> Vec<u8> {
    let tbs = integrity_tbs(server_frank, franking_signature_ciphersuite, context);
    labels::sign_content(labels::FRANKING_INTEGRITY, &tbs)
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

    fn context(time: u64) -> ServerFrankingContext {
        ServerFrankingContext {
            sender_uri: MimiUri::parse("mimi://a.example/u/a").unwrap(),
            room_uri: MimiUri::parse("mimi://a.example/r/r").unwrap(),
            accepted_timestamp: UnixMillis(time),
        }
    }

    #[test]
    fn hmac_is_hmac() {
        // RFC 4231 test case 2.
        assert_eq!(
            hex::encode(hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_frank_is_good_for_its_message_alone() {
        let tag = franking_tag(&[1; 16], b"data");
        assert!(verify_franking_tag(&[1; 16], b"data", &tag));
        assert!(!verify_franking_tag(&[2; 16], b"data", &tag));
        assert!(!verify_franking_tag(&[1; 16], b"date", &tag));
        let frank = server_frank(b"key", &tag, &context(1));
        assert!(verify_server_frank(b"key", &tag, &context(1), &frank));
        assert!(!verify_server_frank(b"kez", &tag, &context(1), &frank));
        assert!(!verify_server_frank(b"key", &[0; 32], &context(1), &frank));
        assert!(!verify_server_frank(b"key", &tag, &context(2), &frank));
    }

    #[test]
    fn the_signed_octets() {
        let tbs = integrity_tbs(&[7; 32], CipherSuite(1), &context(258));
        let expected = format!(
            "{}000114{}14{}0000000000000102",
            "07".repeat(32),
            hex::encode("mimi://a.example/u/a"),
            hex::encode("mimi://a.example/r/r")
        );
        assert_eq!(hex::encode(&tbs), expected);
        let content = integrity_content(&[7; 32], CipherSuite(1), &context(258));
        assert!(content.starts_with(b"\x1cMLS 1.0 FrankingIntegrityTBS"));
        assert!(content.ends_with(&tbs));
    }
}
