//! `[appservice]`

use super::Secret;
use appservice::WatchSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The appservice side of the homeserver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppserviceConfig {
    /// Where to listen for the homeserver's transactions.
    pub listen: SocketAddr,
    /// The registration that `causeway init` wrote and the homeserver loads. The tokens are read from it unless they
    /// are given otherwise.
    pub registration: PathBuf,
    /// Matrix users who may tell the bot to administer, for example `["@admin:a.example"]`.
    #[serde(default)]
    pub admins: Vec<String>,
    /// Room version of new portals: 10, 11 or 12. Without it: the homeserver's default.
    pub room_version: Option<String>,
    /// File with the token this process shows to the homeserver.
    pub as_token_file: Option<PathBuf>,
    /// File with the token the homeserver shows to this process.
    pub hs_token_file: Option<PathBuf>,
    /// Seconds between two heartbeats: events that the bot sends into a room of its own, to see that the homeserver still
    /// pushes.
    #[serde(default = "heartbeat_seconds")]
    pub heartbeat_seconds: u32,
    /// Seconds after which a heartbeat that has not come back is an alarm.
    #[serde(default = "heartbeat_late_seconds")]
    pub heartbeat_late_seconds: u32,
    /// Seconds between two comparisons of every portal with its timeline, which find what was never pushed.
    #[serde(default = "compare_seconds")]
    pub compare_seconds: u32,
    /// The same token from the environment.
    #[serde(skip_serializing)]
    #[schemars(extend("x-env-only" = true))]
    pub as_token: Option<Secret>,
    /// The same token from the environment.
    #[serde(skip_serializing)]
    #[schemars(extend("x-env-only" = true))]
    pub hs_token: Option<Secret>,
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn heartbeat_seconds() -> u32 {
    seconds(WatchSettings::default().every)
}

fn heartbeat_late_seconds() -> u32 {
    seconds(WatchSettings::default().late)
}

fn compare_seconds() -> u32 {
    seconds(WatchSettings::default().compare_every)
}

impl AppserviceConfig {
    /// With everything at its default.
    pub fn new(listen: SocketAddr, registration: PathBuf) -> Self {
        Self {
            listen,
            registration,
            admins: Vec::new(),
            room_version: None,
            as_token_file: None,
            hs_token_file: None,
            heartbeat_seconds: heartbeat_seconds(),
            heartbeat_late_seconds: heartbeat_late_seconds(),
            compare_seconds: compare_seconds(),
            as_token: None,
            hs_token: None,
        }
    }

    /// Times of the watch over the homeserver.
    pub fn watch(&self) -> WatchSettings {
        let seconds = |n: u32| Duration::from_secs(n.max(1).into());
        WatchSettings {
            every: seconds(self.heartbeat_seconds),
            late: seconds(self.heartbeat_late_seconds),
            compare_every: seconds(self.compare_seconds),
            ..WatchSettings::default()
        }
    }
}
