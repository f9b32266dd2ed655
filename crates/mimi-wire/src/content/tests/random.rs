//! Random messages round-trip, and damaged ones never panic.

use crate::codec::Opaque;
use crate::content::json::{from_json, to_json};
use crate::content::{
    Disposition, Expiration, ExtensionKey, Extensions, ExternalPart, Float, MessageId, MessageStatusReport,
    MimiContent, NestedPart, PartSemantics, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = MessageId> {
    any::<[u8; 31]>().prop_map(|rest| {
        let mut octets = [1; 32];
        octets[1..].copy_from_slice(&rest);
        MessageId::from_octets(octets).unwrap()
    })
}

fn float() -> impl Strategy<Value = Float> {
    any::<f64>().prop_map(|f| if f.is_nan() { Float(f64::NAN) } else { Float(f) })
}

fn value() -> impl Strategy<Value = Value> {
    let simple = prop_oneof![0u8..20, Just(20), Just(21), Just(22), Just(23), 32u8..];
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::Unsigned),
        any::<u64>().prop_map(Value::Negative),
        vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
        "\\PC{0,9}".prop_map(Value::Text),
        simple.prop_map(Value::Simple),
        float().prop_map(Value::Float),
    ];
    let key = prop_oneof![
        (0u64..1 << 53).prop_map(Value::Unsigned),
        "\\PC{0,5}".prop_map(Value::Text),
        vec(any::<u8>(), 0..5).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(2, 12, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            (any::<u64>(), inner.clone()).prop_map(|(tag, value)| Value::Tag(tag, Box::new(value))),
            proptest::collection::hash_map(key.clone(), inner, 0..4).prop_map(|map| {
                let mut pairs: Vec<_> = map.into_iter().collect();
                pairs.sort_by_key(|(key, _)| key.encode());
                Value::Map(pairs)
            }),
        ]
    })
}

fn extensions() -> impl Strategy<Value = Extensions> {
    let key = prop_oneof![
        (3i64..1 << 53).prop_map(ExtensionKey::Int),
        (-(1i64 << 53) + 1..0).prop_map(ExtensionKey::Int),
        "\\PC{1,9}".prop_map(ExtensionKey::Text),
    ];
    vec((key, value()), 0..4).prop_map(|pairs| {
        let mut extensions = Extensions::new();
        for (key, value) in pairs {
            extensions.set(key, value);
        }
        extensions
    })
}

fn part() -> impl Strategy<Value = NestedPart> {
    let external = (any::<(u32, u64, u16, u8)>(), "\\PC{0,9}", any::<[Vec<u8>; 4]>()).prop_map(
        |((expires, size, enc_alg, hash_alg), text, [key, nonce, aad, content_hash])| ExternalPart {
            content_type: text.clone(),
            url: text.clone(),
            expires,
            size,
            enc_alg,
            key: Opaque(key),
            nonce: Opaque(nonce),
            aad: Opaque(aad),
            hash_alg,
            content_hash: Opaque(content_hash),
            description: text.clone(),
            filename: text,
        },
    );
    let disposition = any::<u8>().prop_map(Disposition);
    let leaf = prop_oneof![
        disposition.clone().prop_map(NestedPart::null),
        (disposition.clone(), "(text/plain|a/b)", vec(any::<u8>(), 0..20))
            .prop_map(|(d, content_type, content)| NestedPart::single(d, &content_type, content)),
        "\\PC{0,20}".prop_map(|text| NestedPart::markdown(&text)),
        (disposition.clone(), external).prop_map(|(d, part)| NestedPart::external(d, part)),
    ];
    let semantics = prop_oneof![
        Just(PartSemantics::ChooseOne),
        Just(PartSemantics::SingleUnit),
        Just(PartSemantics::ProcessAll)
    ];
    let tree = leaf.prop_recursive(3, 12, 4, move |inner| {
        (disposition.clone(), semantics.clone(), vec(inner, 2..4))
            .prop_map(|(d, s, p)| NestedPart::multi(d, s, p))
    });
    (tree, "[a-z,-]{0,9}").prop_map(|(mut part, language)| {
        part.language = language;
        part
    })
}

fn content() -> impl Strategy<Value = MimiContent> {
    let expires = proptest::option::of(any::<(bool, u32)>());
    let ids = (proptest::option::of(id()), proptest::option::of(id()));
    (
        any::<[u8; 16]>(),
        ids,
        vec(any::<u8>(), 0..40),
        expires,
        extensions(),
        part(),
    )
        .prop_map(
            |(salt, (replaces, in_reply_to), topic, expires, extensions, body)| MimiContent {
                salt,
                replaces,
                topic_id: Opaque(topic),
                expires: expires.map(|(relative, time)| Expiration { relative, time }),
                in_reply_to,
                extensions,
                body,
            },
        )
}

proptest! {
    #[test]
    fn messages_round_trip(content in content()) {
        let bytes = content.encode().unwrap();
        prop_assert_eq!(&MimiContent::decode(&bytes).unwrap(), &content);
        let text = to_json(&content).to_string();
        prop_assert_eq!(from_json(&serde_json::from_str(&text).unwrap()).unwrap(), content);
    }

    #[test]
    fn values_round_trip(value in value()) {
        prop_assert_eq!(Value::decode(&value.encode()).unwrap(), value);
    }

    #[test]
    fn damaged_messages_are_refused_or_read(content in content(), at: prop::sample::Index, to: u8) {
        let mut bytes = content.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(read) = MimiContent::decode(&bytes) {
            // Whatever is read can be written, and reads the same.
            prop_assert_eq!(MimiContent::decode(&read.encode().unwrap()).unwrap(), read);
        }
    }

    #[test]
    fn octets_are_refused_or_read(bytes in vec(any::<u8>(), 0..64)) {
        let _ = MimiContent::decode(&bytes);
        let _ = MessageStatusReport::decode(&bytes);
        if let Ok(value) = Value::decode(&bytes) {
            prop_assert_eq!(Value::decode(&value.encode()).unwrap(), value);
        }
    }
}
