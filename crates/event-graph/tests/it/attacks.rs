//! Attacks that must fail; names say which entry of the collection of attacks they are, where they are one.

use event_graph::{
    AuthRule, Draft, DropReason, EventId, Graph, GraphHead, KeyRing, ParseError, Pdu, RoomVersion,
    SigningIdentity, Verdict,
    auth::auth_keys,
    json::{JsonErrorKind, canonicalize},
};
use serde_json::{Value, json};

use crate::world::{USERS, World};

mod edges;
mod history;

const ANN: &str = USERS[0];
const BOB: &str = USERS[1];
const CAT: &str = USERS[2];
const DAN: &str = USERS[3];

fn tip(world: &World) -> EventId {
    *world.graph.extremities().last().unwrap()
}

fn last(world: &World) -> Verdict {
    world
        .graph
        .verdict(world.pdus.last().unwrap().event_id())
        .unwrap()
}

/// Appends to the newest extremity.
fn put(world: &mut World, event_type: &str, key: Option<&str>, sender: &str, content: Value) -> Verdict {
    let tip = tip(world);
    world.event(&[tip], event_type, key, sender, content, &[], 1);
    last(world)
}

fn rejected(verdict: &Verdict) -> Option<AuthRule> {
    match verdict {
        Verdict::Rejected { rule, .. } => Some(*rule),
        _ => None,
    }
}

fn changed(pdu: &Pdu, change: impl Fn(&mut Value)) -> Result<Pdu, ParseError> {
    let mut value = pdu.raw().to_value();
    change(&mut value);
    Pdu::parse_trusted(value.to_string().as_bytes(), pdu.room_version())
}

#[test]
fn atk_01_depth_at_its_limit_leaves_the_room_usable() {
    let mut world = World::new(RoomVersion::V12);
    let top = world.pdus.last().unwrap().clone();
    let deep = changed(&top, |v| {
        v["depth"] = json!((1i64 << 53) - 1);
        v["content"]["n"] = json!(1);
    });
    // Content hash and depth were changed without signing; only the graph's reading of depth matters here.
    world.graph.admit(&deep.unwrap());
    let head = world.graph.head();
    assert_eq!(head.next_depth(), (1 << 53) - 1);
    assert!(changed(&top, |v| v["depth"] = json!(u64::MAX >> 1)).is_err());
    assert!(changed(&top, |v| v["depth"] = json!(1u64 << 53)).is_err());
    assert!(put(&mut world, "m.room.message", None, ANN, json!({})).is_accepted());
    let mut head = GraphHead {
        max_depth: u64::MAX - 1,
        ..GraphHead::new()
    };
    head.accept(world.pdus.last().unwrap());
    assert_eq!(head.next_depth(), (1 << 53) - 1);
}

