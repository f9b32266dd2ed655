//! Why something was refused, as enums a program can match on.

use crate::identity::IdentityError;
use crate::roster::{LeavesError, ListError};
use mimi_wire::MimiUri;
use mimi_wire::components::RoleIndex;
use mimi_wire::mls::{Epoch, ProposalRef};
use mimi_wire::policy::Denial;
use mimi_wire::protocol::{SubmitMessageResponse, UpdateOutcome, UpdateRoomResponse};

/// Why a handshake was refused. Nothing in the group has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateRefusal {
    /// Made for another epoch than the group's.
    #[error("the group is in epoch {current}")]
    WrongEpoch {
        /// The group's epoch.
        current: Epoch,
    },
    /// Against the rules of MLS, of MIMI or of the room.
    #[error("not allowed: {reason}")]
    NotAllowed {
        /// The rule.
        reason: NotAllowed,
    },
    /// A proposal that the bundle brings or refers to is unknown or invalid.
    #[error("invalid proposal: {reason}")]
    InvalidProposal {
        /// References of the invalid proposals, as far as they can be named.
        refs: Vec<ProposalRef>,
        /// What is wrong with them.
        reason: ProposalFault,
    },
    /// Octets that are no MLS message of a kind that belongs there.
    #[error("malformed: {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
}

