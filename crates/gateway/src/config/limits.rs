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
    /// Connections that one address may hold open to the MIMI face, and to the one for Matrix servers; more are closed
    /// at once.
    pub connections_per_address: u32,
    /// Requests a second that one peer (a provider, or a Matrix server) may make on average; above it the answer is 429 with Retry-After.
    pub peer_requests_per_second: u32,
    /// Requests that one peer may make at once after a pause.
    pub peer_burst: u32,
    /// Requests of one peer that are worked on at a time; above it the answer is 503 with Retry-After.
    pub peer_concurrent: u32,
    /// Largest asset (attachment) that is taken from a client or passed on for a peer, in MiB.
    pub asset_mib: u32,
    /// Seconds for the download of a whole asset.
    pub asset_seconds: u32,
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
            connections_per_address: 1024,
            peer_requests_per_second: 2000,
            peer_burst: 4000,
            peer_concurrent: 256,
            asset_mib: 100,
            asset_seconds: 300,
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

    /// [`Self::mimi_body_kib`] in octets.
    pub fn mimi_body(&self) -> usize {
        kib(self.mimi_body_kib)
    }

    /// [`Self::client_body_kib`] in octets.
    pub fn client_body(&self) -> usize {
        kib(self.client_body_kib)
    }

    /// [`Self::asset_mib`] in octets.
    pub fn asset(&self) -> usize {
        usize::try_from(self.asset_mib).unwrap_or(usize::MAX >> 20) << 20
    }

    /// [`Self::asset_seconds`].
    pub fn asset_time(&self) -> Duration {
        Duration::from_secs(self.asset_seconds.into())
    }

    /// [`Self::transaction_kib`] in octets.
    pub fn transaction(&self) -> usize {
        kib(self.transaction_kib)
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

fn kib(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX >> 10) << 10
}
