//! Hand-computed vectors of another implementation of protocol-06.

use crate::data::{json, octets};
use mimi_wire::codec::UnixMillis;
use mimi_wire::components::{
    AppDataDictionary, ParticipantListUpdate, RoleIndex, UserIndexRolePair, UserRolePair,
};
use mimi_wire::mls::Epoch;
use mimi_wire::protocol::{
    ClientKeyMaterial, ClientMaterial, ConsentEntry, ConsentOperation, KeyMaterialResponse,
    KeyMaterialUserCode, SubmitMessageResponse,
};
use mimi_wire::{Decode, Encode, MimiUri};

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

/// Runs the vectors of one struct; `expected` names the value of each that must be accepted.
fn check<T: Encode + Decode + PartialEq + std::fmt::Debug>(kind: &str, expected: &[(&str, T)]) {
    let Some(vectors) = json("mimi/wire/wire-kats.json") else {
        return;
    };
    let mut accepted = 0;
    for vector in vectors[kind].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let bytes = octets(&vector["hex"]);
        if vector["expect"] == "error" {
            assert!(T::from_bytes(&bytes).is_err(), "{name}");
        } else {
            let (_, value) = expected.iter().find(|(n, _)| *n == name).expect(name);
            assert_eq!(&T::from_bytes(&bytes).unwrap(), value, "{name}");
            assert_eq!(value.to_bytes(), bytes, "{name}");
            accepted += 1;
        }
    }
    assert_eq!(accepted, expected.len());
}

#[test]
fn participant_list_updates() {
    let a = UserRolePair {
        user: uri("mimi://h/u/a"),
        role_index: RoleIndex(2),
    };
    let change = UserIndexRolePair {
        user_index: 0,
        role_index: RoleIndex(3),
    };
    check(
        "participant_list_update",
        &[
            (
                "add_role2",
                ParticipantListUpdate {
                    added_participants: vec![a],
                    ..Default::default()
                },
            ),
            (
                "remove_index0",
                ParticipantListUpdate {
                    removed_indices: vec![0],
                    ..Default::default()
                },
            ),
            (
                "set_role_index0_role3",
                ParticipantListUpdate {
                    changed_role_participants: vec![change],
                    ..Default::default()
                },
            ),
        ],
    );
}

#[test]
fn submit_message_responses() {
    let accepted_timestamp = UnixMillis(0x0102_0304_0506_0708);
    check(
        "submit_message_response",
        &[
            (
                "accepted_no_frank",
                SubmitMessageResponse::Accepted {
                    accepted_timestamp,
                    frank: None,
                },
            ),
            ("not_allowed", SubmitMessageResponse::NotAllowed),
            (
                "epoch_too_old_42",
                SubmitMessageResponse::EpochTooOld {
                    current_epoch: Epoch(42),
                },
            ),
        ],
    );
}

#[test]
fn consent_entries() {
    let entry = ConsentEntry {
        consent_operation: ConsentOperation::Request,
        requester_uri: uri("mimi://a.example/u/alice"),
        target_uri: uri("mimi://b.example/u/bob"),
        room_id: None,
        client_key_packages: Vec::new(),
        consent_extensions: AppDataDictionary::new(),
    };
    check("consent_entry", &[("request_no_room", entry)]);
}

#[test]
fn key_material_responses() {
    let bob = uri("mimi://b.example/u/bob");
    let client = ClientKeyMaterial {
        client_uri: bob.clone(),
        material: ClientMaterial::KeyMaterialExhausted,
    };
    let response = KeyMaterialResponse {
        user_status: KeyMaterialUserCode::PartialSuccess,
        user_uri: bob,
        clients: vec![client],
    };
    check("key_material_response", &[("one_client_exhausted", response)]);
}
