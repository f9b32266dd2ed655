#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::{
    BundleBody, ClientMaterial, ConsentEntry, ConsentOperation, FanoutBody, FanoutMessage, Frank,
    HandshakeBundle, KeyMaterialResponse, KeyMaterialUserCode, RatchetTreeOption, SubmitMessageRequest,
    SubmitMessageResponse, UpdateOutcome, UpdateRoomResponse,
};
use crate::codec::{Decode, DecodeErrorKind, Encode, UnixMillis};
use crate::components::AppDataDictionary;
use crate::mls::{CipherSuite, Epoch, MlsMessage, ProposalRef};
use crate::uri::MimiUri;

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

fn message(hex_text: &str) -> MlsMessage {
    MlsMessage::from_bytes(&hex::decode(hex_text.replace(' ', "")).unwrap()).unwrap()
}

/// group "g", epoch 5, sender leaf 0, proposal: remove leaf 1.
fn proposal() -> MlsMessage {
    message("0001 0001 0167 0000000000000005 01 00000000 00 02 0003 00000001 01aa 01bb")
}

/// group "g", epoch 5, sender leaf 0, commit of nothing without path.
fn commit() -> MlsMessage {
    message("0001 0001 0167 0000000000000005 01 00000000 00 03 00 00 01aa 01cc 01bb")
}

/// group "g", epoch 5.
fn application() -> MlsMessage {
    message("0001 0002 0167 0000000000000005 01 00 01aa 01bb")
}

fn frank() -> Frank {
    Frank {
        server_frank: [9; 32],
        franking_signature_ciphersuite: CipherSuite(1),
        franking_integrity_signature: vec![1, 2].into(),
    }
}

fn round_trip<T: Encode + Decode + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = value.to_bytes();
    assert_eq!(&T::from_bytes(&bytes).unwrap(), value);
    for cut in 0..bytes.len() {
        assert!(T::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(T::from_bytes(&longer).is_err());
}

#[test]
fn update_bundles() {
    let bundle = HandshakeBundle::proposals(proposal(), vec![proposal()]).unwrap();
    round_trip(&bundle);
    assert_eq!(bundle.messages().count(), 2);
    assert!(HandshakeBundle::proposals(proposal(), vec![commit()]).is_err());
    assert!(HandshakeBundle::proposals(application(), vec![]).is_err());

    let mut bytes = commit().to_bytes();
    bytes.extend_from_slice(&[0, 2, 0, 0, 0, 4]);
    let bundle = HandshakeBundle::from_bytes(&bytes).unwrap();
    assert!(matches!(
        bundle.body(),
        BundleBody::Commit {
            welcome: None,
            ratchet_tree_option: RatchetTreeOption::DistributionService,
            ..
        }
    ));
    round_trip(&bundle);
    let mut bytes = application().to_bytes();
    bytes.push(0);
    assert!(HandshakeBundle::from_bytes(&bytes).is_err());
}

#[test]
fn update_responses() {
    for outcome in [
        UpdateOutcome::Success {
            accepted_timestamp: UnixMillis(7),
        },
        UpdateOutcome::WrongEpoch {
            current_epoch: Epoch(8),
        },
        UpdateOutcome::NotAllowed,
        UpdateOutcome::InvalidProposal {
            invalid_proposals: vec![ProposalRef::from(vec![1])],
        },
    ] {
        round_trip(&UpdateRoomResponse {
            error_description: "why".to_owned(),
            outcome,
        });
    }
}

#[test]
fn submissions() {
    let request = SubmitMessageRequest::new(application(), uri("mimi://a.example/u/alice")).unwrap();
    round_trip(&request);
    assert!(SubmitMessageRequest::new(commit(), uri("mimi://a.example/u/alice")).is_err());
    round_trip(&SubmitMessageResponse::NotAllowed);
    round_trip(&SubmitMessageResponse::EpochTooOld {
        current_epoch: Epoch(1),
    });
    let accepted = SubmitMessageResponse::Accepted {
        accepted_timestamp: UnixMillis(3),
        frank: Some(frank()),
    };
    round_trip(&accepted);
}

#[test]
fn a_notify_body_is_one_or_more_messages() {
    let messages = vec![
        FanoutMessage::application(UnixMillis(1), application(), Some(frank())).unwrap(),
        FanoutMessage::proposals(UnixMillis(2), proposal(), vec![proposal()]).unwrap(),
        FanoutMessage::commit(UnixMillis(3), commit(), vec![]).unwrap(),
    ];
    let mut body = Vec::new();
    for message in &messages {
        round_trip(message);
        message.encode(&mut body);
    }
    assert_eq!(FanoutMessage::decode_all(&body).unwrap(), messages);
    assert!(FanoutMessage::decode_all(&[]).is_err());
    assert!(FanoutMessage::decode_all(&body[..body.len() - 1]).is_err());
    assert!(
        matches!(messages[1].body(), FanoutBody::Proposal { more_proposals } if more_proposals.len() == 1)
    );
}

#[test]
fn refusals_list_no_clients() {
    let user = uri("mimi://b.example/u/bob");
    round_trip(&KeyMaterialResponse::refusal(
        KeyMaterialUserCode::NoConsent,
        user.clone(),
    ));
    let client = super::ClientKeyMaterial {
        client_uri: user.clone(),
        material: ClientMaterial::KeyMaterialExhausted,
    };
    let response = KeyMaterialResponse {
        user_status: KeyMaterialUserCode::UserUnknown,
        user_uri: user,
        clients: vec![client],
    };
    let error = KeyMaterialResponse::from_bytes(&response.to_bytes()).unwrap_err();
    assert_eq!(
        error.kind,
        DecodeErrorKind::Invalid("this status lists no clients")
    );
    assert_eq!(error.field, "KeyMaterialResponse.clients");
}

#[test]
fn consent() {
    let entry = ConsentEntry {
        consent_operation: ConsentOperation::Grant,
        requester_uri: uri("mimi://a.example/u/alice"),
        target_uri: uri("mimi://b.example/u/bob"),
        room_id: Some(uri("mimi://a.example/r/club")),
        client_key_packages: vec![],
        consent_extensions: AppDataDictionary::new(),
    };
    round_trip(&entry);
    round_trip(&entry.scope());
}

#[test]
fn unknown_protocols_are_told_apart() {
    let error = SubmitMessageResponse::from_bytes(&[2, 0]).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::UnsupportedProtocol(2));
}

