//! Why octets are no MIMI content.

/// Why octets are no MIMI content, or a message can't be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Not CBOR: truncated, malformed or with octets left over.
    #[error("CBOR at octet {offset}: {problem}")]
    Cbor {
        /// Where.
        offset: usize,
        /// What.
        problem: &'static str,
    },
    /// CBOR of another form than the field has.
    #[error("{field}: expected {expected}")]
    Shape {
        /// The field.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// A topic identifier above [`super::MAX_TOPIC_ID`].
    #[error("the topic identifier is too long")]
    TopicTooLong,
    /// Parts or extensions nest too deeply.
    #[error("{0} nest too deeply")]
    TooDeep(&'static str),
    /// More parts than [`super::MAX_PARTS`].
    #[error("too many parts")]
    TooManyParts,
    /// Unknown part semantics.
    #[error("unknown part semantics {0}")]
    Semantics(u64),
    /// Unknown cardinality.
    #[error("unknown cardinality {0}")]
    Cardinality(u64),
    /// An extension whose key is no integer or text of fitting size, or a map key within of another kind.
    #[error("an extension key of a kind or size that is not allowed")]
    Key,
    /// A key twice in one map.
    #[error("a key occurs twice")]
    DuplicateKey,
    /// A NaN other than the quiet one.
    #[error("a NaN that is not allowed")]
    NotANumber,
    /// A message identifier of an unknown hash.
    #[error("a message identifier of unknown hash {0}")]
    MessageIdHash(u8),
    /// JSON that describes no message.
    #[error("JSON: {0}")]
    Json(String),
}
