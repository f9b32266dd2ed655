//! Reading a request: session, path, body.

use super::ClientFace;
use super::error::Problem;
use crate::web::RequestId;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::http::request::Parts;
use bytes::Bytes;
use mimi_wire::MimiUri;
use room_engine::{ClientActor, RequestContext};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// A request, body unread.
pub(super) struct Call {
    endpoint: &'static str,
    parts: Parts,
    body: Body,
}

impl Call {
    pub(super) fn new(endpoint: &'static str, request: Request) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            endpoint,
            parts,
            body,
        }
    }

    pub(super) fn ctx(&self) -> RequestContext {
        self.parts
            .extensions
            .get::<RequestId>()
            .map(RequestContext::from)
            .unwrap_or_default()
    }

    /// The bearer token.
    pub(super) fn token(&self) -> Result<Zeroizing<String>, Problem> {
        let value = self
            .parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok());
        let token = value
            .and_then(|v| v.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        token
            .map(|(_, token)| Zeroizing::new(token.trim().to_owned()))
            .ok_or_else(|| Problem::unauthorized(self.endpoint, "sign in first: no bearer token"))
    }

    /// Who asks. The future holds nothing of the request: bodies can't be shared between threads.
    pub(super) fn who<'f>(
        &self,
        face: &'f ClientFace,
    ) -> impl Future<Output = Result<ClientActor, Problem>> + Send + use<'f> {
        let (token, endpoint) = (self.token(), self.endpoint);
        async move {
            match face.0.engine.session(&token?).await {
                Ok(Some(who)) => Ok(who),
                Ok(None) => Err(Problem::unauthorized(
                    endpoint,
                    "the session is unknown or was ended; sign in again",
                )),
                Err(error) => Err(Problem::engine(endpoint, error)),
            }
        }
    }

    /// The body, unread.
    pub(super) fn into_body(self) -> Body {
        self.body
    }

    /// The body as octets.
    pub(super) async fn octets(self, face: &ClientFace) -> Result<Bytes, Problem> {
        face.0
            .limit
            .read(self.body)
            .await
            .map_err(|e| Problem::body(self.endpoint, e))
    }

    /// The body as JSON.
    pub(super) async fn json<T: DeserializeOwned>(self, face: &ClientFace) -> Result<T, Problem> {
        let endpoint = self.endpoint;
        let body = self.octets(face).await?;
        serde_json::from_slice(&body).map_err(|e| Problem::malformed(endpoint, format!("the body: {e}")))
    }
}

/// The room in a path segment; axum has undone its percent-encoding.
pub(super) fn room(endpoint: &'static str, segment: &str) -> Result<MimiUri, Problem> {
    MimiUri::parse(segment).map_err(|e| Problem::malformed(endpoint, format!("the room URI: {e}")))
}
