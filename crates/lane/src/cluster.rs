//! A node's part in the lane: runs openraft, says who leads, answers to the other nodes.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _, LogIdOptionExt as _, Raft, RaftMetrics, ReadPolicy};
use room_engine::Sequencer;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{Batch, BlobHash, Committed, Store, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::log::Log;
use super::machine::{Machine, Observer};
use super::network::{Link, LinkError, Peers, ask};
use super::rpc::Call;
use super::snapshot::Turnover;
use super::types::{Member, NodeName, Proposal, Types};

mod answer;

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
    /// It didn't come to an end in time, or another change is under way.
    #[error("{0}")]
    Failed(String),
}

/// The nodes as one of them sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The node that tells.
    pub name: String,
    /// Who leads, as far as it knows.
    pub leader: Option<String>,
    /// The term.
    pub term: u64,
    /// Whether it orders: it leads, and the majority answers it.
    pub orders: bool,
    /// Entries of the log that it has.
    pub log: u64,
    /// Entries that it has applied.
    pub applied: u64,
    /// All nodes.
    pub nodes: Vec<NodeView>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Host and port of its node API.
    pub address: String,
    /// Whether it counts for the majority.
    pub voter: bool,
    /// At the node that leads: entries that it lacks.
    pub lag: Option<u64>,
}

type Lane = Raft<Types, Machine>;

