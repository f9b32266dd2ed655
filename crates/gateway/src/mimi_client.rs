//! Requests to other providers: their directory, then their endpoints, over mutual TLS.

use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::tls::{self, OwnCertificate, PeerTrust};
use crate::web::REQUEST_ID;
use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, FROM, HOST, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use mimi_wire::Domain;
use mimi_wire::directory::{Directory, Endpoint, WELL_KNOWN_PATH};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a directory is kept where the peer doesn't say.
const DIRECTORY_AGE: Duration = Duration::from_mins(10);
/// The longest a directory is kept, whatever the peer says.
const LONGEST_AGE: Duration = Duration::from_hours(24);
/// Largest directory taken.
const DIRECTORY_SIZE: usize = 64 * 1024;

/// What a peer answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The peer's wish in `Retry-After` (seconds).
    pub retry_after: Option<Duration>,
    /// The peer's clock (`Date`).
    pub date: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Not configured as a peer.
    #[error("{0} is no peer of this provider")]
    NotAPeer(Domain),
    /// The own certificate can't be used.
    #[error("{0}")]
    Setup(String),
    /// No connection, wrong certificate, time-out.
    #[error("{peer} can't be reached: {reason}")]
    Unreachable {
        /// Whom.
        peer: Domain,
        /// The chain of causes.
        reason: String,
    },
    /// No directory at the well-known place.
    #[error("{peer} has no usable directory: {reason}")]
    Directory {
        /// Whose.
        peer: Domain,
        /// Why.
        reason: String,
    },
    /// The peer doesn't offer the endpoint.
    #[error("{peer} has no endpoint {}", endpoint.name())]
    NoEndpoint {
        /// Whose.
        peer: Domain,
        /// Which.
        endpoint: Endpoint,
    },
    /// The answer is larger than what is taken.
    #[error("the answer of {0} is too large")]
    TooLarge(Domain),
}

impl LinkError {
    /// A stable name for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAPeer(_) => "not_a_peer",
            Self::Setup(_) => "setup",
            Self::Unreachable { .. } => "unreachable",
            Self::Directory { .. } => "directory",
            Self::NoEndpoint { .. } => "no_endpoint",
            Self::TooLarge(_) => "too_large",
        }
    }
}

/// The client side of the provider protocol. Cheap to clone.
#[derive(Clone)]
pub struct MimiClient(Arc<Inner>);

struct Inner {
    own: OwnCertificate,
    from: HeaderValue,
    trust: Arc<PeerTrust>,
    addresses: HashMap<Domain, SocketAddr>,
    timeout: Duration,
    body: usize,
    links: Mutex<HashMap<Domain, Arc<Link>>>,
}

/// What is kept of a peer.
struct Link {
    peer: Domain,
    http: reqwest::Client,
    pinned: bool,
    directory: tokio::sync::Mutex<Option<(Arc<Directory>, Instant)>>,
}

/// A directory just asked for.
struct AskedDirectory {
    directory: Directory,
    /// How long it may be kept.
    age: Duration,
    date: Option<String>,
}

/// Leads every name to one address.
pub(crate) struct Pinned(pub(crate) SocketAddr);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

impl MimiClient {
    /// Sets it up. Makes no request.
    pub fn new(config: &Config, trust: Arc<PeerTrust>) -> Result<Self, Failure> {
        let from = HeaderValue::from_str(&format!("mimi@{}", config.provider.domain)).map_err(|e| {
            Failure::new(
                Code::ConfigValue,
                "provider.domain fits in no header",
                "correct it",
            )
            .with_source(e)
        })?;
        Ok(Self(Arc::new(Inner {
            own: tls::own_certificate(config)?,
            from,
            trust,
            addresses: config
                .peers
                .iter()
                .filter_map(|(d, p)| Some((d.0.clone(), p.address?)))
                .collect(),
            timeout: config.limits.outgoing(),
            body: usize::try_from(config.limits.mimi_body_kib).unwrap_or(usize::MAX >> 10) << 10,
            links: Mutex::default(),
        })))
    }

    /// POSTs `body` to an endpoint of a peer; `variable` goes into the endpoint's template.
    pub async fn post(
        &self,
        peer: &Domain,
        endpoint: Endpoint,
        variable: &str,
        request_id: &str,
        body: Bytes,
    ) -> Result<Answer, LinkError> {
        let link = self.link(peer)?;
        let started = Instant::now();
        let outcome = self.0.post(&link, endpoint, variable, request_id, body).await;
        let status = match &outcome {
            Ok(answer) => answer.status.as_u16().to_string(),
            Err(error) => error.code().to_owned(),
        };
        tracing::info!(
            request_id, peer = %peer, endpoint = endpoint.name(), status,
            took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "asked a peer"
        );
        metrics::counter!(
            "causeway_peer_requests_total", "peer" => peer.to_string(), "endpoint" => endpoint.name(), "status" => status
        )
        .increment(1);
        metrics::histogram!("causeway_peer_request_seconds", "endpoint" => endpoint.name())
            .record(started.elapsed().as_secs_f64());
        if !matches!(&outcome, Ok(answer) if answer.status.is_success()) {
            // It may have moved.
            link.directory.lock().await.take();
        }
        outcome
    }

    /// Asks a peer for its directory, past what is remembered, for those who look for what is wrong. Answers with the
    /// header `Date` besides.
    pub async fn look_up(&self, peer: &Domain) -> Result<(Directory, Option<String>), LinkError> {
        let link = self.link(peer)?;
        let answer = self.0.ask_directory(&link, "doctor").await?;
        Ok((answer.directory, answer.date))
    }

