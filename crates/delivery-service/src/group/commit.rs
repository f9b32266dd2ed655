//! Reading a commit: what it would do to participants and clients, and whether that is consistent.
//!
//! This looks at the commit before openmls does: what is cheap comes first.

use super::components::ComponentChanges;
use super::pending::Effect;
use super::policy::takes_part;
use super::{AddedClient, Group, View};
use crate::identity::{Client, IdentityError};
use crate::refusal::{NotAllowed, ProposalFault, UpdateRefusal};
use crate::roster::{LeavesError, ListChange};
use mimi_wire::components::{ComponentsList, component_id};
use mimi_wire::mls::{
    AppDataUpdate, Commit, Credential, Extension, KeyPackageRef, LeafNode, Proposal, ProposalOrRef,
    ProposalRef, PublicMessage, Sender, Welcome,
};
use mimi_wire::{Decode, Domain, MimiUri};
use openmls::prelude::LeafNodeIndex;
use std::collections::{BTreeSet, HashMap};

/// Where a part of a commit comes from, and so whose rights it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A proposal that was judged when it was accepted.
    Accepted,
    /// The committer.
    Committer,
}

/// A leaf that a commit takes out.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    pub(super) leaf: u32,
    pub(super) client: Client,
    pub(super) origin: Origin,
}

/// A commit as far as MIMI goes.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) committer: Client,
    /// The committer's leaf; `None` if it comes in by this commit.
    pub(super) leaf: Option<u32>,
    pub(super) adds: Vec<AddedClient>,
    pub(super) removals: Vec<Removal>,
    pub(super) removed_leaves: BTreeSet<u32>,
    pub(super) components: ComponentChanges<Origin>,
}

impl Draft {
    pub(super) fn is_external(&self) -> bool {
        self.leaf.is_none()
    }

    pub(super) fn removes(&self, leaf: u32) -> bool {
        self.removed_leaves.contains(&leaf)
    }

    /// How many clients are added, by user.
    pub(super) fn clients_added(&self) -> HashMap<&MimiUri, u32> {
        let mut added: HashMap<&MimiUri, u32> = HashMap::new();
        for client in self.adds.iter().map(|added| &added.client) {
            let count = added.entry(client.user()).or_default();
            *count = count.saturating_add(1);
        }
        added
    }

    /// The users whose change of role is of a certain kind.
    pub(super) fn changed_users(
        &self,
        wanted: impl Fn(&ListChange<Origin>) -> bool,
    ) -> impl Iterator<Item = &MimiUri> {
        let changes = self.components.list_changes.iter();
        changes
            .filter(move |change| wanted(change))
            .map(|change| &change.user)
    }

    /// The clients that come in, the committer of an external commit among them.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &Client> {
        let joiner = self.is_external().then_some(&self.committer);
        self.adds.iter().map(|added| &added.client).chain(joiner)
    }
}

fn client_of(credential: &Credential) -> Result<Client, IdentityError> {
    let identity = credential.identity().ok_or(IdentityError::NotBasic)?;
    Client::new(MimiUri::try_from(identity).map_err(|_| IdentityError::NotAClientUri)?)
}

impl Group {
    /// The client of a leaf, if its provider is the one that speaks.
    pub(super) fn sender_client(&self, actor: &Domain, leaf: u32) -> Result<&Client, NotAllowed> {
        let client = self
            .leaves
            .client(LeafNodeIndex::new(leaf))
            .ok_or(NotAllowed::SenderType)?;
        if client.uri().domain() == *actor {
            Ok(client)
        } else {
            Err(NotAllowed::NotYourClient)
        }
    }

    /// Who commits. Checks that this is somebody who may commit at all.
    fn committer(
        &self,
        actor: &Domain,
        sender: Sender,
        commit: &Commit,
    ) -> Result<(Client, Option<u32>), UpdateRefusal> {
        let path = commit.path.as_ref().map(|path| &path.leaf_node);
        let (client, leaf) = match (sender, path) {
            (Sender::Member { leaf_index }, _) => {
                (self.sender_client(actor, leaf_index)?.clone(), Some(leaf_index))
            }
            (Sender::NewMemberCommit, Some(leaf_node)) => {
                let client = client_of(&leaf_node.credential)?;
                if client.uri().domain() != *actor {
                    return Err(NotAllowed::NotYourClient.into());
                }
                (client, None)
            }
            (Sender::NewMemberCommit, None) => return Err(malformed("an external commit has a path")),
            (Sender::External { .. } | Sender::NewMemberProposal, _) => {
                return Err(NotAllowed::SenderType.into());
            }
        };
        let departed = self.departing.contains(client.user())
            || leaf.is_some_and(|leaf| self.pending_removal(leaf).is_some());
        if departed {
            return Err(NotAllowed::Departed(client.user().clone()).into());
        }
        if !self.is_participant(client.user(), View::Effective) {
            return Err(NotAllowed::NotAParticipant(client.user().clone()).into());
        }
        if let Some(leaf_node) = path {
            self.check_path_leaf(&client, leaf, leaf_node)?;
        }
        Ok((client, leaf))
    }

