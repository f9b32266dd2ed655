//! Signing keys (server-server API, "Publishing keys"): our own document, and others' read.
//!
//! A key counts for what was signed up to its validity: the `valid_until_ts` of the newest answer that listed it, at
//! most seven days after it was fetched; for an old key its `expired_ts`.

use event_graph::json::canonicalize;
use event_graph::keys::verify_json;
use event_graph::{KeyLookup as _, KeyRing, SigningIdentity, VerifyKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::is_key_id;

/// Most keys taken of one server.
pub const MOST_KEYS: usize = 100;
/// How far a server may say that its keys are valid, from the time of the answer (room version 5).
const LONGEST_VALIDITY: i64 = 7 * 24 * 3600 * 1000;
/// How long our own keys are said to be valid, in ms.
const OWN_VALIDITY: i64 = 24 * 3600 * 1000;

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

    /// A key, and the last time (unix ms) of what it may have signed; of the one that signs now there is none.
    pub fn key(&self, key_id: &str) -> Option<(VerifyKey, Option<i64>)> {
        if key_id == self.identity.key_id() {
            return Some((self.identity.verify_key(), None));
        }
        let (key, until) = self.old.get(key_id)?;
        Some((key.clone(), Some(*until)))
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
pub struct KnownKey {
    /// Base64 without padding.
    pub key: String,
    /// Last time (unix ms) of what it may have signed.
    pub until: i64,
    /// False for old keys: they sign no requests.
    pub current: bool,
}

/// What is known of a server's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// When it was asked last (unix ms).
    pub fetched_at: i64,
    /// By key id.
    pub keys: BTreeMap<String, KnownKey>,
}

/// Reads an answer to `GET /_matrix/key/v2/server`, got at `now` (unix ms).
pub fn read_answer(octets: &[u8], server: &str, now: i64) -> Result<ServerRecord, KeyAnswerError> {
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
    pub fn merge(&mut self, newer: Self) {
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
    pub fn key(&self, key_id: &str, at: i64) -> Option<VerifyKey> {
        let known = self.keys.get(key_id).filter(|k| at <= k.until)?;
        VerifyKey::from_base64(&known.key).ok()
    }
}

#[cfg(test)]
mod tests;
