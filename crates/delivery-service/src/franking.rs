//! Franking: the hub's statement that a message passed through it, by whom and when
//! (draft-ietf-mimi-protocol-06 section 5.4.1).

use crate::crypto;
use crate::hub::HubIdentity;
use mimi_wire::codec::{UnixMillis, encode_opaque};
use mimi_wire::components::SafeAad;
use mimi_wire::mls::{CipherSuite, MlsMessage};
use mimi_wire::protocol::Frank;
use mimi_wire::{Decode, Encode, MimiUri, Reader, labels};
use openmls_traits::crypto::OpenMlsCrypto as _;
use openmls_traits::types::{HashType, SignatureScheme};
use subtle::ConstantTimeEq;

/// Who sent a message, into which room, and when the hub accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrankingContext {
    /// The sending user.
    pub sender: MimiUri,
    /// The room.
    pub room: MimiUri,
    /// The hub's time of acceptance, in milliseconds since the UNIX epoch.
    pub accepted_ms: u64,
}

impl FrankingContext {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode_opaque(self.sender.as_bytes(), &mut out);
        encode_opaque(self.room.as_bytes(), &mut out);
        UnixMillis(self.accepted_ms).encode(&mut out);
        out
    }
}

/// Why a frank proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrankFault {
    /// Of a suite this hub doesn't sign for.
    #[error("the frank's suite is not one of this hub")]
    CipherSuite,
    /// This hub's keys give another frank for this message and context.
    #[error("the frank is not one of this message")]
    ServerFrank,
    /// The signature is not this hub's.
    #[error("the frank's signature is invalid")]
    Signature,
}

fn hmac(key: &[u8], data: &[u8]) -> Option<[u8; 32]> {
    let tag = crypto::provider().hmac(HashType::Sha2_256, key, data).ok()?;
    tag.as_slice().try_into().ok()
}

fn server_frank(hub: &HubIdentity, tag: &[u8; 32], context: &[u8]) -> Option<[u8; 32]> {
    hmac(hub.hub_key(), &[tag.as_slice(), context].concat())
}

fn integrity_tbs(server_frank: &[u8; 32], suite: CipherSuite, context: &[u8]) -> Vec<u8> {
    let mut tbs = server_frank.to_vec();
    suite.encode(&mut tbs);
    tbs.extend_from_slice(context);
    tbs
}

fn signs_with_ed25519(suite: CipherSuite) -> bool {
    crypto::supported(suite.0).is_some_and(|suite| suite.signature_algorithm() == SignatureScheme::ED25519)
}

/// The franking tag of a message, from its Safe AAD.
pub fn franking_tag(message: &MlsMessage) -> Option<[u8; 32]> {
    // Safe AAD is the front of authenticated_data; an application may have put more behind it.
    SafeAad::decode(&mut Reader::new(message.authenticated_data()?))
        .ok()?
        .franking_tag()
}

/// Franks an accepted message. `suite` is the group's. `None` if the message brings no franking tag, or the suite's
/// signatures are not Ed25519.
pub fn frank(
    hub: &HubIdentity,
    suite: CipherSuite,
    message: &MlsMessage,
    context: &FrankingContext,
) -> Option<Frank> {
    if !signs_with_ed25519(suite) {
        return None;
    }
    let context = context.encode();
    let server_frank = server_frank(hub, &franking_tag(message)?, &context)?;
    let tbs = integrity_tbs(&server_frank, suite, &context);
    Some(Frank {
        server_frank,
        franking_signature_ciphersuite: suite,
        franking_integrity_signature: hub.sign_frank(labels::FRANKING_INTEGRITY, &tbs).into(),
    })
}

/// The tag a sender computes: HMAC of the application data under the salt in the message's content.
pub fn tag_of(application_data: &[u8], salt: &[u8]) -> Option<[u8; 32]> {
    hmac(salt, application_data)
}

/// Checks, for an abuse report, that this hub franked exactly this message.
pub fn verify(
    hub: &HubIdentity,
    application_data: &[u8],
    salt: &[u8],
    context: &FrankingContext,
    frank: &Frank,
) -> Result<(), FrankFault> {
    let suite = frank.franking_signature_ciphersuite;
    if !signs_with_ed25519(suite) {
        return Err(FrankFault::CipherSuite);
    }
    let context = context.encode();
    let expected = tag_of(application_data, salt)
        .and_then(|tag| server_frank(hub, &tag, &context))
        .ok_or(FrankFault::ServerFrank)?;
    if !bool::from(expected.ct_eq(&frank.server_frank)) {
        return Err(FrankFault::ServerFrank);
    }
    let tbs = integrity_tbs(&frank.server_frank, suite, &context);
    if hub.verify_frank(
        labels::FRANKING_INTEGRITY,
        &tbs,
        &frank.franking_integrity_signature,
    ) {
        Ok(())
    } else {
        Err(FrankFault::Signature)
    }
}
