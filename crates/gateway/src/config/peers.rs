//! `[peers."domain"]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeerConfig {
    /// Connect here instead of asking DNS, for the provider's domain and for every host its directory names.
    pub address: Option<SocketAddr>,
    /// Certificate authority (PEM file) of this peer alone; replaces `mimi.trusted_ca` for it.
    pub ca: Option<PathBuf>,
    /// Whether to talk to it at all.
    pub allow: bool,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            address: None,
            ca: None,
            allow: true,
        }
    }
}
