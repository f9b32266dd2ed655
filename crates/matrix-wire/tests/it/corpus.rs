//! The fuzz targets' corpus.

#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../../mimi-wire/tests/it/replay.rs"]
mod replay;

use checks::{IDENTITY, NAME, NOW};
use event_graph::{Draft, EventId, Pdu, RoomVersion};
use matrix_wire::auth;
use matrix_wire::keys::OwnKeys;
use serde_json::{Value, json};
use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, ResourceRecord};

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

macro_rules! replayed {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay::replay(FUZZ, stringify!($target), checks::$target);
        })*
    };
}

replayed! { header transaction answers keys discovery push }

/// The first events of a room of version 12.
fn room() -> Vec<Pdu> {
    let alice = format!("@alice:{NAME}");
    let mut pdus: Vec<Pdu> = Vec::new();
    let mut room_id = None;
    for (event_type, key, content) in [
        ("m.room.create", "", json!({ "room_version": "12" })),
        ("m.room.member", &*alice, json!({ "membership": "join" })),
        ("m.room.join_rules", "", json!({ "join_rule": "invite" })),
    ] {
        let draft = Draft {
            room_id: room_id.clone(),
            event_type: event_type.to_owned(),
            sender: alice.clone(),
            state_key: Some(key.to_owned()),
            content,
            prev_events: pdus.last().map(Pdu::event_id).into_iter().collect(),
            auth_events: pdus.iter().skip(1).map(Pdu::event_id).collect(),
            depth: pdus.len() as u64 + 1,
            origin_server_ts: NOW,
        };
        let pdu = draft.sign(&IDENTITY, RoomVersion::V12).unwrap();
        room_id = Some(pdu.room_id().to_owned());
        pdus.push(pdu);
    }
    pdus
}

fn srv(records: &[(u16, u16, u16, &str)]) -> Vec<u8> {
    let mut packet = Packet::new_reply(7);
    for (priority, weight, port, target) in records {
        let srv = SRV {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: Name::new_unchecked(target),
        };
        let name = Name::new_unchecked("_matrix-fed._tcp.a.example");
        let record = ResourceRecord::new(name, CLASS::IN, 60, RData::SRV(srv));
        packet.answers.push(record);
    }
    packet.build_bytes_vec_compressed().unwrap()
}

/// Writes the corpus anew when asked to.
#[test]
fn update() {
    if !replay::updates() {
        return;
    }
    let write = |target: &str, name: &str, input: &[u8]| replay::write(FUZZ, target, name, input);
    let signed = auth::sign(
        &IDENTITY,
        "GET",
        "/_matrix/federation/v1/version",
        "b.example",
        None,
    );
    write("header", "signed", signed.as_bytes());
    write("header", "unquoted", signed.replace('"', "").as_bytes());
    for (name, text) in [
        ("name", "matrix.a.example:8448"),
        ("ipv6", "[2001:db8::1]:8448"),
        ("ipv4", "192.0.2.1"),
        ("query", "v=%24x&v=a+b&limit=10"),
    ] {
        write("header", name, text.as_bytes());
    }

    let pdus = room();
    let events: Vec<Value> = pdus.iter().map(|pdu| pdu.raw().to_value()).collect();
    let ids: Vec<EventId> = pdus.iter().map(Pdu::event_id).collect();
    let edus =
        [json!({ "edu_type": "m.typing", "content": { "room_id": pdus[0].room_id(), "typing": true } })];
    for (name, body) in [
        (
            "pdus",
            json!({ "origin": NAME, "origin_server_ts": NOW, "pdus": events, "edus": edus }),
        ),
        ("nothing", json!({})),
    ] {
        write("transaction", name, body.to_string().as_bytes());
    }
    let template = json!({
        "room_version": "12",
        "event": {
            "type": "m.room.member", "prev_events": ids[2..], "auth_events": ids[1..], "depth": 4,
            "content": { "membership": "join", "join_authorised_via_users_server": "@alice:a.example" },
        },
    });
    for (place, name, body) in [
        (0, "template", template),
        (
            1,
            "send_join",
            json!({ "state": events, "auth_chain": events[..2], "event": events[1], "members_omitted": false }),
        ),
        (2, "events", json!({ "events": events[2..] })),
        (2, "backfill", json!({ "origin": NAME, "pdus": events[1..2] })),
        (
            3,
            "state_ids",
            json!({ "pdu_ids": ids, "auth_chain_ids": ids[..1] }),
        ),
        (4, "state", json!({ "pdus": events, "auth_chain": events[..1] })),
        (5, "heads", json!({ "heads": ids[2..] })),
        (
            6,
            "nearest",
            json!({ "event_id": ids[0], "origin_server_ts": NOW }),
        ),
        (
            7,
            "missing",
            json!({ "earliest_events": ids[..1], "latest_events": ids[2..], "limit": 20, "min_depth": 0 }),
        ),
        (
            8,
            "invite",
            json!({ "room_version": "12", "event": events[1], "invite_room_state": events[..1] }),
        ),
        (9, "signed", json!({ "event": events[1] })),
    ] {
        let input = [&[place], body.to_string().as_bytes()].concat();
        write("answers", name, &input);
    }

    let old = [("ed25519:0".to_owned(), (IDENTITY.verify_key(), NOW - 7))];
    let own = OwnKeys::new(IDENTITY.clone(), old.into());
    write("keys", "own", own.document(NOW).to_string().as_bytes());
    let unsigned = json!({
        "valid_until_ts": NOW * 2, "verify_keys": { "ed25519:x": { "key": "AAAA" }, "rsa:1": 7 },
        "old_verify_keys": { "ed25519:y": { "key": IDENTITY.verify_key().to_base64(), "expired_ts": NOW * 2 } },
    });
    write("keys", "unsigned", unsigned.to_string().as_bytes());

    write(
        "discovery",
        "well_known",
        br#"{"m.server":"matrix.a.example:443"}"#,
    );
    let records = [
        (10, 5, 8448, "x.a.example"),
        (10, 7, 8449, "y.a.example"),
        (20, 1, 1, "z.example"),
    ];
    write("discovery", "srv", &srv(&records));
    write("discovery", "srv_of_nothing", &srv(&[]));

    let event = |number: usize| {
        json!({
            "room_id": "!r:a.example", "event_id": format!("${number}"), "sender": "@alice:a.example",
            "type": "m.room.member", "state_key": "@_mimi:a.example", "origin_server_ts": NOW,
            "content": { "membership": "invite" }, "age": 7, "unsigned": { "age": 7 },
        })
    };
    let message = json!({
        "sender": "@alice:a.example", "type": "org.causeway.x", "to_user_id": "@_mimi:a.example", "to_device_id": "D",
        "content": { "x": 1 },
    });
    let extras = json!({
        "events": [event(1), { "event_id": "$2", "content": 7 }],
        "ephemeral": [{ "type": "m.typing", "room_id": "!r:a.example", "content": { "user_ids": [] } }],
        "de.sorunome.msc2409.to_device": [message],
        "org.matrix.msc3202.device_lists": { "changed": ["@b:a.example"], "left": [] },
        "org.matrix.msc3202.device_one_time_key_counts": { "@_mimi:a.example": { "D": { "signed_curve25519": 7 } } },
        "org.matrix.msc3202.device_unused_fallback_key_types": { "@_mimi:a.example": { "D": ["signed_curve25519"] } },
    });
    for (name, body) in [
        ("events", json!({ "events": [event(1), event(2)] })),
        ("extras", extras),
        ("nothing", json!({ "events": [] })),
    ] {
        write("push", name, body.to_string().as_bytes());
    }
}
