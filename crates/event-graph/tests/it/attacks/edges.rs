//! Cases at the edge, and attacks without an entry.

use event_graph::{
    Arrival, AuthRule, Check, Draft, DropReason, EventId, Graph, ParseError, Pdu, RoomVersion,
    SigningIdentity, Verdict, json::JsonErrorKind,
};
use serde_json::json;

use super::{ANN, BOB, CAT, DAN, changed, last, put, rejected, tip};
use crate::world::{USERS, World};

#[test]
fn edge_01_duplicate_keys_in_an_event() {
    let world = World::new(RoomVersion::V12);
    let text = world
        .pdus
        .last()
        .unwrap()
        .as_str()
        .replacen("\"depth\":6", "\"depth\":6,\"depth\":6", 1);
    let error = Pdu::parse(text.as_bytes(), RoomVersion::V12).unwrap_err();
    assert!(matches!(error, ParseError::Json(e) if e.kind == JsonErrorKind::DuplicateKey));
}

#[test]
fn edge_02_huge_arrays_and_deep_nesting() {
    let world = World::new(RoomVersion::V12);
    let with = |content: String| {
        let text = world.pdus.last().unwrap().as_str();
        let from = text.find("\"content\":").unwrap() + 10;
        let to = text.find(",\"depth\"").unwrap();
        Pdu::parse(
            format!("{}{content}{}", &text[..from], &text[to..]).as_bytes(),
            RoomVersion::V12,
        )
    };
    assert!(with(format!("{{\"a\":[{}1]}}", "1,".repeat(30_000))).is_ok());
    assert!(matches!(
        with(format!("{{\"a\":[{}1]}}", "1,".repeat(40_000))),
        Err(ParseError::TooLarge { .. })
    ));
    assert!(with(format!("{{\"a\":{}1{}}}", "[".repeat(900), "]".repeat(900))).is_ok());
    assert!(with(format!("{{\"a\":{}1{}}}", "[".repeat(30_000), "]".repeat(30_000))).is_err());
}

/// "Forward-extremity explosion" (synapse#1760, #7682, #13348).
#[test]
fn edge_09_ten_thousand_extremities() {
    let mut world = World::new(RoomVersion::V12);
    let base = tip(&world);
    for i in 0..1_000 {
        world.event(&[base], "m.room.message", None, ANN, json!({"body": i}), &[], 0);
    }
    assert!(world.graph.wants_merge());
    assert_eq!(world.graph.head().prev_events().len(), 20);
    while world.graph.wants_merge() {
        let parents = world.graph.head().prev_events();
        world.event(&parents, "org.causeway.merge", None, ANN, json!({}), &[], 1);
    }
    assert!(world.graph.extremities().len() <= 10);
}

#[test]
fn edge_11_waiting_events_are_bounded() {
    let mut world = World::new(RoomVersion::V12);
    let template = world.pdus.last().unwrap().clone();
    let mut held = 0;
    for i in 0..2_100u32 {
        let mut hash = [0xee; 32];
        hash[..4].copy_from_slice(&i.to_le_bytes());
        let orphan = changed(&template, |v| {
            v["prev_events"] = json!([EventId::from_hash(hash).to_string()]);
        })
        .unwrap();
        match world.graph.admit(&orphan)[0].verdict.clone() {
            Verdict::Held { .. } => held += 1,
            other => assert_eq!(other, Verdict::Dropped(DropReason::HoldFull)),
        }
    }
    assert_eq!(held, event_graph::graph::HELD_EVENTS);
    let missing = world.graph.missing();
    for id in missing {
        world.graph.give_up(id, DropReason::Unobtainable);
    }
    assert_eq!(world.graph.held(), 0);
}

