//! Requests to other servers: found, connected to within bounds, signed, and read within bounds.

use bytes::{Bytes, BytesMut};
use event_graph::SigningIdentity;
use event_graph::json::{JsonError, to_canonical};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{Method, StatusCode};
use matrix_wire::ServerName;
use matrix_wire::auth;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::discovery::{Discovery, DiscoveryError, GuardedDns, Target};
use crate::guard::AddressPolicy;

pub(crate) const USER_AGENT: &str = concat!("causeway/", env!("CARGO_PKG_VERSION"));
/// Connections kept per server and servers kept at a time.
const MOST_LINKS: usize = 2_000;
/// What of a path segment stays as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes one segment of a path, or a value of a query.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// How requests are made.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Where requests may go.
    pub addresses: AddressPolicy,
    /// Authorities that servers' certificates chain to.
    pub roots: RootCertStore,
    /// Time for a whole request.
    pub timeout: Duration,
    /// Where well-known documents are asked for: [`HTTPS`](crate::discovery::HTTPS) but in tests.
    pub well_known_port: u16,
}

/// Why a request has no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server is not found.
    #[error("{server}: {error}")]
    Discovery {
        /// Whom.
        server: ServerName,
        /// Why.
        error: DiscoveryError,
    },
    /// No connection, wrong certificate, time-out.
    #[error("{server} can't be reached: {reason}")]
    Unreachable {
        /// Whom.
        server: ServerName,
        /// The chain of causes.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{server} answered {status} {errcode}: {error}")]
    Refused {
        /// Who.
        server: ServerName,
        /// HTTP status.
        status: StatusCode,
        /// Its `errcode`, or nothing.
        errcode: String,
        /// Its text, shortened.
        error: String,
        /// Its wish in `Retry-After` (seconds).
        retry_after: Option<Duration>,
    },
    /// The answer is larger than what is taken.
    #[error("the answer of {0} is too large")]
    TooLarge(ServerName),
    /// The answer can't be read.
    #[error("the answer of {server} is malformed: {reason}")]
    Malformed {
        /// Whose.
        server: ServerName,
        /// Why.
        reason: String,
    },
    /// What we wanted to send is no canonical JSON: a fault of this program.
    #[error("the request can't be made: {0}")]
    Request(#[from] JsonError),
    /// TLS or HTTP can't be set up.
    #[error("the client can't be set up: {0}")]
    Setup(String),
}

impl RequestError {
    /// A stable name for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Discovery { .. } => "discovery",
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } => "refused",
            Self::TooLarge(_) => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::Request(_) => "request",
            Self::Setup(_) => "setup",
        }
    }

    /// True if it is what was asked that is wrong, so that asking again is no use. A server that doesn't know us, our keys
    /// or the path may do so later, and an error without a code is no Matrix server's.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { status, errcode, .. } => match *status {
                StatusCode::PAYLOAD_TOO_LARGE => true,
                StatusCode::BAD_REQUEST => !errcode.is_empty(),
                _ => false,
            },
            Self::Request(_) => true,
            _ => false,
        }
    }
}

/// Requests in the name of this server. Cheap to clone.
#[derive(Clone)]
pub struct FederationClient(Arc<Inner>);

struct Inner {
    identity: Arc<SigningIdentity>,
    settings: ClientSettings,
    tls: ClientConfig,
    discovery: Discovery,
    links: Mutex<HashMap<ServerName, Link>>,
}

#[derive(Clone)]
struct Link {
    target: Target,
    http: reqwest::Client,
    used: Instant,
}

