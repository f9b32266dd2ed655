//! What a room must be like for the hub to take it up.

use crate::client::{SUITE, SUITES, TestClient, uri};
use crate::room::hub;
use crate::setup::{room_components, room_extensions};
use delivery_service::{FoundRefusal, Group, HubIdentity, RoleIndex, View};
use mimi_wire::components::{
    FrankingAgentData, ParticipantListData, RoomMetaData, UserRolePair, component_id,
};
use mimi_wire::mls::Credential;
use mimi_wire::{Domain, Encode};
use openmls::prelude::*;

fn set(components: &mut Vec<(u16, Vec<u8>)>, id: u16, data: Option<Vec<u8>>) {
    components.retain(|(other, _)| *other != id);
    components.extend(data.map(|data| (id, data)));
}

/// Founds a room after the group context was changed.
fn found(
    components: impl FnOnce(&mut Vec<(u16, Vec<u8>)>),
    extensions: impl FnOnce(Extensions<GroupContext>) -> Extensions<GroupContext>,
) -> Result<Group, FoundRefusal> {
    let hub = hub();
    let room = uri("mimi://a.example/r/club");
    let mut alice = TestClient::new("mimi://a.example/d/alice/phone");
    let mut data = room_components(&hub, SUITE, &room, &alice.user());
    components(&mut data);
    data.sort();
    let extensions = extensions(room_extensions(&hub, SUITE, &data));
    let (group_info, tree) = alice.create(extensions, b"group");
    Group::found(&hub, &room, &alice.user(), &group_info, &tree)
}

fn same(extensions: Extensions<GroupContext>) -> Extensions<GroupContext> {
    extensions
}

#[test]
fn a_proper_room() {
    let group = found(|_| (), same).unwrap();
    assert_eq!(group.group_id().as_bytes(), b"group");
    assert_eq!(group.epoch().0, 0);
    assert_eq!(group.cipher_suite().0, 1);
    assert!(group.franking_agent().is_some());
    let alice = uri("mimi://a.example/u/alice");
    assert_eq!(group.role(&alice, View::Effective), RoleIndex(4));
    assert_eq!(group.participants(View::Effective).count(), 1);
    assert!(group.has_client(&uri("mimi://a.example/d/alice/phone")));
}

#[test]
fn components() {
    let alice = uri("mimi://a.example/u/alice");
    let list = |pairs: &[(&str, u32)]| {
        let participants = pairs
            .iter()
            .map(|(user, role)| UserRolePair {
                user: uri(user),
                role_index: RoleIndex(*role),
            })
            .collect();
        Some(ParticipantListData { participants }.to_bytes())
    };
    let id = component_id::PARTICIPANT_LIST;
    let cases = [
        (id, None, FoundRefusal::ComponentMissing(id)),
        (id, Some(vec![9]), FoundRefusal::Component(id)),
        (id, list(&[(alice.as_str(), 3)]), FoundRefusal::Participants),
        (id, list(&[]), FoundRefusal::Participants),
        (
            id,
            list(&[(alice.as_str(), 4), ("mimi://b.example/u/bob", 2)]),
            FoundRefusal::Participants,
        ),
        (
            component_id::ROOM_METADATA,
            None,
            FoundRefusal::ComponentMissing(component_id::ROOM_METADATA),
        ),
        (
            component_id::ROOM_METADATA,
            Some(
                RoomMetaData {
                    room_uri: "mimi://a.example/r/x".into(),
                    ..Default::default()
                }
                .to_bytes(),
            ),
            FoundRefusal::RoomUri,
        ),
        (
            component_id::FRANKING_AGENT,
            Some(
                FrankingAgentData {
                    franking_signature_key: vec![9; 32].into(),
                    credential: Credential::basic(b"mimi://a.example".as_slice()),
                }
                .to_bytes(),
            ),
            FoundRefusal::FrankingAgent,
        ),
        (
            component_id::ROLES_LIST,
            Some(vec![0]),
            FoundRefusal::Component(component_id::ROLES_LIST),
        ),
    ];
    for (id, data, refusal) in cases {
        let error = found(|components| set(components, id, data), same).unwrap_err();
        assert_eq!(error, refusal);
    }
    // Without franking agent the room is one where nothing is franked.
    let plain = found(
        |components| set(components, component_id::FRANKING_AGENT, None),
        same,
    )
    .unwrap();
    assert!(plain.franking_agent().is_none());
}