#[test]
fn atk_03_default_levels_apply_without_power_levels() {
    let identity = SigningIdentity::from_seed("a.test", "ed25519:t", &[1; 32]);
    let other = SigningIdentity::from_seed("b.test", "ed25519:t", &[2; 32]);
    let mut graph = Graph::new(RoomVersion::V11);
    let mut ids: Vec<EventId> = Vec::new();
    let mut send = |graph: &mut Graph, event_type: &str, key: Option<&str>, sender: &str, content: Value| {
        let keys = auth_keys(RoomVersion::V11, event_type, sender, key, &content).unwrap();
        let draft = Draft {
            room_id: Some("!r:a.test".into()),
            event_type: event_type.into(),
            sender: sender.into(),
            state_key: key.map(Into::into),
            content,
            prev_events: graph.extremities(),
            auth_events: graph.auth_events_for(&keys),
            depth: ids.len() as u64 + 1,
            origin_server_ts: 1,
        };
        let by = if sender.ends_with("a.test") {
            &identity
        } else {
            &other
        };
        let pdu = draft.sign(by, RoomVersion::V11).unwrap();
        ids.push(pdu.event_id());
        graph.admit(&pdu)[0].verdict.clone()
    };
    assert!(
        send(
            &mut graph,
            "m.room.create",
            Some(""),
            ANN,
            json!({"room_version": "11"})
        )
        .is_accepted()
    );
    assert!(
        send(
            &mut graph,
            "m.room.member",
            Some(ANN),
            ANN,
            json!({"membership": "join"})
        )
        .is_accepted()
    );
    assert!(
        send(
            &mut graph,
            "m.room.join_rules",
            Some(""),
            ANN,
            json!({"join_rule": "public"})
        )
        .is_accepted()
    );
    assert!(
        send(
            &mut graph,
            "m.room.member",
            Some(BOB),
            BOB,
            json!({"membership": "join"})
        )
        .is_accepted()
    );
    assert_eq!(
        rejected(&send(
            &mut graph,
            "m.room.topic",
            Some(""),
            BOB,
            json!({"topic": "hijacked"})
        )),
        Some(AuthRule::EventLevel)
    );
    let levels = json!({"users": {BOB: 100}});
    assert_eq!(
        rejected(&send(&mut graph, "m.room.power_levels", Some(""), BOB, levels)),
        Some(AuthRule::EventLevel)
    );
}

#[test]
fn atk_05_atk_24_every_event_needs_its_server_signature() {
    let world = World::new(RoomVersion::V11);
    let pdu = world.pdus.last().unwrap();
    let parse = || Pdu::parse(pdu.as_bytes(), RoomVersion::V11).unwrap();
    assert!(parse().verify(&KeyRing::new()).is_err());
    let mut keys = KeyRing::new();
    let wrong = SigningIdentity::from_seed("c.test", "ed25519:t", &[77; 32]);
    keys.insert("c.test", "ed25519:t", wrong.verify_key(), None);
    assert!(parse().verify(&keys).is_err());
    let mut value = pdu.raw().to_value();
    value["signatures"] = json!({});
    assert!(
        Pdu::parse(value.to_string().as_bytes(), RoomVersion::V11)
            .unwrap()
            .verify(&keys)
            .is_err()
    );
}

#[test]
fn atk_07_a_stranger_redacts_nothing() {
    let mut world = World::new(RoomVersion::V11);
    put(&mut world, "m.room.message", None, ANN, json!({"body": "x"}));
    let target = world.pdus.last().unwrap().event_id();
    assert!(
        put(
            &mut world,
            "m.room.member",
            Some(USERS[4]),
            USERS[4],
            json!({"membership": "join"})
        )
        .is_accepted()
    );
    // Eve has no level and is of another server; Dan has none either but is of Ann's.
    put(
        &mut world,
        "m.room.redaction",
        None,
        USERS[4],
        json!({"redacts": target.to_string()}),
    );
    assert_eq!(world.graph.redacted_by(target), None);
    put(
        &mut world,
        "m.room.member",
        Some(DAN),
        DAN,
        json!({"membership": "join"}),
    );
    put(
        &mut world,
        "m.room.redaction",
        None,
        DAN,
        json!({"redacts": target.to_string()}),
    );
    assert_eq!(
        world.graph.redacted_by(target),
        Some(world.pdus.last().unwrap().event_id())
    );
}

#[test]
fn atk_08_redactions_of_redactions_end() {
    let mut world = World::new(RoomVersion::V11);
    let tip = tip(&world);
    let mut before = tip;
    for _ in 0..50 {
        before = world.event(
            &[tip],
            "m.room.redaction",
            None,
            ANN,
            json!({"redacts": before.to_string()}),
            &[],
            1,
        );
    }
    assert_eq!(world.graph.waiting_redactions(), 0);
}

#[test]
fn atk_11_the_create_event_is_not_redactable() {
    for version in [RoomVersion::V10, RoomVersion::V11, RoomVersion::V12] {
        let mut world = World::new(version);
        let create = world.pdus[0].event_id();
        let content = json!({"redacts": create.to_string()});
        let at = tip(&world);
        world.event(&[at], "m.room.redaction", None, ANN, content, &[], 1);
        assert_eq!(world.graph.redacted_by(create), None);
        assert_eq!(world.graph.room_version(), version);
    }
}

