//! The forms in which `causeway graph` takes PDUs, and files that are none of them.

use event_graph::{
    Pdu, RoomVersion,
    replay::{Document, LoadedRoom, ReadError, Report, check, explain, measure, read},
};
use serde_json::{Value, json, value::RawValue};

use crate::world::{USERS, World};

fn texts(world: &World) -> Vec<&str> {
    world.pdus.iter().map(Pdu::as_str).collect()
}

fn checked(text: &str) -> Report {
    check(&read(text.as_bytes(), None).unwrap(), "room")
}

fn keys() -> Value {
    let key = |seed: u8| {
        event_graph::SigningIdentity::from_seed("x", "y", &[seed; 32])
            .verify_key()
            .to_base64()
    };
    json!({"a.test": {"ed25519:t": key(1)}, "b.test": {"ed25519:t": key(2)}, "c.test": {"ed25519:t": key(3)}})
}

#[test]
fn pdus_come_in_many_forms() {
    for version in [RoomVersion::V6, RoomVersion::V12] {
        let world = World::new(version);
        let pdus = texts(&world);
        let raw: Vec<&RawValue> = pdus.iter().map(|t| serde_json::from_str(t).unwrap()).collect();
        let with_ids: Vec<String> = world
            .pdus
            .iter()
            .map(|p| format!("{{\"event_id\":\"{}\",\"pdu\":{}}}", p.event_id(), p.as_str()))
            .collect();
        let by_id: Vec<String> = world
            .pdus
            .iter()
            .map(|p| format!("\"{}\":{}", p.event_id(), p.as_str()))
            .collect();
        let mut backwards = pdus.clone();
        backwards.reverse();
        let list = serde_json::to_string(&raw).unwrap();
        for text in [
            list.clone(),
            pdus.join("\n"),
            backwards.join("\n\n"),
            with_ids.join("\n"),
            format!("[{}]", with_ids.join(",")),
            format!("{{{}}}", by_id.join(",")),
            format!("{{\"pdus\":{list}}}"),
            format!(
                "{{\"events\":{{{}}},\"verify_keys\":{}}}",
                by_id.join(","),
                keys()
            ),
            format!("{{\"events\":{list},\"room_version\":\"{version}\"}}"),
        ] {
            let report = checked(&text);
            assert!(report.passed(), "{:?}", report.differences);
            assert_eq!(report.events, world.pdus.len());
        }
    }
}

#[test]
fn what_is_wrong_with_plain_pdus_is_said() {
    let world = World::new(RoomVersion::V11);
    let texts = texts(&world);
    let differences = |text: &str| checked(text).differences;
    // Another id than the reference hash, another content than the hash says.
    let other = format!(
        "{{\"event_id\":\"{}\",\"pdu\":{}}}\n{}",
        world.pdus[1].event_id(),
        texts[0],
        texts[1]
    );
    assert!(differences(&other)[0].contains("its id by reference hash is"));
    let changed = texts.join("\n").replace("\"public\"", "\"invite\"");
    assert!(differences(&changed)[0].contains("hash doesn't match"));
    // A key that occurs twice is not lost in reading.
    let twice = texts[0].replacen('{', "{\"depth\":1,", 1);
    assert!(
        differences(&twice)[0].contains("event 1"),
        "{:?}",
        differences(&twice)
    );
    // A signature by another key than is given.
    let mut wrong = keys();
    wrong["b.test"] = wrong["a.test"].clone();
    let raw: Vec<&RawValue> = texts.iter().map(|t| serde_json::from_str(t).unwrap()).collect();
    let list = serde_json::to_string(&raw).unwrap();
    let signed = format!("{{\"pdus\":{list},\"verify_keys\":{wrong}}}");
    assert_eq!(differences(&signed).len(), 1);
    // A parent that isn't there, and an event of another room.
    let gap = [texts[0], texts[2]].join("\n");
    assert!(differences(&gap)[0].contains("1 events wait for 1 that are not in the file"));
    let stranger = World::new(RoomVersion::V12);
    let mixed = [texts[0], stranger.pdus[1].as_str()].join("\n");
    assert!(!checked(&mixed).passed());
    // Numbers that are none, and what is no event at all.
    assert!(!checked("[1]").passed());
    assert!(!checked(&texts[0].replace("\"depth\":1", "\"depth\":1.0")).passed());
}

