//! Media types of application messages and their framing (draft-ietf-mls-extensions-10 section 6).

use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, wire_fields};
use serde::Serialize;

/// Names of media types.
pub mod media_type {
    /// MIMI content.
    pub const MIMI_CONTENT: &str = "application/mimi-content";
    /// Delivery and read reports.
    pub const MIMI_MESSAGE_STATUS: &str = "application/mimi-message-status";
}

/// `MediaType`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct MediaType {
    /// Type and subtype. Empty in a framing: the first type of the group's list.
    pub media_type: String,
    /// Parameters.
    pub parameters: Vec<Parameter>,
}

wire_fields!(MediaType {
    media_type,
    parameters
});

impl MediaType {
    /// A type without parameters.
    pub fn plain(media_type: &str) -> Self {
        Self {
            media_type: media_type.to_owned(),
            parameters: Vec::new(),
        }
    }
}

/// `Parameter` of a media type; the value is not quoted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Parameter {
    /// Name.
    pub parameter_name: String,
    /// Value.
    pub parameter_value: String,
}

wire_fields!(Parameter {
    parameter_name,
    parameter_value
});

/// `MediaTypeList`: the data of `content_media_types`, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct MediaTypeList {
    media_type_list: Vec<MediaType>,
}

impl MediaTypeList {
    /// A list; `None` if it would be empty.
    pub fn new(media_type_list: Vec<MediaType>) -> Option<Self> {
        (!media_type_list.is_empty()).then_some(Self { media_type_list })
    }

    /// What every MIMI room lists.
    pub fn mimi() -> Self {
        Self {
            media_type_list: vec![MediaType::plain(media_type::MIMI_CONTENT)],
        }
    }

    /// The types, the default one first.
    pub fn types(&self) -> &[MediaType] {
        &self.media_type_list
    }
}

impl Encode for MediaTypeList {
    fn encode(&self, out: &mut Vec<u8>) {
        self.media_type_list.encode(out);
    }
}

impl Decode for MediaTypeList {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        Self::new(Vec::decode(r)?).ok_or_else(|| at.invalid("a media type list must not be empty"))
    }
}

/// `ApplicationFraming`: what application data is in a group that has `content_media_types`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ApplicationFraming {
    /// Type of the content.
    pub media_type: MediaType,
    /// The content.
    pub inner_application_content: Opaque,
}

wire_fields!(ApplicationFraming {
    media_type,
    inner_application_content
});

impl ApplicationFraming {
    /// Frames MIMI content.
    pub fn mimi_content(content: impl Into<Vec<u8>>) -> Self {
        Self {
            media_type: MediaType::plain(media_type::MIMI_CONTENT),
            inner_application_content: Opaque(content.into()),
        }
    }

    /// Frames a message status report.
    pub fn message_status(report: impl Into<Vec<u8>>) -> Self {
        Self {
            media_type: MediaType::plain(media_type::MIMI_MESSAGE_STATUS),
            inner_application_content: Opaque(report.into()),
        }
    }

    /// The type meant, where an empty one stands for the first of the group's list.
    pub fn effective_type<'a>(&'a self, list: &'a MediaTypeList) -> &'a MediaType {
        if self.media_type.media_type.is_empty() {
            list.types().first().unwrap_or(&self.media_type)
        } else {
            &self.media_type
        }
    }
}
