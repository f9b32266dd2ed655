//! What a judgement comes to, and applying it.

use super::storage::Discard;
use super::{Group, PendingProposal};
use crate::crypto;
use crate::identity::Client;
use crate::roster::Participants;
use mimi_wire::components::RoleIndex;
use mimi_wire::mls::{Epoch, KeyPackageRef, MlsMessage};
use mimi_wire::{Domain, MimiUri};
use openmls::group::StagedCommit;
use openmls::prelude::{LeafNodeIndex, ProcessedMessageContent, ProtocolMessage};
use std::collections::BTreeSet;

/// An accepted handshake. Nothing has changed yet: see [`Group::apply`].
#[derive(Debug)]
pub enum Judged {
    /// A commit.
    Commit(Box<JudgedCommit>),
    /// Proposals that take effect at once and wait for a commit.
    Proposals(JudgedProposals),
}

/// One change of the participant list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantChange {
    /// Whose.
    pub user: MimiUri,
    /// The role before, [`RoleIndex::NONE`] for somebody new.
    pub from: RoleIndex,
    /// The role after, [`RoleIndex::NONE`] for somebody who goes.
    pub to: RoleIndex,
}

/// A client that a commit brings into the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedClient {
    /// The client.
    pub client: Client,
    /// The KeyPackage it was added with. `None` for one that joined by external commit.
    pub key_package: Option<KeyPackageRef>,
}

/// An accepted commit.
#[derive(Debug)]
pub struct JudgedCommit {
    /// The epoch it ends.
    pub previous_epoch: Epoch,
    /// The epoch it starts.
    pub new_epoch: Epoch,
    /// The client that made it.
    pub committer: Client,
    /// Whether the committer came in by this very commit.
    pub external: bool,
    /// Changes of the participant list.
    pub participants: Vec<ParticipantChange>,
    /// Clients that come into the tree.
    pub added: Vec<AddedClient>,
    /// Clients that go.
    pub removed: Vec<Client>,
    /// The Welcome for the added clients: the bare struct's octets.
    pub welcome: Option<Vec<u8>>,
    /// Removals that the commit made void and that the hub proposes anew for the new epoch. They are to be
    /// stapled to the commit when it is sent around (`externalProposals`).
    pub external_proposals: Vec<MlsMessage>,
    /// Providers with clients before the commit: the commit goes to these.
    pub providers_before: BTreeSet<Domain>,
    /// Providers with clients after it.
    pub providers_after: BTreeSet<Domain>,
    /// When the hub accepted it, in milliseconds since the UNIX epoch.
    pub accepted_ms: u64,
    pub(super) staged: StagedCommit,
    pub(super) removed_leaves: Vec<u32>,
    /// Whether components change that the policy is made of, beside the list.
    pub(super) policy_changed: bool,
    /// The list after the commit, if the commit changes it.
    pub(super) list: Option<Participants>,
    pub(super) departing: BTreeSet<MimiUri>,
    pub(super) group_info: Vec<u8>,
}

/// Accepted proposals.
#[derive(Debug)]
pub struct JudgedProposals {
    /// The epoch they are for.
    pub epoch: Epoch,
    /// Who proposes; `None` for the hub itself.
    pub sender: Option<Client>,
    /// The proposals in their order. Empty where a user without clients is removed.
    pub proposals: Vec<PendingProposal>,
    /// Users who are out of the effective participant list from now on.
    pub departing: Vec<MimiUri>,
    /// Clients whose removal is pending from now on.
    pub removed: Vec<Client>,
    /// Providers the proposals go to.
    pub providers_before: BTreeSet<Domain>,
    /// Providers that get application messages from now on.
    pub providers_after: BTreeSet<Domain>,
    /// When the hub accepted them, in milliseconds since the UNIX epoch.
    pub accepted_ms: u64,
}

/// A verdict can't be applied. The group is to be dropped and loaded again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// It was passed on the group in another state.
    #[error("the verdict is for epoch {verdict}, the group is in {group}")]
    OtherEpoch {
        /// The verdict's.
        verdict: Epoch,
        /// The group's.
        group: Epoch,
    },
    /// A component of the new epoch doesn't decode, though it did when it was judged.
    #[error("component {0:#06x} of the new epoch does not decode")]
    Component(u16),
    /// The tree of the new epoch has a leaf that is no client.
    #[error("the new tree: {0}")]
    Leaves(String),
    /// openmls refuses what it judged valid.
    #[error("MLS: {0}")]
    Mls(String),
}

