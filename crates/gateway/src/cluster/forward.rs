//! A request that reached a node which does not order goes to the one that does, as it came, with what this node has
//! learned about who sent it.

use super::FACE;
use crate::web::{BodyLimit, Connection, REQUEST_ID};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use lane::{Answer, Call, Cluster, Pending};
use room_engine::Sequencer as _;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

/// Where forwarded requests go, below the node API's prefix; the face follows.
const PATH: &str = "/forward/";
/// Longer than any long poll.
const TIMEOUT: Duration = Duration::from_secs(75);
/// Headers that are one connection's own.
const HOP: [HeaderName; 4] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::UPGRADE,
];

/// What a face needs to forward.
#[derive(Clone)]
pub(super) struct Forward {
    /// The node's part.
    pub(super) cluster: Cluster,
    /// What waits to be distributed.
    pub(super) pending: Pending,
    /// The face.
    pub(super) face: &'static str,
    /// How much of a body is taken.
    pub(super) limit: BodyLimit,
    /// How much of an asset, in octets.
    pub(super) asset: usize,
}

impl Forward {
    /// How much of a request's body is taken.
    fn limit(&self, request: &Request) -> BodyLimit {
        if is_asset(request) {
            return BodyLimit {
                size: self.asset,
                ..self.limit
            };
        }
        self.limit
    }
}

/// A request on its way.
#[derive(Debug, Serialize, Deserialize)]
struct Carried {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    address: SocketAddr,
    certificates: Vec<Vec<u8>>,
    body: Vec<u8>,
}

/// An answer on its way back.
#[derive(Debug, Serialize, Deserialize)]
struct Returned {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// What is answered by each node itself: about the node, or from what every node has.
fn is_local(request: &Request) -> bool {
    let path = request.uri().path();
    matches!(path, "/healthz" | "/readyz" | "/metrics")
        || path.starts_with("/.well-known/")
        || matches!(path, "/_matrix/key/v2/server" | "/_matrix/federation/v1/version")
        || (request.method() == http::Method::GET
            && (path.ends_with("/provider") || path.ends_with("/nodes")))
        || path.ends_with("/nodes/take-over")
        || path.ends_with("/nodes/release")
}

/// What every node answers from what it has so far: an older feed is one. That there is none, or no such session, only the
/// node that orders can say.
fn is_reading(request: &Request) -> bool {
    let path = request.uri().path();
    request.method() == http::Method::GET && (path.ends_with("/log") || path.contains("/blobs/"))
}

/// A request without its body.
fn head(of: &http::request::Parts) -> Request {
    Request::from_parts(of.clone(), Body::empty())
}

/// An attachment that one of our clients hands in, with the token without which there is no client.
fn is_asset(request: &Request) -> bool {
    request.method() == http::Method::POST
        && request.uri().path().ends_with("/assets")
        && request.headers().contains_key(header::AUTHORIZATION)
}

/// Application messages: any node may accept one, even when it is cut off.
fn is_message(request: &Request) -> bool {
    let path = request.uri().path();
    request.method() == http::Method::POST
        && (path.starts_with("/v1/submitMessage/") || path.ends_with("/messages"))
}

/// Middleware of a face, where there are several nodes.
pub(super) async fn forward(State(way): State<Forward>, request: Request, next: Next) -> Response {
    let message = is_message(&request);
    // What was accepted here before it goes first; where that can't be handed over, this one waits behind it.
    let behind = message && !way.pending.hand_over().await;
    if behind || way.cluster.term().is_ok() || is_local(&request) {
        return next.run(request).await;
    }
    let limit = way.limit(&request);
    let reading = is_reading(&request);
    let (parts, body) = request.into_parts();
    if reading {
        let response = next.clone().run(head(&parts)).await;
        if !matches!(
            response.status(),
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND
        ) {
            return response;
        }
    }
    let body = match limit.read(body).await {
        Ok(body) => body,
        Err(error) => return (error.status(), error.to_string()).into_response(),
    };
    let carried = carried(&parts, &body);
    let sent = match carried {
        Some(carried) => send(&way, carried).await,
        None => Err("the connection is unknown".to_owned()),
    };
    match sent {
        Ok(response) => response,
        // The concurrent lane: judged here, against what this node has applied.
        Err(_) if message => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(why) => unavailable(way.face, &why),
    }
}

/// 503 and when to come again: what this node can't know it doesn't answer.
fn unavailable(face: &'static str, why: &str) -> Response {
    crate::web::refused(face, "forward", "no_majority");
    tracing::warn!(face, why, "a request could not be handed to the node that orders");
    let retry = (header::RETRY_AFTER, HeaderValue::from_static("1"));
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [retry],
        format!("{{\"code\":\"unavailable\",\"error\":\"no majority of the provider's nodes can be reached: {}\"}}\n", why.replace(['"', '\\'], "'")),
    )
        .into_response()
}

