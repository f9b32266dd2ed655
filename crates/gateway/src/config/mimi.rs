//! `[mimi]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The face towards other MIMI providers: HTTPS with certificates on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MimiConfig {
    /// Where to listen. Peers need to reach it without a proxy that ends TLS, because they show a certificate.
    pub listen: SocketAddr,
    /// Host and, where it isn't 443, port that the directory of this provider names in its URLs.
    /// Without it: the provider's domain.
    pub host: Option<String>,
    /// Certificate chain (PEM) for the provider's domain and `host`, shown to peers that call and to peers that are
    /// called: it needs both serverAuth and clientAuth.
    pub certificate: PathBuf,
    /// Private key of the certificate (PEM).
    pub key: PathBuf,
    /// Certificate authorities (PEM files) that peers' certificates have to chain to, unless the peer's own section
    /// names others. The system's authorities are never asked.
    pub trusted_ca: Vec<PathBuf>,
    /// Who may be a peer: `listed`, the domains with a section below `peers`; or `any` domain whose certificate
    /// chains to `trusted_ca`.
    #[serde(default)]
    pub peers: PeerPolicy,
}

/// Who may be a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum PeerPolicy {
    /// Domains with a section of their own.
    #[default]
    Listed,
    /// Every domain with a certificate of a trusted authority.
    Any,
}
