//! What a commit has to propose by value: what is wanted, and what others' proposals leave to be done.

use super::dictionary::{self, participants};
use super::user_of;
use crate::error::ClientError;
use crate::mls::{Provider, client_of};
use crate::state::Addition;
use crate::wire;
use mimi_wire::MimiUri;
use mimi_wire::codec::Encode as _;
use mimi_wire::components::{
    ParticipantListData, ParticipantListUpdate, RoleIndex, RoomMetaData, UserIndexRolePair, UserRolePair,
    component_id,
};
use openmls::prelude::{
    AppDataUpdateProposal, KeyPackage, KeyPackageIn, LeafNodeIndex, Member, MlsGroup, Proposal,
    ProtocolVersion, QueuedProposal, Sender,
};
use openmls_traits::OpenMlsProvider as _;
use std::collections::BTreeSet;
use tls_codec::DeserializeBytes as _;

/// Role of people who are added, in the default preset.
const ORDINARY: RoleIndex = RoleIndex(2);

/// What a commit proposes by value.
#[derive(Default)]
pub(super) struct Plan {
    list: ParticipantListUpdate,
    pub(super) adds: Vec<KeyPackage>,
    pub(super) removals: Vec<LeafNodeIndex>,
    /// The room's metadata as it shall be.
    metadata: Option<RoomMetaData>,
}

impl Plan {
    /// Adds users with those of their clients that aren't there.
    pub(super) fn add(mls: &Provider, group: &MlsGroup, users: &[Addition]) -> Result<Self, ClientError> {
        let list = participants(group)?;
        let present: BTreeSet<String> = group
            .members()
            .filter_map(|m| client_of(&m.credential).ok())
            .collect();
        let mut plan = Self::default();
        for Addition { user, key_packages } in users {
            let uri = MimiUri::parse(user).map_err(|_| ClientError::BadUser(user.clone()))?;
            if list.find(&uri).is_none() {
                plan.list.added_participants.push(UserRolePair {
                    user: uri.clone(),
                    role_index: ORDINARY,
                });
            }
            for octets in key_packages {
                let key_package = checked_key_package(mls, &octets.0)?;
                let client = client_of(key_package.leaf_node().credential())?;
                if user_of(&client).as_ref() != Some(&uri) {
                    return Err(ClientError::BadIdentity(format!(
                        "{client} is no client of {user}"
                    )));
                }
                if !present.contains(&client) {
                    plan.adds.push(key_package);
                }
            }
        }
        Ok(plan)
    }

    /// Removes users with all their clients.
    pub(super) fn remove(group: &MlsGroup, users: &[String]) -> Result<Self, ClientError> {
        let list = participants(group)?;
        let mut plan = Self::default();
        for user in users {
            let uri = MimiUri::parse(user).map_err(|_| ClientError::BadUser(user.clone()))?;
            plan.list
                .removed_indices
                .extend(list.find(&uri).map(|(index, _)| index));
            let leaves = group
                .members()
                .filter(|m| user_of_member(m).as_ref() == Some(&uri));
            plan.removals.extend(leaves.map(|m| m.index));
        }
        Ok(plan)
    }

    /// Gives users other roles. Who is banned loses all clients that nobody has proposed to remove yet.
    pub(super) fn roles(group: &MlsGroup, changes: &[(String, u32)]) -> Result<Self, ClientError> {
        let list = participants(group)?;
        let going: BTreeSet<LeafNodeIndex> = group
            .pending_proposals()
            .filter_map(|p| match p.proposal() {
                Proposal::Remove(remove) => Some(remove.removed()),
                _ => None,
            })
            .collect();
        let mut plan = Self::default();
        for (user, role) in changes {
            let uri = MimiUri::parse(user).map_err(|_| ClientError::BadUser(user.clone()))?;
            let role_index = RoleIndex(*role);
            match list.find(&uri) {
                Some((user_index, _)) => plan.list.changed_role_participants.push(UserIndexRolePair {
                    user_index,
                    role_index,
                }),
                None if role_index == RoleIndex::BANNED => {
                    plan.list.added_participants.push(UserRolePair {
                        user: uri.clone(),
                        role_index,
                    });
                }
                None => return Err(ClientError::NotParticipant(user.clone())),
            }
            if role_index == RoleIndex::BANNED {
                let leaves = group
                    .members()
                    .filter(|m| user_of_member(m).as_ref() == Some(&uri) && !going.contains(&m.index));
                plan.removals.extend(leaves.map(|m| m.index));
            }
        }
        Ok(plan)
    }

    /// Changes the room's name, subject or picture.
    pub(super) fn describe(
        group: &MlsGroup,
        name: Option<&str>,
        topic: Option<&str>,
        picture: Option<&str>,
    ) -> Result<Self, ClientError> {
        let before = dictionary::metadata(group)?.unwrap_or_default();
        let text = |text: &str| text.replace('\0', "");
        let after = RoomMetaData {
            room_name: name.map_or_else(|| before.room_name.clone(), text),
            room_subject: topic.map_or_else(|| before.room_subject.clone(), text),
            room_avatar: picture.map_or_else(|| before.room_avatar.clone(), text),
            ..before.clone()
        };
        Ok(Self {
            metadata: (after != before).then_some(after),
            ..Self::default()
        })
    }

