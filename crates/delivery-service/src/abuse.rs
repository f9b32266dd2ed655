//! Evidence in abuse reports (draft-ietf-mimi-protocol-06 section 5.9): whether this hub really accepted a message as
//! it is reported, from that sender, in that room, at that time.

use crate::franking::{self, FrankFault, FrankingContext};
use crate::hub::HubIdentity;
use mimi_wire::components::{ApplicationFraming, MediaType, media_type};
use mimi_wire::content::{MessageId, MimiContent};
use mimi_wire::protocol::AbusiveMessage;
use mimi_wire::{Decode as _, Encode as _, MimiUri, Opaque};

/// A reported message that this hub franked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Its sender.
    pub sender: MimiUri,
    /// Its MIMI message id.
    pub message_id: MessageId,
    /// When the hub accepted it, Unix ms.
    pub accepted_ms: u64,
    /// The MIMI content, without framing.
    pub content: Vec<u8>,
}

/// Why a reported message proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceFault {
    /// Neither MIMI content nor framed MIMI content.
    #[error("the message is no MIMI content")]
    Content,
    /// It names no sender or no room, so that no frank can be about it.
    #[error("the message names no sender or no room")]
    Anonymous,
    /// It was written for another room than the one reported.
    #[error("the message is of another room")]
    WrongRoom,
    /// It is not by whom the report accuses.
    #[error("the message is not by the user who is reported")]
    WrongSender,
    /// The frank is not this hub's for this message.
    #[error(transparent)]
    Frank(#[from] FrankFault),
}

impl EvidenceFault {
    /// A stable name for programs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Anonymous => "anonymous",
            Self::WrongRoom => "wrong_room",
            Self::WrongSender => "wrong_sender",
            Self::Frank(FrankFault::CipherSuite) => "frank_cipher_suite",
            Self::Frank(FrankFault::ServerFrank) => "frank_forged",
            Self::Frank(FrankFault::Signature) => "frank_signature",
        }
    }
}

/// Examines one message of a report about `room`.
///
/// The tag is over the application data. The draft's `message_content` is "the message content (ex: MIMI Content
/// message)": taken are the application data as decrypted, and in a room whose data is framed also the content alone.
pub fn examine(
    hub: &HubIdentity,
    room: &MimiUri,
    accused: &MimiUri,
    message: &AbusiveMessage,
) -> Result<Evidence, EvidenceFault> {
    let octets = &message.message_content.0;
    let (content, parsed) = content_of(octets).ok_or(EvidenceFault::Content)?;
    let named = |uri: Option<Result<MimiUri, _>>| uri.and_then(Result::ok).ok_or(EvidenceFault::Anonymous);
    let (sender, of_room) = (named(parsed.sender())?, named(parsed.room())?);
    if of_room != *room {
        return Err(EvidenceFault::WrongRoom);
    }
    if sender != *accused {
        return Err(EvidenceFault::WrongSender);
    }
    let context = FrankingContext {
        sender,
        room: of_room,
        accepted_ms: message.accepted_timestamp.0,
    };
    let verify = |data: &[u8]| franking::verify(hub, data, &parsed.salt, &context, &message.frank);
    verify(octets).or_else(|fault| {
        let bare = content == *octets;
        let framed = || framings(&content).into_iter().any(|data| verify(&data).is_ok());
        if bare && framed() { Ok(()) } else { Err(fault) }
    })?;
    Ok(Evidence {
        message_id: MessageId::derive(&context.sender, &context.room, &content, &parsed.salt),
        sender: context.sender,
        accepted_ms: context.accepted_ms,
        content,
    })
}

/// The MIMI content in application data, framed or not.
fn content_of(octets: &[u8]) -> Option<(Vec<u8>, MimiContent)> {
    if let Ok(content) = MimiContent::decode(octets) {
        return Some((octets.to_vec(), content));
    }
    let framing = ApplicationFraming::from_bytes(octets).ok()?;
    let inner = framing.inner_application_content.0;
    let content = MimiContent::decode(&inner).ok()?;
    Some((inner, content))
}

/// What the application data around bare content may have been.
fn framings(content: &[u8]) -> [Vec<u8>; 2] {
    [media_type::MIMI_CONTENT, ""].map(|name| {
        ApplicationFraming {
            media_type: MediaType::plain(name),
            inner_application_content: Opaque(content.to_vec()),
        }
        .to_bytes()
    })
}
