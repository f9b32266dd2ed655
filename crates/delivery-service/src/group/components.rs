//! What AppDataUpdate proposals do to the group's components.

use super::Group;
use crate::refusal::{NotAllowed, UpdateRefusal};
use crate::roster::{ListChange, Participants};
use mimi_wire::components::{
    ParticipantListData, ParticipantListUpdate, RoleIndex, RoomMetaData, component_id,
};
use mimi_wire::mls::{AppDataOperation, AppDataUpdate};
use mimi_wire::policy::{
    Action, BaseRoomPolicy, CommitShape, MetadataField, PreAuthData, RoleData, check_isolation,
};
use mimi_wire::{Decode, Encode};
use openmls::component::ComponentData;
use std::collections::BTreeSet;

/// One AppDataUpdate, decoded as far as the hub has to understand it.
#[derive(Debug, Clone)]
pub(super) enum ComponentUpdate {
    Participants(ParticipantListUpdate),
    Metadata(Box<RoomMetaData>),
    Roles(RoleData),
    /// A policy component that is replaced as a whole and that the hub only guards.
    Policy,
}

impl ComponentUpdate {
    pub(super) fn decode(proposal: &AppDataUpdate) -> Result<Self, NotAllowed> {
        let id = proposal.component_id;
        let AppDataOperation::Update(data) = &proposal.operation else {
            // Every component of a room is needed for as long as the room exists.
            return Err(NotAllowed::Component(id));
        };
        let data = data.as_bytes();
        let invalid = |_| NotAllowed::ComponentData(id);
        match id {
            component_id::PARTICIPANT_LIST => ParticipantListUpdate::from_bytes(data)
                .map(Self::Participants)
                .map_err(invalid),
            component_id::ROOM_METADATA => RoomMetaData::from_bytes(data)
                .map(Box::new)
                .map(Self::Metadata)
                .map_err(invalid),
            component_id::ROLES_LIST => {
                let roles = RoleData::from_bytes(data).map_err(invalid)?;
                roles.check().map_err(|_| NotAllowed::ComponentData(id))?;
                Ok(Self::Roles(roles))
            }
            component_id::PREAUTH_LIST => PreAuthData::from_bytes(data)
                .map(|_| Self::Policy)
                .map_err(invalid),
            component_id::BASE_ROOM_POLICY => BaseRoomPolicy::from_bytes(data)
                .map(|_| Self::Policy)
                .map_err(invalid),
            component_id::MLS_OPERATIONAL_POLICY
            | component_id::STATUS_NOTIFICATION_POLICY
            | component_id::JOIN_LINK_POLICY
            | component_id::LINK_PREVIEW_POLICY
            | component_id::ASSET_POLICY
            | component_id::LOGGING_POLICY
            | component_id::CHAT_HISTORY_POLICY
            | component_id::BOT_POLICY
            | component_id::MESSAGE_EXPIRATION_POLICY => Ok(Self::Policy),
            _ => Err(NotAllowed::Component(id)),
        }
    }
}

