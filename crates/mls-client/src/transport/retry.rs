//! Repeating what may succeed later.

use super::TransportError;
use std::time::Duration;

/// Exponential back-off with full jitter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Longest first pause.
    pub first: Duration,
    /// Longest pause at all.
    pub most: Duration,
    /// Attempts in all, at least one.
    pub attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            most: Duration::from_secs(8),
            attempts: 6,
        }
    }
}

impl Backoff {
    /// The pause after failed attempt number `attempt` (from 0): random up to a bound that doubles, and never
    /// less than what the other side asked for.
    pub fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let bound = self.first.saturating_mul(1 << attempt.min(16)).min(self.most);
        let jitter = getrandom::u32().unwrap_or(u32::MAX / 2);
        let random = bound.mul_f64(f64::from(jitter) / f64::from(u32::MAX));
        asked.unwrap_or_default().min(Duration::from_mins(1)) + random
    }
}

/// Repeats `request` until it succeeds, fails for good, or the attempts are used up.
pub async fn with_retry<T, F>(backoff: Backoff, mut request: impl FnMut() -> F) -> Result<T, TransportError>
where
    F: Future<Output = Result<T, TransportError>>,
{
    let mut attempt = 0;
    loop {
        let error = match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(asked) = error.retry_after() else {
            return Err(error);
        };
        if attempt + 1 >= backoff.attempts {
            return Err(error);
        }
        let pause = backoff.pause(attempt, asked);
        tracing::debug!(%error, ?pause, attempt, "request will be repeated");
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}
