//! `[client_api]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The face towards this provider's own MLS clients. Put a reverse proxy before it or give it a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientApiConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate chain (PEM). Without it the face speaks plain HTTP, for a reverse proxy on the same machine.
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    pub key: Option<PathBuf>,
}

impl Default for ClientApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8480)),
            certificate: None,
            key: None,
        }
    }
}
