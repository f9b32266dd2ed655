//! Budgets per endpoint: how many requests of a kind are under way at once, and how long a kind rests after the
//! homeserver answered 429.
//!
//! A homeserver keeps its rate limits per endpoint, so that one that says "later" to joins still takes messages. After
//! a 429 the requests of that kind go in single file for a while: of several that come back at the same instant the
//! homeserver would refuse all but one again.

use super::HomeserverError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Longest time that a request waits for its turn inside a call. Whoever has to wait longer is told so, and does
/// something else meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// The rest after a 429 that names no time.
const REST: Duration = Duration::from_secs(1);
/// The longest rest taken from an answer: a typing error in a proxy must not stop us for a year.
const LONGEST_REST: Duration = Duration::from_mins(10);
/// How long requests go in single file after a 429.
const SINGLE_FILE: Duration = Duration::from_mins(1);

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Making a ghost.
    Register,
    /// Names, avatars, profile fields.
    Profile,
    /// Invitations.
    Invite,
    /// Joins.
    Join,
    /// Kicks, bans, leaving.
    Leave,
    /// Message events, also to devices.
    Send,
    /// State events.
    State,
    /// Making rooms, aliases.
    Room,
    /// Pictures, up and down.
    Media,
    /// Everything that only reads.
    Read,
    /// The rest.
    Other,
}

impl Endpoint {
    /// All of them, with how many requests may be under way at once.
    const ALL: [(Self, usize); 11] = [
        (Self::Register, 4),
        (Self::Profile, 4),
        (Self::Invite, 4),
        (Self::Join, 4),
        (Self::Leave, 4),
        (Self::Send, 8),
        (Self::State, 4),
        (Self::Room, 2),
        (Self::Media, 2),
        (Self::Read, 8),
        (Self::Other, 4),
    ];

    /// The kind of a request, by method and path.
    pub fn of(method: &http::Method, path: &str) -> Self {
        let has = |part: &str| path.contains(part);
        if has("/media/") {
            Self::Media
        } else if *method == http::Method::GET {
            Self::Read
        } else if path.ends_with("/register") {
            Self::Register
        } else if path.ends_with("/createRoom") || has("/directory/") || path.ends_with("/upgrade") {
            Self::Room
        } else if has("/profile/") {
            Self::Profile
        } else if path.ends_with("/invite") {
            Self::Invite
        } else if path.ends_with("/join") || has("/join/") {
            Self::Join
        } else if ["/kick", "/ban", "/unban", "/leave", "/forget"]
            .iter()
            .any(|end| path.ends_with(end))
        {
            Self::Leave
        } else if has("/send/") || has("/sendToDevice/") {
            Self::Send
        } else if has("/state/") {
            Self::State
        } else {
            Self::Other
        }
    }

    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Profile => "profile",
            Self::Invite => "invite",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Send => "send",
            Self::State => "state",
            Self::Room => "room",
            Self::Media => "media",
            Self::Read => "read",
            Self::Other => "other",
        }
    }
}

/// The budgets of all endpoints of one homeserver.
#[derive(Debug)]
pub(super) struct Budgets(Vec<Gate>);

#[derive(Debug)]
struct Gate {
    endpoint: Endpoint,
    permits: Semaphore,
    single: AsyncMutex<()>,
    rests: Mutex<Rests>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rests {
    until: Option<Instant>,
    single_file_until: Option<Instant>,
}

/// The right to make one request.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    _single: Option<MutexGuard<'a, ()>>,
}

impl Budgets {
    pub(super) fn new() -> Self {
        Self(
            Endpoint::ALL
                .iter()
                .map(|(endpoint, width)| Gate {
                    endpoint: *endpoint,
                    permits: Semaphore::new(*width),
                    single: AsyncMutex::new(()),
                    rests: Mutex::default(),
                })
                .collect(),
        )
    }

