//! The participant list (draft-ietf-mimi-protocol-06 section 7.5).

use crate::codec::wire_fields;
use crate::uri::MimiUri;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// The number of a role in the room's `roles_list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoleIndex(pub u32);

wire_fields!(RoleIndex { 0 });

impl RoleIndex {
    /// Not in the participant list: before joining and after removal. Never stored.
    pub const NONE: Self = Self(0);
    /// Banned: in the list, without clients and capabilities.
    pub const BANNED: Self = Self(1);
}

impl std::fmt::Display for RoleIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// `UserRolePair`: a participant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct UserRolePair {
    /// The user, also all clients' user.
    pub user: MimiUri,
    /// The user's one role.
    pub role_index: RoleIndex,
}

wire_fields!(UserRolePair { user, role_index });

/// `ParticipantListData`: the participants in the order they were added.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct ParticipantListData {
    /// Participants, inactive and banned ones included.
    pub participants: Vec<UserRolePair>,
}

wire_fields!(ParticipantListData { participants });

/// `UserindexRolePair`: a change of role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct UserIndexRolePair {
    /// Place in the list that the epoch started with.
    pub user_index: u32,
    /// New role.
    pub role_index: RoleIndex,
}

wire_fields!(UserIndexRolePair {
    user_index,
    role_index
});

/// `ParticipantListUpdate`: the body of an AppDataUpdate of the participant list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct ParticipantListUpdate {
    /// Changes of role.
    pub changed_role_participants: Vec<UserIndexRolePair>,
    /// Removals, by place in the list that the epoch started with.
    pub removed_indices: Vec<u32>,
    /// Additions, appended in this order.
    pub added_participants: Vec<UserRolePair>,
}

wire_fields!(ParticipantListUpdate {
    changed_role_participants,
    removed_indices,
    added_participants
});

/// Why an update can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParticipantListError {
    /// An index beyond the list.
    #[error("there is no participant {0}")]
    NoSuchIndex(u32),
    /// A user who is touched twice in one commit.
    #[error("{0} is changed more than once")]
    TouchedTwice(MimiUri),
    /// An added user who is in the list.
    #[error("{0} is a participant already")]
    AlreadyParticipant(MimiUri),
    /// Role 0 in an addition or change; it stands for absence.
    #[error("role 0 can't be given to {0}")]
    RoleNone(MimiUri),
}

impl ParticipantListData {
    /// The participant with this URI, octet for octet.
    pub fn find(&self, user: &MimiUri) -> Option<(u32, &UserRolePair)> {
        (0u32..).zip(&self.participants).find(|(_, p)| p.user == *user)
    }

    /// The participant at a place.
    pub fn get(&self, index: u32) -> Option<&UserRolePair> {
        self.participants.get(usize::try_from(index).ok()?)
    }

    /// The user's role; [`RoleIndex::NONE`] for one who is not in the list.
    pub fn role_of(&self, user: &MimiUri) -> RoleIndex {
        self.find(user).map_or(RoleIndex::NONE, |(_, p)| p.role_index)
    }

    /// The list after all updates of one commit.
    ///
    /// All indices count in `self`, the list the epoch started with, whichever update they are in: updates
    /// that are committed together were made without knowledge of each other. First come the changes of all
    /// updates, then their removals, then their additions.
    pub fn apply<'a>(
        &self,
        updates: impl IntoIterator<Item = &'a ParticipantListUpdate> + Clone,
    ) -> Result<Self, ParticipantListError> {
        let mut touched: HashSet<&MimiUri> = HashSet::new();
        let mut roles: Vec<Option<RoleIndex>> =
            self.participants.iter().map(|p| Some(p.role_index)).collect();
        let mut added = Vec::new();
        for update in updates {
            for change in &update.changed_role_participants {
                let user = self.touch(change.user_index, &mut touched)?;
                if change.role_index == RoleIndex::NONE {
                    return Err(ParticipantListError::RoleNone(user.clone()));
                }
                set(&mut roles, change.user_index, Some(change.role_index));
            }
            for &index in &update.removed_indices {
                self.touch(index, &mut touched)?;
                set(&mut roles, index, None);
            }
            for addition in &update.added_participants {
                if addition.role_index == RoleIndex::NONE {
                    return Err(ParticipantListError::RoleNone(addition.user.clone()));
                }
                if !touched.insert(&addition.user) {
                    return Err(ParticipantListError::TouchedTwice(addition.user.clone()));
                }
                added.push(addition);
            }
        }
        // One look at the old list for all additions, so that many of them cost no more than its length.
        if !added.is_empty() {
            let new: HashSet<&MimiUri> = added.iter().map(|a| &a.user).collect();
            if let Some(twice) = self.participants.iter().find(|p| new.contains(&p.user)) {
                return Err(ParticipantListError::AlreadyParticipant(twice.user.clone()));
            }
        }
        let kept = self
            .participants
            .iter()
            .zip(roles)
            .filter_map(|(participant, role)| {
                role.map(|role_index| UserRolePair {
                    user: participant.user.clone(),
                    role_index,
                })
            });
        Ok(Self {
            participants: kept.chain(added.into_iter().cloned()).collect(),
        })
    }

    fn touch<'s>(
        &'s self,
        index: u32,
        touched: &mut HashSet<&'s MimiUri>,
    ) -> Result<&'s MimiUri, ParticipantListError> {
        let user = &self
            .get(index)
            .ok_or(ParticipantListError::NoSuchIndex(index))?
            .user;
        if touched.insert(user) {
            Ok(user)
        } else {
            Err(ParticipantListError::TouchedTwice(user.clone()))
        }
    }
}

fn set(roles: &mut [Option<RoleIndex>], index: u32, role: Option<RoleIndex>) {
    if let Some(slot) = usize::try_from(index).ok().and_then(|i| roles.get_mut(i)) {
        *slot = role;
    }
}
