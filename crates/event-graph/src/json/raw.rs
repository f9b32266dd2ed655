//! Reading canonical JSON in place.

use std::borrow::Cow;

/// A value inside canonical JSON text. Never panics on other text, but then the answers mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// The key of a member, still escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a>(&'a str);

/// A member of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: Key<'a>,
    /// The value.
    pub value: Raw<'a>,
    /// The whole member as text, `"key":value`.
    pub whole: &'a str,
}

impl<'a> Raw<'a> {
    /// The value that `text` holds; `text` came out of [`super::canonicalize`].
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The canonical text.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// The text of a string.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(unescape(inner))
    }

    /// The string without its quotes, still escaped; equal strings have equal text.
    pub fn as_escaped_str(self) -> Option<&'a str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }

    /// An integer.
    pub fn as_i64(self) -> Option<i64> {
        matches!(self.0.as_bytes().first(), Some(b'-' | b'0'..=b'9'))
            .then(|| self.0.parse().ok())
            .flatten()
    }

    /// A boolean.
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// True for an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// True for an array.
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// The members of an object.
    pub fn entries(self) -> Option<Entries<'a>> {
        self.0.strip_prefix('{').map(|rest| Entries { rest })
    }

    /// The elements of an array.
    pub fn elements(self) -> Option<Elements<'a>> {
        self.0.strip_prefix('[').map(|rest| Elements { rest })
    }

    /// The member of an object with the given key; `key` must not need escapes.
    pub fn get(self, key: &str) -> Option<Raw<'a>> {
        self.entries()?.find(|e| e.key == key).map(|e| e.value)
    }

    /// The value as a tree. Recursion is bounded by [`crate::limits::MAX_NESTING`].
    pub fn to_value(self) -> serde_json::Value {
        use serde_json::Value;
        if let Some(entries) = self.entries() {
            return Value::Object(
                entries
                    .map(|e| (e.key.unescaped().into_owned(), e.value.to_value()))
                    .collect(),
            );
        }
        if let Some(elements) = self.elements() {
            return Value::Array(elements.map(Raw::to_value).collect());
        }
        if let Some(text) = self.as_str() {
            return Value::String(text.into_owned());
        }
        if let Some(int) = self.as_i64() {
            return Value::from(int);
        }
        self.as_bool().map_or(Value::Null, Value::Bool)
    }
}

impl<'a> Key<'a> {
    /// The key's text.
    pub fn unescaped(self) -> Cow<'a, str> {
        unescape(self.0)
    }

    /// The key as it stands in the canonical text, without quotes.
    pub fn escaped(self) -> &'a str {
        self.0
    }
}

impl PartialEq<str> for Key<'_> {
    /// `other` must not need escapes, as no key this crate asks for does.
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Key<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// Iterates over the members of an object, in canonical order.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let body = self.rest.strip_prefix(',').unwrap_or(self.rest);
        if !body.starts_with('"') {
            return None;
        }
        let key_end = string_end(body.as_bytes());
        let key = body.get(1..key_end.checked_sub(1)?)?;
        let after = body.get(key_end..)?.strip_prefix(':')?;
        let len = value_end(after.as_bytes());
        let value = after.get(..len)?;
        let whole = body.get(..key_end + 1 + len)?;
        self.rest = after.get(len..)?;
        Some(Entry {
            key: Key(key),
            value: Raw(value),
            whole,
        })
    }
}

/// Iterates over the elements of an array.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let body = self.rest.strip_prefix(',').unwrap_or(self.rest);
        if body.starts_with(']') {
            return None;
        }
        let len = value_end(body.as_bytes());
        if len == 0 {
            return None;
        }
        let value = body.get(..len)?;
        self.rest = body.get(len..)?;
        Some(Raw(value))
    }
}

/// Offset behind the string that starts at offset 0.
fn string_end(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Offset behind the value that starts at offset 0.
fn value_end(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(b'"') => string_end(bytes),
        Some(b'{' | b'[') => {
            let (mut at, mut depth) = (1, 1usize);
            while let Some(&b) = bytes.get(at) {
                at += 1;
                match b {
                    b'"' => at += string_end(bytes.get(at - 1..).unwrap_or_default()) - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return at;
                        }
                    }
                    _ => {}
                }
            }
            bytes.len()
        }
        _ => bytes
            .iter()
            .position(|b| matches!(b, b',' | b'}' | b']'))
            .unwrap_or(bytes.len()),
    }
}

/// Undoes the escapes of a string that the scanner accepted.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.as_bytes().contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((clean, after)) = rest.split_once('\\') {
        out.push_str(clean);
        let mut chars = after.chars();
        let skip = match chars.next() {
            Some('b') => push(&mut out, '\u{8}'),
            Some('f') => push(&mut out, '\u{c}'),
            Some('n') => push(&mut out, '\n'),
            Some('r') => push(&mut out, '\r'),
            Some('t') => push(&mut out, '\t'),
            Some('u') => {
                let unit = |s: Option<&str>| s.and_then(|s| u16::from_str_radix(s, 16).ok());
                let high = unit(after.get(1..5)).unwrap_or(0xfffd);
                if (0xd800..0xdc00).contains(&high) {
                    let low = unit(after.get(7..11)).unwrap_or(0xfffd);
                    out.extend(char::decode_utf16([high, low]).map(|c| c.unwrap_or('\u{fffd}')));
                    11
                } else {
                    out.push(char::from_u32(u32::from(high)).unwrap_or('\u{fffd}'));
                    5
                }
            }
            Some(other) => push(&mut out, other),
            None => 0,
        };
        rest = after.get(skip..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn push(out: &mut String, c: char) -> usize {
    out.push(c);
    c.len_utf8().min(1)
}
