//! The lines of an export.

use std::collections::BTreeMap;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize};

/// Standard base64, written without padding, read either way.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// The first line, read leniently enough to tell a newer format from rubbish.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Header {
    pub(super) causeway_export: u32,
    pub(super) store_format: u32,
    /// Number of the last batch, in decimal: it may be above 2^53.
    pub(super) commit: String,
    /// Size of each space, by name.
    pub(super) spaces: BTreeMap<String, Size>,
    pub(super) records: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Size {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// A line behind the header.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Line {
    Record {
        space: String,
        key: String,
        value: String,
    },
    Blob {
        blob: String,
        data: String,
    },
    End {
        end: End,
    },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub(super) records: u64,
    pub(super) blobs: u64,
    pub(super) sha256: String,
}