    /// Waits for a request's turn; an error if that would take long.
    pub(super) async fn enter(&self, endpoint: Endpoint) -> Result<Permit<'_>, HomeserverError> {
        let Some(gate) = self.gate(endpoint) else {
            return Ok(Permit {
                _permit: None,
                _single: None,
            });
        };
        // Asked before queueing, so that a long rest is known to all at once.
        gate.patience()?;
        let permit = gate.permits.acquire().await.ok();
        let single = if gate.single_file() {
            Some(gate.single.lock().await)
        } else {
            None
        };
        let rest = gate.patience()?;
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        Ok(Permit {
            _permit: permit,
            _single: single,
        })
    }

    /// The homeserver answered 429.
    pub(super) fn limited(&self, endpoint: Endpoint, wish: Option<Duration>) {
        metrics::counter!("causeway_homeserver_limited_total", "endpoint" => endpoint.name()).increment(1);
        let Some(gate) = self.gate(endpoint) else { return };
        let now = Instant::now();
        let until = now + wish.unwrap_or(REST).min(LONGEST_REST);
        let mut rests = gate.rests.lock().unwrap_or_else(PoisonError::into_inner);
        rests.until = Some(rests.until.map_or(until, |before| before.max(until)));
        rests.single_file_until = Some(until + SINGLE_FILE);
    }

    fn gate(&self, endpoint: Endpoint) -> Option<&Gate> {
        self.0.iter().find(|gate| gate.endpoint == endpoint)
    }
}

impl Gate {
    fn rests(&self) -> Rests {
        *self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn single_file(&self) -> bool {
        self.rests()
            .single_file_until
            .is_some_and(|until| until > Instant::now())
    }

    /// How long to wait; an error if that is too long.
    fn patience(&self) -> Result<Duration, HomeserverError> {
        let rest = self.rests().until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        });
        if rest > PATIENCE {
            return Err(HomeserverError::RateLimited {
                retry_after: Some(rest),
            });
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::Method;

    #[test]
    fn requests_are_told_apart_by_their_paths() {
        for (method, path, endpoint) in [
            (Method::POST, "/_matrix/client/v3/register", Endpoint::Register),
            (Method::POST, "/_matrix/client/v3/createRoom", Endpoint::Room),
            (
                Method::PUT,
                "/_matrix/client/v3/rooms/!a/send/m.room.message/1",
                Endpoint::Send,
            ),
            (
                Method::PUT,
                "/_matrix/client/v3/rooms/!a/state/m.room.name/",
                Endpoint::State,
            ),
            (
                Method::GET,
                "/_matrix/client/v3/rooms/!a/state/m.room.name/",
                Endpoint::Read,
            ),
            (
                Method::POST,
                "/_matrix/client/v3/rooms/!a/invite",
                Endpoint::Invite,
            ),
            (Method::POST, "/_matrix/client/v3/rooms/!a/join", Endpoint::Join),
            (Method::POST, "/_matrix/client/v3/rooms/!a/kick", Endpoint::Leave),
            (
                Method::PUT,
                "/_matrix/client/v3/profile/@a:b/displayname",
                Endpoint::Profile,
            ),
            (Method::POST, "/_matrix/media/v3/upload", Endpoint::Media),
            (
                Method::GET,
                "/_matrix/client/v1/media/download/a.example/x",
                Endpoint::Media,
            ),
        ] {
            assert_eq!(Endpoint::of(&method, path), endpoint, "{path}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_is_limited_rests_and_the_others_go_on() {
        let budgets = Budgets::new();
        budgets.limited(Endpoint::Join, Some(Duration::from_secs(30)));
        drop(budgets.enter(Endpoint::Send).await.unwrap());
        // A long rest is told, not slept through.
        let refused = budgets.enter(Endpoint::Join).await.unwrap_err();
        assert!(matches!(
            refused,
            HomeserverError::RateLimited { retry_after: Some(after) } if after > PATIENCE
        ));
        // A shorter one that comes later doesn't end it.
        budgets.limited(Endpoint::Join, Some(Duration::from_millis(1)));
        assert!(budgets.enter(Endpoint::Join).await.is_err());
    }

    #[tokio::test]
    async fn after_a_429_requests_go_one_by_one() {
        let budgets = Budgets::new();
        let _one = budgets.enter(Endpoint::Join).await.unwrap();
        let _another = budgets.enter(Endpoint::Join).await.unwrap();
        budgets.limited(Endpoint::Join, Some(Duration::from_millis(1)));
        let first = budgets.enter(Endpoint::Join).await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(50), budgets.enter(Endpoint::Join)).await;
        assert!(second.is_err(), "two at once");
        drop(first);
        budgets.enter(Endpoint::Join).await.unwrap();
    }
}
