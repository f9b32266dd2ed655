//! The outermost layer of every face: request id, log line, metrics.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Instant;
use tracing::{Instrument as _, info, info_span, warn};

/// The header that follows a message through all layers and providers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, an extension of every request: the caller's own if it sent a sensible one, else random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// 64 random bits in hex.
    pub fn random() -> Self {
        let mut octets = [0_u8; 8];
        // An id need not be secret nor even unique: without random numbers it is all zeros.
        let _ = getrandom::fill(&mut octets);
        Self(hex::encode(octets).into())
    }

    fn of(value: Option<&HeaderValue>) -> Option<Self> {
        let text = value?.to_str().ok()?;
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        (plain && (1..=64).contains(&text.len())).then(|| Self(text.into()))
    }
}

impl From<&RequestId> for room_engine::RequestContext {
    fn from(id: &RequestId) -> Self {
        Self {
            request_id: id.0.to_string(),
        }
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counts a request that was refused and changed nothing.
pub fn refused(face: &'static str, endpoint: impl Into<Arc<str>>, reason: &'static str) {
    metrics::counter!("causeway_refused_total", "face" => face, "endpoint" => endpoint.into(), "reason" => reason)
        .increment(1);
}

/// Middleware of a face.
pub async fn observe(face: &'static str, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers().get(&REQUEST_ID)).unwrap_or_else(RequestId::random);
    // The route, not the path: paths hold names of people and rooms, and would make labels without bound.
    let endpoint: Arc<str> = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .into();
    let method = request.method().clone();
    request.extensions_mut().insert(id.clone());
    let value = HeaderValue::from_str(&id.0).ok();
    if let Some(value) = &value {
        // For handlers of other crates.
        request.headers_mut().insert(REQUEST_ID, value.clone());
    }
    let span = info_span!("request", request_id = %id, face);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    let took = started.elapsed();
    span.in_scope(|| {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if status.is_server_error() {
            warn!(%method, endpoint = &*endpoint, status = status.as_u16(), took_ms, "answered");
        } else {
            info!(%method, endpoint = &*endpoint, status = status.as_u16(), took_ms, "answered");
        }
    });
    metrics::counter!(
        "causeway_requests_total", "face" => face, "endpoint" => endpoint.clone(), "status" => status.as_u16().to_string()
    )
    .increment(1);
    metrics::histogram!("causeway_request_seconds", "face" => face, "endpoint" => endpoint)
        .record(took.as_secs_f64());
    if let Some(value) = value {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
