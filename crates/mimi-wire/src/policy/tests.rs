#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod codec;
mod refusals;
mod rooms;

use super::{
    Action, Actor, BaseRoomPolicy, Capability, Claim, CommitShape, Denial, MetadataField, PreAuthData,
    PreAuthRoleEntry, Preset, Role, RoleData, RoleDataError, RoomState, SingleSourceRoleChangeTargets,
    check_isolation, hub_preauthorization,
};
use crate::components::{ParticipantListData, RoleIndex, UserRolePair, component_id};
use crate::uri::{Domain, MimiUri};

const ACTING: RoleIndex = RoleIndex(10);
const PLAIN: RoleIndex = RoleIndex(11);
const OTHER: RoleIndex = RoleIndex(12);

fn uri(name: &str) -> MimiUri {
    MimiUri::user(&Domain::parse("a.example").unwrap(), name).unwrap()
}

fn role(index: RoleIndex, name: &str, capabilities: &[Capability]) -> Role {
    Role {
        role_index: index,
        role_name: name.to_owned(),
        role_description: String::new(),
        role_capabilities: capabilities.to_vec(),
        minimum_participants_constraint: 0,
        maximum_participants_constraint: None,
        minimum_active_participants_constraint: 0,
        maximum_active_participants_constraint: None,
        authorized_role_changes: vec![],
    }
}

fn all_changes() -> Vec<SingleSourceRoleChangeTargets> {
    let roles = [RoleIndex::NONE, RoleIndex::BANNED, ACTING, PLAIN, OTHER];
    roles
        .iter()
        .map(|&from| SingleSourceRoleChangeTargets {
            from_role_index: from,
            target_role_indexes: roles.to_vec(),
        })
        .collect()
}

/// A room in which `actor` holds a role with these capabilities and every change of role; `plain` and
/// `inactive` hold a role with none, `banned` is banned, `guest` is no participant but preauthorized for
/// [`OTHER`], which has the capabilities too, as has role 0.
fn room(capabilities: &[Capability]) -> RoomState {
    let not_open: Vec<_> = capabilities
        .iter()
        .copied()
        .filter(|c| *c != Capability::OPEN_JOIN)
        .collect();
    let mut none = role(RoleIndex::NONE, "no_role", capabilities);
    none.authorized_role_changes = all_changes();
    let mut acting = role(ACTING, "acting", &not_open);
    acting.authorized_role_changes = all_changes();
    let mut other = role(OTHER, "other", &not_open);
    other.authorized_role_changes = all_changes();
    let roles = RoleData {
        roles: vec![
            none,
            role(RoleIndex::BANNED, "banned", &[]),
            acting,
            role(PLAIN, "plain", &[]),
            other,
        ],
    };
    roles.check().unwrap();
    let participants = [
        ("actor", ACTING),
        ("plain", PLAIN),
        ("inactive", PLAIN),
        ("banned", RoleIndex::BANNED),
    ];
    let participants = participants.map(|(name, role_index)| UserRolePair {
        user: uri(name),
        role_index,
    });
    let entry = PreAuthRoleEntry {
        claimset: vec![claim()],
        target_role: role(OTHER, "other", &[]),
    };
    RoomState::new(
        roles,
        PreAuthData {
            preauthorized_entries: vec![entry],
        },
        BaseRoomPolicy::default(),
        &ParticipantListData {
            participants: participants.to_vec(),
        },
        [(uri("actor"), 2), (uri("plain"), 1)],
    )
}

fn claim() -> Claim {
    Claim::basic_identity(b"employee".to_vec())
}

