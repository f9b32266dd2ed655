//! Proposals that were accepted and wait for a commit.

use mimi_wire::mls::{AppDataUpdate, Content, MlsMessage, Proposal, ProposalRef};
use mimi_wire::{Decode, MimiUri};
use openmls::group::QueuedProposal;

/// An accepted proposal of the current epoch.
#[derive(Debug, Clone)]
pub struct PendingProposal {
    pub(super) message: MlsMessage,
    pub(super) reference: ProposalRef,
    pub(super) accepted_ms: u64,
    pub(super) effect: Effect,
    pub(super) queued: QueuedProposal,
}

/// What an accepted proposal will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Takes a leaf out of the tree.
    Removes { leaf: u32, self_remove: bool },
    /// Changes a component.
    Updates(AppDataUpdate),
}

impl PendingProposal {
    /// The proposal as it is sent around.
    pub fn message(&self) -> &MlsMessage {
        &self.message
    }

    /// How commits refer to it.
    pub fn reference(&self) -> &ProposalRef {
        &self.reference
    }

    /// When the hub accepted it, in milliseconds since the UNIX epoch.
    pub fn accepted_ms(&self) -> u64 {
        self.accepted_ms
    }

    pub(super) fn new(message: MlsMessage, accepted_ms: u64, queued: QueuedProposal) -> Option<Self> {
        let public = message.public_message()?;
        let Content::Proposal(proposal) = public.content else {
            return None;
        };
        let effect = match *proposal {
            Proposal::Remove { removed } => Effect::Removes {
                leaf: removed,
                self_remove: false,
            },
            Proposal::SelfRemove => match public.sender {
                mimi_wire::mls::Sender::Member { leaf_index } => Effect::Removes {
                    leaf: leaf_index,
                    self_remove: true,
                },
                _ => return None,
            },
            Proposal::AppDataUpdate(update) => Effect::Updates(update),
            _ => return None,
        };
        let reference = ProposalRef::from(queued.proposal_reference_ref().as_slice());
        Some(Self {
            message,
            reference,
            accepted_ms,
            effect,
            queued,
        })
    }

    pub(super) fn from_parts(message: &[u8], accepted_ms: u64, queued: QueuedProposal) -> Option<Self> {
        Self::new(MlsMessage::from_bytes(message).ok()?, accepted_ms, queued)
    }

    /// The leaf it removes.
    pub(super) fn removed_leaf(&self) -> Option<u32> {
        match self.effect {
            Effect::Removes { leaf, .. } => Some(leaf),
            Effect::Updates(_) => None,
        }
    }
}

impl super::Group {
    /// The pending removal of a leaf.
    pub(super) fn pending_removal(&self, leaf: u32) -> Option<&PendingProposal> {
        self.pending
            .iter()
            .find(|pending| pending.removed_leaf() == Some(leaf))
    }

    /// Whether somebody is on the way out, or a client of theirs is.
    pub(super) fn is_leaving(&self, leaf: u32, user: &MimiUri) -> bool {
        self.departing.contains(user) || self.pending_removal(leaf).is_some()
    }
}
