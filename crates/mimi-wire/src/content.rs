//! MIMI content (draft-ietf-mimi-content-09): what is inside the MLS application data of a room.
//!
//! Decoding is tolerant where the draft's rules are about encoding (lengths, order of keys, indefinite items)
//! and strict where they are about meaning and size. Encoding is deterministic (RFC 8949 section 4.2.1). A
//! message's identifier is over the octets as sent: keep those, don't encode again to get it.

mod codec;
mod error;
mod extensions;
mod id;
pub mod json;
mod parts;
mod recipes;
mod status;
mod value;

pub use error::ContentError;
pub use extensions::{ExtensionKey, Extensions, ExternalMessageId, ExternalScope, extension_key};
pub use id::MessageId;
pub use parts::{
    Disposition, ExternalPart, MultiPart, NestedPart, Part, PartSemantics, SinglePart, cid, parse_cid,
};
pub use recipes::{ContentKind, text_type};
pub use status::{MessageStatusReport, PerMessageStatus, Status};
pub use value::{Float, Value};

use crate::codec::{Opaque, UnixMillis};

/// The longest topic identifier, in octets.
pub const MAX_TOPIC_ID: usize = 4096;
/// The most parts in a message.
pub const MAX_PARTS: usize = 1024;
/// How deep parts nest, the outermost and the innermost counted.
pub const MAX_PART_DEPTH: usize = 4;
/// How deep extensions nest, the map of all extensions counted.
pub const MAX_EXTENSION_DEPTH: usize = 4;
/// The longest text key of an extension, in octets.
pub const MAX_EXTENSION_KEY: usize = 255;

/// A MIMI content message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MimiContent {
    /// Random, new for each message.
    pub salt: [u8; 16],
    /// The message that this one edits, deletes or unlikes: always its first version.
    pub replaces: Option<MessageId>,
    /// Messages with the same one belong together; empty for none.
    pub topic_id: Opaque,
    /// When receivers should forget the message.
    pub expires: Option<Expiration>,
    /// The version of a message that this one answers.
    pub in_reply_to: Option<MessageId>,
    /// Extensions, sender and room among them.
    pub extensions: Extensions,
    /// The body.
    pub body: NestedPart,
}

/// When receivers should forget a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Expiration {
    /// `time` counts from when the message is read; otherwise from the UNIX epoch.
    pub relative: bool,
    /// Seconds.
    pub time: u32,
}

impl MimiContent {
    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        codec::from_value(Value::decode(bytes)?)
    }

    /// Writes a message deterministically. Refuses what [`MimiContent::decode`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let bytes = codec::to_value(self).encode();
        Self::decode(&bytes)?;
        Ok(bytes)
    }

    /// The body's parts in the order of their part index, which is their place in this list.
    pub fn parts(&self) -> Vec<&NestedPart> {
        let mut all = Vec::new();
        self.body.collect(&mut all);
        all
    }

    /// Whether the message's times make sense to one who receives it `now`: an absolute expiry more than a
    /// year ago, or any more than a year ahead, is nonsense that should be discarded (section 9.1).
    pub fn has_plausible_expiry(&self, now: UnixMillis) -> bool {
        const YEAR: u64 = 366 * 24 * 60 * 60;
        let now = now.0 / 1000;
        match self.expires {
            None => true,
            Some(Expiration { relative: true, time }) => u64::from(time) <= YEAR,
            Some(Expiration {
                relative: false,
                time,
            }) => now.abs_diff(u64::from(time)) <= YEAR,
        }
    }
}

#[cfg(test)]
mod tests;
