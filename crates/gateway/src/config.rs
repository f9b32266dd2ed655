//! Configuration: one TOML file, one module per section, environment variables on top.
//!
//! The doc comments of the sections are the documentation: `docs/causeway.example.toml` and
//! `schemas/config.json` are made from them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod admin;
mod appservice;
mod client_api;
mod cluster;
mod domain;
pub mod example;
mod federation;
mod homeserver;
mod keys;
mod limits;
mod load;
mod log;
mod mimi;
mod peers;
mod provider;
mod secret;
mod store;
mod users;
mod validate;

pub use admin::AdminConfig;
pub use appservice::AppserviceConfig;
pub use client_api::ClientApiConfig;
pub use cluster::ClusterConfig;
pub use domain::PeerDomain;
pub use federation::FederationConfig;
pub use homeserver::HomeserverConfig;
pub use keys::KeysConfig;
pub use limits::LimitsConfig;
pub use load::{Environment, load, parse, schema};
pub use log::{LogConfig, LogFormat};
pub use mimi::{MimiConfig, PeerPolicy};
pub use peers::PeerConfig;
pub use provider::ProviderConfig;
pub use secret::Secret;
pub use store::StoreConfig;
pub use users::{ConsentRequiredOf, UsersConfig};
pub use validate::Problem;

/// The whole configuration. Paths are relative to the folder of the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this provider is.
    pub provider: ProviderConfig,
    /// Key files, made by `causeway init`. They are not part of the store and not of its exports.
    #[serde(default)]
    pub keys: KeysConfig,
    /// Where rooms, accounts and queues are kept.
    #[serde(default)]
    pub store: StoreConfig,
    /// The face towards other MIMI providers.
    pub mimi: MimiConfig,
    /// What is particular about single peers, by provider domain.
    #[serde(default)]
    pub peers: BTreeMap<PeerDomain, PeerConfig>,
    /// The face towards this provider's own MLS clients.
    #[serde(default)]
    pub client_api: ClientApiConfig,
    /// The Matrix homeserver beside this provider. Without this section the provider has local accounts only.
    pub homeserver: Option<HomeserverConfig>,
    /// The appservice side of the homeserver. Goes with the section `homeserver`.
    pub appservice: Option<AppserviceConfig>,
    /// What users of this provider are open to, unless they decide otherwise themselves.
    #[serde(default)]
    pub users: UsersConfig,
    /// This node as one of several of the provider. Without this section it is the only one.
    pub cluster: Option<ClusterConfig>,
    /// The face towards Matrix servers. Without this section this node's graphs are its own alone.
    pub federation: Option<FederationConfig>,
    /// Health, metrics and administration. Keep it off the public network.
    #[serde(default)]
    pub admin: AdminConfig,
    /// Logs, written to standard error.
    #[serde(default)]
    pub log: LogConfig,
    /// Upper bounds for what others may send or hold open.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// The file it was read from, to be read again without a restart.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// Where the file lies; relative paths start here.
    #[serde(skip)]
    pub base: PathBuf,
}

impl Config {
    /// A path of the configuration as the process has to open it.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// The node name without its port: what a certificate for Matrix servers has to name.
    pub fn node_host(&self) -> &str {
        let name = self.provider.node_name.as_str();
        name.rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(name, |(host, _)| host)
    }
}

#[cfg(test)]
mod tests;
