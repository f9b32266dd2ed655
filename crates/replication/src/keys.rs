//! Signing keys (server-server API, "Retrieving server keys"): ours published, others' fetched and kept.
//!
//! A key counts for what was signed up to its validity: the `valid_until_ts` of the newest answer that listed it, at
//! most seven days after it was fetched; for an old key its `expired_ts`. Keys come from their own server only: no
//! notary is asked.

use event_graph::json::canonicalize;
use event_graph::keys::verify_json;
use event_graph::{KeyLookup, KeyRing, SigningIdentity, VerifyKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::{Batch, Space, Store, StoreError};

use crate::auth::is_key_id;
use crate::client::{FederationClient, RequestError};
use crate::server_name::ServerName;

/// Largest answer to a key request, in bytes.
const ANSWER_SIZE: usize = 64 * 1024;
/// Most keys taken of one server.
const MOST_KEYS: usize = 100;
/// How far a server may say that its keys are valid, from the time of the answer (room version 5).
const LONGEST_VALIDITY: i64 = 7 * 24 * 3600 * 1000;
/// How long our own keys are said to be valid, in ms.
const OWN_VALIDITY: i64 = 24 * 3600 * 1000;
/// How long a server is not asked again after an attempt.
const PAUSE: Duration = Duration::from_secs(20);
/// Servers whose keys are held in memory.
const MOST_SERVERS: usize = 10_000;
/// Key requests in flight at a time, over all servers.
const IN_FLIGHT: usize = 16;

/// This server's own keys.
#[derive(Clone)]
pub struct OwnKeys {
    identity: Arc<SigningIdentity>,
    old: Arc<BTreeMap<String, (VerifyKey, i64)>>,
}

impl OwnKeys {
    /// The key that signs now, and older ones with the time (unix ms) they were last used.
    pub fn new(identity: Arc<SigningIdentity>, old: BTreeMap<String, (VerifyKey, i64)>) -> Self {
        Self {
            identity,
            old: Arc::new(old),
        }
    }

    /// The answer to `GET /_matrix/key/v2/server` at `now` (unix ms).
    pub fn document(&self, now: i64) -> Value {
        let old: Map<String, Value> = self
            .old
            .iter()
            .map(|(id, (key, expired))| (id.clone(), json!({"key": key.to_base64(), "expired_ts": expired})))
            .collect();
        let mut document = json!({
            "server_name": self.identity.server_name(),
            "verify_keys": { self.identity.key_id(): { "key": self.identity.verify_key().to_base64() } },
            "old_verify_keys": old,
            // In steps of an hour, so that the document is the same for a while.
            "valid_until_ts": now - now.rem_euclid(3_600_000) + OWN_VALIDITY,
        });
        if let Ok(signature) = self.identity.sign_json(&document)
            && let Some(object) = document.as_object_mut()
        {
            object.insert(
                "signatures".to_owned(),
                json!({ self.identity.server_name(): { self.identity.key_id(): signature } }),
            );
        }
        document
    }
}

/// Why an answer to a key request doesn't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyAnswerError {
    /// Not JSON that Matrix accepts.
    #[error("not canonical JSON")]
    Json,
    /// A field is missing or of another type.
    #[error("a field is missing or malformed")]
    Shape,
    /// It is about another server.
    #[error("the keys of another server")]
    OtherServer,
    /// None of its keys signed it, or one did wrongly.
    #[error("not signed by its own keys")]
    Signature,
    /// More keys than anyone needs.
    #[error("too many keys")]
    TooMany,
}

/// One key with how long it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownKey {
    key: String,
    /// Last time (unix ms) of what it may have signed.
    until: i64,
    /// False for old keys: they sign no requests.
    current: bool,
}

/// What is known of a server (space `ServerKeys`, key: server name).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ServerRecord {
    fetched_at: i64,
    keys: BTreeMap<String, KnownKey>,
}

