//! `[cluster]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// This node as one of several of the provider. Without this section it is the only one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// This node's name among the nodes of the provider. It can't be changed later. All nodes of a provider are one
    /// Matrix server, `provider.node_name`, and share its key; this name is for themselves alone.
    pub name: String,
    /// Ed25519 key that signs this node's requests to the others; made when it is not there.
    #[serde(default = "key")]
    pub key: PathBuf,
    /// Where to listen for the other nodes: TLS with the certificates of `mimi`, requests signed by the node's key.
    pub listen: SocketAddr,
    /// Host and port under which the others reach it. Without it: `listen`.
    pub address: Option<String>,
    /// Wait to be added by another node (`causeway node add` there), instead of being the first one. Has no effect
    /// once the node takes part.
    #[serde(default)]
    pub join: bool,
    /// Nodes to listen to until they are known from the provider's own log: for a node that joins, one line of each
    /// node there is, as `causeway node self` prints it: name, address, key.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Milliseconds without a sign of life of the node that orders, after which the others elect another one; drawn
    /// anew each time, up to twice as long. Below some round-trip times between the nodes there is no rest.
    #[serde(default = "election")]
    pub election_ms: u32,
}

fn key() -> PathBuf {
    "keys/cluster.key".into()
}

fn election() -> u32 {
    1000
}

impl ClusterConfig {
    /// Where the others reach it.
    pub fn advertised(&self) -> String {
        self.address.clone().unwrap_or_else(|| self.listen.to_string())
    }
}
