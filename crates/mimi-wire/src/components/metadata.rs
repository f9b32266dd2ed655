//! Room metadata and the franking agent (draft-ietf-mimi-protocol-06 sections 7.6 and 5.4.1).

use crate::codec::{Opaque, wire_fields};
use crate::mls::Credential;
use serde::Serialize;

/// `RoomMetaData`, also the body of its update, which replaces the whole.
///
/// Texts are UTF-8 without NUL. URIs are carried as texts: an avatar is an `https` URI or empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct RoomMetaData {
    /// The room's own URI.
    pub room_uri: String,
    /// Name.
    pub room_name: String,
    /// Descriptions, by language and media type.
    pub room_descriptions: Vec<RichDescription>,
    /// `https` URI of an image.
    pub room_avatar: String,
    /// Subject; what Matrix calls topic.
    pub room_subject: String,
    /// Mood.
    pub room_mood: String,
}

wire_fields!(RoomMetaData {
    room_uri,
    room_name,
    room_descriptions,
    room_avatar,
    room_subject,
    room_mood
});

/// `RichDescription`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct RichDescription {
    /// Empty means `text/plain;charset=utf-8`.
    pub media_type: String,
    /// BCP 47 tag.
    pub language_tag: String,
    /// The description.
    pub description_content: Opaque,
}

wire_fields!(RichDescription {
    media_type,
    language_tag,
    description_content
});

/// `FrankingAgentData`, also the body of its update.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct FrankingAgentData {
    /// The hub's public key for franks, of the group's signature scheme.
    pub franking_signature_key: Opaque,
    /// The hub's identity.
    pub credential: Credential,
}

wire_fields!(FrankingAgentData {
    franking_signature_key,
    credential
});
