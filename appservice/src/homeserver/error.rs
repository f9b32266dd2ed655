//! What can go wrong with the homeserver, sorted by what to do about it.

use crate::matrix::RetryAfter;
use serde::Deserialize;
use std::time::{Duration, SystemTime};

/// Why the homeserver did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HomeserverError {
    /// A value of ours makes no request: configuration or a record is wrong.
    #[error("{0}")]
    Setup(String),
    /// No answer: connection, TLS, time-out.
    #[error("the homeserver can't be reached: {0}")]
    Network(String),
    /// 429.
    #[error("the homeserver limits our rate")]
    RateLimited {
        /// What it wishes.
        retry_after: Option<Duration>,
    },
    /// Any other status that means no.
    #[error("the homeserver answered {status} {errcode}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Matrix error code; empty if the answer wasn't Matrix's (a proxy's error page).
        errcode: String,
        /// The homeserver's text.
        message: String,
    },
    /// A good status with a body that we can't read.
    #[error("the homeserver's answer can't be read: {0}")]
    Answer(String),
}

impl HomeserverError {
    /// Makes the error of an answer that isn't a success.
    pub(crate) fn from_answer(answer: &http::Response<Vec<u8>>) -> Self {
        #[derive(Default, Deserialize)]
        struct Body {
            #[serde(default)]
            errcode: String,
            #[serde(default)]
            error: String,
            #[serde(default)]
            retry_after_ms: Option<u64>,
        }
        let status = answer.status().as_u16();
        let body: Body = serde_json::from_slice(answer.body()).unwrap_or_default();
        if status == 429 {
            let header = answer
                .headers()
                .get(http::header::RETRY_AFTER)
                .and_then(|h| RetryAfter::try_from(h).ok());
            let retry_after = match header {
                Some(RetryAfter::Delay(delay)) => Some(delay),
                Some(RetryAfter::DateTime(at)) => at.duration_since(SystemTime::now()).ok(),
                None => body.retry_after_ms.map(Duration::from_millis),
            };
            return Self::RateLimited { retry_after };
        }
        Self::Refused {
            status,
            errcode: shortened(body.errcode),
            message: shortened(body.error),
        }
    }

    /// The HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::RateLimited { .. } => Some(429),
            _ => None,
        }
    }

    /// The Matrix error code, where there is one.
    pub fn errcode(&self) -> Option<&str> {
        match self {
            Self::Refused { errcode, .. } if !errcode.is_empty() => Some(errcode),
            Self::RateLimited { .. } => Some("M_LIMIT_EXCEEDED"),
            _ => None,
        }
    }

    /// Whether the same request may well succeed later: nothing is wrong with it, but with the homeserver, the way
    /// to it, or its knowledge of our token. An operator mends those; no entry may be given up for them.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Setup(_) => false,
            Self::Network(_) | Self::RateLimited { .. } | Self::Answer(_) => true,
            Self::Refused { status, errcode, .. } => {
                *status >= 500
                    || matches!(*status, 300..=399 | 401 | 408)
                    // Not Matrix: a proxy or a wrong address.
                    || errcode.is_empty()
                    || matches!(errcode.as_str(), "M_UNRECOGNIZED" | "M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN")
            }
        }
    }
}

/// The homeserver's text goes into logs: not without end.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(500) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(status: u16, header: Option<&str>, body: &str) -> HomeserverError {
        let mut answer = http::Response::builder().status(status);
        if let Some(value) = header {
            answer = answer.header("retry-after", value);
        }
        HomeserverError::from_answer(&answer.body(body.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn the_wish_of_a_rate_limit_is_read_from_header_and_body() {
        let body = r#"{"errcode":"M_LIMIT_EXCEEDED","error":"slow","retry_after_ms":1500}"#;
        let after = |error| match error {
            HomeserverError::RateLimited { retry_after } => retry_after,
            _ => None,
        };
        assert_eq!(after(answer(429, None, body)), Some(Duration::from_millis(1500)));
        assert_eq!(after(answer(429, Some("7"), body)), Some(Duration::from_secs(7)));
        assert_eq!(after(answer(429, None, "<html>")), None);
    }

    #[test]
    fn what_an_operator_mends_is_never_given_up() {
        for (status, body) in [
            (500, r#"{"errcode":"M_UNKNOWN"}"#),
            (502, "<html>bad gateway"),
            (404, "<html>wrong vhost"),
            (404, r#"{"errcode":"M_UNRECOGNIZED"}"#),
            (401, r#"{"errcode":"M_UNKNOWN_TOKEN"}"#),
            (302, ""),
        ] {
            assert!(answer(status, None, body).is_transient(), "{status} {body}");
        }
        for (status, code) in [
            (403, "M_FORBIDDEN"),
            (413, "M_TOO_LARGE"),
            (400, "M_BAD_JSON"),
            (404, "M_NOT_FOUND"),
        ] {
            let error = answer(status, None, &format!(r#"{{"errcode":"{code}","error":"x"}}"#));
            assert!(!error.is_transient(), "{status} {code}");
            assert_eq!(error.errcode(), Some(code));
        }
    }
}
