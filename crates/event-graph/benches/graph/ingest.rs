//! Ingest of a room in order: parse, canonical form, hash, rules, state, index; with and without signatures.

use std::hint::black_box;

use event_graph::{Draft, Graph, KeyRing, Pdu, RoomVersion, SigningIdentity};
use serde_json::json;

use crate::{
    best,
    report::{Case, Report},
};

/// A room in order: joins, messages, topics.
pub fn run(events: usize, report: &mut Report) {
    let identity = SigningIdentity::from_seed("a.test", "ed25519:b", &[3; 32]);
    let version = RoomVersion::V12;
    let mut graph = Graph::new(version);
    let mut wire: Vec<Vec<u8>> = Vec::with_capacity(events);
    for i in 0..events {
        let user = format!("@u{}:a.test", i / 10);
        let creator = "@u0:a.test";
        let (event_type, key, sender, content) = match i {
            0 => (
                "m.room.create",
                Some(String::new()),
                creator,
                json!({"room_version": "12"}),
            ),
            1 => (
                "m.room.member",
                Some(creator.to_owned()),
                creator,
                json!({"membership": "join"}),
            ),
            2 => (
                "m.room.power_levels",
                Some(String::new()),
                creator,
                json!({"users": {"@u1:a.test": 50}}),
            ),
            3 => (
                "m.room.join_rules",
                Some(String::new()),
                creator,
                json!({"join_rule": "public"}),
            ),
            _ if i % 10 == 0 => {
                let content = json!({"membership": "join", "displayname": user});
                ("m.room.member", Some(user.clone()), user.as_str(), content)
            }
            _ => (
                "m.room.message",
                None,
                user.as_str(),
                json!({"msgtype": "m.text", "body": "x".repeat(120)}),
            ),
        };
        let keys =
            event_graph::auth::auth_keys(version, event_type, sender, key.as_deref(), &content).unwrap();
        let head = graph.head();
        let draft = Draft {
            room_id: graph.room_id().map(str::to_owned),
            event_type: event_type.into(),
            sender: sender.into(),
            state_key: key,
            content,
            prev_events: head.prev_events(),
            auth_events: graph.auth_events_for(&keys),
            depth: head.next_depth(),
            origin_server_ts: 1_700_000_000_000 + i as i64,
        };
        let pdu = draft.sign(&identity, version).unwrap();
        assert!(graph.admit(&pdu)[0].verdict.is_accepted());
        wire.push(pdu.as_bytes().to_vec());
    }
    let bytes = graph.index_bytes();
    let per = |ms: f64| ms * 1000.0 / events as f64;
    let unsigned = best(3, || {
        let mut graph = Graph::new(version);
        for octets in &wire {
            graph.admit(&Pdu::parse_trusted(octets, version).unwrap());
        }
        black_box(graph);
    });
    let parsing = best(3, || {
        for octets in &wire {
            black_box(Pdu::parse(octets, version).unwrap());
        }
    });
    let (signed, single) = against_single(&wire, version, &identity);
    report.add(&Case {
        name: format!("ingest {events} in order, unsigned, per event"),
        ours: per(unsigned),
        peer: per(parsing),
        unit: "us",
        peer_name: "our parsing and hashing",
        goal: "at most 8 us",
        holds: per(unsigned) <= 8.0,
    });
    report.add(&Case {
        name: format!("ingest {events} in order, signed, per event"),
        ours: per(signed),
        peer: per(single),
        unit: "us",
        peer_name: "one verification alone",
        goal: "at least 0.8",
        holds: single / signed >= 0.8,
    });
    let index = bytes as f64 / events as f64;
    report.add(&Case {
        name: format!("index of {events} events, per event"),
        ours: index,
        peer: 200.0,
        unit: "B",
        peer_name: "the goal",
        goal: "at most 200 bytes",
        holds: index <= 200.0,
    });
}

/// CPU time of ingest with signatures, and of as many single verifications of messages of that size. In turns, a
/// thousand at a time, so that both meet the machine in the same mood.
fn against_single(wire: &[Vec<u8>], version: RoomVersion, identity: &SigningIdentity) -> (f64, f64) {
    let mut keys = KeyRing::new();
    keys.insert("a.test", "ed25519:b", identity.verify_key(), None);
    let message = vec![b'x'; 600];
    let signature = identity.sign_bytes(&message);
    let key = identity.verify_key();
    let mut graph = Graph::new(version);
    let (mut signed, mut single) = (0.0, 0.0);
    for some in wire.chunks(1_000) {
        signed += best(1, || {
            for octets in some {
                graph.admit(&Pdu::parse(octets, version).unwrap().verify(&keys).unwrap());
            }
        });
        single += best(1, || {
            for _ in some {
                assert!(black_box(&key).verifies(&message, &signature));
            }
        });
    }
    black_box(graph);
    (signed, single)
}