#[test]
fn group_context() {
    let without = |kind: ExtensionType| {
        move |mut extensions: Extensions<GroupContext>| {
            extensions.remove(kind);
            extensions
        }
    };
    let error = found(|_| (), without(ExtensionType::ExternalSenders)).unwrap_err();
    assert_eq!(error, FoundRefusal::HubNotExternalSender);
    let error = found(|_| (), without(ExtensionType::AppDataDictionary)).unwrap_err();
    assert_eq!(
        error,
        FoundRefusal::ComponentMissing(component_id::PARTICIPANT_LIST)
    );
    let error = found(|_| (), without(ExtensionType::RequiredCapabilities)).unwrap_err();
    assert!(matches!(error, FoundRefusal::RequiredCapabilities(_)));
    let weak = |mut extensions: Extensions<GroupContext>| {
        let required = RequiredCapabilitiesExtension::new(
            &[ExtensionType::AppDataDictionary],
            &[ProposalType::AppDataUpdate],
            &[],
        );
        extensions
            .add_or_replace(Extension::RequiredCapabilities(required))
            .unwrap();
        extensions
    };
    assert!(matches!(
        found(|_| (), weak).unwrap_err(),
        FoundRefusal::RequiredCapabilities(_)
    ));
}

#[test]
fn who_founds_what_where() {
    let hub = hub();
    let room = uri("mimi://a.example/r/club");
    let mut alice = TestClient::new("mimi://a.example/d/alice/phone");
    let components = room_components(&hub, SUITE, &room, &alice.user());
    let (group_info, tree) = alice.create(room_extensions(&hub, SUITE, &components), b"group");
    let found = |hub: &HubIdentity, room: &str, creator: &str, group_info: &[u8], tree: &[u8]| {
        Group::found(hub, &uri(room), &uri(creator), group_info, tree).map(|_| ())
    };
    let (club, alice) = ("mimi://a.example/r/club", "mimi://a.example/u/alice");
    assert_eq!(found(&hub, club, alice, &group_info, &tree), Ok(()));
    let other = HubIdentity::from_seeds(Domain::parse("a.example").unwrap(), [4; 32], [2; 32], [3; 32]);
    assert_eq!(
        found(&other, club, alice, &group_info, &tree),
        Err(FoundRefusal::HubNotExternalSender)
    );
    assert_eq!(
        found(&hub, "mimi://b.example/r/club", alice, &group_info, &tree),
        Err(FoundRefusal::ForeignRoom)
    );
    assert_eq!(
        found(&hub, club, "mimi://b.example/u/alice", &group_info, &tree),
        Err(FoundRefusal::ForeignCreator)
    );
    assert_eq!(
        found(&hub, club, "mimi://a.example/u/bob", &group_info, &tree),
        Err(FoundRefusal::Participants)
    );
    assert_eq!(
        found(&hub, club, alice, &group_info[1..], &tree),
        Err(FoundRefusal::Malformed("GroupInfo"))
    );
    assert!(found(&hub, club, alice, &group_info, &[0]).is_err());
    let mut forged = group_info.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(
        found(&hub, club, alice, &forged, &tree),
        Err(FoundRefusal::Mls(_))
    ));
    let debug = format!("{hub:?}");
    assert_eq!(debug, "HubIdentity { provider: a.example, .. }");
}

#[test]
fn each_suite_has_the_hubs_key_of_its_scheme() {
    let hub = hub();
    let room = uri("mimi://a.example/r/club");
    for suite in SUITES {
        for named in SUITES {
            let mut alice = TestClient::of(suite, "mimi://a.example/d/alice/phone");
            let same = suite.signature_algorithm() == named.signature_algorithm();
            let right = room_components(&hub, suite, &room, &alice.user());
            let agent_of_named = room_components(&hub, named, &room, &alice.user());
            let (group_info, tree) = alice.create(room_extensions(&hub, named, &right), b"group");
            let by_sender = Group::found(&hub, &room, &alice.user(), &group_info, &tree);
            let mut alice = TestClient::of(suite, "mimi://a.example/d/alice/phone");
            let (group_info, tree) = alice.create(room_extensions(&hub, suite, &agent_of_named), b"group");
            let by_agent = Group::found(&hub, &room, &alice.user(), &group_info, &tree);
            if same {
                assert_eq!(by_sender.unwrap().cipher_suite().0, u16::from(suite));
                assert!(by_agent.unwrap().franking_agent().is_some());
            } else {
                assert_eq!(by_sender.unwrap_err(), FoundRefusal::HubNotExternalSender);
                assert_eq!(by_agent.unwrap_err(), FoundRefusal::FrankingAgent);
            }
        }
    }
}

#[test]
fn other_suites_are_refused_by_number() {
    let hub = hub();
    let room = uri("mimi://a.example/r/club");
    let mut alice = TestClient::new("mimi://a.example/d/alice/phone");
    let components = room_components(&hub, SUITE, &room, &alice.user());
    let (group_info, tree) = alice.create(room_extensions(&hub, SUITE, &components), b"group");
    for suite in [0_u16, 4, 5, 6, 7, 8, 0x0a0a, 0xf000, 0xffff] {
        let mut other = group_info.clone();
        // GroupInfo begins with GroupContext: version, then the suite.
        other[2..4].copy_from_slice(&suite.to_be_bytes());
        let refusal = Group::found(&hub, &room, &alice.user(), &other, &tree).unwrap_err();
        assert_eq!(refusal, FoundRefusal::CipherSuite(suite));
        let text = format!("cipher suite {suite:#06x} is not supported");
        assert_eq!(refusal.to_string(), text);
    }
}
