//! A client at work: the engine on one side, the provider on the other.

mod attach;
mod change;
mod login;
mod oblivious;
mod report;
mod send;
mod wishes;

pub use attach::Way;
pub use login::{Credentials, sign_in};

use crate::api::{ApiErrorCode, Device, HubAnswer};
use crate::engine::{Engine, NewRoom};
use crate::error::ClientError;
use crate::matrix::Matrix;
use crate::state::{Entry, Membership};
use crate::transport::{Backoff, Transport, TransportError};
use std::time::Duration;

/// Entries of a feed asked for at a time.
const PAGE: u32 = 200;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Before it commits others' proposals, a client waits a random time up to this, so that not all try at once.
    pub commit_jitter: Duration,
    /// How often a change or message is tried anew when the group goes on under it.
    pub attempts: u32,
    /// Pauses between those attempts.
    pub backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        let backoff = Backoff {
            first: Duration::from_millis(200),
            most: Duration::from_secs(3),
            attempts: 8,
        };
        Self {
            commit_jitter: Duration::from_secs(2),
            attempts: 8,
            backoff,
        }
    }
}

/// A signed-in client.
#[derive(Debug)]
pub struct Client<T> {
    engine: Engine,
    transport: T,
    matrix: Option<Matrix>,
    options: Options,
}

impl<T: Transport> Client<T> {
    /// Puts a client together. With `matrix`, messages for rooms that have a portal are sent into it.
    pub fn new(engine: Engine, transport: T, matrix: Option<Matrix>, options: Options) -> Self {
        Self {
            engine,
            transport,
            matrix,
            options,
        }
    }

    /// The way to the provider, for what needs no state.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The state.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Takes the client apart.
    pub fn into_engine(self) -> Engine {
        self.engine
    }

    /// Does all that can be done without being asked: reads the room list and all feeds, finishes what was under
    /// way, refills the KeyPackages, commits others' proposals. Returns what is new, by room.
    pub async fn sync(&mut self) -> Result<Vec<(String, Vec<Entry>)>, ClientError> {
        self.refill(None).await?;
        let mut news = Vec::new();
        for uri in self.refresh().await? {
            let mut entries = self.catch_up(&uri).await?;
            entries.extend(self.tend(&uri).await?);
            news.push((uri, entries));
        }
        Ok(news)
    }

    /// Repeats unconfirmed foundings, then reads the list of rooms. Returns the URIs.
    pub async fn refresh(&mut self) -> Result<Vec<String>, ClientError> {
        self.finish_foundings().await?;
        let summaries = self.transport.rooms().await?;
        self.engine.summaries(summaries)?;
        Ok(self.engine.rooms().map(|r| r.uri.clone()).collect())
    }

    /// Reads a room's feed to its end.
    pub async fn catch_up(&mut self, uri: &str) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        loop {
            let from = self.engine.room(uri)?.next;
            news.extend(self.read(uri, Duration::ZERO).await?);
            if self.engine.room(uri)?.next <= from {
                return Ok(news);
            }
        }
    }

    /// Reads one page of a room's feed, waiting for it up to `wait`.
    pub async fn read(&mut self, uri: &str, wait: Duration) -> Result<Vec<Entry>, ClientError> {
        let room = self.engine.room(uri)?;
        if matches!(room.membership, Membership::Founding(_)) {
            return Ok(Vec::new());
        }
        let page = match self.transport.log(uri, room.next, PAGE, wait).await {
            Ok(page) => page,
            // Who left sees the room no more; what was read stays.
            Err(e) if room.membership == Membership::Left && gone(&e) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        self.engine.feed(uri, &page)
    }

    /// Waits for what comes in a room, then does what it asks for. For following a room in a loop.
    pub async fn follow(&mut self, uri: &str, wait: Duration) -> Result<Vec<Entry>, ClientError> {
        let mut news = self.read(uri, wait).await?;
        news.extend(self.tend(uri).await?);
        Ok(news)
    }

    /// Finishes what is under way in a room, sends what waits, commits others' proposals.
    async fn tend(&mut self, uri: &str) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        if self.engine.busy(uri)?
            && let Err(error) = self.settle(uri, &mut news).await
        {
            tracing::warn!(room = uri, %error, "what was under way could not be finished");
        }
        self.commit_others(uri, &mut news).await?;
        if let Err(error) = self.show_card(uri).await {
            tracing::warn!(room = uri, %error, "the room's card is not handed in yet");
        }
        for id in self.engine.outgoing(uri)? {
            if self.engine.room(uri)?.membership != Membership::Member {
                break;
            }
            if let Err(error) = self.push(uri, &id, Duration::ZERO, &mut news).await {
                tracing::warn!(room = uri, id, %error, "message not accepted yet");
            }
        }
        Ok(news)
    }

    /// Keeps the provider in KeyPackages of every suite: the usual stock, or at least so many one-time ones of the best.
    /// Gives how many one-time ones of the best there are.
    pub async fn refill(&mut self, at_least: Option<u32>) -> Result<u32, ClientError> {
        let mut stock = self.transport.key_packages().await?;
        // What was made before a crash goes first; then what is still missing.
        for _ in 0..2 {
            let Some(upload) = self.engine.key_packages(&stock, at_least)? else {
                break;
            };
            stock = self.transport.upload_key_packages(&upload).await?;
            self.engine.key_packages_uploaded()?;
        }
        self.engine.available(&stock)
    }

    /// The user's devices.
    pub async fn devices(&self) -> Result<Vec<Device>, ClientError> {
        Ok(self.transport.devices().await?)
    }

    /// Ends the session; the profile keeps keys and history.
    pub async fn logout(&mut self) -> Result<(), ClientError> {
        match self.transport.logout().await {
            Err(TransportError::Api(e)) if e.code == ApiErrorCode::Unauthorized => {}
            other => other?,
        }
        self.engine.signed_out()
    }

    /// Founds a room. Returns its URI.
    pub async fn create(&mut self, name: &str) -> Result<String, ClientError> {
        self.create_as(name, NewRoom::default()).await
    }

    /// The same, of a certain kind.
    pub async fn create_as(&mut self, name: &str, new: NewRoom) -> Result<String, ClientError> {
        // The hub may have rotated its keys since this device signed in; a new room has to name the newest.
        let provider = self.transport.provider().await?;
        self.engine.provider_is(provider)?;
        let uri = self.engine.found(name, new)?;
        self.finish_foundings().await?;
        Ok(uri)
    }

    async fn finish_foundings(&mut self) -> Result<(), ClientError> {
        for request in self.engine.founding() {
            match self.transport.create_room(&request).await {
                Ok(summary) => self.engine.founded(summary)?,
                Err(error) => {
                    if final_refusal(&error) {
                        self.engine.not_founded(&request.room)?;
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

/// Whether a request that was answered so will never succeed.
fn final_refusal(error: &TransportError) -> bool {
    let lasting = |code| {
        matches!(
            code,
            ApiErrorCode::Malformed
                | ApiErrorCode::Forbidden
                | ApiErrorCode::NotFound
                | ApiErrorCode::Conflict
                | ApiErrorCode::TooLarge
        )
    };
    error.code().is_some_and(lasting)
}

fn gone(error: &TransportError) -> bool {
    matches!(
        error.code(),
        Some(ApiErrorCode::NotFound | ApiErrorCode::Forbidden)
    )
}

fn answer(hub: HubAnswer) -> Vec<u8> {
    hub.response.0
}