    fn check_path_leaf(
        &self,
        client: &Client,
        leaf: Option<u32>,
        leaf_node: &LeafNode,
    ) -> Result<(), UpdateRefusal> {
        if client_of(&leaf_node.credential)? != *client {
            return Err(NotAllowed::IdentityChanged.into());
        }
        // openmls compares signature keys of added KeyPackages only. The client's own former leaf may have the
        // key: that is the leaf a resync replaces.
        let taken = self.mls.treesync().full_leaves().any(|(index, member)| {
            member.signature_key().as_slice() == leaf_node.signature_key.as_bytes()
                && Some(index.u32()) != leaf
                && self.leaves.client(index) != Some(client)
        });
        if taken {
            Err(NotAllowed::SignatureKeyInUse.into())
        } else {
            Ok(())
        }
    }

    /// Reads what a commit does. The signature has not been looked at.
    pub(super) fn read_commit(
        &self,
        actor: &Domain,
        message: &PublicMessage,
        commit: &Commit,
    ) -> Result<Draft, UpdateRefusal> {
        let (committer, leaf) = self.committer(actor, message.sender, commit)?;
        self.check_references(commit)?;

        let mut adds = Vec::new();
        let mut removals = Vec::new();
        let mut updates: Vec<(&AppDataUpdate, Origin)> = Vec::new();
        for item in &commit.proposals {
            match item {
                ProposalOrRef::Proposal(Proposal::Add(key_package)) => {
                    let content = key_package.content();
                    let client = client_of(&content.leaf_node.credential)?;
                    self.check_components_supported(&content.leaf_node)?;
                    adds.push(AddedClient {
                        client,
                        key_package: Some(key_package.reference().ok_or(malformed("KeyPackage"))?),
                    });
                }
                ProposalOrRef::Proposal(Proposal::Remove { removed }) => {
                    removals.push(self.removal(*removed, Origin::Committer)?);
                }
                ProposalOrRef::Proposal(Proposal::AppDataUpdate(update)) => {
                    updates.push((update, Origin::Committer));
                }
                ProposalOrRef::Proposal(Proposal::ExternalInit { .. } | Proposal::AppEphemeral(_)) => {}
                ProposalOrRef::Proposal(other) => {
                    return Err(NotAllowed::ProposalType(other.proposal_type()).into());
                }
                ProposalOrRef::Reference(reference) => match self.accepted(reference).map(|p| &p.effect) {
                    Some(Effect::Removes { leaf, .. }) => {
                        removals.push(self.removal(*leaf, Origin::Accepted)?);
                    }
                    Some(Effect::Updates(update)) => updates.push((update, Origin::Accepted)),
                    None => {}
                },
            }
        }
        if let Some(path) = &commit.path {
            self.check_components_supported(&path.leaf_node)?;
        }
        let components = self.component_changes(updates.into_iter())?;
        let removed_leaves: BTreeSet<u32> = removals.iter().map(|removal| removal.leaf).collect();
        if removed_leaves.len() != removals.len() {
            let reason = ProposalFault::Repeated;
            return Err(UpdateRefusal::InvalidProposal {
                refs: Vec::new(),
                reason,
            });
        }
        let draft = Draft {
            committer,
            leaf,
            adds,
            removals,
            removed_leaves,
            components,
        };
        self.check_pending(&draft)?;
        self.check_clients(&draft)?;
        Ok(draft)
    }

    fn accepted(&self, reference: &ProposalRef) -> Option<&super::PendingProposal> {
        self.pending
            .iter()
            .find(|pending| pending.reference == *reference)
    }

    /// Every proposal referred to must be one that the hub accepted in this epoch.
    fn check_references(&self, commit: &Commit) -> Result<(), UpdateRefusal> {
        let unknown: Vec<ProposalRef> = commit
            .proposals
            .iter()
            .filter_map(|item| match item {
                ProposalOrRef::Reference(reference) => Some(reference),
                ProposalOrRef::Proposal(_) => None,
            })
            .filter(|reference| self.accepted(reference).is_none())
            .cloned()
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(UpdateRefusal::InvalidProposal {
            refs: unknown,
            reason: ProposalFault::Unknown,
        })
    }

    fn removal(&self, leaf: u32, origin: Origin) -> Result<Removal, UpdateRefusal> {
        let client =
            self.leaves
                .client(LeafNodeIndex::new(leaf))
                .ok_or_else(|| UpdateRefusal::InvalidProposal {
                    refs: Vec::new(),
                    reason: ProposalFault::Mls(format!("leaf {leaf} is blank")),
                })?;
        Ok(Removal {
            leaf,
            client: client.clone(),
            origin,
        })
    }

