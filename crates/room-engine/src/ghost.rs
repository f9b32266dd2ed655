//! Ghosts: how a foreign MIMI user is named on the homeserver.
//!
//! `mimi://b.example/u/bob` becomes `@_mimi_bob=40b.example:a.example`: octets outside `[a-z0-9.-]` turn into
//! `=hh`, and the provider follows `=40`. Every other URI, and one whose user id would exceed 255 octets, becomes
//! `_mimi_h_` with the base32 of its SHA-256. An authority can't hold `@` and an encoded octet can't be `_`, so the
//! last `=40` and the prefix `h_` are unambiguous: two URIs never share a ghost.

use mimi_wire::uri::MimiUri;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// What the local part of every ghost and portal alias starts with.
pub const NAMESPACE: &str = "_mimi_";

/// Longest Matrix user id, in octets.
const MAX_MXID: usize = 255;

/// What hashed local parts start with, after the namespace. `_` never comes out of the encoding.
const HASHED: &str = "h_";

/// What a local part in our namespace stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ghost {
    /// This user.
    User(MimiUri),
    /// A URI that only our records know; the base32 of its SHA-256.
    Hashed(String),
}

/// The ghost's local part for a URI, on a homeserver of this name.
pub fn localpart(uri: &MimiUri, server_name: &str) -> String {
    readable(uri, server_name).unwrap_or_else(|| format!("{NAMESPACE}{HASHED}{}", hashed(uri.as_bytes())))
}

/// The ghost's Matrix user id for a URI.
pub fn user_id(uri: &MimiUri, server_name: &str) -> String {
    format!("@{}:{server_name}", localpart(uri, server_name))
}

/// Reads a local part back; `None` if no URI leads to it.
pub fn parse(localpart: &str, server_name: &str) -> Option<Ghost> {
    let encoded = localpart.strip_prefix(NAMESPACE)?;
    if let Some(hash) = encoded.strip_prefix(HASHED) {
        let fits = hash.len() == 52 && hash.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
        // 52 digits hold 260 bits: the last four are zero.
        return (fits && hash.ends_with(['a', 'q'])).then(|| Ghost::Hashed(hash.to_owned()));
    }
    let (user, authority) = encoded.rsplit_once("=40")?;
    let uri = format!("mimi://{}/u/{}", decode(authority)?, decode(user)?);
    let uri = MimiUri::parse(&uri).ok()?;
    // One spelling only: what we would not write we don't read.
    (readable(&uri, server_name).as_deref() == Some(localpart)).then_some(Ghost::User(uri))
}

fn readable(uri: &MimiUri, server_name: &str) -> Option<String> {
    let mut segments = uri.path().strip_prefix("/u/")?.split('/');
    let user = segments.next().filter(|s| !s.is_empty())?;
    if segments.next().is_some() {
        return None;
    }
    let mut out = String::from(NAMESPACE);
    encode(user, &mut out);
    out.push_str("=40");
    encode(uri.authority(), &mut out);
    // '@', ':' and the server name.
    (out.len() + server_name.len() + 2 <= MAX_MXID).then_some(out)
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "={byte:02x}");
            }
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'=' {
            let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
            (high << 4) | low
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// base32 (RFC 4648, lower case, no padding) of the SHA-256: 52 characters.
pub fn hashed(octets: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut out, mut buffer, mut bits) = (String::with_capacity(52), 0_u32, 0_u32);
    let mut push = |five: u32| {
        if let Some(digit) = DIGITS.get((five & 31) as usize) {
            out.push(char::from(*digit));
        }
    };
    for byte in Sha256::digest(octets) {
        buffer = (buffer << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(buffer >> bits);
        }
        buffer &= (1 << bits) - 1;
    }
    push(buffer << (5 - bits));
    out
}

#[cfg(test)]
mod tests;
