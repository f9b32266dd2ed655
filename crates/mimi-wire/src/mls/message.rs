//! `MLSMessage`: the envelope of everything MLS puts on the wire (RFC 9420 section 6).

use super::{
    CipherSuite, Content, ContentType, Epoch, GroupId, GroupInfo, KeyPackage, MLS10, ProposalRef,
    PublicMessage, SemiPrivateMessage, Sender, Welcome, key_package::read_version,
};
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader};
use crate::components::wire_format;
use crate::labels;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// `WireFormat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WireFormat {
    /// `mls_public_message`
    PublicMessage,
    /// `mls_private_message`
    PrivateMessage,
    /// `mls_welcome`
    Welcome,
    /// `mls_group_info`
    GroupInfo,
    /// `mls_key_package`
    KeyPackage,
    /// `mls_semiprivate_message`
    SemiPrivateMessage,
}

impl WireFormat {
    /// Its number, see [`wire_format`].
    pub fn number(self) -> u16 {
        match self {
            Self::PublicMessage => wire_format::PUBLIC_MESSAGE,
            Self::PrivateMessage => wire_format::PRIVATE_MESSAGE,
            Self::Welcome => wire_format::WELCOME,
            Self::GroupInfo => wire_format::GROUP_INFO,
            Self::KeyPackage => wire_format::KEY_PACKAGE,
            Self::SemiPrivateMessage => wire_format::SEMI_PRIVATE_MESSAGE,
        }
    }
}

impl Decode for WireFormat {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        Ok(match r.u16()? {
            wire_format::PUBLIC_MESSAGE => Self::PublicMessage,
            wire_format::PRIVATE_MESSAGE => Self::PrivateMessage,
            wire_format::WELCOME => Self::Welcome,
            wire_format::GROUP_INFO => Self::GroupInfo,
            wire_format::KEY_PACKAGE => Self::KeyPackage,
            wire_format::SEMI_PRIVATE_MESSAGE => Self::SemiPrivateMessage,
            other => return Err(at.unknown("wire format", other)),
        })
    }
}

/// Octets of `version` and `wire_format`, before the body.
const HEADER: usize = 4;

/// An MLSMessage with its exact octets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MlsMessage {
    bytes: Vec<u8>,
    wire_format: WireFormat,
    framing: Option<Framing>,
}

/// What the three framed formats say in the clear.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Framing {
    group_id: GroupId,
    epoch: Epoch,
    content_type: ContentType,
    sender: Option<Sender>,
    authenticated_data: Opaque,
    /// PublicMessage: how many octets of `bytes` are signed content and authentication, header included.
    signed_end: usize,
}

impl MlsMessage {
    /// The exact octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the exact octets, by which copies of a message are recognized.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    /// What it is.
    pub fn wire_format(&self) -> WireFormat {
        self.wire_format
    }

    /// Group identifier of a framed message.
    pub fn group_id(&self) -> Option<&GroupId> {
        self.framing.as_ref().map(|f| &f.group_id)
    }

    /// Epoch of a framed message.
    pub fn epoch(&self) -> Option<Epoch> {
        self.framing.as_ref().map(|f| f.epoch)
    }

    /// Content type of a framed message.
    pub fn content_type(&self) -> Option<ContentType> {
        self.framing.as_ref().map(|f| f.content_type)
    }

    /// Sender, visible in a PublicMessage only.
    pub fn sender(&self) -> Option<Sender> {
        self.framing.as_ref().and_then(|f| f.sender)
    }

    /// Authenticated data of a framed message: a `SafeAad` in groups that have that component.
    pub fn authenticated_data(&self) -> Option<&[u8]> {
        self.framing.as_ref().map(|f| f.authenticated_data.as_bytes())
    }

    /// Whether this is a proposal or commit in a form that MIMI allows: PublicMessage or SemiPrivateMessage.
    pub fn is_handshake(&self, content_type: ContentType) -> bool {
        matches!(
            self.wire_format,
            WireFormat::PublicMessage | WireFormat::SemiPrivateMessage
        ) && content_type != ContentType::Application
            && self.content_type() == Some(content_type)
    }

