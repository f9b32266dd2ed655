//! Changing the group: an intent, the request that carries it, and its outcome.
//!
//! An intent stays until the group shows it. The request is built for the newest epoch we know, saved, and sent
//! until its outcome is known: from the hub's answer or from the feed, whichever comes first. If another commit
//! was first, a new request is built from the same intent.

use super::dictionary::{self, interpret, participants};
use super::plan::{Plan, has_client};
use super::proposals::forget_own_proposals;
use super::{Engine, load};
use crate::api::{B64, UpdateRequest};
use crate::error::ClientError;
use crate::mls::client_of;
use crate::state::{Addition, Change, Entry, Hash, Intent, Membership, Pending, Room, State, What};
use crate::wire::{self, KeyMaterial, UpdateAnswer};
use mimi_wire::MimiUri;
use mimi_wire::codec::Encode as _;
use mimi_wire::components::{ParticipantListUpdate, component_id};
use openmls::prelude::{MlsGroup, ProposalOrRefType, Propose};
use openmls_traits::OpenMlsProvider as _;
use std::collections::BTreeSet;

/// How many own handshakes are remembered by hash.
const REMEMBERED: usize = 64;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted and, where it was a commit, merged.
    Done,
    /// The group moved on; the feed has to be read up to this epoch, then the intent is tried anew.
    Stale {
        /// The hub's epoch, where it said so.
        current: Option<u64>,
    },
    /// Refused for good; the intent is given up.
    Refused(String),
}

impl Engine {
    /// A signed KeyMaterialRequest (protocol section 5.2) for a user's KeyPackages to be added to a room.
    pub fn claim(&self, uri: &str, user: &MimiUri) -> Result<Vec<u8>, ClientError> {
        let group = self.member_group(uri)?;
        if participants(&group)?.find(user).is_some() && has_client(&group, user) {
            return Err(ClientError::AlreadyParticipant(user.as_str().into()));
        }
        wire::key_material_request(self.account()?, uri, user, group.ciphersuite())
    }

    /// Wants the users of these answers added. The change is under way once [`Engine::prepare`] built it.
    pub fn add(&mut self, uri: &str, answers: &[(MimiUri, Vec<u8>)]) -> Result<(), ClientError> {
        let mut users = Vec::with_capacity(answers.len());
        for (user, answer) in answers {
            match wire::key_material_answer(user, answer)? {
                KeyMaterial::KeyPackages(packages) => users.push(Addition {
                    user: user.as_str().into(),
                    key_packages: packages.into_iter().map(B64).collect(),
                }),
                KeyMaterial::None(why) => {
                    return Err(ClientError::NoKeyPackages {
                        user: user.as_str().into(),
                        why,
                    });
                }
            }
        }
        self.intend(uri, Intent::Add { users })
    }

    /// Wants users removed with all their clients.
    pub fn remove(&mut self, uri: &str, users: &[MimiUri]) -> Result<(), ClientError> {
        let list = participants(&*self.member_group(uri)?)?;
        if let Some(stranger) = users.iter().find(|u| list.find(u).is_none()) {
            return Err(ClientError::NotParticipant(stranger.as_str().into()));
        }
        self.intend(
            uri,
            Intent::Remove {
                users: users.iter().map(|u| u.as_str().into()).collect(),
            },
        )
    }

    /// Wants users given other roles.
    pub fn set_roles(&mut self, uri: &str, changes: Vec<(String, u32)>) -> Result<(), ClientError> {
        self.member_group(uri)?;
        self.intend(uri, Intent::Roles { changes })
    }

    /// Wants the room's name or subject changed.
    pub fn describe(
        &mut self,
        uri: &str,
        name: Option<String>,
        topic: Option<String>,
    ) -> Result<(), ClientError> {
        self.member_group(uri)?;
        let picture = None;
        self.intend(uri, Intent::Describe { name, topic, picture })
    }

    /// Wants the room to have the picture at this `https` address; empty: none.
    pub fn set_picture(&mut self, uri: &str, address: String) -> Result<(), ClientError> {
        self.member_group(uri)?;
        let (name, topic, picture) = (None, None, Some(address));
        self.intend(uri, Intent::Describe { name, topic, picture })
    }

    /// Wants this device's keys in the group replaced: whoever has got hold of the old ones reads no further.
    pub fn renew_keys(&mut self, uri: &str) -> Result<(), ClientError> {
        self.member_group(uri)?;
        self.intend(uri, Intent::RenewKeys)
    }

