//! Operational parameters of MLS (draft-ietf-mimi-room-policy-04 section 7). Carried, not enforced.

use crate::codec::{Decode, DecodeError, Encode, Reader, wire_fields};
use crate::components::MediaType;
use crate::mls::CipherSuite;
use serde::Serialize;

/// `ExtendedCapabilities`. `wire_formats` is typed as a list of lists in the draft; taken as a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct ExtendedCapabilities {
    /// MLS versions.
    pub versions: Vec<u16>,
    /// Cipher suites.
    pub cipher_suites: Vec<CipherSuite>,
    /// Extension types.
    pub extensions: Vec<u16>,
    /// Proposal types.
    pub proposals: Vec<u16>,
    /// Credential types.
    pub credentials: Vec<u16>,
    /// Wire formats.
    pub wire_formats: Vec<u16>,
    /// Components.
    pub component_ids: Vec<u16>,
    /// Components in Safe AAD.
    pub safe_aad_types: Vec<u16>,
    /// Media types.
    pub media_types: Vec<MediaType>,
    /// Content types.
    pub content_types: Vec<u8>,
}

wire_fields!(ExtendedCapabilities {
    versions,
    cipher_suites,
    extensions,
    proposals,
    credentials,
    wire_formats,
    component_ids,
    safe_aad_types,
    media_types,
    content_types,
});

/// `PendingProposalPolicy`. The draft's `extension` case has no number, so there is none here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingProposalPolicy {
    /// Whenever.
    Unspecified,
    /// At once.
    ImmediateCommit,
    /// After a random time.
    RandomDelay {
        /// Milliseconds at least.
        minimum_delay_ms: u64,
        /// Milliseconds at most.
        maximum_delay_ms: u64,
    },
}

impl Encode for PendingProposalPolicy {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Unspecified => out.push(0),
            Self::ImmediateCommit => out.push(1),
            Self::RandomDelay {
                minimum_delay_ms,
                maximum_delay_ms,
            } => {
                out.push(2);
                minimum_delay_ms.encode(out);
                maximum_delay_ms.encode(out);
            }
        }
    }
}

impl Decode for PendingProposalPolicy {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        Ok(match r.u8()? {
            0 => Self::Unspecified,
            1 => Self::ImmediateCommit,
            2 => Self::RandomDelay {
                minimum_delay_ms: r.u64()?,
                maximum_delay_ms: r.u64()?,
            },
            other => return Err(at.unknown("pending proposal strategy", other)),
        })
    }
}

/// `MinDefaultMaxTime`. The draft gives no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct MinDefaultMaxTime {
    /// At least.
    pub minimum_time: u64,
    /// Suggested.
    pub default_time: u64,
    /// At most.
    pub maximum_time: u64,
}

wire_fields!(MinDefaultMaxTime {
    minimum_time,
    default_time,
    maximum_time
});

/// `AppMessagePolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct AppMessagePolicy {
    /// Past epochs whose messages are taken.
    pub epoch_tolerance: u8,
    /// Octets to pad to.
    pub pad_to_size: u16,
    /// Steps a ratchet is moved forward at once.
    pub max_generations_skipahead: u32,
}

wire_fields!(AppMessagePolicy {
    epoch_tolerance,
    pad_to_size,
    max_generations_skipahead
});

/// `OperationalParameters`, the data of `mls_operational_policy`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct OperationalParameters {
    /// What members must have.
    pub mandatory_capabilities: ExtendedCapabilities,
    /// What is used unless said otherwise.
    pub default_capabilities: ExtendedCapabilities,
    /// What may not be used.
    pub forbidden_capabilities: ExtendedCapabilities,
    /// Wire formats of handshakes.
    pub handshake_formats: Vec<u16>,
    /// Outsiders may propose.
    pub external_proposal_allowed: bool,
    /// Outsiders may join by commit.
    pub external_commit_allowed: bool,
    /// When pending proposals are committed.
    pub pending_proposal_policy: PendingProposalPolicy,
    /// How often leaves are renewed.
    pub leaf_node_update_time: MinDefaultMaxTime,
    /// Tolerance towards application messages.
    pub app_message_policy: AppMessagePolicy,
    /// Longest lifetime of KeyPackages.
    pub max_kp_lifetime: u64,
    /// Longest lifetime of credentials.
    pub max_credential_lifetime: u64,
    /// How long resumption keys are kept.
    pub resumption_psk_lifetime: u64,
    /// How long unused keys of a sender are kept.
    pub sender_nonce_keypair_lifetime: MinDefaultMaxTime,
    /// How many unused keys are kept.
    pub max_keypairs: u32,
    /// How long early messages are kept.
    pub buffer_incoming_message_time: MinDefaultMaxTime,
    /// How many early messages are kept.
    pub max_buffered_messages: u32,
}

wire_fields!(OperationalParameters {
    mandatory_capabilities,
    default_capabilities,
    forbidden_capabilities,
    handshake_formats,
    external_proposal_allowed,
    external_commit_allowed,
    pending_proposal_policy,
    leaf_node_update_time,
    app_message_policy,
    max_kp_lifetime,
    max_credential_lifetime,
    resumption_psk_lifetime,
    sender_nonce_keypair_lifetime,
    max_keypairs,
    buffer_incoming_message_time,
    max_buffered_messages,
});
