//! What the fuzz targets do with their input. `tests/it/corpus.rs` replays the corpus through the same code.
#![allow(dead_code, unreachable_pub, clippy::cast_possible_wrap)]

use event_graph::{
    Draft, EventId, Graph, Pdu, RoomVersion, SigningIdentity, Verdict,
    auth::auth_keys,
    json::{Raw, canonicalize, to_canonical},
};
use serde_json::{Value, json};

/// Canonical form is a fixed point, and means what was read.
pub fn canonical_json(data: &[u8]) {
    let Ok(text) = canonicalize(data) else { return };
    let value = Raw::new(&text).to_value();
    assert_eq!(canonicalize(text.as_bytes()).as_deref(), Ok(&*text));
    assert_eq!(to_canonical(&value).as_deref(), Ok(&*text));
    if let Ok(theirs) = serde_json::from_slice::<Value>(data) {
        assert_eq!(theirs, value);
    }
}

fn version(byte: u8) -> RoomVersion {
    RoomVersion::ALL[usize::from(byte) % RoomVersion::ALL.len()]
}

/// What parses has one id, survives a second reading, and keeps its id when redacted.
pub fn pdu(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let version = version(*first);
    let Ok(parsed) = Pdu::parse(rest, version) else {
        return;
    };
    let again = Pdu::parse(parsed.as_bytes(), version).expect("own octets");
    assert_eq!(again.event_id(), parsed.event_id());
    assert_eq!(again.as_bytes(), parsed.as_bytes());
    let trusted = Pdu::parse_trusted(rest, version).expect("parsed before");
    let redacted = trusted.redact();
    assert_eq!(redacted.event_id(), trusted.event_id());
    assert_eq!(redacted.redact().as_bytes(), redacted.as_bytes());
    let _ = parsed.required_signers();
    let mut graph = Graph::new(version);
    graph.admit(&trusted);
    let _ = event_graph::auth::check_state(&trusted, |_, _| None);
}

const USERS: [&str; 4] = ["@a:x", "@b:x", "@c:y", "@d:y"];

/// Makes a room from octets, four to an event, and gives its events in order.
fn room(data: &[u8]) -> Option<(RoomVersion, Graph, Vec<Pdu>)> {
    let (first, rest) = data.split_first()?;
    let version = version(*first);
    let identity = SigningIdentity::from_seed("x", "ed25519:f", &[9; 32]);
    let mut graph = Graph::new(version);
    let mut pdus: Vec<Pdu> = Vec::new();
    let create = json!({"room_version": version.as_str(), "creator": USERS[0]});
    let mut todo = vec![
        ("m.room.create", Some(""), 0, create, vec![]),
        (
            "m.room.member",
            Some(USERS[0]),
            0,
            json!({"membership": "join"}),
            vec![0],
        ),
        (
            "m.room.power_levels",
            Some(""),
            0,
            json!({"users": {USERS[1]: 50}}),
            vec![1],
        ),
        (
            "m.room.join_rules",
            Some(""),
            0,
            json!({"join_rule": "public"}),
            vec![2],
        ),
        (
            "m.room.member",
            Some(USERS[1]),
            1,
            json!({"membership": "join"}),
            vec![3],
        ),
    ];
    for chunk in rest.chunks_exact(4).take(60) {
        let [parents, who, what, value] = chunk else { break };
        let sender = usize::from(who & 3);
        let target = USERS[usize::from(who >> 2 & 3)];
        let level = i64::from(*value);
        let (event_type, key, content) = match what % 9 {
            0 => (
                "m.room.member",
                Some(USERS[sender]),
                json!({"membership": "join"}),
            ),
            1 => (
                "m.room.member",
                Some(USERS[sender]),
                json!({"membership": "leave"}),
            ),
            2 => ("m.room.member", Some(target), json!({"membership": "ban"})),
            3 => ("m.room.member", Some(target), json!({"membership": "leave"})),
            4 => ("m.room.member", Some(target), json!({"membership": "invite"})),
            5 => ("m.room.power_levels", Some(""), json!({"users": {target: level}})),
            6 => (
                "m.room.join_rules",
                Some(""),
                json!({"join_rule": if value & 1 == 0 { "public" } else { "invite" }}),
            ),
            7 => ("m.room.topic", Some(""), json!({"topic": value})),
            _ => ("m.room.message", None, json!({"body": value})),
        };
        todo.push((
            event_type,
            key,
            sender,
            content,
            vec![usize::from(parents & 15), usize::from(parents >> 4)],
        ));
    }
    for (n, (event_type, key, sender, content, back)) in todo.into_iter().enumerate() {
        // Before the room stands, parents are by number; after that, counted back from the newest event.
        let parent = |b: &usize| {
            if n < 5 {
                pdus.get(*b)
            } else {
                pdus.iter().rev().nth(*b % (n - 4))
            }
        };
        let mut prev_events: Vec<EventId> = back.iter().filter_map(parent).map(Pdu::event_id).collect();
        prev_events.dedup();
        let keys = auth_keys(version, event_type, USERS[sender], key, &content).ok()?;
        let mut auth_events = Vec::new();
        if !prev_events.is_empty() {
            let state = graph.resolve_after(&prev_events)?.state;
            for key in keys {
                let found = state
                    .iter()
                    .find(|e| e.event_type == key.event_type && e.state_key == key.state_key);
                auth_events.extend(found.map(|e| e.event_id));
            }
        }
        let v12_create = version == RoomVersion::V12 && n == 0;
        let room_id = match pdus.first() {
            Some(create) => Some(create.room_id().to_owned()),
            None => (!v12_create).then(|| "!r:x".to_owned()),
        };
        let draft = Draft {
            room_id,
            event_type: event_type.to_owned(),
            sender: USERS[sender].to_owned(),
            state_key: key.map(str::to_owned),
            content,
            prev_events,
            auth_events,
            depth: n as u64 + 1,
            origin_server_ts: 1_000 + n as i64 / 3,
        };
        let pdu = draft.sign(&identity, version).ok()?;
        graph.admit(&pdu);
        pdus.push(pdu);
    }
    Some((version, graph, pdus))
}

/// Delivery backwards, twice, gives the states that delivery in order gave.
pub fn receipt(data: &[u8]) {
    let Some((version, graph, pdus)) = room(data) else {
        return;
    };
    let mut other = Graph::in_room(version, pdus[0].room_id());
    for pdu in pdus.iter().rev().chain(&pdus) {
        other.admit(pdu);
    }
    assert_eq!(other.held(), 0);
    for pdu in &pdus {
        let id = pdu.event_id();
        let rejected = |g: &Graph| matches!(g.verdict(id), Some(Verdict::Rejected { .. }));
        assert_eq!(rejected(&graph), rejected(&other));
        assert_eq!(graph.state_before(id), other.state_before(id));
    }
}

/// Resolution doesn't depend on the order of the states, and resolving a result with its inputs gives it again
/// only as far as the algorithm says; the order is what must not matter.
pub fn resolver(data: &[u8]) {
    let Some((_, mut graph, pdus)) = room(data) else {
        return;
    };
    let tips: Vec<EventId> = pdus.iter().rev().take(4).map(Pdu::event_id).collect();
    let back: Vec<EventId> = tips.iter().rev().copied().collect();
    let a: Vec<_> = graph
        .resolve_after(&tips)
        .expect("known")
        .state
        .iter()
        .map(|e| e.event_id)
        .collect();
    let b: Vec<_> = graph
        .resolve_after(&back)
        .expect("known")
        .state
        .iter()
        .map(|e| e.event_id)
        .collect();
    assert_eq!(a, b);
}
