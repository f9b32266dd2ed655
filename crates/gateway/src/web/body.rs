//! Bodies with a bound in size and time.

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::time::Duration;

/// How much of a body is taken, and for how long one waits for it.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit {
    /// Octets.
    pub size: usize,
    /// From the head of the request to the end of its body.
    pub time: Duration,
}

/// A body that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Over the limit.
    #[error("the body is larger than {0} octets")]
    TooLarge(usize),
    /// Not complete in time.
    #[error("the body did not arrive in time")]
    Timeout,
    /// The connection broke.
    #[error("the body is incomplete")]
    Broken,
}

impl BodyError {
    /// A stable name for metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Timeout => "body_timeout",
            Self::Broken => "body_incomplete",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

impl BodyLimit {
    /// Reads a whole body.
    pub async fn read(self, body: Body) -> Result<Bytes, BodyError> {
        use hyper::body::Body as _;
        if body.size_hint().lower() > u64::try_from(self.size).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLarge(self.size));
        }
        match tokio::time::timeout(self.time, Limited::new(body, self.size).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(e)) if e.is::<LengthLimitError>() => Err(BodyError::TooLarge(self.size)),
            Ok(Err(_)) => Err(BodyError::Broken),
            Err(_) => Err(BodyError::Timeout),
        }
    }
}