#[test]
fn atk_12_auth_events_of_another_room() {
    let mut world = World::new(RoomVersion::V12);
    let mut elsewhere = World::new(RoomVersion::V12);
    put(
        &mut elsewhere,
        "m.room.member",
        Some(DAN),
        DAN,
        json!({"membership": "join"}),
    );
    let foreign = elsewhere.pdus.iter().find(|p| p.sender() == DAN).unwrap().clone();
    // World::new is deterministic, so the other room needs a clock of its own.
    let create = SigningIdentity::from_seed("a.test", "ed25519:t", &[1; 32]);
    let other_room = Draft {
        room_id: None,
        event_type: "m.room.create".into(),
        sender: ANN.into(),
        state_key: Some(String::new()),
        content: json!({"room_version": "12"}),
        prev_events: vec![],
        auth_events: vec![],
        depth: 1,
        origin_server_ts: 7,
    };
    let other_room = other_room.sign(&create, RoomVersion::V12).unwrap();
    let foreign = changed(&foreign, |v| v["room_id"] = json!(other_room.room_id())).unwrap();
    let mine = world.pdus.last().unwrap().clone();
    let citing = changed(&mine, |v| {
        v["auth_events"] = json!([foreign.event_id().to_string()]);
    })
    .unwrap();
    let held = world.graph.admit(&citing);
    assert_eq!(
        held[0].verdict,
        Verdict::Held {
            missing: vec![foreign.event_id()]
        }
    );
    let outcomes = world.graph.admit(&foreign);
    assert_eq!(outcomes[0].verdict, Verdict::Dropped(DropReason::OtherRoom));
    assert_eq!(outcomes[1].event_id, citing.event_id());
    assert_eq!(outcomes[1].verdict, Verdict::Dropped(DropReason::CitesOtherRoom));
    assert_eq!(world.graph.held(), 0);
}

#[test]
fn atk_27_who_cites_a_rejected_event_is_rejected() {
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
    assert!(rejected(&last(&world)).is_some());
    // Its state is not the room's, an event on top is judged on its own, and one that cites it is rejected.
    assert_ne!(world.graph.current_event("m.room.power_levels", ""), Some(bad));
    let member = world.graph.current_event("m.room.member", ANN).unwrap();
    world.event(&[at], "m.room.message", None, ANN, json!({}), &[bad, member], 1);
    assert_eq!(rejected(&last(&world)), Some(AuthRule::AuthEventsRejected));
    world.event(
        &[bad],
        "m.room.message",
        None,
        ANN,
        json!({"body": "on top"}),
        &[],
        1,
    );
    assert!(last(&world).is_accepted());
    assert_eq!(world.graph.extremities().len(), 1);
}

#[test]
fn atk_15_atk_40_numbers_outside_content_are_checked_too() {
    let world = World::new(RoomVersion::V12);
    let text = world.pdus.last().unwrap().as_str();
    for (from, to) in [
        ("\"depth\":6", "\"depth\":6.0"),
        ("\"depth\":6", "\"depth\":6e0"),
        ("\"depth\":6", "\"depth\":9007199254740993"),
        ("\"depth\":6", "\"depth\":NaN"),
        ("{\"membership\"", "{\"a\":-0,\"membership\""),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text, "{from}");
        assert!(
            matches!(
                Pdu::parse(bad.as_bytes(), RoomVersion::V12),
                Err(ParseError::Json(_))
            ),
            "{to}"
        );
    }
}

