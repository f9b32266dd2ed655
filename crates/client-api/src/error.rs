//! Errors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every error of the client API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiError {
    /// For programs.
    pub code: ApiErrorCode,
    /// For people: cause and remedy.
    pub error: String,
    /// Milliseconds after which a repeat makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Codes of [`ApiError`], with the HTTP status each goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiErrorCode {
    /// 400: the body is not what this endpoint takes.
    Malformed,
    /// 401: no or an unknown session token, or a wrong sign-in secret.
    Unauthorized,
    /// 403: known, but not permitted.
    Forbidden,
    /// 404: no such thing, or nothing that this user may see.
    NotFound,
    /// 409: exists already with other content.
    Conflict,
    /// 413: larger than the limit.
    TooLarge,
    /// 429: too many requests; `retry_after_ms` says when.
    RateLimited,
    /// 503: the hub or the store can't answer now; repeat the same request after `retry_after_ms`.
    Unavailable,
    /// 500: a fault of this provider.
    Internal,
}

impl ApiErrorCode {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}