    fn link(&self, peer: &Domain) -> Result<Arc<Link>, LinkError> {
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(peer) {
            return Ok(link.clone());
        }
        let roots = self
            .0
            .trust
            .roots_of(peer)
            .ok_or_else(|| LinkError::NotAPeer(peer.clone()))?;
        let tls = tls::mimi_client(&self.0.own, roots).map_err(|e| LinkError::Setup(e.cause()))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            // One connection per request in flight; the Host header is ours to set in HTTP/1.1 only.
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.0.timeout.min(Duration::from_secs(10)))
            .timeout(self.0.timeout)
            .user_agent(concat!("causeway/", env!("CARGO_PKG_VERSION")));
        let address = self.0.addresses.get(peer).copied();
        if let Some(address) = address {
            builder = builder.dns_resolver(Arc::new(Pinned(address)));
        }
        let http = builder.build().map_err(|e| LinkError::Setup(chain(&e)))?;
        let link = Arc::new(Link {
            peer: peer.clone(),
            http,
            pinned: address.is_some(),
            directory: tokio::sync::Mutex::new(None),
        });
        links.insert(peer.clone(), link.clone());
        Ok(link)
    }
}

impl Inner {
    async fn post(
        &self,
        link: &Link,
        endpoint: Endpoint,
        variable: &str,
        request_id: &str,
        body: Bytes,
    ) -> Result<Answer, LinkError> {
        let directory = self.directory(link, request_id).await?;
        let template = directory.get(endpoint).ok_or_else(|| LinkError::NoEndpoint {
            peer: link.peer.clone(),
            endpoint,
        })?;
        let bad = |reason: String| LinkError::Directory {
            peer: link.peer.clone(),
            reason,
        };
        let mut url = reqwest::Url::parse(&template.expand(variable)).map_err(|e| bad(e.to_string()))?;
        if link.pinned {
            // The pinned address has the port; one in the URL would go before it.
            let _ = url.set_port(None);
        }
        let request = link
            .http
            .post(url)
            .header(HOST, link.peer.as_str())
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body);
        self.exchange(link, request, request_id, self.body)
            .await
            .map(|(answer, _)| answer)
    }

    async fn directory(&self, link: &Link, request_id: &str) -> Result<Arc<Directory>, LinkError> {
        // Held over the request: whoever else wants it waits for this one.
        let mut known = link.directory.lock().await;
        if let Some((directory, until)) = known.as_ref()
            && *until > Instant::now()
        {
            return Ok(directory.clone());
        }
        let asked = self.ask_directory(link, request_id).await?;
        let directory = Arc::new(asked.directory);
        *known = Some((directory.clone(), Instant::now() + asked.age));
        Ok(directory)
    }

    async fn ask_directory(&self, link: &Link, request_id: &str) -> Result<AskedDirectory, LinkError> {
        let bad = |reason: String| LinkError::Directory {
            peer: link.peer.clone(),
            reason,
        };
        let request = link.http.get(format!("https://{}{WELL_KNOWN_PATH}", link.peer));
        let (answer, age) = self.exchange(link, request, request_id, DIRECTORY_SIZE).await?;
        if answer.status != StatusCode::OK {
            return Err(bad(format!("HTTP status {}", answer.status)));
        }
        let directory = serde_json::from_slice(&answer.body).map_err(|e| bad(e.to_string()))?;
        Ok(AskedDirectory {
            directory,
            age,
            date: answer.date,
        })
    }

    async fn exchange(
        &self,
        link: &Link,
        request: reqwest::RequestBuilder,
        request_id: &str,
        limit: usize,
    ) -> Result<(Answer, Duration), LinkError> {
        let away = |e: reqwest::Error| LinkError::Unreachable {
            peer: link.peer.clone(),
            reason: chain(&e.without_url()),
        };
        let request = request
            .header(FROM, self.from.clone())
            .header(REQUEST_ID, request_id);
        let mut response = request.send().await.map_err(away)?;
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|v: &HeaderValue| v.to_str().ok())
        };
        let retry_after = header(RETRY_AFTER)
            .and_then(|v| v.trim().parse().ok())
            .map(Duration::from_secs);
        let age = header(CACHE_CONTROL).map_or(DIRECTORY_AGE, max_age);
        let date = header(DATE).map(ToOwned::to_owned);
        let status = response.status();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > limit {
                return Err(LinkError::TooLarge(link.peer.clone()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((
            Answer {
                status,
                retry_after,
                date,
                body: body.freeze(),
            },
            age,
        ))
    }
}

/// The lifetime in a `Cache-Control` header.
fn max_age(header: &str) -> Duration {
    let mut parts = header.split(',').map(str::trim);
    if parts
        .clone()
        .any(|p| p.eq_ignore_ascii_case("no-store") || p.eq_ignore_ascii_case("no-cache"))
    {
        return Duration::ZERO;
    }
    let seconds = parts
        .find_map(|p| p.strip_prefix("max-age="))
        .and_then(|s| s.parse().ok());
    seconds
        .map_or(DIRECTORY_AGE, Duration::from_secs)
        .min(LONGEST_AGE)
}

/// An error with what lies below it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_bounds_the_directory() {
        assert_eq!(max_age("max-age=61"), Duration::from_secs(61));
        assert_eq!(max_age("public, max-age=61"), Duration::from_secs(61));
        assert_eq!(max_age("max-age=99999999"), LONGEST_AGE);
        assert_eq!(max_age("no-store"), Duration::ZERO);
        assert_eq!(max_age("private"), DIRECTORY_AGE);
    }
}