/// The rule that a handshake broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAllowed {
    /// The message is for another group.
    #[error("the message belongs to another group")]
    WrongGroup,
    /// A handshake must be a PublicMessage: the hub can't judge what it can't read.
    #[error("a handshake has to be a PublicMessage")]
    NotPublic,
    /// Commits come from members or external joiners, proposals from members.
    #[error("this sender may not send this")]
    SenderType,
    /// The provider that sent it is not the provider of the client that signed it.
    #[error("the client belongs to another provider")]
    NotYourClient,
    /// The sender's removal was accepted before.
    #[error("{0} was removed from the room")]
    Departed(MimiUri),
    /// Not in the participant list, or banned.
    #[error("{0} is no participant")]
    NotAParticipant(MimiUri),
    /// Against the room's policy.
    #[error(transparent)]
    Policy(#[from] Denial),
    /// A proposal type that rooms here don't use.
    #[error("proposals of type {0:#06x} are not used in rooms")]
    ProposalType(u16),
    /// A component that can't be changed, or not that way.
    #[error("component {0:#06x} can't be changed this way")]
    Component(u16),
    /// The new data of a component doesn't decode or breaks its rules.
    #[error("the update of component {0:#06x} is invalid")]
    ComponentData(u16),
    /// The change of the participant list is wrong in itself.
    #[error(transparent)]
    List(#[from] ListError),
    /// A credential names no client.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The clients after the commit would be no proper clients.
    #[error(transparent)]
    Leaves(#[from] LeavesError),
    /// A removed or banned participant would keep clients.
    #[error("{0} is out of the list but would keep clients")]
    ClientsRemain(MimiUri),
    /// A client would be in the tree whose user is not in the list.
    #[error("{0} has clients but is not in the list")]
    ClientsWithoutParticipant(MimiUri),
    /// An accepted proposal that has to be committed is left out.
    #[error("an accepted removal is left out: {0}")]
    PendingLeftOut(MimiUri),
    /// A commit may not change who its committer is.
    #[error("a client can't change its identity")]
    IdentityChanged,
    /// An external commit may remove only the committer's own former leaf.
    #[error("an external commit may only remove the own former leaf")]
    RemovesAnother,
    /// A signature key that another member has.
    #[error("the signature key is in use")]
    SignatureKeyInUse,
    /// An added client doesn't support a component that the room requires.
    #[error("an added client does not support component {0:#06x}")]
    ComponentUnsupported(u16),
    /// The Welcome is missing, superfluous, or not for the added clients.
    #[error("the Welcome does not fit the added clients")]
    Welcome,
    /// The GroupInfo isn't one of the epoch after the commit.
    #[error("GroupInfo: {0}")]
    GroupInfo(#[from] GroupInfoFault),
    /// The ratchet tree isn't the one after the commit, or comes in a way that isn't supported.
    #[error("the ratchet tree is not the one after the commit")]
    RatchetTree,
    /// openmls found the commit invalid.
    #[error("invalid MLS commit: {0}")]
    Mls(String),
}

/// What is wrong with a GroupInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupInfoFault {
    /// Doesn't decode.
    #[error("malformed")]
    Malformed,
    /// Another GroupContext than the one the commit leads to.
    #[error("another group context")]
    Context,
    /// Another confirmation tag than the commit's.
    #[error("another confirmation tag")]
    ConfirmationTag,
    /// Not signed by the committer.
    #[error("another signer")]
    Signer,
    /// The signature is wrong.
    #[error("the signature is invalid")]
    Signature,
    /// Without `external_pub` nobody could join by external commit.
    #[error("no external_pub")]
    NoExternalPub,
    /// The tree goes into the ratchet tree option, not into the GroupInfo.
    #[error("it embeds a ratchet tree")]
    EmbeddedTree,
}

/// What is wrong with a proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalFault {
    /// Referred to but not accepted in this epoch.
    #[error("a referenced proposal is not known")]
    Unknown,
    /// openmls finds it invalid.
    #[error("invalid MLS proposal: {0}")]
    Mls(String),
    /// Not accepted on its own, outside a commit.
    #[error("not accepted outside a commit")]
    NotStandalone,
    /// Removes or changes somebody else.
    #[error("concerns somebody else")]
    NotOwn,
    /// A removal of the same client was accepted already, or the bundle has it twice.
    #[error("the client's removal is pending already")]
    Repeated,
    /// Somebody leaves the list and keeps a client.
    #[error("leaving takes out all own clients")]
    ClientsRemain,
    /// The proposals of one bundle come from different clients.
    #[error("a bundle has one sender")]
    MixedSenders,
}

impl From<NotAllowed> for UpdateRefusal {
    fn from(reason: NotAllowed) -> Self {
        Self::NotAllowed { reason }
    }
}

impl From<ListError> for UpdateRefusal {
    fn from(error: ListError) -> Self {
        NotAllowed::from(error).into()
    }
}

impl From<IdentityError> for UpdateRefusal {
    fn from(error: IdentityError) -> Self {
        NotAllowed::from(error).into()
    }
}

impl From<GroupInfoFault> for UpdateRefusal {
    fn from(fault: GroupInfoFault) -> Self {
        NotAllowed::from(fault).into()
    }
}

/// Why a room could not be founded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoundRefusal {
    /// Octets that are no GroupInfo or ratchet tree.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The room URI is not one of this hub.
    #[error("the room belongs to another provider")]
    ForeignRoom,
    /// The creator is no user of this provider.
    #[error("the creator is a user of another provider")]
    ForeignCreator,
    /// A suite whose groups can't be validated or signed for.
    #[error("cipher suite {0:#06x} is not supported")]
    CipherSuite(u16),
    /// openmls finds the group invalid.
    #[error("invalid MLS group: {0}")]
    Mls(String),
    /// The GroupInfo can't be served to joiners.
    #[error("GroupInfo: {0}")]
    GroupInfo(#[from] GroupInfoFault),
    /// The hub isn't in `external_senders`.
    #[error("the hub is not among the external senders")]
    HubNotExternalSender,
    /// `required_capabilities` misses something that MIMI rooms need.
    #[error("required_capabilities lacks {0}")]
    RequiredCapabilities(&'static str),
    /// A component is missing.
    #[error("component {0:#06x} is missing")]
    ComponentMissing(u16),
    /// A component's data is wrong.
    #[error("component {0:#06x} is invalid")]
    Component(u16),
    /// The participant list is not exactly the creator as super admin.
    #[error("the participant list is not the creator alone, as super admin")]
    Participants,
    /// The metadata name another room.
    #[error("the metadata name another room")]
    RoomUri,
    /// The franking agent is not this hub's.
    #[error("the franking agent is not this hub's")]
    FrankingAgent,
    /// The tree has clients of others than the creator.
    #[error("the tree is not the creator's clients alone")]
    Clients,
    /// The leaves are no clients.
    #[error(transparent)]
    Leaves(#[from] LeavesError),
}

/// Why an application message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageRefusal {
    /// Encrypted for an epoch that is past.
    #[error("the group is in epoch {current}")]
    EpochTooOld {
        /// The group's epoch.
        current: Epoch,
    },
    /// Encrypted for an epoch that is not known here.
    #[error("the group is only in epoch {current}")]
    EpochInFuture {
        /// The group's epoch.
        current: Epoch,
    },
    /// For another group.
    #[error("the message belongs to another group")]
    WrongGroup,
    /// Not a PrivateMessage with application content.
    #[error("not an application message")]
    NotApplication,
    /// The sender is no user of the provider that sent it.
    #[error("the sender belongs to another provider")]
    ForeignSender,
    /// The sender is not in the room (any more), or has no client in it.
    #[error("{0} is no participant")]
    NotAParticipant(MimiUri),
    /// The sender's role may not send.
    #[error("role {0} may not send messages")]
    Forbidden(RoleIndex),
    /// The room needs Safe AAD and the message has none that decodes.
    #[error("authenticated_data is no Safe AAD")]
    SafeAad,
}

/// Why a removal by the hub could not be proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemovalRefusal {
    /// Not in the room, or out already.
    #[error("{0} is no participant")]
    NotAParticipant(MimiUri),
    /// The hub is not in the group's `external_senders`.
    #[error("the hub is not among the external senders")]
    NotExternalSender,
    /// openmls could not make or take the proposal.
    #[error("MLS: {0}")]
    Mls(String),
}

impl UpdateRefusal {
    /// The answer to the provider that asked. What is malformed is answered as not allowed: the draft has no code
    /// for it.
    pub fn to_response(&self) -> UpdateRoomResponse {
        let outcome = match self {
            Self::WrongEpoch { current } => UpdateOutcome::WrongEpoch {
                current_epoch: *current,
            },
            Self::NotAllowed { .. } | Self::Malformed { .. } => UpdateOutcome::NotAllowed,
            Self::InvalidProposal { refs, .. } => UpdateOutcome::InvalidProposal {
                invalid_proposals: refs.clone(),
            },
        };
        UpdateRoomResponse {
            error_description: self.to_string(),
            outcome,
        }
    }
}

impl MessageRefusal {
    /// The answer to the provider that asked.
    pub fn to_response(&self) -> SubmitMessageResponse {
        match self {
            Self::EpochTooOld { current } => SubmitMessageResponse::EpochTooOld {
                current_epoch: *current,
            },
            _ => SubmitMessageResponse::NotAllowed,
        }
    }
}
