//! What a type can't say: values that contradict each other or can't work.

use super::Config;
use mimi_wire::Domain;

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key it is about.
    pub key: &'static str,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

fn problem(key: &'static str, cause: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem {
        key,
        cause: cause.into(),
        remedy: remedy.into(),
    }
}

impl Config {
    /// Everything that is wrong, in the order of the file.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        if !is_server_name(&self.provider.node_name) {
            found.push(problem(
                "provider.node_name",
                format!("`{}` is not a Matrix server name", self.provider.node_name),
                "write a DNS name in lower case, with a port if need be, for example cw1.a.example",
            ));
        }
        if self.store.cache_mib == 0 {
            found.push(problem(
                "store.cache_mib",
                "the cache can't be empty",
                "write at least 1",
            ));
        }
        if self
            .mimi
            .host
            .as_deref()
            .is_some_and(|host| host_name(host).is_none())
        {
            found.push(problem(
                "mimi.host",
                "not a host name with an optional port",
                "write for example mimi.a.example or mimi.a.example:8443, without https://",
            ));
        }
        if self.mimi.trusted_ca.is_empty() {
            found.push(problem(
                "mimi.trusted_ca",
                "no authority is trusted, so no peer could connect",
                "name the PEM file of the authority that signs your peers' certificates",
            ));
        }
        self.trust_problems(&mut found);
        if self.peers.keys().any(|peer| **peer == *self.provider.domain) {
            found.push(problem(
                "peers",
                format!("{} is this provider itself", self.provider.domain),
                "remove the section",
            ));
        }
        if self.client_api.certificate.is_some() != self.client_api.key.is_some() {
            found.push(problem(
                "client_api.certificate",
                "certificate and key go together",
                "give both, or neither for plain HTTP behind a reverse proxy",
            ));
        }
        if self
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.name.is_empty() || cluster.name.contains(char::is_whitespace))
        {
            found.push(problem(
                "cluster.name",
                "a node needs a name without spaces",
                "write for example cw1",
            ));
        }
        if self.federation.as_ref().is_some_and(|f| f.trusted_ca.is_empty()) {
            found.push(problem(
                "federation.trusted_ca",
                "no authority is trusted, so no server could be reached",
                "name the PEM file of the authorities that sign other servers' certificates",
            ));
        }
        self.homeserver_problems(&mut found);
        self.limit_problems(&mut found);
        found
    }

    fn trust_problems(&self, found: &mut Vec<Problem>) {
        if let Some(bad) = self
            .mimi
            .private_networks
            .iter()
            .find(|n| n.parse::<ipnet::IpNet>().is_err())
        {
            found.push(problem(
                "mimi.private_networks",
                format!("`{bad}` is not a network"),
                "write for example 10.0.0.0/8 or fd00::/8",
            ));
        }
        if self.mimi.asset_url.as_deref().is_some_and(|url| {
            !url.parse::<http::Uri>()
                .is_ok_and(|u| u.scheme_str() == Some("https") && u.host().is_some() && u.query().is_none())
        }) {
            found.push(problem(
                "mimi.asset_url",
                "not an https URL",
                "write for example https://assets.a.example",
            ));
        }
        for (domain, peer) in &self.peers {
            let ways = [peer.ca.is_some(), !peer.key_sha256.is_empty(), peer.web_pki];
            if ways.iter().filter(|way| **way).count() > 1 {
                found.push(problem(
                    "peers",
                    format!("{domain} has more than one of ca, key_sha256 and web_pki"),
                    "keep one: each says alone whom to take for the peer",
                ));
            }
            if peer
                .key_sha256
                .iter()
                .any(|pin| !hex::decode(pin).is_ok_and(|octets| octets.len() == 32))
            {
                found.push(problem(
                    "peers",
                    format!("{domain}: a key_sha256 is not 64 hexadecimal digits"),
                    "copy it from `causeway peers pin CERTIFICATE.pem`",
                ));
            }
            if peer.web_pki && self.mimi.web_pki_roots.is_none() {
                found.push(problem(
                    "mimi.web_pki_roots",
                    format!("{domain} has web_pki = true, but no public authorities are named"),
                    "name the PEM file of public authorities, for example /etc/ssl/certs/ca-certificates.crt",
                ));
            }
        }
    }

    fn homeserver_problems(&self, found: &mut Vec<Problem>) {
        if self.homeserver.is_some() != self.appservice.is_some() {
            found.push(problem(
                if self.homeserver.is_some() {
                    "appservice"
                } else {
                    "homeserver"
                },
                "the sections homeserver and appservice go together",
                "give both, or neither for a provider with local accounts only",
            ));
        }
        let Some(homeserver) = &self.homeserver else {
            return;
        };
        if !is_server_name(&homeserver.server_name) {
            found.push(problem(
                "homeserver.server_name",
                format!("`{}` is not a Matrix server name", homeserver.server_name),
                "copy server_name from the homeserver's configuration",
            ));
        }
        if homeserver.server_name != self.provider.domain.as_str() {
            found.push(problem(
                "homeserver.server_name",
                format!("is not the provider's domain {}", self.provider.domain),
                "give both the same name: @alice:a.example is mimi://a.example/u/alice",
            ));
        }
        if homeserver.server_name == self.provider.node_name {
            found.push(problem(
                "provider.node_name",
                "is the homeserver's name",
                "choose another: this process signs events as a Matrix server of its own",
            ));
        }
        for (key, url) in [
            ("homeserver.url", homeserver.url.as_str()),
            ("homeserver.openid_url", homeserver.openid_url()),
        ] {
            let usable = url.parse::<http::Uri>().is_ok_and(|u| {
                matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some() && u.query().is_none()
            });
            if !usable {
                found.push(problem(
                    key,
                    format!("`{url}` is not an http or https URL"),
                    "write for example http://127.0.0.1:8008",
                ));
            }
        }
    }

    fn limit_problems(&self, found: &mut Vec<Problem>) {
        let limits = &self.limits;
        for (key, value) in [
            ("limits.mimi_body_kib", limits.mimi_body_kib),
            ("limits.client_body_kib", limits.client_body_kib),
            ("limits.transaction_kib", limits.transaction_kib),
            ("limits.connections", limits.connections),
            ("limits.connections_per_address", limits.connections_per_address),
            ("limits.peer_requests_per_second", limits.peer_requests_per_second),
            ("limits.peer_burst", limits.peer_burst),
            ("limits.peer_concurrent", limits.peer_concurrent),
            ("limits.asset_mib", limits.asset_mib),
            ("limits.asset_seconds", limits.asset_seconds),
            ("limits.head_seconds", limits.head_seconds),
            ("limits.body_seconds", limits.body_seconds),
            ("limits.outgoing_seconds", limits.outgoing_seconds),
        ]
        .into_iter()
        .chain(self.federation.iter().flat_map(|federation| {
            [
                ("federation.gap_events", federation.gap_events),
                ("federation.history_events", federation.history_events),
                ("federation.state_mib", federation.state_mib),
            ]
        })) {
            if value == 0 {
                found.push(problem(
                    key,
                    "0 would refuse everything",
                    "remove the line to get the default",
                ));
            }
        }
    }

    /// The host that this provider's directory names, with port where it isn't 443.
    pub fn advertised(&self) -> &str {
        self.mimi
            .host
            .as_deref()
            .unwrap_or_else(|| self.provider.domain.as_str())
    }

    /// [`Self::advertised`] without the port.
    pub fn advertised_name(&self) -> &str {
        host_name(self.advertised()).unwrap_or_else(|| self.provider.domain.as_str())
    }
}

/// The name in `name[:port]`.
fn host_name(host: &str) -> Option<&str> {
    let (name, port) = host.split_once(':').map_or((host, None), |(n, p)| (n, Some(p)));
    let port_fits = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p != 0));
    (port_fits && Domain::parse(name).is_ok()).then_some(name)
}

/// Matrix server names: DNS name or address, optional port.
fn is_server_name(name: &str) -> bool {
    name.len() <= 230
        && !name.bytes().any(|b| b.is_ascii_uppercase())
        && (host_name(name).is_some()
            || name.parse::<std::net::SocketAddrV4>().is_ok()
            || name.parse::<std::net::Ipv4Addr>().is_ok())
}