/// Every capability with an action that needs it: who acts, with claims or not, and does what.
fn row(capability: Capability) -> (&'static str, bool, Action<'static>) {
    use Capability as C;
    // The table lives as long as the test run.
    let user = |name: &str| -> &'static MimiUri { Box::leak(Box::new(uri(name))) };
    let (plain, stranger, banned) = (user("plain"), user("stranger"), user("banned"));
    match capability {
        C::ADD_PARTICIPANT => (
            "actor",
            false,
            Action::AddParticipant {
                user: stranger,
                role: PLAIN,
                clients: 2,
            },
        ),
        C::REMOVE_PARTICIPANT => ("actor", false, Action::RemoveParticipant { user: plain }),
        C::ADD_OWN_CLIENT => ("actor", false, Action::AddOwnClient { clients: 1 }),
        C::REMOVE_OWN_CLIENT => ("actor", false, Action::RemoveOwnClient { clients: 1 }),
        C::OPEN_JOIN => (
            "guest",
            false,
            Action::OpenJoin {
                role: PLAIN,
                clients: 1,
            },
        ),
        C::JOIN_IF_PREAUTHORIZED => (
            "guest",
            true,
            Action::JoinPreauthorized {
                role: OTHER,
                clients: 1,
            },
        ),
        C::REMOVE_SELF => ("actor", false, Action::Leave),
        C::USE_JOIN_CODE => (
            "guest",
            false,
            Action::JoinByCode {
                role: PLAIN,
                clients: 1,
            },
        ),
        C::BAN => ("actor", false, Action::Ban { user: plain }),
        C::UNBAN => (
            "actor",
            false,
            Action::Unban {
                user: banned,
                role: PLAIN,
            },
        ),
        C::KICK => ("actor", false, Action::Kick { user: plain }),
        C::CHANGE_USER_ROLE => (
            "actor",
            false,
            Action::ChangeRole {
                user: plain,
                role: OTHER,
            },
        ),
        C::CHANGE_OWN_ROLE => ("actor", true, Action::ChangeOwnRole { role: OTHER }),
        C::CHANGE_ROOM_NAME => ("actor", false, Action::ChangeMetadata(MetadataField::Name)),
        C::CHANGE_ROOM_DESCRIPTION => ("actor", false, Action::ChangeMetadata(MetadataField::Description)),
        C::CHANGE_ROOM_AVATAR => ("actor", false, Action::ChangeMetadata(MetadataField::Avatar)),
        C::CHANGE_ROOM_SUBJECT => ("actor", false, Action::ChangeMetadata(MetadataField::Subject)),
        C::CHANGE_ROOM_MOOD => ("actor", false, Action::ChangeMetadata(MetadataField::Mood)),
        C::DESTROY_ROOM => ("actor", false, Action::DestroyRoom),
        C::CHANGE_ROOM_MEMBERSHIP_STYLE => policy(component_id::BASE_ROOM_POLICY),
        C::CHANGE_ROLE_DEFINITIONS => policy(component_id::ROLES_LIST),
        C::CHANGE_PREAUTHORIZED_USER_LIST => policy(component_id::PREAUTH_LIST),
        C::CHANGE_MLS_OPERATIONAL_POLICIES => policy(component_id::MLS_OPERATIONAL_POLICY),
        C::CHANGE_OTHER_POLICY_ATTRIBUTE => policy(component_id::ASSET_POLICY),
        // Everything else needs the capability and nothing more.
        other => ("actor", false, Action::Use(other)),
    }
}

fn policy(component_id: u16) -> (&'static str, bool, Action<'static>) {
    ("actor", false, Action::ChangePolicy { component_id })
}

#[test]
fn every_capability_allows_its_action_and_nothing_else_does() {
    for &capability in Capability::ALL {
        let (who, with_claims, action) = row(capability);
        let actor = uri(who);
        let claims = [claim()];
        let actor = Actor {
            uri: &actor,
            claims: if with_claims { &claims } else { &[] },
        };

        assert_eq!(
            room(&[capability]).authorize(actor, &action),
            Ok(()),
            "{capability}"
        );

        let others: Vec<_> = Capability::ALL
            .iter()
            .copied()
            .filter(|c| *c != capability)
            .collect();
        let denied = room(&others).authorize(actor, &action).unwrap_err();
        assert!(
            matches!(denied, Denial::MissingCapability { capability: c, .. } if c == capability),
            "{capability}: {denied}"
        );
    }
}

#[test]
fn names_and_numbers_of_capabilities() {
    assert_eq!(Capability::ALL.len(), 77);
    for &capability in Capability::ALL {
        assert_eq!(Capability::by_name(capability.name().unwrap()), Some(capability));
    }
    assert_eq!(Capability::by_name("canUnban"), Some(Capability::UNBAN));
    assert_eq!(Capability(0xf000).name(), None);
    assert_eq!(Capability(0x0100).to_string(), "canSendMessage");
}

