//! Every reason to refuse an action.

use super::*;

/// Judges one action of `actor` in a room where everything is allowed, after `change`.
fn judge(change: impl FnOnce(&mut RoomState), action: &Action<'_>) -> Result<(), Denial> {
    judge_as("actor", &[claim()], change, action)
}

fn judge_as(
    who: &str,
    claims: &[Claim],
    change: impl FnOnce(&mut RoomState),
    action: &Action<'_>,
) -> Result<(), Denial> {
    let mut state = room(Capability::ALL);
    change(&mut state);
    state.authorize(
        Actor {
            uri: &uri(who),
            claims,
        },
        action,
    )
}

fn none(_: &mut RoomState) {}

#[test]
fn every_reason_to_refuse() {
    let (actor, plain, inactive, banned, stranger) = (
        &uri("actor"),
        &uri("plain"),
        &uri("inactive"),
        &uri("banned"),
        &uri("stranger"),
    );
    let add = |user, role, clients| Action::AddParticipant { user, role, clients };
    let undefined = RoleIndex(99);

    // Aimed at the wrong one.
    assert_eq!(judge(none, &add(actor, PLAIN, 1)), Err(Denial::Oneself));
    assert_eq!(
        judge(none, &Action::RemoveParticipant { user: actor }),
        Err(Denial::Oneself)
    );
    assert_eq!(judge(none, &Action::Kick { user: actor }), Err(Denial::Oneself));
    assert_eq!(
        judge(
            none,
            &Action::ChangeRole {
                user: actor,
                role: OTHER
            }
        ),
        Err(Denial::Oneself)
    );
    assert_eq!(judge(none, &Action::Ban { user: actor }), Err(Denial::Oneself));
    assert_eq!(
        judge(
            none,
            &Action::Unban {
                user: actor,
                role: PLAIN
            }
        ),
        Err(Denial::Oneself)
    );
    assert_eq!(
        judge(none, &add(plain, PLAIN, 1)),
        Err(Denial::AlreadyParticipant)
    );
    assert_eq!(
        judge(
            none,
            &Action::OpenJoin {
                role: PLAIN,
                clients: 1
            }
        ),
        Err(Denial::AlreadyParticipant)
    );
    assert_eq!(
        judge(
            none,
            &Action::JoinByCode {
                role: PLAIN,
                clients: 1
            }
        ),
        Err(Denial::AlreadyParticipant)
    );
    assert_eq!(
        judge_as(
            "banned",
            &[claim()],
            none,
            &Action::JoinPreauthorized {
                role: OTHER,
                clients: 1
            }
        ),
        Err(Denial::AlreadyParticipant)
    );
    for action in [
        Action::RemoveParticipant { user: stranger },
        Action::Kick { user: stranger },
        Action::ChangeRole {
            user: stranger,
            role: OTHER,
        },
        Action::Unban {
            user: stranger,
            role: PLAIN,
        },
    ] {
        assert_eq!(judge(none, &action), Err(Denial::NotParticipant), "{action:?}");
    }
    for action in [
        Action::AddOwnClient { clients: 1 },
        Action::RemoveOwnClient { clients: 1 },
        Action::Leave,
        Action::ChangeOwnRole { role: OTHER },
    ] {
        assert_eq!(
            judge_as("guest", &[claim()], none, &action),
            Err(Denial::NotParticipant),
            "{action:?}"
        );
    }

    // Roles that can't be given.
    let no_targets = |s: &mut RoomState| with(s, ACTING, |r| r.authorized_role_changes.clear());
    let change = |from, to| {
        Err(Denial::RoleChange {
            role: ACTING,
            from,
            to,
        })
    };
    assert_eq!(
        judge(no_targets, &add(stranger, PLAIN, 1)),
        change(RoleIndex::NONE, PLAIN)
    );
    assert_eq!(
        judge(no_targets, &Action::RemoveParticipant { user: plain }),
        change(PLAIN, RoleIndex::NONE)
    );
    assert_eq!(judge(no_targets, &Action::Leave), change(ACTING, RoleIndex::NONE));
    assert_eq!(
        judge(
            no_targets,
            &Action::ChangeRole {
                user: plain,
                role: OTHER
            }
        ),
        change(PLAIN, OTHER)
    );
    assert_eq!(
        judge(no_targets, &Action::Ban { user: plain }),
        change(PLAIN, RoleIndex::BANNED)
    );
    assert_eq!(
        judge(
            no_targets,
            &Action::Unban {
                user: banned,
                role: PLAIN
            }
        ),
        change(RoleIndex::BANNED, PLAIN)
    );
    assert_eq!(
        judge(none, &add(stranger, undefined, 1)),
        change(RoleIndex::NONE, undefined)
    );
    assert_eq!(
        judge(none, &add(stranger, RoleIndex::NONE, 1)),
        Err(Denial::UndefinedRole(RoleIndex::NONE))
    );
    let code = |role| Action::JoinByCode { role, clients: 1 };
    assert_eq!(
        judge_as("guest", &[], none, &code(undefined)),
        Err(Denial::UndefinedRole(undefined))
    );
    assert_eq!(
        judge_as("guest", &[], none, &code(RoleIndex::BANNED)),
        Err(Denial::UndefinedRole(RoleIndex::BANNED))
    );

    // Preauthorization is for exactly the role of the first match.
    let join = |role| Action::JoinPreauthorized { role, clients: 1 };
    assert_eq!(
        judge_as("guest", &[], none, &join(OTHER)),
        Err(Denial::NotPreauthorized)
    );
    assert_eq!(
        judge_as("guest", &[claim()], none, &join(PLAIN)),
        Err(Denial::NotPreauthorized)
    );
    assert_eq!(
        judge(none, &Action::ChangeOwnRole { role: PLAIN }),
        Err(Denial::NotPreauthorized)
    );

    // Bans need the banned role under its name, and the right state.
    let unnamed = |s: &mut RoomState| with(s, RoleIndex::BANNED, |r| r.role_name = "Banned".to_owned());
    assert_eq!(
        judge(unnamed, &Action::Ban { user: plain }),
        Err(Denial::NoBannedRole)
    );
    assert_eq!(
        judge(
            unnamed,
            &Action::Unban {
                user: banned,
                role: PLAIN
            }
        ),
        Err(Denial::NoBannedRole)
    );
    assert_eq!(judge(none, &Action::Ban { user: banned }), Err(Denial::BanState));
    assert_eq!(
        judge(
            none,
            &Action::Unban {
                user: plain,
                role: OTHER
            }
        ),
        Err(Denial::BanState)
    );
    assert_eq!(
        judge(
            none,
            &Action::Unban {
                user: banned,
                role: RoleIndex::BANNED
            }
        ),
        Err(Denial::BanState)
    );
    assert_eq!(judge(none, &Action::Ban { user: stranger }), Ok(()));

    // Limits of the role that is left.
    let two = |s: &mut RoomState| with(s, PLAIN, |r| r.minimum_participants_constraint = 2);
    let one_active = |s: &mut RoomState| with(s, PLAIN, |r| r.minimum_active_participants_constraint = 1);
    for action in [
        Action::RemoveParticipant { user: plain },
        Action::ChangeRole {
            user: plain,
            role: OTHER,
        },
        Action::Ban { user: plain },
    ] {
        assert_eq!(judge(two, &action), Err(Denial::TooFew(PLAIN)), "{action:?}");
        assert_eq!(
            judge(one_active, &action),
            Err(Denial::TooFewActive(PLAIN)),
            "{action:?}"
        );
    }
    assert_eq!(
        judge(one_active, &Action::Kick { user: plain }),
        Err(Denial::TooFewActive(PLAIN))
    );
    assert_eq!(judge(one_active, &Action::Kick { user: inactive }), Ok(()));
    assert_eq!(
        judge(one_active, &Action::RemoveParticipant { user: inactive }),
        Ok(())
    );
    let last = |s: &mut RoomState| with(s, ACTING, |r| r.minimum_active_participants_constraint = 1);
    assert_eq!(judge(last, &Action::RemoveOwnClient { clients: 1 }), Ok(()));
    assert_eq!(
        judge(last, &Action::RemoveOwnClient { clients: 2 }),
        Err(Denial::TooFewActive(ACTING))
    );
    assert_eq!(judge(last, &Action::Leave), Err(Denial::TooFewActive(ACTING)));
    assert_eq!(
        judge(last, &Action::ChangeOwnRole { role: OTHER }),
        Err(Denial::TooFewActive(ACTING))
    );
    let one = |s: &mut RoomState| with(s, ACTING, |r| r.minimum_participants_constraint = 1);
    assert_eq!(judge(one, &Action::Leave), Err(Denial::TooFew(ACTING)));

    // Limits of the role that is entered.
    let full = |s: &mut RoomState| with(s, PLAIN, |r| r.maximum_participants_constraint = Some(2));
    let one_active =
        |s: &mut RoomState| with(s, PLAIN, |r| r.maximum_active_participants_constraint = Some(1));
    assert_eq!(judge(full, &add(stranger, PLAIN, 0)), Err(Denial::TooMany(PLAIN)));
    assert_eq!(
        judge(one_active, &add(stranger, PLAIN, 1)),
        Err(Denial::TooManyActive(PLAIN))
    );
    assert_eq!(judge(one_active, &add(stranger, PLAIN, 0)), Ok(()));
    let join = Action::OpenJoin {
        role: PLAIN,
        clients: 1,
    };
    assert_eq!(judge_as("guest", &[], full, &join), Err(Denial::TooMany(PLAIN)));
    assert_eq!(
        judge_as("guest", &[], one_active, &join),
        Err(Denial::TooManyActive(PLAIN))
    );
    assert_eq!(
        judge_as("guest", &[], full, &code(PLAIN)),
        Err(Denial::TooMany(PLAIN))
    );
    assert_eq!(
        judge(
            full,
            &Action::Unban {
                user: banned,
                role: PLAIN
            }
        ),
        Err(Denial::TooMany(PLAIN))
    );
    let nobody = |s: &mut RoomState| with(s, OTHER, |r| r.maximum_participants_constraint = Some(0));
    let inactive_only =
        |s: &mut RoomState| with(s, OTHER, |r| r.maximum_active_participants_constraint = Some(0));
    assert_eq!(
        judge(
            nobody,
            &Action::ChangeRole {
                user: plain,
                role: OTHER
            }
        ),
        Err(Denial::TooMany(OTHER))
    );
    assert_eq!(
        judge(
            inactive_only,
            &Action::ChangeRole {
                user: plain,
                role: OTHER
            }
        ),
        Err(Denial::TooManyActive(OTHER))
    );
    assert_eq!(
        judge(
            inactive_only,
            &Action::ChangeRole {
                user: inactive,
                role: OTHER
            }
        ),
        Ok(())
    );
    assert_eq!(
        judge(nobody, &Action::ChangeOwnRole { role: OTHER }),
        Err(Denial::TooMany(OTHER))
    );
    // An inactive participant comes back with a client.
    let comes_back = |s: &mut RoomState| {
        with(s, PLAIN, |r| {
            r.role_capabilities = vec![Capability::ADD_OWN_CLIENT];
            r.maximum_active_participants_constraint = Some(1);
        });
    };
    let own = Action::AddOwnClient { clients: 1 };
    assert_eq!(
        judge_as("inactive", &[], comes_back, &own),
        Err(Denial::TooManyActive(PLAIN))
    );
    assert_eq!(judge_as("plain", &[], comes_back, &own), Ok(()));

    // Base policy.
    let fixed = |s: &mut RoomState| s.base.fixed_membership = true;
    for action in [
        add(stranger, PLAIN, 1),
        Action::RemoveParticipant { user: plain },
        Action::Leave,
    ] {
        assert_eq!(judge(fixed, &action), Err(Denial::FixedMembership), "{action:?}");
    }
    assert_eq!(judge_as("guest", &[], fixed, &join), Err(Denial::FixedMembership));
    assert_eq!(judge(fixed, &Action::RemoveOwnClient { clients: 2 }), Ok(()));
    let single = |s: &mut RoomState| s.base.multi_device = false;
    assert_eq!(judge(single, &own), Err(Denial::SingleDevice));
    assert_eq!(judge(single, &add(stranger, PLAIN, 2)), Err(Denial::SingleDevice));
    assert_eq!(judge(single, &add(stranger, PLAIN, 1)), Ok(()));
    let three_users = |s: &mut RoomState| s.base.max_users = Some(3);
    assert_eq!(
        judge(three_users, &add(stranger, PLAIN, 1)),
        Err(Denial::RoomFull)
    );
    assert_eq!(judge(three_users, &add(stranger, RoleIndex::BANNED, 0)), Ok(()));
    assert_eq!(
        judge(
            three_users,
            &Action::Unban {
                user: banned,
                role: PLAIN
            }
        ),
        Err(Denial::RoomFull)
    );
    let three_clients = |s: &mut RoomState| s.base.max_clients = Some(3);
    assert_eq!(judge(three_clients, &own), Err(Denial::TooManyClients));
    assert_eq!(
        judge(three_clients, &add(stranger, PLAIN, 1)),
        Err(Denial::TooManyClients)
    );
}
