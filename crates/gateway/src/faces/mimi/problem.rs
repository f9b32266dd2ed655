//! Requests that get no further than HTTP. Outcomes of the protocol are inside 200 bodies and not here.

use super::FACE;
use crate::assets::AssetError;
use crate::faces::claims::ClaimError;
use crate::tls::PeerRefusal;
use crate::web::{BodyError, TooMany, refused};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use room_engine::{EngineError, Refusal};
use serde_json::json;
use std::time::Duration;

/// An HTTP error of the face. Made once per refused request: making it counts it.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    text: String,
    retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(
        endpoint: &'static str,
        status: StatusCode,
        code: &'static str,
        text: impl Into<String>,
    ) -> Self {
        refused(FACE, endpoint, code);
        let text = text.into();
        tracing::info!(endpoint, code, text, "refused");
        Self {
            status,
            code,
            text,
            retry_after: None,
        }
    }

    fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    pub(super) fn peer(endpoint: &'static str, refusal: PeerRefusal) -> Self {
        Self::new(endpoint, refusal.status(), refusal.code(), refusal.to_string())
    }

    pub(super) fn too_many(endpoint: &'static str, too_many: TooMany) -> Self {
        Self::new(endpoint, too_many.status(), too_many.code(), too_many.to_string())
            .after(Some(too_many.retry_after()))
    }

    pub(super) fn asset(endpoint: &'static str, error: &AssetError) -> Self {
        let retry_after = match error.status() {
            StatusCode::SERVICE_UNAVAILABLE => Some(Duration::from_secs(5)),
            _ => None,
        };
        if let AssetError::Refusal(refusal) = error {
            return Self::refusal(endpoint, refusal);
        }
        Self::new(endpoint, error.status(), error.code(), error.to_string()).after(retry_after)
    }

    pub(super) fn body(endpoint: &'static str, error: BodyError) -> Self {
        Self::new(endpoint, error.status(), error.code(), error.to_string())
    }

    pub(super) fn malformed(endpoint: &'static str, text: impl Into<String>) -> Self {
        Self::new(endpoint, StatusCode::BAD_REQUEST, "malformed", text)
    }

    pub(super) fn refusal(endpoint: &'static str, refusal: &Refusal) -> Self {
        let status = match refusal {
            // A room of another hub is as unknown here as one that doesn't exist.
            Refusal::Unknown { .. } | Refusal::NotHub { .. } => StatusCode::NOT_FOUND,
            Refusal::Forbidden { .. } | Refusal::Unauthorized => StatusCode::FORBIDDEN,
            Refusal::Malformed { .. } => StatusCode::BAD_REQUEST,
            Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Conflict { .. } => StatusCode::CONFLICT,
            Refusal::Unavailable { .. } | Refusal::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::warn!(error = %chain(refusal), "the engine could not do it");
        }
        let text = if status == StatusCode::INTERNAL_SERVER_ERROR {
            "internal fault".into()
        } else {
            refusal.to_string()
        };
        let retry_after = match refusal {
            Refusal::Unavailable { retry_after, .. } => Some(*retry_after),
            Refusal::Store(_) => Some(Duration::from_secs(5)),
            _ => None,
        };
        Self::new(endpoint, status, refusal.code(), text).after(retry_after)
    }

    pub(super) fn engine(endpoint: &'static str, error: &EngineError) -> Self {
        tracing::warn!(error = %chain(error), "the store could not be read");
        let text = "the store can't be read now";
        Self::new(endpoint, StatusCode::SERVICE_UNAVAILABLE, "store", text)
            .after(Some(Duration::from_secs(5)))
    }

    pub(super) fn claim(endpoint: &'static str, error: &ClaimError) -> Self {
        match error {
            ClaimError::Refusal(refusal) => Self::refusal(endpoint, refusal),
            ClaimError::Link(error) => Self::new(
                endpoint,
                StatusCode::SERVICE_UNAVAILABLE,
                error.code(),
                error.to_string(),
            )
            .after(Some(Duration::from_secs(5))),
            ClaimError::Status { retry_after, .. } => {
                let wait = retry_after.unwrap_or(Duration::from_secs(5));
                Self::new(
                    endpoint,
                    StatusCode::SERVICE_UNAVAILABLE,
                    "peer_status",
                    error.to_string(),
                )
                .after(Some(wait))
            }
            ClaimError::Answer { .. } => Self::new(
                endpoint,
                StatusCode::BAD_GATEWAY,
                "peer_answer",
                error.to_string(),
            ),
        }
    }
}

/// An error with what lies below it, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let below = error
        .source()
        .map(|e| format!(": {}", chain(e)))
        .unwrap_or_default();
    format!("{error}{below}")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response =
            (self.status, Json(json!({"code": self.code, "error": self.text}))).into_response();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
