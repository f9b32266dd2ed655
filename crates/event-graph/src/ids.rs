//! Identifiers: event ids as 32 octets, user ids and server names by their grammar.

use std::{cmp::Ordering, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::MAX_ID_BYTES;

/// The id of an event: its reference hash (room versions 4 and later).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId([u8; 32]);

/// Text that is not an event id of room versions 6 to 12: `$` and 43 characters of canonical, URL-safe,
/// unpadded base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event id")]
pub struct InvalidEventId;

impl EventId {
    /// The id whose reference hash is `hash`.
    pub const fn from_hash(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The reference hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The room id of a room version 12 room whose create event has this id.
    pub fn to_room_id(self) -> String {
        format!("!{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    /// The create event that a room id of room version 12 names.
    pub fn from_room_id(room_id: &str) -> Option<Self> {
        decode(room_id.strip_prefix('!')?)
    }

    /// The sextet at position `i` of the base64 form, as the character that stands for it.
    fn character(&self, i: usize) -> u8 {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bit = i * 6;
        let byte = |n: usize| u16::from(self.0.get(n).copied().unwrap_or(0));
        let pair = byte(bit / 8) << 8 | byte(bit / 8 + 1);
        let sextet = pair >> (10 - bit % 8) & 63;
        ALPHABET.get(usize::from(sextet)).copied().unwrap_or(b'A')
    }
}

fn decode(text: &str) -> Option<EventId> {
    let mut hash = [0; 32];
    // 43 characters carry 258 bits; the decoder refuses text whose last two are not zero.
    if text.len() != 43 || URL_SAFE_NO_PAD.decode_slice(text, &mut hash) != Ok(32) {
        return None;
    }
    Some(EventId(hash))
}

impl Ord for EventId {
    /// Orders as the ids' text, which is not the order of the octets: the base64 alphabet isn't sorted.
    fn cmp(&self, other: &Self) -> Ordering {
        let Some(i) = self.0.iter().zip(&other.0).position(|(a, b)| a != b) else {
            return Ordering::Equal;
        };
        let first = i * 8 / 6;
        (first..first + 2)
            .map(|c| self.character(c).cmp(&other.character(c)))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for EventId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(s: &str) -> Result<Self, InvalidEventId> {
        s.strip_prefix('$').and_then(decode).ok_or(InvalidEventId)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The server name of a user id, or nothing where the text is no user id.
///
/// Localparts are judged as the specification demands for "historical" user ids: any characters but `:` and
/// NUL, even none.
pub fn server_of_user(user_id: &str) -> Option<&str> {
    if user_id.len() > MAX_ID_BYTES {
        return None;
    }
    let (localpart, server) = user_id.strip_prefix('@')?.split_once(':')?;
    (!localpart.contains('\0') && is_server_name(server)).then_some(server)
}

/// True for a user id as rule "valid user id" wants it.
pub fn is_user_id(text: &str) -> bool {
    server_of_user(text).is_some()
}

/// True for a server name: a host name, an IPv4 address or an IPv6 address in brackets, with or without port.
pub fn is_server_name(text: &str) -> bool {
    let (host_ok, rest) = if let Some(inner) = text.strip_prefix('[') {
        let Some((address, rest)) = inner.split_once(']') else {
            return false;
        };
        let ok = (2..=45).contains(&address.len())
            && address
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
        (ok, rest)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, rest) = text.split_at(end);
        let ok = !host.is_empty()
            && host.len() <= 255
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        (ok, rest)
    };
    let port_ok = match rest.strip_prefix(':') {
        Some(port) => (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()),
        None => rest.is_empty(),
    };
    host_ok && port_ok
}

/// The server name of a room id before room version 12.
pub fn server_of_room(room_id: &str) -> Option<&str> {
    let (_, server) = room_id.strip_prefix('!')?.split_once(':')?;
    is_server_name(server).then_some(server)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn event_ids_are_canonical_base64() {
        let id: EventId = "$fuQD_iLzXRaLXvMOx2KgCrGuCW7zLble-Zve155B6Fs".parse().unwrap();
        assert_eq!(id.to_string(), "$fuQD_iLzXRaLXvMOx2KgCrGuCW7zLble-Zve155B6Fs");
        // Same octets, other text: the two last bits of the last character are set.
        assert!(
            "$fuQD_iLzXRaLXvMOx2KgCrGuCW7zLble-Zve155B6Ft"
                .parse::<EventId>()
                .is_err()
        );
        assert!(
            "$fuQD/iLzXRaLXvMOx2KgCrGuCW7zLble+Zve155B6Fs"
                .parse::<EventId>()
                .is_err()
        );
        assert!(
            "$fuQD_iLzXRaLXvMOx2KgCrGuCW7zLble-Zve155B6Fs="
                .parse::<EventId>()
                .is_err()
        );
        assert!("$short".parse::<EventId>().is_err());
    }

    #[test]
    fn edge_07_user_ids_and_server_names() {
        for good in [
            "@a:b",
            "@:b",
            "@A b/é:example.org:8448",
            "@a:[::1]:80",
            "@a:1.2.3.4",
        ] {
            assert!(is_user_id(good), "{good}");
        }
        for bad in [
            "a:b",
            "@a",
            "@a:",
            "@a:b c",
            "@a:b:",
            "@a:b:123456",
            "@a\0:b",
            "@a:[::1",
            "@a:é",
        ] {
            assert!(!is_user_id(bad), "{bad}");
        }
        assert!(is_user_id(&format!("@{}:b", "a".repeat(252))));
        assert!(!is_user_id(&format!("@{}:b", "a".repeat(253))));
        assert!(
            !is_user_id(&format!("@{}:b", "é".repeat(127))),
            "bytes count, not characters"
        );
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_text(a: [u8; 32], mut b: [u8; 32], same in 0usize..32) {
            b[..same].copy_from_slice(&a[..same]);
            let (a, b) = (EventId(a), EventId(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(a.to_string().parse::<EventId>().unwrap(), a);
        }
    }
}
