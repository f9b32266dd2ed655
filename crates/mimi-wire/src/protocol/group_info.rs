//! groupInfo (section 5.6): what an external joiner needs, sealed to them.

use super::{PROTOCOL_MLS10, RatchetTreeOption, read_protocol};
use crate::codec::{
    Decode, DecodeError, DecodeErrorKind, Encode, Opaque, Reader, UnixMillis, wire_codes, wire_fields,
};
use crate::labels;
use crate::mls::{
    CipherSuite, ContentType, Credential, ExternalSender, GroupInfo, HpkeCiphertext, MlsMessage,
};
use serde::Serialize;

/// `GroupInfoRequest`. Neither the room nor a time is in it: the room is in the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupInfoRequest {
    /// Suite of this exchange, not of the group.
    pub cipher_suite: CipherSuite,
    /// The joiner's signature public key.
    pub requesting_signature_key: Opaque,
    /// The joiner's credential, the one the external commit will have.
    pub requesting_credential: Credential,
    /// HPKE public key made for the answer.
    pub group_info_public_key: Opaque,
    /// Empty for none.
    pub joining_code: Opaque,
    /// Signature over [`GroupInfoRequest::tbs`] with label [`labels::GROUP_INFO_REQUEST`].
    pub signature: Opaque,
}

impl GroupInfoRequest {
    /// `GroupInfoRequestTBS`: all fields but the signature, the joining code plain as in the request.
    pub fn tbs(&self) -> Vec<u8> {
        let mut out = vec![PROTOCOL_MLS10];
        self.cipher_suite.encode(&mut out);
        self.requesting_signature_key.encode(&mut out);
        self.requesting_credential.encode(&mut out);
        self.group_info_public_key.encode(&mut out);
        self.joining_code.encode(&mut out);
        out
    }

    /// The octets that the signature is over.
    pub fn sign_content(&self) -> Vec<u8> {
        labels::sign_content(labels::GROUP_INFO_REQUEST, &self.tbs())
    }
}

impl Encode for GroupInfoRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tbs());
        self.signature.encode(out);
    }
}

impl Decode for GroupInfoRequest {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_protocol(r.field("GroupInfoRequest.protocol"))?;
        Ok(Self {
            cipher_suite: CipherSuite::decode(r.field("GroupInfoRequest.cipher_suite"))?,
            requesting_signature_key: Opaque::decode(r.field("GroupInfoRequest.requestingSignatureKey"))?,
            requesting_credential: Credential::decode(r.field("GroupInfoRequest.requestingCredential"))?,
            group_info_public_key: Opaque::decode(r.field("GroupInfoRequest.groupInfoPublicKey"))?,
            joining_code: Opaque::decode(r.field("GroupInfoRequest.joiningCode"))?,
            signature: Opaque::decode(r.field("GroupInfoRequest.signature"))?,
        })
    }
}

wire_codes! {
    /// `GroupInfoCode`.
    GroupInfoCode, "group info code" {
        /// The rest follows.
        Success = 1,
        /// Refused; may stand for the next one.
        NotAuthorized = 2,
        /// No such room.
        NoSuchRoom = 3,
    }
}

/// `GroupInfoResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupInfoResponse {
    /// The GroupInfo.
    Success(GroupInfoSuccess),
    /// Refused.
    NotAuthorized {
        /// The room asked for.
        room_id: Opaque,
    },
    /// No such room.
    NoSuchRoom {
        /// The room asked for.
        room_id: Opaque,
    },
}

/// What a successful answer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupInfoSuccess {
    /// The room, octets of its URI.
    pub room_id: Opaque,
    /// Suite of this exchange.
    pub cipher_suite: CipherSuite,
    /// The hub, as in the group's `external_senders`.
    pub hub_sender: ExternalSender,
    /// A [`GroupInfoRatchetTreeTbe`], sealed with label [`labels::GROUP_INFO_ENCRYPTION`] and the room as
    /// context.
    pub encrypted_groupinfo_and_tree: HpkeCiphertext,
    /// Signature over [`GroupInfoSuccess::tbs`] with label [`labels::GROUP_INFO_RESPONSE`].
    pub signature: Opaque,
}

