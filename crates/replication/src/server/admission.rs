//! How much one server may ask. Counting begins once a server has shown who it is, so that nobody can use up what
//! another may take.

use http::StatusCode;
use std::time::Duration;

use super::error::MatrixError;

/// A request that was let in, for as long as it is worked on.
pub type Admitted = Box<dyn Send + Sync>;

/// Says whether one more request of a server is taken.
pub trait Admission: Send + Sync {
    /// Lets a request in, or says why not and when to come again.
    fn enter(&self, origin: &str) -> Result<Admitted, Denied>;
}

/// A request that is one too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: String,
    /// When a repeat makes sense.
    pub retry_after: Duration,
}

/// No bounds: for tests and benches.
#[derive(Clone, Copy, Debug)]
pub struct Everybody;

impl Admission for Everybody {
    fn enter(&self, _: &str) -> Result<Admitted, Denied> {
        Ok(Box::new(()))
    }
}

impl From<Denied> for MatrixError {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", denied.reason)
            .again_in(denied.retry_after)
    }
}
