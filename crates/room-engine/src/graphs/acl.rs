//! Server ACLs (`m.room.server_acl`).

use event_graph::Pdu;

/// Most entries of each list that count. A larger list is a mistake or an attack.
const MOST_ENTRIES: usize = 5_000;

/// Which servers may take part in a room. Read once per event, matched without backtracking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    allow_ip_literals: bool,
    allow: Vec<String>,
    deny: Vec<String>,
}

impl Acl {
    /// Reads the event's content; what has the wrong type is taken as absent, as the specification wants.
    pub fn read(event: &Pdu) -> Self {
        let content = event.content_value();
        let list = |name: &str| {
            let entries = content.get(name).and_then(serde_json::Value::as_array);
            entries
                .into_iter()
                .flatten()
                .filter_map(serde_json::Value::as_str)
                .take(MOST_ENTRIES)
                .map(str::to_ascii_lowercase)
                .collect()
        };
        Self {
            allow_ip_literals: content
                .get("allow_ip_literals")
                .and_then(serde_json::Value::as_bool)
                .unwrap_or(true),
            allow: list("allow"),
            deny: list("deny"),
        }
    }

    /// Whether the server may take part. Ports don't count, nor does case.
    pub fn allows(&self, server: &str) -> bool {
        let name = host(server).to_ascii_lowercase();
        if !self.allow_ip_literals && is_address(&name) {
            return false;
        }
        !self.deny.iter().any(|glob| matches(glob, &name))
            && self.allow.iter().any(|glob| matches(glob, &name))
    }
}

fn host(server: &str) -> &str {
    match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, _)) => server.get(..inner.len() + 2).unwrap_or(server),
        None => server.split_once(':').map_or(server, |(host, _)| host),
    }
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

/// `*` stands for any characters, `?` for one. The last star alone is ever gone back to, so that the time is at most
/// the product of both lengths.
fn matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(b'?') => (g, t) = (g + 1, t + 1),
            Some(c) if Some(c) == text.get(t) => (g, t) = (g + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (g, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    glob.get(g..).unwrap_or_default().iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(allow: &[&str], deny: &[&str], allow_ip_literals: bool) -> Acl {
        let list = |l: &[&str]| l.iter().map(|s| s.to_ascii_lowercase()).collect();
        Acl {
            allow_ip_literals,
            allow: list(allow),
            deny: list(deny),
        }
    }

    /// ATK-50: case and port make no difference.
    #[test]
    fn names_match_without_case_and_port() {
        let acl = acl(&["*"], &["*.Evil.example", "evil.example"], false);
        assert!(acl.allows("good.example:8448"));
        for name in [
            "evil.example",
            "EVIL.example",
            "evil.example:1",
            "a.b.eviL.example:99",
            "1.2.3.4",
            "[::1]:80",
        ] {
            assert!(!acl.allows(name), "{name}");
        }
        assert!(
            !super::Acl { allow: vec![], ..acl }.allows("good.example"),
            "nobody is allowed by an empty list"
        );
    }

    /// ATK-19, ATK-31: patterns made to be slow are not.
    #[test]
    fn hostile_patterns_cost_little() {
        let glob = format!("{}b", "*a".repeat(20_000));
        let text = "a".repeat(230);
        assert!(!matches(&glob, &text));
        assert!(matches("a*c?e", "abbcde") && !matches("a*c?e", "abbcd"));
    }
}
