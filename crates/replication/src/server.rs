//! The server-server API as it is served (server-server API; specs' table in docs/architecture.md).
//!
//! Every handler authenticates first; then it translates. What a room answers, and to whom, is the room's to say.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use bytes::{Bytes, BytesMut};
use event_graph::json::{Raw, canonicalize};
use event_graph::{EventId, Pdu, RoomVersion};
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use room_engine::graphs::{Change, Fate, GraphCommand, GraphReply, InviteView, Question};
use room_engine::{Refusal, RequestContext};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::auth::{self, AuthError};
use crate::federation::{Federation, MOST_EDUS, MOST_PDUS, unexpected};
use crate::keys::Use;
use crate::server_name::ServerName;

/// Where what only nodes of ours speak is found.
pub const UNSTABLE: &str = "/_matrix/federation/unstable/org.causeway";
/// Largest body of a transaction: fifty events and a hundred EDUs.
const TRANSACTION: usize = 8 << 20;
/// Largest other body.
const SMALL: usize = 512 * 1024;
/// Events of a page of history.
const PAGE: usize = 100;
/// Events of an answer about missing ones.
const MISSING: usize = 50;

/// What the routes need.
#[derive(Clone)]
pub struct ServerFace(Arc<Inner>);

struct Inner {
    federation: Federation,
    body_time: Duration,
    /// One transaction of a server at a time.
    turns: Mutex<HashMap<ServerName, Arc<tokio::sync::Mutex<()>>>>,
}

/// An error in Matrix's form.
#[derive(Debug)]
pub struct MatrixError {
    status: StatusCode,
    errcode: &'static str,
    error: String,
    more: Vec<(&'static str, Value)>,
}

impl MatrixError {
    fn new(status: StatusCode, errcode: &'static str, error: impl Into<String>) -> Self {
        Self {
            status,
            errcode,
            error: error.into(),
            more: Vec::new(),
        }
    }

    fn bad_json(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", error)
    }

    fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", error)
    }

    fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", error)
    }

    fn invalid(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", error)
    }
}

impl IntoResponse for MatrixError {
    fn into_response(self) -> Response {
        metrics::counter!("causeway_refused_total", "face" => "matrix", "endpoint" => "federation", "reason" => self.errcode)
            .increment(1);
        let mut body = json!({ "errcode": self.errcode, "error": self.error });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.more.into_iter().map(|(k, v)| (k.to_owned(), v)));
        }
        (self.status, axum::Json(body)).into_response()
    }
}

impl From<AuthError> for MatrixError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Body(_) => Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", error.to_string()),
            _ => Self::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", error.to_string()),
        }
    }
}

impl From<Refusal> for MatrixError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Unknown { .. } => Self::not_found(text),
            Refusal::Forbidden { .. } => Self::forbidden(text),
            Refusal::Malformed { .. } => Self::invalid(text),
            Refusal::Unavailable { retry_after, .. } => {
                let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", text);
                let ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                error.more.push(("retry_after_ms", json!(ms)));
                error
            }
            Refusal::Store(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", text),
            _ => {
                tracing::error!(error = text, "a federation request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", "internal fault")
            }
        }
    }
}

type Answer = Result<Response, MatrixError>;

/// A request whose origin is known.
struct Authentic {
    origin: ServerName,
    ctx: RequestContext,
    body: Bytes,
}

impl Authentic {
    /// The body as JSON that Matrix accepts.
    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, MatrixError> {
        serde_json::from_slice(&self.body).map_err(|e| MatrixError::bad_json(e.to_string()))
    }
}

