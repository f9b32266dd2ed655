//! A provider on several nodes with its real engine, a follower, and clients that talk: handshakes, KeyPackages, messages,
//! some of them accepted at nodes that are cut off. A third provider repeats what it has caught of the others.

use super::finality::Finality;
use super::history::History;
use super::liar::lie;
use super::people::{Person, everybody};
use super::trouble::Trouble;
use super::twice;
use crate::faces::{self, A, B, Home, Link, Way, config, domain, keys, uri};
use crate::net::{Net, Weather, seeded};
use crate::world::{Node, World};
use async_trait::async_trait;
use lane::{Cluster, ClusterError, NodeName, Pending, ReplicatedStore};
use mimi_wire::codec::Decode as _;
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{KeyMaterialResponse, UpdateRoomResponse};
use mimi_wire::uri::MimiUri;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use room_engine::outbox::{Destination, OutboxEntry, Sender, SenderSettings};
use room_engine::{Clock, Engine, EngineConfig, FeedItem, RoomView, Sequencer as _};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use store::MemoryStore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How wrong a clock may be, in milliseconds either way.
const SKEW: i64 = 10 * 60 * 1000;
/// After this long nobody waits for an answer any more.
const PATIENCE: Duration = Duration::from_secs(2);

/// A clock that goes on with the simulation, and is wrong.
struct SimClock {
    began: Instant,
    base: u64,
    skew: i64,
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        (self.base + since).saturating_add_signed(self.skew)
    }
}

/// A node's process: what a start of the gateway puts together.
pub(super) struct Process {
    pub(super) name: NodeName,
    cluster: Cluster,
    engine: Engine,
    pending: Pending,
    senders: Mutex<Vec<Sender>>,
    handing_over: JoinHandle<()>,
    _outbox: Arc<At>,
}

/// All of the simulation but the nodes' disks.
pub(super) struct Sim {
    pub(super) net: Net,
    seed: u64,
    /// Whether it has what simulations had not at first: requests that come twice, altered octets, a second room.
    pub(super) more: bool,
    began: Instant,
    base: u64,
    nodes: Mutex<Vec<Option<Arc<Process>>>>,
    starting: Mutex<Vec<Option<JoinHandle<()>>>>,
    follower: Mutex<Option<Engine>>,
    history: Mutex<History>,
    finality: Finality,
}

/// The simulation as it is from one place.
pub(super) struct At {
    pub(super) sim: Arc<Sim>,
    name: NodeName,
    /// A node's life: what it wanted to send when it died it doesn't send.
    life: Option<u64>,
    rng: Mutex<SmallRng>,
    /// What says which of its requests arrive twice.
    again: Mutex<SmallRng>,
}

impl Sim {
    fn new(seed: u64, more: bool, net: Net, nodes: usize, finality: Finality) -> Arc<Self> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Arc::new(Self {
            net,
            seed,
            more,
            began: Instant::now(),
            base: u64::try_from(since.as_millis()).unwrap(),
            nodes: Mutex::new(std::iter::repeat_with(|| None).take(nodes).collect()),
            starting: Mutex::new(std::iter::repeat_with(|| None).take(nodes).collect()),
            follower: Mutex::default(),
            history: Mutex::default(),
            finality,
        })
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    /// What somebody draws from, whatever the others draw.
    pub(super) fn drawn(&self, who: &str) -> SmallRng {
        seeded(self.seed, who)
    }

    /// A client was given a Welcome.
    pub(super) fn welcomed(&self, message: &[u8]) {
        let message = MlsMessage::from_bytes(message).unwrap();
        self.history().welcomed(&message, &self.finality);
    }

    /// Notes what somebody did.
    pub(super) fn note(&self, who: &str, what: &str, done: bool) {
        let at = self.began.elapsed().as_millis();
        self.history().trace.push(format!("{at} {who} {what} {done}"));
    }

    fn clock(&self, whose: &str) -> Arc<SimClock> {
        Arc::new(SimClock {
            began: self.began,
            base: self.base,
            skew: seeded(self.seed, &format!("clock {whose}")).random_range(-SKEW..=SKEW),
        })
    }

    fn at(self: &Arc<Self>, name: &NodeName, life: Option<u64>) -> Arc<At> {
        Arc::new(At {
            sim: self.clone(),
            name: name.clone(),
            life,
            rng: Mutex::new(seeded(self.seed, &format!("{name} {life:?}"))),
            again: Mutex::new(seeded(self.seed, &format!("{name} {life:?} again"))),
        })
    }

    /// Where something is that is no node.
    pub(super) fn outside(self: &Arc<Self>, name: &str) -> Arc<At> {
        self.at(&NodeName::from(name), None)
    }

    fn settings(&self, whose: &str) -> SenderSettings {
        SenderSettings {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
            seed: Some(seeded(self.seed, &format!("sender {whose}")).random()),
        }
    }

