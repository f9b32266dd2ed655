//! `[homeserver]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The Matrix homeserver beside this provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HomeserverConfig {
    /// Its server name, the part after the colon of its users' ids.
    pub server_name: String,
    /// Base URL of its client-server API, as this process reaches it.
    pub url: String,
    /// Base URL of a listener with the resource `openid` (or `federation`), where OpenID tokens are checked.
    /// Without it: `url`.
    pub openid_url: Option<String>,
}

impl HomeserverConfig {
    /// Where OpenID tokens are checked.
    pub fn openid_url(&self) -> &str {
        self.openid_url.as_deref().unwrap_or(&self.url)
    }
}
