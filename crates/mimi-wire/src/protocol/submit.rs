//! submitMessage (section 5.4): application messages on their way to the hub.

use super::{PROTOCOL_MLS10, WrongMessage, read_protocol};
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, UnixMillis, wire_codes, wire_fields};
use crate::mls::{CipherSuite, Epoch, MlsMessage};
use crate::uri::MimiUri;
use serde::Serialize;

/// `SubmitMessageRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubmitMessageRequest {
    app_message: MlsMessage,
    /// The user who sends, as the sender's provider asserts.
    pub sending_uri: MimiUri,
}

impl SubmitMessageRequest {
    /// A request; the message must be an application message in a PrivateMessage.
    pub fn new(app_message: MlsMessage, sending_uri: MimiUri) -> Result<Self, WrongMessage> {
        if app_message.is_application() {
            Ok(Self {
                app_message,
                sending_uri,
            })
        } else {
            Err(WrongMessage {
                expected: "an application message",
            })
        }
    }

    /// The message.
    pub fn app_message(&self) -> &MlsMessage {
        &self.app_message
    }

    /// Takes the request apart.
    pub fn into_parts(self) -> (MlsMessage, MimiUri) {
        (self.app_message, self.sending_uri)
    }
}

impl Encode for SubmitMessageRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(PROTOCOL_MLS10);
        self.app_message.encode(out);
        self.sending_uri.encode(out);
    }
}

impl Decode for SubmitMessageRequest {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_protocol(r.field("SubmitMessageRequest.protocol"))?;
        let at = r.field("SubmitMessageRequest.appMessage").clone();
        let app_message = MlsMessage::decode(r)?;
        let sending_uri = MimiUri::decode(r.field("SubmitMessageRequest.sendingUri"))?;
        Self::new(app_message, sending_uri).map_err(|_| at.invalid("not an application message"))
    }
}

/// `Frank`: the hub's statement that a message passed through it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frank {
    /// HMAC under the hub's secret.
    #[serde(with = "crate::codec::serde_base64url_32")]
    pub server_frank: [u8; 32],
    /// The suite whose signature scheme is used: the group's.
    pub franking_signature_ciphersuite: CipherSuite,
    /// Signature over the `FrankingIntegrityTBS`.
    pub franking_integrity_signature: Opaque,
}

wire_fields!(Frank {
    server_frank,
    franking_signature_ciphersuite,
    franking_integrity_signature
});

wire_codes! {
    /// `SubmitResponseCode`.
    SubmitResponseCode, "submit response code" {
        /// Accepted.
        Accepted = 0,
        /// Against policy, or of an epoch the hub has not reached.
        NotAllowed = 1,
        /// Of an epoch too long ago.
        EpochTooOld = 2,
    }
}

/// `SubmitMessageResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SubmitMessageResponse {
    /// Accepted: the hub will distribute it.
    Accepted {
        /// When the hub accepted it.
        accepted_timestamp: UnixMillis,
        /// In rooms with a franking agent.
        frank: Option<Frank>,
    },
    /// Against policy, or of an epoch the hub has not reached.
    NotAllowed,
    /// Of an epoch too long ago.
    EpochTooOld {
        /// The epoch the group is in.
        current_epoch: Epoch,
    },
}

impl SubmitMessageResponse {
    /// The code on the wire.
    pub fn code(&self) -> SubmitResponseCode {
        match self {
            Self::Accepted { .. } => SubmitResponseCode::Accepted,
            Self::NotAllowed => SubmitResponseCode::NotAllowed,
            Self::EpochTooOld { .. } => SubmitResponseCode::EpochTooOld,
        }
    }
}

impl Encode for SubmitMessageResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(PROTOCOL_MLS10);
        self.code().encode(out);
        match self {
            Self::Accepted {
                accepted_timestamp,
                frank,
            } => {
                accepted_timestamp.encode(out);
                frank.encode(out);
            }
            Self::NotAllowed => {}
            Self::EpochTooOld { current_epoch } => current_epoch.encode(out),
        }
    }
}

impl Decode for SubmitMessageResponse {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_protocol(r.field("SubmitMessageResponse.protocol"))?;
        Ok(
            match SubmitResponseCode::decode(r.field("SubmitMessageResponse.statusCode"))? {
                SubmitResponseCode::Accepted => Self::Accepted {
                    accepted_timestamp: UnixMillis::decode(
                        r.field("SubmitMessageResponse.accepted_timestamp"),
                    )?,
                    frank: Option::decode(r.field("SubmitMessageResponse.frank"))?,
                },
                SubmitResponseCode::NotAllowed => Self::NotAllowed,
                SubmitResponseCode::EpochTooOld => Self::EpochTooOld {
                    current_epoch: Epoch::decode(r.field("SubmitMessageResponse.currentEpoch"))?,
                },
            },
        )
    }
}
