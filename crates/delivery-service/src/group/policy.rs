//! The room's policy as the group's components have it, over the effective participants.
//!
//! What is allowed is `mimi_wire::policy`'s to say (draft-ietf-mimi-room-policy-04). Here a commit is turned into
//! the actions it takes, each judged in the state that the ones before it left.

use super::commit::{Draft, Origin};
use super::{Group, View};
use crate::identity::Client;
use crate::refusal::{NotAllowed, UpdateRefusal};
use crate::roster::{Leaves, Participants};
use mimi_wire::components::{ParticipantListData, RoleIndex, component_id};
use mimi_wire::policy::{
    Action, Actor, BaseRoomPolicy, Capability, Denial, PreAuthData, Preset, RoleData, RoomState,
};
use mimi_wire::{Decode, MimiUri};
use openmls::extensions::AppDataDictionary;
use std::collections::BTreeSet;

/// Whether the role is one of somebody who takes part: in the list and not banned.
pub(super) fn takes_part(role: RoleIndex) -> bool {
    role != RoleIndex::NONE && role != RoleIndex::BANNED
}

/// The roles a room has, given its components: without `roles_list` those of the default preset.
pub(super) fn read_roles(components: &AppDataDictionary) -> Result<RoleData, u16> {
    let id = component_id::ROLES_LIST;
    let roles = match components.get(&id) {
        Some(data) => RoleData::from_bytes(data).map_err(|_| id)?,
        None => Preset::Cooperative.roles(),
    };
    roles.check().map(|()| roles).map_err(|_| id)
}

fn read_or_default<T: Decode + Default>(components: &AppDataDictionary, id: u16) -> Result<T, u16> {
    components
        .get(&id)
        .map_or_else(|| Ok(T::default()), |data| T::from_bytes(data).map_err(|_| id))
}

/// The policy over the users who are in the effective list, with the clients that are not on the way out. The
/// error is the component that doesn't decode.
pub(super) fn build(
    components: &AppDataDictionary,
    participants: &Participants,
    leaves: &Leaves,
    departing: &BTreeSet<MimiUri>,
    leaving: &BTreeSet<u32>,
) -> Result<RoomState, u16> {
    let roles = read_roles(components)?;
    let preauth: PreAuthData = read_or_default(components, component_id::PREAUTH_LIST)?;
    let base: BaseRoomPolicy = read_or_default(components, component_id::BASE_ROOM_POLICY)?;
    let participants = ParticipantListData {
        participants: participants
            .data()
            .participants
            .iter()
            .filter(|entry| !departing.contains(&entry.user))
            .cloned()
            .collect(),
    };
    let clients = leaves
        .iter()
        .filter(|(leaf, _)| !leaving.contains(&leaf.u32()))
        .map(|(_, client)| (client.user().clone(), 1));
    Ok(RoomState::new(roles, preauth, base, &participants, clients))
}

impl Group {
    /// Whether `user` may do that, in the effective view: for requests that come by another way than as a commit.
    pub fn may(&self, user: &MimiUri, action: &Action<'_>) -> Result<(), Denial> {
        self.check_right(user, action)
    }

    /// Whether `user` may do that, in the effective view.
    pub(super) fn check_right(&self, user: &MimiUri, action: &Action<'_>) -> Result<(), Denial> {
        self.policy.authorize(Actor::user(user), action)
    }

    /// Whether `user` has a capability, in the effective view.
    pub(super) fn has_capability(&self, user: &MimiUri, capability: Capability) -> bool {
        self.check_right(user, &Action::Use(capability)).is_ok()
    }

    /// Checks each change of a commit that the committer is the author of.
    pub(super) fn check_rights(&self, draft: &Draft) -> Result<(), UpdateRefusal> {
        if draft.is_external() {
            check_external(draft)?;
        }
        let committer = Actor::user(draft.committer.user());
        let actions = self.actions(draft);
        for action in &draft.components.rights {
            if action.0 == Origin::Committer {
                self.policy
                    .authorize(committer, &action.1)
                    .map_err(NotAllowed::from)?;
            }
        }
        // The usual commit, new keys and nothing else, does without a copy of the room.
        if let [action] = actions.as_slice() {
            self.policy
                .authorize(committer, action)
                .map_err(NotAllowed::from)?;
        } else if !actions.is_empty() {
            let mut state = self.policy.clone();
            for action in &actions {
                state.authorize(committer, action).map_err(NotAllowed::from)?;
                state.apply(committer, action);
            }
        }
        self.check_guests(draft)?;
        Ok(())
    }

