//! `[peers."domain"]`

use super::PeerDomain;
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
    /// SHA-256 (hex) of the public keys (SubjectPublicKeyInfo, DER) that this peer's certificates may have; replaces
    /// every authority for it. More than one, so that the peer can change its key.
    pub key_sha256: Vec<String>,
    /// Trust this peer by `mimi.web_pki_roots`: certificates for serverAuth suffice, on both sides, because public
    /// authorities issue no others any more. Weaker than an authority or key of its own: every public authority
    /// could then speak for this peer.
    pub web_pki: bool,
    /// Hosts from which this peer's users' assets (attachments) may be downloaded for others. Without it: those that
    /// its directory names, as far as they are its domain or below it.
    pub asset_hosts: Vec<PeerDomain>,
    /// Whether to talk to it at all.
    pub allow: bool,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            address: None,
            ca: None,
            key_sha256: Vec::new(),
            web_pki: false,
            asset_hosts: Vec::new(),
            allow: true,
        }
    }
}
