//! What every request of a peer has to bring before it is looked at.

use super::MimiFace;
use super::problem::Problem;
use crate::web::{Connection, RequestId};
use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use bytes::Bytes;
use mimi_wire::directory::parse_path_uri;
use mimi_wire::{Domain, MimiUri};
use room_engine::RequestContext;

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
    /// Checks in this order: addressed to us, from a peer, about something (as `parse` reads the path), not too much.
    pub(super) async fn read_about(
        face: &MimiFace,
        endpoint: &'static str,
        request: Request,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let host = parts
            .headers
            .get(header::HOST)
            .and_then(|h| h.to_str().ok())
            .or_else(|| authority(&parts.uri));
        let name = host.map(|h| h.split(':').next().unwrap_or(h).to_ascii_lowercase());
        if !name.is_some_and(|name| face.0.hosts.contains(&name)) {
            let text = "the Host header names another provider";
            return Err(Problem::new(
                endpoint,
                StatusCode::MISDIRECTED_REQUEST,
                "wrong_host",
                text,
            ));
        }
        let connection = parts.extensions.get::<Connection>();
        let chain = connection.map(|c| &*c.certificates).unwrap_or_default();
        let peer = face
            .0
            .trust
            .identify(&parts.headers, chain)
            .map_err(|e| Problem::peer(endpoint, e))?;
        let raw = parts.uri.path().splitn(4, '/').nth(3).unwrap_or_default();
        let uri = parse(raw).map_err(|e| Problem::malformed(endpoint, format!("the path: {e}")))?;
        let ctx = parts
            .extensions
            .get::<RequestId>()
            .map(RequestContext::from)
            .unwrap_or_default();
        let body = face
            .0
            .limit
            .read(body)
            .await
            .map_err(|e| Problem::body(endpoint, e))?;
        Ok(Self {
            peer: peer.domain().clone(),
            uri,
            ctx,
            body,
        })
    }
}

/// HTTP/2 has the host in the request target.
fn authority(uri: &Uri) -> Option<&str> {
    uri.authority().map(axum::http::uri::Authority::host)
}
