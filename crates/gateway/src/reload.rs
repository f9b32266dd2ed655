//! Changes without a restart: certificates, trust, peers, limits per peer, the hub's key rings.
//!
//! They are read again on SIGHUP, by `POST /reload` of the admin API, and when one of the files of certificates or keys
//! has changed. Everything is read first; if anything is wrong nothing changes.

use crate::config::{Config, Environment, load};
use crate::faces::admin::api::Reloaded;
use crate::failure::Failure;
use crate::keys::{self, Ring};
use crate::tls::{Live, Material};
use crate::web::{PeerAllowance, PeerLimits, Stop};
use room_engine::Engine;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Puts changes into the running service. Cheap to clone.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    live: Live,
    engine: Engine,
    peer_limits: PeerLimits,
    /// What holds now.
    config: Mutex<Config>,
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
}

/// Says what came of it: whoever sent a signal has nowhere else to look.
fn told(outcome: Result<Reloaded, Failure>) -> Result<Reloaded, Failure> {
    match &outcome {
        Ok(done) => tracing::info!(peers = done.peers, needs_restart = ?done.needs_restart, "reloaded"),
        Err(failure) => {
            tracing::error!(
                cause = failure.cause(),
                "nothing was reloaded, what held before holds on"
            );
        }
    }
    let result = if outcome.is_ok() { "done" } else { "failed" };
    metrics::counter!("causeway_reloads_total", "result" => result).increment(1);
    outcome
}

impl Reloader {
    /// For a service that was started with `config`.
    pub fn new(config: &Config, live: Live, engine: Engine, peer_limits: PeerLimits) -> Self {
        Self(Arc::new(Inner {
            live,
            engine,
            peer_limits,
            config: Mutex::new(config.clone()),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    fn config(&self) -> Config {
        let config = self.0.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.clone()
    }

    /// Reads the configuration file and everything that it names again.
    pub async fn again(&self) -> Result<Reloaded, Failure> {
        let now = self.config();
        let config = match &now.file {
            Some(file) => load(file, &Environment::process()),
            None => Ok(now),
        };
        match config {
            Ok(config) => self.apply(config).await,
            Err(failure) => told(Err(failure)),
        }
    }

    /// Makes `config` hold, as far as it can without a restart.
    pub async fn apply(&self, config: Config) -> Result<Reloaded, Failure> {
        let _turn = self.0.turn.lock().await;
        told(self.replace(config))
    }

    fn replace(&self, config: Config) -> Result<Reloaded, Failure> {
        let material = Material::load(&config)?;
        let hub = keys::hub(&config)?;
        let needs_restart = needs_restart(&self.config(), &config);
        let peers = config.peers.len();
        self.0.live.replace(material);
        self.0.engine.set_hub(hub);
        self.0.peer_limits.set(PeerAllowance::from(&config.limits));
        *self.0.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(Reloaded { peers, needs_restart })
    }

    /// Looks at the files of certificates and keys until told to stop, and reads them again when one has changed. The
    /// configuration file itself waits for SIGHUP: whoever edits it says when it is whole.
    pub async fn watch(self, mut stop: Stop) {
        let mut seen = looks(&self.config());
        let mut tried = seen.clone();
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let config = self.config();
            let now = looks(&config);
            // Something changed, and stands still since the last look: certificate and key are two files.
            if now != seen && now == tried {
                // A failure is logged; the next change is another chance.
                let _ = self.apply(config).await;
                seen.clone_from(&now);
            }
            tried = now;
        }
    }
}

/// What a changed file shows.
type Look = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

fn looks(config: &Config) -> Look {
    let mimi = &config.mimi;
    let mut files = vec![config.path(&mimi.certificate), config.path(&mimi.key)];
    files.extend(mimi.trusted_ca.iter().map(|p| config.path(p)));
    files.extend(mimi.web_pki_roots.iter().map(|p| config.path(p)));
    files.extend(
        config
            .peers
            .values()
            .filter_map(|p| p.ca.as_ref())
            .map(|p| config.path(p)),
    );
    let client = [&config.client_api.certificate, &config.client_api.key];
    files.extend(client.into_iter().flatten().map(|p| config.path(p)));
    if let Some(section) = &config.federation {
        files.extend([&section.certificate, &section.key].map(|p| config.path(p)));
    }
    files.extend(Ring::ALL.map(|ring| ring.path(config)));
    files
        .into_iter()
        .map(|path| {
            let look = std::fs::metadata(&path)
                .ok()
                .and_then(|m| Some((m.modified().ok()?, m.len())));
            (path, look)
        })
        .collect()
}

/// Keys that differ and are read at the start only.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    // What is replaced while the service runs is made equal first.
    let mut old = old.clone();
    old.peers.clone_from(&new.peers);
    let (mimi, changed) = (&mut old.mimi, &new.mimi);
    mimi.certificate.clone_from(&changed.certificate);
    mimi.key.clone_from(&changed.key);
    mimi.trusted_ca.clone_from(&changed.trusted_ca);
    mimi.web_pki_roots.clone_from(&changed.web_pki_roots);
    mimi.private_networks.clone_from(&changed.private_networks);
    mimi.peers = changed.peers;
    let (limits, changed) = (&mut old.limits, &new.limits);
    limits.peer_requests_per_second = changed.peer_requests_per_second;
    limits.peer_burst = changed.peer_burst;
    limits.peer_concurrent = changed.peer_concurrent;
    let client_tls = |c: &Config| c.client_api.certificate.is_some();
    if client_tls(&old) == client_tls(new) {
        old.client_api.certificate.clone_from(&new.client_api.certificate);
        old.client_api.key.clone_from(&new.client_api.key);
    }
    if let (Some(section), Some(changed)) = (&mut old.federation, &new.federation) {
        section.certificate.clone_from(&changed.certificate);
        section.key.clone_from(&changed.key);
    }
    let (keys, changed) = (&mut old.keys, &new.keys);
    keys.hub.clone_from(&changed.hub);
    keys.franking.clone_from(&changed.franking);
    keys.hub_key.clone_from(&changed.hub_key);
    let value = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut differing = Vec::new();
    differences("", &value(&old), &value(new), &mut differing);
    differing
}

fn differences(path: &str, old: &serde_json::Value, new: &serde_json::Value, differing: &mut Vec<String>) {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        if old != new {
            differing.push(path.to_owned());
        }
        return;
    };
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for name in names {
        let null = serde_json::Value::Null;
        let below = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        differences(
            &below,
            before.get(name).unwrap_or(&null),
            after.get(name).unwrap_or(&null),
            differing,
        );
    }
}