/// Reads an answer to `GET /_matrix/key/v2/server`, got at `now` (unix ms).
fn read_answer(octets: &[u8], server: &str, now: i64) -> Result<ServerRecord, KeyAnswerError> {
    let text = canonicalize(octets).map_err(|_| KeyAnswerError::Json)?;
    let document: Value = serde_json::from_str(&text).map_err(|_| KeyAnswerError::Json)?;
    if document.get("server_name").and_then(Value::as_str) != Some(server) {
        return Err(KeyAnswerError::OtherServer);
    }
    let valid_until = document
        .get("valid_until_ts")
        .and_then(Value::as_i64)
        .ok_or(KeyAnswerError::Shape)?
        .min(now.saturating_add(LONGEST_VALIDITY));
    let verify = document
        .get("verify_keys")
        .and_then(Value::as_object)
        .ok_or(KeyAnswerError::Shape)?;
    let empty = Map::new();
    let old = match document.get("old_verify_keys") {
        None => &empty,
        Some(old) => old.as_object().ok_or(KeyAnswerError::Shape)?,
    };
    if verify.len() + old.len() > MOST_KEYS {
        return Err(KeyAnswerError::TooMany);
    }
    let mut keys = BTreeMap::new();
    let mut signers = KeyRing::new();
    for (current, id, entry) in verify
        .iter()
        .map(|(id, e)| (true, id, e))
        .chain(old.iter().map(|(id, e)| (false, id, e)))
    {
        // Algorithms that nobody knows are skipped; an Ed25519 key has to be one.
        if !is_key_id(id) {
            continue;
        }
        let text = entry
            .get("key")
            .and_then(Value::as_str)
            .ok_or(KeyAnswerError::Shape)?;
        let key = VerifyKey::from_base64(text).map_err(|_| KeyAnswerError::Shape)?;
        let until = if current {
            signers.insert(server, id, key.clone(), None);
            valid_until
        } else {
            let expired = entry.get("expired_ts").and_then(Value::as_i64);
            // A key can't have been in use later than now.
            expired.ok_or(KeyAnswerError::Shape)?.min(now)
        };
        keys.entry(id.clone()).or_insert(KnownKey {
            key: key.to_base64(),
            until,
            current,
        });
    }
    if signers.is_empty() || !signed_by_own(&document, server, &signers) {
        return Err(KeyAnswerError::Signature);
    }
    Ok(ServerRecord {
        fetched_at: now,
        keys,
    })
}

/// At least one of the listed keys signed, and none of them wrongly.
fn signed_by_own(document: &Value, server: &str, signers: &KeyRing) -> bool {
    let signatures = document
        .get("signatures")
        .and_then(|s| s.get(server))
        .and_then(Value::as_object);
    let Some(signatures) = signatures else {
        return false;
    };
    let listed: Vec<&String> = signatures
        .keys()
        .filter(|id| signers.key(server, id, 0).is_some())
        .collect();
    !listed.is_empty()
        && listed.iter().all(|id| {
            let mut one = KeyRing::new();
            if let Some(key) = signers.key(server, id, 0) {
                one.insert(server, id, key.clone(), None);
            }
            verify_json(document, server, &one, 0)
        })
}

impl ServerRecord {
    /// Adds a newer answer. A key that is no longer listed keeps the validity it had.
    fn merge(&mut self, newer: Self) {
        self.fetched_at = newer.fetched_at;
        for (id, key) in newer.keys {
            match self.keys.get_mut(&id) {
                // One id is one key: another key under a known id is not taken.
                Some(known) if known.key != key.key => {}
                Some(known) => {
                    known.current = key.current;
                    known.until = if key.current {
                        key.until.max(known.until)
                    } else {
                        key.until
                    };
                }
                None => {
                    if self.keys.len() < MOST_KEYS {
                        self.keys.insert(id, key);
                    }
                }
            }
        }
    }

    /// The key, if it may have signed something of time `at`.
    fn key(&self, key_id: &str, at: i64) -> Option<VerifyKey> {
        let known = self.keys.get(key_id).filter(|k| at <= k.until)?;
        VerifyKey::from_base64(&known.key).ok()
    }
}

/// What a key is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A request made now: the key has to be current.
    Request,
    /// An event of this time (unix ms).
    Event(i64),
}

/// Others' keys: fetched when needed, kept in the store.
pub struct KeyStore {
    client: FederationClient,
    store: Arc<dyn Store>,
    servers: Mutex<HashMap<ServerName, Arc<tokio::sync::Mutex<Entry>>>>,
    in_flight: tokio::sync::Semaphore,
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
            in_flight: tokio::sync::Semaphore::new(IN_FLIGHT),
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
        entry.not_before = Some(Instant::now() + PAUSE);
        match self.fetch(server, now).await {
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
        for (server, key_id, at, key) in futures_util::future::join_all(asked).await {
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
        let _permit = self.in_flight.acquire().await.map_err(|e| e.to_string())?;
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

#[cfg(test)]
mod tests;