impl Group {
    /// Makes an accepted handshake true.
    ///
    /// An error means a broken invariant, not a broken message; the group may then be half changed and has to be
    /// dropped and [restored](Group::restore).
    pub fn apply(&mut self, judged: Judged) -> Result<(), ApplyError> {
        match judged {
            Judged::Commit(commit) => self.apply_commit(*commit),
            Judged::Proposals(judged) => self.apply_proposals(judged),
        }
    }

    fn check_epoch(&self, verdict: Epoch) -> Result<(), ApplyError> {
        let group = self.epoch();
        if verdict == group {
            Ok(())
        } else {
            Err(ApplyError::OtherEpoch { verdict, group })
        }
    }

    fn apply_commit(&mut self, commit: JudgedCommit) -> Result<(), ApplyError> {
        self.check_epoch(commit.previous_epoch)?;
        let affected: BTreeSet<MimiUri> = commit
            .participants
            .iter()
            .map(|change| &change.user)
            .chain(commit.added.iter().map(|added| added.client.user()))
            .chain(commit.removed.iter().map(Client::user))
            .chain(&self.departing)
            .cloned()
            .collect();
        self.mls
            .merge_commit(&Discard, commit.staged)
            .map_err(|error| ApplyError::Mls(error.to_string()))?;
        for leaf in commit.removed_leaves {
            self.leaves.remove(LeafNodeIndex::new(leaf));
        }
        if !commit.added.is_empty() {
            self.find_new_leaves()?;
        }
        if let Some(list) = commit.list {
            self.participants = list;
        }
        self.departing = commit.departing;
        self.served_group_info = commit.group_info;
        self.pending.clear();
        for message in commit.external_proposals {
            let proposal = self.own_proposal(message, commit.accepted_ms)?;
            self.queue(proposal)?;
        }
        if commit.policy_changed {
            return self.reload_policy();
        }
        self.refresh_policy(&affected);
        Ok(())
    }

    fn apply_proposals(&mut self, judged: JudgedProposals) -> Result<(), ApplyError> {
        self.check_epoch(judged.epoch)?;
        for proposal in judged.proposals {
            self.queue(proposal)?;
        }
        self.departing.extend(judged.departing.iter().cloned());
        let removed = judged.removed.iter().map(Client::user).cloned();
        self.refresh_policy(&judged.departing.into_iter().chain(removed).collect());
        Ok(())
    }

    fn queue(&mut self, proposal: PendingProposal) -> Result<(), ApplyError> {
        self.mls
            .add_proposal(&Discard, proposal.queued.clone())
            .map_err(|error| ApplyError::Mls(error.to_string()))?;
        self.pending.push(proposal);
        Ok(())
    }

    /// openmls chooses the leaves of added clients, so they are looked for after the merge.
    fn find_new_leaves(&mut self) -> Result<(), ApplyError> {
        let unknown = |error: &dyn std::fmt::Display| ApplyError::Leaves(error.to_string());
        for (index, leaf) in self.mls.treesync().full_leaves() {
            if self.leaves.client(index).is_none() {
                let client = Client::of_credential(leaf.credential()).map_err(|e| unknown(&e))?;
                self.leaves.insert(index, client).map_err(|e| unknown(&e))?;
            }
        }
        Ok(())
    }

    /// A proposal this hub made for the current epoch, as openmls wants it for its store.
    pub(super) fn own_proposal(
        &self,
        message: MlsMessage,
        accepted_ms: u64,
    ) -> Result<PendingProposal, ApplyError> {
        let broken = |what: &dyn std::fmt::Display| ApplyError::Mls(what.to_string());
        let parsed: ProtocolMessage =
            super::judge::parse(&message).ok_or_else(|| broken(&"an own proposal does not decode"))?;
        let processed = self
            .mls
            .process_message(crypto::provider(), parsed)
            .map_err(|error| broken(&error))?;
        let ProcessedMessageContent::ProposalMessage(queued) = processed.into_content() else {
            return Err(broken(&"an own proposal is none"));
        };
        PendingProposal::new(message, accepted_ms, *queued)
            .ok_or_else(|| broken(&"an own proposal has no effect"))
    }
}
