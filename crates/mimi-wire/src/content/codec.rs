//! Messages from CBOR and back.

use super::{
    ContentError, Disposition, Expiration, ExtensionKey, Extensions, ExternalPart, MAX_EXTENSION_DEPTH,
    MAX_PART_DEPTH, MAX_PARTS, MAX_TOPIC_ID, MessageId, MimiContent, MultiPart, NestedPart, Part,
    PartSemantics, SinglePart, Value, extension_key, extensions,
};
use crate::codec::Opaque;

fn shape(field: &'static str, expected: &'static str) -> ContentError {
    ContentError::Shape { field, expected }
}

/// The items of a CBOR list, taken one after the other.
pub(super) struct Items(std::vec::IntoIter<Value>);

impl Items {
    pub(super) fn of(value: Value, field: &'static str) -> Result<Self, ContentError> {
        match value {
            Value::Array(items) => Ok(Self(items.into_iter())),
            _ => Err(shape(field, "a list")),
        }
    }

    pub(super) fn next(&mut self, field: &'static str) -> Result<Value, ContentError> {
        self.0
            .next()
            .ok_or(shape(field, "an item, the list is too short"))
    }

    pub(super) fn end(mut self, field: &'static str) -> Result<(), ContentError> {
        if self.0.next().is_none() {
            Ok(())
        } else {
            Err(shape(field, "no item, the list is too long"))
        }
    }

    pub(super) fn unsigned(&mut self, field: &'static str) -> Result<u64, ContentError> {
        match self.next(field)? {
            Value::Unsigned(number) => Ok(number),
            _ => Err(shape(field, "an unsigned number")),
        }
    }

    fn small<T: TryFrom<u64>>(&mut self, field: &'static str) -> Result<T, ContentError> {
        T::try_from(self.unsigned(field)?).map_err(|_| shape(field, "a smaller number"))
    }

    fn bytes(&mut self, field: &'static str) -> Result<Opaque, ContentError> {
        match self.next(field)? {
            Value::Bytes(bytes) => Ok(Opaque(bytes)),
            _ => Err(shape(field, "octets")),
        }
    }

    fn text(&mut self, field: &'static str) -> Result<String, ContentError> {
        match self.next(field)? {
            Value::Text(text) => Ok(text),
            _ => Err(shape(field, "text")),
        }
    }

    /// A URI: text, which the draft's prose once types as tagged.
    fn uri(&mut self, field: &'static str) -> Result<String, ContentError> {
        match self.next(field)? {
            Value::Text(text) => Ok(text),
            Value::Tag(32, inner) => match *inner {
                Value::Text(text) => Ok(text),
                _ => Err(shape(field, "text")),
            },
            _ => Err(shape(field, "text")),
        }
    }

    pub(super) fn message_id(&mut self, field: &'static str) -> Result<Option<MessageId>, ContentError> {
        match self.next(field)? {
            Value::NULL => Ok(None),
            Value::Bytes(bytes) => {
                let octets = <[u8; 32]>::try_from(bytes).map_err(|_| shape(field, "32 octets"))?;
                MessageId::from_octets(octets).map(Some)
            }
            _ => Err(shape(field, "null or 32 octets")),
        }
    }
}

pub(super) fn from_value(value: Value) -> Result<MimiContent, ContentError> {
    let mut items = Items::of(value, "mimiContent")?;
    let salt = items.bytes("salt")?;
    let salt = <[u8; 16]>::try_from(salt.as_bytes()).map_err(|_| shape("salt", "16 octets"))?;
    let replaces = items.message_id("replaces")?;
    let topic_id = items.bytes("topicId")?;
    if topic_id.len() > MAX_TOPIC_ID {
        return Err(ContentError::TopicTooLong);
    }
    let expires = match items.next("expires")? {
        Value::NULL => None,
        value => Some(expiration(value)?),
    };
    let in_reply_to = items.message_id("inReplyTo")?;
    let extensions = read_extensions(items.next("mimiExtensions")?)?;
    let mut parts = 0;
    let body = nested_part(items.next("nestedPart")?, MAX_PART_DEPTH, &mut parts)?;
    items.end("mimiContent")?;
    Ok(MimiContent {
        salt,
        replaces,
        topic_id,
        expires,
        in_reply_to,
        extensions,
        body,
    })
}

fn expiration(value: Value) -> Result<Expiration, ContentError> {
    let mut items = Items::of(value, "expires")?;
    let relative = match items.next("expires.relative")? {
        Value::Simple(20) => false,
        Value::Simple(21) => true,
        _ => return Err(shape("expires.relative", "true or false")),
    };
    let time = items.small("expires.time")?;
    items.end("expires")?;
    Ok(Expiration { relative, time })
}

