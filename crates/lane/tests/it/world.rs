//! Nodes on simulated stores and a simulated network.

use crate::net::{Net, Process};
use lane::{Cluster, ClusterSettings, Member, NodeName, ReplicatedStore};
use room_engine::{Engine, Sequencer as _};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use store::sim::SimStore;
use store::{Batch, Space, Store as _, StoreError};

pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) disk: SimStore,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) life: u64,
    /// Its engine, where a story gives it one.
    pub(crate) engine: Arc<OnceLock<Engine>>,
}

/// The nodes' disks as they are now, those of dead nodes too.
pub(crate) type Disks = Arc<Mutex<BTreeMap<NodeName, SimStore>>>;

pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Node>,
    pub(crate) disks: Disks,
}

fn member(name: &NodeName) -> Member {
    Member {
        address: name.to_string(),
        key: String::new(),
    }
}

impl World {
    /// So many nodes, all of them members.
    pub(crate) async fn new(seed: u64, count: usize) -> Self {
        Self::founded_by(seed, count, count).await
    }

    /// So many nodes, the first `founding` of them members; the others don't run yet.
    pub(crate) async fn founded_by(seed: u64, count: usize, founding: usize) -> Self {
        let net = Net::new(seed);
        let mut nodes = Vec::new();
        for number in 1..=count {
            nodes.push(Node {
                name: NodeName::from(format!("cw{number}.a.example").as_str()),
                disk: SimStore::create(Duration::from_millis(1)).await,
                cluster: None,
                life: 0,
                engine: Arc::default(),
            });
        }
        let disks = nodes.iter().map(|node| (node.name.clone(), node.disk.clone()));
        let disks = Arc::new(Mutex::new(disks.collect()));
        let mut world = Self { net, nodes, disks };
        for at in 0..founding {
            world.start(at).await;
            if at > 0 {
                let node = &world.nodes[at];
                let first = world.nodes[0].cluster.clone().unwrap();
                world.leader().await;
                first.add(node.name.clone(), member(&node.name)).await.unwrap();
            }
        }
        world
    }

    /// How the others reach a node.
    pub(crate) fn member(&self, at: usize) -> Member {
        member(&self.nodes[at].name)
    }

    /// Puts an empty disk into a node that doesn't run.
    pub(crate) async fn empty(&mut self, at: usize) {
        let disk = SimStore::create(Duration::from_millis(1)).await;
        self.insert(at, disk);
    }

    fn insert(&mut self, at: usize, disk: SimStore) {
        let node = &mut self.nodes[at];
        self.disks.lock().unwrap().insert(node.name.clone(), disk.clone());
        node.disk = disk;
    }

    pub(crate) async fn start(&mut self, at: usize) {
        self.start_with(at, at > 0).await;
    }

    /// Starts a node that waits to be added.
    pub(crate) async fn start_joining(&mut self, at: usize) {
        self.start_with(at, true).await;
    }

    async fn start_with(&mut self, at: usize, join: bool) {
        let seeds: BTreeMap<NodeName, Member> = self
            .nodes
            .iter()
            .map(|node| (node.name.clone(), member(&node.name)))
            .collect();
        let node = &mut self.nodes[at];
        node.life += 1;
        node.engine = Arc::default();
        let settings = ClusterSettings {
            seeds,
            join,
            ..ClusterSettings::new(node.name.clone(), member(&node.name))
        };
        let link = self.net.link(&node.name, node.life);
        // A disk that is full when the node starts: it tries again.
        let cluster = loop {
            let engine = node.engine.clone();
            let applied = move |batch: &Batch| {
                if let Some(engine) = engine.get() {
                    engine.applied(batch);
                }
            };
            let disk = Arc::new(node.disk.clone());
            match Cluster::start(settings.clone(), disk, link.clone(), applied).await {
                Ok(cluster) => break cluster,
                Err(_) => node.disk.fill(None),
            }
        };
        let process = Process {
            cluster: cluster.clone(),
            engine: node.engine.clone(),
        };
        self.net.up(node.life, process);
        node.cluster = Some(cluster);
    }

    /// The process dies; of what was not synced so many thousandths stay.
    pub(crate) async fn crash(&mut self, at: usize, kept: u32) {
        let node = &mut self.nodes[at];
        self.net.down(&node.name);
        node.disk.crash(kept);
        if let Some(cluster) = node.cluster.take() {
            tokio::spawn(async move { cluster.stop().await });
        }
        let disk = node.disk.reopen().await;
        self.insert(at, disk);
    }

    /// Waits until a node orders; returns which.
    pub(crate) async fn leader(&self) -> usize {
        for _ in 0..6000 {
            let leads = |node: &Node| {
                node.cluster
                    .as_ref()
                    .is_some_and(|cluster| cluster.term().is_ok())
            };
            if let Some(at) = self.nodes.iter().position(leads) {
                return at;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no node orders: {:?}", self.views());
    }

    fn views(&self) -> Vec<Option<lane::ClusterView>> {
        self.nodes
            .iter()
            .map(|node| node.cluster.as_ref().map(Cluster::view))
            .collect()
    }

    pub(crate) fn store(&self, at: usize) -> Option<(Cluster, ReplicatedStore)> {
        let cluster = self.nodes[at].cluster.clone()?;
        let store = ReplicatedStore::new(cluster.clone());
        Some((cluster, store))
    }

    /// Waits until all nodes have applied the same, and returns the records, which have to be the same.
    pub(crate) async fn converged(&self) -> BTreeMap<(u8, Vec<u8>), Vec<u8>> {
        for _ in 0..6000 {
            let views = self.views();
            let first = views[0].as_ref().map(|view| view.applied);
            let same = views.iter().all(|view| {
                view.as_ref()
                    .is_some_and(|view| Some(view.applied) == first && view.log == view.applied)
            });
            if same && views.iter().flatten().any(|view| view.orders) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut all = Vec::new();
        for node in &self.nodes {
            let mut view = node.disk.snapshot().await.unwrap();
            let mut records = BTreeMap::new();
            loop {
                let page = view.next(1000).await.unwrap();
                if page.is_empty() {
                    break;
                }
                let shared = page.into_iter().filter(|record| {
                    let own = record.space == Space::Meta && record.key.starts_with(b"store.");
                    !own && !record.space.is_local()
                });
                records.extend(shared.map(|r| ((r.space.code(), r.key.to_vec()), r.value.to_vec())));
            }
            all.push(records);
        }
        for (at, records) in all.iter().enumerate() {
            let differ: Vec<_> = records
                .iter()
                .filter(|(key, value)| all[0].get(*key) != Some(*value))
                .chain(all[0].iter().filter(|(key, _)| !records.contains_key(*key)))
                .map(|((space, key), value)| {
                    (
                        Space::from_code(*space),
                        key,
                        value,
                        all[0].get(&(*space, key.clone())),
                    )
                })
                .collect();
            assert!(
                differ.is_empty(),
                "node {at} and the first differ in {differ:?}: {:?}",
                self.views()
            );
        }
        all.remove(0)
    }
}

/// Has a record written through a node.
pub(crate) async fn write(world: &World, at: usize, key: &str) -> Result<(), StoreError> {
    let (_, store) = world.store(at).unwrap();
    let mut batch = Batch::new();
    batch.put(Space::Room, key, b"x".to_vec());
    store.commit(batch).await.map(drop)
}

/// Whether a node has a record applied.
pub(crate) async fn holds(world: &World, at: usize, key: &str) -> bool {
    let found = world.nodes[at].disk.get(Space::Room, key.as_bytes()).await;
    found.unwrap().is_some()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}