#[test]
fn actions_of_one_commit_are_judged_one_after_the_other() {
    let mut state = room(Capability::ALL);
    with(&mut state, PLAIN, |r| r.maximum_participants_constraint = Some(3));
    let actor = uri("actor");
    let actor = Actor::user(&actor);
    let (a, b) = (uri("x"), uri("y"));
    let first = Action::AddParticipant {
        user: &a,
        role: PLAIN,
        clients: 1,
    };
    let second = Action::AddParticipant {
        user: &b,
        role: PLAIN,
        clients: 1,
    };
    assert_eq!(state.authorize(actor, &first), Ok(()));
    assert_eq!(state.authorize(actor, &second), Ok(()));
    state.apply(actor, &first);
    assert_eq!(state.authorize(actor, &second), Err(Denial::TooMany(PLAIN)));
}

#[test]
fn apply_follows_each_action() {
    let (actor, plain, banned, x) = (uri("actor"), uri("plain"), uri("banned"), uri("x"));
    let after = |who: &MimiUri, action: Action<'_>| {
        let mut state = room(Capability::ALL);
        state.apply(Actor::user(who), &action);
        state
    };
    let member = |state: &RoomState, user: &MimiUri| state.member(user).map(|m| (m.role, m.clients));
    let join = Action::OpenJoin {
        role: PLAIN,
        clients: 1,
    };
    assert_eq!(member(&after(&x, join), &x), Some((PLAIN, 1)));
    assert_eq!(
        member(&after(&actor, Action::AddOwnClient { clients: 1 }), &actor),
        Some((ACTING, 3))
    );
    assert_eq!(
        member(&after(&actor, Action::RemoveOwnClient { clients: 5 }), &actor),
        Some((ACTING, 0))
    );
    assert_eq!(
        member(&after(&actor, Action::RemoveParticipant { user: &plain }), &plain),
        None
    );
    assert_eq!(member(&after(&actor, Action::Leave), &actor), None);
    assert_eq!(
        member(&after(&actor, Action::Kick { user: &plain }), &plain),
        Some((PLAIN, 0))
    );
    assert_eq!(
        member(&after(&actor, Action::Ban { user: &plain }), &plain),
        Some((RoleIndex::BANNED, 0))
    );
    assert_eq!(
        member(&after(&actor, Action::Ban { user: &x }), &x),
        Some((RoleIndex::BANNED, 0))
    );
    let unban = Action::Unban {
        user: &banned,
        role: PLAIN,
    };
    assert_eq!(member(&after(&actor, unban), &banned), Some((PLAIN, 0)));
    let change = Action::ChangeRole {
        user: &plain,
        role: OTHER,
    };
    assert_eq!(member(&after(&actor, change), &plain), Some((OTHER, 1)));
    assert_eq!(
        member(&after(&actor, Action::ChangeOwnRole { role: OTHER }), &actor),
        Some((OTHER, 2))
    );
    assert_eq!(after(&actor, Action::DestroyRoom), room(Capability::ALL));
}

#[test]
fn what_must_not_stand_together() {
    let ok = CommitShape {
        adds_or_changes_participants: true,
        removes_participants: true,
        ..Default::default()
    };
    assert_eq!(check_isolation(ok), Ok(()));
    let shape = CommitShape {
        changes_roles: true,
        removes_participants: true,
        ..Default::default()
    };
    assert_eq!(check_isolation(shape), Err(Denial::RolesWithParticipants));
    let shape = CommitShape {
        changes_preauth: true,
        removes_participants: true,
        ..Default::default()
    };
    assert_eq!(check_isolation(shape), Ok(()));
    let shape = CommitShape {
        changes_preauth: true,
        adds_or_changes_participants: true,
        ..Default::default()
    };
    assert_eq!(check_isolation(shape), Err(Denial::PreauthWithParticipants));
    let shape = CommitShape {
        metadata_updates: 2,
        ..Default::default()
    };
    assert_eq!(check_isolation(shape), Err(Denial::MetadataTwice));
}

#[test]
fn an_entry_without_claims_matches_nobody() {
    let entry = PreAuthRoleEntry {
        claimset: vec![],
        target_role: role(PLAIN, "a", &[]),
    };
    assert_eq!(
        PreAuthData {
            preauthorized_entries: vec![entry]
        }
        .first_match(&[claim()]),
        None
    );
}

fn with(state: &mut RoomState, index: RoleIndex, change: impl FnOnce(&mut Role)) {
    change(
        state
            .roles
            .roles
            .iter_mut()
            .find(|r| r.role_index == index)
            .unwrap(),
    );
}
