//! Server names (appendices, "Server name").

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Longest server name taken, in bytes (appendices: "SHOULD NOT be longer than 230").
pub const MAX_SERVER_NAME: usize = 230;

/// A Matrix server name: host and optional port. Compared byte for byte, as the specification has it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Arc<Parts>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    text: String,
    host: Host,
    port: Option<u16>,
}

/// The host of a server name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An address, in brackets where it is IPv6.
    Address(IpAddr),
    /// A DNS name.
    Name(String),
}

/// Text that is no server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a server name")]
pub struct InvalidServerName;

impl ServerName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, InvalidServerName> {
        if text.len() > MAX_SERVER_NAME || !event_graph::ids::is_server_name(text) {
            return Err(InvalidServerName);
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']').ok_or(InvalidServerName)?;
            let address: Ipv6Addr = address.parse().map_err(|_| InvalidServerName)?;
            (Host::Address(address.into()), port.strip_prefix(':'))
        } else {
            let (host, port) = text
                .split_once(':')
                .map_or((text, None), |(host, port)| (host, Some(port)));
            (host_of(host)?, port)
        };
        let port = match port {
            None => None,
            Some(port) => Some(
                port.parse::<u16>()
                    .ok()
                    .filter(|p| *p != 0)
                    .ok_or(InvalidServerName)?,
            ),
        };
        Ok(Self(Arc::new(Parts {
            text: text.to_owned(),
            host,
            port,
        })))
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// The port, where the name has one.
    pub fn port(&self) -> Option<u16> {
        self.0.port
    }
}

/// A DNS name whose labels are not empty, or an IPv4 address. A name of digits and dots that is no address would be
/// read as one by some resolvers, in octal perhaps: refused.
fn host_of(host: &str) -> Result<Host, InvalidServerName> {
    if let Ok(address) = host.parse::<std::net::Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    let labels_fit = host.split('.').all(|label| (1..=63).contains(&label.len()));
    let numeric_end = host
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x"));
    if !labels_fit || numeric_end {
        return Err(InvalidServerName);
    }
    Ok(Host::Name(host.to_owned()))
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerName({})", self.0.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_one_way() {
        for (text, port) in [
            ("a.example", None),
            ("A.Example:8448", Some(8448)),
            ("localhost:18448", Some(18448)),
            ("1.2.3.4", None),
            ("1.2.3.4:80", Some(80)),
            ("[::1]", None),
            ("[2001:db8::1]:8448", Some(8448)),
        ] {
            let name = ServerName::parse(text).unwrap();
            assert_eq!((name.as_str(), name.port()), (text, port));
        }
        for text in [
            "",
            "a.example.",
            "a..b",
            ":80",
            "a:0",
            "a:65536",
            "a:",
            "a b",
            "é.example",
            "xn--e9.example/..",
            "1.2.3",
            "0x7f000001",
            "0177.0.0.1",
            "2130706433",
            "127.1",
            "[::1",
            "[::ffff]x",
            "a@b",
            "a\n",
        ] {
            assert!(ServerName::parse(text).is_err(), "{text:?}");
        }
        assert!(ServerName::parse(&"a".repeat(231)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}", like in "[a-z0-9.:\\[\\]-]{0,30}") {
            for text in [text, like] {
                if let Ok(name) = ServerName::parse(&text) {
                    // What is read is written the same, and is one part of a URL only.
                    prop_assert_eq!(name.as_str(), text.as_str());
                    let url = url::Url::parse(&format!("https://{text}/x")).unwrap();
                    prop_assert_eq!(url.path(), "/x");
                }
            }
        }
    }
}
