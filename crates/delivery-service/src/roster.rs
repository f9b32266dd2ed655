//! Who is in a room and with which clients: the participant list beside the leaves of the tree.

use crate::identity::{Client, IdentityError};
use mimi_wire::components::{
    ParticipantListData, ParticipantListError, ParticipantListUpdate, RoleIndex, UserRolePair,
};
use mimi_wire::{Domain, MimiUri, UriKind};
use openmls::prelude::LeafNodeIndex;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A room's participant list (draft-ietf-mimi-protocol-06 section 7.5), with an index over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Participants {
    data: ParticipantListData,
    index: HashMap<MimiUri, usize>,
}

/// One change of the list, by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListChange<A> {
    pub(crate) user: MimiUri,
    /// [`RoleIndex::NONE`] for somebody new.
    pub(crate) from: RoleIndex,
    /// [`RoleIndex::NONE`] for somebody who goes.
    pub(crate) to: RoleIndex,
    pub(crate) author: A,
}

/// A participant list or an update of one breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The update doesn't fit the list.
    #[error(transparent)]
    Update(#[from] ParticipantListError),
    /// A list with one user twice, or one with the role "none".
    #[error("{0} has no one role")]
    NotOneRole(MimiUri),
    /// A change to the role that the user has.
    #[error("{0} has that role already")]
    NoChange(MimiUri),
    /// Not the URI of a user or pseudonym.
    #[error("{0} is no user")]
    NotAUser(MimiUri),
}

impl Participants {
    pub(crate) fn new(data: ParticipantListData) -> Result<Self, ListError> {
        let index = HashMap::with_capacity(data.participants.len());
        Self::indexed(data, index, 0)
    }

    /// A list whose first `known` users are in the index.
    fn indexed(
        data: ParticipantListData,
        mut index: HashMap<MimiUri, usize>,
        known: usize,
    ) -> Result<Self, ListError> {
        for (position, entry) in data.participants.iter().enumerate().skip(known) {
            check_user(&entry.user)?;
            if entry.role_index == RoleIndex::NONE || index.insert(entry.user.clone(), position).is_some() {
                return Err(ListError::NotOneRole(entry.user.clone()));
            }
        }
        Ok(Self { data, index })
    }

    pub(crate) fn role(&self, user: &MimiUri) -> RoleIndex {
        self.index
            .get(user)
            .and_then(|position| self.data.participants.get(*position))
            .map_or(RoleIndex::NONE, |entry| entry.role_index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&MimiUri, RoleIndex)> {
        self.data
            .participants
            .iter()
            .map(|entry| (&entry.user, entry.role_index))
    }

    /// Applies the updates of one commit and says what each of them does.
    pub(crate) fn update<A: Clone>(
        &self,
        updates: &[(ParticipantListUpdate, A)],
    ) -> Result<(Self, Vec<ListChange<A>>), ListError> {
        let list = self.data.apply(updates.iter().map(|(update, _)| update))?;
        let mut changes = Vec::new();
        for (update, author) in updates {
            let mut push = |entry: Option<&UserRolePair>, to: RoleIndex| {
                changes.extend(entry.map(|entry| ListChange {
                    user: entry.user.clone(),
                    from: entry.role_index,
                    to,
                    author: author.clone(),
                }));
            };
            for change in &update.changed_role_participants {
                push(self.data.get(change.user_index), change.role_index);
            }
            for index in &update.removed_indices {
                push(self.data.get(*index), RoleIndex::NONE);
            }
            for entry in &update.added_participants {
                changes.push(ListChange {
                    user: entry.user.clone(),
                    from: RoleIndex::NONE,
                    to: entry.role_index,
                    author: author.clone(),
                });
            }
        }
        if let Some(same) = changes.iter().find(|change| change.from == change.to) {
            return Err(ListError::NoChange(same.user.clone()));
        }
        // Where nobody went, everybody is where they were.
        let somebody_went = changes.iter().any(|change| change.to == RoleIndex::NONE);
        let list = if somebody_went {
            Self::new(list)?
        } else {
            Self::indexed(list, self.index.clone(), self.data.participants.len())?
        };
        Ok((list, changes))
    }

    pub(crate) fn data(&self) -> &ParticipantListData {
        &self.data
    }
}

fn check_user(user: &MimiUri) -> Result<(), ListError> {
    if matches!(user.kind(), UriKind::User | UriKind::Pseudonym) {
        Ok(())
    } else {
        Err(ListError::NotAUser(user.clone()))
    }
}

/// The clients in the tree, by leaf, by URI and by user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Leaves {
    clients: BTreeMap<u32, Client>,
    index: HashMap<MimiUri, u32>,
    users: BTreeMap<MimiUri, BTreeSet<u32>>,
    /// How many users with clients each provider has.
    providers: BTreeMap<Domain, usize>,
}

/// The leaves of a tree can't be read as clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeavesError {
    /// A credential that names no client.
    #[error("leaf {leaf}: {error}")]
    Identity {
        /// The leaf.
        leaf: u32,
        /// What is wrong with its credential.
        error: IdentityError,
    },
    /// One client in two leaves.
    #[error("client {0} has two leaves")]
    Duplicate(MimiUri),
}

