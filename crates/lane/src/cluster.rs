//! A node's part in the lane: runs openraft, says who leads, answers to the other nodes.

use async_recursion::async_recursion as boxed;
use async_trait::async_trait;
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, LogIdOptionExt as _, Raft, RaftMetrics, ReadPolicy};
use room_engine::Sequencer;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{Batch, Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::forced::Lineage;
use super::log::Log;
use super::machine::{Machine, Observer};
use super::network::{Link, LinkError, Peers, ask};
use super::rpc::Call;
use super::snapshot::Turnover;
use super::types::{Member, NodeName, Types};
use intake::Intake;

mod answer;
mod blobs;
mod intake;
mod members;
mod take_over;
mod writes;

pub use members::{ClusterView, NodeView};
pub(crate) use take_over::Told;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// This node.
    pub name: NodeName,
    /// How the others reach it.
    pub member: Member,
    /// Nodes known from the configuration, for as long as the log doesn't name them.
    pub seeds: BTreeMap<NodeName, Member>,
    /// Wait to be added by another node, instead of being the first one.
    pub join: bool,
    /// Between two signs of life of the node that leads.
    pub heartbeat: Duration,
    /// Without a sign of life for this long (up to twice as long, drawn anew each time) a node stands for election.
    pub election: Duration,
    /// After this long a write that the majority has not confirmed is given up, its outcome unknown.
    pub commit: Duration,
}

impl ClusterSettings {
    /// With times that suit nodes in one region.
    pub fn new(name: NodeName, member: Member) -> Self {
        Self {
            name,
            member,
            seeds: BTreeMap::new(),
            join: false,
            heartbeat: Duration::from_millis(200),
            election: Duration::from_secs(1),
            commit: Duration::from_secs(5),
        }
    }

    fn raft(&self) -> openraft::Config {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: "causeway".to_owned(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election),
            election_timeout_max: ms(self.election.saturating_mul(2)),
            install_snapshot_timeout: ms(Duration::from_mins(10)),
            enable_pre_vote: Some(true),
            // A leader whose power failed may lack entries that the others already have: going on in the same term, it
            // would give their places to others.
            enable_leader_restore: Some(false),
            // A snapshot is the store itself and costs nothing to make.
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(2000),
            max_in_snapshot_log_to_keep: 5000,
            purge_batch_size: 500,
            max_payload_entries: 300,
            ..openraft::Config::default()
        }
    }
}

/// Why something about the nodes can't be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The store can't be used.
    #[error("the replicated log can't be opened")]
    Log(#[source] std::io::Error),
    /// Another node leads, or none.
    #[error("this node does not lead ({})", leader.as_ref().map_or_else(|| "nobody does now".to_owned(), |l| format!("{l} does")))]
    NotLeading {
        /// Who does, where known.
        leader: Option<NodeName>,
    },
    /// There is no such node.
    #[error("there is no node {0}")]
    Unknown(NodeName),
    /// There is one already.
    #[error("there is a node {0} already")]
    Exists(NodeName),
    /// The only one can't go.
    #[error("{0} is the only node")]
    Last(NodeName),
    /// A node that orders without a majority must not be needed.
    #[error("{0}")]
    TakeOver(String),
    /// It didn't come to an end in time, or another change is under way.
    #[error("{0}")]
    Failed(String),
}

type Lane = Raft<Types, Machine>;

/// A node's part in the lane. A clone is the same part.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    settings: ClusterSettings,
    local: Arc<dyn Store>,
    turnover: Turnover,
    lineage: Lineage,
    take_over: take_over::Asked,
    link: Arc<dyn Link>,
    observer: Observer,
    raft: Mutex<Option<Lane>>,
    log: Mutex<Option<Log>>,
    terms: watch::Sender<Option<u64>>,
    given_up: writes::GivenUp,
    /// Members that others told of, until the log does.
    learned: Mutex<BTreeMap<NodeName, Member>>,
    intake: tokio::sync::Mutex<Intake>,
    changing: tokio::sync::Mutex<()>,
    /// When another node last spoke as the one that leads.
    heard: Mutex<Instant>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(why: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable {
        retry_after: Duration::from_secs(1),
        why: why.to_string().into(),
    }
}

