//! Extensions (section 4.3) and the ones whose meaning is known here.

use super::{ContentError, MAX_EXTENSION_KEY, Value};
use crate::uri::MimiUri;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Keys of known extensions.
pub mod extension_key {
    /// The sender's user URI.
    pub const SENDER_URI: i64 = 1;
    /// The room's URI.
    pub const ROOM_URI: i64 = 2;
    /// When the sender sent it (draft-mimi-content-more-extensions, suggested number).
    pub const SENDER_TIMESTAMP: i64 = 3;
    /// Identifier in the system it came from (suggested number).
    pub const EXTERNAL_MESSAGE_ID: i64 = 4;
    /// Subject (suggested number).
    pub const SUBJECT: i64 = 5;
    /// Messages last seen by the sender (suggested number).
    pub const LAST_SEEN: i64 = 256;
}

/// The key of an extension.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExtensionKey {
    /// Registered if positive, private if negative; within ±(2^53 - 1).
    Int(i64),
    /// Private; 1 to 255 octets.
    Text(String),
}

/// The greatest integer that every JSON and JavaScript program can hold.
const MAX_INT: u64 = (1 << 53) - 1;

impl ExtensionKey {
    /// The key as CBOR.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Int(number) => Value::int(*number),
            Self::Text(text) => Value::Text(text.clone()),
        }
    }

    /// A key from CBOR, if it may be one.
    pub fn from_value(value: Value) -> Result<Self, ContentError> {
        if !is_small_int(&value) && !matches!(value, Value::Text(_)) {
            return Err(ContentError::Key);
        }
        match value {
            Value::Unsigned(n) => i64::try_from(n).map(Self::Int).map_err(|_| ContentError::Key),
            Value::Negative(n) => match i64::try_from(n) {
                Ok(n) => Ok(Self::Int((-1i64).saturating_sub(n))),
                Err(_) => Err(ContentError::Key),
            },
            Value::Text(text) if (1..=MAX_EXTENSION_KEY).contains(&text.len()) => Ok(Self::Text(text)),
            _ => Err(ContentError::Key),
        }
    }
}

fn is_small_int(value: &Value) -> bool {
    match value {
        Value::Unsigned(n) => *n <= MAX_INT,
        Value::Negative(n) => *n < MAX_INT,
        _ => false,
    }
}

impl Ord for ExtensionKey {
    /// The order of the encodings, octet by octet.
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_value().encode().cmp(&other.to_value().encode())
    }
}

impl PartialOrd for ExtensionKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<i64> for ExtensionKey {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// The extensions of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extensions(BTreeMap<ExtensionKey, Value>);

/// Identifier of a message in the system it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalMessageId {
    /// The identifier there, such as a Matrix event id.
    pub id: Vec<u8>,
    /// Which system.
    pub scope: ExternalScope,
}

/// The system that an external identifier is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExternalScope {
    /// IANA private enterprise number.
    Enterprise(u64),
    /// Domain name, such as a homeserver's.
    Domain(String),
    /// URI.
    Uri(String),
}

impl Extensions {
    /// None.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sender and room, as franking needs them.
    pub fn of(sender: &MimiUri, room: &MimiUri) -> Self {
        let mut all = Self::new();
        all.set(extension_key::SENDER_URI, Value::Text(sender.as_str().to_owned()));
        all.set(extension_key::ROOM_URI, Value::Text(room.as_str().to_owned()));
        all
    }

    /// The value of a key.
    pub fn get(&self, key: impl Into<ExtensionKey>) -> Option<&Value> {
        self.0.get(&key.into())
    }

    /// Sets the value of a key.
    pub fn set(&mut self, key: impl Into<ExtensionKey>, value: Value) {
        self.0.insert(key.into(), value);
    }

    /// Sets the value of a key that has none yet; whether it had none.
    pub(super) fn insert_new(&mut self, key: ExtensionKey, value: Value) -> bool {
        self.0.insert(key, value).is_none()
    }

    /// All extensions in the order of the encoding.
    pub fn iter(&self) -> impl Iterator<Item = (&ExtensionKey, &Value)> {
        self.0.iter()
    }

    fn text(&self, key: i64) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The sender's URI as written.
    pub fn sender_uri(&self) -> Option<&str> {
        self.text(extension_key::SENDER_URI)
    }

    /// The room's URI as written.
    pub fn room_uri(&self) -> Option<&str> {
        self.text(extension_key::ROOM_URI)
    }

    /// The subject.
    pub fn subject(&self) -> Option<&str> {
        self.text(extension_key::SUBJECT)
    }

    /// The identifier in the system the message came from, if there is a well-formed one.
    pub fn external_message_id(&self) -> Option<ExternalMessageId> {
        let Value::Array(items) = self.get(extension_key::EXTERNAL_MESSAGE_ID)? else {
            return None;
        };
        let [Value::Bytes(id), scope] = items.as_slice() else {
            return None;
        };
        let scope = match scope {
            Value::Unsigned(number) if *number > 0 => ExternalScope::Enterprise(*number),
            Value::Text(domain) => ExternalScope::Domain(domain.clone()),
            Value::Tag(32, uri) => match &**uri {
                Value::Text(uri) => ExternalScope::Uri(uri.clone()),
                _ => return None,
            },
            _ => return None,
        };
        Some(ExternalMessageId {
            id: id.clone(),
            scope,
        })
    }

    /// Sets the identifier in the system the message came from.
    pub fn set_external_message_id(&mut self, external: &ExternalMessageId) {
        let scope = match &external.scope {
            ExternalScope::Enterprise(number) => Value::Unsigned(*number),
            ExternalScope::Domain(domain) => Value::Text(domain.clone()),
            ExternalScope::Uri(uri) => Value::Tag(32, Box::new(Value::Text(uri.clone()))),
        };
        let value = Value::Array(vec![Value::Bytes(external.id.clone()), scope]);
        self.set(extension_key::EXTERNAL_MESSAGE_ID, value);
    }
}

/// Checks that all map keys in an extension's value are of the kinds allowed there.
pub(super) fn check_keys(value: &Value) -> Result<(), ContentError> {
    match value {
        Value::Array(items) => items.iter().try_for_each(check_keys),
        Value::Map(pairs) => pairs.iter().try_for_each(|(key, value)| {
            if is_small_int(key) || matches!(key, Value::Text(_) | Value::Bytes(_)) {
                check_keys(value)
            } else {
                Err(ContentError::Key)
            }
        }),
        Value::Tag(_, value) => check_keys(value),
        _ => Ok(()),
    }
}
