//! The server-server API as it is served (server-server API; specs' table in docs/architecture.md).
//!
//! Every handler authenticates first; then it translates. What a room answers, and to whom, is the room's to say.

mod admission;
mod error;
mod history;
mod membership;
mod queries;
mod transaction;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use bytes::{Bytes, BytesMut};
use event_graph::{EventId, Pdu, RoomVersion};
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use matrix_wire::ServerName;
use matrix_wire::auth::{self, AuthError};
use matrix_wire::requests::values;
use room_engine::RequestContext;
use room_engine::graphs::{GraphCommand, GraphReply, Question};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::federation::Federation;
use crate::keys::Use;
pub use admission::{Admission, Admitted, Denied, Everybody};
pub use error::MatrixError;
use history::{backfill, event, event_auth, heads, missing_events, state, state_ids, timestamp_to_event};
use membership::{
    invite_v1, invite_v2, make_join, make_knock, make_leave, send_join, send_knock, send_leave,
};
use queries::{devices, directory, hierarchy, keys_claim, keys_query, openid, profile, public_rooms};
use transaction::send;

/// Where what only nodes of ours speak is found.
pub const UNSTABLE: &str = "/_matrix/federation/unstable/org.causeway";
/// Largest body there is, a transaction's: fifty events and a hundred EDUs.
pub const TRANSACTION: usize = 8 << 20;
/// Largest other body.
const SMALL: usize = 512 * 1024;

/// What the routes need.
#[derive(Clone)]
pub struct ServerFace(Arc<Inner>);

struct Inner {
    federation: Federation,
    body_time: Duration,
    admission: Arc<dyn Admission>,
    /// One transaction of a server at a time.
    turns: Mutex<HashMap<ServerName, Arc<tokio::sync::Mutex<()>>>>,
}

type Answer = Result<Response, MatrixError>;

/// A request whose origin is known.
struct Authentic {
    origin: ServerName,
    ctx: RequestContext,
    body: Bytes,
    /// The request counts as running until this is dropped.
    _admitted: Admitted,
}

impl Authentic {
    /// The body as JSON that Matrix accepts.
    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, MatrixError> {
        serde_json::from_slice(&self.body).map_err(|e| MatrixError::bad_json(e.to_string()))
    }
}

/// The routes. The caller puts its own layers around them. `admission` says of every server that has shown who it is
/// whether one more of its requests is taken.
pub fn router(federation: Federation, body_time: Duration, admission: Arc<dyn Admission>) -> Router {
    let face = ServerFace(Arc::new(Inner {
        federation,
        body_time,
        admission,
        turns: Mutex::default(),
    }));
    let v1 = |path: &str| format!("/_matrix/federation/v1/{path}");
    let v2 = |path: &str| format!("/_matrix/federation/v2/{path}");
    Router::new()
        .route("/.well-known/matrix/server", get(well_known))
        .route("/_matrix/key/v2/server", get(own_keys))
        .route("/_matrix/key/v2/server/{key}", get(own_keys))
        .route(&v1("version"), get(version))
        .route(&v1("send/{txn}"), put(send))
        .route(&v1("event/{event}"), get(event))
        .route(&v1("event_auth/{room}/{event}"), get(event_auth))
        .route(&v1("state/{room}"), get(state))
        .route(&v1("state_ids/{room}"), get(state_ids))
        .route(&v1("backfill/{room}"), get(backfill))
        .route(&v1("get_missing_events/{room}"), post(missing_events))
        .route(&v1("timestamp_to_event/{room}"), get(timestamp_to_event))
        .route(&v1("make_join/{room}/{user}"), get(make_join))
        .route(&v1("make_leave/{room}/{user}"), get(make_leave))
        .route(&v1("make_knock/{room}/{user}"), get(make_knock))
        .route(&v2("send_join/{room}/{event}"), put(send_join))
        .route(&v2("send_leave/{room}/{event}"), put(send_leave))
        .route(&v1("send_knock/{room}/{event}"), put(send_knock))
        .route(&v1("invite/{room}/{event}"), put(invite_v1))
        .route(&v2("invite/{room}/{event}"), put(invite_v2))
        .route(&v1("query/directory"), get(directory))
        .route(&v1("query/profile"), get(profile))
        .route(&v1("user/devices/{user}"), get(devices))
        .route(&v1("user/keys/query"), post(keys_query))
        .route(&v1("user/keys/claim"), post(keys_claim))
        .route(&v1("publicRooms"), get(public_rooms).post(public_rooms))
        .route(&v1("hierarchy/{room}"), get(hierarchy))
        .route(&v1("openid/userinfo"), get(openid))
        .route(&format!("{UNSTABLE}/heads/{{room}}"), get(heads))
        .fallback(unrecognized)
        .method_not_allowed_fallback(wrong_method)
        .with_state(face)
}

impl ServerFace {
    fn federation(&self) -> &Federation {
        &self.0.federation
    }

