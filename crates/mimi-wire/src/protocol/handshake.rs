//! update (section 5.3): commits and proposals on their way to the hub.

use super::{WrongMessage, check_proposals, read_proposals};
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, UnixMillis, wire_codes, wire_fields};
use crate::mls::{ContentType, Epoch, Extension, GroupInfo, MlsMessage, ProposalRef, RatchetTree, Welcome};
use serde::Serialize;

/// `HandshakeBundle`, the body of an `UpdateRequest`: a commit with what belongs to it, or proposals that
/// stand or fall together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandshakeBundle {
    proposal_or_commit: MlsMessage,
    body: BundleBody,
}

/// What follows the first message of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BundleBody {
    /// With a commit.
    Commit {
        /// For the members it adds; the GroupInfo in it has no ratchet tree.
        welcome: Option<Welcome>,
        /// The GroupInfo of the new epoch, without ratchet tree.
        group_info_option: GroupInfoOption,
        /// The ratchet tree of the new epoch.
        ratchet_tree_option: RatchetTreeOption,
    },
    /// With a proposal.
    Proposal {
        /// The rest of the list.
        more_proposals: Vec<MlsMessage>,
    },
}

impl HandshakeBundle {
    /// A commit with what belongs to it.
    pub fn commit(
        commit: MlsMessage,
        welcome: Option<Welcome>,
        group_info_option: GroupInfoOption,
        ratchet_tree_option: RatchetTreeOption,
    ) -> Result<Self, WrongMessage> {
        if !commit.is_handshake(ContentType::Commit) {
            return Err(WrongMessage { expected: "a commit" });
        }
        let body = BundleBody::Commit {
            welcome,
            group_info_option,
            ratchet_tree_option,
        };
        Ok(Self {
            proposal_or_commit: commit,
            body,
        })
    }

    /// Proposals that stand or fall together.
    pub fn proposals(first: MlsMessage, more_proposals: Vec<MlsMessage>) -> Result<Self, WrongMessage> {
        check_proposals(std::slice::from_ref(&first))?;
        check_proposals(&more_proposals)?;
        Ok(Self {
            proposal_or_commit: first,
            body: BundleBody::Proposal { more_proposals },
        })
    }

    /// The commit, or the first proposal.
    pub fn proposal_or_commit(&self) -> &MlsMessage {
        &self.proposal_or_commit
    }

    /// What follows it.
    pub fn body(&self) -> &BundleBody {
        &self.body
    }

    /// All messages: the commit, or all proposals.
    pub fn messages(&self) -> impl Iterator<Item = &MlsMessage> {
        let more = match &self.body {
            BundleBody::Commit { .. } => &[][..],
            BundleBody::Proposal { more_proposals } => more_proposals,
        };
        std::iter::once(&self.proposal_or_commit).chain(more)
    }

    /// Takes the bundle apart.
    pub fn into_parts(self) -> (MlsMessage, BundleBody) {
        (self.proposal_or_commit, self.body)
    }
}

impl Encode for HandshakeBundle {
    fn encode(&self, out: &mut Vec<u8>) {
        self.proposal_or_commit.encode(out);
        match &self.body {
            BundleBody::Commit {
                welcome,
                group_info_option,
                ratchet_tree_option,
            } => {
                welcome.encode(out);
                group_info_option.encode(out);
                ratchet_tree_option.encode(out);
            }
            BundleBody::Proposal { more_proposals } => more_proposals.encode(out),
        }
    }
}

impl Decode for HandshakeBundle {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.field("HandshakeBundle.proposalOrCommit").clone();
        let proposal_or_commit = MlsMessage::decode(r)?;
        let body = if proposal_or_commit.is_handshake(ContentType::Commit) {
            BundleBody::Commit {
                welcome: Option::decode(r.field("HandshakeBundle.welcome"))?,
                group_info_option: GroupInfoOption::decode(r.field("HandshakeBundle.groupInfoOption"))?,
                ratchet_tree_option: RatchetTreeOption::decode(r.field("HandshakeBundle.ratchetTreeOption"))?,
            }
        } else if proposal_or_commit.is_handshake(ContentType::Proposal) {
            BundleBody::Proposal {
                more_proposals: read_proposals(r.field("HandshakeBundle.moreProposals"))?,
            }
        } else {
            return Err(at.invalid("not a handshake message in a PublicMessage or SemiPrivateMessage"));
        };
        Ok(Self {
            proposal_or_commit,
            body,
        })
    }
}

/// `GroupInfoOption`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupInfoOption {
    /// The whole GroupInfo.
    Full(Box<GroupInfo>),
    /// What the hub can't derive from the commit.
    Partial(PartialGroupInfo),
}

impl Encode for GroupInfoOption {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Full(group_info) => {
                out.push(1);
                group_info.encode(out);
            }
            Self::Partial(partial) => {
                out.push(2);
                partial.encode(out);
            }
        }
    }
}

impl Decode for GroupInfoOption {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        match r.u8()? {
            1 => GroupInfo::decode(r).map(|g| Self::Full(Box::new(g))),
            2 => PartialGroupInfo::decode(r).map(Self::Partial),
            other => Err(at.unknown("GroupInfo representation", other)),
        }
    }
}

