//! notify (section 5.5): what the hub sends to followers.

use super::{Frank, MAX_MESSAGES, RatchetTreeOption, WrongMessage, check_proposals, read_proposals};
use crate::codec::{Decode, DecodeError, DecodeErrorKind, Encode, Reader, UnixMillis};
use crate::mls::{ContentType, MlsMessage, Welcome, WireFormat};
use serde::Serialize;

/// `FanoutMessage`. A notify body is one or more of them, back to back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FanoutMessage {
    timestamp: UnixMillis,
    message: MlsMessage,
    body: FanoutBody,
}

/// What goes with a fanned out message. The draft selects by wire format but names content types; the cases
/// here are what it can only mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FanoutBody {
    /// An application message.
    Application {
        /// In rooms with a franking agent.
        frank: Option<Frank>,
    },
    /// A Welcome.
    Welcome {
        /// The tree that joiners need.
        ratchet_tree_option: RatchetTreeOption,
    },
    /// A proposal.
    Proposal {
        /// The rest of the list, as in the bundle it came in.
        more_proposals: Vec<MlsMessage>,
    },
    /// A commit.
    Commit {
        /// The hub's own proposals, made anew for the epoch that an external commit started.
        external_proposals: Vec<MlsMessage>,
    },
}

impl FanoutMessage {
    /// An application message.
    pub fn application(
        timestamp: UnixMillis,
        message: MlsMessage,
        frank: Option<Frank>,
    ) -> Result<Self, WrongMessage> {
        if !message.is_application() {
            return Err(WrongMessage {
                expected: "an application message",
            });
        }
        Ok(Self {
            timestamp,
            message,
            body: FanoutBody::Application { frank },
        })
    }

    /// A Welcome.
    pub fn welcome(timestamp: UnixMillis, welcome: &Welcome, ratchet_tree_option: RatchetTreeOption) -> Self {
        Self {
            timestamp,
            message: welcome.into(),
            body: FanoutBody::Welcome { ratchet_tree_option },
        }
    }

    /// Proposals of one bundle.
    pub fn proposals(
        timestamp: UnixMillis,
        first: MlsMessage,
        more_proposals: Vec<MlsMessage>,
    ) -> Result<Self, WrongMessage> {
        check_proposals(std::slice::from_ref(&first))?;
        check_proposals(&more_proposals)?;
        Ok(Self {
            timestamp,
            message: first,
            body: FanoutBody::Proposal { more_proposals },
        })
    }

    /// A commit, with the hub's replacement proposals if it is an external one that made some invalid.
    pub fn commit(
        timestamp: UnixMillis,
        commit: MlsMessage,
        external_proposals: Vec<MlsMessage>,
    ) -> Result<Self, WrongMessage> {
        if !commit.is_handshake(ContentType::Commit) {
            return Err(WrongMessage { expected: "a commit" });
        }
        check_proposals(&external_proposals)?;
        Ok(Self {
            timestamp,
            message: commit,
            body: FanoutBody::Commit { external_proposals },
        })
    }

    /// When the hub accepted the message.
    pub fn timestamp(&self) -> UnixMillis {
        self.timestamp
    }

    /// The message.
    pub fn message(&self) -> &MlsMessage {
        &self.message
    }

    /// What goes with it.
    pub fn body(&self) -> &FanoutBody {
        &self.body
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (UnixMillis, MlsMessage, FanoutBody) {
        (self.timestamp, self.message, self.body)
    }

    /// Reads a notify body: one or more messages, nothing else.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut r = Reader::new(bytes);
        let mut messages = vec![Self::decode(&mut r)?];
        while !r.is_empty() {
            if messages.len() == MAX_MESSAGES {
                return Err(r.error(DecodeErrorKind::TooMany { limit: MAX_MESSAGES }));
            }
            messages.push(Self::decode(&mut r)?);
        }
        Ok(messages)
    }
}

impl Encode for FanoutMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        self.timestamp.encode(out);
        self.message.encode(out);
        match &self.body {
            FanoutBody::Application { frank } => frank.encode(out),
            FanoutBody::Welcome { ratchet_tree_option } => ratchet_tree_option.encode(out),
            FanoutBody::Proposal { more_proposals } => more_proposals.encode(out),
            FanoutBody::Commit { external_proposals } => external_proposals.encode(out),
        }
    }
}

impl Decode for FanoutMessage {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let timestamp = UnixMillis::decode(r.field("FanoutMessage.timestamp"))?;
        let at = r.field("FanoutMessage.message").clone();
        let message = MlsMessage::decode(r)?;
        let body = if message.is_application() {
            FanoutBody::Application {
                frank: Option::decode(r.field("FanoutMessage.frank"))?,
            }
        } else if message.wire_format() == WireFormat::Welcome {
            let ratchet_tree_option = RatchetTreeOption::decode(r.field("FanoutMessage.ratchetTreeOption"))?;
            FanoutBody::Welcome { ratchet_tree_option }
        } else if message.is_handshake(ContentType::Proposal) {
            FanoutBody::Proposal {
                more_proposals: read_proposals(r.field("FanoutMessage.moreProposals"))?,
            }
        } else if message.is_handshake(ContentType::Commit) {
            let external_proposals = read_proposals(r.field("FanoutMessage.externalProposals"))?;
            FanoutBody::Commit { external_proposals }
        } else {
            return Err(at.invalid("not a message that is fanned out"));
        };
        Ok(Self {
            timestamp,
            message,
            body,
        })
    }
}
