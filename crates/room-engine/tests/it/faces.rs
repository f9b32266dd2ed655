//! Providers' faces and the way between them, by calls: what a network, the gateway's faces and its transports would do.

use async_trait::async_trait;
use delivery_service::HubIdentity;
use event_graph::SigningIdentity;
use mimi_wire::protocol::{KeyMaterialResponse, UpdateRoomResponse};
use mimi_wire::uri::{Domain, MimiUri};
use room_engine::outbox::OutboxEntry;
use room_engine::{
    Engine, EngineConfig, HomeserverInfo, Keys, Limits, RequestContext, RequiredOf, UserPolicies,
};

// By path: another crate's tests have this file too.
#[path = "faces/client.rs"]
mod client;
#[path = "faces/link.rs"]
mod link;

pub(crate) use client::{Face, sign_in_at};
pub(crate) use link::Link;

pub(crate) const A: &str = "a.example";
pub(crate) const B: &str = "b.example";

/// Who at a provider answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Whoever gets it.
    Any,
    /// Who orders.
    Ordering,
    /// Who orders; where that can't be reached, whoever gets it accepts it aside.
    Message,
}

/// Where the providers are.
#[async_trait]
pub(crate) trait Home: Send + Sync + 'static {
    /// The engine that answers a request of `from` (a provider or a client of its) to a provider.
    async fn reach(&self, from: &str, to: &str, way: Way) -> Result<Engine, String>;

    /// Whether an answer gets back.
    async fn back(&self, from: &str, to: &str) -> Result<(), String> {
        let _ = (from, to);
        Ok(())
    }

    /// A client handed in an update, and was answered.
    fn updating(&self, room: &MimiUri, bundle: &[u8]) {
        let _ = (room, bundle);
    }

    /// The hub answered an update.
    fn updated(&self, room: &MimiUri, bundle: &[u8], response: &UpdateRoomResponse) {
        let _ = (room, bundle, response);
    }

    /// KeyPackages were handed out.
    fn claimed(&self, request: &[u8], response: &KeyMaterialResponse) {
        let _ = (request, response);
    }

    /// An entry of an outbox arrives at another provider.
    fn arrives(&self, entry: &OutboxEntry) {
        let _ = entry;
    }

    /// An entry of an outbox goes to the homeserver beside the provider.
    fn shown(&self, entry: &OutboxEntry) {
        let _ = entry;
    }

    /// Whether the answer to a delivery gets lost, as when a process dies before it notes it.
    fn forgets(&self) -> bool {
        false
    }
}

pub(crate) fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

pub(crate) fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

pub(crate) fn ctx() -> RequestContext {
    RequestContext {
        request_id: "test".to_owned(),
    }
}

pub(crate) fn keys(provider: &str) -> Keys {
    let seed = u8::try_from(provider.len()).unwrap() ^ provider.as_bytes()[0];
    Keys {
        node: SigningIdentity::from_seed(&format!("cw1.{provider}"), "ed25519:n1", &[seed; 32]),
        hub: HubIdentity::from_seeds(domain(provider), [seed ^ 1; 32], [seed ^ 2; 32], [seed ^ 3; 32]),
    }
}

pub(crate) fn config(provider: &str) -> EngineConfig {
    EngineConfig {
        provider: domain(provider),
        node_name: format!("cw1.{provider}"),
        homeserver: (provider == A).then(|| HomeserverInfo {
            admins: Vec::new(),
            server_name: provider.to_owned(),
            bot: format!("@_mimi:{provider}"),
        }),
        limits: Limits::default(),
        users: open_policies(),
    }
}

/// Anybody may add anybody, so that stories which are about something else need no consent.
pub(crate) fn open_policies() -> UserPolicies {
    UserPolicies {
        consent_required_of: RequiredOf::Nobody,
        ..UserPolicies::default()
    }
}
