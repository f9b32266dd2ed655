//! How the groups and leaves of test clients are set up: as those of MIMI rooms are.

use crate::client::{COMPONENTS, SUITES};
use delivery_service::{HubIdentity, RoleIndex};
use mimi_wire::components::{
    ComponentsList, MediaTypeList, ParticipantListData, RoomMetaData, UserRolePair, component_id,
};
use mimi_wire::mls::CipherSuite;
use mimi_wire::{Encode, MimiUri};
use openmls::prelude::{tls_codec::Deserialize as _, *};

pub fn capabilities() -> Capabilities {
    Capabilities::new(
        None,
        Some(&SUITES),
        Some(&[ExtensionType::AppDataDictionary]),
        Some(&[ProposalType::AppDataUpdate, ProposalType::SelfRemove]),
        None,
    )
}

fn dictionary(entries: &[(u16, Vec<u8>)]) -> Extension {
    let mut dictionary = openmls::extensions::AppDataDictionary::new();
    for (id, data) in entries {
        dictionary.insert(*id, data.clone());
    }
    Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary))
}

pub fn leaf_extensions(components: &[u16]) -> Extensions<LeafNode> {
    let list = ComponentsList {
        component_ids: components.to_vec(),
    };
    let safe_aad = ComponentsList {
        component_ids: vec![component_id::FRANK_AAD],
    };
    Extensions::single(dictionary(&[
        (component_id::APP_COMPONENTS, list.to_bytes()),
        (component_id::SAFE_AAD, safe_aad.to_bytes()),
        (
            component_id::CONTENT_MEDIA_TYPES,
            MediaTypeList::mimi().to_bytes(),
        ),
    ]))
    .unwrap()
}

/// A room's components at its start.
pub fn room_components(
    hub: &HubIdentity,
    suite: Ciphersuite,
    room: &MimiUri,
    creator: &MimiUri,
) -> Vec<(u16, Vec<u8>)> {
    let agent = hub.franking_agent(CipherSuite(suite.into())).unwrap();
    let required = ComponentsList {
        component_ids: COMPONENTS.to_vec(),
    };
    let safe_aad = ComponentsList {
        component_ids: vec![component_id::FRANK_AAD],
    };
    let list = ParticipantListData {
        participants: vec![UserRolePair {
            user: creator.clone(),
            role_index: RoleIndex(4),
        }],
    };
    let metadata = RoomMetaData {
        room_uri: room.as_str().to_owned(),
        room_name: "Club".to_owned(),
        ..RoomMetaData::default()
    };
    vec![
        (component_id::APP_COMPONENTS, required.to_bytes()),
        (component_id::SAFE_AAD, safe_aad.to_bytes()),
        (
            component_id::CONTENT_MEDIA_TYPES,
            MediaTypeList::mimi().to_bytes(),
        ),
        (component_id::FRANKING_AGENT, agent.to_bytes()),
        (component_id::PARTICIPANT_LIST, list.to_bytes()),
        (component_id::ROOM_METADATA, metadata.to_bytes()),
    ]
}

/// The group context of a new room.
pub fn room_extensions(
    hub: &HubIdentity,
    suite: Ciphersuite,
    components: &[(u16, Vec<u8>)],
) -> Extensions<GroupContext> {
    let sender = hub.external_sender(CipherSuite(suite.into())).unwrap();
    let sender = ExternalSender::tls_deserialize_exact(sender).unwrap();
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(
            &[ExtensionType::AppDataDictionary],
            &[ProposalType::AppDataUpdate, ProposalType::SelfRemove],
            &[CredentialType::Basic],
        )),
        Extension::ExternalSenders(vec![sender]),
        dictionary(components),
    ])
    .unwrap()
}
