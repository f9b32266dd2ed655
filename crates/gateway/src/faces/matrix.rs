//! The server-server API, served: the routes are the replication crate's; here they get what every face has.

use crate::config::{Config, FederationConfig};
use crate::failure::{Code, Failure};
use crate::keys::{KeyFile, KeyKind};
use crate::tls;
use crate::web::{PeerLimits, observe};
use axum::Router;
use event_graph::SigningIdentity;
use replication::server::{Admission, Admitted, Denied};
use replication::{AddressPolicy, ClientSettings, Federation, FederationClient, KeyStore, OwnKeys};
use room_engine::Engine;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use store::Store;

/// Name in logs and metrics.
pub const FACE: &str = "matrix";

/// This node as a Matrix server.
pub fn federation(
    config: &Config,
    section: &FederationConfig,
    engine: &Engine,
    store: Arc<dyn Store>,
) -> Result<Federation, Failure> {
    let roots: Vec<PathBuf> = section.trusted_ca.iter().map(|ca| config.path(ca)).collect();
    let settings = ClientSettings {
        addresses: if section.allow_private_addresses {
            AddressPolicy::Any
        } else {
            AddressPolicy::Public
        },
        roots: tls::roots(roots.iter().map(PathBuf::as_path))?,
        timeout: config.limits.outgoing(),
        well_known_port: replication::discovery::HTTPS,
    };
    let identity = Arc::new(identity(config)?);
    let client = FederationClient::new(identity.clone(), settings).map_err(|e| {
        Failure::new(
            Code::ConfigValue,
            "requests to Matrix servers can't be set up",
            "check the section federation",
        )
        .with_source(e)
    })?;
    let keys = KeyStore::new(client.clone(), store, now);
    Ok(Federation::new(
        engine.clone(),
        client,
        keys,
        OwnKeys::new(identity, BTreeMap::new()),
        section.bounds(),
    ))
}

/// The node's name and key.
pub fn identity(config: &Config) -> Result<SigningIdentity, Failure> {
    let node = KeyFile::load(&config.path(&config.keys.node), KeyKind::Ed25519)?;
    let key_id = format!("ed25519:{}", node.version());
    Ok(SigningIdentity::from_seed(
        &config.provider.node_name,
        &key_id,
        node.octets(),
    ))
}

/// The routes.
pub fn router(config: &Config, federation: Federation, limits: PeerLimits) -> Router {
    let limits = Arc::new(limits);
    replication::server::router(federation, config.limits.body(), limits).layer(axum::middleware::from_fn(
        |request, next| observe(FACE, request, next),
    ))
}

impl Admission for PeerLimits {
    fn enter(&self, origin: &str) -> Result<Admitted, Denied> {
        let running = Self::enter(self, origin, Instant::now()).map_err(|too_many| Denied {
            reason: too_many.to_string(),
            retry_after: too_many.retry_after(),
        })?;
        Ok(Box::new(running))
    }
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