    /// Also takes those out of the list who are on their way out: whom the hub removes (it can only propose to
    /// remove clients, openmls refuses its AppDataUpdates), and whose own update got lost to an external commit
    /// (which can't carry it). The hub accepts no member's commit without.
    pub(super) fn tidy(&mut self, group: &MlsGroup, departing: &BTreeSet<String>) -> Result<(), ClientError> {
        let list = participants(group)?;
        let mut gone = gone_by_hub(group);
        gone.extend(departing.iter().filter_map(|user| MimiUri::parse(user).ok()));
        for user in gone {
            self.list
                .removed_indices
                .extend(list.find(&user).map(|(index, _)| index));
        }
        // A user may be touched once in a commit; proposals by reference come first.
        let mut touched = touched_by_reference(group, &list)?;
        touched.extend(self.list.changed_role_participants.iter().map(|c| c.user_index));
        self.list.removed_indices.retain(|index| touched.insert(*index));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list == ParticipantListUpdate::default()
            && self.adds.is_empty()
            && self.removals.is_empty()
            && self.metadata.is_none()
    }

    /// The changes of components: of the participant list, and of the metadata.
    pub(super) fn component_proposals(&self) -> Vec<Proposal> {
        let list = (self.list != ParticipantListUpdate::default())
            .then(|| (component_id::PARTICIPANT_LIST, self.list.to_bytes()));
        let metadata = self
            .metadata
            .as_ref()
            .map(|metadata| (component_id::ROOM_METADATA, metadata.to_bytes()));
        [list, metadata]
            .into_iter()
            .flatten()
            .map(|(id, body)| Proposal::AppDataUpdate(Box::new(AppDataUpdateProposal::update(id, body))))
            .collect()
    }
}

fn checked_key_package(mls: &Provider, octets: &[u8]) -> Result<KeyPackage, ClientError> {
    KeyPackageIn::tls_deserialize_exact_bytes(octets)
        .map_err(ClientError::malformed("KeyPackage"))?
        .validate(mls.crypto(), ProtocolVersion::Mls10)
        .map_err(ClientError::malformed("KeyPackage"))
}

fn user_of_member(member: &Member) -> Option<MimiUri> {
    user_of(&client_of(&member.credential).ok()?)
}

pub(super) fn has_client(group: &MlsGroup, user: &MimiUri) -> bool {
    group.members().any(|m| user_of_member(&m).as_ref() == Some(user))
}

/// Whether an accepted proposal takes us out: who is taken out can't commit.
pub(super) fn on_our_way_out(group: &MlsGroup) -> bool {
    let own = group.own_leaf_index();
    let takes_us = |p: &QueuedProposal| match p.proposal() {
        Proposal::Remove(remove) => remove.removed() == own,
        Proposal::SelfRemove => *p.sender() == Sender::Member(own),
        _ => false,
    };
    group.pending_proposals().any(takes_us)
}

/// Users all whose clients the hub removes.
fn gone_by_hub(group: &MlsGroup) -> BTreeSet<MimiUri> {
    let removed: BTreeSet<_> = group
        .pending_proposals()
        .filter(|p| matches!(p.sender(), Sender::External(_)))
        .filter_map(|p| match p.proposal() {
            Proposal::Remove(remove) => Some(remove.removed()),
            _ => None,
        })
        .collect();
    let (going, staying): (Vec<Member>, Vec<Member>) =
        group.members().partition(|m| removed.contains(&m.index));
    let staying: BTreeSet<_> = staying.iter().filter_map(user_of_member).collect();
    going
        .iter()
        .filter_map(user_of_member)
        .filter(|user| !staying.contains(user))
        .collect()
}

/// Indices that proposals in the store already change.
fn touched_by_reference(group: &MlsGroup, list: &ParticipantListData) -> Result<BTreeSet<u32>, ClientError> {
    let mut touched = BTreeSet::new();
    for proposal in group.pending_proposals() {
        let Proposal::AppDataUpdate(update) = proposal.proposal() else {
            continue;
        };
        if let Some(update) = dictionary::list_update(update)? {
            touched.extend(update.removed_indices);
            touched.extend(update.changed_role_participants.iter().map(|c| c.user_index));
        }
    }
    touched.retain(|index| list.get(*index).is_some());
    Ok(touched)
}

/// Users whom accepted proposals take out of the list.
pub(super) fn leaving(group: &MlsGroup) -> Result<BTreeSet<String>, ClientError> {
    let list = participants(group)?;
    let mut leaving = gone_by_hub(group);
    for proposal in group.pending_proposals() {
        let Proposal::AppDataUpdate(update) = proposal.proposal() else {
            continue;
        };
        let indices = dictionary::list_update(update)?
            .map(|u| u.removed_indices)
            .unwrap_or_default();
        leaving.extend(
            indices
                .iter()
                .filter_map(|index| Some(list.get(*index)?.user.clone())),
        );
    }
    Ok(leaving.iter().map(|user| user.as_str().to_owned()).collect())
}

/// The same of proposals as a joiner is told them, which openmls doesn't keep.
pub(super) fn leaving_by(proposals: &[Vec<u8>], list: &ParticipantListData) -> BTreeSet<String> {
    let removed = proposals
        .iter()
        .filter_map(|octets| wire::list_update_in(octets))
        .flat_map(|u| u.removed_indices);
    removed
        .filter_map(|index| Some(list.get(index)?.user.as_str().to_owned()))
        .collect()
}
