//! Strict JSON and its canonical form (Matrix specification, appendices, "Canonical JSON").
//!
//! [`canonicalize`] is the only door for bytes from outside. It refuses what the specification refuses
//! (floats, exponents, `-0`, integers beyond 2^53 - 1) and what has two readings (duplicate keys, lone
//! surrogates, invalid UTF-8). Bytes that are canonical already are checked in one pass and not copied.
//! [`Raw`] reads canonical text in place.

mod canonical;
mod raw;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use raw::{Elements, Entries, Entry, Key, Raw};

/// Why bytes are not JSON that Matrix accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Where, as an offset into the input.
    pub offset: usize,
}

/// The kinds of [`JsonError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// Not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// The grammar is broken.
    #[error("syntax error")]
    Syntax,
    /// The input ends inside a value.
    #[error("unexpected end")]
    UnexpectedEnd,
    /// Something follows the value.
    #[error("trailing bytes")]
    TrailingBytes,
    /// A number with a fraction or an exponent.
    #[error("number is not an integer")]
    NotAnInteger,
    /// `-0`.
    #[error("negative zero")]
    NegativeZero,
    /// An integer beyond 2^53 - 1 in magnitude.
    #[error("integer out of range")]
    IntegerRange,
    /// An unknown or malformed escape.
    #[error("invalid escape")]
    InvalidEscape,
    /// Half of a surrogate pair.
    #[error("lone surrogate")]
    LoneSurrogate,
    /// A control character that is not escaped.
    #[error("control character in string")]
    ControlCharacter,
    /// A key that occurs twice in one object.
    #[error("duplicate key")]
    DuplicateKey,
    /// More than [`crate::limits::MAX_NESTING`] levels.
    #[error("nested too deep")]
    TooDeep,
    /// The input is larger than the caller allows.
    #[error("input too large")]
    TooLarge,
}

/// Checks `input` and gives its canonical form, borrowed where `input` is canonical already.
pub fn canonicalize(input: &[u8]) -> Result<Cow<'_, str>, JsonError> {
    let text = std::str::from_utf8(input).map_err(|e| JsonError {
        kind: JsonErrorKind::InvalidUtf8,
        offset: e.valid_up_to(),
    })?;
    let mut check = scan::Check;
    if scan::scan(text, &mut check)? {
        return Ok(Cow::Borrowed(text));
    }
    canonical::rewrite(text).map(Cow::Owned)
}

/// The canonical form of a value that our own code made.
pub fn to_canonical(value: &serde_json::Value) -> Result<String, JsonError> {
    let text = value.to_string();
    canonicalize(text.as_bytes()).map(Cow::into_owned)
}

/// Appends `text` as a canonical JSON string, quotes included.
pub fn write_string(text: &str, out: &mut String) {
    canonical::write_string(text, out);
}
