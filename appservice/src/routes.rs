//! What the homeserver calls (Application Service API, "Pushing events", "Querying", "Pinging").
//!
//! A transaction is answered 200 only after [`Intake::transaction`] has made it durable; nothing here waits for
//! another machine. Any other answer than 200 makes the homeserver stop and repeat, so events that are no good are
//! set aside with their reason.

use crate::thirdparty::{self, Place, Protocol, User};
use crate::tokens::KeyRing;
use async_trait::async_trait;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use matrix_wire::push::{Incoming, PushError};
use room_engine::Taken;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Largest request body unless told otherwise. A transaction has at most 100 events of 65,536 octets, which the client format makes
/// larger, and as many to-device messages.
pub const MAX_BODY: usize = 32 * 1024 * 1024;
/// Longest transaction id taken.
const MAX_TXN_ID: usize = 255;

/// What happens to what the homeserver sends. The room engine is the one that counts.
#[async_trait]
pub trait Intake: Send + Sync + 'static {
    /// Takes a transaction: when this returns `Ok`, it survives a crash. A repeat, by transaction or by event
    /// id, changes nothing.
    async fn transaction(&self, request_id: &str, incoming: Incoming) -> Result<Taken, IntakeError>;

    /// Whether there is a portal behind an alias of our namespace.
    async fn alias(&self, alias: &str) -> Result<Lookup, IntakeError>;

    /// Whether a user of our namespace exists.
    async fn user(&self, user: &str) -> Result<Lookup, IntakeError>;

    /// The portals of rooms that fit: all, or the one with this alias or this MIMI URI.
    async fn places(&self, wanted: &thirdparty::Wanted) -> Result<Vec<Place>, IntakeError>;

    /// The homeserver's name, which is part of every ghost's id.
    fn server_name(&self) -> String;
}

/// Answer to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It exists on the homeserver.
    Exists,
    /// No such thing.
    Unknown,
}

/// Why a transaction or query can't be answered now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// Not now; the homeserver is to repeat.
    #[error("not now: {reason}")]
    Unavailable {
        /// Why, for logs.
        reason: String,
        /// When a repeat makes sense.
        retry_after: Option<Duration>,
    },
    /// Never: a repeat of the same octets would fail in the same way.
    #[error("refused: {0}")]
    Refused(String),
}

/// What the routes need.
#[derive(Clone)]
pub struct AppserviceState {
    /// Takes what comes.
    pub intake: Arc<dyn Intake>,
    /// What the homeserver has to present.
    pub tokens: KeyRing,
    /// Largest request body, in octets ([`MAX_BODY`] where nobody says).
    pub max_body: usize,
}

/// The application service's HTTP interface.
pub fn routes(state: AppserviceState) -> Router {
    let api = Router::new()
        .route("/_matrix/app/v1/transactions/{txn_id}", put(transaction))
        .route("/_matrix/app/v1/users/{user_id}", get(user))
        .route("/_matrix/app/v1/rooms/{alias}", get(room))
        .route("/_matrix/app/v1/ping", post(ping))
        .route(
            "/_matrix/app/v1/thirdparty/protocol/{protocol}",
            get(thirdparty_protocol),
        )
        .route("/_matrix/app/v1/thirdparty/user/{protocol}", get(thirdparty_user))
        .route("/_matrix/app/v1/thirdparty/user", get(thirdparty_user_by_id))
        .route(
            "/_matrix/app/v1/thirdparty/location/{protocol}",
            get(thirdparty_location),
        )
        .route(
            "/_matrix/app/v1/thirdparty/location",
            get(thirdparty_location_by_alias),
        )
        // Where homeservers look when the paths above answer 404.
        .route("/transactions/{txn_id}", put(transaction))
        .route("/users/{user_id}", get(user))
        .route("/rooms/{alias}", get(room));
    api.method_not_allowed_fallback(wrong_method)
        .fallback(unrecognized)
        // First the token, then the body.
        .layer(DefaultBodyLimit::max(state.max_body))
        .layer(middleware::from_fn_with_state(state.clone(), authenticate))
        .with_state(state)
}

/// An error as Matrix writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixError {
    status: StatusCode,
    errcode: &'static str,
    error: String,
    retry_after: Option<Duration>,
}

impl MatrixError {
    pub(crate) fn new(status: StatusCode, errcode: &'static str, error: impl Into<String>) -> Self {
        Self {
            status,
            errcode,
            error: error.into(),
            retry_after: None,
        }
    }
}

impl From<BytesRejection> for MatrixError {
    fn from(rejection: BytesRejection) -> Self {
        let errcode = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "M_TOO_LARGE",
            _ => "M_UNKNOWN",
        };
        Self::new(rejection.status(), errcode, rejection.body_text())
    }
}

impl From<PushError> for MatrixError {
    fn from(error: PushError) -> Self {
        let (status, errcode) = match &error {
            PushError::NotJson(_) => (StatusCode::BAD_REQUEST, "M_NOT_JSON"),
            PushError::TooMany => (StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE"),
            _ => (StatusCode::BAD_REQUEST, "M_BAD_JSON"),
        };
        Self::new(status, errcode, error.to_string())
    }
}

impl From<IntakeError> for MatrixError {
    fn from(error: IntakeError) -> Self {
        let text = error.to_string();
        match error {
            IntakeError::Unavailable { retry_after, .. } => Self {
                retry_after,
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", text)
            },
            IntakeError::Refused(_) => Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", text),
        }
    }
}

impl IntoResponse for MatrixError {
    fn into_response(self) -> Response {
        metrics::counter!("causeway_appservice_refused_total", "errcode" => self.errcode).increment(1);
        let body = Json(json!({"errcode": self.errcode, "error": self.error}));
        let mut response = (self.status, body).into_response();
        if let Some(after) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, after.as_secs().max(1).into());
        }
        response
    }
}

