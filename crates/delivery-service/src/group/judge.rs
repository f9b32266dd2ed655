//! Judging a handshake: draft-ietf-mimi-protocol-06 section 5.3.

use super::commit::{check_welcome, malformed};
use super::group_info::{Expected, check_tree};
use super::policy::takes_part;
use super::{AddedClient, Group, Judged, JudgedCommit, ParticipantChange, View};
use crate::crypto;
use crate::hub::HubIdentity;
use crate::identity::Client;
use crate::refusal::{NotAllowed, ProposalFault, UpdateRefusal};
use mimi_wire::components::component_id;
use mimi_wire::mls::{Commit, Content, ContentType, MlsMessage, PublicMessage, WireFormat};
use mimi_wire::protocol::{BundleBody, HandshakeBundle};
use mimi_wire::{Domain, MimiUri};
use openmls::group::{PublicProcessMessageError, StageCommitError, StagedCommit};
use openmls::prelude::{LeafNodeIndex, MlsMessageIn, ProcessedMessageContent, ProtocolMessage};
use std::collections::BTreeSet;
use tls_codec::DeserializeBytes as _;

/// The message as openmls takes it.
pub(super) fn parse(message: &MlsMessage) -> Option<ProtocolMessage> {
    MlsMessageIn::tls_deserialize_exact_bytes(message.as_bytes())
        .ok()?
        .try_into_protocol_message()
        .ok()
}

impl Group {
    /// Judges a commit or a list of proposals that the provider `actor`, authenticated, sent to the hub. The group
    /// does not change; [`Group::apply`] makes the verdict true.
    ///
    /// `now_ms` is when the hub accepts it if it does. openmls checks the lifetimes of added KeyPackages against
    /// the clock of the system, once, here.
    pub fn judge(
        &self,
        hub: &HubIdentity,
        actor: &Domain,
        bundle: &HandshakeBundle,
        now_ms: u64,
    ) -> Result<Judged, UpdateRefusal> {
        let message = bundle.proposal_or_commit();
        let public = self.check_framing(message)?;
        match (bundle.body(), &public.content) {
            (BundleBody::Commit { .. }, Content::Commit(commit)) => {
                let judged = self.judge_commit(hub, actor, bundle, &public, commit, now_ms)?;
                Ok(Judged::Commit(Box::new(judged)))
            }
            (BundleBody::Proposal { more_proposals }, Content::Proposal(_)) => {
                let messages: Vec<&MlsMessage> = std::iter::once(message).chain(more_proposals).collect();
                self.judge_proposals(actor, &messages, now_ms)
                    .map(Judged::Proposals)
            }
            _ => Err(malformed("the bundle does not fit its message")),
        }
    }

    /// What must be right before anything else is looked at: form, group, epoch.
    pub(super) fn check_framing(&self, message: &MlsMessage) -> Result<PublicMessage, UpdateRefusal> {
        if message
            .content_type()
            .is_none_or(|content| content == ContentType::Application)
        {
            return Err(malformed("not a handshake message"));
        }
        if message.wire_format() != WireFormat::PublicMessage {
            return Err(NotAllowed::NotPublic.into());
        }
        let public = message.public_message().ok_or(malformed("PublicMessage"))?;
        if public.group_id.as_bytes() != self.mls.group_id().as_slice() {
            return Err(NotAllowed::WrongGroup.into());
        }
        if public.epoch != self.epoch() {
            return Err(UpdateRefusal::WrongEpoch {
                current: self.epoch(),
            });
        }
        Ok(public)
    }

