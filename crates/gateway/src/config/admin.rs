//! `[admin]`

use super::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Health (`/healthz`, `/readyz`), metrics (`/metrics`) and the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// File with the bearer token of the admin API. Without a token the admin API is switched off; health and
    /// metrics need none.
    pub token_file: Option<PathBuf>,
    /// The token from the environment.
    #[serde(skip_serializing)]
    #[schemars(extend("x-env-only" = true))]
    pub token: Option<Secret>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8482)),
            token_file: Some("keys/admin.token".into()),
            token: None,
        }
    }
}
