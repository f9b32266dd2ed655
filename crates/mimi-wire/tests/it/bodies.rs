//! Random bodies of every endpoint.

use crate::strategies::{
    application_message, capabilities, ciphertext, commit_message, credential, dictionary, external_sender,
    group_info, key_package, millis, opaque, proposal_message, ratchet_tree, required, suite, uri, welcome,
};
use mimi_wire::mls::{Epoch, ProposalRef};
use mimi_wire::protocol::{
    AbuseReport, AbuseType, AbusiveMessage, ClientKeyMaterial, ClientMaterial, ConsentEntry,
    ConsentOperation, FanoutMessage, FieldSource, Frank, GroupInfoOption, GroupInfoRatchetTreeTbe,
    GroupInfoRequest, GroupInfoResponse, GroupInfoSuccess, HandshakeBundle, IdentifierQueryCode,
    IdentifierRequest, IdentifierResponse, KeyMaterialRequest, KeyMaterialResponse, KeyMaterialUserCode,
    PartialGroupInfo, PendingProposal, ProfileField, QueryElement, RatchetTreeOption, RatchetTreePresence,
    SearchIdentifierType, SubmitMessageRequest, SubmitMessageResponse, UpdateOutcome, UpdateRoomResponse,
    UserProfile,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn key_material_request() -> BoxedStrategy<KeyMaterialRequest> {
    (
        (uri(), uri(), option::of(uri())),
        vec(suite(), 1..4),
        required(),
        opaque(),
        credential(),
        opaque(),
    )
        .prop_map(
            |((requesting_user, target_user, room_id), suites, required, key, credential, signature)| {
                KeyMaterialRequest {
                    requesting_user,
                    target_user,
                    room_id,
                    acceptable_ciphersuites: suites,
                    required_capabilities: required,
                    requester_signature_key: key,
                    requester_credential: credential,
                    key_material_request_signature: signature,
                }
            },
        )
        .boxed()
}

pub(crate) fn key_material_response() -> BoxedStrategy<KeyMaterialResponse> {
    let material = prop_oneof![
        key_package().prop_map(|k| ClientMaterial::Success(Box::new(k))),
        Just(ClientMaterial::KeyMaterialExhausted),
        option::of(capabilities()).prop_map(ClientMaterial::NothingCompatible),
    ];
    let client =
        (uri(), material).prop_map(|(client_uri, material)| ClientKeyMaterial { client_uri, material });
    (select(KeyMaterialUserCode::ALL), uri(), vec(client, 0..3))
        .prop_map(|(user_status, user_uri, clients)| {
            let clients = if user_status.may_list_clients() {
                clients
            } else {
                vec![]
            };
            KeyMaterialResponse {
                user_status,
                user_uri,
                clients,
            }
        })
        .boxed()
}

fn tree_option() -> BoxedStrategy<RatchetTreeOption> {
    prop_oneof![
        ratchet_tree().prop_map(RatchetTreeOption::Full),
        "https://[a-z]{1,9}".prop_map(|ratchet_tree_url| RatchetTreeOption::HttpsUri { ratchet_tree_url }),
        Just(RatchetTreeOption::OutOfBand),
        Just(RatchetTreeOption::DistributionService),
    ]
    .boxed()
}

pub(crate) fn handshake_bundle() -> BoxedStrategy<HandshakeBundle> {
    let partial = (
        select(RatchetTreePresence::ALL),
        crate::strategies::extensions(),
        opaque(),
    )
        .prop_map(|(ratchet_tree_presence, group_info_extensions, signature)| {
            let partial = PartialGroupInfo {
                ratchet_tree_presence,
                group_info_extensions,
                signature,
            };
            GroupInfoOption::Partial(partial)
        });
    let info = prop_oneof![
        group_info().prop_map(|g| GroupInfoOption::Full(Box::new(g))),
        partial
    ];
    let commit = (commit_message(), option::of(welcome()), info, tree_option()).prop_map(
        |(commit, welcome, info, tree)| HandshakeBundle::commit(commit, welcome, info, tree).unwrap(),
    );
    let proposals = (proposal_message(), vec(proposal_message(), 0..3))
        .prop_map(|(first, more)| HandshakeBundle::proposals(first, more).unwrap());
    prop_oneof![commit, proposals].boxed()
}

pub(crate) fn update_response() -> BoxedStrategy<UpdateRoomResponse> {
    let outcome = prop_oneof![
        millis().prop_map(|accepted_timestamp| UpdateOutcome::Success { accepted_timestamp }),
        any::<u64>().prop_map(|e| UpdateOutcome::WrongEpoch {
            current_epoch: Epoch(e)
        }),
        Just(UpdateOutcome::NotAllowed),
        vec(opaque().prop_map(ProposalRef), 0..3)
            .prop_map(|invalid_proposals| UpdateOutcome::InvalidProposal { invalid_proposals }),
    ];
    ("\\PC{0,20}", outcome)
        .prop_map(|(error_description, outcome)| UpdateRoomResponse {
            error_description,
            outcome,
        })
        .boxed()
}

fn frank() -> BoxedStrategy<Frank> {
    (any::<[u8; 32]>(), suite(), opaque())
        .prop_map(|(server_frank, suite, signature)| Frank {
            server_frank,
            franking_signature_ciphersuite: suite,
            franking_integrity_signature: signature,
        })
        .boxed()
}

pub(crate) fn submit_request() -> BoxedStrategy<SubmitMessageRequest> {
    (application_message(), uri())
        .prop_map(|(m, uri)| SubmitMessageRequest::new(m, uri).unwrap())
        .boxed()
}

pub(crate) fn submit_response() -> BoxedStrategy<SubmitMessageResponse> {
    prop_oneof![
        (millis(), option::of(frank())).prop_map(|(accepted_timestamp, frank)| {
            SubmitMessageResponse::Accepted {
                accepted_timestamp,
                frank,
            }
        }),
        Just(SubmitMessageResponse::NotAllowed),
        any::<u64>().prop_map(|e| SubmitMessageResponse::EpochTooOld {
            current_epoch: Epoch(e)
        }),
    ]
    .boxed()
}

pub(crate) fn fanout_message() -> BoxedStrategy<FanoutMessage> {
    prop_oneof![
        (millis(), application_message(), option::of(frank()))
            .prop_map(|(t, m, f)| FanoutMessage::application(t, m, f).unwrap()),
        (millis(), welcome(), tree_option()).prop_map(|(t, w, o)| FanoutMessage::welcome(t, &w, o)),
        (millis(), proposal_message(), vec(proposal_message(), 0..2))
            .prop_map(|(t, m, more)| FanoutMessage::proposals(t, m, more).unwrap()),
        (millis(), commit_message(), vec(proposal_message(), 0..2))
            .prop_map(|(t, m, more)| FanoutMessage::commit(t, m, more).unwrap()),
    ]
    .boxed()
}

pub(crate) fn group_info_request() -> BoxedStrategy<GroupInfoRequest> {
    (suite(), opaque(), credential(), vec(opaque(), 3))
        .prop_map(|(cipher_suite, key, credential, more)| GroupInfoRequest {
            cipher_suite,
            requesting_signature_key: key,
            requesting_credential: credential,
            group_info_public_key: more[0].clone(),
            joining_code: more[1].clone(),
            signature: more[2].clone(),
        })
        .boxed()
}

pub(crate) fn group_info_response() -> BoxedStrategy<GroupInfoResponse> {
    let success = (opaque(), suite(), external_sender(), ciphertext(), opaque()).prop_map(
        |(room_id, cipher_suite, hub_sender, encrypted_groupinfo_and_tree, signature)| {
            GroupInfoResponse::Success(GroupInfoSuccess {
                room_id,
                cipher_suite,
                hub_sender,
                encrypted_groupinfo_and_tree,
                signature,
            })
        },
    );
    prop_oneof![
        success,
        opaque().prop_map(|room_id| GroupInfoResponse::NotAuthorized { room_id }),
        opaque().prop_map(|room_id| GroupInfoResponse::NoSuchRoom { room_id }),
    ]
    .boxed()
}

pub(crate) fn group_info_tbe() -> BoxedStrategy<GroupInfoRatchetTreeTbe> {
    let pending = (proposal_message(), millis()).prop_map(|(proposal, hub_accepted_time)| PendingProposal {
        proposal,
        hub_accepted_time,
    });
    (group_info(), tree_option(), vec(pending, 0..2))
        .prop_map(
            |(group_info, ratchet_tree_option, pending_proposals)| GroupInfoRatchetTreeTbe {
                group_info,
                ratchet_tree_option,
                pending_proposals,
            },
        )
        .boxed()
}

pub(crate) fn consent_entry() -> BoxedStrategy<ConsentEntry> {
    let operation = select(ConsentOperation::ALL);
    (
        operation,
        uri(),
        uri(),
        option::of(uri()),
        vec(key_package(), 0..2),
        dictionary(),
    )
        .prop_map(
            |(consent_operation, requester_uri, target_uri, room_id, packages, consent_extensions)| {
                let is_grant = consent_operation == ConsentOperation::Grant;
                ConsentEntry {
                    consent_operation,
                    requester_uri,
                    target_uri,
                    room_id,
                    client_key_packages: if is_grant { packages } else { vec![] },
                    consent_extensions,
                }
            },
        )
        .boxed()
}

pub(crate) fn identifier_request() -> BoxedStrategy<IdentifierRequest> {
    let element = (select(SearchIdentifierType::ALL), "[a-z]{0,9}", "\\PC{0,9}").prop_map(
        |(search_type, name, search_value)| {
            use SearchIdentifierType::{OidcStdClaim, VcardField};
            let field_name = if matches!(search_type, OidcStdClaim | VcardField) {
                name
            } else {
                String::new()
            };
            QueryElement {
                search_type,
                field_name,
                search_value,
            }
        },
    );
    (vec(element, 0..3), dictionary())
        .prop_map(|(query_elements, id_request_extensions)| IdentifierRequest {
            query_elements,
            id_request_extensions,
        })
        .boxed()
}

pub(crate) fn identifier_response() -> BoxedStrategy<IdentifierResponse> {
    let field = (select(FieldSource::ALL), "[a-z]{0,9}", opaque()).prop_map(
        |(field_source, field_name, field_value)| ProfileField {
            field_source,
            field_name,
            field_value,
        },
    );
    let profile =
        (uri(), vec(field, 0..3)).prop_map(|(stable_uri, fields)| UserProfile { stable_uri, fields });
    (
        select(IdentifierQueryCode::ALL),
        vec(uri(), 0..3),
        vec(profile, 0..3),
        dictionary(),
    )
        .prop_map(
            |(response_code, uri, found_profiles, id_response_extensions)| IdentifierResponse {
                response_code,
                uri,
                found_profiles,
                id_response_extensions,
            },
        )
        .boxed()
}

pub(crate) fn abuse_report() -> BoxedStrategy<AbuseReport> {
    let message = (opaque(), frank(), millis()).prop_map(|(message_content, frank, accepted_timestamp)| {
        AbusiveMessage {
            message_content,
            frank,
            accepted_timestamp,
        }
    });
    (
        option::of(uri()),
        uri(),
        "\\PC{0,20}",
        vec(message, 0..3),
        dictionary(),
    )
        .prop_map(
            |(reporting_user, alleged_abuser_uri, note, messages, abuse_extensions)| AbuseReport {
                reporting_user,
                alleged_abuser_uri,
                reason_code: AbuseType::Reserved,
                note,
                messages,
                abuse_extensions,
            },
        )
        .boxed()
}
