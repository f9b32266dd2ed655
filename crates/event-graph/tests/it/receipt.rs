//! The seven checks, each failing in turn.

use event_graph::{
    Arrival, AuthRule, EventId, Graph, KeyRing, ParseError, Pdu, RoomVersion, SigningIdentity, Verdict,
    VerifyError,
    receipt::{EventSource, Received, receive},
};
use serde_json::json;

use crate::world::{USERS, World};

struct Store<'a>(&'a World);

impl EventSource for Store<'_> {
    fn event(&self, id: EventId) -> Option<Pdu> {
        self.0.pdu(id).cloned()
    }
}

fn keys() -> KeyRing {
    let mut ring = KeyRing::new();
    for (server, seed) in ["a.test", "b.test", "c.test"].iter().zip(1u8..) {
        ring.insert(
            server,
            "ed25519:t",
            SigningIdentity::from_seed(server, "ed25519:t", &[seed; 32]).verify_key(),
            None,
        );
    }
    ring
}

fn copy(world: &World, but: usize) -> Graph {
    let mut graph = Graph::in_room(world.version, world.pdus[0].room_id());
    for pdu in &world.pdus[..world.pdus.len() - but] {
        graph.admit(pdu);
    }
    graph
}

fn verdict(received: Received) -> Verdict {
    match received {
        Received::Judged { outcomes, .. } => outcomes[0].verdict.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_check_has_its_outcome() {
    let mut world = World::new(RoomVersion::V12);
    let tip = world.graph.extremities()[0];
    world.event(
        &[tip],
        "m.room.message",
        None,
        USERS[1],
        json!({"body": "hello"}),
        &[],
        1,
    );
    let good = world.pdus.last().unwrap().clone();
    let receive = |octets: &[u8]| receive(&mut copy(&world, 1), octets, &keys(), &Store(&world));

    assert_eq!(verdict(receive(good.as_bytes())), Verdict::Accepted);
    // 1
    assert!(matches!(
        receive(b"{}"),
        Received::Malformed(ParseError::Field { .. })
    ));
    // 2
    let forged = good.as_str().replace("\"depth\":7", "\"depth\":8");
    assert!(matches!(
        receive(forged.as_bytes()),
        Received::Unverified(VerifyError::WrongSignature { .. })
    ));
    // 3
    let altered = good.as_str().replace("hello", "jello");
    let Received::Judged { pdu, outcomes } = receive(altered.as_bytes()) else {
        panic!()
    };
    assert!(pdu.is_redacted() && outcomes[0].verdict.is_accepted());
    assert_eq!(pdu.event_id(), good.event_id());
    // 4 and 5
    let mut world = World::new(RoomVersion::V12);
    world.event(&[tip], "m.room.message", None, USERS[4], json!({}), &[], 1);
    let verdict_of = verdict(event_graph::receipt::receive(
        &mut copy(&world, 1),
        world.pdus.last().unwrap().as_bytes(),
        &keys(),
        &Store(&world),
    ));
    assert!(matches!(
        verdict_of,
        Verdict::Rejected {
            rule: AuthRule::SenderNotJoined,
            ..
        }
    ));
    // 6: banned on one side, speaking on the other.
    let mut world = World::new(RoomVersion::V12);
    world.event(
        &[tip],
        "m.room.member",
        Some(USERS[1]),
        USERS[0],
        json!({"membership": "ban"}),
        &[],
        1,
    );
    world.event(&[tip], "m.room.message", None, USERS[1], json!({}), &[], 1);
    assert!(matches!(
        world.graph.verdict(world.pdus.last().unwrap().event_id()),
        Some(Verdict::SoftFailed {
            rule: AuthRule::SenderNotJoined
        })
    ));
}

#[test]
fn the_policy_server_signs_or_the_event_is_soft_failed() {
    let mut world = World::new(RoomVersion::V12);
    let policy = SigningIdentity::from_seed("b.test", "ed25519:policy_server", &[42; 32]);
    let tip = world.graph.extremities()[0];
    let content = json!({"via": "b.test", "public_keys": {"ed25519": policy.verify_key().to_base64()}});
    let at = world.event(&[tip], "m.room.policy", Some(""), USERS[0], content, &[], 1);
    world.event(
        &[at],
        "m.room.message",
        None,
        USERS[2],
        json!({"body": "spam"}),
        &[],
        1,
    );
    let event = world.pdus.last().unwrap().clone();
    let run = |octets: &[u8]| verdict(receive(&mut copy(&world, 1), octets, &keys(), &Store(&world)));
    assert_eq!(
        run(event.as_bytes()),
        Verdict::SoftFailed {
            rule: AuthRule::PolicyServer
        }
    );
    let signed = event.countersign(&policy).unwrap();
    assert_eq!(run(signed.as_bytes()), Verdict::Accepted);
    let other = SigningIdentity::from_seed("b.test", "ed25519:policy_server", &[43; 32]);
    let wrong = event.countersign(&other).unwrap();
    assert_eq!(
        run(wrong.as_bytes()),
        Verdict::SoftFailed {
            rule: AuthRule::PolicyServer
        }
    );
    // An operator who wants the room rid of its policy server says so in an event that needs no signature.
    world.event(&[at], "m.room.policy", Some(""), USERS[0], json!({}), &[], 1);
    let off = world.pdus.last().unwrap().clone();
    assert_eq!(
        verdict(receive(
            &mut copy(&world, 2),
            off.as_bytes(),
            &keys(),
            &Store(&world)
        )),
        Verdict::Accepted
    );
}

/// An event that arrived new and waits for one that comes by backfill is judged as new.
#[test]
fn waiting_does_not_spare_check_6() {
    let mut world = World::new(RoomVersion::V12);
    let tip = world.graph.extremities()[0];
    world.event(
        &[tip],
        "m.room.member",
        Some(USERS[1]),
        USERS[0],
        json!({"membership": "ban"}),
        &[],
        1,
    );
    let old = world.event(&[tip], "m.room.message", None, USERS[2], json!({}), &[], 1);
    let new = world.event(&[old], "m.room.message", None, USERS[1], json!({}), &[], 1);
    let mut graph = copy(&world, 2);
    assert!(matches!(
        graph.admit(world.pdu(new).unwrap())[0].verdict,
        Verdict::Held { .. }
    ));
    let outcomes = graph.admit_as(world.pdu(old).unwrap(), Arrival::Backfilled);
    assert_eq!(outcomes[0].verdict, Verdict::Accepted);
    assert!(matches!(outcomes[1].verdict, Verdict::SoftFailed { .. }));
}