#[test]
fn lists_of_messages_are_bounded() {
    let one = FanoutMessage::application(UnixMillis(1), application(), None)
        .unwrap()
        .to_bytes();
    let full = one.repeat(super::MAX_MESSAGES);
    assert_eq!(
        FanoutMessage::decode_all(&full).unwrap().len(),
        super::MAX_MESSAGES
    );
    let error = FanoutMessage::decode_all(&[full, one].concat()).unwrap_err();
    assert_eq!(
        error.kind,
        DecodeErrorKind::TooMany {
            limit: super::MAX_MESSAGES
        }
    );

    let more = vec![proposal(); super::MAX_MESSAGES + 1];
    let bundle = HandshakeBundle::proposals(proposal(), more).unwrap();
    let error = HandshakeBundle::from_bytes(&bundle.to_bytes()).unwrap_err();
    assert_eq!(
        error.kind,
        DecodeErrorKind::TooMany {
            limit: super::MAX_MESSAGES
        }
    );
    assert_eq!(error.field, "HandshakeBundle.moreProposals");
}

#[test]
fn every_code_has_its_number() {
    use super::{
        AbuseType, FieldSource, GroupInfoCode, IdentifierQueryCode, KeyMaterialClientCode,
        RatchetTreePresence, SearchIdentifierType, SubmitResponseCode, UpdateResponseCode,
    };
    fn codes<T: Encode + Decode + Copy + PartialEq + std::fmt::Debug>(all: &[T], numbers: &[u8]) {
        for (case, number) in all.iter().zip(numbers) {
            assert_eq!(case.to_bytes(), [*number]);
        }
        for number in 0..=u8::MAX {
            assert_eq!(
                T::from_bytes(&[number]).is_ok(),
                numbers.contains(&number),
                "{number}"
            );
        }
    }
    codes(KeyMaterialUserCode::ALL, &[0, 1, 2, 3, 4, 5, 6, 7]);
    codes(KeyMaterialClientCode::ALL, &[0, 1, 2]);
    codes(UpdateResponseCode::ALL, &[0, 1, 2, 3]);
    codes(SubmitResponseCode::ALL, &[0, 1, 2]);
    codes(GroupInfoCode::ALL, &[1, 2, 3]);
    codes(ConsentOperation::ALL, &[0, 1, 2, 3]);
    codes(SearchIdentifierType::ALL, &[1, 2, 3, 4, 5, 6, 7, 8]);
    codes(IdentifierQueryCode::ALL, &[0, 1, 2, 3, 4]);
    codes(FieldSource::ALL, &[7, 8]);
    codes(AbuseType::ALL, &[0]);
    codes(RatchetTreePresence::ALL, &[0, 1, 2, 3]);
}

#[test]
fn what_is_signed_is_all_but_the_signature() {
    let request = super::GroupInfoRequest {
        cipher_suite: CipherSuite(1),
        requesting_signature_key: vec![1].into(),
        requesting_credential: crate::mls::Credential::basic(b"a".to_vec()),
        group_info_public_key: vec![2].into(),
        joining_code: vec![].into(),
        signature: vec![3].into(),
    };
    assert_eq!(
        hex::encode(request.to_bytes()),
        "010001010100010161010200".to_owned() + "0103"
    );
    assert_eq!(hex::encode(request.tbs()), "010001010100010161010200");
    assert!(
        request
            .sign_content()
            .starts_with(b"\x1bMLS 1.0 GroupInfoRequestTBS\x0c")
    );

    let refused = super::GroupInfoResponse::NotAuthorized {
        room_id: vec![7].into(),
    };
    assert_eq!(refused.to_bytes(), [1, 1, 7, 2]);
    assert_eq!(refused.room_id(), [7]);

    let request = super::KeyMaterialRequest {
        requesting_user: uri("mimi://a"),
        target_user: uri("mimi://b"),
        room_id: None,
        acceptable_ciphersuites: vec![CipherSuite(1)],
        required_capabilities: crate::mls::RequiredCapabilities::default(),
        requester_signature_key: vec![1].into(),
        requester_credential: crate::mls::Credential::basic(b"a".to_vec()),
        key_material_request_signature: vec![3].into(),
    };
    let tbs = "01086d696d693a2f2f61086d696d693a2f2f620002000100000001010001 0161".replace(' ', "");
    assert_eq!(hex::encode(request.tbs()), tbs);
    assert_eq!(hex::encode(request.to_bytes()), tbs + "0103");
}
