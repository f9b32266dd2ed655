//! PublicMessage and what it frames (RFC 9420 sections 6 and 6.2).

use super::{Commit, Epoch, GroupId, Proposal};
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, wire_codes};
use serde::Serialize;

wire_codes! {
    /// `ContentType`.
    ContentType, "content type" {
        /// Application data.
        Application = 1,
        /// A proposal.
        Proposal = 2,
        /// A commit.
        Commit = 3,
    }
}

/// `Sender` of a PublicMessage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// A member.
    Member {
        /// Its leaf.
        leaf_index: u32,
    },
    /// An entry of the group's `external_senders`.
    External {
        /// Its place in that list.
        sender_index: u32,
    },
    /// Someone who proposes to be added.
    NewMemberProposal,
    /// Someone who joins by external commit.
    NewMemberCommit,
}

impl Encode for Sender {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Member { leaf_index } => {
                out.push(1);
                leaf_index.encode(out);
            }
            Self::External { sender_index } => {
                out.push(2);
                sender_index.encode(out);
            }
            Self::NewMemberProposal => out.push(3),
            Self::NewMemberCommit => out.push(4),
        }
    }
}

impl Decode for Sender {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        Ok(match r.u8()? {
            1 => Self::Member { leaf_index: r.u32()? },
            2 => Self::External {
                sender_index: r.u32()?,
            },
            3 => Self::NewMemberProposal,
            4 => Self::NewMemberCommit,
            other => return Err(at.unknown("sender type", other)),
        })
    }
}

/// What a PublicMessage frames.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Application data. MLS forbids this in a PublicMessage, yet it can be delimited.
    Application(Opaque),
    /// A proposal.
    Proposal(Box<Proposal>),
    /// A commit.
    Commit(Box<Commit>),
}

impl Content {
    /// Its type.
    pub fn content_type(&self) -> ContentType {
        match self {
            Self::Application(_) => ContentType::Application,
            Self::Proposal(_) => ContentType::Proposal,
            Self::Commit(_) => ContentType::Commit,
        }
    }
}

/// `PublicMessage`, all fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct PublicMessage {
    /// Group identifier.
    pub group_id: GroupId,
    /// Epoch it was made in.
    pub epoch: Epoch,
    /// Who made it.
    pub sender: Sender,
    /// Authenticated, not encrypted.
    pub authenticated_data: Opaque,
    /// Payload.
    pub content: Content,
    /// Signature by the sender.
    pub signature: Opaque,
    /// Present in a commit: proves knowledge of the new epoch's secrets.
    pub confirmation_tag: Option<Opaque>,
    /// Present if the sender is a member: proves knowledge of this epoch's secrets.
    pub membership_tag: Option<Opaque>,
}

impl PublicMessage {
    /// Reads a message; also gives how many octets its signed part (`FramedContent` and
    /// `FramedContentAuthData`) has.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<(Self, usize), DecodeError> {
        let start = r.clone();
        let group_id = GroupId::decode(r.field("FramedContent.group_id"))?;
        let epoch = Epoch::decode(r.field("FramedContent.epoch"))?;
        let sender = Sender::decode(r.field("FramedContent.sender"))?;
        let authenticated_data = Opaque::decode(r.field("FramedContent.authenticated_data"))?;
        let content = match ContentType::decode(r.field("FramedContent.content_type"))? {
            ContentType::Application => {
                Content::Application(Opaque::decode(r.field("FramedContent.application_data"))?)
            }
            ContentType::Proposal => Content::Proposal(Box::new(Proposal::decode(r)?)),
            ContentType::Commit => Content::Commit(Box::new(Commit::decode(r)?)),
        };
        let signature = Opaque::decode(r.field("FramedContentAuthData.signature"))?;
        let confirmation_tag = match content {
            Content::Commit(_) => Some(Opaque::decode(r.field("FramedContentAuthData.confirmation_tag"))?),
            _ => None,
        };
        let signed = r.since(&start).len();
        let membership_tag = match sender {
            Sender::Member { .. } => Some(Opaque::decode(r.field("PublicMessage.membership_tag"))?),
            _ => None,
        };
        let message = Self {
            group_id,
            epoch,
            sender,
            authenticated_data,
            content,
            signature,
            confirmation_tag,
            membership_tag,
        };
        Ok((message, signed))
    }
}

impl Decode for PublicMessage {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::read(r).map(|(message, _)| message)
    }
}
