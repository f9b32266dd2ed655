//! `mimi:` URIs and the provider domains in them (draft-ietf-mimi-protocol-06 section 4.2).
//!
//! The draft defines no comparison rule and calls the syntax notional. An identifier is therefore the octets
//! as they were received: equality and hashing are over octets (message identifiers depend on that), and only
//! [`MimiUri::domain`] normalizes, for routing.

mod domain;

pub use domain::Domain;

use crate::codec::{Decode, DecodeError, DecodeErrorKind, Encode, Reader, encode_opaque};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// The longest identifier this crate takes, in octets.
pub const MAX_URI: usize = 2048;

const SCHEME: &str = "mimi://";

/// What is escaped in a path segment that we make. `=` and `+` stay because Matrix localparts use them; every
/// segment then has one spelling only.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'=')
    .remove(b'+');

/// A `mimi:` URI, octets as received: valid UTF-8, `mimi://`, a DNS name, a path. A clone shares them: lists and indices of
/// a room hold the same URI many times.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MimiUri(Arc<str>);

/// `IdentifierUri` of the draft: on the wire the URI is `opaque<V>`.
pub type IdentifierUri = MimiUri;

/// What a URI names, read off its first path segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UriKind {
    /// No path: the provider itself.
    Provider,
    /// `/u/...`
    User,
    /// `/p/...`
    Pseudonym,
    /// `/d/...`
    Client,
    /// `/r/...`
    Room,
    /// `/g/...`: an MLS group.
    Group,
    /// `/t/...`
    Team,
    /// Anything else, also a type letter with nothing after it.
    Other,
}

/// Why a text is no `mimi:` URI or domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// Longer than [`MAX_URI`].
    #[error("longer than {MAX_URI} octets")]
    TooLong,
    /// Does not start with `mimi://`.
    #[error("does not start with mimi://")]
    Scheme,
    /// The authority is no DNS name. Ports and user names are none either.
    #[error("the authority is not a DNS name")]
    Domain,
    /// A character that no URI path may have unescaped, or a query or fragment.
    #[error("a character that a path may not have")]
    Character,
    /// A `%` without two hexadecimal digits.
    #[error("a broken percent-escape")]
    Escape,
    /// A segment to be made from an empty text.
    #[error("an empty path segment")]
    EmptySegment,
}

impl MimiUri {
    /// Takes a URI over as it is.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_URI {
            return Err(UriError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(UriError::Scheme)?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        Domain::parse(authority)?;
        check_path(path)?;
        Ok(Self(text.into()))
    }

    /// The URI of a provider: `mimi://DOMAIN`.
    pub fn provider(domain: &Domain) -> Self {
        Self(format!("{SCHEME}{domain}").into())
    }

    /// The URI of a user; `localpart` is unescaped text.
    pub fn user(domain: &Domain, localpart: &str) -> Result<Self, UriError> {
        Self::build(domain, "u", &[localpart])
    }

    /// The URI of a user's client; both parts are unescaped text.
    pub fn client(domain: &Domain, localpart: &str, device: &str) -> Result<Self, UriError> {
        Self::build(domain, "d", &[localpart, device])
    }

    /// The URI of a room; `id` is unescaped text.
    pub fn room(domain: &Domain, id: &str) -> Result<Self, UriError> {
        Self::build(domain, "r", &[id])
    }

    /// The URI of a room's MLS group; `id` is unescaped text.
    pub fn group(domain: &Domain, id: &str) -> Result<Self, UriError> {
        Self::build(domain, "g", &[id])
    }

    fn build(domain: &Domain, kind: &str, segments: &[&str]) -> Result<Self, UriError> {
        let mut text = format!("{SCHEME}{domain}/{kind}");
        for segment in segments {
            if segment.is_empty() {
                return Err(UriError::EmptySegment);
            }
            text.push('/');
            if segment.bytes().all(|b| b == b'.') {
                // `.` and `..` would be resolved away by whatever treats this as a generic URI.
                text.extend(segment.bytes().map(|_| "%2E"));
            } else {
                text.extend(utf8_percent_encode(segment, SEGMENT));
            }
        }
        if text.len() > MAX_URI {
            Err(UriError::TooLong)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The URI as received.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The octets as received.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn split(&self) -> (&str, &str) {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or_default();
        match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        }
    }

    /// The authority as received.
    pub fn authority(&self) -> &str {
        self.split().0
    }

    /// The path as received: empty, or starting with `/`.
    pub fn path(&self) -> &str {
        self.split().1
    }

    /// The provider's domain in lower case, for routing and for comparison with certificates.
    pub fn domain(&self) -> Domain {
        Domain::from_checked(self.authority())
    }

    /// The URI of the provider, as [`MimiUri::provider`] makes it.
    #[must_use]
    pub fn provider_uri(&self) -> Self {
        Self::provider(&self.domain())
    }

    /// The path segments as received, the type letter first. Empty for a provider.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        let path = self.path();
        path.strip_prefix('/')
            .filter(|rest| !rest.is_empty())
            .into_iter()
            .flat_map(|rest| rest.split('/'))
    }

