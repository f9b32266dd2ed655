//! Removals that the hub proposes itself.

use super::commit::Draft;
use super::policy::takes_part;
use super::{Group, Judged, JudgedProposals, View};
use crate::hub::{HubIdentity, Signer};
use crate::identity::Client;
use crate::refusal::{NotAllowed, RemovalRefusal};
use crate::signing::Scheme;
use mimi_wire::codec::encode_opaque;
use mimi_wire::components::{SafeAad, proposal_type, wire_format};
use mimi_wire::mls::{ContentType, MLS10, MlsMessage, Sender};
use mimi_wire::{Decode, DecodeError, Encode, MimiUri};
use openmls::group::GroupEpoch;

impl Group {
    /// Takes a user out of the room on the hub's own authority: an external Remove for each of the user's clients.
    /// The user is out of the effective view as soon as the verdict is applied; the next member's commit has to
    /// carry the proposals and the update of the participant list (a hub can't propose that update:
    /// openmls clients refuse AppDataUpdate from outside the group).
    pub fn propose_removal(
        &self,
        hub: &HubIdentity,
        user: &MimiUri,
        now_ms: u64,
    ) -> Result<Judged, RemovalRefusal> {
        if !takes_part(self.effective_role(user)) {
            return Err(RemovalRefusal::NotAParticipant(user.clone()));
        }
        let sender = self.hub_signer(hub).ok_or(RemovalRefusal::NotExternalSender)?;
        let mut proposals = Vec::new();
        let mut removed: Vec<Client> = Vec::new();
        for (leaf, client) in self.leaves.of_user(user) {
            removed.push(client.clone());
            if self.pending_removal(leaf.u32()).is_some() {
                continue;
            }
            let message = self
                .external_remove(sender, self.mls.group_context().epoch(), leaf.u32())
                .map_err(|error| RemovalRefusal::Mls(error.to_string()))?;
            let proposal = self
                .own_proposal(message, now_ms)
                .map_err(|error| RemovalRefusal::Mls(error.to_string()))?;
            proposals.push(proposal);
        }
        Ok(Judged::Proposals(JudgedProposals {
            epoch: self.epoch(),
            sender: None,
            proposals,
            departing: vec![user.clone()],
            removed,
            providers_before: self.providers(View::Committed),
            providers_after: self.leaves.providers_without(self.departing.iter().chain([user])),
            accepted_ms: now_ms,
        }))
    }

    /// After an external commit the accepted removals that it could not carry are void with their epoch. The hub
    /// proposes them again for the new one.
    pub(super) fn removals_to_repeat(
        &self,
        hub: &HubIdentity,
        draft: &Draft,
        epoch: GroupEpoch,
    ) -> Result<Vec<MlsMessage>, NotAllowed> {
        let left_out: Vec<u32> = self
            .pending
            .iter()
            .filter_map(super::PendingProposal::removed_leaf)
            .filter(|leaf| !draft.removes(*leaf))
            .collect();
        if left_out.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |what: &dyn std::fmt::Display| NotAllowed::Mls(what.to_string());
        let sender = self
            .hub_signer(hub)
            .ok_or_else(|| failed(&"the hub is no external sender"))?;
        left_out
            .into_iter()
            .map(|leaf| {
                self.external_remove(sender, epoch, leaf)
                    .map_err(|error| failed(&error))
            })
            .collect()
    }

    /// The hub as one of this group's external senders, with the key that the group knows.
    pub(super) fn hub_signer<'h>(&self, hub: &'h HubIdentity) -> Option<(u32, Signer<'h>)> {
        let scheme = Scheme::of(self.cipher_suite())?;
        hub.signer_among(scheme, self.mls.group_context().extensions().external_senders()?)
    }

    /// A Remove signed by the hub. openmls can make one too, but leaves `authenticated_data` empty, which members
    /// of a group with Safe AAD refuse.
    fn external_remove(
        &self,
        (sender_index, signer): (u32, Signer<'_>),
        epoch: GroupEpoch,
        leaf: u32,
    ) -> Result<MlsMessage, DecodeError> {
        let context = self.mls.group_context();
        let mut message = Vec::new();
        MLS10.encode(&mut message);
        wire_format::PUBLIC_MESSAGE.encode(&mut message);
        encode_opaque(context.group_id().as_slice(), &mut message);
        epoch.as_u64().encode(&mut message);
        Sender::External { sender_index }.encode(&mut message);
        let aad = if context.safe_aad_required() {
            SafeAad::new().to_bytes()
        } else {
            Vec::new()
        };
        encode_opaque(&aad, &mut message);
        ContentType::Proposal.encode(&mut message);
        proposal_type::REMOVE.encode(&mut message);
        leaf.encode(&mut message);
        // FramedContentTBS is version, wire format and FramedContent; a group context follows for members only.
        let signature = signer.sign("FramedContentTBS", &message);
        encode_opaque(&signature, &mut message);
        MlsMessage::from_bytes(&message)
    }
}
