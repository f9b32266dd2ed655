//! `[keys]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Key files. Each must be readable by the service's own user only (mode 0600).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// Ed25519 key that signs this node's events.
    pub node: PathBuf,
    /// Keys with which the hub signs as external sender of its rooms' MLS groups: Ed25519 keys, from which the P-256 keys
    /// for rooms of cipher suite 2 follow.
    pub hub: PathBuf,
    /// Keys with which the hub signs franks, likewise.
    pub franking: PathBuf,
    /// HMAC key of server franks; whoever has it can link a reported message to its sender.
    pub hub_key: PathBuf,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            node: "keys/node.key".into(),
            hub: "keys/hub.key".into(),
            franking: "keys/franking.key".into(),
            hub_key: "keys/hub-key.key".into(),
        }
    }
}
