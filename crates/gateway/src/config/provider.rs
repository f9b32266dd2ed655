//! `[provider]`

use super::PeerDomain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who this provider is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The provider's domain, as in `mimi://a.example/u/alice`. Beside a homeserver it is the homeserver's server
    /// name. It can't be changed later: identities and rooms carry it.
    pub domain: PeerDomain,
    /// This node's Matrix server name, a name of its own and never the homeserver's. Its events are signed under it.
    pub node_name: String,
}