    /// The actions a committer takes upon participants and clients: who goes comes first, so that there is room
    /// for who comes.
    fn actions<'a>(&self, draft: &'a Draft) -> Vec<Action<'a>> {
        let committer = draft.committer.user();
        let added = draft.clients_added();
        let mut going: Vec<Action<'a>> = Vec::new();
        let mut coming: Vec<Action<'a>> = Vec::new();
        for change in &draft.components.list_changes {
            // The departure of somebody whose departure was accepted needs no right any more.
            let is_departure = self.departing.contains(&change.user) && !takes_part(change.to);
            if change.author == Origin::Accepted || is_departure {
                continue;
            }
            let (user, role) = (&change.user, change.to);
            match (change.from, change.to) {
                (_, RoleIndex::BANNED) => going.push(Action::Ban { user }),
                (_, RoleIndex::NONE) if user == committer => going.push(Action::Leave),
                (_, RoleIndex::NONE) => going.push(Action::RemoveParticipant { user }),
                (RoleIndex::NONE, _) => {
                    let clients = added.get(user).copied().unwrap_or_default();
                    coming.push(Action::AddParticipant { user, role, clients });
                }
                (RoleIndex::BANNED, _) => coming.push(Action::Unban { user, role }),
                _ if user == committer => coming.push(Action::ChangeOwnRole { role }),
                _ => coming.push(Action::ChangeRole { user, role }),
            }
        }
        let leaving_list: BTreeSet<&MimiUri> = draft.changed_users(|change| !takes_part(change.to)).collect();
        let mut kicked = BTreeSet::new();
        let mut own_removed = 0u32;
        for removal in &draft.removals {
            let user = removal.client.user();
            if removal.origin == Origin::Accepted
                || leaving_list.contains(user)
                || self.is_leaving(removal.leaf, user)
            {
                continue;
            }
            if user == committer {
                own_removed = own_removed.saturating_add(1);
            } else if kicked.insert(user) {
                going.push(Action::Kick { user });
            }
        }
        let own_added = added.get(committer).copied().unwrap_or_default();
        if draft.is_external() {
            // A resync takes the place of the own former leaf.
            let clients = 1u32.saturating_sub(own_removed);
            coming.push(Action::AddOwnClient { clients });
        } else {
            if own_removed > 0 {
                going.push(Action::RemoveOwnClient { clients: own_removed });
            }
            if own_added > 0 {
                coming.push(Action::AddOwnClient { clients: own_added });
            }
        }
        going.append(&mut coming);
        going
    }

    /// Clients that are added to a participant by somebody else. The draft has no action for that; it takes what
    /// adding the participant takes, and the limits on clients hold.
    fn check_guests(&self, draft: &Draft) -> Result<(), NotAllowed> {
        let committer = draft.committer.user();
        let added_now: BTreeSet<&MimiUri> = draft
            .changed_users(|change| change.from == RoleIndex::NONE && takes_part(change.to))
            .collect();
        for (user, added) in draft.clients_added() {
            if user == committer || added_now.contains(user) {
                continue;
            }
            self.check_right(committer, &Action::Use(Capability::ADD_PARTICIPANT))?;
            let mut stays = self
                .leaves
                .of_user(user)
                .filter(|(leaf, _)| !draft.removes(leaf.u32()));
            if !self.policy.base.multi_device && (added > 1 || stays.next().is_some()) {
                return Err(Denial::SingleDevice.into());
            }
        }
        let clients = self
            .leaves
            .iter()
            .count()
            .saturating_add(draft.newcomers().count());
        let after = clients.saturating_sub(draft.removals.len());
        let grows = draft.newcomers().count() > draft.removals.len();
        let limit = self
            .policy
            .base
            .max_clients
            .and_then(|max| usize::try_from(max).ok());
        if grows && limit.is_some_and(|max| after > max) {
            return Err(Denial::TooManyClients.into());
        }
        Ok(())
    }

    /// The policy as it follows from the group's components and what is pending.
    fn built_policy(&self) -> Result<RoomState, super::ApplyError> {
        let leaving = self
            .pending
            .iter()
            .filter_map(super::PendingProposal::removed_leaf)
            .collect();
        let empty = AppDataDictionary::new();
        let components = super::context::dictionary(self.mls.group_context()).unwrap_or(&empty);
        build(
            components,
            &self.participants,
            &self.leaves,
            &self.departing,
            &leaving,
        )
        .map_err(super::ApplyError::Component)
    }

    /// Builds the policy anew.
    pub(super) fn reload_policy(&mut self) -> Result<(), super::ApplyError> {
        self.policy = self.built_policy()?;
        Ok(())
    }

    /// Brings the policy up to date for users whose role or clients may have changed.
    pub(super) fn refresh_policy(&mut self, users: &BTreeSet<MimiUri>) {
        for user in users {
            let role = self.effective_role(user);
            let leaves = self.leaves.of_user(user);
            let staying = leaves.filter(|(leaf, _)| self.pending_removal(leaf.u32()).is_none());
            let clients = u32::try_from(staying.count()).unwrap_or(u32::MAX);
            // These set a user's entry whatever it was before.
            let action = if role == RoleIndex::NONE {
                Action::RemoveParticipant { user }
            } else {
                Action::AddParticipant { user, role, clients }
            };
            self.policy.apply(Actor::user(user), &action);
        }
    }

    /// Whether what the group keeps beside the MLS state agrees with what follows from that state. It always
    /// does; this is for tools that look for damage, and for tests.
    pub fn is_consistent(&self) -> bool {
        let list = self
            .component(component_id::PARTICIPANT_LIST)
            .and_then(|data| ParticipantListData::from_bytes(data).ok());
        list.as_ref() == Some(self.participants.data())
            && super::found::read_leaves(&self.mls).is_ok_and(|leaves| leaves == self.leaves)
            && self.built_policy().is_ok_and(|policy| policy == self.policy)
            && self
                .leaves
                .iter()
                .all(|(_, client)| takes_part(self.participants.role(client.user())))
    }

    /// The effective role; also that of somebody who is out but not yet committed.
    pub(super) fn effective_role(&self, user: &MimiUri) -> RoleIndex {
        self.role(user, View::Effective)
    }
}

/// An external commit may take out its committer's own former leaf, and leaves that are going anyway.
fn check_external(draft: &Draft) -> Result<(), NotAllowed> {
    let foreign = draft
        .removals
        .iter()
        .find(|removal| removal.origin == Origin::Committer && removal.client.uri() != draft.committer.uri());
    match foreign.map(|removal| &removal.client).map(Client::uri) {
        Some(_) => Err(NotAllowed::RemovesAnother),
        None => Ok(()),
    }
}
