//! Why the engine does not do what it was asked.
//!
//! What a hub answers inside a MIMI body (wrongEpoch, notAllowed, ...) is no refusal but an outcome; these are for
//! requests that can't get that far.

use mimi_wire::uri::Domain;
use std::time::Duration;
use store::StoreError;

/// A request that changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing by that name here, or nothing that the caller may see.
    #[error("there is no {what} here, or it is not yours to see")]
    Unknown {
        /// A noun: room, user, session...
        what: &'static str,
    },
    /// The room lives elsewhere.
    #[error("this provider is not the hub of the room, {hub} is")]
    NotHub {
        /// The room's hub.
        hub: Domain,
    },
    /// The caller is known and may not do this.
    #[error("not permitted: {reason}")]
    Forbidden {
        /// What is missing.
        reason: String,
    },
    /// No or a wrong secret.
    #[error("not signed in, or the secret is wrong")]
    Unauthorized,
    /// Octets that are not what they should be.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was to be read.
        what: &'static str,
        /// Why it can't be.
        reason: String,
    },
    /// Over a limit.
    #[error("{what} is larger than {limit} octets")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Exists already, and differs.
    #[error("{what} exists already with other content")]
    Conflict {
        /// What does.
        what: &'static str,
    },
    /// Can't be known or done now; the same request may be repeated.
    #[error("not available now, repeat the request after {} ms: {reason}", retry_after.as_millis())]
    Unavailable {
        /// When to repeat.
        retry_after: Duration,
        /// What is missing.
        reason: String,
    },
    /// The store failed; nothing was written.
    #[error("the store refused the write")]
    Store(#[source] StoreError),
    /// A broken invariant of this program.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { retry_after, why } => Self::Unavailable {
                retry_after,
                reason: why.to_string(),
            },
            error => Self::Store(error),
        }
    }
}

impl Refusal {
    /// A stable name for programs, metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown",
            Self::NotHub { .. } => "not_hub",
            Self::Forbidden { .. } => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Conflict { .. } => "conflict",
            Self::Unavailable { .. } => "unavailable",
            Self::Store(_) => "store",
            Self::Internal(_) => "internal",
        }
    }

    pub(crate) fn malformed(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Malformed {
            what,
            reason: why.to_string(),
        }
    }

    pub(crate) fn forbidden(reason: impl Into<String>) -> Self {
        Self::Forbidden {
            reason: reason.into(),
        }
    }

    pub(crate) fn internal(why: impl std::fmt::Display) -> Self {
        Self::Internal(why.to_string())
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable {
            retry_after: Duration::from_secs(1),
            reason: reason.into(),
        }
    }
}