impl Cluster {
    /// Starts this node's part on its own store. `observer` is told of every batch that lands there.
    pub async fn start(
        settings: ClusterSettings,
        local: Arc<dyn Store>,
        link: Arc<dyn Link>,
        observer: impl Fn(&Batch) + Send + Sync + 'static,
    ) -> Result<Self, ClusterError> {
        Self::begin(settings, local, link, Arc::new(observer)).await
    }

    #[boxed]
    async fn begin(
        settings: ClusterSettings,
        local: Arc<dyn Store>,
        link: Arc<dyn Link>,
        observer: Observer,
    ) -> Result<Self, ClusterError> {
        let lineage = Lineage::default();
        let known = lineage.clone();
        let observer = move |batch: &Batch| {
            known.applied(batch);
            observer(batch);
        };
        let cluster = Self(Arc::new(Inner {
            settings,
            local,
            turnover: Turnover::default(),
            lineage,
            take_over: take_over::Asked::default(),
            link,
            observer: Arc::new(observer),
            raft: Mutex::default(),
            log: Mutex::default(),
            terms: watch::channel(None).0,
            given_up: writes::GivenUp::default(),
            learned: Mutex::default(),
            intake: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            heard: Mutex::new(Instant::now()),
            stop: watch::channel(false).0,
            task: Mutex::default(),
        }));
        cluster
            .0
            .lineage
            .load(cluster.0.local.as_ref())
            .await
            .map_err(ClusterError::Log)?;
        let raft = match cluster.0.lineage.given_up() {
            None => Some(cluster.open().await?),
            Some(_) => None,
        };
        let task = tokio::spawn(cluster.clone().supervise(raft));
        *lock(&cluster.0.task) = Some(task);
        Ok(cluster)
    }

    /// Hands over, if this node leads, and ends.
    #[boxed]
    pub async fn stop(&self) {
        if self.0.terms.borrow().is_some() && self.hand_over(None).await.is_ok() {
            let mut terms = self.0.terms.subscribe();
            let handed = terms.wait_for(Option::is_none);
            let _ = tokio::time::timeout(self.0.settings.election, handed).await;
        }
        self.0.stop.send_replace(true);
        let task = lock(&self.0.task).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }

    /// This node's own store.
    pub fn local(&self) -> &Arc<dyn Store> {
        &self.0.local
    }

