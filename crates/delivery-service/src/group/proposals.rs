//! Proposals outside a commit: somebody leaves, or takes out clients of their own.

use super::components::ComponentUpdate;
use super::judge::{mls, parse, refusal};
use super::pending::Effect;
use super::{Group, JudgedProposals, PendingProposal, View};
use crate::crypto;
use crate::identity::Client;
use crate::refusal::{NotAllowed, ProposalFault, UpdateRefusal};
use mimi_wire::components::ParticipantListUpdate;
use mimi_wire::mls::{MlsMessage, ProposalRef, Sender};
use mimi_wire::policy::Action;
use mimi_wire::{Domain, MimiUri};
use openmls::prelude::{LeafNodeIndex, ProcessedMessageContent};
use std::collections::BTreeSet;

fn invalid(reference: &ProposalRef, reason: ProposalFault) -> UpdateRefusal {
    UpdateRefusal::InvalidProposal {
        refs: vec![reference.clone()],
        reason,
    }
}

impl Group {
    /// Judges proposals that a member's provider sends on their own. Accepted are SelfRemove, Remove of clients of
    /// the sender's user, and the AppDataUpdate that takes that user out of the participant list.
    pub(super) fn judge_proposals(
        &self,
        actor: &Domain,
        messages: &[&MlsMessage],
        now_ms: u64,
    ) -> Result<JudgedProposals, UpdateRefusal> {
        let mut sender: Option<(u32, Client)> = None;
        let mut proposals: Vec<PendingProposal> = Vec::new();
        let mut leaves = BTreeSet::new();
        let mut leaves_list = false;
        for message in messages {
            let public = self.check_framing(message)?;
            let Sender::Member { leaf_index } = public.sender else {
                return Err(NotAllowed::SenderType.into());
            };
            let client = self.sender_client(actor, leaf_index)?;
            let proposal = self.process_proposal(message, now_ms)?;
            let reference = &proposal.reference;
            match &sender {
                Some((leaf, _)) if *leaf != leaf_index => {
                    return Err(invalid(reference, ProposalFault::MixedSenders));
                }
                Some(_) => {}
                None => sender = Some((leaf_index, client.clone())),
            }
            match &proposal.effect {
                Effect::Removes { leaf, .. } => {
                    let owner = self.leaves.client(LeafNodeIndex::new(*leaf)).map(Client::user);
                    if owner != Some(client.user()) {
                        return Err(invalid(reference, ProposalFault::NotOwn));
                    }
                    if self.pending_removal(*leaf).is_some() || !leaves.insert(*leaf) {
                        return Err(invalid(reference, ProposalFault::Repeated));
                    }
                }
                Effect::Updates(update) => {
                    let ComponentUpdate::Participants(list) = ComponentUpdate::decode(update)? else {
                        return Err(invalid(reference, ProposalFault::NotStandalone));
                    };
                    if !self.removes_only(&list, client.user()) {
                        return Err(invalid(reference, ProposalFault::NotOwn));
                    }
                    if self.departing.contains(client.user()) || leaves_list {
                        return Err(invalid(reference, ProposalFault::Repeated));
                    }
                    leaves_list = true;
                }
            }
            proposals.push(proposal);
        }
        let Some((_, sender)) = sender else {
            return Err(super::commit::malformed("no proposal"));
        };
        let user = sender.user().clone();
        self.check_leaving(&user, leaves_list, &leaves, &proposals)?;

        let departing: Vec<MimiUri> = leaves_list.then(|| user.clone()).into_iter().collect();
        let removed = leaves
            .iter()
            .filter_map(|leaf| self.leaves.client(LeafNodeIndex::new(*leaf)).cloned())
            .collect();
        Ok(JudgedProposals {
            epoch: self.epoch(),
            sender: Some(sender),
            proposals,
            providers_before: self.providers(View::Committed),
            providers_after: self
                .leaves
                .providers_without(self.departing.iter().chain(&departing)),
            departing,
            removed,
            accepted_ms: now_ms,
        })
    }

    /// Who leaves the list takes all own clients along; both need the right to.
    fn check_leaving(
        &self,
        user: &MimiUri,
        leaves_list: bool,
        leaves: &BTreeSet<u32>,
        proposals: &[PendingProposal],
    ) -> Result<(), UpdateRefusal> {
        if !leaves_list {
            // Somebody on the way out may still take out own clients (protocol section 5.3).
            return if self.departing.contains(user) {
                Ok(())
            } else {
                let clients = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
                let right = self.check_right(user, &Action::RemoveOwnClient { clients });
                Ok(right.map_err(NotAllowed::from)?)
            };
        }
        self.check_right(user, &Action::Leave).map_err(NotAllowed::from)?;
        let all_go = self
            .leaves
            .of_user(user)
            .all(|(leaf, _)| leaves.contains(&leaf.u32()) || self.pending_removal(leaf.u32()).is_some());
        if all_go {
            return Ok(());
        }
        let updates = proposals
            .iter()
            .filter(|p| matches!(p.effect, Effect::Updates(_)));
        Err(UpdateRefusal::InvalidProposal {
            refs: updates.map(|proposal| proposal.reference.clone()).collect(),
            reason: ProposalFault::ClientsRemain,
        })
    }

    fn process_proposal(&self, message: &MlsMessage, now_ms: u64) -> Result<PendingProposal, UpdateRefusal> {
        let parsed = parse(message).ok_or(super::commit::malformed("PublicMessage"))?;
        let processed = self
            .mls
            .process_message(crypto::provider(), parsed)
            .map_err(refusal)?;
        let ProcessedMessageContent::ProposalMessage(queued) = processed.into_content() else {
            return Err(super::commit::malformed("not a proposal"));
        };
        let reference = ProposalRef::from(queued.proposal_reference_ref().as_slice());
        let proposal_type = queued.proposal().proposal_type();
        PendingProposal::new(message.clone(), now_ms, *queued).ok_or_else(|| match proposal_type {
            openmls::prelude::ProposalType::Custom(_) => mls(&"unknown proposal type"),
            _ => invalid(&reference, ProposalFault::NotStandalone),
        })
    }

    /// Whether an update takes this user out of the list and does nothing else.
    fn removes_only(&self, update: &ParticipantListUpdate, user: &MimiUri) -> bool {
        let [index] = update.removed_indices.as_slice() else {
            return false;
        };
        update.changed_role_participants.is_empty()
            && update.added_participants.is_empty()
            && self
                .participants
                .data()
                .get(*index)
                .is_some_and(|entry| entry.user == *user)
    }
}
