//! Errors in the form that Matrix gives them.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use matrix_wire::auth::AuthError;
use matrix_wire::requests::TransactionError;
use room_engine::Refusal;
use serde_json::{Value, json};
use std::time::Duration;

/// An error in Matrix's form.
#[derive(Debug)]
pub struct MatrixError {
    pub(super) status: StatusCode,
    errcode: &'static str,
    error: String,
    pub(super) more: Vec<(&'static str, Value)>,
    retry_after: Option<u64>,
}

impl MatrixError {
    pub(super) fn new(status: StatusCode, errcode: &'static str, error: impl Into<String>) -> Self {
        Self {
            status,
            errcode,
            error: error.into(),
            more: Vec::new(),
            retry_after: None,
        }
    }

    /// The same, with when a repeat makes sense: in the body, and in whole seconds in the header.
    pub(super) fn again_in(mut self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.more.push(("retry_after_ms", json!(ms)));
        self.retry_after = Some(ms.div_ceil(1000));
        self
    }

    pub(super) fn bad_json(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", error)
    }

    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", error)
    }

    pub(super) fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", error)
    }

    pub(super) fn invalid(error: impl Into<String>) -> Self {
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
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<TransactionError> for MatrixError {
    fn from(error: TransactionError) -> Self {
        let text = error.to_string();
        match error {
            TransactionError::Json(_) => Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", text),
            TransactionError::OtherOrigin => Self::forbidden(text),
            TransactionError::TooMany(..) => Self::invalid(text),
            _ => Self::bad_json(text),
        }
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
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", text).again_in(retry_after)
            }
            Refusal::Store(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", text),
            _ => {
                tracing::error!(error = text, "a federation request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", "internal fault")
            }
        }
    }
}