fn carried(request: &http::request::Parts, body: &Bytes) -> Option<Carried> {
    let connection = request.extensions.get::<Connection>()?;
    Some(Carried {
        method: request.method.to_string(),
        target: request.uri.to_string(),
        headers: carry(&request.headers),
        address: connection.address,
        certificates: connection.certificates.iter().map(|c| c.to_vec()).collect(),
        body: body.to_vec(),
    })
}

async fn send(way: &Forward, carried: Carried) -> Result<Response, String> {
    let (leader, member) = way.cluster.leader().ok_or("no node is known to order")?;
    let octets = postcard::to_allocvec(&carried).map_err(|e| e.to_string())?;
    let call = Call::post(format!("{PATH}{}", way.face), octets, TIMEOUT);
    let answer = way
        .cluster
        .call(&leader, &member, call)
        .await
        .map_err(|e| e.to_string())?;
    if answer.status != 200 {
        return Err(format!("node {leader} answered {}", answer.status));
    }
    let returned: Returned = postcard::from_bytes(&answer.body).map_err(|e| e.to_string())?;
    let mut response = Response::new(Body::from(returned.body));
    *response.status_mut() = StatusCode::from_u16(returned.status).map_err(|e| e.to_string())?;
    *response.headers_mut() = uncarry(returned.headers);
    metrics::counter!("causeway_cluster_forwarded_total", "face" => way.face).increment(1);
    Ok(response)
}

fn carry(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers
        .iter()
        .filter(|(name, _)| !HOP.contains(name))
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

fn uncarry(headers: Vec<(String, Vec<u8>)>) -> HeaderMap {
    let known = headers.into_iter().filter_map(|(name, value)| {
        Some((
            HeaderName::from_bytes(name.as_bytes()).ok()?,
            HeaderValue::from_bytes(&value).ok()?,
        ))
    });
    known.fold(HeaderMap::new(), |mut all, (name, value)| {
        all.append(name, value);
        all
    })
}

/// Serves what other nodes forward: by face, the routes as they are at this node, without the way onwards.
#[derive(Clone, Default)]
pub(super) struct Faces(pub(super) Arc<BTreeMap<&'static str, Router>>);

impl Faces {
    /// The face that a path of the node API names.
    pub(super) fn of(&self, path: &str) -> Option<(&'static str, Router)> {
        let name = path.strip_prefix(PATH)?;
        self.0
            .get_key_value(name)
            .map(|(name, router)| (*name, router.clone()))
    }
}

/// Answers a forwarded request; only a node that orders does.
pub(super) async fn answer(
    cluster: &Cluster,
    (face, router): (&'static str, Router),
    body: &[u8],
    limit: usize,
) -> Answer {
    if let Err(error) = cluster.term() {
        return Answer::error(503, error);
    }
    let request = match postcard::from_bytes(body)
        .map_err(|e| e.to_string())
        .and_then(rebuild)
    {
        Ok(request) => request,
        Err(error) => return Answer::error(400, error),
    };
    tracing::debug!(face, from = FACE, id = ?request.headers().get(&REQUEST_ID), "a forwarded request");
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, limit).await else {
        return Answer::error(500, "the answer can't be carried");
    };
    let returned = Returned {
        status: parts.status.as_u16(),
        headers: carry(&parts.headers),
        body: body.into(),
    };
    postcard::to_allocvec(&returned).map_or_else(|e| Answer::error(500, e), Answer::ok)
}

fn rebuild(carried: Carried) -> Result<Request, String> {
    let mut request = Request::builder()
        .method(carried.method.as_str())
        .uri(&carried.target)
        .body(Body::from(carried.body))
        .map_err(|e| e.to_string())?;
    *request.headers_mut() = uncarry(carried.headers);
    request.extensions_mut().insert(Connection {
        address: carried.address,
        certificates: carried
            .certificates
            .into_iter()
            .map(CertificateDer::from)
            .collect(),
    });
    Ok(request)
}
