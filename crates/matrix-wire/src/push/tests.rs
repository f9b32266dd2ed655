#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What a Synapse sent; not part of the project.
pub(crate) fn recorded() -> Option<Vec<Value>> {
    let root = std::env::var_os("CAUSEWAY_SHARED_DATA").map_or_else(
        || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").into(),
        std::path::PathBuf::from,
    );
    let file = root.join("synapse/appservice-transactions.json");
    if !file.exists() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", file.display());
        println!("SKIPPED: {} is missing", file.display());
        return None;
    }
    Some(serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
}

fn parse(body: &Value) -> Incoming {
    Incoming::parse("1", body.to_string().as_bytes()).unwrap()
}

fn event(id: &str) -> Value {
    json!({"room_id": "!r", "event_id": id, "sender": "@a:b", "type": "t", "content": {}})
}

/// "MSC3202 and MSC2409 partially implemented" (tuwunel#327, mautrix/imessage#230).
#[test]
fn every_field_is_read_in_each_of_its_spellings() {
    let message = json!([{"sender": "@a:b", "type": "t", "to_user_id": "@_mimi:b", "to_device_id": "D", "content": {"x": 1}}]);
    let lists = json!({"changed": ["@c:d"], "left": ["@e:f"]});
    let counts = json!({"@_mimi:b": {"D": {"signed_curve25519": 7}}});
    let fallback = json!({"@_mimi:b": {"D": ["signed_curve25519"]}});
    let typing = json!([{"type": "m.typing", "room_id": "!r", "content": {}}, 7]);
    for (ephemeral, to_device, device_lists, keys, types) in [
        (
            "ephemeral",
            "to_device",
            "device_lists",
            "device_one_time_keys_count",
            "device_unused_fallback_key_types",
        ),
        (
            "de.sorunome.msc2409.ephemeral",
            "de.sorunome.msc2409.to_device",
            "org.matrix.msc3202.device_lists",
            "org.matrix.msc3202.device_one_time_keys_count",
            "org.matrix.msc3202.device_unused_fallback_key_types",
        ),
        (
            "de.sorunome.msc2409.ephemeral",
            "de.sorunome.msc2409.to_device",
            "org.matrix.msc3202.device_lists",
            "org.matrix.msc3202.device_one_time_key_counts",
            "org.matrix.msc3202.device_unused_fallback_key_types",
        ),
    ] {
        let incoming = parse(&json!({
            "events": [event("$1")], ephemeral: typing, to_device: message, device_lists: lists, keys: counts, types: fallback,
        }));
        assert_eq!(incoming.events.len(), 1);
        assert_eq!(incoming.to_device[0].to_device, "D");
        assert_eq!(incoming.to_device[0].content.get(), r#"{"x":1}"#);
        assert_eq!(
            incoming.ephemeral,
            BTreeMap::from([("m.typing".into(), 1), ("unreadable".into(), 1)])
        );
        assert_eq!(incoming.device_lists.changed, ["@c:d"]);
        assert_eq!(incoming.device_lists.left, ["@e:f"]);
        assert_eq!(incoming.one_time_keys["@_mimi:b"]["D"]["signed_curve25519"], 7);
        assert_eq!(incoming.fallback_keys["@_mimi:b"]["D"], ["signed_curve25519"]);
        assert!(incoming.unusable.is_empty());
    }
}

#[test]
fn both_spellings_at_once_count_once() {
    let typing = json!([{"type": "m.typing"}]);
    let incoming = parse(&json!({"ephemeral": typing, "de.sorunome.msc2409.ephemeral": typing}));
    assert_eq!(incoming.ephemeral["m.typing"], 1);
}

#[test]
fn what_is_no_good_is_set_aside_with_its_reason() {
    let incoming = parse(&json!({
        "events": [event("$1"), {"event_id": "$2", "content": "poison"}, 3, event("$4")],
        "to_device": [{"sender": "@a:b"}],
        "device_lists": 7, "device_one_time_keys_count": [], "ephemeral": {},
    }));
    let ids: Vec<&str> = incoming.events.iter().map(|e| e.event_id.as_str()).collect();
    assert_eq!(ids, ["$1", "$4"]);
    let unusable: Vec<(Option<&str>, &str)> = incoming
        .unusable
        .iter()
        .map(|u| (u.event_id.as_deref(), u.code))
        .collect();
    assert_eq!(
        unusable,
        [
            (Some("$2"), "malformed"),
            (None, "malformed"),
            (None, "to_device")
        ]
    );
    assert_eq!(incoming.unusable[1].event, "3");
}

#[test]
fn a_repeat_with_other_ages_has_the_same_fingerprint_and_other_contents_another() {
    let aged = |age: u64| {
        let mut one = event("$1");
        one["age"] = json!(age);
        one["unsigned"] = json!({"age": age});
        parse(&json!({"events": [one]})).fingerprint()
    };
    assert_eq!(aged(1), aged(2));
    let prints = [
        aged(1),
        parse(&json!({"events": [event("$2")]})).fingerprint(),
        parse(&json!({"events": [event("$1"), event("$2")]})).fingerprint(),
        parse(&json!({"events": [event("$2"), event("$1")]})).fingerprint(),
        parse(&json!({"events": [], "to_device": [{"sender": "@a:b", "type": "t", "to_user_id": "u", "to_device_id": "d", "content": {}}]}))
            .fingerprint(),
        parse(&json!({})).fingerprint(),
    ];
    for (n, print) in prints.iter().enumerate() {
        assert!(!prints[..n].contains(print), "{n}");
    }
}

#[test]
fn all_recorded_transactions_are_read_whole() {
    let Some(all) = recorded() else {
        return;
    };
    let (mut messages, mut passing) = (0, 0);
    for transaction in &all {
        let incoming = parse(transaction);
        let count = |key: &str| transaction[key].as_array().map_or(0, Vec::len);
        assert!(incoming.unusable.is_empty(), "{:?}", incoming.unusable);
        assert_eq!(incoming.events.len(), count("events"));
        assert_eq!(incoming.to_device.len(), count("de.sorunome.msc2409.to_device"));
        assert_eq!(incoming.ephemeral.values().sum::<usize>(), count("ephemeral"));
        messages += incoming.to_device.len();
        passing += incoming.ephemeral.len();
    }
    assert!(messages > 0 && passing > 0, "{messages} {passing}");
}

proptest! {
    #[test]
    fn no_octets_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Incoming::parse("1", &body);
    }

    #[test]
    fn no_json_of_these_fields_panics_or_is_refused(values in prop::collection::vec("[\\[\\]{}:,\"a-z0-9@$! ]{0,40}", 8)) {
        let fields = ["ephemeral", "to_device", "device_lists", "device_one_time_keys_count",
            "de.sorunome.msc2409.to_device", "org.matrix.msc3202.device_lists", "new", "device_unused_fallback_key_types"];
        let mut body = serde_json::Map::new();
        for (field, text) in fields.iter().zip(values) {
            body.insert((*field).to_owned(), serde_json::from_str(&text).unwrap_or(Value::String(text)));
        }
        prop_assert!(Incoming::parse("1", Value::Object(body).to_string().as_bytes()).is_ok());
    }
}