    /// Reads what is there, unless records are being replaced meanwhile.
    pub(super) async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let stamp = self.0.turnover.stamp();
        let found = match stamp {
            Some(_) => read.await?,
            None => {
                return Err(unavailable(
                    "this node is taking in a copy of another one's store",
                ));
            }
        };
        if self.0.turnover.stamp() == stamp {
            Ok(found)
        } else {
            Err(unavailable(
                "this node has begun to take in a copy of another one's store",
            ))
        }
    }

    /// This node's name.
    pub fn name(&self) -> &NodeName {
        &self.0.settings.name
    }

    async fn open(&self) -> Result<Lane, ClusterError> {
        let inner = &self.0;
        let machine = Machine::open(
            inner.local.clone(),
            inner.turnover.clone(),
            inner.lineage.clone(),
            inner.observer.clone(),
        )
        .await;
        let machine = machine.map_err(ClusterError::Log)?;
        if machine.took_in {
            tokio::spawn(self.clone().fetch_missing());
        }
        let config = inner.settings.raft().validate();
        let config = Arc::new(config.map_err(|e| ClusterError::Failed(e.to_string()))?);
        let log = Log::new(inner.local.clone());
        let network = Peers {
            link: inner.link.clone(),
            lineage: inner.lineage.clone(),
            told: inner.take_over.told.clone(),
        };
        *lock(&inner.log) = Some(log.clone());
        Raft::new(inner.settings.name.clone(), config, network, log, machine)
            .await
            .map_err(|e| ClusterError::Log(std::io::Error::other(e)))
    }

    /// Runs the lane; opens it again after the store has failed.
    async fn supervise(self, mut next: Option<Lane>) {
        let mut stop = self.0.stop.subscribe();
        while !*stop.borrow() {
            if let Some(raft) = next.take() {
                *lock(&self.0.raft) = Some(raft.clone());
                self.watch(&raft, &mut stop).await;
                self.0.terms.send_if_modified(|term| term.take().is_some());
                *lock(&self.0.raft) = None;
                let _ = raft.shutdown().await;
                // What ended it has been taken note of: nothing would wake the pause below.
                if *stop.borrow() {
                    return;
                }
            }
            if self.begin_asked().await {
                // The log goes on at once, under this node alone.
            } else {
                self.show_tail().await;
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(self.0.settings.election) => {}
                    _ = stop.changed() => continue,
                }
            }
            if *stop.borrow() || self.0.lineage.given_up().is_some() {
                continue;
            }
            match self.open().await {
                Ok(raft) => next = Some(raft),
                Err(error) => {
                    tracing::error!(%error, cause = ?std::error::Error::source(&error), "the replicated log stands still");
                }
            }
        }
    }

    /// Until the lane fails or is to stop: follows who leads.
    async fn watch(&self, raft: &Lane, stop: &mut watch::Receiver<bool>) {
        let mut founded = self.0.settings.join;
        // What founding asks for changes the metrics: without a pause in between it would wake itself for ever.
        let mut look = tokio::time::interval(self.0.settings.heartbeat);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut metrics = raft.metrics();
        loop {
            let now = metrics.borrow_watched().clone();
            self.follow(&now);
            if let Err(error) = &now.running_state {
                tracing::error!(%error, "the replicated log has stopped");
                return;
            }
            tokio::select! {
                biased;
                _ = metrics.changed() => {}
                _ = look.tick() => {
                    if !founded {
                        founded = self.found(raft, &now).await;
                    }
                }
                () = self.0.take_over.interrupted() => return,
                _ = stop.changed() => return,
            }
        }
    }

    /// The first node makes the lane, of itself alone. What its store holds from before is in no entry, so that nodes
    /// that join begin with a snapshot: the log before it is given up at once.
    async fn found(&self, raft: &Lane, now: &RaftMetrics<Types>) -> bool {
        match raft.is_initialized().await {
            Ok(true) => {}
            Ok(false) => {
                let members =
                    BTreeMap::from([(self.0.settings.name.clone(), self.0.settings.member.clone())]);
                if let Err(error) = raft.initialize(members).await {
                    tracing::error!(%error, "the replicated log can't be begun");
                }
                return false;
            }
            Err(_) => return false,
        }
        if now.purged.is_some() {
            return true;
        }
        let trigger = raft.trigger();
        match (&now.snapshot, now.last_applied.index()) {
            (Some(snapshot), _) => drop(trigger.purge_log(snapshot.index).await),
            (None, Some(_)) => drop(trigger.snapshot().await),
            (None, None) => {}
        }
        false
    }

    fn follow(&self, now: &RaftMetrics<Types>) {
        let term = self.leads(now).then_some(now.current_term);
        let changed = self.0.terms.send_if_modified(|last| {
            let changed = *last != term;
            *last = term;
            changed
        });
        if changed {
            match term {
                Some(term) => tracing::info!(node = %now.id, term, "this node orders"),
                None => {
                    tracing::info!(node = %now.id, leader = ?now.current_leader, "this node does not order any more");
                }
            }
        }
        let float = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        metrics::gauge!("causeway_cluster_frozen").set(f64::from(u8::from(self.0.lineage.is_frozen())));
        metrics::gauge!("causeway_cluster_orders").set(f64::from(u8::from(term.is_some())));
        metrics::gauge!("causeway_cluster_term").set(float(now.current_term));
        metrics::gauge!("causeway_cluster_log_entries").set(float(now.last_log_index.unwrap_or(0)));
        metrics::gauge!("causeway_cluster_applied_entries").set(float(now.last_applied.index().unwrap_or(0)));
    }

    /// Leads, and the majority has answered lately: a leader that is cut off must not go on deciding.
    fn leads(&self, now: &RaftMetrics<Types>) -> bool {
        let fresh = self.0.settings.election.saturating_mul(2);
        now.running_state.is_ok()
            && now.state.is_leader()
            && !self.0.lineage.is_frozen()
            && (now.membership_config.voter_ids().count() == 1
                || now.last_quorum_acked.is_some_and(|acked| acked.elapsed() < fresh))
    }

    fn lane(&self) -> Result<Lane, StoreError> {
        lock(&self.0.raft)
            .clone()
            .ok_or_else(|| unavailable("the replicated log stands still at this node"))
    }

    /// All nodes but this one, as far as it knows them.
    fn others(&self) -> BTreeMap<NodeName, Member> {
        let mut known = self.0.settings.seeds.clone();
        known.extend(lock(&self.0.learned).clone());
        known.extend(self.members().unwrap_or_default());
        known.remove(&self.0.settings.name);
        known
    }

    /// The nodes that the log names; none as long as it names nobody, or stands still.
    fn members(&self) -> Option<BTreeMap<NodeName, Member>> {
        let raft = self.lane().ok()?;
        let membership = raft.metrics().borrow_watched().membership_config.clone();
        let members: BTreeMap<_, _> = membership
            .nodes()
            .map(|(name, member)| (name.clone(), member.clone()))
            .collect();
        (!members.is_empty()).then_some(members)
    }

    /// Another node, if it is one; asks those it knows about one that it doesn't.
    pub async fn member(&self, name: &NodeName) -> Option<Member> {
        if let Some(member) = self.others().remove(name) {
            return Some(member);
        }
        if let Some(former) = self.0.lineage.former(name) {
            return Some(former);
        }
        for (known, member) in self.others() {
            let call = Call {
                method: "GET",
                ..Call::post(answer::MEMBERS, Bytes::new(), self.0.settings.election)
            };
            if let Ok(answer) = ask(self.0.link.as_ref(), &known, &member, call).await
                && let Ok(told) = serde_json::from_slice::<BTreeMap<NodeName, Member>>(&answer)
                && let Some(member) = told.get(name).cloned()
            {
                lock(&self.0.learned).insert(name.clone(), member.clone());
                return Some(member);
            }
        }
        None
    }

    /// The node that leads, unless it is this one or nobody knows. For a node that was given up: the one that took over.
    pub fn leader(&self) -> Option<(NodeName, Member)> {
        if let Some(statement) = self.0.lineage.given_up() {
            let member = statement.former.get(&statement.node)?.clone();
            return Some((statement.node, member));
        }
        let raft = self.lane().ok()?;
        let leader = self.heard_of(raft.metrics().borrow_watched().current_leader.as_ref())?;
        let member = self.others().remove(&leader)?;
        Some((leader, member))
    }

    /// The node that leads, as long as it gives signs of life: one that is cut off, and can't win an election, otherwise
    /// never hears that there is none any more.
    fn heard_of(&self, leader: Option<&NodeName>) -> Option<NodeName> {
        let fresh = self.0.settings.election.saturating_mul(3);
        let alive =
            |leader: &&NodeName| **leader == self.0.settings.name || lock(&self.0.heard).elapsed() < fresh;
        leader.filter(alive).cloned()
    }

    /// Sends a request to another node.
    #[boxed]
    pub async fn call(
        &self,
        name: &NodeName,
        member: &Member,
        call: Call,
    ) -> Result<super::Answer, LinkError> {
        self.0.link.call(name, member, call).await
    }
}

