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
    /// Certificate authorities (PEM file) of the public web, for the peers whose section has `web_pki`; on many systems
    /// `/etc/ssl/certs/ca-certificates.crt`. Nobody else is trusted by them.
    pub web_pki_roots: Option<PathBuf>,
    /// Networks of private, loopback or link-local addresses in which peers may be, in CIDR notation. Names of peers
    /// that DNS leads to any other address that isn't public are refused. An `address` in a peer's own section
    /// needs no entry here.
    #[serde(default)]
    pub private_networks: Vec<String>,
    /// Base URL of the assets (attachments) of this provider's users, where it isn't the MIMI face: a public HTTPS
    /// address that leads to `/_causeway/assets` of the client API's face. Without it assets are served on the MIMI
    /// face, to providers that show a certificate.
    pub asset_url: Option<String>,
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