    /// The rest of a node's start, once its part in the log runs.
    fn boot(self: &Arc<Self>, at: usize, node: &Node) {
        let (sim, life, slot) = (self.clone(), node.life, node.engine.clone());
        let (name, cluster) = (node.name.clone(), node.cluster.clone().unwrap());
        let clock = self.clock(&format!("{name} {life}"));
        let task = tokio::spawn(async move {
            let store = Arc::new(ReplicatedStore::new(cluster.clone()));
            let engine = loop {
                let order = Arc::new(cluster.clone());
                let (config, local) = (provider(A), cluster.local().clone());
                let opened =
                    Engine::open_with(config, keys(A), store.clone(), clock.clone(), order, local).await;
                match opened {
                    Ok(engine) => break engine,
                    Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
                }
            };
            let _ = slot.set(engine.clone());
            let outbox = sim.at(&name, Some(life));
            let link = Link {
                from: A.to_owned(),
                engine: engine.clone(),
                home: Arc::downgrade(&outbox),
            };
            let to = Destination::Provider(domain(B));
            let sender = engine.sender(to, Arc::new(link), sim.settings(&format!("{name} {life}")));
            let pending = Pending::new(cluster.clone(), engine.clone());
            let process = Process {
                name,
                cluster,
                engine,
                handing_over: tokio::spawn(pending.clone().run(std::future::pending())),
                pending,
                senders: Mutex::new(vec![sender]),
                _outbox: outbox,
            };
            sim.nodes.lock().unwrap()[at] = Some(Arc::new(process));
        });
        self.starting.lock().unwrap()[at] = Some(task);
    }

    fn kill(&self, at: usize) {
        if let Some(starting) = self.starting.lock().unwrap()[at].take() {
            starting.abort();
        }
        let process = self.nodes.lock().unwrap()[at].take();
        if let Some(process) = process {
            process.handing_over.abort();
            // What is left of it finds its disk closed and its network gone.
            tokio::spawn(async move {
                let senders = std::mem::take(&mut *process.senders.lock().unwrap());
                for sender in senders {
                    sender.stop().await;
                }
                process.engine.close().await;
            });
        }
    }

    /// Any node that runs: who reaches none tries the next.
    pub(super) fn some_node(&self, rng: &mut SmallRng) -> Option<Arc<Process>> {
        let nodes = self.nodes.lock().unwrap();
        let running: Vec<_> = nodes.iter().flatten().collect();
        let many = running.len().max(1);
        running
            .get(rng.random_range(0..many))
            .map(|node| Arc::clone(node))
    }

    fn named(&self, name: &NodeName) -> Option<Arc<Process>> {
        let nodes = self.nodes.lock().unwrap();
        nodes.iter().flatten().find(|node| node.name == *name).cloned()
    }

    /// The process that orders.
    fn ordering(&self) -> Option<Arc<Process>> {
        let nodes = self.nodes.lock().unwrap();
        nodes
            .iter()
            .flatten()
            .find(|node| node.cluster.term().is_ok())
            .cloned()
    }

    /// The engine that orders now, in fair weather.
    pub(super) fn hub(&self) -> Engine {
        self.ordering().unwrap().engine.clone()
    }

    pub(super) fn follower(&self) -> Engine {
        self.follower.lock().unwrap().clone().unwrap()
    }

    /// What the gateway of a node does with a request.
    pub(super) async fn face(&self, node: &Process, way: Way) -> Result<Engine, String> {
        let message = way == Way::Message;
        let behind = message && !node.pending.hand_over().await;
        if behind || way == Way::Any || node.cluster.term().is_ok() {
            return Ok(node.engine.clone());
        }
        let onwards = async {
            let (leader, _) = node.cluster.leader().ok_or("no node is known to order")?;
            self.net.carry(&node.name, &leader, PATIENCE).await?;
            let leader = self.named(&leader).ok_or("it has died")?;
            leader.cluster.term().map_err(|e| e.to_string())?;
            Ok(leader.engine.clone())
        };
        match onwards.await {
            Err(_) if message => Ok(node.engine.clone()),
            other => other,
        }
    }
}

#[async_trait]
impl Home for At {
    async fn reach(&self, from: &str, to: &str, way: Way) -> Result<Engine, String> {
        let sim = &self.sim;
        if let Some(life) = self.life.filter(|life| !sim.net.alive(&self.name, *life)) {
            return Err(format!("life {life} is over"));
        }
        if to == B {
            // Its own clients have no trouble.
            if from != B {
                sim.net.carry(&self.name, &NodeName::from(B), PATIENCE).await?;
            }
            return Ok(sim.follower());
        }
        let node = sim.some_node(&mut self.rng.lock().unwrap());
        let node = node.ok_or("no node runs")?;
        sim.net.carry(&self.name, &node.name, PATIENCE).await?;
        sim.face(&node, way).await
    }

