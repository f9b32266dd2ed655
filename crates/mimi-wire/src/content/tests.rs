#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod random;

use super::json::{from_json, to_json};
use super::{
    ContentError, ContentKind, Disposition, Expiration, ExternalMessageId, ExternalPart, ExternalScope,
    Float, MessageId, MessageStatusReport, MimiContent, NestedPart, Part, PartSemantics, PerMessageStatus,
    Status, Value, cid, parse_cid,
};
use crate::codec::UnixMillis;
use crate::uri::MimiUri;
use serde_json::json;

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

fn message(body: NestedPart) -> MimiContent {
    MimiContent::new(
        [7; 16],
        &uri("mimi://a.example/u/alice"),
        &uri("mimi://a.example/r/club"),
        body,
    )
}

fn id(first: u8) -> MessageId {
    let mut octets = [first; 32];
    octets[0] = 1;
    MessageId::from_octets(octets).unwrap()
}

fn bytes(hex_text: &str) -> Vec<u8> {
    hex::decode(hex_text.replace(' ', "")).unwrap()
}

/// The octets of a message with this body, extensions and so on, each given as CBOR.
fn raw(topic: &str, expires: &str, extensions: &str, body: &str) -> Vec<u8> {
    bytes(&format!(
        "87 50{} f6 {topic} {expires} f6 {extensions} {body}",
        "07".repeat(16)
    ))
}

const NULL_PART: &str = "83 01 60 00";

fn with_body(body: &str) -> Result<MimiContent, ContentError> {
    MimiContent::decode(&raw("40", "f6", "a0", body))
}

fn with_extensions(extensions: &str) -> Result<MimiContent, ContentError> {
    MimiContent::decode(&raw("40", "f6", extensions, NULL_PART))
}

#[test]
fn encoding_is_deterministic_and_decoding_tolerant() {
    let strict = raw(
        "40",
        "82f505",
        "a2 01 61 61 02 61 62",
        "85 01 60 01 63612f62 4178",
    );
    let content = MimiContent::decode(&strict).unwrap();
    assert_eq!(content.encode().unwrap(), strict);
    for tolerated in [
        // Longer numbers and lengths.
        raw(
            "5800",
            "82f5 1900 05",
            "a2 1801 61 61 02 7801 62",
            "85 01 60 1801 63612f62 5801 78",
        ),
        // Keys in another order.
        raw(
            "40",
            "82f505",
            "a2 02 61 62 01 61 61",
            "85 01 60 01 63612f62 4178",
        ),
        // Indefinite lengths.
        raw(
            "5fff",
            "9ff505ff",
            "bf 01 7f6161ff 02 61 62 ff",
            "9f 01 60 01 63612f62 5f 40 4178 ff ff",
        ),
    ] {
        assert_eq!(MimiContent::decode(&tolerated).unwrap(), content);
    }
}

#[test]
fn malformed_cbor() {
    let good = raw("40", "f6", "a0", NULL_PART);
    for cut in 0..good.len() {
        assert!(MimiContent::decode(&good[..cut]).is_err(), "{cut}");
    }
    let mut longer = good;
    longer.push(0);
    assert!(matches!(
        MimiContent::decode(&longer),
        Err(ContentError::Cbor { .. })
    ));
    for text in [
        "1c",
        "1f",
        "3f",
        "df",
        "ff",
        "fc",
        "f8",
        "f810",
        "f81f",
        "f800",
        "61ff",
        "62c328",
        "5f01ff",
        "5f5fffff",
        "7f4100ff",
        "9f",
        "bf01ff",
        "9bffffffffffffffff",
        "5bffffffffffffffff",
        "bbffffffffffffffff",
        "",
    ] {
        assert!(Value::decode(&bytes(text)).is_err(), "{text}");
    }
    assert_eq!(
        Value::decode(&bytes("a201000100")),
        Err(ContentError::DuplicateKey)
    );
    // The same key in two spellings.
    assert_eq!(
        Value::decode(&bytes("a20100180100")),
        Err(ContentError::DuplicateKey)
    );
    assert_eq!(Value::decode(&[0x81; 40]), Err(ContentError::TooDeep("values")));
    for nan in ["fa7fc00000", "fb7ff8000000000000", "f97e01", "f97c01", "f9fe00"] {
        assert_eq!(Value::decode(&bytes(nan)), Err(ContentError::NotANumber), "{nan}");
    }
}

