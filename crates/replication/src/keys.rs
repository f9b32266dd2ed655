//! Others' signing keys (server-server API, "Retrieving server keys"), fetched and kept. They come from their own server
//! only: no notary is asked.

use event_graph::{KeyRing, VerifyKey};
use futures_util::StreamExt as _;
use matrix_wire::ServerName;
use matrix_wire::keys::{ServerRecord, read_answer};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::{Batch, Space, Store, StoreError};
use tokio::sync::Semaphore;

use crate::client::{FederationClient, RequestError};

/// Largest answer to a key request, in bytes.
const ANSWER_SIZE: usize = 64 * 1024;
/// How long a server is not asked again after an attempt.
const PAUSE: Duration = Duration::from_secs(20);
/// Servers whose keys are held in memory.
const MOST_SERVERS: usize = 10_000;
/// Key requests in flight at a time, over all servers: for requests, and as many for events.
const IN_FLIGHT: usize = 64;
/// Time for a key request, with finding the server.
const TIME: Duration = Duration::from_secs(10);
/// Servers that the events of one batch make us ask at a time.
const AT_ONCE: usize = 8;

/// What a key is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A request made now: the key has to be current.
    Request,
    /// An event of this time (unix ms).
    Event(i64),
}

/// Others' keys: fetched when needed, kept in the store (space `ServerKeys`, by the server's name).
pub struct KeyStore {
    client: FederationClient,
    store: Arc<dyn Store>,
    servers: Mutex<HashMap<ServerName, Arc<tokio::sync::Mutex<Entry>>>>,
    /// For requests. Whoever claims to be a server makes us ask it: the claim is not proven before.
    for_requests: Semaphore,
    /// For events, which only servers that have shown who they are bring us.
    for_events: Semaphore,
    clock: fn() -> i64,
}

#[derive(Default)]
struct Entry {
    record: Option<ServerRecord>,
    loaded: bool,
    not_before: Option<Instant>,
}