    /// Reads the body within bounds and checks who sent the request.
    async fn authenticate(&self, request: Request, limit: usize) -> Result<Authentic, MatrixError> {
        let (parts, body) = request.into_parts();
        let ctx = RequestContext {
            request_id: parts
                .headers
                .get("x-request-id")
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
        };
        let federation = self.federation();
        let mut claims = Vec::new();
        for value in parts.headers.get_all(header::AUTHORIZATION) {
            let value = value.to_str().map_err(|_| AuthError::Malformed)?;
            claims.push(auth::parse(value)?);
        }
        let Some(first) = claims.first() else {
            return Err(AuthError::Missing.into());
        };
        let origin = first.origin.clone();
        for claim in &claims {
            auth::check_names(claim, federation.name())?;
            if claim.origin != origin {
                return Err(AuthError::Malformed.into());
            }
        }
        let body = read_body(body, limit, self.0.body_time).await?;
        let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        // Every header that is shown has to be right; more than a few show nothing but ill will.
        for claim in claims.iter().take(4) {
            let key = federation
                .keys()
                .key(&origin, &claim.key_id, Use::Request)
                .await
                .map_err(|error| {
                    tracing::info!(%origin, %error, "a request can't be authenticated");
                    AuthError::UnknownKey
                })?;
            auth::verify(
                claim,
                &key,
                federation.name(),
                parts.method.as_str(),
                target,
                &body,
            )?;
        }
        federation.engine().server_spoke(origin.as_str());
        let admitted = self.0.admission.enter(origin.as_str())?;
        Ok(Authentic {
            origin,
            ctx,
            body,
            _admitted: admitted,
        })
    }

    async fn ask(&self, by: &Authentic, room: &str, question: Question) -> Result<GraphReply, MatrixError> {
        let command = GraphCommand::Ask {
            asker: Some(by.origin.as_str().to_owned()),
            question,
        };
        Ok(self.federation().ask(&by.ctx, room, command).await?)
    }

    async fn version_of(&self, room: &str) -> Result<RoomVersion, MatrixError> {
        let version = self.federation().engine().graph_version(room).await?;
        version.ok_or_else(|| MatrixError::not_found("no such room here"))
    }

    fn now(&self) -> i64 {
        i64::try_from(self.federation().engine().now_ms()).unwrap_or(i64::MAX)
    }

    /// Events wrapped as a transaction.
    fn wrapped(&self, pdus: &[Pdu]) -> Response {
        let head = json!({ "origin": self.federation().name(), "origin_server_ts": self.now() }).to_string();
        let mut out = head.trim_end_matches('}').to_owned();
        out.push_str(",\"pdus\":");
        write_events(&mut out, pdus);
        out.push('}');
        raw_json(out)
    }
}

async fn read_body(body: Body, limit: usize, time: Duration) -> Result<Bytes, MatrixError> {
    let collect = async {
        let mut body = body;
        let mut kept = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|e| MatrixError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", e.to_string()))?;
            if let Ok(data) = frame.into_data() {
                if kept.len() + data.len() > limit {
                    let text = format!("the body is larger than {limit} octets");
                    return Err(MatrixError::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "M_TOO_LARGE",
                        text,
                    ));
                }
                kept.extend_from_slice(&data);
            }
        }
        Ok(kept.freeze())
    };
    tokio::time::timeout(time, collect).await.unwrap_or_else(|_| {
        let text = "the body did not arrive in time";
        Err(MatrixError::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", text))
    })
}

fn raw_json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn write_events(out: &mut String, pdus: &[Pdu]) {
    out.push('[');
    for (n, pdu) in pdus.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(pdu.as_str());
    }
    out.push(']');
}

fn ids(events: &[EventId]) -> Vec<String> {
    events.iter().map(ToString::to_string).collect()
}

fn event_id(text: &str) -> Result<EventId, MatrixError> {
    text.parse().map_err(|_| MatrixError::invalid("not an event id"))
}

fn value(query: Option<&str>, name: &str) -> Option<String> {
    values(query, name).into_iter().next()
}

fn required(query: Option<&str>, name: &'static str) -> Result<String, MatrixError> {
    value(query, name).ok_or_else(|| {
        MatrixError::new(
            StatusCode::BAD_REQUEST,
            "M_MISSING_PARAM",
            format!("the parameter {name} is missing"),
        )
    })
}

async fn unrecognized() -> MatrixError {
    MatrixError::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "unknown endpoint")
}

async fn wrong_method() -> MatrixError {
    MatrixError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "M_UNRECOGNIZED",
        "unknown method of this endpoint",
    )
}

async fn well_known(State(face): State<ServerFace>) -> Response {
    axum::Json(json!({ "m.server": face.federation().name() })).into_response()
}

async fn own_keys(State(face): State<ServerFace>) -> Response {
    axum::Json(face.federation().inner().own.document(face.now())).into_response()
}

async fn version() -> Response {
    axum::Json(json!({ "server": { "name": "Causeway", "version": env!("CARGO_PKG_VERSION") } }))
        .into_response()
}