impl GroupInfoSuccess {
    /// `GroupInfoResponseTBS`: all fields but the signature.
    pub fn tbs(&self) -> Vec<u8> {
        let mut out = vec![PROTOCOL_MLS10];
        self.room_id.encode(&mut out);
        GroupInfoCode::Success.encode(&mut out);
        self.cipher_suite.encode(&mut out);
        self.hub_sender.encode(&mut out);
        self.encrypted_groupinfo_and_tree.encode(&mut out);
        out
    }

    /// The octets that the signature is over.
    pub fn sign_content(&self) -> Vec<u8> {
        labels::sign_content(labels::GROUP_INFO_RESPONSE, &self.tbs())
    }
}

impl GroupInfoResponse {
    /// The code on the wire.
    pub fn code(&self) -> GroupInfoCode {
        match self {
            Self::Success(_) => GroupInfoCode::Success,
            Self::NotAuthorized { .. } => GroupInfoCode::NotAuthorized,
            Self::NoSuchRoom { .. } => GroupInfoCode::NoSuchRoom,
        }
    }

    /// The room, octets of its URI.
    pub fn room_id(&self) -> &[u8] {
        match self {
            Self::Success(success) => &success.room_id,
            Self::NotAuthorized { room_id } | Self::NoSuchRoom { room_id } => room_id,
        }
    }
}

impl Encode for GroupInfoResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Success(success) => {
                out.extend_from_slice(&success.tbs());
                success.signature.encode(out);
            }
            Self::NotAuthorized { room_id } | Self::NoSuchRoom { room_id } => {
                out.push(PROTOCOL_MLS10);
                room_id.encode(out);
                self.code().encode(out);
            }
        }
    }
}

impl Decode for GroupInfoResponse {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_protocol(r.field("GroupInfoResponse.version"))?;
        let room_id = Opaque::decode(r.field("GroupInfoResponse.room_id"))?;
        Ok(
            match GroupInfoCode::decode(r.field("GroupInfoResponse.status"))? {
                GroupInfoCode::Success => Self::Success(GroupInfoSuccess {
                    room_id,
                    cipher_suite: CipherSuite::decode(r.field("GroupInfoResponse.cipher_suite"))?,
                    hub_sender: ExternalSender::decode(r.field("GroupInfoResponse.hub_sender"))?,
                    encrypted_groupinfo_and_tree: HpkeCiphertext::decode(
                        r.field("GroupInfoResponse.encrypted_groupinfo_and_tree"),
                    )?,
                    signature: Opaque::decode(r.field("GroupInfoResponse.signature"))?,
                }),
                GroupInfoCode::NotAuthorized => Self::NotAuthorized { room_id },
                GroupInfoCode::NoSuchRoom => Self::NoSuchRoom { room_id },
            },
        )
    }
}

/// `PendingProposal`: accepted by the hub in this epoch, not committed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingProposal {
    /// The proposal.
    pub proposal: MlsMessage,
    /// When the hub accepted it.
    pub hub_accepted_time: UnixMillis,
}

impl Encode for PendingProposal {
    fn encode(&self, out: &mut Vec<u8>) {
        self.proposal.encode(out);
        self.hub_accepted_time.encode(out);
    }
}

impl Decode for PendingProposal {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.field("PendingProposal.proposal").clone();
        let proposal = MlsMessage::decode(r)?;
        if !proposal.is_handshake(ContentType::Proposal) {
            return Err(at.error(DecodeErrorKind::Invalid("not a proposal")));
        }
        let hub_accepted_time = UnixMillis::decode(r.field("PendingProposal.hub_accepted_time"))?;
        Ok(Self {
            proposal,
            hub_accepted_time,
        })
    }
}

/// `GroupInfoRatchetTreeTBE`: the plaintext that is sealed to the joiner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupInfoRatchetTreeTbe {
    /// Without embedded ratchet tree.
    pub group_info: GroupInfo,
    /// The tree.
    pub ratchet_tree_option: RatchetTreeOption,
    /// What an external commit has to take in.
    pub pending_proposals: Vec<PendingProposal>,
}

wire_fields!(GroupInfoRatchetTreeTbe {
    group_info,
    ratchet_tree_option,
    pending_proposals
});
