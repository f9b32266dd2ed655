//! Several nodes of one provider: the way between them, and what a face does with a request that another node has to
//! decide.

use crate::config::{ClusterConfig, Config};
use crate::failure::{Code, Failure};
use crate::keys::{self, KeyFile, KeyKind};
use crate::service::{self, engine_config, engine_failure};
use crate::tls::Live;
use crate::web::{BodyLimit, Listener, Stop, TlsSource};
use axum::Router;
use event_graph::SigningIdentity;
use lane::{Cluster, ClusterSettings, Member, NodeName, Pending, ReplicatedStore};
use room_engine::{Clock, Engine};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::{Batch, Store};
use tokio::task::JoinHandle;

mod forward;
mod link;
mod serve;

use forward::{Forward, forward};
use serve::NodeFace;

/// Name of the node API in logs and metrics.
pub const FACE: &str = "node";

/// A node in one line: name, address, key (`ed25519:VERSION KEY`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLine(pub NodeName, pub Member);

impl std::str::FromStr for NodeLine {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, address, version, key] = words.as_slice() else {
            return Err(
                "write NAME HOST:PORT ed25519:VERSION KEY, as `causeway node self` prints it".to_owned(),
            );
        };
        let member = Member {
            address: (*address).to_owned(),
            key: format!("{version} {key}"),
        };
        member.verify_key().ok_or("the key is no Ed25519 key")?;
        Ok(Self(NodeName::from(*name), member))
    }
}

impl std::fmt::Display for NodeLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.0, self.1.address, self.1.key)
    }
}

/// The key that signs this node's requests; made if it isn't there.
fn identity(config: &Config) -> Result<SigningIdentity, Failure> {
    let section = section(config)?;
    let path = config.path(&section.key);
    if !path.exists() {
        KeyFile::generate()?.write(&path, KeyKind::Ed25519)?;
    }
    keys::signing(&section.name, &path)
}

/// This node's own line.
pub fn own_line(config: &Config) -> Result<NodeLine, Failure> {
    let section = section(config)?;
    let identity = identity(config)?;
    let member = Member::new(section.advertised(), &identity);
    Ok(NodeLine(NodeName::from(section.name.as_str()), member))
}

/// The section, which has to be there.
pub fn section(config: &Config) -> Result<&ClusterConfig, Failure> {
    config.cluster.as_ref().ok_or_else(|| {
        Failure::new(
            Code::ConfigValue,
            "the configuration has no section cluster: this node is the only one",
            "write the section with `listen`, and restart the service",
        )
    })
}

/// This node among the others of its provider; where there are none, nothing.
pub struct Nodes {
    cluster: Option<Cluster>,
    pending: Option<Pending>,
    faces: BTreeMap<&'static str, Router>,
}

impl Nodes {
    /// Opens the engine on a store: alone, or as one of several.
    pub async fn open(
        config: &Config,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Arc<dyn Store>, Engine), Failure> {
        let slot: Arc<OnceLock<Engine>> = Arc::default();
        let applied = {
            let slot = slot.clone();
            move |batch: &Batch| {
                if let Some(engine) = slot.get() {
                    engine.applied(batch);
                }
            }
        };
        let cluster = start(config, store.clone(), applied).await?;
        let (store, engine) = match &cluster {
            None => {
                let engine = crate::service::open_engine(config, store.clone(), clock).await?;
                (store, engine)
            }
            Some(cluster) => {
                let store: Arc<dyn Store> = Arc::new(ReplicatedStore::new(cluster.clone()));
                let order = Arc::new(cluster.clone());
                let (engine, keys) = (engine_config(config), service::keys(config)?);
                let local = cluster.local().clone();
                let engine = Engine::open_with(engine, keys, store.clone(), clock, order, local).await;
                (store, engine.map_err(engine_failure)?)
            }
        };
        let _ = slot.set(engine.clone());
        let pending = cluster
            .as_ref()
            .map(|cluster| Pending::new(cluster.clone(), engine.clone()));
        let nodes = Self {
            cluster,
            pending,
            faces: BTreeMap::new(),
        };
        Ok((nodes, store, engine))
    }

    /// The node's part, where there are several.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// A face's routes, with the way to the node that orders around them. `body` is the largest that the face takes, in
    /// octets: who asks is not known yet where it is read.
    pub fn face(&mut self, config: &Config, name: &'static str, body: usize, routes: Router) -> Router {
        let (Some(cluster), Some(pending)) = (&self.cluster, &self.pending) else {
            return routes;
        };
        self.faces.insert(name, routes.clone());
        let way = Forward {
            cluster: cluster.clone(),
            pending: pending.clone(),
            face: name,
            limit: BodyLimit {
                size: body,
                time: config.limits.body(),
            },
            asset: config.limits.asset(),
        };
        routes.layer(axum::middleware::from_fn_with_state(way, forward))
    }

    /// What goes on in the background.
    pub fn background(&self, stop: &Stop) -> Option<JoinHandle<()>> {
        let (pending, mut stop) = (self.pending.clone()?, stop.clone());
        Some(tokio::spawn(pending.run(async move { stop.wait().await })))
    }

    /// Where the other nodes come in. To be called when all faces are known.
    pub async fn listener(
        &mut self,
        config: &Config,
        engine: &Engine,
        live: &Live,
    ) -> Result<Option<Listener>, Failure> {
        let (Some(cluster), Some(section)) = (&self.cluster, &config.cluster) else {
            return Ok(None);
        };
        let face = NodeFace::new(cluster.clone(), engine.clone(), std::mem::take(&mut self.faces));
        let live = live.clone();
        let tls: TlsSource = Arc::new(move || live.now().mimi.clone());
        Listener::bind(FACE, section.listen, Some(tls), face.router(), &config.limits)
            .await
            .map(Some)
    }

    /// Lets another node order, if this one does: what comes in from now on goes there.
    pub async fn hand_over(&self) {
        if let Some(cluster) = &self.cluster
            && let Ok(to) = cluster.hand_over(None).await
        {
            tracing::info!(%to, "handed over");
        }
    }

    /// Ends the node's part.
    pub async fn stop(self) {
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
    }
}

/// Starts the node's part, where the configuration says that it is one of several. `applied` is told of every batch.
async fn start(
    config: &Config,
    store: Arc<dyn Store>,
    applied: impl Fn(&Batch) + Send + Sync + 'static,
) -> Result<Option<Cluster>, Failure> {
    let Some(section) = &config.cluster else {
        return Ok(None);
    };
    let NodeLine(name, member) = own_line(config)?;
    let mut seeds = BTreeMap::new();
    for line in &section.nodes {
        let NodeLine(name, member) = line.parse().map_err(|e: String| {
            Failure::new(
                Code::ConfigValue,
                format!("cluster.nodes: `{line}`: {e}"),
                "copy what `causeway node self` prints at that node",
            )
        })?;
        seeds.insert(name, member);
    }
    let settings = ClusterSettings {
        seeds,
        join: section.join,
        election: Duration::from_millis(u64::from(section.election_ms)),
        heartbeat: Duration::from_millis(u64::from(section.election_ms / 5).max(10)),
        ..ClusterSettings::new(name, member)
    };
    let link = Arc::new(link::HttpLink::new(config, identity(config)?)?);
    let cluster = Cluster::start(settings, store, link, applied).await.map_err(|e| {
        Failure::new(
            Code::StoreOpen,
            "this node can't take part in the provider's log",
            "run `causeway store verify`; if the store is lost, remove the node and join it anew with an empty one",
        )
        .with_source(e)
    })?;
    Ok(Some(cluster))
}