#[test]
fn edge_13_a_forged_authoriser_lets_nobody_in() {
    let mut world = World::new(RoomVersion::V10);
    assert!(
        put(
            &mut world,
            "m.room.join_rules",
            Some(""),
            ANN,
            json!({"join_rule": "restricted"})
        )
        .is_accepted()
    );
    let via = |user: &str| json!({"membership": "join", "join_authorised_via_users_server": user});
    assert_eq!(
        rejected(&put(&mut world, "m.room.member", Some(DAN), DAN, via(DAN))),
        Some(AuthRule::RestrictedJoinUnauthorised),
        "not a member"
    );
    assert!(put(&mut world, "m.room.member", Some(DAN), DAN, via(BOB)).is_accepted());
    let levels = json!({"users": {ANN: 100}, "invite": 50});
    assert!(put(&mut world, "m.room.power_levels", Some(""), ANN, levels).is_accepted());
    assert_eq!(
        rejected(&put(
            &mut world,
            "m.room.member",
            Some(USERS[4]),
            USERS[4],
            via(BOB)
        )),
        Some(AuthRule::RestrictedJoinUnauthorised),
        "may not invite"
    );
}

#[test]
fn edge_14_creators_of_version_12() {
    let mut world = World::new(RoomVersion::V12);
    let create = world.pdus[0].event_id();
    let levels = json!({"users": {ANN: 100}});
    assert_eq!(
        rejected(&put(&mut world, "m.room.power_levels", Some(""), ANN, levels)),
        Some(AuthRule::PowerLevelsListCreator)
    );
    let at = tip(&world);
    let member = world.graph.current_event("m.room.member", ANN).unwrap();
    world.event(
        &[at],
        "m.room.message",
        None,
        ANN,
        json!({}),
        &[create, member],
        1,
    );
    assert_eq!(rejected(&last(&world)), Some(AuthRule::AuthEventsUnexpected));

    let identity = SigningIdentity::from_seed("a.test", "ed25519:t", &[1; 32]);
    for (content, room_id, rule) in [
        (
            json!({"room_version": "12", "additional_creators": "@b:x"}),
            false,
            AuthRule::CreateAdditionalCreators,
        ),
        (
            json!({"room_version": "12", "additional_creators": ["b"]}),
            false,
            AuthRule::CreateAdditionalCreators,
        ),
        (json!({"room_version": "99"}), false, AuthRule::CreateRoomVersion),
        (json!({"room_version": "12"}), true, AuthRule::CreateHasRoomId),
    ] {
        let draft = Draft {
            room_id: room_id.then(|| "!x:a.test".to_owned()),
            event_type: "m.room.create".into(),
            sender: ANN.into(),
            state_key: Some(String::new()),
            content,
            prev_events: vec![],
            auth_events: vec![],
            depth: 1,
            origin_server_ts: 1,
        };
        let pdu = draft.sign(&identity, RoomVersion::V12).unwrap();
        let mut graph = Graph::new(RoomVersion::V12);
        let verdict = graph.admit(&pdu)[0].verdict.clone();
        assert_eq!(
            verdict,
            Verdict::Rejected {
                check: Check::AuthEvents,
                rule
            }
        );
        assert!(graph.is_empty());
    }
}

#[test]
fn duplicate_auth_keys_and_missing_create() {
    let mut world = World::new(RoomVersion::V11);
    put(
        &mut world,
        "m.room.member",
        Some(ANN),
        ANN,
        json!({"membership": "join", "displayname": "2"}),
    );
    let at = tip(&world);
    let of = |world: &World, n: usize| world.pdus[n].event_id();
    let newest = world.pdus.last().unwrap().event_id();
    let (create, first, levels) = (of(&world, 0), of(&world, 1), of(&world, 2));
    world.event(
        &[at],
        "m.room.message",
        None,
        ANN,
        json!({}),
        &[create, first, newest, levels],
        1,
    );
    assert_eq!(rejected(&last(&world)), Some(AuthRule::AuthEventsDuplicate));
    world.event(
        &[at],
        "m.room.message",
        None,
        ANN,
        json!({}),
        &[newest, levels],
        1,
    );
    assert_eq!(rejected(&last(&world)), Some(AuthRule::NoCreate));
}

