//! Messages as JSON and back, without loss, for people and scripts.
//!
//! Octets are base64url without padding, salts and message identifiers hexadecimal. Content of a `text/` type
//! that is UTF-8 is `text`, other content is `content`. CBOR that JSON lacks is an object with one of the keys
//! `bytes`, `map`, `tag`, `simple`, `float`, `int`.

use super::{
    ContentError, Disposition, Expiration, ExtensionKey, Extensions, ExternalPart, Float, MessageId,
    MimiContent, MultiPart, NestedPart, Part, PartSemantics, SinglePart, Value,
};
use crate::codec::Opaque;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value as Json, json};

/// Integers beyond this lose precision in many JSON programs and become text.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// A message as JSON.
pub fn to_json(content: &MimiContent) -> Json {
    let view = ContentView::from(content);
    serde_json::to_value(view).unwrap_or(Json::Null)
}

/// A message from JSON. Fields may be left out where nothing is the usual value.
pub fn from_json(json: &Json) -> Result<MimiContent, ContentError> {
    let view = ContentView::deserialize(json).map_err(|error| ContentError::Json(error.to_string()))?;
    view.try_into()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ContentView {
    salt: String,
    #[serde(default)]
    replaces: Option<MessageId>,
    #[serde(default)]
    topic_id: Opaque,
    #[serde(default)]
    expires: Option<ExpirationView>,
    #[serde(default)]
    in_reply_to: Option<MessageId>,
    /// Pairs of key and value: a JSON object could not tell the key 1 from the key "1".
    #[serde(default)]
    extensions: Vec<(Json, Json)>,
    body: PartView,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpirationView {
    relative: bool,
    time: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartView {
    disposition: Json,
    #[serde(default)]
    language: String,
    #[serde(flatten)]
    part: PartKind,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum PartKind {
    Null,
    Single {
        content_type: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Opaque>,
    },
    External {
        content_type: String,
        url: String,
        #[serde(default)]
        expires: u32,
        #[serde(default)]
        size: u64,
        #[serde(default)]
        enc_alg: u16,
        #[serde(default)]
        key: Opaque,
        #[serde(default)]
        nonce: Opaque,
        #[serde(default)]
        aad: Opaque,
        #[serde(default)]
        hash_alg: u8,
        #[serde(default)]
        content_hash: Opaque,
        #[serde(default)]
        description: String,
        #[serde(default)]
        filename: String,
    },
    Multi {
        semantics: String,
        parts: Vec<PartView>,
    },
}

const DISPOSITIONS: [&str; 9] = [
    "unspecified",
    "render",
    "reaction",
    "profile",
    "inline",
    "icon",
    "attachment",
    "session",
    "preview",
];
const SEMANTICS: [(PartSemantics, &str); 3] = [
    (PartSemantics::ChooseOne, "chooseOne"),
    (PartSemantics::SingleUnit, "singleUnit"),
    (PartSemantics::ProcessAll, "processAll"),
];

impl From<&MimiContent> for ContentView {
    fn from(content: &MimiContent) -> Self {
        Self {
            salt: hex::encode(content.salt),
            replaces: content.replaces,
            topic_id: content.topic_id.clone(),
            expires: content.expires.map(|expires| ExpirationView {
                relative: expires.relative,
                time: expires.time,
            }),
            in_reply_to: content.in_reply_to,
            extensions: content
                .extensions
                .iter()
                .map(|(key, value)| (value_to_json(&key.to_value()), value_to_json(value)))
                .collect(),
            body: (&content.body).into(),
        }
    }
}

impl From<&NestedPart> for PartView {
    fn from(nested: &NestedPart) -> Self {
        let number = nested.disposition.0;
        let disposition = DISPOSITIONS
            .get(usize::from(number))
            .map_or_else(|| json!(number), |name| json!(name));
        let part = match &nested.part {
            Part::Null => PartKind::Null,
            Part::Single(single) => {
                let text = nested.text().map(str::to_owned);
                let content = if text.is_none() {
                    Some(single.content.clone())
                } else {
                    None
                };
                PartKind::Single {
                    content_type: single.content_type.clone(),
                    text,
                    content,
                }
            }
            Part::External(external) => {
                let ExternalPart {
                    content_type,
                    url,
                    expires,
                    size,
                    enc_alg,
                    key,
                    nonce,
                    aad,
                    hash_alg,
                    content_hash,
                    description,
                    filename,
                } = (**external).clone();
                PartKind::External {
                    content_type,
                    url,
                    expires,
                    size,
                    enc_alg,
                    key,
                    nonce,
                    aad,
                    hash_alg,
                    content_hash,
                    description,
                    filename,
                }
            }
            Part::Multi(multi) => {
                let name = SEMANTICS
                    .iter()
                    .find(|(s, _)| *s == multi.semantics)
                    .map_or("", |(_, name)| name);
                PartKind::Multi {
                    semantics: name.to_owned(),
                    parts: multi.parts.iter().map(Self::from).collect(),
                }
            }
        };
        Self {
            disposition,
            language: nested.language.clone(),
            part,
        }
    }
}

fn wrong(what: &str) -> ContentError {
    ContentError::Json(what.to_owned())
}

impl TryFrom<ContentView> for MimiContent {
    type Error = ContentError;

    fn try_from(view: ContentView) -> Result<Self, ContentError> {
        let mut salt = [0; 16];
        hex::decode_to_slice(&view.salt, &mut salt).map_err(|_| wrong("salt: not 32 hexadecimal digits"))?;
        let mut extensions = Extensions::new();
        for (key, value) in &view.extensions {
            let key = ExtensionKey::from_value(value_from_json(key)?)?;
            if !extensions.insert_new(key, value_from_json(value)?) {
                return Err(ContentError::DuplicateKey);
            }
        }
        Ok(Self {
            salt,
            replaces: view.replaces,
            topic_id: view.topic_id,
            expires: view.expires.map(|e| Expiration {
                relative: e.relative,
                time: e.time,
            }),
            in_reply_to: view.in_reply_to,
            extensions,
            body: view.body.try_into()?,
        })
    }
}

impl TryFrom<PartView> for NestedPart {
    type Error = ContentError;

    fn try_from(view: PartView) -> Result<Self, ContentError> {
        let number = match &view.disposition {
            Json::String(name) => DISPOSITIONS.iter().position(|d| d == name).map(|n| n as u64),
            other => other.as_u64(),
        };
        let disposition = number
            .and_then(|n| u8::try_from(n).ok())
            .map(Disposition)
            .ok_or_else(|| wrong("disposition: unknown"))?;
        let part = match view.part {
            PartKind::Null => Part::Null,
            PartKind::Single {
                content_type,
                text,
                content,
            } => {
                let content = match (text, content) {
                    (Some(text), None) => Opaque(text.into_bytes()),
                    (None, Some(content)) => content,
                    _ => return Err(wrong("a single part has either text or content")),
                };
                Part::Single(SinglePart {
                    content_type,
                    content,
                })
            }
            PartKind::External {
                content_type,
                url,
                expires,
                size,
                enc_alg,
                key,
                nonce,
                aad,
                hash_alg,
                content_hash,
                description,
                filename,
            } => Part::External(Box::new(ExternalPart {
                content_type,
                url,
                expires,
                size,
                enc_alg,
                key,
                nonce,
                aad,
                hash_alg,
                content_hash,
                description,
                filename,
            })),
            PartKind::Multi { semantics, parts } => {
                let semantics = SEMANTICS
                    .iter()
                    .find(|(_, name)| *name == semantics)
                    .map(|(s, _)| *s);
                let semantics = semantics.ok_or_else(|| wrong("semantics: unknown"))?;
                let parts = parts.into_iter().map(Self::try_from).collect::<Result<_, _>>()?;
                Part::Multi(MultiPart { semantics, parts })
            }
        };
        Ok(Self {
            disposition,
            language: view.language,
            part,
        })
    }
}

fn only(key: &str, value: Json) -> Json {
    Json::Object(Map::from_iter([(key.to_owned(), value)]))
}

fn value_to_json(value: &Value) -> Json {
    match value {
        Value::Unsigned(n) if *n <= MAX_SAFE => json!(n),
        Value::Unsigned(n) => only("int", json!(n.to_string())),
        Value::Negative(n) if *n < MAX_SAFE => json!(-1i128 - i128::from(*n)),
        Value::Negative(n) => only("int", json!((-1i128 - i128::from(*n)).to_string())),
        Value::Bytes(bytes) => only("bytes", json!(URL_SAFE_NO_PAD.encode(bytes))),
        Value::Text(text) => json!(text),
        Value::Array(items) => Json::Array(items.iter().map(value_to_json).collect()),
        Value::Map(pairs) => {
            let pair = |(key, value): &(Value, Value)| json!([value_to_json(key), value_to_json(value)]);
            only("map", Json::Array(pairs.iter().map(pair).collect()))
        }
        Value::Tag(tag, inner) => only("tag", json!([tag.to_string(), value_to_json(inner)])),
        Value::Simple(20) => Json::Bool(false),
        Value::Simple(21) => Json::Bool(true),
        Value::Simple(22) => Json::Null,
        Value::Simple(number) => only("simple", json!(number)),
        // Rust writes the shortest decimal that reads back as the same number.
        Value::Float(Float(number)) => only("float", json!(number.to_string())),
    }
}

fn value_from_json(json: &Json) -> Result<Value, ContentError> {
    match json {
        Json::Null => Ok(Value::NULL),
        Json::Bool(value) => Ok(Value::bool(*value)),
        Json::Number(number) => int_from_json(number),
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Array(items) => Ok(Value::Array(
            items.iter().map(value_from_json).collect::<Result<_, _>>()?,
        )),
        Json::Object(object) => {
            let mut entries = object.iter();
            match (entries.next(), entries.next()) {
                (Some((kind, inner)), None) => object_from_json(kind, inner),
                _ => Err(wrong("an object in an extension has exactly one key")),
            }
        }
    }
}

fn int_from_json(number: &Number) -> Result<Value, ContentError> {
    if let Some(positive) = number.as_u64() {
        Ok(Value::Unsigned(positive))
    } else if let Some(negative) = number.as_i64() {
        Ok(Value::int(negative))
    } else {
        Err(wrong("a number with a fraction has to be {\"float\": text}"))
    }
}

fn object_from_json(kind: &str, inner: &Json) -> Result<Value, ContentError> {
    let text = || inner.as_str().ok_or_else(|| wrong("text expected"));
    match kind {
        "bytes" => URL_SAFE_NO_PAD
            .decode(text()?)
            .map(Value::Bytes)
            .map_err(|_| wrong("bytes: not base64url")),
        "int" => {
            let number: i128 = text()?.parse().map_err(|_| wrong("int: not a number"))?;
            let value = if number < 0 {
                u64::try_from(-1i128 - number).map(Value::Negative)
            } else {
                u64::try_from(number).map(Value::Unsigned)
            };
            value.map_err(|_| wrong("int: out of range"))
        }
        "float" => {
            let number: f64 = text()?.parse().map_err(|_| wrong("float: not a number"))?;
            Ok(Value::Float(Float(number)))
        }
        "simple" => {
            let number = inner.as_u64().and_then(|n| u8::try_from(n).ok());
            number
                .map(Value::Simple)
                .ok_or_else(|| wrong("simple: not a small number"))
        }
        "tag" => match inner.as_array().map(Vec::as_slice) {
            Some([Json::String(tag), value]) => {
                let tag = tag.parse().map_err(|_| wrong("tag: not a number"))?;
                Ok(Value::Tag(tag, Box::new(value_from_json(value)?)))
            }
            _ => Err(wrong("tag: a number as text and a value expected")),
        },
        "map" => {
            let pairs = inner
                .as_array()
                .ok_or_else(|| wrong("map: a list of pairs expected"))?;
            let pair = |pair: &Json| match pair.as_array().map(Vec::as_slice) {
                Some([key, value]) => Ok((value_from_json(key)?, value_from_json(value)?)),
                _ => Err(wrong("map: a pair expected")),
            };
            Ok(Value::Map(pairs.iter().map(pair).collect::<Result<_, _>>()?))
        }
        _ => Err(wrong("an object in an extension has an unknown key")),
    }
}