impl Leaves {
    pub(crate) fn insert(&mut self, leaf: LeafNodeIndex, client: Client) -> Result<(), LeavesError> {
        if self.index.insert(client.uri().clone(), leaf.u32()).is_some() {
            return Err(LeavesError::Duplicate(client.uri().clone()));
        }
        let leaves = self.users.entry(client.user().clone()).or_default();
        if leaves.is_empty() {
            *self.providers.entry(client.user().domain()).or_default() += 1;
        }
        leaves.insert(leaf.u32());
        self.clients.insert(leaf.u32(), client);
        Ok(())
    }

    pub(crate) fn remove(&mut self, leaf: LeafNodeIndex) -> Option<Client> {
        let client = self.clients.remove(&leaf.u32())?;
        self.index.remove(client.uri());
        if let Some(leaves) = self.users.get_mut(client.user()) {
            leaves.remove(&leaf.u32());
            if leaves.is_empty() {
                self.users.remove(client.user());
                self.forget_user_of(&client.user().domain());
            }
        }
        Some(client)
    }

    fn forget_user_of(&mut self, provider: &Domain) {
        if let Some(count) = self.providers.get_mut(provider) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.providers.remove(provider);
            }
        }
    }

    pub(crate) fn client(&self, leaf: LeafNodeIndex) -> Option<&Client> {
        self.clients.get(&leaf.u32())
    }

    pub(crate) fn leaf_of(&self, client: &MimiUri) -> Option<LeafNodeIndex> {
        self.index.get(client).copied().map(LeafNodeIndex::new)
    }

    pub(crate) fn of_user(&self, user: &MimiUri) -> impl Iterator<Item = (LeafNodeIndex, &Client)> {
        self.users
            .get(user)
            .into_iter()
            .flatten()
            .filter_map(|leaf| Some((LeafNodeIndex::new(*leaf), self.clients.get(leaf)?)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeafNodeIndex, &Client)> {
        self.clients
            .iter()
            .map(|(leaf, client)| (LeafNodeIndex::new(*leaf), client))
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = &MimiUri> {
        self.users.keys()
    }

    /// The providers of all users who have clients, but for some users.
    pub(crate) fn providers_without<'a>(
        &self,
        users: impl IntoIterator<Item = &'a MimiUri>,
    ) -> BTreeSet<Domain> {
        let mut gone: BTreeMap<Domain, usize> = BTreeMap::new();
        let users: BTreeSet<&MimiUri> = users.into_iter().collect();
        for user in users.into_iter().filter(|user| self.users.contains_key(user)) {
            *gone.entry(user.domain()).or_default() += 1;
        }
        let stays = |(domain, count): &(&Domain, &usize)| gone.get(*domain) != Some(*count);
        self.providers
            .iter()
            .filter(stays)
            .map(|(domain, _)| domain.clone())
            .collect()
    }

    /// The providers of all users that `keep` lets through.
    pub(crate) fn providers_of(&self, keep: impl Fn(&MimiUri) -> bool) -> BTreeSet<Domain> {
        let mut providers = BTreeSet::new();
        let mut last = None;
        for user in self.users().filter(|user| keep(user)) {
            // Users are in the order of their URIs, so those of a provider come together.
            if last.replace(user.authority()) != Some(user.authority()) {
                providers.insert(user.domain());
            }
        }
        providers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mimi_wire::components::UserIndexRolePair;
    use proptest::prelude::*;

    fn entry(number: usize, role: u32) -> UserRolePair {
        UserRolePair {
            user: format!("mimi://a.example/u/{number}").parse().unwrap(),
            role_index: RoleIndex(role),
        }
    }

    proptest! {
        /// What an update leaves of the index is what a new one would be.
        #[test]
        fn an_updated_list_is_as_if_made_anew(
            done in prop::collection::vec(prop_oneof![4 => Just(0_u32), 1 => Just(1), 1 => Just(2)], 0..12),
            added in 0_usize..4,
        ) {
            let list = ParticipantListData {
                participants: (0..done.len()).map(|number| entry(number, 1)).collect(),
            };
            let those = |what: u32| (0_u32..).zip(&done).filter(move |(_, done)| **done == what).map(|(index, _)| index);
            let update = ParticipantListUpdate {
                changed_role_participants: those(1)
                    .map(|user_index| UserIndexRolePair { user_index, role_index: RoleIndex(2) })
                    .collect(),
                removed_indices: those(2).collect(),
                added_participants: (100..100 + added).map(|number| entry(number, 3)).collect(),
            };
            let before = Participants::new(list).unwrap();
            let (after, changes) = before.update(&[(update, ())]).unwrap();
            prop_assert_eq!(changes.len(), done.iter().filter(|done| **done != 0).count() + added);
            prop_assert_eq!(&after, &Participants::new(after.data().clone()).unwrap());
        }
    }
}