/// What the AppDataUpdates of one commit come to; `A` says who wrote each.
#[derive(Debug)]
pub(super) struct ComponentChanges<A> {
    pub(super) participants: Option<Participants>,
    pub(super) list_changes: Vec<ListChange<A>>,
    /// Rights that are needed beside those for the list, and by whom.
    pub(super) rights: Vec<(A, Action<'static>)>,
    /// New data, for openmls.
    pub(super) data: Vec<ComponentData>,
}

impl Group {
    /// Works out what a commit's AppDataUpdates do, in the order of the commit.
    pub(super) fn component_changes<'a, A: Clone>(
        &self,
        proposals: impl Iterator<Item = (&'a AppDataUpdate, A)>,
    ) -> Result<ComponentChanges<A>, UpdateRefusal> {
        let mut lists = Vec::new();
        let mut replaced = BTreeSet::new();
        let mut rights = Vec::new();
        let mut data = Vec::new();
        let mut roles = None;
        for (proposal, author) in proposals {
            let id = proposal.component_id;
            let update = ComponentUpdate::decode(proposal)?;
            if let ComponentUpdate::Participants(update) = update {
                lists.push((update, author));
                continue;
            }
            if !replaced.insert(id) {
                return Err(NotAllowed::ComponentData(id).into());
            }
            match update {
                ComponentUpdate::Participants(_) => {}
                ComponentUpdate::Metadata(new) => {
                    let needed = self.metadata_rights(&new)?;
                    rights.extend(needed.into_iter().map(|action| (author.clone(), action)));
                }
                ComponentUpdate::Roles(new) => {
                    rights.push((author, Action::ChangePolicy { component_id: id }));
                    roles = Some(new);
                }
                ComponentUpdate::Policy => {
                    rights.push((author, Action::ChangePolicy { component_id: id }));
                }
            }
            if let AppDataOperation::Update(new) = &proposal.operation {
                data.push(ComponentData::from_parts(id, new.as_bytes().into()));
            }
        }
        let (participants, list_changes) = if lists.is_empty() {
            (None, Vec::new())
        } else {
            let (list, changes) = self.participants.update(&lists)?;
            let encoded = list.data().to_bytes();
            data.push(ComponentData::from_parts(
                component_id::PARTICIPANT_LIST,
                encoded.into(),
            ));
            (Some(list), changes)
        };
        self.check_isolation(&replaced, &list_changes, roles.as_ref())?;
        Ok(ComponentChanges {
            participants,
            list_changes,
            rights,
            data,
        })
    }

    /// What may not share a commit, and that nobody is left with a role that doesn't exist.
    fn check_isolation<A>(
        &self,
        replaced: &BTreeSet<u16>,
        list_changes: &[ListChange<A>],
        roles: Option<&RoleData>,
    ) -> Result<(), NotAllowed> {
        let removes = |change: &ListChange<A>| change.to == RoleIndex::NONE;
        check_isolation(CommitShape {
            changes_roles: roles.is_some(),
            changes_preauth: replaced.contains(&component_id::PREAUTH_LIST),
            removes_participants: list_changes.iter().any(removes),
            adds_or_changes_participants: !list_changes.iter().all(removes),
            metadata_updates: usize::from(replaced.contains(&component_id::ROOM_METADATA)),
        })?;
        let undefined = |roles: &RoleData| {
            self.participants
                .iter()
                .any(|(_, role)| roles.get(role).is_none())
        };
        if roles.is_some_and(undefined) {
            return Err(NotAllowed::ComponentData(component_id::ROLES_LIST));
        }
        Ok(())
    }

    /// The rights needed to replace the metadata: one for each field that changes.
    fn metadata_rights(&self, new: &RoomMetaData) -> Result<Vec<Action<'static>>, NotAllowed> {
        let invalid = NotAllowed::ComponentData(component_id::ROOM_METADATA);
        let old = self
            .component(component_id::ROOM_METADATA)
            .and_then(|data| RoomMetaData::from_bytes(data).ok())
            .ok_or(invalid.clone())?;
        if new.room_uri != old.room_uri {
            return Err(invalid);
        }
        let fields = [
            (new.room_name != old.room_name, MetadataField::Name),
            (
                new.room_descriptions != old.room_descriptions,
                MetadataField::Description,
            ),
            (new.room_avatar != old.room_avatar, MetadataField::Avatar),
            (new.room_subject != old.room_subject, MetadataField::Subject),
            (new.room_mood != old.room_mood, MetadataField::Mood),
        ];
        Ok(fields
            .into_iter()
            .filter_map(|(changed, field)| changed.then_some(Action::ChangeMetadata(field)))
            .collect())
    }

    /// Reads the list from the committed group context again.
    pub(super) fn reload_components(&mut self) -> Result<(), super::ApplyError> {
        let list = self
            .component(component_id::PARTICIPANT_LIST)
            .and_then(|data| ParticipantListData::from_bytes(data).ok())
            .and_then(|data| Participants::new(data).ok())
            .ok_or(super::ApplyError::Component(component_id::PARTICIPANT_LIST))?;
        self.participants = list;
        Ok(())
    }
}
