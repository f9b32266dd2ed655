//! requestConsent and updateConsent (sections 5.7 and 8).

use crate::codec::{Decode, DecodeError, Encode, Reader, wire_codes, wire_fields};
use crate::components::AppDataDictionary;
use crate::mls::KeyPackage;
use crate::uri::MimiUri;
use serde::Serialize;

wire_codes! {
    /// `ConsentOperation`.
    ConsentOperation, "consent operation" {
        /// Takes a request back.
        Cancel = 0,
        /// Asks for consent.
        Request = 1,
        /// Gives consent.
        Grant = 2,
        /// Takes consent back, or denies it beforehand.
        Revoke = 3,
    }
}

/// `ConsentEntry`. It has no signature: providers vouch for their users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsentEntry {
    /// What is done.
    pub consent_operation: ConsentOperation,
    /// Who wants to add the target to rooms.
    pub requester_uri: MimiUri,
    /// Whose consent it is.
    pub target_uri: MimiUri,
    /// For one room only; absent: for any.
    pub room_id: Option<MimiUri>,
    /// With a grant: KeyPackages of the target. Not on the wire otherwise.
    pub client_key_packages: Vec<KeyPackage>,
    /// Extensions.
    pub consent_extensions: AppDataDictionary,
}

impl ConsentEntry {
    /// Users and room that the entry is about.
    pub fn scope(&self) -> ConsentScope {
        ConsentScope {
            requester_uri: self.requester_uri.clone(),
            target_uri: self.target_uri.clone(),
            room_id: self.room_id.clone(),
        }
    }
}

impl Encode for ConsentEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.consent_operation.encode(out);
        self.requester_uri.encode(out);
        self.target_uri.encode(out);
        self.room_id.encode(out);
        if self.consent_operation == ConsentOperation::Grant {
            self.client_key_packages.encode(out);
        }
        self.consent_extensions.encode(out);
    }
}

impl Decode for ConsentEntry {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let consent_operation = ConsentOperation::decode(r.field("ConsentEntry.consentOperation"))?;
        Ok(Self {
            consent_operation,
            requester_uri: MimiUri::decode(r.field("ConsentEntry.requesterUri"))?,
            target_uri: MimiUri::decode(r.field("ConsentEntry.targetUri"))?,
            room_id: Option::decode(r.field("ConsentEntry.roomId"))?,
            client_key_packages: match consent_operation {
                ConsentOperation::Grant => Vec::decode(r.field("ConsentEntry.clientKeyPackages"))?,
                _ => Vec::new(),
            },
            consent_extensions: AppDataDictionary::decode(r.field("ConsentEntry.consent_extensions"))?,
        })
    }
}

/// `ConsentScope`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ConsentScope {
    /// Who wants to add the target to rooms.
    pub requester_uri: MimiUri,
    /// Whose consent it is.
    pub target_uri: MimiUri,
    /// For one room only; absent: for any.
    pub room_id: Option<MimiUri>,
}

wire_fields!(ConsentScope {
    requester_uri,
    target_uri,
    room_id
});