#[test]
fn atk_32_edge_10_ten_thousand_power_levels_cost_what_they_are() {
    let mut world = World::new(RoomVersion::V12);
    let base = tip(&world);
    let mut ends = Vec::new();
    for fork in 0..2i64 {
        let mut at = base;
        for i in 0..400 {
            at = world.event(
                &[at],
                "m.room.power_levels",
                Some(""),
                ANN,
                json!({"users": {BOB: 40 + fork}, "n": i}),
                &[],
                1,
            );
        }
        ends.push(at);
    }
    let resolved = world.graph.resolve_after(&ends).unwrap();
    assert_eq!(resolved.full_conflicted, 800);
}

#[test]
fn atk_41_state_resets_that_room_version_12_closes() {
    // Ann demotes Bob and closes the room on one fork; on the other Bob acts on what was before. In version 12
    // no entry that was not contested goes back to an older event.
    for version in [RoomVersion::V11, RoomVersion::V12] {
        let mut world = World::new(version);
        let base = tip(&world);
        let closed = world.event(
            &[base],
            "m.room.join_rules",
            Some(""),
            ANN,
            json!({"join_rule": "invite"}),
            &[],
            1,
        );
        let levels = world.graph.current_event("m.room.power_levels", "").unwrap();
        let mut levels = world.pdu(levels).unwrap().content_value();
        levels["users"][BOB] = json!(0);
        let demoted = world.event(&[closed], "m.room.power_levels", Some(""), ANN, levels, &[], 1);
        let mut stale = base;
        for i in 0..5 {
            stale = world.event(
                &[stale],
                "m.room.topic",
                Some(""),
                BOB,
                json!({"topic": i}),
                &[],
                1,
            );
        }
        let old_join = world.event(
            &[stale],
            "m.room.member",
            Some(USERS[5]),
            USERS[5],
            json!({"membership": "join"}),
            &[],
            1,
        );
        let merged = world.graph.resolve_after(&[demoted, old_join]).unwrap().state;
        let entry = |t: &str, k: &str| {
            merged
                .iter()
                .find(|e| e.event_type == t && e.state_key == k)
                .map(|e| e.event_id)
        };
        assert_eq!(entry("m.room.join_rules", ""), Some(closed));
        assert_eq!(entry("m.room.power_levels", ""), Some(demoted));
        assert_eq!(
            entry("m.room.member", USERS[5]),
            None,
            "a join by old rules into a closed room"
        );
        assert_eq!(
            entry("m.room.topic", ""),
            None,
            "a topic by a moderator who was demoted"
        );
    }
}

#[test]
fn atk_42_a_room_has_one_create_event() {
    for version in [RoomVersion::V11, RoomVersion::V12] {
        let mut world = World::new(version);
        let second = changed(&world.pdus[0].clone(), |v| v["origin_server_ts"] = json!(5)).unwrap();
        let verdict = world.graph.admit(&second)[0].verdict.clone();
        let reason = if version == RoomVersion::V12 {
            DropReason::OtherRoom
        } else {
            DropReason::SecondCreate
        };
        assert_eq!(verdict, Verdict::Dropped(reason));
    }
}

#[test]
fn atk_51_json_that_peers_read_differently_has_one_reading_here() {
    assert_eq!(canonicalize(b"-0").unwrap_err().kind, JsonErrorKind::NegativeZero);
    assert!(canonicalize(format!("{}{}", "[".repeat(500), "]".repeat(500)).as_bytes()).is_ok());
}

#[test]
fn atk_52_conflicts_with_an_unconflicted_create_resolve() {
    let mut world = World::new(RoomVersion::V12);
    let base = tip(&world);
    let a = world.event(
        &[base],
        "m.room.topic",
        Some(""),
        ANN,
        json!({"topic": "a"}),
        &[],
        1,
    );
    let b = world.event(
        &[base],
        "m.room.topic",
        Some(""),
        BOB,
        json!({"topic": "b"}),
        &[],
        1,
    );
    let state = world.graph.resolve_after(&[a, b]).unwrap().state;
    assert_eq!(
        state
            .iter()
            .find(|e| e.event_type == "m.room.topic")
            .unwrap()
            .event_id,
        b
    );
}