    /// Wants this user with all clients taken out; another member has to commit that.
    pub fn leave(&mut self, uri: &str) -> Result<(), ClientError> {
        self.member_group(uri)?;
        self.intend(uri, Intent::Leave)
    }

    pub(super) fn intend(&mut self, uri: &str, intent: Intent) -> Result<(), ClientError> {
        self.saving(|engine| {
            engine.room_mut(uri)?.intent = Some(intent);
            Ok(())
        })
    }

    /// Gives up what is wanted, unless a request for it may have arrived.
    pub fn give_up(&mut self, uri: &str) -> Result<(), ClientError> {
        self.saving(|engine| {
            let room = engine.room_mut(uri)?;
            if room.pending.is_none() {
                room.intent = None;
            }
            Ok(())
        })
    }

    /// The provider refused the request under way for good: it and what was wanted are forgotten.
    pub fn refused(&mut self, uri: &str) -> Result<(), ClientError> {
        self.saving(|engine| {
            engine.dropped(uri)?;
            engine.room_mut(uri)?.intent = None;
            Ok(())
        })
    }

    /// Whether something is wanted or under way.
    pub fn busy(&self, uri: &str) -> Result<bool, ClientError> {
        let room = self.room(uri)?;
        Ok(room.intent.is_some() || room.pending.is_some())
    }

    /// The request under way, octet for octet.
    pub fn pending(&self, uri: &str) -> Result<Option<UpdateRequest>, ClientError> {
        Ok(self.room(uri)?.pending.as_ref().map(|p| UpdateRequest {
            bundle: p.bundle.clone(),
        }))
    }

    /// The request for what is wanted, built and saved if there is none yet. `None` if nothing is left to do.
    /// [`Intent::Join`] is built by [`Engine::join`].
    pub fn prepare(&mut self, uri: &str) -> Result<Option<UpdateRequest>, ClientError> {
        if let Some(request) = self.pending(uri)? {
            return Ok(Some(request));
        }
        let Some(intent) = self.room(uri)?.intent.clone() else {
            return Ok(None);
        };
        let mut group = self.member_group(uri)?;
        self.saving(|engine| {
            let pending = match &intent {
                Intent::Leave => Some(engine.build_leave(&mut group)?),
                Intent::Join => return Ok(None),
                _ => engine.build_commit(uri, &mut group, &intent)?,
            };
            let room = engine.room_mut(uri)?;
            let request = pending.as_ref().map(|p| UpdateRequest {
                bundle: p.bundle.clone(),
            });
            if pending.is_none() {
                room.intent = None;
            }
            room.pending = pending;
            Ok(request)
        })
    }

    fn build_commit(
        &self,
        uri: &str,
        group: &mut MlsGroup,
        intent: &Intent,
    ) -> Result<Option<Pending>, ClientError> {
        let account = self.account()?;
        let signer = account.signer(group.ciphersuite())?;
        let mut plan = match intent {
            Intent::Add { users } => Plan::add(&self.mls, group, users)?,
            Intent::Remove { users } => Plan::remove(group, users)?,
            Intent::Roles { changes } => Plan::roles(group, changes)?,
            Intent::Describe { name, topic, picture } => {
                Plan::describe(group, name.as_deref(), topic.as_deref(), picture.as_deref())?
            }
            _ => Plan::default(),
        };
        plan.tidy(group, &self.room(uri)?.departing)?;
        let renew = *intent == Intent::RenewKeys;
        if plan.is_empty() && !renew && !group.has_pending_proposals() {
            return Ok(None);
        }
        let components = plan.component_proposals();
        let epoch = group.epoch().as_u64();
        let tree = group.export_ratchet_tree();
        group
            .clear_pending_commit(self.mls.storage())
            .map_err(ClientError::mls("clear pending commit"))?;
        let mut builder = group
            .commit_builder()
            .propose_adds(plan.adds)
            .propose_removals(plan.removals)
            .add_proposals(components)
            .force_self_update(renew)
            .load_psks(self.mls.storage())
            .map_err(ClientError::mls("build commit"))?
            .create_group_info(true)
            .use_ratchet_tree_extension(false);
        let updates: Vec<_> = builder.app_data_update_proposals().cloned().collect();
        let mut updater = builder.app_data_dictionary_updater();
        interpret(&mut updater, updates)?;
        let changes = updater.changes();
        builder.with_app_data_dictionary_updates(changes);
        let bundle = builder
            .build(self.mls.rand(), self.mls.crypto(), signer, |_| true)
            .map_err(ClientError::mls("build commit"))?
            .stage_commit(&self.mls)
            .map_err(ClientError::mls("stage commit"))?;
        let tree = group
            .pending_commit()
            .map(|staged| staged.export_ratchet_tree(self.mls.crypto(), tree))
            .transpose()
            .map_err(ClientError::mls("export tree"))?
            .flatten()
            .ok_or(ClientError::Mls {
                what: "export tree",
                why: "no pending commit".into(),
            })?;
        let commit = wire::octets(bundle.commit())?;
        let hash = Hash::of(&commit);
        let octets = wire::commit_bundle(&bundle, &tree)?;
        tracing::debug!(room = uri, epoch, %hash, ?intent, "commit built");
        Ok(Some(Pending {
            bundle: octets.into(),
            hash,
            epoch,
            merge: true,
        }))
    }

