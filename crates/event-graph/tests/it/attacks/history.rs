//! What is served and kept of the past, and keys that have ended.

use event_graph::{
    Arrival, Graph, KeyRing, Pdu, RoomVersion, SigningIdentity, Verdict, VerifyError, json::to_canonical,
};
use serde_json::json;

use crate::world::{USERS, World};

#[test]
fn atk_46_history_goes_on_behind_rejected_events() {
    let mut world = World::new(RoomVersion::V12);
    let mut at = world.graph.extremities()[0];
    // Fay is not in the room: all that she sends is rejected.
    for n in 0..30 {
        at = world.event(&[at], "m.room.message", None, USERS[5], json!({"n": n}), &[], 1);
        assert!(matches!(world.graph.verdict(at), Some(Verdict::Rejected { .. })));
    }
    let top = world.event(&[at], "m.room.message", None, USERS[0], json!({}), &[], 1);
    let history = world.graph.backfill(&[top], 3);
    assert_eq!(history, [top, world.pdus[5].event_id(), world.pdus[4].event_id()]);
    let missing = world
        .graph
        .missing_events(&[top], &[world.pdus[3].event_id()], 10, 0);
    assert_eq!(missing, [world.pdus[4].event_id(), world.pdus[5].event_id()]);
}

#[test]
fn atk_48_outliers_are_no_history() {
    let world = World::new(RoomVersion::V12);
    let mut graph = Graph::in_room(world.version, world.pdus[0].room_id());
    for pdu in &world.pdus[..5] {
        graph.admit_outlier(pdu);
    }
    let state: Vec<_> = world.pdus[..5].iter().map(Pdu::event_id).collect();
    graph.admit_at_state(&world.pdus[5], &state, Arrival::New);
    let join = world.pdus[5].event_id();
    assert_eq!(graph.backfill(&[join, state[4]], 10), [join]);
    assert_eq!(graph.state_before(state[4]), None);
}

#[test]
fn atk_36_edge_05_a_key_counts_until_it_ends() {
    let world = World::new(RoomVersion::V11);
    let said = &world.pdus[0];
    let key = SigningIdentity::from_seed("a.test", "ed25519:t", &[1; 32]).verify_key();
    let at = said.origin_server_ts();
    for (until, good) in [(None, true), (Some(at), true), (Some(at - 1), false)] {
        let mut keys = KeyRing::new();
        keys.insert("a.test", "ed25519:t", key.clone(), until);
        let parsed = Pdu::parse(said.as_bytes(), world.version).unwrap();
        let verified: Result<Pdu, VerifyError> = parsed.verify(&keys);
        assert_eq!(verified.is_ok(), good, "{until:?}");
    }
}

#[test]
fn atk_37_a_redacted_event_says_nothing_more() {
    for version in RoomVersion::ALL {
        let mut world = World::new(version);
        let at = world.graph.extremities()[0];
        let secret = json!({"body": "secret", "msgtype": "m.text", "org.x": {"deep": ["secret"]}});
        let said = world.event(&[at], "m.room.message", None, USERS[1], secret.clone(), &[], 1);
        let mut join = secret.clone();
        join["membership"] = json!("join");
        join["displayname"] = json!("secret");
        let joined = world.event(&[said], "m.room.member", Some(USERS[1]), USERS[1], join, &[], 1);
        for id in [said, joined] {
            let redacted = world.pdu(id).unwrap().redact();
            assert!(redacted.is_redacted());
            assert_eq!(redacted.event_id(), id);
            let text = to_canonical(&redacted.raw().to_value()).unwrap();
            assert!(!text.contains("secret"), "{version}: {text}");
        }
    }
}
