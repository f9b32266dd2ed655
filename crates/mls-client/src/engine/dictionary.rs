//! Reading and changing a group's application data dictionary.

use super::Roster;
use crate::api::{B64, CardParticipant, RoomCard};
use crate::error::ClientError;
use crate::mls::client_of;
use mimi_wire::codec::{Decode, Encode as _};
use mimi_wire::components::{
    FrankingAgentData, ParticipantListData, ParticipantListUpdate, RoomMetaData, component_id,
};
use openmls::component::ComponentData;
use openmls::prelude::{AppDataDictionaryUpdater, AppDataUpdateOperation, AppDataUpdateProposal, MlsGroup};
use std::collections::BTreeMap;

/// A component of the current epoch.
pub(super) fn component<T: Decode>(group: &MlsGroup, id: u16) -> Result<Option<T>, ClientError> {
    let Some(dictionary) = group.extensions().app_data_dictionary() else {
        return Ok(None);
    };
    dictionary
        .dictionary()
        .get(&id)
        .map(T::from_bytes)
        .transpose()
        .map_err(ClientError::malformed("component of the group"))
}

pub(super) fn participants(group: &MlsGroup) -> Result<ParticipantListData, ClientError> {
    Ok(component(group, component_id::PARTICIPANT_LIST)?.unwrap_or_default())
}

pub(super) fn metadata(group: &MlsGroup) -> Result<Option<RoomMetaData>, ClientError> {
    component(group, component_id::ROOM_METADATA)
}

/// Whether application data is framed with its media type (mls-extensions-10 section 6).
pub(super) fn framed(group: &MlsGroup) -> bool {
    group
        .extensions()
        .app_data_dictionary()
        .is_some_and(|d| d.dictionary().contains(&component_id::CONTENT_MEDIA_TYPES))
}

pub(super) fn franking_agent(group: &MlsGroup) -> Result<Option<FrankingAgentData>, ClientError> {
    component(group, component_id::FRANKING_AGENT)
}

pub(super) fn roster(group: &MlsGroup) -> Result<Roster, ClientError> {
    let participants = participants(group)?;
    Ok(Roster {
        participants: participants
            .participants
            .iter()
            .map(|p| (p.user.as_str().to_owned(), p.role_index.0))
            .collect(),
        clients: group
            .members()
            .map(|m| client_of(&m.credential).unwrap_or_else(|_| "(unreadable)".into()))
            .collect(),
    })
}

/// What the own provider can't read of a room whose hub is elsewhere, for its portal to show.
pub(super) fn card(group: &MlsGroup) -> Result<RoomCard, ClientError> {
    let metadata = metadata(group)?.unwrap_or_default();
    let roles = group
        .extensions()
        .app_data_dictionary()
        .and_then(|d| d.dictionary().get(&component_id::ROLES_LIST).map(<[u8]>::to_vec));
    let shown = |text: String| (!text.is_empty()).then_some(text);
    Ok(RoomCard {
        epoch: group.epoch().as_u64(),
        name: shown(metadata.room_name),
        topic: shown(metadata.room_subject),
        picture: shown(metadata.room_avatar),
        roles: roles.map(B64),
        participants: participants(group)?
            .participants
            .iter()
            .map(|p| CardParticipant {
                user: p.user.as_str().to_owned(),
                role: p.role_index.0,
            })
            .collect(),
    })
}

/// The participant list update in a proposal, where it is one.
pub(super) fn list_update(
    proposal: &AppDataUpdateProposal,
) -> Result<Option<ParticipantListUpdate>, ClientError> {
    match proposal.operation() {
        AppDataUpdateOperation::Update(body) if proposal.component_id() == component_id::PARTICIPANT_LIST => {
            ParticipantListUpdate::from_bytes(body.as_slice())
                .map(Some)
                .map_err(ClientError::malformed("participant list update"))
        }
        _ => Ok(None),
    }
}

/// Works out what a commit's AppDataUpdate proposals make of the dictionary (mls-extensions-10 section 4.7): the
/// participant list is patched, every other component replaced as a whole.
pub(super) fn interpret(
    updater: &mut AppDataDictionaryUpdater<'_>,
    proposals: impl IntoIterator<Item = AppDataUpdateProposal>,
) -> Result<(), ClientError> {
    let mut by_component: BTreeMap<u16, Vec<AppDataUpdateOperation>> = BTreeMap::new();
    for proposal in proposals {
        by_component
            .entry(proposal.component_id())
            .or_default()
            .push(proposal.operation().clone());
    }
    let invalid = |why: &str| ClientError::Malformed {
        what: "AppDataUpdate",
        why: why.into(),
    };
    for (id, operations) in by_component {
        let mut bodies = Vec::with_capacity(operations.len());
        for operation in &operations {
            match operation {
                AppDataUpdateOperation::Update(body) => bodies.push(body.as_slice()),
                AppDataUpdateOperation::Remove if operations.len() == 1 => updater.remove(&id),
                AppDataUpdateOperation::Remove => return Err(invalid("a removal beside another operation")),
            }
        }
        let Some(last) = bodies.last() else { continue };
        let new = match id {
            component_id::PARTICIPANT_LIST => patch_participants(updater.old_value(id), &bodies)?,
            component_id::JOIN_LINKS => return Err(invalid("join links are not known to this client")),
            _ => last.to_vec(),
        };
        updater.set(ComponentData::from_parts(id, new.into()));
    }
    Ok(())
}

fn patch_participants(old: Option<&[u8]>, bodies: &[&[u8]]) -> Result<Vec<u8>, ClientError> {
    let old = match old {
        Some(octets) => {
            ParticipantListData::from_bytes(octets).map_err(ClientError::malformed("participant list"))?
        }
        None => ParticipantListData::default(),
    };
    let updates = bodies
        .iter()
        .map(|body| ParticipantListUpdate::from_bytes(body))
        .collect::<Result<Vec<_>, _>>()
        .map_err(ClientError::malformed("participant list update"))?;
    let new = old
        .apply(&updates)
        .map_err(ClientError::malformed("participant list update"))?;
    Ok(new.to_bytes())
}
