//! Finding a server (server-server API, "Resolving server names").
//!
//! Address with or without port, name with port, well-known delegation, SRV, port 8448, in this order. The host that
//! TLS and the `Host` header name is the delegated one when well-known was used, the original one when SRV was.

use bytes::BytesMut;
use http::header::{CACHE_CONTROL, EXPIRES, LOCATION};
use matrix_wire::discovery::delegated;
use matrix_wire::server_name::{Host, ServerName};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::guard::AddressPolicy;

/// Port of well-known documents.
pub const HTTPS: u16 = 443;
/// Port of servers that say nothing else.
const DEFAULT_PORT: u16 = 8448;
/// Largest well-known document, in bytes.
const WELL_KNOWN_SIZE: usize = 50 * 1024;
/// How long a well-known is kept where it doesn't say.
const WELL_KNOWN_AGE: Duration = Duration::from_hours(24);
/// The longest it is kept, whatever it says.
const WELL_KNOWN_LONGEST: Duration = Duration::from_hours(48);
/// How long its absence is kept.
const WELL_KNOWN_FAILED: Duration = Duration::from_hours(1);
/// Redirects followed.
const REDIRECTS: usize = 5;
/// Time for the whole look-up of a well-known.
const WELL_KNOWN_TIME: Duration = Duration::from_secs(10);
/// How long SRV records and their absence are kept.
const SRV_AGE: Duration = Duration::from_mins(5);
/// Servers remembered at a time.
const MOST_KEPT: usize = 10_000;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host of the URL: what the certificate has to name.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Value of the `Host` header.
    pub host_header: String,
    /// The name to look addresses up for, where SRV names another one.
    pub connect: Option<String>,
}

impl Target {
    fn direct(host: &Host, port: u16, host_header: &str) -> Self {
        let host = match host {
            Host::Address(IpAddr::V6(v6)) => format!("[{v6}]"),
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        };
        Self {
            host,
            port,
            host_header: host_header.to_owned(),
            connect: None,
        }
    }
}

/// Why a server is not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// An address that requests must not go to.
    #[error("{0} is not a public address")]
    Forbidden(IpAddr),
}

/// What an SRV record names.
type HostAndPort = (String, u16);

struct Kept<T> {
    value: T,
    until: Instant,
}

/// Finds servers and remembers where they were.
pub struct Discovery {
    policy: AddressPolicy,
    well_known_port: u16,
    http: reqwest::Client,
    well_known: Mutex<HashMap<String, Kept<Option<ServerName>>>>,
    srv: Mutex<HashMap<String, Kept<Option<HostAndPort>>>>,
}

impl Discovery {
    /// With the client's TLS settings: a well-known is fetched over verified HTTPS like everything else, at port
    /// [`HTTPS`] but in tests.
    pub fn new(
        policy: AddressPolicy,
        tls: rustls::ClientConfig,
        well_known_port: u16,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(WELL_KNOWN_TIME)
            .timeout(WELL_KNOWN_TIME)
            .dns_resolver(Arc::new(GuardedDns::new(policy, None)))
            .user_agent(crate::client::USER_AGENT)
            .build()?;
        Ok(Self {
            policy,
            well_known_port,
            http,
            well_known: Mutex::default(),
            srv: Mutex::default(),
        })
    }

    /// Where `server` is.
    pub async fn find(&self, server: &ServerName) -> Result<Target, DiscoveryError> {
        if let Some(target) = self.fixed(server)? {
            return Ok(target);
        }
        let Host::Name(name) = server.host() else {
            return Ok(Target::direct(server.host(), DEFAULT_PORT, server.as_str()));
        };
        match self.well_known(name).await {
            Some(delegated) => {
                if let Some(target) = self.fixed(&delegated)? {
                    return Ok(target);
                }
                self.by_srv(&delegated).await
            }
            None => self.by_srv(server).await,
        }
    }

