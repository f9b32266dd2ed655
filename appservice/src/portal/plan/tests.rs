#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use mimi_wire::MimiUri;
use proptest::prelude::*;
use room_engine::{PortalMember, Thresholds, ghost};

const BOT: &str = "@_mimi:a.example";

fn member(uri: &str, level: i64, banned: bool) -> (String, PortalMember) {
    let user = MimiUri::parse(uri).unwrap();
    let ghost = user.domain().as_str() != "a.example";
    let mxid = if ghost {
        ghost::user_id(&user, "a.example")
    } else {
        format!("@{}:a.example", user.local_id().unwrap())
    };
    let member = PortalMember {
        user,
        ghost,
        banned,
        level,
    };
    (mxid, member)
}

fn wanted(members: &[(String, PortalMember)]) -> PortalWanted {
    PortalWanted {
        room: MimiUri::parse("mimi://a.example/r/club").unwrap(),
        portal: "!p".into(),
        revision: 1,
        name: Some("Club".into()),
        topic: None,
        picture: None,
        info: json!({"room": "mimi://a.example/r/club"}),
        members: members.iter().cloned().collect(),
        thresholds: Thresholds::default(),
        published: false,
    }
}

fn event(event_type: &str, state_key: &str, sender: &str, content: Value) -> StateEvent {
    StateEvent {
        event_type: event_type.into(),
        state_key: state_key.into(),
        sender: sender.into(),
        content,
    }
}

fn membership(user: &str, by: &str, membership: &str) -> StateEvent {
    event("m.room.member", user, by, json!({ "membership": membership }))
}

/// A room as simple as can be: does what the steps say.
fn carry_out(state: &mut Vec<StateEvent>, steps: &[Step]) {
    let mut set = |new: StateEvent| {
        state.retain(|old| (&old.event_type, &old.state_key) != (&new.event_type, &new.state_key));
        state.push(new);
    };
    for step in steps {
        match step {
            Step::State { event_type, content } => set(event(event_type, "", BOT, content.clone())),
            Step::Picture(address) => set(event(
                AVATAR,
                "",
                BOT,
                json!({"url": "mxc://a.example/x", SOURCE_FIELD: address}),
            )),
            Step::Invite(user) => set(membership(user, BOT, "invite")),
            Step::BringIn { ghost, .. } => set(membership(ghost, ghost, "join")),
            Step::Unban(user) | Step::Remove { user, .. } => set(membership(user, BOT, "leave")),
            Step::TakeOut(ghost) => set(membership(ghost, ghost, "leave")),
            Step::Ban(user) => set(membership(user, BOT, "ban")),
        }
    }
}

#[test]
fn a_new_portal_is_filled_people_before_ghosts() {
    let wanted = wanted(&[
        member("mimi://b.example/u/bob", 0, false),
        member("mimi://a.example/u/alice", 50, false),
        member("mimi://b.example/u/mallory", 0, true),
    ]);
    let steps = plan(&wanted, BOT, &[membership(BOT, BOT, "join")]);
    let people: Vec<&Step> = steps
        .iter()
        .filter(|step| !matches!(step, Step::State { .. }))
        .collect();
    assert_eq!(
        people,
        [
            &Step::Ban("@_mimi_mallory=40b.example:a.example".into()),
            &Step::Invite("@alice:a.example".into()),
            &Step::BringIn {
                ghost: "@_mimi_bob=40b.example:a.example".into(),
                uri: "mimi://b.example/u/bob".into(),
                invited: false
            },
        ]
    );
}

#[test]
fn who_knocks_at_a_published_room_is_left_to_wait() {
    let mut wanted = wanted(&[]);
    wanted.published = true;
    let zoe = "@zoe:a.example";
    let mut state = vec![membership(BOT, BOT, "join"), membership(zoe, zoe, "knock")];
    let steps = plan(&wanted, BOT, &state);
    carry_out(&mut state, &steps);
    let rule = |state: &[StateEvent]| {
        let rules = state.iter().find(|event| event.event_type == "m.room.join_rules");
        rules.unwrap().content["join_rule"].clone()
    };
    assert_eq!(rule(&state), "knock");
    assert_eq!(plan(&wanted, BOT, &state), []);
    // No longer: nobody can ask, and who asked is told so.
    wanted.published = false;
    let steps = plan(&wanted, BOT, &state);
    assert!(
        steps
            .iter()
            .any(|step| matches!(step, Step::Remove { user, .. } if user == zoe))
    );
    carry_out(&mut state, &steps);
    assert_eq!(rule(&state), "invite");
}

#[test]
fn a_picture_is_shown_once_and_put_back_where_somebody_changed_it() {
    let address = "https://b.example/v1/asset/x";
    let mut wanted = wanted(&[]);
    let mut state = vec![membership(BOT, BOT, "join")];
    let steps = plan(&wanted, BOT, &state);
    assert!(!steps.iter().any(|step| matches!(step, Step::Picture(_))));
    carry_out(&mut state, &steps);

    wanted.picture = Some(address.into());
    let show = Step::Picture(address.into());
    assert_eq!(plan(&wanted, BOT, &state), std::slice::from_ref(&show));
    carry_out(&mut state, std::slice::from_ref(&show));
    assert_eq!(plan(&wanted, BOT, &state), []);
    // Somebody's own, that says it came from there.
    let forged = json!({"url": "mxc://a.example/y", SOURCE_FIELD: address});
    state.retain(|event| event.event_type != AVATAR);
    state.push(event(AVATAR, "", "@alice:a.example", forged));
    assert_eq!(plan(&wanted, BOT, &state), [show]);

    wanted.picture = None;
    let steps = plan(&wanted, BOT, &state);
    carry_out(&mut state, &steps);
    assert_eq!(plan(&wanted, BOT, &state), []);
    let shown = state.iter().find(|event| event.event_type == AVATAR).unwrap();
    assert_eq!(shown.content, json!({}));
}

