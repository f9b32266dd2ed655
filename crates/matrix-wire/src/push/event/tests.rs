#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn good() -> Value {
    json!({"room_id": "!r", "event_id": "$e", "sender": "@a:b", "type": "t", "content": {"x": 1}})
}

#[test]
fn everything_a_real_synapse_sent_is_read() {
    let Some(transactions) = crate::push::tests::recorded() else {
        return;
    };
    let (mut events, mut state, mut invites) = (0, 0, 0);
    for transaction in &transactions {
        for full in transaction["events"].as_array().unwrap() {
            let event = &raw(full);
            let parsed = RoomEvent::parse(event).unwrap();
            assert_eq!(parsed.event_type, full["type"]);
            assert_eq!(parsed.sender, full["sender"]);
            assert_eq!(parsed.room_id, full["room_id"]);
            assert_eq!(parsed.origin_server_ts, full["origin_server_ts"]);
            assert_eq!(event_id(event).as_deref(), Some(parsed.event_id.as_str()));
            assert_eq!(
                parsed.state_key.as_deref(),
                full.get("state_key").and_then(Value::as_str)
            );
            assert_eq!(parsed.content, full["content"]);
            events += 1;
            state += usize::from(parsed.state_key.is_some());
            let user = parsed.state_key.clone().unwrap_or_default();
            invites += usize::from(parsed.membership_of(&user) == Some("invite"));
        }
    }
    assert_eq!((events, state, invites), (28, 9, 3));
}

#[test]
fn each_bad_field_is_named() {
    let long = "x".repeat(MAX_ID);
    for (field, value) in [
        ("room_id", json!("r")),
        ("room_id", json!(format!("!{long}"))),
        ("event_id", json!("$")),
        ("sender", json!("@nobody")),
        ("type", json!("")),
        ("type", json!(format!("t{long}"))),
        ("state_key", json!(format!("k{long}"))),
        ("content", json!([1])),
    ] {
        let mut event = good();
        event[field] = value;
        assert!(
            matches!(RoomEvent::parse(&raw(&event)), Err(EventError::Field(name)) if name == field),
            "{field}"
        );
    }
    for field in ["room_id", "event_id", "sender", "type", "content"] {
        let mut event = good();
        event.as_object_mut().unwrap().remove(field);
        assert!(
            matches!(RoomEvent::parse(&raw(&event)), Err(EventError::Malformed(_))),
            "{field}"
        );
    }
}

#[test]
fn size_and_depth_end_somewhere() {
    let mut event = good();
    event["content"]["x"] = json!("x".repeat(MAX_EVENT));
    assert!(matches!(
        RoomEvent::parse(&raw(&event)),
        Err(EventError::TooLarge(_))
    ));
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let text = raw(&good())
        .get()
        .replace("{\"x\":1}", &format!("{{\"x\":{nested}}}"));
    let event: Box<RawValue> = serde_json::from_str(&text).unwrap();
    assert_eq!(RoomEvent::parse(&event).unwrap_err(), EventError::TooDeep);
    // Brackets inside strings are no nesting.
    let mut event = good();
    event["content"]["x"] = json!(format!("\\\"{}", "[".repeat(100)));
    assert!(RoomEvent::parse(&raw(&event)).is_ok());
}

proptest! {
    #[test]
    fn any_json_is_survived(text in "\\PC{0,200}") {
        if let Ok(event) = serde_json::from_str::<Box<RawValue>>(&text) {
            let _ = RoomEvent::parse(&event);
        }
        let quoted = raw(&json!({"room_id": text, "event_id": text, "sender": text, "type": text, "content": {}}));
        let _ = RoomEvent::parse(&quoted);
    }
}
