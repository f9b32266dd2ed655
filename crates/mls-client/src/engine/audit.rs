//! The secrets of a profile, so that an audit can prove that they are nowhere else.

use super::Engine;
use crate::error::ClientError;
use serde_json::Value;
use std::collections::BTreeMap;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret and where it is kept.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret {
    /// What it is.
    pub label: String,
    /// Its octets.
    pub octets: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Fields of openmls's records below which every octet string is secret. What is public in them (keys of others,
/// contexts, credentials) lies beside these, never below.
const FIELDS: &[&str] = &[
    "secret",
    "private",
    "private_key",
    "private_init_key",
    "private_encryption_key",
    "past_secrets",
    "ratchet_head",
    "application_export_tree",
];
/// A record that is secret as a whole.
const EXPORT_TREE: &[u8] = b"ApplicationExportTree";
/// Shorter ones (nonces, indices) prove nothing when found.
const SHORTEST: usize = 16;

impl Engine {
    /// Every private key and secret this profile holds: of the device, its KeyPackages, and its groups with their
    /// past epochs and pending commits.
    pub fn secrets(&self) -> Result<Vec<Secret>, ClientError> {
        let mut found = BTreeMap::new();
        self.mls.each_record(|key, value| {
            let name: String = key
                .iter()
                .take_while(|b| b.is_ascii_alphabetic())
                .map(|b| char::from(*b))
                .collect();
            if let Ok(record) = serde_json::from_slice::<Value>(value) {
                collect(&record, &name, key.starts_with(EXPORT_TREE), &mut found);
            }
        });
        if let Some(account) = &self.state.account {
            for signer in std::iter::once(&account.signer).chain(&account.p256) {
                let signer = serde_json::to_value(signer).map_err(|e| ClientError::State(e.to_string()))?;
                collect(&signer, "device signature key", false, &mut found);
            }
        }
        for room in self.rooms() {
            if let Some(key) = &room.group_info_key {
                found
                    .entry(key.private.clone())
                    .or_insert_with(|| "GroupInfo reply key".into());
            }
        }
        Ok(found
            .into_iter()
            .map(|(octets, label)| Secret { label, octets })
            .collect())
    }
}

fn collect(value: &Value, label: &str, secret: bool, found: &mut BTreeMap<Vec<u8>, String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let here = format!("{label}.{name}");
                collect(field, &here, secret || FIELDS.contains(&name.as_str()), found);
            }
        }
        Value::Array(items) => {
            let octets: Option<Vec<u8>> = items
                .iter()
                .map(|i| i.as_u64().and_then(|n| u8::try_from(n).ok()))
                .collect();
            match octets {
                Some(octets) if secret && octets.len() >= SHORTEST && octets.iter().any(|o| *o != 0) => {
                    found.entry(octets).or_insert_with(|| label.into());
                }
                Some(_) => {}
                None => items.iter().for_each(|item| collect(item, label, secret, found)),
            }
        }
        _ => {}
    }
}