/// TLS with these authorities and no certificate of our own.
pub(crate) fn tls_config(roots: RootCertStore) -> Result<ClientConfig, RequestError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| RequestError::Setup(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl FederationClient {
    /// Sets it up. Makes no request.
    pub fn new(identity: Arc<SigningIdentity>, settings: ClientSettings) -> Result<Self, RequestError> {
        let tls = tls_config(settings.roots.clone())?;
        let discovery = Discovery::new(settings.addresses, tls.clone(), settings.well_known_port)
            .map_err(|e| RequestError::Setup(chain(&e)))?;
        Ok(Self(Arc::new(Inner {
            identity,
            settings,
            tls,
            discovery,
            links: Mutex::default(),
        })))
    }

    /// Who signs.
    pub fn identity(&self) -> &SigningIdentity {
        &self.0.identity
    }

    /// A signed GET; the answer as JSON. `target` is path and query, encoded already.
    pub async fn get<T: DeserializeOwned>(
        &self,
        server: &ServerName,
        target: &str,
        limit: usize,
    ) -> Result<T, RequestError> {
        let body = self.request(Method::GET, server, target, None, limit).await?;
        read(server, &body)
    }

    /// A signed PUT or POST; the answer as JSON.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        server: &ServerName,
        target: &str,
        content: &Value,
        limit: usize,
    ) -> Result<T, RequestError> {
        let content = to_canonical(content)?;
        let body = self.request(method, server, target, Some(content), limit).await?;
        read(server, &body)
    }

    /// A signed request with canonical content; the answer's octets, at most `limit`.
    pub async fn request(
        &self,
        method: Method,
        server: &ServerName,
        target: &str,
        content: Option<String>,
        limit: usize,
    ) -> Result<Bytes, RequestError> {
        let authorization = auth::sign(
            &self.0.identity,
            method.as_str(),
            target,
            server.as_str(),
            content.as_deref(),
        );
        self.exchange(method, server, target, content, Some(authorization), limit)
            .await
    }

    /// A GET without signature, as for keys.
    pub async fn get_unsigned(
        &self,
        server: &ServerName,
        target: &str,
        limit: usize,
    ) -> Result<Bytes, RequestError> {
        self.exchange(Method::GET, server, target, None, None, limit)
            .await
    }

    async fn exchange(
        &self,
        method: Method,
        server: &ServerName,
        target: &str,
        content: Option<String>,
        authorization: Option<String>,
        limit: usize,
    ) -> Result<Bytes, RequestError> {
        let link = self.link(server).await?;
        let away = |e: reqwest::Error| RequestError::Unreachable {
            server: server.clone(),
            reason: chain(&e.without_url()),
        };
        let url = format!("https://{}:{}{target}", link.target.host, link.target.port);
        let parsed = reqwest::Url::parse(&url).map_err(|e| RequestError::Setup(e.to_string()))?;
        // The parser must not have touched what is signed.
        if parsed
            .as_str()
            .strip_prefix("https://")
            .and_then(|rest| rest.find('/').map(|at| rest.split_at(at).1))
            != Some(target)
        {
            return Err(RequestError::Setup(format!(
                "{target} is not a normal request target"
            )));
        }
        let mut request = link
            .http
            .request(method, parsed)
            .header(HOST, &link.target.host_header);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(content) = content {
            request = request.header(CONTENT_TYPE, "application/json").body(content);
        }
        let sent = request.send().await;
        if sent.is_err() {
            // It may have moved.
            self.lock().remove(server);
        }
        let mut response = sent.map_err(away)?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|v| v.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let limit = if status.is_success() {
            limit
        } else {
            limit.min(16 * 1024)
        };
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > limit {
                return Err(RequestError::TooLarge(server.clone()));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body.freeze());
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |name: &str| {
            let text = answer.get(name).and_then(Value::as_str).unwrap_or_default();
            text.chars().take(200).collect::<String>()
        };
        Err(RequestError::Refused {
            server: server.clone(),
            status,
            errcode: text("errcode"),
            error: text("error"),
            retry_after,
        })
    }

    async fn link(&self, server: &ServerName) -> Result<Link, RequestError> {
        let target = self
            .0
            .discovery
            .find(server)
            .await
            .map_err(|error| RequestError::Discovery {
                server: server.clone(),
                error,
            })?;
        let mut links = self.lock();
        if let Some(link) = links.get_mut(server)
            && link.target == target
        {
            link.used = Instant::now();
            return Ok(link.clone());
        }
        let dns = GuardedDns::new(self.0.settings.addresses, target.connect.clone());
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(self.0.tls.clone())
            .https_only(true)
            // The Host header is ours to set in HTTP/1.1 only.
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.0.settings.timeout.min(Duration::from_secs(10)))
            .timeout(self.0.settings.timeout)
            .dns_resolver(Arc::new(dns))
            .user_agent(USER_AGENT)
            .build()
            .map_err(|e| RequestError::Setup(chain(&e)))?;
        let link = Link {
            target,
            http,
            used: Instant::now(),
        };
        if links.len() >= MOST_LINKS
            && let Some(oldest) = links.iter().min_by_key(|(_, l)| l.used).map(|(s, _)| s.clone())
        {
            links.remove(&oldest);
        }
        links.insert(server.clone(), link.clone());
        Ok(link)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ServerName, Link>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for FederationClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FederationClient")
            .field("server_name", &self.0.identity.server_name())
            .finish_non_exhaustive()
    }
}

fn read<T: DeserializeOwned>(server: &ServerName, body: &[u8]) -> Result<T, RequestError> {
    serde_json::from_slice(body).map_err(|e| RequestError::Malformed {
        server: server.clone(),
        reason: e.to_string(),
    })
}

/// An error with what lies below it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
