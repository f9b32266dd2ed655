//! `[appservice]`

use super::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The appservice side of the homeserver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppserviceConfig {
    /// Where to listen for the homeserver's transactions.
    pub listen: SocketAddr,
    /// The registration that `causeway init` wrote and the homeserver loads. The tokens are read from it unless they
    /// are given otherwise.
    pub registration: PathBuf,
    /// File with the token this process shows to the homeserver.
    pub as_token_file: Option<PathBuf>,
    /// File with the token the homeserver shows to this process.
    pub hs_token_file: Option<PathBuf>,
    /// The same token from the environment.
    #[serde(skip_serializing)]
    #[schemars(extend("x-env-only" = true))]
    pub as_token: Option<Secret>,
    /// The same token from the environment.
    #[serde(skip_serializing)]
    #[schemars(extend("x-env-only" = true))]
    pub hs_token: Option<Secret>,
}
