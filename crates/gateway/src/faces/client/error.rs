//! [`ApiError`] and what leads to it.

use super::FACE;
use crate::assets::AssetError;
use crate::faces::claims::ClaimError;
use crate::mimi_client::{Answer, LinkError};
use crate::web::{BodyError, refused};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mls_client::api::{ApiError, ApiErrorCode};
use room_engine::{EngineError, Refusal};
use std::time::Duration;

/// When to repeat where nobody says.
const SOON: Duration = Duration::from_secs(2);

/// An error answer. Making it counts it.
#[derive(Debug)]
pub(super) struct Problem(ApiError);

impl Problem {
    pub(super) fn new(endpoint: &'static str, code: ApiErrorCode, text: impl Into<String>) -> Self {
        Self::because(endpoint, code, name(code), text)
    }

    fn because(
        endpoint: &'static str,
        code: ApiErrorCode,
        reason: &'static str,
        text: impl Into<String>,
    ) -> Self {
        refused(FACE, endpoint, reason);
        let error = text.into();
        // Not the text: what a parser complains about may be a token in the wrong place.
        tracing::info!(endpoint, reason, "refused");
        Self(ApiError {
            code,
            error,
            retry_after_ms: None,
        })
    }

    fn after(mut self, after: Duration) -> Self {
        self.0.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        self.0.code == ApiErrorCode::Unavailable
    }

    pub(super) fn malformed(endpoint: &'static str, text: impl Into<String>) -> Self {
        Self::new(endpoint, ApiErrorCode::Malformed, text)
    }

    pub(super) fn unauthorized(endpoint: &'static str, text: impl Into<String>) -> Self {
        Self::new(endpoint, ApiErrorCode::Unauthorized, text)
    }

    pub(super) fn unavailable(
        endpoint: &'static str,
        text: impl Into<String>,
        after: Option<Duration>,
    ) -> Self {
        Self::new(endpoint, ApiErrorCode::Unavailable, text).after(after.unwrap_or(SOON))
    }

    pub(super) fn body(endpoint: &'static str, error: BodyError) -> Self {
        let code = match error {
            BodyError::TooLarge(_) => ApiErrorCode::TooLarge,
            _ => ApiErrorCode::Malformed,
        };
        Self::because(endpoint, code, error.code(), error.to_string())
    }

    pub(super) fn refusal(endpoint: &'static str, refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::Unknown { .. } => ApiErrorCode::NotFound,
            Refusal::Forbidden { .. } | Refusal::NotHub { .. } => ApiErrorCode::Forbidden,
            Refusal::Unauthorized => ApiErrorCode::Unauthorized,
            Refusal::Malformed { .. } => ApiErrorCode::Malformed,
            Refusal::TooLarge { .. } => ApiErrorCode::TooLarge,
            Refusal::Conflict { .. } => ApiErrorCode::Conflict,
            Refusal::Unavailable { .. } | Refusal::Store(_) => ApiErrorCode::Unavailable,
            _ => ApiErrorCode::Internal,
        };
        let text = match refusal {
            Refusal::Store(error) => {
                tracing::error!(%error, "the store failed");
                "the provider's store can't be written now".to_owned()
            }
            Refusal::Internal(fault) => {
                tracing::error!(fault, "internal fault");
                "internal fault; the provider's log says more".to_owned()
            }
            other => other.to_string(),
        };
        let problem = Self::because(endpoint, code, refusal.code(), text);
        match refusal {
            Refusal::Unavailable { retry_after, .. } => problem.after(*retry_after),
            Refusal::Store(_) => problem.after(SOON),
            _ => problem,
        }
    }

    pub(super) fn engine(endpoint: &'static str, error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => Self::refusal(endpoint, &Refusal::Store(error)),
            other => Self::refusal(endpoint, &Refusal::Internal(other.to_string())),
        }
    }

    pub(super) fn link(endpoint: &'static str, error: &LinkError) -> Self {
        match error {
            LinkError::NotAPeer(_) => {
                Self::because(endpoint, ApiErrorCode::Forbidden, error.code(), error.to_string())
            }
            _ => Self::because(
                endpoint,
                ApiErrorCode::Unavailable,
                error.code(),
                error.to_string(),
            )
            .after(SOON),
        }
    }

    pub(super) fn asset(endpoint: &'static str, error: &AssetError) -> Self {
        let code = match error {
            AssetError::Refusal(refusal) => return Self::refusal(endpoint, refusal),
            AssetError::Link(error) => return Self::link(endpoint, error),
            AssetError::Upstream(status) => {
                return Self::status(endpoint, *status, None, error.to_string());
            }
            AssetError::NotFound => ApiErrorCode::NotFound,
            AssetError::NotAnAssetHost(_) => ApiErrorCode::Forbidden,
            AssetError::TooLarge(_) => ApiErrorCode::TooLarge,
            AssetError::BadUrl => ApiErrorCode::Malformed,
            AssetError::Body(error) => return Self::body(endpoint, *error),
        };
        Self::because(endpoint, code, error.code(), error.to_string())
    }

    pub(super) fn claim(endpoint: &'static str, error: &ClaimError) -> Self {
        match error {
            ClaimError::Refusal(refusal) => Self::refusal(endpoint, refusal),
            ClaimError::Link(error) => Self::link(endpoint, error),
            ClaimError::Status {
                status, retry_after, ..
            } => Self::status(endpoint, *status, *retry_after, error.to_string()),
            ClaimError::Answer { .. } => Self::unavailable(endpoint, error.to_string(), None),
        }
    }

    /// An HTTP error of the hub.
    pub(super) fn answer(endpoint: &'static str, hub: &mimi_wire::Domain, answer: &Answer) -> Self {
        Self::status(
            endpoint,
            answer.status,
            answer.retry_after,
            format!("the hub {hub} answered {}", answer.status),
        )
    }

    fn status(endpoint: &'static str, status: StatusCode, after: Option<Duration>, text: String) -> Self {
        let code = match status.as_u16() {
            400 => ApiErrorCode::Malformed,
            401 | 403 => ApiErrorCode::Forbidden,
            404 => ApiErrorCode::NotFound,
            409 => ApiErrorCode::Conflict,
            413 => ApiErrorCode::TooLarge,
            _ => return Self::unavailable(endpoint, text, after),
        };
        Self::new(endpoint, code, text)
    }
}

fn name(code: ApiErrorCode) -> &'static str {
    match code {
        ApiErrorCode::Malformed => "malformed",
        ApiErrorCode::Unauthorized => "unauthorized",
        ApiErrorCode::Forbidden => "forbidden",
        ApiErrorCode::NotFound => "unknown",
        ApiErrorCode::Conflict => "conflict",
        ApiErrorCode::TooLarge => "too_large",
        ApiErrorCode::RateLimited => "rate_limited",
        ApiErrorCode::Unavailable => "unavailable",
        ApiErrorCode::Internal => "internal",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let after = self.0.retry_after_ms;
        let mut response = (status, Json(self.0)).into_response();
        if let Some(ms) = after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
        }
        response
    }
}

pub(super) async fn unknown() -> Problem {
    Problem::new("none", ApiErrorCode::NotFound, "there is no such endpoint")
}

pub(super) async fn wrong_method() -> Response {
    let problem = Problem::malformed("none", "the endpoint takes another method");
    (StatusCode::METHOD_NOT_ALLOWED, Json(problem.0)).into_response()
}
