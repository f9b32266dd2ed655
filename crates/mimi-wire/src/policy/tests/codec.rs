//! Round trips of the policy components, with hand-written octets for the ones that select.

use crate::codec::{Decode, Encode, Opaque};
use crate::components::{AppDataDictionary, MediaType, ParticipantListData, RoleIndex, component_id};
use crate::policy::{
    AppMessagePolicy, AssetPolicy, AssetUploadLocation, BaseRoomPolicy, Bot, BotPolicy, DownloadPrivacy,
    DownloadPrivacyType, ExtendedCapabilities, HistoryPolicy, HistoryRules, JoinLinkPolicy, JoinLinks,
    JoinLinksUpdate, LinkPreviewPolicy, LoggingPolicy, LoggingRules, MessageExpiration,
    MessageExpirationRules, MinDefaultMaxTime, OperationalParameters, Optionality, PendingProposalPolicy,
    Preset, ProviderAssetUploadDomains, RoomState, StateError, StatusNotificationPolicy,
};

fn round_trip<T: Encode + Decode + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = value.to_bytes();
    assert_eq!(&T::from_bytes(&bytes).unwrap(), value);
    for cut in 0..bytes.len() {
        assert!(T::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn components_round_trip() {
    for preset in Preset::ALL {
        round_trip(&preset.roles());
    }
    round_trip(&BaseRoomPolicy {
        max_users: Some(5),
        policy_component_ids: vec![0x25],
        ..Default::default()
    });
    round_trip(&StatusNotificationPolicy {
        delivery_notifications: Optionality::Optional,
        read_receipts: Optionality::Forbidden,
    });
    round_trip(&JoinLinkPolicy {
        on_request: true,
        join_link: Opaque::default(),
        multiuser: true,
        expiration: 9,
    });
    round_trip(&AssetPolicy {
        asset_upload_location: AssetUploadLocation::LocalProvider,
        upload_domains: vec![ProviderAssetUploadDomains {
            provider: "a.example".to_owned(),
            asset_upload_destinations: vec!["assets.a.example".to_owned()],
        }],
        download_privacy: DownloadPrivacy {
            allowed_download_types: vec![DownloadPrivacyType::HubProxy, DownloadPrivacyType::Ohttp],
            forbidden_download_types: vec![DownloadPrivacyType::Direct],
            default_download_type: DownloadPrivacyType::HubProxy,
        },
        max_image: 1,
        max_audio: 2,
        max_video: 3,
        max_attachment: 4,
        forbidden_media_types: vec![MediaType::plain("text/html")],
        permitted_media_types: None,
    });
    let logging = LoggingRules {
        logging_clients: vec!["mimi://a.example/d/log/1".to_owned()],
        machine_readable_policy: String::new(),
        human_readable_policy: String::new(),
    };
    round_trip(&LoggingPolicy::Required(logging));
    let history = HistoryRules {
        roles_that_can_share: vec![RoleIndex(3)],
        automatically_share: true,
        max_time_period: 60,
    };
    round_trip(&HistoryPolicy::Optional(history));
    let bot = Bot {
        name: "dealer".to_owned(),
        description: String::new(),
        homepage: "https://a.example/bot".to_owned(),
        local_client_bot: false,
        bot_role_index: RoleIndex(2),
        can_target_message_in_group: true,
        per_user_content: true,
    };
    round_trip(&BotPolicy {
        allowed_bots: vec![bot],
    });
    let time = MinDefaultMaxTime {
        minimum_time: 1,
        default_time: 2,
        maximum_time: 3,
    };
    round_trip(&OperationalParameters {
        mandatory_capabilities: ExtendedCapabilities {
            versions: vec![1],
            ..Default::default()
        },
        default_capabilities: ExtendedCapabilities::default(),
        forbidden_capabilities: ExtendedCapabilities {
            wire_formats: vec![2],
            ..Default::default()
        },
        handshake_formats: vec![1],
        external_proposal_allowed: true,
        external_commit_allowed: true,
        pending_proposal_policy: PendingProposalPolicy::RandomDelay {
            minimum_delay_ms: 1,
            maximum_delay_ms: 2,
        },
        leaf_node_update_time: time,
        app_message_policy: AppMessagePolicy::default(),
        max_kp_lifetime: 1,
        max_credential_lifetime: 2,
        resumption_psk_lifetime: 3,
        sender_nonce_keypair_lifetime: time,
        max_keypairs: 4,
        buffer_incoming_message_time: time,
        max_buffered_messages: 5,
    });
}

#[test]
fn forbidden_policies_have_no_details() {
    assert_eq!(LoggingPolicy::Forbidden.to_bytes(), [2]);
    assert_eq!(HistoryPolicy::Forbidden.to_bytes(), [2]);
    assert_eq!(MessageExpiration::Forbidden.to_bytes(), [2]);
    assert!(MessageExpiration::from_bytes(&[2, 0]).is_err());
    assert!(MessageExpiration::from_bytes(&[3]).is_err());
    let rules = MessageExpirationRules {
        min_expiration_duration: 1,
        max_expiration_duration: 2,
        default_expiration_duration: Some(3),
    };
    assert_eq!(
        hex::encode(MessageExpiration::Required(rules).to_bytes()),
        "0100000001000000020100000003"
    );
    let mut preview = LinkPreviewPolicy {
        autodetect_hyperlinks_in_text: Optionality::Optional,
        send_link_previews: Optionality::Required,
        automatic_link_previews: Optionality::Forbidden,
        link_preview_proxy_use: Optionality::Forbidden,
        link_preview_proxy: vec![],
    };
    assert_eq!(preview.to_bytes(), [0, 1, 2, 2]);
    preview.link_preview_proxy_use = Optionality::Optional;
    preview.link_preview_proxy = vec!["x".to_owned()];
    assert_eq!(preview.to_bytes(), [0, 1, 2, 0, 2, 1, b'x']);
    round_trip(&preview);
    assert!(LinkPreviewPolicy::from_bytes(&[1, 1, 2, 2]).is_err());
}

#[test]
fn join_links_are_patched() {
    let links = JoinLinks {
        links: [b"a", b"b", b"c"].map(|l| Opaque(l.to_vec())).to_vec(),
    };
    let update = JoinLinksUpdate {
        removed_indices: vec![0, 2],
        added_links: vec![Opaque(b"d".to_vec())],
    };
    round_trip(&links);
    round_trip(&update);
    assert_eq!(
        links.apply(&update).unwrap().links,
        [b"b", b"d"].map(|l| Opaque(l.to_vec()))
    );
    for removed_indices in [vec![3], vec![1, 1]] {
        assert_eq!(
            links.apply(&JoinLinksUpdate {
                removed_indices,
                added_links: vec![]
            }),
            None
        );
    }
}

#[test]
fn a_state_needs_roles_and_participants() {
    let mut dictionary = AppDataDictionary::new();
    let missing = |id| Err(StateError::Missing(id));
    assert_eq!(
        RoomState::from_dictionary(&dictionary, []),
        missing(component_id::ROLES_LIST)
    );
    dictionary.set(component_id::ROLES_LIST, Preset::Cooperative.roles().to_bytes());
    assert_eq!(
        RoomState::from_dictionary(&dictionary, []),
        missing(component_id::PARTICIPANT_LIST)
    );
    dictionary.set(
        component_id::PARTICIPANT_LIST,
        ParticipantListData::default().to_bytes(),
    );
    assert_eq!(
        RoomState::from_dictionary(&dictionary, []).unwrap().base,
        BaseRoomPolicy::default()
    );
    dictionary.set(component_id::BASE_ROOM_POLICY, b"x".to_vec());
    let broken = RoomState::from_dictionary(&dictionary, []).unwrap_err();
    assert!(matches!(
        broken,
        StateError::Decode(component_id::BASE_ROOM_POLICY, _)
    ));
}