    /// Steps 1 and 2: nothing to ask for an address, or for a name with a port.
    fn fixed(&self, server: &ServerName) -> Result<Option<Target>, DiscoveryError> {
        if let Host::Address(address) = server.host()
            && !self.policy.allows(*address)
        {
            return Err(DiscoveryError::Forbidden(*address));
        }
        let port = match (server.host(), server.port()) {
            (_, Some(port)) => port,
            (Host::Address(_), None) => DEFAULT_PORT,
            (Host::Name(_), None) => return Ok(None),
        };
        Ok(Some(Target::direct(server.host(), port, server.as_str())))
    }

    /// Steps 4 to 6, and those of a delegated name without port.
    async fn by_srv(&self, server: &ServerName) -> Result<Target, DiscoveryError> {
        let Host::Name(name) = server.host() else {
            return Ok(Target::direct(server.host(), DEFAULT_PORT, server.as_str()));
        };
        let mut target = Target::direct(server.host(), DEFAULT_PORT, server.as_str());
        if let Some((host, port)) = self.srv(name).await {
            target.port = port;
            target.connect = Some(host);
        }
        Ok(target)
    }

    async fn srv(&self, name: &str) -> Option<(String, u16)> {
        if let Some(known) = recall(&self.srv, name) {
            return known;
        }
        // The second is deprecated, and asked all the same.
        let mut found = crate::srv::look_up(&format!("_matrix-fed._tcp.{name}")).await;
        if found.is_none() {
            found = crate::srv::look_up(&format!("_matrix._tcp.{name}")).await;
        }
        keep(&self.srv, name, found.clone(), SRV_AGE);
        found
    }

    async fn well_known(&self, name: &str) -> Option<ServerName> {
        if let Some(known) = recall(&self.well_known, name) {
            return known;
        }
        let asked = tokio::time::timeout(WELL_KNOWN_TIME, self.fetch_well_known(name)).await;
        let (value, age) = match asked {
            Ok(Some((server, age))) => (Some(server), age),
            _ => (None, WELL_KNOWN_FAILED),
        };
        keep(&self.well_known, name, value.clone(), age);
        value
    }

    async fn fetch_well_known(&self, name: &str) -> Option<(ServerName, Duration)> {
        let mut url = reqwest::Url::parse(&format!(
            "https://{name}:{}/.well-known/matrix/server",
            self.well_known_port
        ))
        .ok()?;
        for _ in 0..=REDIRECTS {
            // The resolver sees names only; an address in a URL is looked at here.
            if !self.may_visit(&url) {
                return None;
            }
            let mut response = self.http.get(url.clone()).send().await.ok()?;
            if response.status().is_redirection() {
                let location = response.headers().get(LOCATION)?.to_str().ok()?;
                url = url.join(location).ok()?;
                continue;
            }
            if response.status() != http::StatusCode::OK {
                return None;
            }
            let age = lifetime(response.headers());
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.ok()? {
                if body.len() + chunk.len() > WELL_KNOWN_SIZE {
                    return None;
                }
                body.extend_from_slice(&chunk);
            }
            return Some((delegated(&body)?, age));
        }
        None
    }

    fn may_visit(&self, url: &reqwest::Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        url.scheme() == "https" && address.map_or(true, |address| self.policy.allows(address))
    }
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

fn recall<T: Clone>(kept: &Mutex<HashMap<String, Kept<T>>>, name: &str) -> Option<T> {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = kept.get(name).filter(|entry| entry.until > Instant::now())?;
    Some(entry.value.clone())
}

fn keep<T>(kept: &Mutex<HashMap<String, Kept<T>>>, name: &str, value: T, age: Duration) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    if kept.len() >= MOST_KEPT {
        kept.retain(|_, entry| entry.until > now);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
    }
    kept.insert(
        name.to_owned(),
        Kept {
            value,
            until: now + age,
        },
    );
}

