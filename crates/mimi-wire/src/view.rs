//! Any structure of this crate by name, as JSON for people who debug.
//!
//! Octets are base64url without padding, times and epochs decimal text. The view is one way: a structure
//! that is read back from JSON would invite changing what was signed.

use crate::codec::{Decode, DecodeError, Encode};
use crate::components::{
    AppDataDictionary, ApplicationFraming, ComponentsList, FrankingAgentData, MediaTypeList,
    ParticipantListData, ParticipantListUpdate, RoomMetaData, SafeAad,
};
use crate::franking::ServerFrankingContext;
use crate::mls::{
    Capabilities, Commit, Credential, ExternalSender, GroupContext, GroupInfo, KeyPackage, LeafNode,
    MlsMessage, Proposal, RatchetTree, RequiredCapabilities, SemiPrivateMessage, Welcome,
};
use crate::policy::{
    AssetPolicy, BaseRoomPolicy, BotPolicy, HistoryPolicy, JoinLinkPolicy, JoinLinks, JoinLinksUpdate,
    LinkPreviewPolicy, LoggingPolicy, MessageExpiration, OperationalParameters, PreAuthData, RoleData,
    StatusNotificationPolicy,
};
use crate::protocol::{
    AbuseReport, ConsentEntry, ConsentScope, FanoutMessage, Frank, GroupInfoOption, GroupInfoRatchetTreeTbe,
    GroupInfoRequest, GroupInfoResponse, HandshakeBundle, IdentifierRequest, IdentifierResponse,
    KeyMaterialRequest, KeyMaterialResponse, PartialGroupInfo, PendingProposal, RatchetTreeOption,
    SubmitMessageRequest, SubmitMessageResponse, UpdateRoomResponse,
};
use serde::Serialize;
use serde_json::Value as Json;

/// A structure that can be viewed.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    read: fn(&[u8]) -> Result<View, DecodeError>,
}

/// A structure that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// What is in it.
    pub json: Json,
    /// Its encoding, which is what it was read from.
    pub octets: Vec<u8>,
}

impl Kind {
    /// The structure with a name.
    pub fn by_name(name: &str) -> Option<Self> {
        KINDS.iter().find(|kind| kind.name == name).copied()
    }

    /// Reads octets that are such a structure and nothing more.
    pub fn read(&self, bytes: &[u8]) -> Result<View, DecodeError> {
        (self.read)(bytes)
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn read<T: Encode + Decode + Serialize>(bytes: &[u8]) -> Result<View, DecodeError> {
    let value = T::from_bytes(bytes)?;
    Ok(View {
        json: serde_json::to_value(&value).unwrap_or_default(),
        octets: value.to_bytes(),
    })
}

fn read_notify(bytes: &[u8]) -> Result<View, DecodeError> {
    let messages = FanoutMessage::decode_all(bytes)?;
    let mut octets = Vec::new();
    for message in &messages {
        message.encode(&mut octets);
    }
    Ok(View {
        json: serde_json::to_value(&messages).unwrap_or_default(),
        octets,
    })
}

macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        /// Every structure with a view. `NotifyBody` is one or more `FanoutMessage`.
        pub const KINDS: &[Kind] = &[
            Kind { name: "NotifyBody", read: read_notify },
            $( Kind { name: stringify!($kind), read: read::<$kind> }, )*
        ];
    };
}

kinds![
    AbuseReport,
    AppDataDictionary,
    ApplicationFraming,
    AssetPolicy,
    BaseRoomPolicy,
    BotPolicy,
    Capabilities,
    Commit,
    ComponentsList,
    ConsentEntry,
    ConsentScope,
    Credential,
    ExternalSender,
    FanoutMessage,
    Frank,
    FrankingAgentData,
    GroupContext,
    GroupInfo,
    GroupInfoOption,
    GroupInfoRatchetTreeTbe,
    GroupInfoRequest,
    GroupInfoResponse,
    HandshakeBundle,
    HistoryPolicy,
    IdentifierRequest,
    IdentifierResponse,
    JoinLinkPolicy,
    JoinLinks,
    JoinLinksUpdate,
    KeyMaterialRequest,
    KeyMaterialResponse,
    KeyPackage,
    LeafNode,
    LinkPreviewPolicy,
    LoggingPolicy,
    MediaTypeList,
    MessageExpiration,
    MlsMessage,
    OperationalParameters,
    PartialGroupInfo,
    ParticipantListData,
    ParticipantListUpdate,
    PendingProposal,
    PreAuthData,
    Proposal,
    RatchetTree,
    RatchetTreeOption,
    RequiredCapabilities,
    RoleData,
    RoomMetaData,
    SafeAad,
    SemiPrivateMessage,
    ServerFrankingContext,
    StatusNotificationPolicy,
    SubmitMessageRequest,
    SubmitMessageResponse,
    UpdateRoomResponse,
    Welcome,
];
