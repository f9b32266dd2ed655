//! `[federation]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The face towards Matrix servers: this node as a Matrix server of its own, under the name `provider.node_name`.
/// Without this section the node's graphs are its own alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FederationConfig {
    /// Where to listen. Other servers look for it at the port that the node name has, else where its well-known or SRV
    /// record says, else at port 8448.
    pub listen: SocketAddr,
    /// Certificate chain (PEM) for the node name.
    pub certificate: PathBuf,
    /// Private key of the certificate (PEM).
    pub key: PathBuf,
    /// Certificate authorities (PEM files) that other servers' certificates have to chain to.
    #[serde(default = "system_authorities")]
    pub trusted_ca: Vec<PathBuf>,
    /// Whether requests may go to addresses of private networks and of this machine. Other servers choose where we
    /// look for them: leave it off unless all of them are in your own network.
    #[serde(default)]
    pub allow_private_addresses: bool,
}

/// Where Debian and its relatives keep the authorities they trust.
fn system_authorities() -> Vec<PathBuf> {
    vec!["/etc/ssl/certs/ca-certificates.crt".into()]
}