/// How long an answer may be kept.
fn lifetime(headers: &http::HeaderMap) -> Duration {
    let text = |name| {
        headers
            .get(name)
            .and_then(|v: &http::HeaderValue| v.to_str().ok())
    };
    let age = match text(CACHE_CONTROL) {
        Some(control) => {
            let mut parts = control.split(',').map(str::trim);
            if parts
                .clone()
                .any(|p| p.eq_ignore_ascii_case("no-store") || p.eq_ignore_ascii_case("no-cache"))
            {
                Some(Duration::ZERO)
            } else {
                parts
                    .find_map(|p| p.strip_prefix("max-age="))
                    .and_then(|s| s.parse().ok())
                    .map(Duration::from_secs)
            }
        }
        None => None,
    };
    // A date is not read, but one that is there says that the default is not meant.
    let default = if text(EXPIRES).is_some() {
        WELL_KNOWN_FAILED
    } else {
        WELL_KNOWN_AGE
    };
    age.unwrap_or(default).min(WELL_KNOWN_LONGEST)
}

/// Name resolution that gives allowed addresses only, for one name another's if SRV says so.
pub(crate) struct GuardedDns {
    policy: AddressPolicy,
    connect: Option<String>,
}

impl GuardedDns {
    pub(crate) fn new(policy: AddressPolicy, connect: Option<String>) -> Self {
        Self { policy, connect }
    }
}

impl Resolve for GuardedDns {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy;
        let name = self.connect.clone().unwrap_or_else(|| name.as_str().to_owned());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|a| policy.allows(a.ip())).collect();
            if allowed.is_empty() {
                return Err(format!("{name} has no public address").into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(policy: AddressPolicy) -> Discovery {
        Discovery::new(
            policy,
            crate::client::tls_config(rustls::RootCertStore::empty()).unwrap(),
            HTTPS,
        )
        .unwrap()
    }

    #[tokio::test]
    async fn addresses_and_ports_need_no_question() {
        let any = discovery(AddressPolicy::Any);
        for (name, host, port) in [
            ("127.0.0.1", "127.0.0.1", 8448),
            ("127.0.0.1:99", "127.0.0.1", 99),
            ("[::1]:99", "[::1]", 99),
            ("localhost:18448", "localhost", 18448),
        ] {
            let target = any.find(&ServerName::parse(name).unwrap()).await.unwrap();
            assert_eq!(
                (target.host.as_str(), target.port, target.connect),
                (host, port, None)
            );
            assert_eq!(target.host_header, name);
        }
        let public = discovery(AddressPolicy::Public);
        for name in ["127.0.0.1", "10.0.0.1:80", "[::ffff:127.0.0.1]", "[fe80::1]:8448"] {
            let found = public.find(&ServerName::parse(name).unwrap()).await;
            assert!(matches!(found, Err(DiscoveryError::Forbidden(_))), "{name}");
        }
    }

    #[tokio::test]
    async fn names_that_lead_home_are_not_resolved() {
        let guarded = GuardedDns::new(AddressPolicy::Public, Some("localhost".to_owned()));
        let found = guarded.resolve("public.example".parse().unwrap()).await;
        assert!(found.is_err());
    }

    /// ATK-16, ATK-18: addresses in the location of a redirect, in every spelling that a URL allows.
    #[tokio::test]
    async fn redirects_that_lead_home_are_not_followed() {
        let public = discovery(AddressPolicy::Public);
        for url in [
            "https://127.0.0.1/x",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]:8448/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
            "http://a.example/",
            "ftp://a.example/",
        ] {
            assert!(!public.may_visit(&url.parse().unwrap()), "{url}");
        }
        assert!(public.may_visit(&"https://a.example/x".parse().unwrap()));
        assert!(public.may_visit(&"https://8.8.8.8/".parse().unwrap()));
    }

    #[test]
    fn lifetimes_are_bounded() {
        let of = |value: &'static str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(CACHE_CONTROL, http::HeaderValue::from_static(value));
            lifetime(&headers)
        };
        assert_eq!(of("max-age=61"), Duration::from_secs(61));
        assert_eq!(of("public, max-age=99999999"), WELL_KNOWN_LONGEST);
        assert_eq!(of("no-store"), Duration::ZERO);
        assert_eq!(of("private"), WELL_KNOWN_AGE);
    }
}