    /// What the group requires of every leaf (mls-extensions section 4.6: `app_components` in the leaf).
    fn check_components_supported(&self, leaf: &LeafNode) -> Result<(), UpdateRefusal> {
        let Some(required) = self.component(component_id::APP_COMPONENTS) else {
            return Ok(());
        };
        let required = ComponentsList::from_bytes(required)
            .map_err(|_| NotAllowed::ComponentData(component_id::APP_COMPONENTS))?;
        let supported = match Extension::app_data_dictionary(&leaf.extensions) {
            Some(Ok(dictionary)) => dictionary
                .get_as::<ComponentsList>(component_id::APP_COMPONENTS)
                .and_then(Result::ok),
            _ => None,
        }
        .unwrap_or_default();
        let supported: BTreeSet<u16> = supported.component_ids.into_iter().collect();
        match required.component_ids.iter().find(|id| !supported.contains(id)) {
            Some(missing) => Err(NotAllowed::ComponentUnsupported(*missing).into()),
            None => Ok(()),
        }
    }

    /// All accepted removals are carried out. An external commit can only refer to SelfRemove proposals (RFC 9420
    /// section 12.4.3.2 as amended by mls-extensions); what else it leaves out the hub proposes again.
    fn check_pending(&self, draft: &Draft) -> Result<(), UpdateRefusal> {
        for pending in &self.pending {
            let Effect::Removes { leaf, self_remove } = pending.effect else {
                continue;
            };
            if (self_remove || !draft.is_external()) && !draft.removes(leaf) {
                let client = self.leaves.client(LeafNodeIndex::new(leaf));
                let who = client.map_or(&self.room, Client::uri);
                return Err(NotAllowed::PendingLeftOut(who.clone()).into());
            }
        }
        if draft.is_external() {
            return Ok(());
        }
        let list = draft
            .components
            .participants
            .as_ref()
            .unwrap_or(&self.participants);
        match self.departing.iter().find(|user| takes_part(list.role(user))) {
            Some(user) => Err(NotAllowed::PendingLeftOut(user.clone()).into()),
            None => Ok(()),
        }
    }

    /// After the commit each client has one leaf and a user who takes part, and whoever is out has none.
    fn check_clients(&self, draft: &Draft) -> Result<(), UpdateRefusal> {
        let mut coming = BTreeSet::new();
        for client in draft.newcomers() {
            let stays = self
                .leaves
                .leaf_of(client.uri())
                .is_some_and(|leaf| !draft.removes(leaf.u32()));
            if stays || !coming.insert(client.uri()) {
                return Err(NotAllowed::Leaves(LeavesError::Duplicate(client.uri().clone())).into());
            }
            if self.departing.contains(client.user()) {
                return Err(NotAllowed::NotAParticipant(client.user().clone()).into());
            }
        }
        let list = draft
            .components
            .participants
            .as_ref()
            .unwrap_or(&self.participants);
        let newcomers = draft.newcomers().map(Client::user);
        let changed = draft.components.list_changes.iter().map(|change| &change.user);
        let mut affected: Vec<&MimiUri> = newcomers.chain(changed).collect();
        affected.sort_unstable();
        affected.dedup();
        let coming: BTreeSet<&MimiUri> = draft.newcomers().map(Client::user).collect();
        for user in affected {
            let keeps = self
                .leaves
                .of_user(user)
                .any(|(leaf, _)| !draft.removes(leaf.u32()));
            if takes_part(list.role(user)) || !(keeps || coming.contains(user)) {
                continue;
            }
            let fault = if keeps {
                NotAllowed::ClientsRemain(user.clone())
            } else {
                NotAllowed::ClientsWithoutParticipant(user.clone())
            };
            return Err(fault.into());
        }
        Ok(())
    }
}

/// A Welcome is for the added clients, each once, and for nobody else.
pub(super) fn check_welcome(draft: &Draft, welcome: Option<&Welcome>) -> Result<(), NotAllowed> {
    let mut added: Vec<&KeyPackageRef> = draft
        .adds
        .iter()
        .filter_map(|added| added.key_package.as_ref())
        .collect();
    let mut welcomed: Vec<&KeyPackageRef> = welcome
        .map(|welcome| welcome.key_package_refs().iter().collect())
        .unwrap_or_default();
    added.sort_unstable();
    welcomed.sort_unstable();
    if added == welcomed && welcome.is_some() != added.is_empty() {
        Ok(())
    } else {
        Err(NotAllowed::Welcome)
    }
}

pub(super) fn malformed(what: &'static str) -> UpdateRefusal {
    UpdateRefusal::Malformed { what }
}
