use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn kind(input: &[u8]) -> JsonErrorKind {
    canonicalize(input).unwrap_err().kind
}

#[test]
fn refuses_what_has_two_readings() {
    assert_eq!(kind(br#"{"a":1,"a":2}"#), JsonErrorKind::DuplicateKey);
    assert_eq!(kind(br#"{"a":1,"b":3,"a":2}"#), JsonErrorKind::DuplicateKey);
    assert_eq!(kind(br#"{"a":1,"\u0061":2}"#), JsonErrorKind::DuplicateKey);
    assert_eq!(kind(br#"["\ud800"]"#), JsonErrorKind::LoneSurrogate);
    assert_eq!(kind(br#"["\udc00\ud800"]"#), JsonErrorKind::LoneSurrogate);
    assert_eq!(kind(b"[\"\xff\"]"), JsonErrorKind::InvalidUtf8);
    assert_eq!(kind(b"\xef\xbb\xbf{}"), JsonErrorKind::Syntax);
}

#[test]
fn refuses_numbers_that_are_not_small_integers() {
    for n in ["1.0", "1e3", "1E3", "0.5"] {
        assert_eq!(kind(n.as_bytes()), JsonErrorKind::NotAnInteger, "{n}");
    }
    assert_eq!(kind(b"-0"), JsonErrorKind::NegativeZero);
    assert_eq!(kind(b"9007199254740992"), JsonErrorKind::IntegerRange);
    assert_eq!(kind(b"-9007199254740992"), JsonErrorKind::IntegerRange);
    assert_eq!(kind(b"99999999999999999999999999"), JsonErrorKind::IntegerRange);
    assert_eq!(canonicalize(b"-9007199254740991").unwrap(), "-9007199254740991");
    assert_eq!(kind(b"01"), JsonErrorKind::Syntax);
    assert_eq!(kind(b"-"), JsonErrorKind::Syntax);
    assert_eq!(kind(b"NaN"), JsonErrorKind::Syntax);
}

#[test]
fn sorts_by_code_point_not_by_utf16_unit() {
    let out = canonicalize("{\"\u{1F600}\":1,\"\u{FF5E}\":2}".as_bytes()).unwrap();
    assert_eq!(out, "{\"\u{FF5E}\":2,\"\u{1F600}\":1}");
    // An escaped key sorts by what it means.
    assert_eq!(canonicalize(br#"{"a":1,"\n":2}"#).unwrap(), r#"{"\n":2,"a":1}"#);
    assert_eq!(canonicalize(br#"{"\"":1,"a":2}"#).unwrap(), r#"{"\"":1,"a":2}"#);
}

#[test]
fn writes_the_shortest_escapes() {
    assert_eq!(
        canonicalize(br#"["\u0008\u000A\u001F\u007f\/\u00e9"]"#).unwrap(),
        "[\"\\b\\n\\u001f\u{7f}/é\"]"
    );
    assert!(matches!(
        canonicalize(br#"["\u001f"]"#).unwrap(),
        Cow::Borrowed(_)
    ));
    assert!(matches!(canonicalize(br#"["\u001F"]"#).unwrap(), Cow::Owned(_)));
    assert_eq!(canonicalize(br#"["\ud83d\ude00"]"#).unwrap(), "[\"\u{1F600}\"]");
}

#[test]
fn nesting_is_bounded_without_a_stack() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(canonicalize(deep(1000).as_bytes()).is_ok());
    assert_eq!(kind(deep(1002).as_bytes()), JsonErrorKind::TooDeep);
    assert_eq!(kind("[".repeat(100_000).as_bytes()), JsonErrorKind::TooDeep);
    let loose = format!("{}{}", "[ ".repeat(1000), "]".repeat(1000));
    assert_eq!(canonicalize(loose.as_bytes()).unwrap(), deep(1000));
    Raw::new(&deep(1000)).to_value();
}

#[test]
fn reads_in_place() {
    let text = canonicalize(br#"{"a":[1,"x\"]",{"b":{}}],"c":null,"d":"q"}"#).unwrap();
    let raw = Raw::new(&text);
    assert_eq!(raw.get("d").unwrap().as_str().unwrap(), "q");
    let items: Vec<_> = raw.get("a").unwrap().elements().unwrap().map(Raw::text).collect();
    assert_eq!(items, ["1", "\"x\\\"]\"", "{\"b\":{}}"]);
    assert_eq!(raw.get("nope"), None);
    assert_eq!(
        raw.to_value(),
        json!({"a": [1, "x\"]", {"b": {}}], "c": null, "d": "q"})
    );
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-(1i64 << 53) + 1..(1i64 << 53)).prop_map(Value::from),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn round_trips_and_is_idempotent(v in value(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&v).unwrap() } else { v.to_string() };
        let canonical = canonicalize(text.as_bytes()).unwrap();
        prop_assert_eq!(Raw::new(&canonical).to_value(), v.clone());
        prop_assert_eq!(serde_json::from_str::<Value>(&canonical).unwrap(), v);
        prop_assert!(matches!(canonicalize(canonical.as_bytes()).unwrap(), Cow::Borrowed(_)));
    }

    #[test]
    fn agrees_with_ruma_on_values(v in value()) {
        use ruma::CanonicalJsonValue;
        let theirs = CanonicalJsonValue::try_from(v.clone()).unwrap().to_string();
        let ours = to_canonical(&v).unwrap();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = canonicalize(&bytes) {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
            Raw::new(&text).to_value();
        }
    }
}