    /// Proposals that take out this client (SelfRemove), the user's other clients, and the user from the list.
    /// They are not kept here: the feed brings them back once they are accepted.
    fn build_leave(&self, group: &mut MlsGroup) -> Result<Pending, ClientError> {
        let account = self.account()?;
        let (signer, mls) = (account.signer(group.ciphersuite())?, &self.mls);
        let user = MimiUri::parse(&account.session.user).map_err(ClientError::malformed("user URI"))?;
        let fail = ClientError::mls::<openmls::prelude::ProposalError<_>>;
        forget_own_proposals(mls, group)?;
        let mut messages = vec![
            group
                .leave_group_via_self_remove(mls, signer)
                .map_err(ClientError::mls("propose SelfRemove"))?,
        ];
        let others: Vec<_> = group
            .members()
            .filter(|m| m.index != group.own_leaf_index())
            .filter(|m| client_of(&m.credential).is_ok_and(|c| user_of(&c).as_ref() == Some(&user)))
            .map(|m| m.index)
            .collect();
        for leaf in others {
            let propose = Propose::Remove(leaf.u32());
            let (message, _) = group
                .propose(mls, signer, propose, ProposalOrRefType::Reference)
                .map_err(fail("propose Remove"))?;
            messages.push(message);
        }
        if let Some((index, _)) = participants(group)?.find(&user) {
            let update = ParticipantListUpdate {
                removed_indices: vec![index],
                ..Default::default()
            };
            let propose = Propose::UpdateAppDataComponent {
                component_id: component_id::PARTICIPANT_LIST,
                update: update.to_bytes(),
            };
            let (message, _) = group
                .propose(mls, signer, propose, ProposalOrRefType::Reference)
                .map_err(fail("propose AppDataUpdate"))?;
            messages.push(message);
        }
        forget_own_proposals(mls, group)?;
        let messages = messages.iter().map(wire::octets).collect::<Result<Vec<_>, _>>()?;
        let hash = messages.first().map_or(Hash([0; 32]), |m| Hash::of(m));
        Ok(Pending {
            bundle: wire::proposal_bundle(&messages)?.into(),
            hash,
            epoch: group.epoch().as_u64(),
            merge: false,
        })
    }

    /// Takes in the hub's answer to the request under way.
    pub fn answered(&mut self, uri: &str, answer: &[u8]) -> Result<Outcome, ClientError> {
        let answer = wire::update_answer(answer)?;
        self.saving(|engine| match answer {
            UpdateAnswer::Success { at } => engine.accepted(uri, at).map(|()| Outcome::Done),
            UpdateAnswer::WrongEpoch { current } => {
                engine.dropped(uri)?;
                Ok(Outcome::Stale {
                    current: Some(current),
                })
            }
            UpdateAnswer::InvalidProposals { refs, why } => {
                engine.dropped(uri)?;
                let room = engine.room_mut(uri)?;
                let retry = matches!(room.intent, Some(Intent::Commit));
                // Proposals the hub names are none; without them the next attempt is another one.
                if !retry || !engine.forget_proposals(uri, &refs)? {
                    engine.room_mut(uri)?.intent = None;
                    return Ok(Outcome::Refused(format!("invalid proposal: {why}")));
                }
                Ok(Outcome::Stale { current: None })
            }
            UpdateAnswer::NotAllowed { why } => {
                engine.dropped(uri)?;
                let room = engine.room_mut(uri)?;
                // A joiner can't include others' AppDataUpdates (openmls): a member has to commit them first.
                if !matches!(room.intent, Some(Intent::Join)) {
                    room.intent = None;
                }
                Ok(Outcome::Refused(why))
            }
        })
    }