#[test]
fn values_of_the_cbor_specification() {
    // RFC 8949 appendix A, the deterministic ones.
    for text in [
        "00",
        "17",
        "1818",
        "190100",
        "1a00010000",
        "1bffffffffffffffff",
        "20",
        "3903e7",
        "3bffffffffffffffff",
        "f90000",
        "f98000",
        "f93c00",
        "fb3ff199999999999a",
        "f93e00",
        "f97bff",
        "fa47c35000",
        "fa7f7fffff",
        "fb7e37e43c8800759c",
        "f90001",
        "f90400",
        "f9c400",
        "fbc010666666666666",
        "f97c00",
        "f97e00",
        "f9fc00",
        "f903ff",
        "f4",
        "f5",
        "f6",
        "f7",
        "f0",
        "f8ff",
        "c11a514b67b0",
        "d818456449455446",
        "40",
        "4401020304",
        "60",
        "62c3bc",
        "80",
        "83010203",
        "8301820203820405",
        "a0",
        "a201020304",
        "a26161016162820203",
        "826161a161626163",
        "f90200",
        "f903f0",
        "f98001",
    ] {
        assert_eq!(hex::encode(Value::decode(&bytes(text)).unwrap().encode()), text);
    }
    // Longer forms of floats come out shortest.
    for (longer, shortest) in [
        ("fa47800000", "fa47800000"),
        ("fa477fe000", "f97bff"),
        ("fb3ff0000000000000", "f93c00"),
        ("fb3e70000000000000", "f90001"),
        ("fa33000000", "fa33000000"),
        ("fa33c00000", "fa33c00000"),
        ("fa33800000", "f90001"),
        ("fb7ff0000000000000", "f97c00"),
        ("fb40f0000000000000", "fa47800000"),
    ] {
        assert_eq!(
            hex::encode(Value::decode(&bytes(longer)).unwrap().encode()),
            shortest,
            "{longer}"
        );
    }
    // Map keys go by their encoding, octet by octet: 10, 100, -1, "z", "aa", [100], [-1], false.
    let map = "a80a011864022003617a046261610581186406812007f408";
    assert_eq!(hex::encode(Value::decode(&bytes(map)).unwrap().encode()), map);
}