/// The routes. The caller puts its own layers around them.
pub fn router(federation: Federation, body_time: Duration) -> Router {
    let face = ServerFace(Arc::new(Inner {
        federation,
        body_time,
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
        Ok(Authentic { origin, ctx, body })
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

/// The values of a query's parameter.
fn values(query: Option<&str>, name: &str) -> Vec<String> {
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| decode(key) == name)
        .map(|(_, value)| decode(value))
        .take(100)
        .collect()
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

async fn send(State(face): State<ServerFace>, Path(_): Path<String>, request: Request) -> Answer {
    let by = face.authenticate(request, TRANSACTION).await?;
    let text = canonicalize(&by.body)
        .map_err(|e| MatrixError::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", e.to_string()))?;
    let content = Raw::new(&text);
    if !content.is_object() {
        return Err(MatrixError::bad_json("not an object"));
    }
    if content
        .get("origin")
        .and_then(Raw::as_str)
        .is_some_and(|o| o != by.origin.as_str())
    {
        return Err(MatrixError::forbidden("the transaction names another origin"));
    }
    let list = |name: &str, most: usize| -> Result<Vec<Raw<'_>>, MatrixError> {
        let Some(list) = content.get(name) else {
            return Ok(Vec::new());
        };
        let elements = list
            .elements()
            .ok_or_else(|| MatrixError::bad_json(format!("{name} is no list")))?;
        let elements: Vec<Raw<'_>> = elements.take(most + 1).collect();
        if elements.len() > most {
            return Err(MatrixError::invalid(format!("more than {most} {name}")));
        }
        Ok(elements)
    };
    let pdus = list("pdus", MOST_PDUS)?;
    let edus = list("edus", MOST_EDUS)?;
    // Nobody here has presence, receipts, devices or messages of that kind: they are counted and dropped.
    metrics::counter!("causeway_federation_edus_total").increment(edus.len() as u64);
    let turn = {
        let mut turns = face.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() > 10_000 {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        turns.entry(by.origin.clone()).or_default().clone()
    };
    let _turn = turn.lock().await;
    let results = face.federation().transaction(&by.ctx, &by.origin, &pdus).await?;
    metrics::counter!("causeway_federation_pdus_total").increment(pdus.len() as u64);
    let results: serde_json::Map<String, Value> = results
        .into_iter()
        .map(|(id, error)| {
            (
                id,
                error.map_or_else(|| json!({}), |error| json!({ "error": error })),
            )
        })
        .collect();
    Ok(axum::Json(json!({ "pdus": results })).into_response())
}

async fn event(State(face): State<ServerFace>, Path(event): Path<String>, request: Request) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let id = event_id(&event)?;
    let room = face.federation().engine().room_of_event(id).await?;
    let room = room.ok_or_else(|| MatrixError::not_found("no such event here"))?;
    match face.ask(&by, &room, Question::Event(id)).await? {
        GraphReply::Events(pdus) if !pdus.is_empty() => Ok(face.wrapped(&pdus)),
        GraphReply::Events(_) => Err(MatrixError::not_found("no such event here")),
        other => Err(unexpected(&other).into()),
    }
}

async fn event_auth(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    match face
        .ask(&by, &room, Question::AuthChain(event_id(&event)?))
        .await?
    {
        GraphReply::Events(pdus) => {
            let mut out = "{\"auth_chain\":".to_owned();
            write_events(&mut out, &pdus);
            out.push('}');
            Ok(raw_json(out))
        }
        other => Err(unexpected(&other).into()),
    }
}

async fn state_of(
    face: &ServerFace,
    by: &Authentic,
    room: &str,
    query: Option<&str>,
) -> Result<(Vec<EventId>, Vec<EventId>), MatrixError> {
    let id = event_id(&required(query, "event_id")?)?;
    match face.ask(by, room, Question::StateBefore(id)).await? {
        GraphReply::State { state, auth_chain } => Ok((state, auth_chain)),
        other => Err(unexpected(&other).into()),
    }
}

async fn state(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let version = face.version_of(&room).await?;
    let (state, chain) = state_of(&face, &by, &room, query.as_deref()).await?;
    let mut out = String::new();
    for (name, ids) in [("{\"pdus\":", state), (",\"auth_chain\":", chain)] {
        out.push_str(name);
        let mut pdus = Vec::with_capacity(ids.len());
        for id in ids {
            let pdu = face.federation().engine().event(id, version).await;
            pdus.extend(pdu.map_err(crate::healing::engine)?);
        }
        write_events(&mut out, &pdus);
    }
    out.push('}');
    Ok(raw_json(out))
}

async fn state_ids(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let (state, chain) = state_of(&face, &by, &room, query.as_deref()).await?;
    Ok(axum::Json(json!({ "pdu_ids": ids(&state), "auth_chain_ids": ids(&chain) })).into_response())
}

async fn backfill(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let query = query.as_deref();
    let limit: usize = required(query, "limit")?
        .parse()
        .map_err(|_| MatrixError::invalid("limit is no number"))?;
    let from = values(query, "v")
        .iter()
        .take(20)
        .map(|v| event_id(v))
        .collect::<Result<Vec<_>, _>>()?;
    let question = Question::Backfill {
        from,
        limit: limit.min(PAGE),
    };
    match face.ask(&by, &room, question).await? {
        GraphReply::Events(pdus) => Ok(face.wrapped(&pdus)),
        other => Err(unexpected(&other).into()),
    }
}

#[derive(Deserialize)]
struct MissingRequest {
    earliest_events: Vec<EventId>,
    latest_events: Vec<EventId>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    min_depth: Option<u64>,
}

async fn missing_events(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let wanted: MissingRequest = by.json()?;
    if wanted.earliest_events.len() > 1_000 || wanted.latest_events.len() > 1_000 {
        return Err(MatrixError::invalid("too many events"));
    }
    let limit = usize::try_from(wanted.limit.unwrap_or(10)).unwrap_or(MISSING);
    let question = Question::Missing {
        earliest: wanted.earliest_events,
        latest: wanted.latest_events,
        limit: limit.min(MISSING),
        min_depth: wanted.min_depth.unwrap_or(0),
    };
    match face.ask(&by, &room, question).await? {
        GraphReply::Events(pdus) => {
            let mut out = "{\"events\":".to_owned();
            write_events(&mut out, &pdus);
            out.push('}');
            Ok(raw_json(out))
        }
        other => Err(unexpected(&other).into()),
    }
}

async fn timestamp_to_event(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let query = query.as_deref();
    let ts: i64 = required(query, "ts")?
        .parse()
        .map_err(|_| MatrixError::invalid("ts is no number"))?;
    let forwards = match required(query, "dir")?.as_str() {
        "f" => true,
        "b" => false,
        _ => return Err(MatrixError::invalid("dir is f or b")),
    };
    match face.ask(&by, &room, Question::Nearest { ts, forwards }).await? {
        GraphReply::Events(pdus) => match pdus.first() {
            Some(pdu) => {
                let body = json!({
                    "event_id": pdu.event_id().to_string(), "origin_server_ts": pdu.origin_server_ts(),
                });
                Ok(axum::Json(body).into_response())
            }
            None => Err(MatrixError::not_found("no event near that time")),
        },
        other => Err(unexpected(&other).into()),
    }
}

async fn make(
    face: &ServerFace,
    room: &str,
    user: String,
    query: Option<String>,
    request: Request,
    change: Change,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let mut versions = values(query.as_deref(), "ver");
    if versions.is_empty() {
        // What not to name a version means.
        versions.push("1".to_owned());
    }
    let command = GraphCommand::Template {
        origin: by.origin.as_str().to_owned(),
        user,
        change,
        versions,
    };
    match face.federation().ask(&by.ctx, room, command).await? {
        GraphReply::Template { event, version } => {
            Ok(axum::Json(json!({ "event": event, "room_version": version.as_str() })).into_response())
        }
        GraphReply::IncompatibleVersion(version) => {
            let text = "your server doesn't know the room's version";
            let mut error = MatrixError::new(StatusCode::BAD_REQUEST, "M_INCOMPATIBLE_ROOM_VERSION", text);
            error.more.push(("room_version", json!(version.as_str())));
            Err(error)
        }
        other => Err(unexpected(&other).into()),
    }
}

type RoomAndUser = Path<(String, String)>;

async fn make_join(
    State(face): State<ServerFace>,
    Path((room, user)): RoomAndUser,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    make(&face, &room, user, query, request, Change::Join).await
}

async fn make_leave(
    State(face): State<ServerFace>,
    Path((room, user)): RoomAndUser,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    make(&face, &room, user, query, request, Change::Leave).await
}

async fn make_knock(
    State(face): State<ServerFace>,
    Path((room, user)): RoomAndUser,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    make(&face, &room, user, query, request, Change::Knock).await
}

/// The event of a body, verified, which has to be the one that the path names.
async fn event_of_path(
    face: &ServerFace,
    room: &str,
    event: &str,
    octets: &[u8],
    version: RoomVersion,
) -> Result<Pdu, MatrixError> {
    let verified = face.federation().verify(version, &[octets]).await;
    let pdu = match verified.into_iter().next() {
        Some(Ok(pdu)) => pdu,
        Some(Err(error)) => {
            return Err(MatrixError::forbidden(format!(
                "the event is not acceptable: {}",
                error.1
            )));
        }
        None => return Err(MatrixError::bad_json("no event")),
    };
    if pdu.event_id().to_string() != event {
        return Err(MatrixError::invalid("the path names another event"));
    }
    if pdu.room_id() != room {
        return Err(MatrixError::invalid("the path names another room"));
    }
    if pdu.is_redacted() {
        return Err(MatrixError::invalid("the content hash is wrong"));
    }
    Ok(pdu)
}

async fn receive(
    face: &ServerFace,
    room: &str,
    event: &str,
    request: Request,
    change: Change,
) -> Result<room_engine::graphs::Joined, MatrixError> {
    let by = face.authenticate(request, SMALL).await?;
    let version = face.version_of(room).await?;
    let pdu = event_of_path(face, room, event, &by.body, version).await?;
    let command = GraphCommand::Receive {
        origin: by.origin.as_str().to_owned(),
        pdu,
        change,
    };
    let joined = match face.federation().ask(&by.ctx, room, command).await? {
        GraphReply::Joined(joined) => *joined,
        other => return Err(unexpected(&other).into()),
    };
    match &joined.fate {
        Fate::Accepted | Fate::Known => Ok(joined),
        Fate::Rejected(rule) | Fate::SoftFailed(rule) => Err(MatrixError::forbidden(rule.describe())),
        Fate::Dropped(reason) => Err(MatrixError::invalid(*reason)),
        _ => Err(MatrixError::invalid(
            "the event refers to events that are not here",
        )),
    }
}

async fn send_join(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let joined = receive(&face, &room, &event, request, Change::Join).await?;
    // Ten thousand members make ten megabytes: written once, as they are stored.
    let mut out = String::with_capacity((joined.state.len() + joined.auth_chain.len()) * 1024 + 4096);
    let _ = write!(
        out,
        "{{\"origin\":{},\"members_omitted\":false,\"servers_in_room\":{},\"event\":{},\"state\":",
        json!(face.federation().name()),
        json!(joined.servers),
        joined.pdu.as_str()
    );
    write_events(&mut out, &joined.state);
    out.push_str(",\"auth_chain\":");
    write_events(&mut out, &joined.auth_chain);
    out.push('}');
    Ok(raw_json(out))
}

async fn send_leave(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    receive(&face, &room, &event, request, Change::Leave).await?;
    Ok(axum::Json(json!({})).into_response())
}

async fn send_knock(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let joined = receive(&face, &room, &event, request, Change::Knock).await?;
    let mut out = "{\"knock_room_state\":".to_owned();
    write_events(&mut out, &joined.state);
    out.push('}');
    Ok(raw_json(out))
}

#[derive(Deserialize)]
struct InviteRequest {
    room_version: String,
    event: Box<serde_json::value::RawValue>,
    #[serde(default)]
    invite_room_state: Vec<Value>,
}

/// Takes an invitation of the node user; gives the event with our signature.
async fn invited(
    face: &ServerFace,
    room: &str,
    event: &str,
    by: &Authentic,
    wanted: &InviteRequest,
) -> Result<Pdu, MatrixError> {
    let version: RoomVersion = wanted.room_version.parse().map_err(|_| {
        let mut error = MatrixError::new(
            StatusCode::BAD_REQUEST,
            "M_INCOMPATIBLE_ROOM_VERSION",
            "unknown room version",
        );
        error.more.push(("room_version", json!(wanted.room_version)));
        error
    })?;
    if wanted.invite_room_state.len() > 50 {
        return Err(MatrixError::invalid("too much invite_room_state"));
    }
    if version.rules().room_id_is_create_hash {
        let is_create = |e: &Value| e.get("type").and_then(Value::as_str) == Some("m.room.create");
        if !wanted.invite_room_state.iter().any(is_create) {
            let text = "invite_room_state lacks the create event";
            return Err(MatrixError::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", text));
        }
    }
    let pdu = event_of_path(face, room, event, wanted.event.get().as_bytes(), version).await?;
    let federation = face.federation();
    let user = federation.engine().node_user();
    let fits = pdu.event_type() == "m.room.member"
        && pdu.content_value().get("membership").and_then(Value::as_str) == Some("invite");
    if !fits {
        return Err(MatrixError::invalid("not an invitation"));
    }
    if event_graph::ids::server_of_user(pdu.sender()) != Some(by.origin.as_str()) {
        return Err(MatrixError::forbidden(
            "the inviter is no user of the sending server",
        ));
    }
    if pdu.state_key() != Some(user.as_str()) {
        return Err(MatrixError::forbidden("the invited user is none of this server"));
    }
    let invite = InviteView {
        room_id: room.to_owned(),
        room_version: version.as_str().to_owned(),
        sender: pdu.sender().to_owned(),
        origin: by.origin.as_str().to_owned(),
    };
    federation.engine().remember_invite(&invite, &pdu).await?;
    let signed = pdu.countersign(federation.client().identity());
    let signed = signed.map_err(|e| MatrixError::invalid(e.to_string()))?;
    // In a room that is here already the event counts at once.
    if federation.engine().graph_version(room).await?.is_some() {
        federation
            .admit(
                &by.ctx,
                room,
                Some(by.origin.as_str()),
                vec![signed.clone()],
                false,
            )
            .await?;
    }
    Ok(signed)
}

async fn invite_v2(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let wanted: InviteRequest = by.json()?;
    let signed = invited(&face, &room, &event, &by, &wanted).await?;
    Ok(raw_json(format!("{{\"event\":{}}}", signed.as_str())))
}

/// Only for room versions 1 and 2, which nobody here knows.
async fn invite_v1(
    State(face): State<ServerFace>,
    Path(_): Path<(String, String)>,
    request: Request,
) -> Answer {
    face.authenticate(request, SMALL).await?;
    let mut error = MatrixError::new(
        StatusCode::BAD_REQUEST,
        "M_INCOMPATIBLE_ROOM_VERSION",
        "rooms of versions 1 and 2 are not known here",
    );
    error.more.push(("room_version", json!("1")));
    Err(error)
}

async fn directory(State(face): State<ServerFace>, RawQuery(query): RawQuery, request: Request) -> Answer {
    face.authenticate(request, SMALL).await?;
    required(query.as_deref(), "room_alias")?;
    Err(MatrixError::not_found("this server has no room aliases"))
}

async fn profile(State(face): State<ServerFace>, RawQuery(query): RawQuery, request: Request) -> Answer {
    face.authenticate(request, SMALL).await?;
    let user = required(query.as_deref(), "user_id")?;
    own_user(&face, &user)?;
    let field = value(query.as_deref(), "field");
    let body = match field.as_deref() {
        None | Some("displayname") => json!({ "displayname": "Causeway" }),
        Some(_) => json!({}),
    };
    Ok(axum::Json(body).into_response())
}

/// The node user is the only one here; others' data are never given out (CVE-2023-43796).
fn own_user(face: &ServerFace, user: &str) -> Result<(), MatrixError> {
    if user == face.federation().engine().node_user() {
        Ok(())
    } else {
        Err(MatrixError::not_found("no such user here"))
    }
}

async fn devices(State(face): State<ServerFace>, Path(user): Path<String>, request: Request) -> Answer {
    face.authenticate(request, SMALL).await?;
    own_user(&face, &user)?;
    Ok(axum::Json(json!({ "user_id": user, "stream_id": 1, "devices": [] })).into_response())
}

async fn keys_query(State(face): State<ServerFace>, request: Request) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let wanted: Value = by.json()?;
    let users = wanted
        .get("device_keys")
        .and_then(Value::as_object)
        .ok_or_else(|| MatrixError::bad_json("device_keys is no object"))?;
    let own = face.federation().engine().node_user();
    let known: serde_json::Map<String, Value> = users
        .keys()
        .filter(|user| **user == own)
        .map(|user| (user.clone(), json!({})))
        .collect();
    Ok(axum::Json(json!({ "device_keys": known })).into_response())
}

async fn keys_claim(State(face): State<ServerFace>, request: Request) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let wanted: Value = by.json()?;
    wanted
        .get("one_time_keys")
        .and_then(Value::as_object)
        .ok_or_else(|| MatrixError::bad_json("one_time_keys is no object"))?;
    Ok(axum::Json(json!({ "one_time_keys": {} })).into_response())
}

/// Graphs are invite-only: none is public.
async fn public_rooms(State(face): State<ServerFace>, request: Request) -> Answer {
    face.authenticate(request, SMALL).await?;
    Ok(axum::Json(json!({ "chunk": [], "total_room_count_estimate": 0 })).into_response())
}

async fn hierarchy(State(face): State<ServerFace>, Path(room): Path<String>, request: Request) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let summary = match face.ask(&by, &room, Question::Summary).await {
        Ok(GraphReply::Summary(summary)) => summary,
        Ok(other) => return Err(unexpected(&other).into()),
        // Whoever may not see the room does not learn that it is here.
        Err(error) if error.status == StatusCode::FORBIDDEN => {
            return Err(MatrixError::not_found("no such room here"));
        }
        Err(error) => return Err(error),
    };
    let mut about = json!({
        "room_id": summary.room_id, "num_joined_members": summary.joined, "world_readable": false,
        "guest_can_join": false, "children_state": [], "room_version": summary.room_version,
        "join_rule": summary.join_rule.unwrap_or_else(|| "invite".to_owned()),
    });
    for (name, value) in [("name", summary.name), ("topic", summary.topic)] {
        if let (Some(value), Some(about)) = (value, about.as_object_mut()) {
            about.insert(name.to_owned(), json!(value));
        }
    }
    Ok(axum::Json(json!({ "room": about, "children": [], "inaccessible_children": [] })).into_response())
}

async fn openid() -> MatrixError {
    MatrixError::new(
        StatusCode::UNAUTHORIZED,
        "M_UNKNOWN_TOKEN",
        "no user of this server signs in that way",
    )
}

async fn heads(State(face): State<ServerFace>, Path(room): Path<String>, request: Request) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    match face.ask(&by, &room, Question::Heads).await? {
        GraphReply::Heads(heads) => Ok(axum::Json(json!({ "heads": ids(&heads.heads) })).into_response()),
        other => Err(unexpected(&other).into()),
    }
}
