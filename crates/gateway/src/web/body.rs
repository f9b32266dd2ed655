//! Bodies with a bound in size and time.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
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

/// A body up to this many times the limit is read to its end and dropped, so that its sender gets to read the refusal;
/// a connection that is closed over unread octets takes the answer with it.
const DRAINED: usize = 4;

impl BodyLimit {
    /// Reads a whole body.
    pub async fn read(self, body: Body) -> Result<Bytes, BodyError> {
        tokio::time::timeout(self.time, self.collect(body))
            .await
            .unwrap_or(Err(BodyError::Timeout))
    }

    async fn collect(self, mut body: Body) -> Result<Bytes, BodyError> {
        let most = self.size.saturating_mul(DRAINED);
        if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLarge(self.size));
        }
        let mut kept = BytesMut::new();
        let mut total = 0_usize;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
                continue;
            };
            total = total.saturating_add(data.len());
            if total > most {
                break;
            }
            if total > self.size {
                kept = BytesMut::new();
            } else {
                kept.extend_from_slice(&data);
            }
        }
        if total > self.size {
            Err(BodyError::TooLarge(self.size))
        } else {
            Ok(kept.freeze())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;

    #[tokio::test]
    async fn a_body_is_whole_or_refused() {
        let limit = BodyLimit {
            size: 10,
            time: Duration::from_secs(5),
        };
        let chunks = |sizes: &'static [usize]| {
            let all = sizes
                .iter()
                .map(|n| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *n])));
            Body::from_stream(futures_util::stream::iter(all))
        };
        for sizes in [&[][..], &[0], &[10], &[4, 6]] {
            let size: usize = sizes.iter().sum();
            assert_eq!(limit.read(chunks(sizes)).await.unwrap().len(), size);
        }
        for sizes in [&[11][..], &[10, 1], &[4, 4, 4], &[100], &[10, 100]] {
            assert_eq!(
                limit.read(chunks(sizes)).await,
                Err(BodyError::TooLarge(10)),
                "{sizes:?}"
            );
        }
        assert_eq!(
            limit.read(Body::from(vec![0; 1000])).await,
            Err(BodyError::TooLarge(10))
        );
        let pending = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let short = BodyLimit {
            time: Duration::from_millis(1),
            ..limit
        };
        assert_eq!(short.read(pending).await, Err(BodyError::Timeout));
    }
}
