//! `[limits]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Upper bounds for what others may send or hold open. Above a limit the answer is an HTTP error, never a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Largest body of a MIMI request, in KiB.
    pub mimi_body_kib: u32,
    /// Largest body of a client API request, in KiB.
    pub client_body_kib: u32,
    /// Largest transaction of the homeserver, in KiB.
    pub transaction_kib: u32,
    /// Connections that one listener holds open at a time; more wait in the system's queue.
    pub connections: u32,
    /// Seconds for the TLS handshake and for the head of a request.
    pub head_seconds: u32,
    /// Seconds for the body of a request.
    pub body_seconds: u32,
    /// Seconds for a whole request to a peer or to the homeserver.
    pub outgoing_seconds: u32,
    /// Seconds that running requests get to end when the service stops.
    pub drain_seconds: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            mimi_body_kib: 4096,
            client_body_kib: 4096,
            transaction_kib: 16_384,
            connections: 4096,
            head_seconds: 10,
            body_seconds: 30,
            outgoing_seconds: 30,
            drain_seconds: 20,
        }
    }
}

impl LimitsConfig {
    /// [`Self::head_seconds`].
    pub fn head(&self) -> Duration {
        Duration::from_secs(self.head_seconds.into())
    }

    /// [`Self::body_seconds`].
    pub fn body(&self) -> Duration {
        Duration::from_secs(self.body_seconds.into())
    }

    /// [`Self::outgoing_seconds`].
    pub fn outgoing(&self) -> Duration {
        Duration::from_secs(self.outgoing_seconds.into())
    }

    /// [`Self::drain_seconds`].
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }
}
