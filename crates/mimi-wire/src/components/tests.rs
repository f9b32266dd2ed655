#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::{
    AppDataDictionary, ApplicationFraming, MediaTypeList, ParticipantListData, ParticipantListError,
    ParticipantListUpdate, RoleIndex, SafeAad, UserIndexRolePair, UserRolePair, component_id,
};
use crate::codec::{Decode, Encode};
use crate::uri::MimiUri;

fn user(name: &str, role: u32) -> UserRolePair {
    UserRolePair {
        user: MimiUri::parse(&format!("mimi://a.example/u/{name}")).unwrap(),
        role_index: RoleIndex(role),
    }
}

fn list(users: &[(&str, u32)]) -> ParticipantListData {
    ParticipantListData {
        participants: users.iter().map(|(n, r)| user(n, *r)).collect(),
    }
}

fn change(user_index: u32, role: u32) -> ParticipantListUpdate {
    let change = UserIndexRolePair {
        user_index,
        role_index: RoleIndex(role),
    };
    ParticipantListUpdate {
        changed_role_participants: vec![change],
        ..Default::default()
    }
}

fn remove(index: u32) -> ParticipantListUpdate {
    ParticipantListUpdate {
        removed_indices: vec![index],
        ..Default::default()
    }
}

fn add(name: &str, role: u32) -> ParticipantListUpdate {
    ParticipantListUpdate {
        added_participants: vec![user(name, role)],
        ..Default::default()
    }
}

#[test]
fn all_indices_count_in_the_list_the_epoch_started_with() {
    let before = list(&[("a", 4), ("b", 2), ("c", 2)]);
    let after = before
        .apply([&remove(0), &change(2, 3), &add("d", 2), &remove(1)])
        .unwrap();
    assert_eq!(after, list(&[("c", 3), ("d", 2)]));
    assert_eq!(after.role_of(&user("c", 0).user), RoleIndex(3));
    assert_eq!(after.role_of(&user("a", 0).user), RoleIndex::NONE);
}

#[test]
fn a_user_is_touched_once_per_commit() {
    let before = list(&[("a", 4), ("b", 2)]);
    let twice = |updates: &[&ParticipantListUpdate]| before.apply(updates.iter().copied()).unwrap_err();
    let a = user("a", 0).user;
    assert_eq!(
        twice(&[&change(0, 3), &remove(0)]),
        ParticipantListError::TouchedTwice(a.clone())
    );
    assert_eq!(
        twice(&[&remove(0), &remove(0)]),
        ParticipantListError::TouchedTwice(a.clone())
    );
    assert_eq!(
        twice(&[&remove(0), &add("a", 2)]),
        ParticipantListError::TouchedTwice(a.clone())
    );
    assert_eq!(
        twice(&[&add("a", 2)]),
        ParticipantListError::AlreadyParticipant(a.clone())
    );
    assert_eq!(
        twice(&[&add("x", 2), &add("x", 2)]),
        ParticipantListError::TouchedTwice(user("x", 0).user)
    );
    assert_eq!(twice(&[&remove(2)]), ParticipantListError::NoSuchIndex(2));
    assert_eq!(twice(&[&change(0, 0)]), ParticipantListError::RoleNone(a));
    assert_eq!(
        twice(&[&add("x", 0)]),
        ParticipantListError::RoleNone(user("x", 0).user)
    );
}

#[test]
fn dictionary_keeps_its_order() {
    let mut dictionary = AppDataDictionary::new();
    dictionary.set(0x23, b"m".to_vec());
    dictionary.set(0x22, b"p".to_vec());
    dictionary.set(0x22, b"q".to_vec());
    assert_eq!(
        hex::encode(dictionary.to_bytes()),
        "0800220171002301 6d".replace(' ', "")
    );
    assert_eq!(
        AppDataDictionary::from_bytes(&dictionary.to_bytes()).unwrap(),
        dictionary
    );
    assert!(AppDataDictionary::from_bytes(&[6, 0, 0x23, 0, 0, 0x22, 0]).is_err());
    assert!(AppDataDictionary::from_bytes(&[6, 0, 0x22, 0, 0, 0x22, 0]).is_err());
    assert!(dictionary.remove(0x22));
    assert!(!dictionary.remove(0x22));
}

#[test]
fn safe_aad_of_a_frank() {
    let aad = SafeAad::with_franking_tag(&[7; 32]);
    assert_eq!(
        hex::encode(aad.to_bytes()),
        format!("23002020{}", "07".repeat(32))
    );
    assert_eq!(
        SafeAad::from_bytes(&aad.to_bytes()).unwrap().franking_tag(),
        Some([7; 32])
    );
    assert_eq!(SafeAad::from_bytes(&[0]).unwrap().franking_tag(), None);
}

#[test]
fn framing_of_mimi_content() {
    let framing = ApplicationFraming::mimi_content(b"x".to_vec()).to_bytes();
    assert_eq!(framing, b"\x18application/mimi-content\x00\x01x");
    assert!(MediaTypeList::from_bytes(&[0]).is_err());
    let unnamed = ApplicationFraming::from_bytes(&[0, 0, 1, b'x']).unwrap();
    assert_eq!(
        unnamed.effective_type(&MediaTypeList::mimi()).media_type,
        "application/mimi-content"
    );
}

#[test]
fn grease() {
    assert!(component_id::is_grease(0x0a0a));
    assert!(component_id::is_grease(0x7a7a));
    assert!(!component_id::is_grease(0x8a8a));
    assert!(!component_id::is_grease(0x0022));
}