    /// What the URI names.
    pub fn kind(&self) -> UriKind {
        let mut segments = self.segments();
        let Some(first) = segments.next() else {
            return UriKind::Provider;
        };
        if segments.next().is_none_or(str::is_empty) {
            return UriKind::Other;
        }
        match first {
            "u" => UriKind::User,
            "p" => UriKind::Pseudonym,
            "d" => UriKind::Client,
            "r" => UriKind::Room,
            "g" => UriKind::Group,
            "t" => UriKind::Team,
            _ => UriKind::Other,
        }
    }

    /// The single segment after the type letter, unescaped: the localpart of a one-segment `/u/` URI, the
    /// name of a `/r/` room. `None` if there are more or fewer segments, or it isn't UTF-8.
    pub fn local_id(&self) -> Option<Cow<'_, str>> {
        let mut segments = self.segments().skip(1);
        let only = segments.next().filter(|s| !s.is_empty())?;
        if segments.next().is_some() {
            return None;
        }
        percent_decode_str(only).decode_utf8().ok()
    }

    /// The user of a `/d/LOCALPART/DEVICE` client URI: `mimi://SAME-AUTHORITY/u/LOCALPART`.
    pub fn client_user(&self) -> Option<Self> {
        let (user, _device) = self.client_parts()?;
        Some(Self(format!("{SCHEME}{}/u/{user}", self.authority()).into()))
    }

    /// The device of a `/d/LOCALPART/DEVICE` client URI, unescaped.
    pub fn client_device(&self) -> Option<Cow<'_, str>> {
        let (_user, device) = self.client_parts()?;
        percent_decode_str(device).decode_utf8().ok()
    }

    fn client_parts(&self) -> Option<(&str, &str)> {
        let mut segments = self.segments();
        if segments.next()? != "d" {
            return None;
        }
        let user = segments.next().filter(|s| !s.is_empty())?;
        let device = segments.next().filter(|s| !s.is_empty())?;
        segments.next().is_none().then_some((user, device))
    }
}

/// Allows what RFC 3986 allows in a path, and UTF-8 beyond ASCII since the draft only says "octets".
fn check_path(path: &str) -> Result<(), UriError> {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
                if !(hex(bytes.next()) && hex(bytes.next())) {
                    return Err(UriError::Escape);
                }
            }
            0..=b' '
            | 0x7f
            | b'"'
            | b'#'
            | b'<'
            | b'>'
            | b'?'
            | b'['
            | b'\\'
            | b']'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}' => return Err(UriError::Character),
            _ => {}
        }
    }
    Ok(())
}

impl std::fmt::Display for MimiUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for MimiUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for MimiUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for MimiUri {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        Self::parse(&text)
    }
}

impl TryFrom<&[u8]> for MimiUri {
    type Error = UriError;

    fn try_from(octets: &[u8]) -> Result<Self, UriError> {
        Self::parse(str::from_utf8(octets).map_err(|_| UriError::Utf8)?)
    }
}

impl From<MimiUri> for String {
    fn from(uri: MimiUri) -> Self {
        uri.as_str().to_owned()
    }
}

impl AsRef<str> for MimiUri {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Encode for MimiUri {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_opaque(self.as_bytes(), out);
    }
}

impl Decode for MimiUri {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        Self::try_from(r.opaque()?).map_err(|error| at.error(DecodeErrorKind::Uri(error)))
    }
}

/// A URI that may be left out where the draft has no `optional`: absent is a URI of no octets.
pub(crate) mod or_empty {
    use super::MimiUri;
    use crate::codec::{Decode, DecodeError, Encode, Reader};

    /// Writes the URI, or an empty vector.
    pub(crate) fn encode(uri: Option<&MimiUri>, out: &mut Vec<u8>) {
        match uri {
            Some(uri) => uri.encode(out),
            None => out.push(0),
        }
    }

    /// Reads a URI, or nothing from an empty vector.
    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Option<MimiUri>, DecodeError> {
        if r.remaining().first() == Some(&0) {
            r.u8()?;
            return Ok(None);
        }
        MimiUri::decode(r).map(Some)
    }
}

#[cfg(test)]
mod tests;