    /// The request under way was accepted; merges it if it is a commit that isn't merged yet.
    pub(super) fn accepted(&mut self, uri: &str, at: u64) -> Result<(), ClientError> {
        let State { account, rooms, .. } = &mut self.state;
        let room = rooms
            .get_mut(uri)
            .ok_or_else(|| ClientError::UnknownRoom(uri.into()))?;
        let Some(pending) = room.pending.take() else {
            return Ok(());
        };
        let client = account
            .as_ref()
            .map(|a| a.session.client.clone())
            .unwrap_or_default();
        let intent = room.intent.take();
        let mut group = load(&self.mls, room)?.ok_or(ClientError::Mls {
            what: "merge own commit",
            why: "the group is gone".into(),
        })?;
        if intent == Some(Intent::Leave) {
            room.membership = Membership::Leaving;
            return Ok(());
        }
        remember(room, pending.hash);
        let change = if pending.merge {
            let before = snapshot(&group)?;
            group
                .merge_pending_commit(&self.mls)
                .map_err(ClientError::mls("merge own commit"))?;
            diff(&client, &before, &group)?
        } else {
            room.membership = Membership::Member;
            Change {
                by: client.clone(),
                epoch: group.epoch().as_u64(),
                added_clients: vec![client],
                ..Change::default()
            }
        };
        advanced(room, &group)?;
        let what = What::Change(change);
        room.history.push(Entry {
            pos: None,
            at,
            event_id: None,
            hash: pending.hash,
            what,
        });
        Ok(())
    }

    /// The request under way will never be accepted; the intent stays.
    pub(super) fn dropped(&mut self, uri: &str) -> Result<(), ClientError> {
        let Some(pending) = self.room_mut(uri)?.pending.take() else {
            return Ok(());
        };
        let joining = matches!(self.room(uri)?.intent, Some(Intent::Join));
        if let Some(mut group) = self.group(uri)? {
            if joining {
                group
                    .delete(self.mls.storage())
                    .map_err(ClientError::mls("delete group"))?;
                self.room_mut(uri)?.membership = Membership::Outside;
            } else if pending.merge {
                group
                    .clear_pending_commit(self.mls.storage())
                    .map_err(ClientError::mls("clear pending commit"))?;
            }
        }
        Ok(())
    }
}

/// The user of a client URI.
pub fn user_of(client: &str) -> Option<MimiUri> {
    MimiUri::parse(client).ok()?.client_user()
}

pub(super) fn remember(room: &mut Room, hash: Hash) {
    room.own_handshakes.push(hash);
    let excess = room.own_handshakes.len().saturating_sub(REMEMBERED);
    room.own_handshakes.drain(..excess);
}

/// Users and clients of a group.
pub(super) type Snapshot = (BTreeSet<String>, BTreeSet<String>);

pub(super) fn snapshot(group: &MlsGroup) -> Result<Snapshot, ClientError> {
    let roster = dictionary::roster(group)?;
    Ok((
        roster.participants.into_iter().map(|(user, _)| user).collect(),
        roster.clients.into_iter().collect(),
    ))
}

pub(super) fn diff(by: &str, before: &Snapshot, group: &MlsGroup) -> Result<Change, ClientError> {
    let after = snapshot(group)?;
    let new = |old: &BTreeSet<String>, new: &BTreeSet<String>| new.difference(old).cloned().collect();
    Ok(Change {
        by: by.into(),
        epoch: group.epoch().as_u64(),
        added_users: new(&before.0, &after.0),
        removed_users: new(&after.0, &before.0),
        added_clients: new(&before.1, &after.1),
        removed_clients: new(&after.1, &before.1),
        strangers: Vec::new(),
    })
}

/// What follows from a new epoch for the room's own record.
pub(super) fn advanced(room: &mut Room, group: &MlsGroup) -> Result<(), ClientError> {
    if let Some(metadata) = dictionary::metadata(group)? {
        room.name = Some(metadata.room_name);
    }
    if !room.departing.is_empty() {
        let list = snapshot(group)?.0;
        room.departing.retain(|user| list.contains(user));
    }
    if !group.is_active() {
        room.membership = Membership::Left;
        (room.intent, room.pending) = (None, None);
    }
    Ok(())
}