/// The legacy way to present a token.
#[derive(Deserialize)]
struct LegacyToken {
    access_token: Option<String>,
}

async fn authenticate(
    State(state): State<AppserviceState>,
    Query(legacy): Query<LegacyToken>,
    request: Request,
    next: Next,
) -> Response {
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match bearer.or(legacy.access_token.as_deref()) {
        None => MatrixError::new(StatusCode::UNAUTHORIZED, "M_MISSING_TOKEN", "no hs_token").into_response(),
        Some(token) if state.tokens.accepts(token) => next.run(request).await,
        Some(_) => {
            tracing::warn!("a request with a wrong hs_token; does the homeserver have our registration?");
            MatrixError::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", "wrong hs_token").into_response()
        }
    }
}

/// The request id that an outer layer gave, or one from the transaction.
fn request_id(headers: &HeaderMap, txn_id: &str) -> String {
    headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .map_or_else(|| format!("txn-{txn_id}"), ToOwned::to_owned)
}

async fn transaction(
    State(state): State<AppserviceState>,
    Path(txn_id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, MatrixError> {
    let body = body?;
    if txn_id.len() > MAX_TXN_ID {
        return Err(MatrixError::new(
            StatusCode::BAD_REQUEST,
            "M_INVALID_PARAM",
            "transaction id too long",
        ));
    }
    let incoming = Incoming::parse(&txn_id, &body)?;
    let request_id = request_id(&headers, &txn_id);
    count(&incoming);
    for unusable in &incoming.unusable {
        tracing::warn!(
            request_id,
            event_id = unusable.event_id,
            code = unusable.code,
            reason = unusable.reason,
            "an event of the homeserver is not usable and is set aside"
        );
    }
    let events = incoming.events.len();
    state.intake.transaction(&request_id, incoming).await?;
    metrics::counter!("causeway_appservice_transactions_total").increment(1);
    metrics::counter!("causeway_appservice_events_total")
        .increment(u64::try_from(events).unwrap_or(u64::MAX));
    Ok(ok())
}

/// What came besides events, for operators who wonder why receipts or messages to devices don't arrive.
fn count(incoming: &Incoming) {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    for unusable in &incoming.unusable {
        metrics::counter!("causeway_appservice_unusable_events_total", "code" => unusable.code).increment(1);
    }
    let ephemeral: usize = incoming.ephemeral.values().sum();
    let lists = incoming.device_lists.changed.len() + incoming.device_lists.left.len();
    for (kind, n) in [
        ("ephemeral", ephemeral),
        ("to_device", incoming.to_device.len()),
        ("device_lists", lists),
        ("key_counts", incoming.one_time_keys.len()),
    ] {
        if n > 0 {
            metrics::counter!("causeway_appservice_extras_total", "kind" => kind).increment(number(n));
        }
    }
}

async fn user(
    State(state): State<AppserviceState>,
    Path(user): Path<String>,
) -> Result<Response, MatrixError> {
    found(state.intake.user(&user).await?, "no such user")
}

async fn room(
    State(state): State<AppserviceState>,
    Path(alias): Path<String>,
) -> Result<Response, MatrixError> {
    found(state.intake.alias(&alias).await?, "no such room")
}

fn found(lookup: Lookup, otherwise: &'static str) -> Result<Response, MatrixError> {
    match lookup {
        Lookup::Exists => Ok(ok()),
        Lookup::Unknown => Err(MatrixError::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", otherwise)),
    }
}

async fn ping() -> Response {
    ok()
}

async fn thirdparty_protocol(Path(protocol): Path<String>) -> Result<Json<Protocol>, MatrixError> {
    thirdparty::known(&protocol)?;
    Ok(Json(thirdparty::protocol()))
}

async fn thirdparty_user(
    State(state): State<AppserviceState>,
    Path(protocol): Path<String>,
    Query(fields): Query<thirdparty::Fields>,
) -> Result<Json<Vec<User>>, MatrixError> {
    thirdparty::known(&protocol)?;
    Ok(Json(thirdparty::users(&fields, &state.intake.server_name())))
}

async fn thirdparty_user_by_id(
    State(state): State<AppserviceState>,
    Query(fields): Query<thirdparty::Fields>,
) -> Result<Json<Vec<User>>, MatrixError> {
    let user = fields.userid.as_deref().unwrap_or_default();
    Ok(Json(thirdparty::user_by_id(user, &state.intake.server_name())))
}

async fn thirdparty_location(
    State(state): State<AppserviceState>,
    Path(protocol): Path<String>,
    Query(fields): Query<thirdparty::Fields>,
) -> Result<Json<Vec<Place>>, MatrixError> {
    thirdparty::known(&protocol)?;
    let wanted = thirdparty::Wanted {
        uri: fields.uri,
        alias: None,
    };
    Ok(Json(state.intake.places(&wanted).await?))
}

async fn thirdparty_location_by_alias(
    State(state): State<AppserviceState>,
    Query(fields): Query<thirdparty::Fields>,
) -> Result<Json<Vec<Place>>, MatrixError> {
    let wanted = thirdparty::Wanted {
        uri: None,
        alias: Some(fields.alias.unwrap_or_default()),
    };
    Ok(Json(state.intake.places(&wanted).await?))
}

async fn unrecognized() -> MatrixError {
    MatrixError::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "no such endpoint")
}

async fn wrong_method() -> MatrixError {
    MatrixError::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "wrong method")
}

fn ok() -> Response {
    Json(json!({})).into_response()
}

#[cfg(test)]
pub(crate) mod tests;