wire_codes! {
    /// Whether the GroupInfo that was signed had a ratchet tree in it (draft-ietf-mls-ratchet-tree-options).
    RatchetTreePresence, "ratchet tree presence" {
        /// Neither before nor now.
        NoRatchetTree = 0,
        /// Before and now.
        Present = 1,
        /// Before, not now.
        Removed = 2,
        /// Now, not before.
        Added = 3,
    }
}

impl RatchetTreePresence {
    /// Whether the signed GroupInfo has a `ratchet_tree` extension.
    pub fn is_in_group_info(self) -> bool {
        matches!(self, Self::Present | Self::Added)
    }
}

/// `PartialGroupInfo`: a GroupInfo without what the hub knows from the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartialGroupInfo {
    /// Whether the signed GroupInfo had a tree.
    pub ratchet_tree_presence: RatchetTreePresence,
    /// Its other extensions, usually `external_pub` alone.
    pub group_info_extensions: Vec<Extension>,
    /// The committer's signature over the whole GroupInfo.
    pub signature: Opaque,
}

wire_fields!(PartialGroupInfo {
    ratchet_tree_presence,
    group_info_extensions,
    signature
});

/// `RatchetTreeOption`: the ratchet tree or how to come by it (draft-ietf-mls-ratchet-tree-options).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RatchetTreeOption {
    /// Here it is.
    Full(RatchetTree),
    /// Download it.
    HttpsUri {
        /// `https` URI.
        ratchet_tree_url: String,
    },
    /// It comes some other way.
    OutOfBand,
    /// The hub has it.
    DistributionService,
}

impl Encode for RatchetTreeOption {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Full(tree) => {
                out.push(1);
                tree.encode(out);
            }
            Self::HttpsUri { ratchet_tree_url } => {
                out.push(2);
                ratchet_tree_url.encode(out);
            }
            Self::OutOfBand => out.push(3),
            Self::DistributionService => out.push(4),
        }
    }
}

impl Decode for RatchetTreeOption {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        match r.u8()? {
            1 => RatchetTree::decode(r).map(Self::Full),
            2 => {
                let ratchet_tree_url = String::decode(r.field("RatchetTreeOption.ratchet_tree_url"))?;
                Ok(Self::HttpsUri { ratchet_tree_url })
            }
            3 => Ok(Self::OutOfBand),
            4 => Ok(Self::DistributionService),
            other => Err(at.unknown("ratchet tree representation", other)),
        }
    }
}

wire_codes! {
    /// `UpdateResponseCode`.
    UpdateResponseCode, "update response code" {
        /// Accepted, and from now on in force.
        Success = 0,
        /// Made in another epoch than the hub is in.
        WrongEpoch = 1,
        /// Against the room's policy, or the sender isn't in the room.
        NotAllowed = 2,
        /// A proposal in it is not valid.
        InvalidProposal = 3,
    }
}

/// `UpdateRoomResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpdateRoomResponse {
    /// For people; may be empty.
    pub error_description: String,
    /// What became of the request.
    pub outcome: UpdateOutcome,
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum UpdateOutcome {
    /// Accepted.
    Success {
        /// When the hub accepted it.
        accepted_timestamp: UnixMillis,
    },
    /// Made in another epoch.
    WrongEpoch {
        /// The epoch the group is in.
        current_epoch: Epoch,
    },
    /// Against policy.
    NotAllowed,
    /// Not valid.
    InvalidProposal {
        /// Which proposals.
        invalid_proposals: Vec<ProposalRef>,
    },
}

impl UpdateOutcome {
    /// The code on the wire.
    pub fn code(&self) -> UpdateResponseCode {
        match self {
            Self::Success { .. } => UpdateResponseCode::Success,
            Self::WrongEpoch { .. } => UpdateResponseCode::WrongEpoch,
            Self::NotAllowed => UpdateResponseCode::NotAllowed,
            Self::InvalidProposal { .. } => UpdateResponseCode::InvalidProposal,
        }
    }
}

impl Encode for UpdateRoomResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        self.outcome.code().encode(out);
        self.error_description.encode(out);
        match &self.outcome {
            UpdateOutcome::Success { accepted_timestamp } => accepted_timestamp.encode(out),
            UpdateOutcome::WrongEpoch { current_epoch } => current_epoch.encode(out),
            UpdateOutcome::NotAllowed => {}
            UpdateOutcome::InvalidProposal { invalid_proposals } => invalid_proposals.encode(out),
        }
    }
}

impl Decode for UpdateRoomResponse {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = UpdateResponseCode::decode(r.field("UpdateRoomResponse.responseCode"))?;
        let error_description = String::decode(r.field("UpdateRoomResponse.errorDescription"))?;
        let outcome = match code {
            UpdateResponseCode::Success => UpdateOutcome::Success {
                accepted_timestamp: UnixMillis::decode(r.field("UpdateRoomResponse.accepted_timestamp"))?,
            },
            UpdateResponseCode::WrongEpoch => UpdateOutcome::WrongEpoch {
                current_epoch: Epoch::decode(r.field("UpdateRoomResponse.currentEpoch"))?,
            },
            UpdateResponseCode::NotAllowed => UpdateOutcome::NotAllowed,
            UpdateResponseCode::InvalidProposal => UpdateOutcome::InvalidProposal {
                invalid_proposals: Vec::decode(r.field("UpdateRoomResponse.invalidProposals"))?,
            },
        };
        Ok(Self {
            error_description,
            outcome,
        })
    }
}
