//! What policy is judged against.

use super::{Action, Actor, BaseRoomPolicy, PreAuthData, RoleData, RoleDataError};
use crate::codec::DecodeError;
use crate::components::{AppDataDictionary, ParticipantListData, RoleIndex, component_id};
use crate::uri::MimiUri;
use std::collections::HashMap;

/// A participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The user's role, never 0.
    pub role: RoleIndex,
    /// How many of the user's clients are in the MLS group. An active participant has one at least.
    pub clients: u32,
}

/// The policy and participants of a room at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomState {
    /// Roles.
    pub roles: RoleData,
    /// Preauthorization.
    pub preauth: PreAuthData,
    /// Base policy.
    pub base: BaseRoomPolicy,
    pub(super) members: HashMap<MimiUri, Member>,
}

/// Why a room's components give no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A component that the policy needs is missing.
    #[error("the group has no component {0:#06x}")]
    Missing(u16),
    /// A component can't be decoded.
    #[error("component {0:#06x}: {1}")]
    Decode(u16, DecodeError),
}

impl RoomState {
    /// Puts a state together. `clients` gives the number of clients in the MLS group by user; who is not in
    /// the participant list doesn't count.
    pub fn new(
        roles: RoleData,
        preauth: PreAuthData,
        base: BaseRoomPolicy,
        participants: &ParticipantListData,
        clients: impl IntoIterator<Item = (MimiUri, u32)>,
    ) -> Self {
        let mut members: HashMap<_, _> = participants
            .participants
            .iter()
            .map(|p| {
                (
                    p.user.clone(),
                    Member {
                        role: p.role_index,
                        clients: 0,
                    },
                )
            })
            .collect();
        for (user, count) in clients {
            if let Some(member) = members.get_mut(&user) {
                member.clients = member.clients.saturating_add(count);
            }
        }
        Self {
            roles,
            preauth,
            base,
            members,
        }
    }

    /// Reads the components of a group. Participants and roles must be there; without the others, nobody is
    /// preauthorized and the base policy has no limits.
    pub fn from_dictionary(
        dictionary: &AppDataDictionary,
        clients: impl IntoIterator<Item = (MimiUri, u32)>,
    ) -> Result<Self, StateError> {
        fn read<T: crate::codec::Decode>(
            dictionary: &AppDataDictionary,
            id: u16,
        ) -> Result<Option<T>, StateError> {
            dictionary
                .get_as(id)
                .transpose()
                .map_err(|error| StateError::Decode(id, error))
        }
        let required = |id| StateError::Missing(id);
        let roles =
            read(dictionary, component_id::ROLES_LIST)?.ok_or_else(|| required(component_id::ROLES_LIST))?;
        let participants: ParticipantListData = read(dictionary, component_id::PARTICIPANT_LIST)?
            .ok_or_else(|| required(component_id::PARTICIPANT_LIST))?;
        let preauth = read(dictionary, component_id::PREAUTH_LIST)?.unwrap_or_default();
        let base = read(dictionary, component_id::BASE_ROOM_POLICY)?.unwrap_or_default();
        Ok(Self::new(roles, preauth, base, &participants, clients))
    }

    /// Checks that roles and base policy make sense, alone and together: in a room whose participants are
    /// fixed, no role but 0 and banned may have `canAddParticipant` (section 5).
    pub fn check(&self) -> Result<(), RoleDataError> {
        self.roles.check()?;
        let adds =
            self.roles.roles.iter().find(|role| {
                role.role_index > RoleIndex::BANNED && role.can(super::Capability::ADD_PARTICIPANT)
            });
        match adds {
            Some(role) if self.base.fixed_membership => Err(RoleDataError::FixedMembership(role.role_index)),
            _ => Ok(()),
        }
    }

    /// A participant.
    pub fn member(&self, user: &MimiUri) -> Option<Member> {
        self.members.get(user).copied()
    }

    /// Every participant, in no order.
    pub fn members(&self) -> impl Iterator<Item = (&MimiUri, Member)> {
        self.members.iter().map(|(user, member)| (user, *member))
    }

    /// A user's role; [`RoleIndex::NONE`] for one who is no participant.
    pub fn role_of(&self, user: &MimiUri) -> RoleIndex {
        self.member(user).map_or(RoleIndex::NONE, |m| m.role)
    }

    /// How many hold a role, and how many of them have clients.
    pub(super) fn count(&self, role: RoleIndex) -> (u32, u32) {
        self.members
            .values()
            .filter(|m| m.role == role)
            .fold((0u32, 0u32), |(all, active), m| {
                (
                    all.saturating_add(1),
                    active.saturating_add(u32::from(m.clients > 0)),
                )
            })
    }

    /// How many participants are not banned.
    pub(super) fn users(&self) -> u32 {
        u32::try_from(
            self.members
                .values()
                .filter(|m| m.role != RoleIndex::BANNED)
                .count(),
        )
        .unwrap_or(u32::MAX)
    }

    /// How many clients are in the group.
    pub(super) fn clients(&self) -> u32 {
        self.members
            .values()
            .fold(0, |sum, m| sum.saturating_add(m.clients))
    }

    /// Brings the state to what it is after an action, without judging it. Actions that touch neither
    /// participants nor clients change nothing here: policy components are replaced through the fields.
    pub fn apply(&mut self, actor: Actor<'_>, action: &Action<'_>) {
        match *action {
            Action::AddParticipant { user, role, clients } => {
                self.members.insert(user.clone(), Member { role, clients });
            }
            Action::OpenJoin { role, clients }
            | Action::JoinPreauthorized { role, clients }
            | Action::JoinByCode { role, clients } => {
                self.members.insert(actor.uri.clone(), Member { role, clients });
            }
            Action::AddOwnClient { clients } => {
                self.change(actor.uri, |m| m.clients = m.clients.saturating_add(clients));
            }
            Action::RemoveOwnClient { clients } => {
                self.change(actor.uri, |m| m.clients = m.clients.saturating_sub(clients));
            }
            Action::RemoveParticipant { user } => {
                self.members.remove(user);
            }
            Action::Leave => {
                self.members.remove(actor.uri);
            }
            Action::Kick { user } => self.change(user, |m| m.clients = 0),
            Action::Ban { user } => {
                self.members.insert(
                    user.clone(),
                    Member {
                        role: RoleIndex::BANNED,
                        clients: 0,
                    },
                );
            }
            Action::ChangeRole { user, role } | Action::Unban { user, role } => {
                self.change(user, |m| m.role = role);
            }
            Action::ChangeOwnRole { role } => self.change(actor.uri, |m| m.role = role),
            Action::Use(_)
            | Action::ChangeMetadata(_)
            | Action::ChangePolicy { .. }
            | Action::DestroyRoom => {}
        }
    }

    fn change(&mut self, user: &MimiUri, with: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get_mut(user) {
            with(member);
        }
    }
}