#[test]
fn without_a_create_event_the_version_is_the_callers() {
    let world = World::new(RoomVersion::V11);
    let only = world.pdus[1].as_str();
    let with_id = format!("{{\"event_id\":\"{}\",\"pdu\":{only}}}", world.pdus[1].event_id());
    let document = read(with_id.as_bytes(), Some(RoomVersion::V11)).unwrap();
    let report = check(&document, "one");
    assert!(
        report.differences.iter().all(|d| d.contains("not in the file")),
        "{report:?}"
    );
    assert!(
        checked(&with_id)
            .notes
            .iter()
            .any(|n| n.contains("--room-version"))
    );
    let old = world.pdus[0]
        .as_str()
        .replace("\"room_version\":\"11\"", "\"room_version\":\"5\"");
    assert!(matches!(read(old.as_bytes(), None), Err(ReadError::Version(_))));
}

/// A contested set of two states over the room's forks.
fn contested(world: &mut World) -> Vec<String> {
    let at = world.graph.extremities()[0];
    let topic = |v: u8| json!({"topic": v});
    let forks = [0, 1].map(|n| world.event(&[at], "m.room.topic", Some(""), USERS[n], topic(1), &[], 1));
    let mut lines = vec![json!({"room_version": world.version.as_str(), "forks": 2}).to_string()];
    for pdu in &world.pdus {
        lines.push(format!(
            "{{\"event_id\":\"{}\",\"pdu\":{}}}",
            pdu.event_id(),
            pdu.as_str()
        ));
    }
    for fork in forks {
        let state = world.graph.state_after(fork).unwrap();
        let entries: Vec<_> = state
            .iter()
            .map(|e| (e.event_type, e.state_key, e.event_id))
            .collect();
        lines.push(json!({"state_set": entries}).to_string());
    }
    lines
}

#[test]
fn odd_contested_sets() {
    for version in [RoomVersion::V11, RoomVersion::V12] {
        let mut world = World::new(version);
        let lines = contested(&mut world);
        let n = lines.len();
        let resolve = |lines: &[String]| {
            let document = read(lines.join("\n").as_bytes(), None)?;
            measure(&document, 2, || 0.0).map(|m| (m.state.len(), m.contested))
        };
        let (entries, contested) = resolve(&lines).unwrap();
        assert_eq!((entries, contested), (7, 2));
        // One state is its own resolution; an empty one beside it makes everything contested.
        assert_eq!(resolve(&lines[..n - 1]).unwrap(), (7, 0));
        let empty = [&lines[..n - 1], &["{\"state_set\":[]}".to_owned()]].concat();
        assert_eq!(resolve(&empty).unwrap().1, 7);
        // Events may come in any order.
        let mut turned = lines[1..n - 2].to_vec();
        turned.reverse();
        let turned = [&lines[..1], &turned, &lines[n - 2..]].concat();
        let report = check(&read(turned.join("\n").as_bytes(), None).unwrap(), "turned");
        assert!(report.passed(), "{report:?}");
        // No state, a missing event, a state with an event that nobody has, an unknown room version.
        let none = &lines[..n - 2];
        let missing = [&lines[..2], &lines[3..]].concat();
        let mut unknown = lines.clone();
        unknown[n - 1] =
            "{\"state_set\":[[\"a\",\"\",\"$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]]}".to_owned();
        let mut old = lines.clone();
        old[0] = "{\"room_version\":\"5\",\"forks\":2}".to_owned();
        let mut garbled = lines.clone();
        garbled[3] = "{\"event_id\":3}".to_owned();
        for bad in [none, &missing, &unknown, &old, &garbled] {
            assert!(resolve(bad).is_err());
        }
    }
}

#[test]
fn broken_files_are_refused_and_break_nothing() {
    let mut world = World::new(RoomVersion::V12);
    let lines = contested(&mut world);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for bad in [
        "",
        "{}",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{\"format\":\"other\"}",
        "{\"a\":1}",
        "not json",
        "{",
        "[{]",
        "{\"format\":\"synapse-state-fixture-1\"}",
        "{\"forks\":2,\"room_version\":\"12\"}",
    ] {
        assert!(read(bad.as_bytes(), None).is_err(), "{bad}");
    }
    assert!(read(&[0xff, 0xfe], None).is_err());
    let all = [
        texts(&world).join("\n"),
        format!("[{}]", texts(&world).join(",")),
        lines.join("\n"),
        deep,
    ];
    // Cut anywhere, or with an octet changed: an answer or an error, never a panic.
    for text in &all {
        let step = text.len() / 150 + 1;
        for at in (0..text.len()).step_by(step) {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1 << (at % 7);
            for bytes in [&text.as_bytes()[..at], &bytes] {
                let Ok(document) = read(bytes, None) else { continue };
                check(&document, "x");
                let _ = measure(&document, 1, || 0.0);
                if let (Ok(room), Document::Plain(_)) = (LoadedRoom::of(&document, 0), &document) {
                    explain(&room, "$");
                }
            }
        }
    }
}
