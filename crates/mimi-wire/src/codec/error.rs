//! Why octets were refused.

/// Octets that are no encoding of the value asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at octet {offset}, in {field}")]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Where, counted from the start of the outermost input.
    pub offset: usize,
    /// The innermost struct field that was being read, as `Struct.field`; empty outside any.
    pub field: &'static str,
}

/// What is wrong with refused octets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The input, or the vector being read, ends too early.
    #[error("{missing} octets are missing")]
    Truncated {
        /// How many more octets are needed at least.
        missing: usize,
    },
    /// The value ends before the input does.
    #[error("{extra} octets are left over")]
    Trailing {
        /// How many octets follow the value.
        extra: usize,
    },
    /// A vector header with the reserved prefix `11`.
    #[error("reserved vector length prefix")]
    ReservedLength,
    /// A vector header longer than its length needs.
    #[error("vector length is not encoded in the fewest octets")]
    NonMinimalLength,
    /// A number that names no known case of an enumeration, so that what follows can't be read.
    #[error("unknown {what} {value}")]
    Unknown {
        /// The enumeration.
        what: &'static str,
        /// The number found.
        value: u64,
    },
    /// A `Protocol` other than `mls10`.
    #[error("unsupported protocol {0}")]
    UnsupportedProtocol(u8),
    /// A text that is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// Octets that are no identifier URI.
    #[error("not a mimi URI: {0}")]
    Uri(crate::uri::UriError),
    /// A list with more elements than this crate reads.
    #[error("more than {limit} elements")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Well-formed octets that break a rule of the specification.
    #[error("{0}")]
    Invalid(&'static str),
}