    fn judge_commit(
        &self,
        hub: &HubIdentity,
        actor: &Domain,
        bundle: &HandshakeBundle,
        public: &PublicMessage,
        commit: &Commit,
        now_ms: u64,
    ) -> Result<JudgedCommit, UpdateRefusal> {
        let BundleBody::Commit {
            welcome,
            group_info_option,
            ratchet_tree_option,
        } = bundle.body()
        else {
            return Err(malformed("a commit needs a commit's bundle"));
        };
        let draft = self.read_commit(actor, public, commit)?;
        self.check_rights(&draft)?;
        check_welcome(&draft, welcome.as_ref())?;

        let staged = self.stage(bundle.proposal_or_commit(), &draft.components)?;

        let signer = match draft.leaf {
            Some(leaf) => LeafNodeIndex::new(leaf),
            None => self.mls.ext_commit_sender_index(&staged).map_err(|e| mls(&e))?,
        };
        let path_key = staged
            .update_path_leaf_node()
            .map(|leaf| leaf.signature_key().as_slice());
        let old_key = || self.mls.leaf(signer).map(|leaf| leaf.signature_key().as_slice());
        let expected = Expected {
            context: staged.group_context(),
            confirmation_tag: public.confirmation_tag.as_deref().unwrap_or_default(),
            signer: signer.u32(),
            signature_key: path_key.or_else(old_key).ok_or(NotAllowed::SenderType)?,
        };
        let group_info = expected.check(group_info_option)?;
        check_tree(staged.group_context(), ratchet_tree_option)?;

        let list = draft
            .components
            .participants
            .as_ref()
            .unwrap_or(&self.participants);
        let departing: BTreeSet<MimiUri> = self
            .departing
            .iter()
            .filter(|user| takes_part(list.role(user)))
            .cloned()
            .collect();
        let external_proposals = self.removals_to_repeat(hub, &draft, staged.epoch())?;
        let providers_after = self.providers_after(&draft, &departing);

        let mut added: Vec<AddedClient> = draft.adds;
        if draft.leaf.is_none() {
            added.push(AddedClient {
                client: draft.committer.clone(),
                key_package: None,
            });
        }
        Ok(JudgedCommit {
            previous_epoch: self.epoch(),
            new_epoch: mimi_wire::mls::Epoch(staged.epoch().as_u64()),
            committer: draft.committer,
            external: draft.leaf.is_none(),
            participants: draft
                .components
                .list_changes
                .into_iter()
                .map(|change| ParticipantChange {
                    user: change.user,
                    from: change.from,
                    to: change.to,
                })
                .collect(),
            added,
            removed: draft
                .removals
                .iter()
                .map(|removal| removal.client.clone())
                .collect(),
            welcome: welcome.as_ref().map(|welcome| welcome.as_bytes().to_vec()),
            external_proposals,
            providers_before: self.providers(View::Committed),
            providers_after,
            accepted_ms: now_ms,
            removed_leaves: draft.removals.iter().map(|removal| removal.leaf).collect(),
            policy_changed: draft.components.data.iter().any(|data| {
                !matches!(
                    data.id(),
                    component_id::PARTICIPANT_LIST | component_id::ROOM_METADATA
                )
            }),
            list: draft.components.participants,
            staged,
            departing,
            group_info,
        })
    }

    /// Lets openmls judge the commit, with what the components come to.
    fn stage(
        &self,
        message: &MlsMessage,
        components: &super::components::ComponentChanges<super::commit::Origin>,
    ) -> Result<StagedCommit, UpdateRefusal> {
        let parsed = parse(message).ok_or(malformed("PublicMessage"))?;
        let processed = self
            .mls
            .process_message(crypto::provider(), parsed)
            .map_err(refusal)?;
        match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => Ok(*staged),
            ProcessedMessageContent::UnresolvedAppDataCommit(unresolved) => {
                let mut updater = self.mls.app_data_dictionary_updater();
                for data in &components.data {
                    updater.set(data.clone());
                }
                self.mls
                    .stage_app_data_commit(crypto::provider(), *unresolved, updater.changes())
                    .map_err(stage_refusal)
            }
            _ => Err(malformed("not a commit")),
        }
    }

    /// The providers that have clients after a commit, without those of users on the way out.
    fn providers_after(
        &self,
        draft: &super::commit::Draft,
        departing: &BTreeSet<MimiUri>,
    ) -> BTreeSet<Domain> {
        let stays = |user: &MimiUri| {
            self.leaves
                .of_user(user)
                .any(|(leaf, _)| !draft.removes(leaf.u32()))
        };
        let removed = draft.removals.iter().map(|removal| removal.client.user());
        let gone = removed.filter(|user| !stays(user));
        let mut providers = self.leaves.providers_without(departing.iter().chain(gone));
        providers.extend(draft.newcomers().map(Client::user).map(MimiUri::domain));
        providers
    }
}

pub(super) fn mls(error: &dyn std::fmt::Display) -> UpdateRefusal {
    NotAllowed::Mls(error.to_string()).into()
}

pub(super) fn refusal(error: PublicProcessMessageError) -> UpdateRefusal {
    match error {
        PublicProcessMessageError::InvalidCommit(error) => stage_refusal(error),
        other => mls(&other),
    }
}

fn stage_refusal(error: StageCommitError) -> UpdateRefusal {
    let invalid = |reason| UpdateRefusal::InvalidProposal {
        refs: Vec::new(),
        reason,
    };
    match error {
        StageCommitError::MissingProposal => invalid(ProposalFault::Unknown),
        StageCommitError::ProposalValidationError(error) => invalid(ProposalFault::Mls(error.to_string())),
        StageCommitError::AppDataUpdateValidationError(error) => {
            invalid(ProposalFault::Mls(error.to_string()))
        }
        other => mls(&other),
    }
}
