//! Franking: the hub's statement that a message passed through it, by whom and when
//! (draft-ietf-mimi-protocol-06 section 5.4.1).

use crate::hub::HubIdentity;
use crate::signing::Scheme;
use mimi_wire::codec::UnixMillis;
use mimi_wire::components::{FrankingAgentData, SafeAad};
use mimi_wire::franking::{ServerFrankingContext, integrity_content, server_frank, verify_server_frank};
use mimi_wire::mls::{CipherSuite, MlsMessage};
use mimi_wire::protocol::Frank;
use mimi_wire::{Decode, MimiUri, Reader};

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
    fn to_wire(&self) -> ServerFrankingContext {
        ServerFrankingContext {
            sender_uri: self.sender.clone(),
            room_uri: self.room.clone(),
            accepted_timestamp: UnixMillis(self.accepted_ms),
        }
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

/// The franking tag of a message, from its Safe AAD.
pub fn franking_tag(message: &MlsMessage) -> Option<[u8; 32]> {
    // Safe AAD is the front of authenticated_data; an application may have put more behind it.
    SafeAad::decode(&mut Reader::new(message.authenticated_data()?))
        .ok()?
        .franking_tag()
}

/// Franks an accepted message. `agent` and `suite` are the group's. `None` if the message brings no franking tag, the
/// agent is not this hub with a key of the suite's scheme, or the suite is none of this hub's.
pub fn frank(
    hub: &HubIdentity,
    agent: &FrankingAgentData,
    suite: CipherSuite,
    message: &MlsMessage,
    context: &FrankingContext,
) -> Option<Frank> {
    let scheme = Scheme::of(suite)?;
    let hub_key = hub.hub_key_at(context.accepted_ms);
    let context = context.to_wire();
    let server_frank = server_frank(hub_key, &franking_tag(message)?, &context);
    let content = integrity_content(&server_frank, suite, &context);
    Some(Frank {
        server_frank,
        franking_signature_ciphersuite: suite,
        franking_integrity_signature: hub.sign_frank(scheme, agent, &content)?.into(),
    })
}

/// Checks, for an abuse report, that this hub franked exactly this message.
pub fn verify(
    hub: &HubIdentity,
    application_data: &[u8],
    salt: &[u8; 16],
    context: &FrankingContext,
    frank: &Frank,
) -> Result<(), FrankFault> {
    let suite = frank.franking_signature_ciphersuite;
    let scheme = Scheme::of(suite).ok_or(FrankFault::CipherSuite)?;
    let accepted_ms = context.accepted_ms;
    let context = context.to_wire();
    let tag = mimi_wire::franking::franking_tag(salt, application_data);
    let made_here = hub
        .hub_keys_around(accepted_ms)
        .any(|key| verify_server_frank(key, &tag, &context, &frank.server_frank));
    if !made_here {
        return Err(FrankFault::ServerFrank);
    }
    let content = integrity_content(&frank.server_frank, suite, &context);
    if hub.verify_frank(scheme, &content, &frank.franking_integrity_signature) {
        Ok(())
    } else {
        Err(FrankFault::Signature)
    }
}
