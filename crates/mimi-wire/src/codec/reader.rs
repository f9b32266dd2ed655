//! A bounded cursor over octets of unknown origin.

use super::{DecodeError, DecodeErrorKind};

/// Reads forward through a slice and knows where it is.
///
/// Nothing read through it can exceed the slice; a vector is read through a reader of its own window, so that
/// an element can't reach beyond the vector it is in.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
    field: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            offset: 0,
            field: "",
        }
    }

    /// Octets not yet read.
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Position, counted from the start of the outermost input.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Names the field that is read next, for errors.
    pub fn field(&mut self, name: &'static str) -> &mut Self {
        self.field = name;
        self
    }

    /// The name of the field that is being read.
    pub(crate) fn field_name(&self) -> &'static str {
        self.field
    }

    /// An error at this position.
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError {
            kind,
            offset: self.offset,
            field: self.field,
        }
    }

    /// An error for a number that names no known case.
    pub fn unknown(&self, what: &'static str, value: impl Into<u64>) -> DecodeError {
        self.error(DecodeErrorKind::Unknown {
            what,
            value: value.into(),
        })
    }

    /// An error for a broken rule.
    pub fn invalid(&self, rule: &'static str) -> DecodeError {
        self.error(DecodeErrorKind::Invalid(rule))
    }

    /// Checks that nothing is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error(DecodeErrorKind::Trailing {
                extra: self.rest.len(),
            }))
        }
    }

    /// The next `len` octets.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                self.offset = self.offset.saturating_add(len);
                Ok(taken)
            }
            None => Err(self.error(DecodeErrorKind::Truncated {
                missing: len.saturating_sub(self.rest.len()),
            })),
        }
    }

    /// The next `N` octets.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                self.offset = self.offset.saturating_add(N);
                Ok(*taken)
            }
            None => Err(self.error(DecodeErrorKind::Truncated {
                missing: N.saturating_sub(self.rest.len()),
            })),
        }
    }

    /// One octet.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    /// A big-endian 16-bit number.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A big-endian 32-bit number.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A big-endian 64-bit number.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The presence octet of an `optional<T>`.
    pub fn presence(&mut self) -> Result<bool, DecodeError> {
        let at = self.clone();
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(at.unknown("presence octet", other)),
        }
    }

    /// A vector header: how many octets of payload follow.
    pub fn length(&mut self) -> Result<usize, DecodeError> {
        let at = self.clone();
        let first = self.u8()?;
        let (value, minimum) = match first >> 6 {
            0b00 => (u32::from(first & 0x3f), 0),
            0b01 => {
                let second = self.u8()?;
                (u32::from(u16::from_be_bytes([first & 0x3f, second])), 0x40)
            }
            0b10 => {
                let [b, c, d] = self.array::<3>()?;
                (u32::from_be_bytes([first & 0x3f, b, c, d]), 0x4000)
            }
            _ => return Err(at.error(DecodeErrorKind::ReservedLength)),
        };
        if value < minimum {
            return Err(at.error(DecodeErrorKind::NonMinimalLength));
        }
        usize::try_from(value).map_err(|_| at.error(DecodeErrorKind::TooMany { limit: usize::MAX }))
    }

    /// The payload of an `opaque<V>`.
    pub fn opaque(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.length()?;
        self.take(len)
    }

    /// A reader of the payload of a vector; this reader goes on after the vector.
    pub fn window(&mut self) -> Result<Reader<'a>, DecodeError> {
        let len = self.length()?;
        let offset = self.offset;
        Ok(Reader {
            rest: self.take(len)?,
            offset,
            field: self.field,
        })
    }

    /// The octets between an earlier state of this reader and now.
    pub(crate) fn since(&self, start: &Reader<'a>) -> &'a [u8] {
        let len = start.rest.len().saturating_sub(self.rest.len());
        start.rest.get(..len).unwrap_or_default()
    }
}