fn read_extensions(value: Value) -> Result<Extensions, ContentError> {
    if value.depth() > MAX_EXTENSION_DEPTH {
        return Err(ContentError::TooDeep("extensions"));
    }
    let Value::Map(pairs) = value else {
        return Err(shape("mimiExtensions", "a map"));
    };
    let mut extensions = Extensions::new();
    for (key, value) in pairs {
        let key = ExtensionKey::from_value(key)?;
        extensions::check_keys(&value)?;
        let is_uri = [extension_key::SENDER_URI, extension_key::ROOM_URI]
            .map(ExtensionKey::Int)
            .contains(&key);
        if is_uri && !matches!(value, Value::Text(_)) {
            return Err(shape("mimiExtensions", "text for sender and room"));
        }
        if !extensions.insert_new(key, value) {
            return Err(ContentError::DuplicateKey);
        }
    }
    Ok(extensions)
}

fn nested_part(value: Value, depth: usize, parts: &mut usize) -> Result<NestedPart, ContentError> {
    let Some(inner) = depth.checked_sub(1) else {
        return Err(ContentError::TooDeep("parts"));
    };
    *parts = parts.saturating_add(1);
    if *parts > MAX_PARTS {
        return Err(ContentError::TooManyParts);
    }
    let mut items = Items::of(value, "nestedPart")?;
    let disposition = Disposition(items.small("disposition")?);
    let language = items.text("language")?;
    let part = match items.unsigned("cardinality")? {
        0 => Part::Null,
        1 => Part::Single(SinglePart {
            content_type: items.text("contentType")?,
            content: items.bytes("content")?,
        }),
        2 => Part::External(Box::new(ExternalPart {
            content_type: items.text("contentType")?,
            url: items.uri("url")?,
            expires: items.small("expires")?,
            size: items.unsigned("size")?,
            enc_alg: items.small("encAlg")?,
            key: items.bytes("key")?,
            nonce: items.bytes("nonce")?,
            aad: items.bytes("aad")?,
            hash_alg: items.small("hashAlg")?,
            content_hash: items.bytes("contentHash")?,
            description: items.text("description")?,
            filename: items.text("filename")?,
        })),
        3 => {
            let number = items.unsigned("partSemantics")?;
            let semantics = PartSemantics::from_number(number).ok_or(ContentError::Semantics(number))?;
            let Value::Array(list) = items.next("parts")? else {
                return Err(shape("parts", "a list"));
            };
            if list.len() < 2 {
                return Err(shape("parts", "two parts at least"));
            }
            let list = list.into_iter().map(|part| nested_part(part, inner, parts));
            Part::Multi(MultiPart {
                semantics,
                parts: list.collect::<Result<_, _>>()?,
            })
        }
        other => return Err(ContentError::Cardinality(other)),
    };
    items.end("nestedPart")?;
    Ok(NestedPart {
        disposition,
        language,
        part,
    })
}

fn bytes(octets: &[u8]) -> Value {
    Value::Bytes(octets.to_vec())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(super) fn to_value(content: &MimiContent) -> Value {
    let id = |id: Option<MessageId>| id.map_or(Value::NULL, |id| bytes(id.as_bytes()));
    let extensions = content
        .extensions
        .iter()
        .map(|(key, value)| (key.to_value(), value.clone()))
        .collect();
    Value::Array(vec![
        bytes(&content.salt),
        id(content.replaces),
        bytes(&content.topic_id),
        content.expires.map_or(Value::NULL, |expires| {
            Value::Array(vec![
                Value::bool(expires.relative),
                Value::Unsigned(expires.time.into()),
            ])
        }),
        id(content.in_reply_to),
        Value::Map(extensions),
        part_to_value(&content.body),
    ])
}

fn part_to_value(nested: &NestedPart) -> Value {
    let mut items = vec![
        Value::Unsigned(nested.disposition.0.into()),
        text(&nested.language),
    ];
    match &nested.part {
        Part::Null => items.push(Value::Unsigned(0)),
        Part::Single(single) => {
            items.extend([
                Value::Unsigned(1),
                text(&single.content_type),
                bytes(&single.content),
            ]);
        }
        Part::External(external) => items.extend([
            Value::Unsigned(2),
            text(&external.content_type),
            text(&external.url),
            Value::Unsigned(external.expires.into()),
            Value::Unsigned(external.size),
            Value::Unsigned(external.enc_alg.into()),
            bytes(&external.key),
            bytes(&external.nonce),
            bytes(&external.aad),
            Value::Unsigned(external.hash_alg.into()),
            bytes(&external.content_hash),
            text(&external.description),
            text(&external.filename),
        ]),
        Part::Multi(multi) => {
            let parts = multi.parts.iter().map(part_to_value).collect();
            let semantics = Value::Unsigned(multi.semantics.number());
            items.extend([Value::Unsigned(3), semantics, Value::Array(parts)]);
        }
    }
    Value::Array(items)
}
