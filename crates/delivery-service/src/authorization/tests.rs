#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::{Action, Authorization, Capability, RoleIndex, Roles};

/// Which of the roles 0 to 4 of the preset may do the action.
fn holders(action: Action) -> Vec<u32> {
    (0..=5)
        .filter(|role| Roles::cooperative().allows(RoleIndex(*role), action))
        .collect()
}

#[test]
fn the_cooperative_preset() {
    let table: &[(Action, &[u32])] = &[
        (Action::AddParticipant(RoleIndex(2)), &[2, 3, 4]),
        (Action::AddParticipant(RoleIndex(3)), &[3, 4]),
        (Action::AddParticipant(RoleIndex(4)), &[4]),
        (Action::AddParticipant(RoleIndex(9)), &[]),
        (Action::AddClientOfParticipant, &[2, 3, 4]),
        (Action::RemoveParticipant(RoleIndex(1)), &[3, 4]),
        (Action::RemoveParticipant(RoleIndex(2)), &[2, 3, 4]),
        (Action::RemoveParticipant(RoleIndex(3)), &[3, 4]),
        (Action::RemoveParticipant(RoleIndex(4)), &[4]),
        (Action::AddOwnClient, &[2, 3, 4]),
        (Action::RemoveOwnClient, &[2, 3, 4]),
        (Action::Leave, &[2, 3, 4]),
        (Action::Kick, &[3, 4]),
        (
            Action::ChangeRole {
                from: RoleIndex(2),
                to: RoleIndex(1),
            },
            &[3, 4],
        ),
        (
            Action::ChangeRole {
                from: RoleIndex(1),
                to: RoleIndex(2),
            },
            &[3, 4],
        ),
        (
            Action::ChangeRole {
                from: RoleIndex(2),
                to: RoleIndex(3),
            },
            &[3, 4],
        ),
        (
            Action::ChangeRole {
                from: RoleIndex(3),
                to: RoleIndex(4),
            },
            &[4],
        ),
        (Action::Use(Capability::SEND_MESSAGE), &[2, 3, 4]),
        (Action::Use(Capability::CHANGE_ROOM_NAME), &[3, 4]),
        (Action::Use(Capability::CHANGE_ROLE_DEFINITIONS), &[4]),
    ];
    for (action, expected) in table {
        assert_eq!(&holders(*action), expected, "{action:?}");
    }
}

#[test]
fn a_roles_list_is_read() {
    // One role: index 7, name "x", no description, capability 0x0100, no minima and maxima,
    // may make 0 into 7.
    let mut role = vec![0, 0, 0, 7, 1, b'x', 0, 2, 1, 0];
    role.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    role.extend([9, 0, 0, 0, 0, 4, 0, 0, 0, 7]);
    let mut data = vec![u8::try_from(role.len()).unwrap()];
    data.extend(&role);
    let roles = Roles::decode(&data).unwrap();
    assert!(roles.defines(RoleIndex(7)));
    assert!(!roles.defines(RoleIndex(2)));
    assert!(roles.allows(RoleIndex(7), Action::Use(Capability::SEND_MESSAGE)));
    assert!(!roles.allows(RoleIndex(7), Action::AddParticipant(RoleIndex(7))));

    for cut in 0..data.len() {
        assert!(Roles::decode(&data[..cut]).is_err(), "{cut}");
    }
    data.extend(&role);
    assert!(Roles::decode(&data).is_err(), "trailing octets");
}