/// A node's part in the lane. A clone is the same part.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    settings: ClusterSettings,
    local: Arc<dyn Store>,
    turnover: Turnover,
    link: Arc<dyn Link>,
    observer: Observer,
    raft: Mutex<Option<Lane>>,
    terms: watch::Sender<Option<u64>>,
    /// Members that others told of, until the log does.
    learned: Mutex<BTreeMap<NodeName, Member>>,
    staging: tokio::sync::Mutex<Option<(NodeName, u64)>>,
    changing: tokio::sync::Mutex<()>,
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
        let cluster = Self(Arc::new(Inner {
            settings,
            local,
            turnover: Turnover::default(),
            link,
            observer: Arc::new(observer),
            raft: Mutex::default(),
            terms: watch::channel(None).0,
            learned: Mutex::default(),
            staging: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            stop: watch::channel(false).0,
            task: Mutex::default(),
        }));
        let raft = cluster.open().await?;
        let task = tokio::spawn(cluster.clone().supervise(raft));
        *lock(&cluster.0.task) = Some(task);
        Ok(cluster)
    }

    /// Hands over, if this node leads, and ends.
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
            inner.observer.clone(),
        )
        .await;
        let machine = machine.map_err(ClusterError::Log)?;
        let config = inner.settings.raft().validate();
        let config = Arc::new(config.map_err(|e| ClusterError::Failed(e.to_string()))?);
        let log = Log::new(inner.local.clone());
        let network = Peers(inner.link.clone());
        Raft::new(inner.settings.name.clone(), config, network, log, machine)
            .await
            .map_err(|e| ClusterError::Log(std::io::Error::other(e)))
    }

    /// Runs the lane; opens it again after the store has failed.
    async fn supervise(self, first: Lane) {
        let mut stop = self.0.stop.subscribe();
        let mut next = Some(first);
        while !*stop.borrow() {
            if let Some(raft) = next.take() {
                *lock(&self.0.raft) = Some(raft.clone());
                self.watch(&raft, &mut stop).await;
                self.0.terms.send_if_modified(|term| term.take().is_some());
                *lock(&self.0.raft) = None;
                let _ = raft.shutdown().await;
            }
            if *stop.borrow() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(self.0.settings.election) => {}
                _ = stop.changed() => continue,
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
                _ = metrics.changed() => {}
                _ = look.tick() => {
                    if !founded {
                        founded = self.found(raft, &now).await;
                    }
                }
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
            && (now.membership_config.voter_ids().count() == 1
                || now.last_quorum_acked.is_some_and(|acked| acked.elapsed() < fresh))
    }

    fn lane(&self) -> Result<Lane, StoreError> {
        lock(&self.0.raft)
            .clone()
            .ok_or_else(|| unavailable("the replicated log stands still at this node"))
    }

    /// Waits for an answer of the lane, but not for ever.
    async fn within<T, E: std::fmt::Display>(
        &self,
        what: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.0.settings.commit, what).await {
            Ok(done) => done.map_err(unavailable),
            Err(_) => Err(unavailable("the majority of the nodes does not answer")),
        }
    }

    pub(super) async fn propose(&self, batch: Batch) -> Result<Committed, StoreError> {
        let raft = self.lane()?;
        let owner = batch.owner().cloned();
        let written = self.within(raft.client_write(Proposal(batch.to_bytes()))).await?;
        written.data.into_result(owner)
    }

    /// All nodes but this one, as far as it knows them.
    fn others(&self) -> BTreeMap<NodeName, Member> {
        let mut known = self.0.settings.seeds.clone();
        known.extend(lock(&self.0.learned).clone());
        if let Ok(raft) = self.lane() {
            let membership = raft.metrics().borrow_watched().membership_config.clone();
            known.extend(
                membership
                    .nodes()
                    .map(|(name, member)| (name.clone(), member.clone())),
            );
        }
        known.remove(&self.0.settings.name);
        known
    }

    /// Another node, if it is one; asks those it knows about one that it doesn't.
    pub async fn member(&self, name: &NodeName) -> Option<Member> {
        if let Some(member) = self.others().remove(name) {
            return Some(member);
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

    /// The node that leads, unless it is this one or nobody knows.
    pub fn leader(&self) -> Option<(NodeName, Member)> {
        let raft = self.lane().ok()?;
        let leader = raft.metrics().borrow_watched().current_leader.clone()?;
        let member = self.others().remove(&leader)?;
        Some((leader, member))
    }

    /// Sends a request to another node.
    pub async fn call(
        &self,
        name: &NodeName,
        member: &Member,
        call: Call,
    ) -> Result<super::Answer, LinkError> {
        self.0.link.call(name, member, call).await
    }

    /// The nodes as this one sees them.
    pub fn view(&self) -> ClusterView {
        let name = self.0.settings.name.to_string();
        let Ok(raft) = self.lane() else {
            return ClusterView {
                name,
                leader: None,
                term: 0,
                orders: false,
                log: 0,
                applied: 0,
                nodes: Vec::new(),
            };
        };
        let now = raft.metrics().borrow_watched().clone();
        let voters: BTreeSet<NodeName> = now.membership_config.voter_ids().collect();
        let log = now.last_log_index.unwrap_or(0);
        let nodes = now.membership_config.nodes().map(|(name, member)| NodeView {
            name: name.to_string(),
            address: member.address.clone(),
            voter: voters.contains(name),
            lag: now
                .replication
                .as_ref()
                .and_then(|all| all.get(name))
                .map(|matched| log.saturating_sub(matched.index().unwrap_or(0))),
        });
        ClusterView {
            name,
            leader: now.current_leader.as_ref().map(ToString::to_string),
            term: now.current_term,
            orders: self.0.terms.borrow().is_some(),
            log,
            applied: now.last_applied.index().unwrap_or(0),
            nodes: nodes.collect(),
        }
    }

    fn leading(&self) -> Result<Lane, ClusterError> {
        let leader = || self.leader().map(|(name, _)| name);
        if self.0.terms.borrow().is_none() {
            return Err(ClusterError::NotLeading { leader: leader() });
        }
        self.lane().map_err(|e| ClusterError::Failed(e.to_string()))
    }

    /// Waits until the members that this node goes by are final.
    async fn settled(&self) -> Result<(), ClusterError> {
        let confirmed = match self.term() {
            Ok(term) => self.confirm(term).await,
            Err(error) => Err(error),
        };
        confirmed.map_err(|e| ClusterError::Failed(e.to_string()))
    }

    /// Waits until the log's beginning is given up: before that a new node would get the log from its beginning on, and
    /// not what was in the store before there was one.
    async fn founded(&self, raft: &Lane) -> Result<(), ClusterError> {
        let mut metrics = raft.metrics();
        let given_up = async {
            while metrics.borrow_watched().purged.is_none() {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(self.0.settings.commit, given_up)
            .await
            .map_err(|_| {
                ClusterError::Failed("the log is not ready for a further node yet: try again".to_owned())
            })
    }

    /// Adds a node: brings it up to date, then lets it count for the majority. One change at a time.
    pub async fn add(&self, name: NodeName, member: Member) -> Result<(), ClusterError> {
        let raft = self.leading()?;
        let _one = self.0.changing.lock().await;
        self.settled().await?;
        self.founded(&raft).await?;
        if self
            .view()
            .nodes
            .iter()
            .any(|node| node.name == name.as_str() && node.voter)
        {
            return Err(ClusterError::Exists(name));
        }
        let failed = |e: RaftError<Types, ClientWriteError<Types>>| ClusterError::Failed(e.to_string());
        raft.add_learner(name.clone(), member, true)
            .await
            .map_err(failed)?;
        raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([name])), false)
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// Removes a node. The one that leads hands over first, and the call is to be repeated at the next.
    pub async fn remove(&self, name: NodeName) -> Result<(), ClusterError> {
        let raft = self.leading()?;
        let nodes = self.view().nodes;
        if !nodes.iter().any(|node| node.name == name.as_str()) {
            return Err(ClusterError::Unknown(name));
        }
        if nodes.iter().filter(|node| node.voter).count() == 1 && name == self.0.settings.name {
            return Err(ClusterError::Last(name));
        }
        if name == self.0.settings.name {
            self.hand_over(None).await?;
            return Err(ClusterError::NotLeading { leader: None });
        }
        let _one = self.0.changing.lock().await;
        self.settled().await?;
        let failed = |e: RaftError<Types, ClientWriteError<Types>>| ClusterError::Failed(e.to_string());
        let names = BTreeSet::from([name]);
        raft.change_membership(ChangeMembers::RemoveVoters(names.clone()), true)
            .await
            .map_err(failed)?;
        raft.change_membership(ChangeMembers::RemoveNodes(names), false)
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// Lets another node lead: this one, or the one that lacks least.
    pub async fn hand_over(&self, to: Option<NodeName>) -> Result<NodeName, ClusterError> {
        let raft = self.leading()?;
        let mut candidates: Vec<_> = self
            .view()
            .nodes
            .into_iter()
            .filter(|node| node.voter && node.name != self.0.settings.name.as_str())
            .collect();
        candidates.sort_by_key(|node| node.lag.unwrap_or(u64::MAX));
        let to = match to {
            Some(to) if candidates.iter().any(|node| node.name == to.as_str()) => to,
            Some(to) => return Err(ClusterError::Unknown(to)),
            None => match candidates.first() {
                Some(node) => NodeName::from(node.name.as_str()),
                None => return Err(ClusterError::Last(self.0.settings.name.clone())),
            },
        };
        let handed = raft.trigger().transfer_leader(to.clone()).await;
        handed.map_err(|e| ClusterError::Failed(e.to_string()))?;
        Ok(to)
    }

    /// Gives a blob to the other nodes; returns when the majority has it, this node included.
    pub(super) async fn spread(&self, hash: &BlobHash, bytes: Bytes) -> Result<(), StoreError> {
        let voters: Vec<NodeName> = self.lane()?.voter_ids().collect();
        let needed = voters.len() / 2;
        if needed == 0 {
            return Ok(());
        }
        let (done, mut got) = mpsc::channel(voters.len());
        for (name, member) in self
            .others()
            .into_iter()
            .filter(|(name, _)| voters.contains(name))
        {
            let (link, done) = (self.0.link.clone(), done.clone());
            let call = Call {
                method: "PUT",
                ..Call::post(answer::blob(hash), bytes.clone(), self.0.settings.commit)
            };
            tokio::spawn(async move {
                if ask(link.as_ref(), &name, &member, call).await.is_ok() {
                    let _ = done.send(()).await;
                }
            });
        }
        drop(done);
        let enough = async {
            for _ in 0..needed {
                got.recv().await.ok_or("too few nodes have the blob")?;
            }
            Ok::<(), &str>(())
        };
        self.within(enough).await
    }

    /// Gets a blob from whoever has it, checks it and keeps it.
    pub(super) async fn pull(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError> {
        for (name, member) in self.others() {
            let call = Call {
                method: "GET",
                ..Call::post(answer::blob(hash), Bytes::new(), self.0.settings.commit)
            };
            match ask(self.0.link.as_ref(), &name, &member, call).await {
                Ok(bytes) if BlobHash::of(&bytes) == *hash => {
                    self.0.local.blob_put(bytes.clone()).await?;
                    return Ok(Some(bytes));
                }
                Ok(_) => {
                    tracing::error!(node = %name, blob = %hash, "a node gave out other octets under a blob's hash");
                }
                Err(LinkError::Refused { status: 404, .. }) => {}
                Err(error) => tracing::warn!(%error, blob = %hash, "a blob can't be fetched"),
            }
        }
        Ok(None)
    }

    /// Fetches the blobs that the node that leads has and this one lacks.
    pub async fn fetch_blobs(&self) -> Result<usize, StoreError> {
        let Some((leader, member)) = self.leader() else {
            return Ok(0);
        };
        let mut fetched = 0;
        let mut after = String::new();
        loop {
            let call = Call {
                method: "GET",
                ..Call::post(
                    format!("{}{after}", super::rpc::BLOBS),
                    Bytes::new(),
                    self.0.settings.commit,
                )
            };
            let page = ask(self.0.link.as_ref(), &leader, &member, call)
                .await
                .map_err(unavailable)?;
            let page: Vec<String> = serde_json::from_slice(&page).map_err(unavailable)?;
            let Some(last) = page.last().cloned() else {
                return Ok(fetched);
            };
            let hashes: Vec<BlobHash> = page.iter().filter_map(|hash| hash.parse().ok()).collect();
            let pulls = hashes.iter().map(|hash| async move {
                match self.0.local.blob_get(hash).await {
                    Ok(None) => self.pull(hash).await.map(|pulled| usize::from(pulled.is_some())),
                    Ok(Some(_)) => Ok(0),
                    Err(error) => Err(error),
                }
            });
            for pulled in join_all(pulls).await {
                fetched += pulled?;
            }
            after = last;
        }
    }
}

#[async_trait]
impl Sequencer for Cluster {
    fn term(&self) -> Result<u64, StoreError> {
        let term = *self.0.terms.borrow();
        term.ok_or_else(|| match self.leader() {
            Some((leader, _)) => unavailable(format_args!("node {leader} orders")),
            None => unavailable("no node is known to order: the majority can't be reached"),
        })
    }

    async fn confirm(&self, term: u64) -> Result<(), StoreError> {
        let raft = self.lane()?;
        self.within(raft.ensure_linearizable(ReadPolicy::ReadIndex))
            .await?;
        if self.term()? == term {
            Ok(())
        } else {
            Err(unavailable("another term has begun"))
        }
    }

    fn terms(&self) -> watch::Receiver<Option<u64>> {
        self.0.terms.subscribe()
    }
}
