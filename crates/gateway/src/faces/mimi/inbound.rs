//! What every request of a peer has to bring before it is looked at.

use super::MimiFace;
use super::problem::Problem;
use crate::web::{Connection, RequestId};
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use mimi_wire::directory::{Endpoint, parse_path_uri};
use mimi_wire::{Domain, MimiUri};
use room_engine::RequestContext;
use std::time::Instant;

/// The peer of a request: an extension of every request that [`admit`] let through.
#[derive(Clone, Debug)]
pub(super) struct Peer(pub(super) Domain);

/// In front of every endpoint for peers. Checks in this order: addressed to us, from a peer, not too many of them.
/// Nothing of the body has been read by then.
pub(super) async fn admit(State(face): State<MimiFace>, mut request: Request, next: Next) -> Response {
    let endpoint = name(request.extensions().get::<MatchedPath>());
    let connection = request.extensions().get::<Connection>();
    let chain = connection.map(|c| &*c.certificates).unwrap_or_default();
    if let Err(problem) = addressed(&face, endpoint, request.headers(), request.uri()) {
        return problem.into_response();
    }
    let peer = match face.0.live.now().trust.identify(request.headers(), chain) {
        Ok(peer) => peer.domain().clone(),
        Err(refusal) => return Problem::peer(endpoint, refusal).into_response(),
    };
    // Counts until the answer has been made.
    let _running = match face.0.peer_limits.enter(peer.as_str(), Instant::now()) {
        Ok(running) => running,
        Err(too_many) => return Problem::too_many(endpoint, too_many).into_response(),
    };
    request.extensions_mut().insert(Peer(peer));
    next.run(request).await
}

/// The endpoint's name for metrics, from the route.
fn name(route: Option<&MatchedPath>) -> &'static str {
    let second = route
        .and_then(|r| r.as_str().split('/').nth(2))
        .unwrap_or_default();
    let known = Endpoint::ALL.iter().map(|e| e.name());
    known
        .chain(["asset", "ohttp"])
        .find(|name| *name == second)
        .unwrap_or("none")
}

fn addressed(face: &MimiFace, endpoint: &'static str, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .or_else(|| authority(uri));
    let name = host.map(|h| h.split(':').next().unwrap_or(h).to_ascii_lowercase());
    if name.is_some_and(|name| face.0.hosts.contains(&name)) {
        return Ok(());
    }
    let text = "the Host header names another provider";
    Err(Problem::new(
        endpoint,
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        text,
    ))
}

/// HTTP/2 has the host in the request target.
fn authority(uri: &Uri) -> Option<&str> {
    uri.authority().map(axum::http::uri::Authority::host)
}

/// The draft names no media type for its bodies, so none is demanded; those that can't be what it describes are
/// refused.
fn media_type(endpoint: &'static str, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let value = value.to_str().unwrap_or("text/unreadable").to_ascii_lowercase();
    let essence = value.split(';').next().unwrap_or_default().trim();
    let wrong = ["text/", "multipart/", "image/", "audio/", "video/"]
        .iter()
        .any(|family| essence.starts_with(family))
        || essence == "application/json"
        || essence == "application/x-www-form-urlencoded"
        || essence.ends_with("+json")
        || essence.ends_with("+xml");
    if wrong {
        return Err(Problem::new(
            endpoint,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong_media_type",
            format!("the endpoint takes application/octet-stream, not {essence}"),
        ));
    }
    Ok(())
}

/// The request's parts that every handler wants.
pub(super) fn caller(endpoint: &'static str, parts: &Parts) -> Result<(Domain, RequestContext), Problem> {
    let Some(Peer(peer)) = parts.extensions.get::<Peer>() else {
        // A route without the layer in front of it.
        return Err(Problem::new(
            endpoint,
            StatusCode::FORBIDDEN,
            "not_a_peer",
            "not for strangers",
        ));
    };
    let ctx = parts
        .extensions
        .get::<RequestId>()
        .map(RequestContext::from)
        .unwrap_or_default();
    Ok((peer.clone(), ctx))
}

/// What follows `/v1/endpoint/` in the path, as it came.
pub(super) fn variable(parts: &Parts) -> &str {
    parts.uri.path().splitn(4, '/').nth(3).unwrap_or_default()
}

/// A request of an authenticated peer, body read.
pub(super) struct Inbound<T = MimiUri> {
    /// Who asks.
    pub(super) peer: Domain,
    /// The identifier in the path.
    pub(super) uri: T,
    /// Request id.
    pub(super) ctx: RequestContext,
    /// The body.
    pub(super) body: Bytes,
}

impl Inbound {
    /// A request about a URI.
    pub(super) async fn read(
        face: &MimiFace,
        endpoint: &'static str,
        request: Request,
    ) -> Result<Self, Problem> {
        let uri = |raw: &str| parse_path_uri(raw).map_err(|e| e.to_string());
        Self::read_about(face, endpoint, request, uri).await
    }
}

impl<T> Inbound<T> {
    /// Checks in this order: about something (as `parse` reads the path), of a possible media type, not too much.
    pub(super) async fn read_about(
        face: &MimiFace,
        endpoint: &'static str,
        request: Request,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let (peer, ctx) = caller(endpoint, &parts)?;
        let uri =
            parse(variable(&parts)).map_err(|e| Problem::malformed(endpoint, format!("the path: {e}")))?;
        media_type(endpoint, &parts.headers)?;
        let body = face
            .0
            .limit
            .read(body)
            .await
            .map_err(|e| Problem::body(endpoint, e))?;
        Ok(Self { peer, uri, ctx, body })
    }
}