#[test]
fn what_somebody_changed_is_put_back_and_who_left_is_left_alone() {
    let wanted = wanted(&[
        member("mimi://a.example/u/alice", 50, false),
        member("mimi://a.example/u/anna", 0, false),
        member("mimi://a.example/u/arno", 0, false),
        member("mimi://b.example/u/bob", 0, false),
    ]);
    let mut state = vec![membership(BOT, BOT, "join")];
    let first = plan(&wanted, BOT, &state);
    carry_out(&mut state, &first);
    assert_eq!(plan(&wanted, BOT, &state), []);

    let alice = "@alice:a.example";
    let bob = "@_mimi_bob=40b.example:a.example";
    carry_out(
        &mut state,
        &[Step::State {
            event_type: "m.room.name",
            content: json!({"name": "Mine"}),
        }],
    );
    for (user, by, now) in [
        ("@anna:a.example", alice, "leave"),
        ("@arno:a.example", "@arno:a.example", "leave"),
        (bob, alice, "ban"),
        ("@stranger:a.example", alice, "invite"),
        ("@_mimi_eve=40e.example:a.example", alice, "invite"),
    ] {
        state.retain(|old| old.state_key != user);
        state.push(membership(user, by, now));
    }
    let steps = plan(&wanted, BOT, &state);
    assert_eq!(
        steps,
        [
            Step::State {
                event_type: "m.room.name",
                content: json!({"name": "Club"})
            },
            Step::TakeOut("@_mimi_eve=40e.example:a.example".into()),
            Step::Remove {
                user: "@stranger:a.example".into(),
                reason: "not a participant of the MIMI room"
            },
            Step::Invite("@anna:a.example".into()),
            Step::Unban(bob.into()),
            Step::BringIn {
                ghost: bob.into(),
                uri: "mimi://b.example/u/bob".into(),
                invited: false
            },
        ]
    );
}

/// "power_levels event too large with many users" (synapse#15384, #10162).
#[test]
fn ten_thousand_participants_fit_into_the_power_levels() {
    let members: Vec<_> = (0..10_000)
        .map(|n| {
            member(
                &format!("mimi://b.example/u/user{n}"),
                if n == 7 { 90 } else { 50 },
                false,
            )
        })
        .collect();
    let levels = power_levels(&wanted(&members), BOT, None);
    assert_eq!(levels["users_default"], 50);
    assert_eq!(levels["users"].as_object().unwrap().len(), 1);
    assert!(serde_json::to_string(&levels).unwrap().len() < 1_000);
}

/// Matrix lets nobody unban an equal: who is banned is below everybody, also where most stand high.
#[test]
fn who_is_banned_never_holds_the_level_of_most() {
    let members = [
        member("mimi://a.example/u/alice", 90, false),
        member("mimi://a.example/u/dave", 90, false),
        member("mimi://b.example/u/bob", 0, true),
    ];
    let levels = power_levels(&wanted(&members), BOT, None);
    assert_eq!(levels["users_default"], 90);
    assert_eq!(levels["users"][&members[2].0], 0);
}

#[test]
fn the_bot_is_named_only_where_the_room_version_names_it() {
    let wanted = wanted(&[]);
    let named = json!({"users": {BOT: 100}});
    assert_eq!(power_levels(&wanted, BOT, Some(&named))["users"][BOT], 100);
    let unnamed = power_levels(&wanted, BOT, Some(&json!({"users": {}})));
    assert!(unnamed["users"][BOT].is_null());
}

proptest! {
    /// Whatever state a room is in: what is planned leads there, and then there is nothing left to do.
    #[test]
    fn one_pass_is_enough(
        wanted_members in prop::collection::vec((0_u8..6, any::<bool>(), 0_i64..3, any::<bool>()), 0..8),
        actual in prop::collection::vec((0_u8..6, any::<bool>(), 0_usize..5, any::<bool>()), 0..8),
    ) {
        let uri = |n: u8, here: bool| format!("mimi://{}.example/u/user{n}", if here { "a" } else { "b" });
        let members: Vec<_> = wanted_members
            .iter()
            .map(|(n, here, level, banned)| member(&uri(*n, *here), *level, *banned))
            .collect();
        let wanted = wanted(&members);
        let mut state = vec![membership(BOT, BOT, "join")];
        for (n, here, which, own) in actual {
            let (mxid, _) = member(&uri(n, here), 0, false);
            let what = ["join", "invite", "leave", "ban", "knock"][which];
            let own = own && what != "ban" && what != "invite";
            let by = if own { mxid.clone() } else { "@alice:a.example".to_owned() };
            state.retain(|old| old.state_key != mxid);
            state.push(membership(&mxid, &by, what));
        }
        let first = plan(&wanted, BOT, &state);
        carry_out(&mut state, &first);
        prop_assert_eq!(plan(&wanted, BOT, &state), Vec::<Step>::new());
    }
}