/// Why a key isn't there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The server doesn't list it, or not as valid at the time.
    #[error("{server} has no key {key_id} valid at the time")]
    Unknown {
        /// Whose.
        server: ServerName,
        /// Which.
        key_id: String,
    },
    /// Its server can't be asked now.
    #[error("the keys of {server} can't be fetched: {reason}")]
    Unavailable {
        /// Whose.
        server: ServerName,
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl KeyStore {
    /// Keys fetched through `client` and kept in `store`; `clock` gives unix ms.
    pub fn new(client: FederationClient, store: Arc<dyn Store>, clock: fn() -> i64) -> Self {
        Self {
            client,
            store,
            servers: Mutex::default(),
            for_requests: Semaphore::new(IN_FLIGHT),
            for_events: Semaphore::new(IN_FLIGHT),
            clock,
        }
    }

    /// A server's key, fetched if it has to be.
    pub async fn key(&self, server: &ServerName, key_id: &str, purpose: Use) -> Result<VerifyKey, KeyError> {
        let now = (self.clock)();
        let entry = self.entry(server);
        // Held over the request: whoever else wants keys of this server waits for this one.
        let mut entry = entry.lock().await;
        if !entry.loaded {
            entry.record = self.load(server).await?;
            entry.loaded = true;
        }
        let find = |record: &Option<ServerRecord>| {
            let record = record.as_ref()?;
            match purpose {
                Use::Request => record
                    .keys
                    .get(key_id)
                    .filter(|k| k.current)
                    .and(record.key(key_id, now)),
                Use::Event(at) => record.key(key_id, at),
            }
        };
        let known = find(&entry.record);
        // Half of a validity gone: time for a newer answer, though this one still counts.
        let stale = entry
            .record
            .as_ref()
            .and_then(|r| {
                r.keys
                    .get(key_id)
                    .filter(|k| k.current)
                    .map(|k| (r.fetched_at, k.until))
            })
            .is_some_and(|(fetched, until)| now > fetched.saturating_add((until - fetched).max(0) / 2));
        let may_ask = entry.not_before.is_none_or(|t| t <= Instant::now());
        if (known.is_some() && !stale) || (!may_ask && known.is_some()) {
            return known.ok_or_else(|| unknown(server, key_id));
        }
        if !may_ask {
            return Err(unknown(server, key_id));
        }
        let permits = match purpose {
            Use::Request => &self.for_requests,
            Use::Event(_) => &self.for_events,
        };
        let permit = match (permits.try_acquire(), known.clone()) {
            (Ok(permit), _) => permit,
            // A newer answer is not worth a wait.
            (Err(_), Some(known)) => return Ok(known),
            (Err(_), None) => permits.acquire().await.map_err(|e| KeyError::Unavailable {
                server: server.clone(),
                reason: e.to_string(),
            })?,
        };
        entry.not_before = Some(Instant::now() + PAUSE);
        let fetched = tokio::time::timeout(TIME, self.fetch(server, now)).await;
        drop(permit);
        match fetched.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(newer) => {
                let mut record = entry.record.take().unwrap_or_default();
                record.merge(newer);
                let value = serde_json::to_vec(&record).unwrap_or_default();
                let mut batch = Batch::new();
                batch.put(Space::ServerKeys, server.as_str(), value);
                entry.record = Some(record);
                self.store.commit(batch).await?;
                find(&entry.record).ok_or_else(|| unknown(server, key_id))
            }
            Err(_) if known.is_some() => known.ok_or_else(|| unknown(server, key_id)),
            Err(reason) => Err(KeyError::Unavailable {
                server: server.clone(),
                reason,
            }),
        }
    }

    /// The keys that some events need, as far as they can be had: pairs of server and key id with the events' times.
    pub async fn ring(&self, wanted: impl IntoIterator<Item = (ServerName, String, i64)>) -> KeyRing {
        let asked = wanted.into_iter().map(|(server, key_id, at)| async move {
            let key = self.key(&server, &key_id, Use::Event(at)).await;
            (server, key_id, at, key)
        });
        // What is good for an event is good for every earlier one.
        let mut good: BTreeMap<(ServerName, String), (VerifyKey, i64)> = BTreeMap::new();
        let mut asked = futures_util::stream::iter(asked).buffer_unordered(AT_ONCE);
        while let Some((server, key_id, at, key)) = asked.next().await {
            match key {
                Ok(key) => {
                    let known = good.entry((server, key_id)).or_insert((key, at));
                    known.1 = known.1.max(at);
                }
                Err(error) => tracing::debug!(%error, "a key can't be had"),
            }
        }
        let mut ring = KeyRing::new();
        for ((server, key_id), (key, until)) in good {
            ring.insert(server.as_str(), &key_id, key, Some(until));
        }
        ring
    }

    async fn load(&self, server: &ServerName) -> Result<Option<ServerRecord>, StoreError> {
        let value = self
            .store
            .get(Space::ServerKeys, server.as_str().as_bytes())
            .await?;
        Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
    }

    async fn fetch(&self, server: &ServerName, now: i64) -> Result<ServerRecord, String> {
        let octets = self
            .client
            .get_unsigned(server, "/_matrix/key/v2/server", ANSWER_SIZE)
            .await
            .map_err(|e: RequestError| e.to_string())?;
        metrics::counter!("causeway_federation_keys_fetched_total").increment(1);
        read_answer(&octets, server.as_str(), now).map_err(|e| e.to_string())
    }

    fn entry(&self, server: &ServerName) -> Arc<tokio::sync::Mutex<Entry>> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.len() >= MOST_SERVERS && !servers.contains_key(server) {
            // Those nobody is using; they are in the store.
            servers.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        servers.entry(server.clone()).or_default().clone()
    }
}

fn unknown(server: &ServerName, key_id: &str) -> KeyError {
    KeyError::Unknown {
        server: server.clone(),
        key_id: key_id.to_owned(),
    }
}

impl std::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyStore").finish_non_exhaustive()
    }
}
