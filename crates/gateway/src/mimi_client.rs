//! Requests to other providers: their directory, then their endpoints, over mutual TLS.

use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::tls::Live;
use crate::web::REQUEST_ID;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, FROM};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use link::Link;
use mimi_wire::Domain;
use mimi_wire::directory::{Directory, Endpoint};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub mod address;
mod discovery;
mod download;
mod headers;
mod link;

/// What a peer answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The peer's wish in `Retry-After`.
    pub retry_after: Option<Duration>,
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
    from: HeaderValue,
    live: Live,
    timeout: Duration,
    body: usize,
    links: Mutex<HashMap<Domain, Arc<Link>>>,
}

impl MimiClient {
    /// Sets it up. Makes no request.
    pub fn new(config: &Config, live: Live) -> Result<Self, Failure> {
        let from = HeaderValue::from_str(&format!("mimi@{}", config.provider.domain)).map_err(|e| {
            Failure::new(
                Code::ConfigValue,
                "provider.domain fits in no header",
                "correct it",
            )
            .with_source(e)
        })?;
        Ok(Self(Arc::new(Inner {
            from,
            live,
            timeout: config.limits.outgoing(),
            body: config.limits.mimi_body(),
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
        let outcome = self.post_over(&link, endpoint, variable, request_id, body).await;
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
        let moved = match &outcome {
            Ok(answer) => matches!(
                answer.status,
                StatusCode::NOT_FOUND
                    | StatusCode::METHOD_NOT_ALLOWED
                    | StatusCode::GONE
                    | StatusCode::MISDIRECTED_REQUEST
            ),
            Err(LinkError::Unreachable { .. }) => true,
            Err(_) => false,
        };
        if moved {
            link.directory.lock().await.take();
        }
        outcome
    }

    /// Asks a peer for its directory, past what is remembered, for those who look for what is wrong. Answers with the
    /// header `Date` besides.
    pub async fn look_up(&self, peer: &Domain) -> Result<(Directory, Option<String>), LinkError> {
        let link = self.link(peer)?;
        let asked = self.fetch_directory(&link, "doctor").await?;
        match asked.outcome {
            Ok(directory) => Ok((directory, asked.date)),
            Err(reason) => Err(LinkError::Directory {
                peer: peer.clone(),
                reason,
            }),
        }
    }

    /// A peer's directory, for those who want to know what it offers.
    pub async fn directory_of(&self, peer: &Domain, request_id: &str) -> Result<Arc<Directory>, LinkError> {
        let link = self.link(peer)?;
        self.directory(&link, request_id).await
    }

    fn link(&self, peer: &Domain) -> Result<Arc<Link>, LinkError> {
        let material = self.0.live.now();
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(peer).filter(|link| link.is_of(&material)) {
            return Ok(link.clone());
        }
        // Certificates or trust have changed: new connections for everybody, with what holds now.
        links.retain(|_, link| link.is_of(&material));
        let link = Arc::new(Link::new(peer, material, self.0.timeout)?);
        links.insert(peer.clone(), link.clone());
        Ok(link)
    }

    async fn post_over(
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
        let url = link
            .url(&template.expand(variable))
            .map_err(|reason| LinkError::Directory {
                peer: link.peer.clone(),
                reason,
            })?;
        let request = link
            .request(Method::POST, url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body);
        self.exchange(link, request, request_id, self.0.body)
            .await
            .map(|(answer, _)| answer)
    }

    async fn exchange(
        &self,
        link: &Link,
        request: reqwest::RequestBuilder,
        request_id: &str,
        limit: usize,
    ) -> Result<(Answer, HeaderMap), LinkError> {
        let away = |e: reqwest::Error| LinkError::Unreachable {
            peer: link.peer.clone(),
            reason: chain(&e.without_url()),
        };
        let request = request
            .header(FROM, self.0.from.clone())
            .header(REQUEST_ID, request_id)
            .timeout(self.0.timeout);
        let mut response = request.send().await.map_err(away)?;
        let headers = std::mem::take(response.headers_mut());
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
                retry_after: headers::retry_after(&headers, SystemTime::now()),
                body: body.freeze(),
            },
            headers,
        ))
    }
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
