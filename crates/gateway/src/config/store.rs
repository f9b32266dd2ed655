//! `[store]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The embedded store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The store's folder. One process at a time holds it.
    pub path: PathBuf,
    /// Page cache in MiB.
    pub cache_mib: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: "data".into(),
            cache_mib: 64,
        }
    }
}
