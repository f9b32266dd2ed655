//! What one peer may take: a rate, and a number of requests at a time. What one is denied is there for the others.

use crate::config::LimitsConfig;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Above this many peers those that have been silent are forgotten.
const KEPT: usize = 10_000;

/// How much one peer may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerAllowance {
    /// Requests a second, on average.
    pub rate: f64,
    /// Requests at once after a pause.
    pub burst: f64,
    /// Requests at a time.
    pub concurrent: usize,
}

impl From<&LimitsConfig> for PeerAllowance {
    fn from(limits: &LimitsConfig) -> Self {
        Self {
            // Never 0, which `Config::problems` refuses: it would be divided by.
            rate: limits.peer_requests_per_second.max(1).into(),
            burst: limits.peer_burst.max(1).into(),
            concurrent: usize::try_from(limits.peer_concurrent).unwrap_or(usize::MAX),
        }
    }
}

/// A request that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Over the rate.
    #[error("too many requests of this peer")]
    Rate {
        /// When the next one is welcome.
        retry_after: Duration,
    },
    /// Over the number at a time.
    #[error("too many requests of this peer at a time")]
    Concurrent,
}

impl TooMany {
    /// A stable name for metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Rate { .. } => "rate_limited",
            Self::Concurrent => "too_many_at_a_time",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> http::StatusCode {
        match self {
            Self::Rate { .. } => http::StatusCode::TOO_MANY_REQUESTS,
            Self::Concurrent => http::StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// When a repeat makes sense.
    pub fn retry_after(self) -> Duration {
        match self {
            Self::Rate { retry_after } => retry_after,
            Self::Concurrent => Duration::from_secs(1),
        }
    }
}

struct Account {
    /// Requests that may come at once.
    tokens: f64,
    counted: Instant,
    running: usize,
}

struct State {
    allowance: PeerAllowance,
    accounts: HashMap<String, Account>,
}

/// The accounts of all peers, by name: MIMI providers and Matrix servers. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct PeerLimits(Arc<Mutex<State>>);

impl PeerLimits {
    /// The same allowance for each peer.
    pub fn new(allowance: PeerAllowance) -> Self {
        Self(Arc::new(Mutex::new(State {
            allowance,
            accounts: HashMap::new(),
        })))
    }

    /// From now on this much.
    pub fn set(&self, allowance: PeerAllowance) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).allowance = allowance;
    }

    /// Lets a request in, or says when to come again. Whoever is refused is counted.
    pub fn enter(&self, peer: &str, now: Instant) -> Result<Running, TooMany> {
        self.try_enter(peer, now).inspect_err(|too_many| {
            metrics::counter!("causeway_peer_limited_total", "peer" => peer.to_owned(), "reason" => too_many.code())
                .increment(1);
        })
    }

    fn try_enter(&self, peer: &str, now: Instant) -> Result<Running, TooMany> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let PeerAllowance {
            rate,
            burst,
            concurrent,
        } = state.allowance;
        if state.accounts.len() >= KEPT && !state.accounts.contains_key(peer) {
            let full_again = Duration::from_secs_f64(burst / rate);
            state
                .accounts
                .retain(|_, a| a.running > 0 || now.saturating_duration_since(a.counted) < full_again);
        }
        let account = state.accounts.entry(peer.to_owned()).or_insert(Account {
            tokens: burst,
            counted: now,
            running: 0,
        });
        let passed = now.saturating_duration_since(account.counted).as_secs_f64();
        account.tokens = (account.tokens + passed * rate).min(burst);
        account.counted = account.counted.max(now);
        if account.tokens < 1.0 {
            let retry_after = Duration::from_secs_f64((1.0 - account.tokens) / rate);
            return Err(TooMany::Rate { retry_after });
        }
        if account.running >= concurrent {
            return Err(TooMany::Concurrent);
        }
        account.tokens -= 1.0;
        account.running += 1;
        Ok(Running {
            limits: self.clone(),
            peer: peer.to_owned(),
        })
    }
}

/// A request that was let in; it counts until this is dropped.
pub struct Running {
    limits: PeerLimits,
    peer: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.limits.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = state.accounts.get_mut(&self.peer) {
            account.running = account.running.saturating_sub(1);
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

    fn limits() -> PeerLimits {
        PeerLimits::new(PeerAllowance {
            rate: 2.0,
            burst: 3.0,
            concurrent: 2,
        })
    }

    #[test]
    fn a_burst_then_the_rate_and_nobody_pays_for_another() {
        let limits = limits();
        let (b, c) = ("b.example", "c.example");
        let start = Instant::now();
        for _ in 0..3 {
            limits.enter(b, start).unwrap();
        }
        let half = Duration::from_millis(500);
        assert_eq!(
            limits.enter(b, start).err(),
            Some(TooMany::Rate { retry_after: half })
        );
        limits.enter(c, start).unwrap();
        limits.enter(b, start + half).unwrap();
        assert!(limits.enter(b, start + half).is_err());
        // A clock that goes back gives nothing.
        assert!(limits.enter(b, start).is_err());
        let later = start + Duration::from_hours(1);
        assert_eq!((0..9).filter(|_| limits.enter(b, later).is_ok()).count(), 3);
    }

    #[test]
    fn so_many_at_a_time() {
        let limits = limits();
        let (b, now) = ("b.example", Instant::now());
        let first = limits.enter(b, now).unwrap();
        let _second = limits.enter(b, now).unwrap();
        assert_eq!(limits.enter(b, now).err(), Some(TooMany::Concurrent));
        drop(first);
        limits.enter(b, now).unwrap();
        limits.set(PeerAllowance {
            rate: 1000.0,
            burst: 1000.0,
            concurrent: 1,
        });
        assert_eq!(
            limits.enter(b, now + Duration::from_secs(1)).err(),
            Some(TooMany::Concurrent)
        );
    }
}
