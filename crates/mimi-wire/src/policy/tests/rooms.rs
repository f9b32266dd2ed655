//! Whole rooms: presets, what an action leaves behind, what may stand together.

use super::*;

#[test]
fn presets_make_sense() {
    for preset in Preset::ALL {
        let roles = preset.roles();
        roles.check().unwrap();
        assert!(roles.has_banned_role());
        let admin = roles.get(preset.creator_role()).unwrap();
        assert!(admin.can(Capability::ADD_PARTICIPANT) && admin.can(Capability::DESTROY_ROOM));
        assert!(roles.get(preset.default_role()).is_some());
        let enforcer = roles.get(preset.enforcer_role()).unwrap();
        assert_eq!(enforcer.maximum_active_participants_constraint, Some(0));
        assert!(!enforcer.can(Capability::ADD_PARTICIPANT));
    }
    assert_eq!(Preset::Cooperative.creator_role(), RoleIndex(4));
    let moderated = Preset::Moderated.roles();
    assert!(moderated.get(RoleIndex(5)).unwrap().can(Capability::SEND_MESSAGE));
    assert!(!moderated.get(RoleIndex(3)).unwrap().can(Capability::SEND_MESSAGE));
    let organizations = Preset::MultiOrganization.roles();
    assert!(organizations.get(RoleIndex(7)).unwrap().can(Capability::KICK));
}

#[test]
fn a_cooperative_room() {
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(uri);
    let creator = UserRolePair {
        user: alice.clone(),
        role_index: RoleIndex(4),
    };
    let hub = Domain::parse("a.example").unwrap();
    let roles = Preset::Cooperative.roles();
    let preauth = hub_preauthorization(&hub, Preset::Cooperative.enforcer_role(), &roles).unwrap();
    let list = ParticipantListData {
        participants: vec![creator],
    };
    let mut state = RoomState::new(
        roles,
        preauth,
        BaseRoomPolicy::default(),
        &list,
        [(alice.clone(), 1)],
    );
    let as_alice = Actor::user(&alice);
    let as_bob = Actor::user(&bob);

    let add_bob = Action::AddParticipant {
        user: &bob,
        role: RoleIndex(2),
        clients: 1,
    };
    assert_eq!(state.authorize(as_alice, &add_bob), Ok(()));
    state.apply(as_alice, &add_bob);
    // An ordinary user adds and removes ordinary users, not admins.
    let add_carol = Action::AddParticipant {
        user: &carol,
        role: RoleIndex(2),
        clients: 1,
    };
    assert_eq!(state.authorize(as_bob, &add_carol), Ok(()));
    state.apply(as_bob, &add_carol);
    assert_eq!(
        state.authorize(as_bob, &Action::RemoveParticipant { user: &carol }),
        Ok(())
    );
    assert!(
        state
            .authorize(as_bob, &Action::RemoveParticipant { user: &alice })
            .is_err()
    );
    assert!(state.authorize(as_bob, &Action::Ban { user: &carol }).is_err());
    assert_eq!(state.authorize(as_bob, &Action::Leave), Ok(()));
    assert_eq!(
        state.authorize(as_bob, &Action::Use(Capability::SEND_MESSAGE)),
        Ok(())
    );
    assert!(
        state
            .authorize(Actor::user(&uri("eve")), &Action::Use(Capability::SEND_MESSAGE))
            .is_err()
    );

    // The hub, in no list, acts by its preauthorization.
    let provider = MimiUri::provider(&hub);
    let claims = [Claim::basic_identity(provider.as_bytes())];
    let as_hub = Actor {
        uri: &provider,
        claims: &claims,
    };
    assert_eq!(state.authorize(as_hub, &Action::Ban { user: &carol }), Ok(()));
    assert_eq!(
        state.authorize(as_hub, &Action::RemoveParticipant { user: &alice }),
        Ok(())
    );
    assert!(state.authorize(as_hub, &add_carol).is_err());
    assert!(
        state
            .authorize(Actor::user(&provider), &Action::Ban { user: &carol })
            .is_err()
    );

    let ban = Action::Ban { user: &bob };
    assert_eq!(state.authorize(as_alice, &ban), Ok(()));
    state.apply(as_alice, &ban);
    for action in [
        Action::AddOwnClient { clients: 1 },
        Action::Leave,
        Action::Use(Capability::SEND_MESSAGE),
    ] {
        assert!(state.authorize(as_bob, &action).is_err());
    }
}

#[test]
fn role_definitions_that_make_no_sense() {
    let a = role(PLAIN, "a", &[]);
    let twice = RoleData {
        roles: vec![a.clone(), a.clone()],
    };
    assert_eq!(twice.check(), Err(RoleDataError::Duplicate(PLAIN)));
    let open = RoleData {
        roles: vec![role(PLAIN, "a", &[Capability::OPEN_JOIN])],
    };
    assert_eq!(open.check(), Err(RoleDataError::OpenJoin(PLAIN)));
    let mut limits = a;
    limits.minimum_participants_constraint = 2;
    limits.maximum_participants_constraint = Some(1);
    assert_eq!(
        RoleData { roles: vec![limits] }.check(),
        Err(RoleDataError::Limits(PLAIN))
    );
}

#[test]
fn nobody_adds_in_a_room_whose_participants_are_fixed() {
    let mut state = room(&[Capability::ADD_PARTICIPANT]);
    assert_eq!(state.check(), Ok(()));
    state.base.fixed_membership = true;
    assert_eq!(state.check(), Err(RoleDataError::FixedMembership(ACTING)));
    let mut state = room(&[]);
    state.base.fixed_membership = true;
    assert_eq!(state.check(), Ok(()));
}