    /// Whether this is an application message in the form that MIMI demands, a PrivateMessage.
    pub fn is_application(&self) -> bool {
        self.wire_format == WireFormat::PrivateMessage
            && self.content_type() == Some(ContentType::Application)
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    fn read_body<T: Decode>(&self, wire_format: WireFormat) -> Option<T> {
        if self.wire_format == wire_format {
            T::from_bytes(self.body()).ok()
        } else {
            None
        }
    }

    /// All fields of a PublicMessage, parsed anew.
    pub fn public_message(&self) -> Option<PublicMessage> {
        self.read_body(WireFormat::PublicMessage)
    }

    /// All fields of a SemiPrivateMessage, parsed anew.
    pub fn semi_private_message(&self) -> Option<SemiPrivateMessage> {
        self.read_body(WireFormat::SemiPrivateMessage)
    }

    /// The Welcome in it.
    pub fn welcome(&self) -> Option<Welcome> {
        self.read_body(WireFormat::Welcome)
    }

    /// The GroupInfo in it.
    pub fn group_info(&self) -> Option<GroupInfo> {
        self.read_body(WireFormat::GroupInfo)
    }

    /// The KeyPackage in it.
    pub fn key_package(&self) -> Option<KeyPackage> {
        self.read_body(WireFormat::KeyPackage)
    }

    /// The reference of a proposal in a PublicMessage, by which commits name it. `suite` is the group's.
    pub fn proposal_ref(&self, suite: CipherSuite) -> Option<ProposalRef> {
        if self.wire_format != WireFormat::PublicMessage || self.content_type() != Some(ContentType::Proposal)
        {
            return None;
        }
        // AuthenticatedContent = wire_format, FramedContent, FramedContentAuthData: the message without its
        // version in front and its membership tag behind.
        let authenticated = self.bytes.get(2..self.framing.as_ref()?.signed_end)?;
        Some(labels::ref_hash(suite.hash()?, labels::PROPOSAL_REFERENCE, authenticated).into())
    }

    fn wrap(wire_format: WireFormat, body: &[u8]) -> Self {
        let mut bytes = MLS10.to_bytes();
        wire_format.number().encode(&mut bytes);
        bytes.extend_from_slice(body);
        Self {
            bytes,
            wire_format,
            framing: None,
        }
    }
}

impl From<&Welcome> for MlsMessage {
    fn from(welcome: &Welcome) -> Self {
        Self::wrap(WireFormat::Welcome, welcome.as_bytes())
    }
}

impl From<&GroupInfo> for MlsMessage {
    fn from(group_info: &GroupInfo) -> Self {
        Self::wrap(WireFormat::GroupInfo, group_info.as_bytes())
    }
}

impl From<&KeyPackage> for MlsMessage {
    fn from(key_package: &KeyPackage) -> Self {
        Self::wrap(WireFormat::KeyPackage, key_package.as_bytes())
    }
}

impl Encode for MlsMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }
}

impl Decode for MlsMessage {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = r.clone();
        read_version(r.field("MLSMessage.version"))?;
        let wire_format = WireFormat::decode(r.field("MLSMessage.wire_format"))?;
        let framing = match wire_format {
            WireFormat::PublicMessage => {
                let (message, signed) = PublicMessage::read(r)?;
                let content_type = Content::content_type(&message.content);
                Some(Framing {
                    group_id: message.group_id,
                    epoch: message.epoch,
                    content_type,
                    sender: Some(message.sender),
                    authenticated_data: message.authenticated_data,
                    signed_end: signed.saturating_add(HEADER),
                })
            }
            WireFormat::PrivateMessage => {
                let framing = Framing {
                    group_id: GroupId::decode(r.field("PrivateMessage.group_id"))?,
                    epoch: Epoch::decode(r.field("PrivateMessage.epoch"))?,
                    content_type: ContentType::decode(r.field("PrivateMessage.content_type"))?,
                    sender: None,
                    authenticated_data: Opaque::decode(r.field("PrivateMessage.authenticated_data"))?,
                    signed_end: 0,
                };
                r.field("PrivateMessage.encrypted_sender_data").opaque()?;
                r.field("PrivateMessage.ciphertext").opaque()?;
                Some(framing)
            }
            WireFormat::SemiPrivateMessage => {
                let message = SemiPrivateMessage::decode(r)?;
                if message.content_type == ContentType::Application {
                    return Err(r.invalid("a SemiPrivateMessage carries no application data"));
                }
                Some(Framing {
                    group_id: message.group_id,
                    epoch: message.epoch,
                    content_type: message.content_type,
                    sender: None,
                    authenticated_data: message.authenticated_data,
                    signed_end: 0,
                })
            }
            WireFormat::Welcome => {
                Welcome::decode(r)?;
                None
            }
            WireFormat::GroupInfo => {
                GroupInfo::decode(r)?;
                None
            }
            WireFormat::KeyPackage => {
                KeyPackage::decode(r)?;
                None
            }
        };
        Ok(Self {
            bytes: r.since(&start).to_vec(),
            wire_format,
            framing,
        })
    }
}

impl std::fmt::Debug for MlsMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MlsMessage")
            .field("wire_format", &self.wire_format)
            .field("group_id", &self.group_id())
            .field("epoch", &self.epoch())
            .field("content_type", &self.content_type())
            .field("octets", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Serialize for MlsMessage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut view = serializer.serialize_map(None)?;
        view.serialize_entry("wire_format", &self.wire_format)?;
        view.serialize_entry("sha256", &hex::encode(self.sha256()))?;
        match self.wire_format {
            WireFormat::PublicMessage => view.serialize_entry("message", &self.public_message())?,
            WireFormat::SemiPrivateMessage => {
                view.serialize_entry("message", &self.semi_private_message())?;
            }
            WireFormat::Welcome => view.serialize_entry("message", &self.welcome())?,
            WireFormat::GroupInfo => view.serialize_entry("message", &self.group_info())?,
            WireFormat::KeyPackage => view.serialize_entry("message", &self.key_package())?,
            WireFormat::PrivateMessage => {
                if let Some(framing) = &self.framing {
                    view.serialize_entry("group_id", &framing.group_id)?;
                    view.serialize_entry("epoch", &framing.epoch)?;
                    view.serialize_entry("content_type", &framing.content_type)?;
                    view.serialize_entry("authenticated_data", &framing.authenticated_data)?;
                    view.serialize_entry("octets", &self.bytes.len())?;
                }
            }
        }
        view.end()
    }
}
