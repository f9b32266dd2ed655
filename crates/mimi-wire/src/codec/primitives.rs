//! Encodings of numbers, vectors, options and octet strings.

use super::{Decode, DecodeError, DecodeErrorKind, Encode, Reader, encode_opaque, encode_vector};
use serde::{Deserialize, Serialize};

macro_rules! numbers {
    ($($t:ident),*) => {$(
        impl Encode for $t {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }
        impl Decode for $t {
            fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                r.$t()
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64);

/// The drafts' `bool`: an enumeration of one octet, `false(0)`, `true(1)`.
impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Decode for bool {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        match r.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(at.unknown("bool", other)),
        }
    }
}

/// Octets without a header.
impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> Decode for [u8; N] {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.array()
    }
}

/// `T<V>`: one header, then the elements back to back.
impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_vector(out, |payload| {
            for element in self {
                element.encode(payload);
            }
        });
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut window = r.window()?;
        let mut elements = Vec::new();
        while !window.is_empty() {
            let before = window.offset();
            elements.push(T::decode(&mut window)?);
            if window.offset() == before {
                // No type of the drafts is empty; one that were would loop here for ever.
                return Err(window.invalid("empty element in a vector"));
            }
        }
        Ok(elements)
    }
}

/// `optional<T>`: a presence octet, then the value if there is one.
impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if r.presence()? {
            T::decode(r).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// The drafts' `string`: UTF-8 as `opaque<V>`.
impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_opaque(self.as_bytes(), out);
    }
}

impl Decode for String {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        let bytes = r.opaque()?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(at.error(DecodeErrorKind::Utf8)),
        }
    }
}

/// `opaque<V>`: octets whose meaning is someone else's. JSON shows them as base64url without padding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Opaque(pub Vec<u8>);

impl Opaque {
    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Encode for Opaque {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_opaque(&self.0, out);
    }
}

impl Decode for Opaque {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.opaque().map(|bytes| Self(bytes.to_vec()))
    }
}

impl std::fmt::Debug for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl std::ops::Deref for Opaque {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Opaque {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Opaque {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Opaque {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Opaque> for Vec<u8> {
    fn from(opaque: Opaque) -> Self {
        opaque.0
    }
}

impl Serialize for Opaque {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_base64url::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_base64url::deserialize(deserializer).map(Self)
    }
}

/// Octets as base64url text without padding, for `#[serde(with = "...")]`.
pub mod serde_base64url {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes octets as text.
    pub fn serialize<S: Serializer>(bytes: impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads octets from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)
    }
}

/// Milliseconds since the UNIX epoch; a decimal string in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub u64);

super::wire_fields!(UnixMillis { 0 });
super::decimal_json!(UnixMillis);

impl std::fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes a `u64` as a decimal string, for `#[serde(serialize_with = "...")]`.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn serialize_decimal<S: serde::Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// 32 octets as base64url text without padding, for `#[serde(with = "...")]`.
pub(crate) mod serde_base64url_32 {
    use serde::Serializer;

    /// Writes octets as text.
    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        super::serde_base64url::serialize(bytes, serializer)
    }
}