#[test]
fn cyclic_references_stay_outside() {
    let mut world = World::new(RoomVersion::V12);
    let template = world.pdus.last().unwrap().clone();
    // Ids are hashes over the references, so a cycle can only be claimed, never made: two events that claim
    // each other wait for ids that no event has.
    let a = changed(&template, |v| {
        v["prev_events"] = json!([EventId::from_hash([1; 32]).to_string()]);
    })
    .unwrap();
    let b = changed(&template, |v| {
        v["prev_events"] = json!([a.event_id().to_string()]);
    })
    .unwrap();
    world.graph.admit(&a);
    world.graph.admit(&b);
    assert_eq!(world.graph.held(), 2);
    assert_eq!(world.graph.missing(), vec![EventId::from_hash([1; 32])]);
    assert_eq!(
        world
            .graph
            .give_up(EventId::from_hash([1; 32]), DropReason::Unobtainable)
            .len(),
        2
    );
}

#[test]
fn a_redacted_ban_is_still_a_ban() {
    let mut world = World::new(RoomVersion::V12);
    put(
        &mut world,
        "m.room.member",
        Some(CAT),
        ANN,
        json!({"membership": "ban", "reason": "spam"}),
    );
    let ban = world.pdus.last().unwrap().clone();
    let mut other = Graph::in_room(RoomVersion::V12, ban.room_id());
    for pdu in &world.pdus {
        other.admit(&pdu.redact());
    }
    assert_eq!(other.current_event("m.room.member", CAT), Some(ban.event_id()));
    assert_eq!(other.current_state(), world.graph.current_state());
}

#[test]
fn colliding_strings_stay_cheap() {
    // Type, state key and user strings of strangers are hashed with a key, so that chosen strings can't
    // collide; what is checked here is that many of them work at all.
    let mut world = World::new(RoomVersion::V12);
    let at = tip(&world);
    let mut events = serde_json::Map::new();
    for i in 0..2_000u32 {
        events.insert(format!("t{:08x}", i.wrapping_mul(0x9e37_79b9)), json!(i % 50));
    }
    world.event(
        &[at],
        "m.room.power_levels",
        Some(""),
        ANN,
        json!({"events": events, "users": {BOB: 50}}),
        &[],
        1,
    );
    assert!(last(&world).is_accepted());
}

#[test]
fn edge_12_signatures_and_unsigned_are_not_the_event() {
    let mut world = World::new(RoomVersion::V12);
    let pdu = world.pdus.last().unwrap().clone();
    let other = changed(&pdu, |v| {
        v["unsigned"] = json!({"age": 5, "prev_content": {"membership": "ban"}});
        v["signatures"]["elsewhere.test"] = json!({"ed25519:x": "AAAA"});
    })
    .unwrap();
    assert_eq!(other.event_id(), pdu.event_id());
    assert!(!other.as_str().contains("unsigned"));
    assert_eq!(world.graph.admit(&other)[0].verdict, Verdict::Duplicate);
}

#[test]
fn atk_13_a_given_state_is_no_better_than_its_events() {
    // A resident server hands a joining one a state with a rejected power levels event in it, and one that
    // nobody has.
    let mut world = World::new(RoomVersion::V12);
    let at = tip(&world);
    let bad = world.event(
        &[at],
        "m.room.power_levels",
        Some(""),
        DAN,
        json!({"users": {DAN: 100}}),
        &[],
        1,
    );
    let join = world.event(
        &[at],
        "m.room.member",
        Some(DAN),
        DAN,
        json!({"membership": "join"}),
        &[],
        1,
    );
    let mut graph = Graph::in_room(RoomVersion::V12, world.pdus[0].room_id());
    for pdu in &world.pdus {
        if pdu.event_id() != join {
            graph.admit_outlier(pdu);
        }
    }
    assert!(rejected(&graph.verdict(bad).unwrap()).is_some());
    let mut state: Vec<EventId> = world
        .pdus
        .iter()
        .map(Pdu::event_id)
        .filter(|id| *id != join)
        .collect();
    state.push(EventId::from_hash([3; 32]));
    let outcomes = graph.admit_at_state(world.pdu(join).unwrap(), &state, Arrival::New);
    assert!(outcomes[0].verdict.is_accepted());
    let levels = graph.current_event("m.room.power_levels", "").unwrap();
    assert_eq!(levels, world.pdus[2].event_id());
    assert_eq!(graph.extremities(), vec![join]);
}
