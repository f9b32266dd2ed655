//! `[federation]`

use replication::Bounds;
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
    /// Events that are fetched for one gap of a room, while nothing of it is known. They are in memory meanwhile.
    #[serde(default = "gap_events")]
    pub gap_events: u32,
    /// Events that are fetched of a room's history, where all of it is asked for (`causeway graph join --history`).
    #[serde(default = "history_events")]
    pub history_events: u32,
    /// Largest answer of another server with the state of a room, in MiB.
    #[serde(default = "state_mib")]
    pub state_mib: u32,
}

impl FederationConfig {
    /// Where to listen and with which certificate; the rest as by default.
    pub fn new(listen: SocketAddr, certificate: PathBuf, key: PathBuf) -> Self {
        Self {
            listen,
            certificate,
            key,
            trusted_ca: system_authorities(),
            allow_private_addresses: false,
            gap_events: gap_events(),
            history_events: history_events(),
            state_mib: state_mib(),
        }
    }

    /// What others may make us fetch.
    pub fn bounds(&self) -> Bounds {
        let whole = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        Bounds {
            gap: whole(self.gap_events),
            history: whole(self.history_events),
            state: whole(self.state_mib).saturating_mul(1 << 20),
            ..Bounds::default()
        }
    }
}

/// The default of a bound that is counted in units of `unit`.
fn default_of(bound: impl Fn(&Bounds) -> usize, unit: usize) -> u32 {
    u32::try_from(bound(&Bounds::default()) / unit).unwrap_or(u32::MAX)
}

fn gap_events() -> u32 {
    default_of(|b| b.gap, 1)
}

fn history_events() -> u32 {
    default_of(|b| b.history, 1)
}

fn state_mib() -> u32 {
    default_of(|b| b.state, 1 << 20)
}

/// Where Debian and its relatives keep the authorities they trust.
fn system_authorities() -> Vec<PathBuf> {
    vec!["/etc/ssl/certs/ca-certificates.crt".into()]
}