#[async_trait]
impl Sequencer for Cluster {
    fn term(&self) -> Result<u64, StoreError> {
        let term = *self.0.terms.borrow();
        if term.is_none() && self.0.lineage.is_frozen() {
            return Err(unavailable(
                "the lane is frozen: nodes hold two entries for one place of the order (`causeway node ls`)",
            ));
        }
        term.ok_or_else(|| match self.leader() {
            Some((leader, _)) => unavailable(format_args!("node {leader} orders")),
            None => unavailable("no node is known to order: the majority can't be reached"),
        })
    }

    async fn confirm(&self, term: u64) -> Result<(), StoreError> {
        let raft = self.lane()?;
        self.settle().await?;
        self.within(raft.ensure_linearizable(ReadPolicy::ReadIndex))
            .await?;
        if self.term()? == term {
            Ok(())
        } else {
            Err(unavailable("another term has begun"))
        }
    }

    fn accepts_aside(&self) -> Result<(), StoreError> {
        match self.0.lineage.given_up() {
            None => Ok(()),
            Some(statement) => Err(unavailable(format_args!(
                "this node was given up by {}",
                statement.node
            ))),
        }
    }

    fn terms(&self) -> watch::Receiver<Option<u64>> {
        self.0.terms.subscribe()
    }
}
