//! reportAbuse (section 5.9).

use super::Frank;
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, UnixMillis, wire_codes, wire_fields};
use crate::components::AppDataDictionary;
use crate::uri::{MimiUri, or_empty};
use serde::Serialize;

wire_codes! {
    /// `AbuseType`. The draft has no taxonomy yet.
    AbuseType, "abuse type" {
        /// The only value.
        Reserved = 0,
    }
}

/// `AbusiveMessage`: a message as the reporter decrypted it, with the hub's frank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AbusiveMessage {
    /// The application data, octet for octet.
    pub message_content: Opaque,
    /// As received with the message.
    pub frank: Frank,
    /// As received with the message.
    pub accepted_timestamp: UnixMillis,
}

wire_fields!(AbusiveMessage {
    message_content,
    frank,
    accepted_timestamp
});

/// `AbuseReport`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AbuseReport {
    /// Who reports; `None`, an empty URI on the wire, is anonymous.
    pub reporting_user: Option<MimiUri>,
    /// Who is reported.
    pub alleged_abuser_uri: MimiUri,
    /// Why.
    pub reason_code: AbuseType,
    /// For people.
    pub note: String,
    /// Evidence.
    pub messages: Vec<AbusiveMessage>,
    /// Extensions.
    pub abuse_extensions: AppDataDictionary,
}

impl Encode for AbuseReport {
    fn encode(&self, out: &mut Vec<u8>) {
        or_empty::encode(self.reporting_user.as_ref(), out);
        self.alleged_abuser_uri.encode(out);
        self.reason_code.encode(out);
        self.note.encode(out);
        self.messages.encode(out);
        self.abuse_extensions.encode(out);
    }
}

impl Decode for AbuseReport {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            reporting_user: or_empty::decode(r.field("AbuseReport.reportingUser"))?,
            alleged_abuser_uri: MimiUri::decode(r.field("AbuseReport.allegedAbuserUri"))?,
            reason_code: AbuseType::decode(r.field("AbuseReport.reasonCode"))?,
            note: String::decode(r.field("AbuseReport.note"))?,
            messages: Vec::decode(r.field("AbuseReport.messages"))?,
            abuse_extensions: AppDataDictionary::decode(r.field("AbuseReport.abuse_extensions"))?,
        })
    }
}