    async fn back(&self, from: &str, to: &str) -> Result<(), String> {
        if from == B && to == B {
            return Ok(());
        }
        if let Some(life) = self.life.filter(|life| !self.sim.net.alive(&self.name, *life)) {
            return Err(format!("life {life} is over"));
        }
        // From wherever it was answered.
        self.sim
            .net
            .carry(&NodeName::from(to), &self.name, PATIENCE)
            .await
    }

    fn updating(&self, room: &MimiUri, bundle: &[u8]) {
        let bundle = (room.to_string(), bundle.to_vec());
        self.sim.history().bundles.push(bundle);
    }

    fn updated(&self, room: &MimiUri, bundle: &[u8], response: &UpdateRoomResponse) {
        let (room, finality) = (room.as_str(), &self.sim.finality);
        self.sim.history().updated(room, bundle, response, finality);
    }

    fn claimed(&self, request: &[u8], response: &KeyMaterialResponse) {
        self.sim.history().claimed(request, response);
    }

    fn arrives(&self, entry: &OutboxEntry) {
        self.sim.history().arrives(entry, &self.sim.finality);
        twice::entry_again(&self.sim, &self.name, &mut self.again.lock().unwrap(), entry);
    }
}

fn provider(name: &str) -> EngineConfig {
    EngineConfig {
        homeserver: None,
        ..config(name)
    }
}

