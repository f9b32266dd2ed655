//! Delivery and read reports (draft-mahy-mimi-message-status-01, media type `application/mimi-message-status`).

use super::codec::Items;
use super::{ContentError, MessageId, MimiContent, NestedPart, Part, Value};
use crate::components::media_type;
use serde::{Deserialize, Serialize};

/// The most entries in a report.
const MAX_ENTRIES: usize = 4096;

/// What became of some messages, as the sender of the report has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageStatusReport {
    /// One entry per message.
    pub statuses: Vec<PerMessageStatus>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerMessageStatus {
    /// The message.
    pub message_id: MessageId,
    /// What became of it.
    pub status: Status,
}

/// What became of a message. Numbers from 7 are unknown and carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Status(pub u8);

impl Status {
    /// Not read.
    pub const UNREAD: Self = Self(0);
    /// Delivered to the client.
    pub const DELIVERED: Self = Self(1);
    /// Read.
    pub const READ: Self = Self(2);
    /// Expired.
    pub const EXPIRED: Self = Self(3);
    /// Deleted.
    pub const DELETED: Self = Self(4);
    /// Hidden.
    pub const HIDDEN: Self = Self(5);
    /// Could not be processed.
    pub const ERROR: Self = Self(6);
}

impl MessageStatusReport {
    /// Reads a report.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let Value::Array(entries) = Value::decode(bytes)? else {
            return Err(ContentError::Shape {
                field: "MessageStatusReport",
                expected: "a list",
            });
        };
        if entries.len() > MAX_ENTRIES {
            return Err(ContentError::Shape {
                field: "MessageStatusReport",
                expected: "fewer entries",
            });
        }
        let mut statuses = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut items = Items::of(entry, "PerMessageStatus")?;
            let message_id = items.message_id("messageId")?.ok_or(ContentError::Shape {
                field: "messageId",
                expected: "32 octets",
            })?;
            let status = u8::try_from(items.unsigned("status")?).map_err(|_| ContentError::Shape {
                field: "status",
                expected: "a smaller number",
            })?;
            items.end("PerMessageStatus")?;
            statuses.push(PerMessageStatus {
                message_id,
                status: Status(status),
            });
        }
        Ok(Self { statuses })
    }

    /// Writes a report.
    pub fn encode(&self) -> Vec<u8> {
        let entry = |entry: &PerMessageStatus| {
            let id = Value::Bytes(entry.message_id.as_bytes().to_vec());
            Value::Array(vec![id, Value::Unsigned(entry.status.0.into())])
        };
        Value::Array(self.statuses.iter().map(entry).collect()).encode()
    }

    /// The report in a content message whose body is one, as it is sent in groups whose application data has
    /// no framing.
    pub fn in_content(content: &MimiContent) -> Option<Result<Self, ContentError>> {
        let Part::Single(single) = &content.body.part else {
            return None;
        };
        let mut parts = single.content_type.split(';');
        let is_report = parts.next().map(str::trim) == Some(media_type::MIMI_MESSAGE_STATUS);
        is_report.then(|| Self::decode(&single.content))
    }

    /// The body of a content message that is this report.
    pub fn to_part(&self) -> NestedPart {
        NestedPart::single(
            super::Disposition::UNSPECIFIED,
            media_type::MIMI_MESSAGE_STATUS,
            self.encode(),
        )
    }
}