#[test]
fn shapes_that_are_refused() {
    let shape = |result: Result<MimiContent, ContentError>| match result {
        Err(ContentError::Shape { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(shape(MimiContent::decode(&[0x00])), "mimiContent");
    assert_eq!(shape(MimiContent::decode(&bytes("80"))), "salt");
    assert_eq!(shape(MimiContent::decode(&bytes("8141aa"))), "salt");
    assert_eq!(
        shape(MimiContent::decode(&raw("60", "f6", "a0", NULL_PART))),
        "topicId"
    );
    assert_eq!(
        shape(MimiContent::decode(&raw("40", "8105", "a0", NULL_PART))),
        "expires.relative"
    );
    assert_eq!(
        shape(MimiContent::decode(&raw("40", "81f4", "a0", NULL_PART))),
        "expires.time"
    );
    assert_eq!(
        shape(MimiContent::decode(&raw(
            "40",
            "82f41b0000000100000000",
            "a0",
            NULL_PART
        ))),
        "expires.time"
    );
    assert_eq!(
        shape(MimiContent::decode(&raw("40", "83f40101", "a0", NULL_PART))),
        "expires"
    );
    assert_eq!(
        shape(MimiContent::decode(&raw("40", "f6", "80", NULL_PART))),
        "mimiExtensions"
    );
    assert_eq!(
        shape(MimiContent::decode(&raw("40", "f6", "a10100", NULL_PART))),
        "mimiExtensions"
    );
    assert_eq!(shape(with_body("84 01 60 00 00")), "nestedPart");
    assert_eq!(shape(with_body("83 190100 60 00")), "disposition");
    assert_eq!(shape(with_body("83 01 40 00")), "language");
    assert_eq!(shape(with_body("84 01 60 01 60")), "content");
    assert_eq!(shape(with_body("85 01 60 03 00 81 83016000")), "parts");
    assert_eq!(with_body("83 01 60 04"), Err(ContentError::Cardinality(4)));
    assert_eq!(
        with_body("85 01 60 03 03 82 83016000 83016000"),
        Err(ContentError::Semantics(3))
    );
    let replaces = format!(
        "87 50{} 5820{} 40 f6 f6 a0 {NULL_PART}",
        "07".repeat(16),
        "02".repeat(32)
    );
    assert_eq!(
        MimiContent::decode(&bytes(&replaces)),
        Err(ContentError::MessageIdHash(2))
    );
}

#[test]
fn limits() {
    let long = format!("591001{}", "00".repeat(4097));
    assert_eq!(
        MimiContent::decode(&raw(&long, "f6", "a0", NULL_PART)),
        Err(ContentError::TopicTooLong)
    );
    let topic = format!("591000{}", "00".repeat(4096));
    assert!(MimiContent::decode(&raw(&topic, "f6", "a0", NULL_PART)).is_ok());

    let nested = |levels: usize| {
        (1..levels).fold(NULL_PART.to_owned(), |inner, _| {
            format!("85 01 60 03 02 82 {inner} {NULL_PART}")
        })
    };
    assert!(with_body(&nested(4)).is_ok());
    assert_eq!(with_body(&nested(5)), Err(ContentError::TooDeep("parts")));

    let wide = |parts: usize| {
        let parts = NestedPart::multi(
            Disposition::RENDER,
            PartSemantics::ProcessAll,
            vec![NestedPart::deleted(); parts],
        );
        message(parts).encode()
    };
    assert!(wide(1023).is_ok());
    assert_eq!(wide(1024), Err(ContentError::TooManyParts));
    assert!(matches!(wide(1), Err(ContentError::Shape { field: "parts", .. })));
}

#[test]
fn extension_limits() {
    // The draft's own example is exactly four levels deep; one more is too many.
    let example = "a1 190100 82 82 421234 d820 72687474703a2f2f6578616d706c652e636f6d 82 423456 19168b";
    assert!(with_extensions(example).is_ok());
    assert_eq!(
        with_extensions("a1 03 81 81 81 80"),
        Err(ContentError::TooDeep("extensions"))
    );
    assert!(with_extensions("a1 03 81 81 80").is_ok());

    let text_key = |len: usize| format!("a1 79{len:04x}{} 00", "61".repeat(len));
    assert!(with_extensions(&text_key(255)).is_ok());
    assert_eq!(with_extensions(&text_key(256)), Err(ContentError::Key));
    assert_eq!(with_extensions("a1 60 00"), Err(ContentError::Key));
    assert_eq!(with_extensions("a1 40 00"), Err(ContentError::Key));
    assert!(with_extensions("a1 1b001fffffffffffff 00").is_ok());
    assert_eq!(
        with_extensions("a1 1b0020000000000000 00"),
        Err(ContentError::Key)
    );
    assert!(with_extensions("a1 3b001ffffffffffffe 00").is_ok());
    assert_eq!(
        with_extensions("a1 3b001fffffffffffff 00"),
        Err(ContentError::Key)
    );
    // Within an extension octets are keys too, but nothing else.
    assert!(with_extensions("a1 03 a1 41aa 00").is_ok());
    assert_eq!(with_extensions("a1 03 a1 f5 00"), Err(ContentError::Key));
    assert_eq!(with_extensions("a1 03 81 a1 80 00"), Err(ContentError::Key));
}

#[test]
fn unknown_dispositions_are_rendered() {
    let content = with_body("83 18c8 60 00").unwrap();
    assert_eq!(content.body.disposition, Disposition(200));
    assert_eq!(content.body.disposition.effective(), Disposition::RENDER);
    assert_eq!(from_json(&to_json(&content)).unwrap(), content);
}

#[test]
fn a_tagged_url_is_taken() {
    let text = "8f 06 60 02 60 d820 6178 00 00 00 40 40 40 00 40 60 60";
    let Part::External(part) = with_body(text).unwrap().body.part else {
        panic!("not external")
    };
    assert_eq!(part.url, "x");
}

#[test]
fn recipes() {
    let text = message(NestedPart::markdown("hi"));
    assert_eq!(text.kind(), ContentKind::Message);
    assert_eq!(text.clone().in_reply_to(id(2)).kind(), ContentKind::Message);
    assert_eq!(text.clone().replacing(id(2)).kind(), ContentKind::Edit(id(2)));
    assert_eq!(
        message(NestedPart::reaction("❤")).in_reply_to(id(2)).kind(),
        ContentKind::Reaction(id(2))
    );
    let two = message(NestedPart::reactions(&["❤", "👍"])).in_reply_to(id(2));
    assert_eq!(two.kind(), ContentKind::Reaction(id(2)));
    assert_eq!(two.parts().len(), 3);
    assert_eq!(NestedPart::reactions(&["❤"]), NestedPart::reaction("❤"));
    assert_eq!(
        message(NestedPart::deleted()).replacing(id(3)).kind(),
        ContentKind::Delete(id(3))
    );
    assert_eq!(
        message(NestedPart::unliked()).replacing(id(3)).kind(),
        ContentKind::Unlike(id(3))
    );
    assert_eq!(&*text.clone().in_topic(b"t".to_vec()).topic_id, b"t");
    assert_eq!(text.sender().unwrap().unwrap(), uri("mimi://a.example/u/alice"));
    assert_eq!(text.room().unwrap().unwrap(), uri("mimi://a.example/r/club"));
    let attachment = NestedPart::external(Disposition::ATTACHMENT, ExternalPart::default());
    assert!(message(attachment).encode().is_ok());
}

#[test]
fn mentions_are_user_uris_in_texts() {
    let text = "Hi [Bob](mimi://b.example/u/bob), <mimi://c.example/p/owl>, \
                <a href=\"mimi://d.example/u/dan\">, mimi://b.example/u/bob! mimi://a.example/r/club mimi://";
    let mentioned = message(NestedPart::markdown(text)).mentions();
    let expected = [
        "mimi://b.example/u/bob",
        "mimi://c.example/p/owl",
        "mimi://d.example/u/dan",
    ];
    assert_eq!(mentioned, expected.map(uri));
    let binary = NestedPart::single(Disposition::RENDER, "application/x", text);
    assert!(message(binary).mentions().is_empty());
}

#[test]
fn part_index_references() {
    assert_eq!(cid(3), "cid:3@local.invalid");
    assert_eq!(parse_cid("cid:3@local.invalid"), Some(3));
    for text in [
        "cid:@local.invalid",
        "cid:+3@local.invalid",
        "cid:3@a.example",
        "3",
    ] {
        assert_eq!(parse_cid(text), None, "{text}");
    }
}

#[test]
fn external_identifiers() {
    let mut content = message(NestedPart::plain("hi"));
    for scope in [
        ExternalScope::Domain("example.org".to_owned()),
        ExternalScope::Enterprise(7),
        ExternalScope::Uri("https://example.org".to_owned()),
    ] {
        let external = ExternalMessageId {
            id: b"$event".to_vec(),
            scope,
        };
        content.extensions.set_external_message_id(&external);
        let decoded = MimiContent::decode(&content.encode().unwrap()).unwrap();
        assert_eq!(decoded.extensions.external_message_id(), Some(external));
    }
    content.extensions.set(4, Value::Unsigned(1));
    assert_eq!(content.extensions.external_message_id(), None);
}

#[test]
fn expiry_within_a_year() {
    let now = UnixMillis(1_800_000_000_000);
    let with = |relative, time| {
        let mut content = message(NestedPart::plain("hi"));
        content.expires = Some(Expiration { relative, time });
        content.has_plausible_expiry(now)
    };
    assert!(with(true, 60) && with(false, 1_800_000_060) && with(false, 1_799_000_000));
    assert!(!with(true, 40_000_000) && !with(false, 1_900_000_000) && !with(false, 1_700_000_000));
    assert!(message(NestedPart::plain("hi")).has_plausible_expiry(now));
}

#[test]
fn status_reports() {
    let entry = PerMessageStatus {
        message_id: id(5),
        status: Status::READ,
    };
    let unknown = PerMessageStatus {
        message_id: id(6),
        status: Status(99),
    };
    let report = MessageStatusReport {
        statuses: vec![entry, unknown],
    };
    let encoded = report.encode();
    assert_eq!(MessageStatusReport::decode(&encoded).unwrap(), report);
    for cut in 0..encoded.len() {
        assert!(MessageStatusReport::decode(&encoded[..cut]).is_err());
    }
    assert!(MessageStatusReport::decode(&bytes("8182f602")).is_err());
    assert!(MessageStatusReport::decode(&bytes("a0")).is_err());
    let content = message(report.to_part());
    assert_eq!(
        MessageStatusReport::in_content(&content).unwrap().unwrap(),
        report
    );
    assert!(MessageStatusReport::in_content(&message(NestedPart::plain("x"))).is_none());
}

#[test]
fn json_for_people() {
    let mut content = message(NestedPart::markdown("hi *there*"));
    content.in_reply_to = Some(id(2));
    let view = to_json(&content);
    assert_eq!(view["body"]["text"], "hi *there*");
    assert_eq!(view["body"]["disposition"], "render");
    assert_eq!(view["extensions"][0], json!([1, "mimi://a.example/u/alice"]));
    assert_eq!(from_json(&view).unwrap(), content);

    let short = json!({
        "salt": "00".repeat(16),
        "body": {"disposition": "reaction", "part": "null"}
    });
    assert_eq!(from_json(&short).unwrap().body, NestedPart::unliked());
}

#[test]
fn json_that_is_no_message() {
    let body = json!({"disposition": "render", "part": "null"});
    let salt = "00".repeat(16);
    for wrong in [
        json!(null),
        json!({"salt": "00", "body": body}),
        json!({"salt": salt}),
        json!({"salt": salt, "body": body, "extra": 1}),
        json!({"salt": salt, "body": {"disposition": "x", "part": "null"}}),
        json!({"salt": salt, "body": {"disposition": 256, "part": "null"}}),
        json!({"salt": salt, "body": {"disposition": 1, "part": "single", "contentType": "a/b"}}),
        json!({"salt": salt, "body": {"disposition": 1, "part": "multi", "semantics": "x", "parts": []}}),
        json!({"salt": salt, "body": body, "extensions": [[1]]}),
        json!({"salt": salt, "body": body, "extensions": [[1, {"tag": 1}]]}),
        json!({"salt": salt, "body": body, "extensions": [[1, {"what": 1}]]}),
        json!({"salt": salt, "body": body, "extensions": [[1, {}]]}),
        json!({"salt": salt, "body": body, "extensions": [[1, 1.5]]}),
        json!({"salt": salt, "body": body, "extensions": [[1, {"int": "18446744073709551616"}]]}),
        json!({"salt": salt, "body": body, "extensions": [[true, 1]]}),
        json!({"salt": salt, "body": body, "extensions": [[7, 1], [7, 1]]}),
    ] {
        assert!(from_json(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn json_keeps_every_value() {
    let mut content = message(NestedPart::plain("x"));
    let values = [
        Value::Unsigned(u64::MAX),
        Value::Negative(u64::MAX),
        Value::int(-5),
        Value::Bytes(vec![1, 2]),
        Value::Simple(23),
        Value::Float(Float(1.0)),
        Value::Float(Float(f64::NAN)),
        Value::Float(Float(f64::NEG_INFINITY)),
        Value::Tag(u64::MAX, Box::new(Value::NULL)),
        Value::Map(vec![
            (Value::int(1), Value::bool(true)),
            (Value::Bytes(vec![]), Value::bool(false)),
        ]),
    ];
    content.extensions.set(9, Value::Array(values.to_vec()));
    let text = to_json(&content).to_string();
    let back = from_json(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(back, content);
    assert_eq!(back.encode().unwrap(), content.encode().unwrap());
}

#[test]
fn debug_shows_no_content_and_no_key() {
    let external = ExternalPart {
        key: b"secret key".to_vec().into(),
        url: "https://a.example/secret".to_owned(),
        ..ExternalPart::default()
    };
    let parts = vec![
        NestedPart::plain("secret"),
        NestedPart::external(Disposition::ATTACHMENT, external),
    ];
    let content = message(NestedPart::multi(
        Disposition::RENDER,
        PartSemantics::ProcessAll,
        parts,
    ));
    let text = format!("{content:?}");
    assert!(
        !text.contains("secret") && !text.contains(&hex::encode("secret")),
        "{text}"
    );
}