/// Adds the last node, whoever orders, however often that takes.
async fn grow(sim: Arc<Sim>, name: NodeName, member: lane::Member) {
    loop {
        if let Some(node) = sim.ordering() {
            match node.cluster.add(name.clone(), member.clone()).await {
                Ok(()) | Err(ClusterError::Exists(_)) => return,
                Err(_) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Tells a story; returns what everybody did in it, and when.
pub(super) async fn story(seed: u64) -> Vec<String> {
    told(seed, true).await
}

/// A story as it was told when it taught something: no request came twice, no octets were altered, there was one room.
pub(super) async fn former(seed: u64) -> Vec<String> {
    told(seed, false).await
}

async fn told(seed: u64, more: bool) -> Vec<String> {
    lane::seed_elections(seed);
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x5eed);
    let count = [3, 3, 4, 5, 7][rng.random_range(0..5)];
    // In some stories a node joins while the others are in trouble.
    let latecomer = count > 3 && rng.random();
    let founding = count - usize::from(latecomer);
    let mut world = World::founded_by(seed, count, founding).await;
    let finality = Finality::new(world.disks.clone(), founding);
    let sim = Sim::new(rng.random(), more, world.net.clone(), count, finality);
    if more {
        world.net.repeat();
    }
    for at in 0..count {
        if world.nodes[at].cluster.is_some() {
            sim.boot(at, &world.nodes[at]);
        }
    }
    let clock = sim.clock(B);
    let follower = Engine::open(provider(B), keys(B), Arc::new(MemoryStore::new()), clock)
        .await
        .unwrap();
    *sim.follower.lock().unwrap() = Some(follower.clone());
    let outbox = sim.outside(B);
    let link = faces::Link {
        from: B.to_owned(),
        engine: follower.clone(),
        home: Arc::downgrade(&outbox),
    };
    let to_hub = follower.sender(Destination::Provider(domain(A)), Arc::new(link), sim.settings(B));
    while sim.ordering().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (rooms, people) = everybody(&sim).await;

    let stop = tokio::sync::watch::channel(false).0;
    let talking: Vec<_> = people
        .into_iter()
        .map(|person| {
            let rng = SmallRng::seed_from_u64(rng.random());
            tokio::spawn(person.talk(sim.clone(), rooms.clone(), rng, stop.subscribe()))
        })
        .collect();
    let lying = tokio::spawn(lie(sim.clone(), SmallRng::seed_from_u64(rng.random())));
    let growing = latecomer.then(|| {
        let (name, member) = (world.nodes[count - 1].name.clone(), world.member(count - 1));
        tokio::spawn(grow(sim.clone(), name, member))
    });
    let mut trouble = Trouble::new(rng, count);
    trouble.outside = vec![NodeName::from(B)];
    while trouble.goes_on() {
        let happened = trouble.next(&mut world, |at| sim.kill(at)).await;
        for at in happened.started {
            sim.boot(at, &world.nodes[at]);
        }
    }

    world.net.heal();
    world.net.weather(Weather::FAIR);
    for at in 0..count {
        world.nodes[at].disk.fill(None);
        if world.nodes[at].cluster.is_none() {
            world.start(at).await;
            sim.boot(at, &world.nodes[at]);
        }
    }
    if let Some(growing) = growing {
        growing.await.unwrap();
    }
    stop.send_replace(true);
    let mut people = Vec::new();
    for talking in talking {
        people.push(talking.await.unwrap());
    }
    if lying.is_finished() {
        lying.await.unwrap();
    } else {
        lying.abort();
    }
    settle(&sim, &rooms, &mut people).await;
    world.converged().await;
    for room in &rooms {
        check(&sim, room, &people).await;
    }

    to_hub.stop().await;
    follower.close().await;
    for at in 0..count {
        sim.kill(at);
    }
    for node in &world.nodes {
        if let Some(cluster) = &node.cluster {
            cluster.stop().await;
        }
    }
    std::mem::take(&mut sim.history().trace)
}

/// Waits until nothing is to be said, sent or handed over any more, and everybody has read all.
async fn settle(sim: &Sim, rooms: &[String], people: &mut [Person]) {
    let mut why = String::new();
    for _ in 0..1500 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        why = match unsettled(sim, rooms, people).await {
            None => return,
            Some(why) => why,
        };
    }
    panic!("it never settles: {why}");
}

async fn unsettled(sim: &Sim, rooms: &[String], people: &mut [Person]) -> Option<String> {
    for person in people.iter_mut() {
        for room in rooms {
            if let Err(error) = person.catch_up(room).await {
                return Some(format!("{}: {error}", person.name));
            }
        }
    }
    for person in people.iter() {
        for room in rooms {
            if let Some(why) = person.unsettled(room) {
                return Some(format!("{}: {why}", person.name));
            }
        }
    }
    let Some(hub) = sim.ordering() else {
        return Some("no node orders".to_owned());
    };
    for engine in [&hub.engine, &sim.follower()] {
        match engine.queues().await {
            Ok(queues) if queues.iter().all(|queue| queue.waiting == 0) => {}
            other => return Some(format!("{other:?}")),
        }
    }
    let nodes = sim.nodes.lock().unwrap().clone();
    let applied = hub.cluster.view().applied;
    for node in nodes {
        let Some(node) = node else {
            return Some("a node is still starting".to_owned());
        };
        // Who reads there has not read all.
        if node.cluster.view().applied != applied {
            return Some(format!("{} is behind", node.name));
        }
        if !node.pending.hand_over().await {
            return Some(format!("{} has something to hand over", node.name));
        }
    }
    // Once more with nothing left.
    for person in people.iter_mut() {
        for room in rooms {
            if !person.catch_up(room).await.is_ok_and(|news| news == 0) {
                return Some(format!("{} reads on", person.name));
            }
        }
    }
    None
}

async fn feed(engine: &Engine, room: &MimiUri, user: &str) -> Vec<FeedItem> {
    let mut items = Vec::new();
    let mut from = 0;
    loop {
        let page = engine.feed(room, &uri(user), from, 500, None).await.unwrap();
        if page.entries.is_empty() {
            return items;
        }
        from = page.next;
        items.extend(page.entries.into_iter().map(|entry| entry.item));
    }
}

async fn check(sim: &Sim, room: &str, people: &[Person]) {
    let room_uri = uri(room);
    let mut views: Vec<RoomView> = Vec::new();
    let nodes = sim.nodes.lock().unwrap().clone();
    for node in nodes.iter().flatten() {
        views.push(node.engine.room(&room_uri).await.unwrap().unwrap());
    }
    for view in &views {
        assert_eq!(*view, views[0], "the nodes have different rooms");
    }
    assert_eq!(views[0].heads.len(), 1, "the graph has one end");
    let hub = sim.ordering().unwrap();
    let order = feed(&hub.engine, &room_uri, "mimi://a.example/u/alice").await;
    sim.history().check(room, &order, &sim.finality);
    // The follower has the hub's order of what both show.
    let shown = |items: &[FeedItem]| -> Vec<Vec<u8>> {
        let shown = items.iter().filter_map(|item| match item {
            FeedItem::Commit { message, .. } | FeedItem::Message { message, .. } => Some(message.clone()),
            _ => None,
        });
        shown.collect()
    };
    let theirs = shown(&feed(&sim.follower(), &room_uri, "mimi://b.example/u/bob").await);
    let ours = shown(&order);
    assert!(
        ours.ends_with(&theirs) && !theirs.is_empty(),
        "the follower's order is another one: {} and {} entries",
        ours.len(),
        theirs.len()
    );
    let there: Vec<&Person> = people.iter().filter(|person| person.from_the_beginning).collect();
    let read: Vec<_> = there
        .iter()
        .map(|person| (person.name, person.read(room)))
        .collect();
    sim.history().check_reading(room, &order, &read);
    for person in people {
        let refused = person.refused(room);
        assert!(refused.is_empty(), "{}: {refused:?}", person.name);
    }
    for person in there {
        assert_eq!(
            person.epoch(room),
            Some(views[0].epoch),
            "{} is in another epoch",
            person.name
        );
    }
}
