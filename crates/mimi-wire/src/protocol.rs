//! The bodies of the provider endpoints (draft-ietf-mimi-protocol-06 section 5).
//!
//! Structs are named as in the draft, fields as there in snake case. Where the draft selects by a code, an
//! enum has a case for each code with what belongs to it, so a code without its data can't be built. All of
//! them serialize as JSON, one way, for people who debug.

mod abuse;
mod consent;
mod fanout;
mod group_info;
mod handshake;
mod identifier;
mod key_material;
mod submit;

pub use abuse::{AbuseReport, AbuseType, AbusiveMessage};
pub use consent::{ConsentEntry, ConsentOperation, ConsentScope};
pub use fanout::{FanoutBody, FanoutMessage};
pub use group_info::{
    GroupInfoCode, GroupInfoRatchetTreeTbe, GroupInfoRequest, GroupInfoResponse, GroupInfoSuccess,
    PendingProposal,
};
pub use handshake::{
    BundleBody, GroupInfoOption, HandshakeBundle, PartialGroupInfo, RatchetTreeOption, RatchetTreePresence,
    UpdateOutcome, UpdateResponseCode, UpdateRoomResponse,
};
pub use identifier::{
    FieldSource, IdentifierQueryCode, IdentifierRequest, IdentifierResponse, ProfileField, QueryElement,
    SearchIdentifierType, UserProfile,
};
pub use key_material::{
    ClientKeyMaterial, ClientMaterial, KeyMaterialClientCode, KeyMaterialRequest, KeyMaterialResponse,
    KeyMaterialUserCode,
};
pub use submit::{Frank, SubmitMessageRequest, SubmitMessageResponse, SubmitResponseCode};

use crate::codec::{Decode, DecodeError, DecodeErrorKind, Reader};
use crate::mls::{ContentType, MlsMessage};

/// `Protocol` mls10, the only one there is.
pub const PROTOCOL_MLS10: u8 = 1;

/// The most messages that a list in a body may have; what is beyond that is refused before it takes memory.
pub const MAX_MESSAGES: usize = 4096;

/// Reads a `Protocol` octet.
fn read_protocol(r: &mut Reader<'_>) -> Result<(), DecodeError> {
    let at = r.clone();
    match r.u8()? {
        PROTOCOL_MLS10 => Ok(()),
        other => Err(at.error(DecodeErrorKind::UnsupportedProtocol(other))),
    }
}

/// Reads `MLSMessage<V>` where each is a proposal as PublicMessage or SemiPrivateMessage.
fn read_proposals(r: &mut Reader<'_>) -> Result<Vec<MlsMessage>, DecodeError> {
    let name = r.field_name();
    let mut window = r.window()?;
    let mut messages = Vec::new();
    while !window.is_empty() {
        window.field(name);
        if messages.len() == MAX_MESSAGES {
            return Err(window.error(DecodeErrorKind::TooMany { limit: MAX_MESSAGES }));
        }
        let at = window.clone();
        let message = MlsMessage::decode(&mut window)?;
        if !message.is_handshake(ContentType::Proposal) {
            return Err(at.invalid("not a proposal in a PublicMessage or SemiPrivateMessage"));
        }
        messages.push(message);
    }
    Ok(messages)
}

/// A message in a place where only certain ones may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is not {expected}")]
pub struct WrongMessage {
    /// What it should be.
    pub expected: &'static str,
}

fn check_proposals(messages: &[MlsMessage]) -> Result<(), WrongMessage> {
    if messages.iter().all(|m| m.is_handshake(ContentType::Proposal)) {
        Ok(())
    } else {
        Err(WrongMessage {
            expected: "a proposal",
        })
    }
}

#[cfg(test)]
mod tests;
