//! The node API: what the other nodes of the provider ask.

use super::FACE;
use super::forward::{self, Faces};
use crate::web::{BodyLimit, observe, refused};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use lane::{Answer, Cluster, NodeName, PREFIX, Pending};
use room_engine::Engine;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Largest message of another node: the largest blob with what carries it.
const BODY: usize = 80 * 1024 * 1024;

/// What the face needs.
#[derive(Clone)]
pub(super) struct NodeFace {
    cluster: Cluster,
    engine: Engine,
    faces: Faces,
    limit: BodyLimit,
}

impl NodeFace {
    /// With the faces whose requests other nodes forward.
    pub(super) fn new(cluster: Cluster, engine: Engine, faces: BTreeMap<&'static str, Router>) -> Self {
        Self {
            cluster,
            engine,
            faces: Faces(Arc::new(faces)),
            limit: BodyLimit {
                size: BODY,
                time: Duration::from_mins(1),
            },
        }
    }

    /// The routes.
    pub(super) fn router(self) -> Router {
        Router::new()
            .fallback(serve)
            .with_state(self)
            .layer(axum::middleware::from_fn(|request, next| {
                observe(FACE, request, next)
            }))
    }

    /// Who asks, if it is a node of this provider and the request is its own.
    async fn authenticate(&self, request: &http::request::Parts, body: &[u8]) -> Option<NodeName> {
        let header = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let claim = lane::claim(header)?;
        let member = self.cluster.member(&claim.origin).await?;
        let target = request.uri.path_and_query()?.as_str();
        claim
            .holds(
                &member,
                self.cluster.name(),
                request.method.as_str(),
                target,
                body,
            )
            .then_some(claim.origin)
    }
}

async fn serve(State(face): State<NodeFace>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match face.limit.read(body).await {
        Ok(body) => body,
        Err(error) => return (error.status(), error.to_string()).into_response(),
    };
    let Some(from) = face.authenticate(&parts, &body).await else {
        refused(FACE, "any", "not_a_node");
        return (
            StatusCode::FORBIDDEN,
            "no node of this provider, or not signed by it",
        )
            .into_response();
    };
    let Some(path) = parts.uri.path().strip_prefix(PREFIX) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let answer = if let Some(answer) = Pending::answer(&face.engine, parts.method.as_str(), path, &body).await
    {
        answer
    } else if let Some(to) = face.faces.of(path) {
        forward::answer(&face.cluster, to, &body, BODY).await
    } else if let Some(answer) = face
        .cluster
        .answer(&from, parts.method.as_str(), path, body)
        .await
    {
        answer
    } else {
        Answer::error(404, "the node API has no such endpoint")
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, answer.body).into_response()
}
