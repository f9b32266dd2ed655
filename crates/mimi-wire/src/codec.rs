//! TLS presentation language as MLS uses it (RFC 8446 section 3 with the vectors of RFC 9420 section 2.1.2).
//!
//! A variable vector has a header of 1, 2 or 4 octets that counts the octets of its payload; the header must
//! be the shortest possible. Decoding is exact: a value has one encoding, so `encode(decode(x)) == x`.

mod error;
mod macros;
mod primitives;
mod reader;

pub(crate) use macros::{decimal_json, wire_codes, wire_fields};

pub use error::{DecodeError, DecodeErrorKind};
pub use primitives::{Opaque, UnixMillis, serde_base64url};
pub(crate) use primitives::{serde_base64url_32, serialize_decimal};
pub use reader::Reader;

/// The longest payload a variable vector can have: 2^30 - 1 octets.
pub const MAX_VECTOR: usize = (1 << 30) - 1;

/// A value that can be written as octets.
pub trait Encode {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// The encoding as an own vector.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// A value that can be read from octets of unknown origin.
pub trait Decode: Sized {
    /// Reads one value and leaves the reader after it.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads a value that takes up all of `bytes`; anything left over is an error.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let value = Self::decode(&mut r)?;
        r.finish()?;
        Ok(value)
    }
}

/// Appends the shortest vector header for a payload of `len` octets.
///
/// A payload above [`MAX_VECTOR`] has no encoding. No decoder of this crate can produce one; should a program
/// build one all the same, the header written is the reserved prefix `11`, which every decoder refuses.
pub fn encode_length(len: usize, out: &mut Vec<u8>) {
    // The casts cannot lose bits: each range is below the width written.
    #[allow(clippy::cast_possible_truncation)]
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&(len as u16 | 0x4000).to_be_bytes()),
        0x4000..=MAX_VECTOR => out.extend_from_slice(&(len as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.push(0xff),
    }
}

/// Appends `payload` as `opaque<V>`.
pub fn encode_opaque(payload: &[u8], out: &mut Vec<u8>) {
    encode_length(payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a vector whose payload `fill` writes.
pub fn encode_vector(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut payload = Vec::new();
    fill(&mut payload);
    encode_opaque(&payload, out);
}

#[cfg(test)]
mod tests;
