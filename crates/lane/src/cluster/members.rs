//! Who takes part, and who leads.

use async_recursion::async_recursion as boxed;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, LogIdOptionExt as _};
use room_engine::Sequencer as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

use super::{Cluster, ClusterError, Lane};
use crate::forced::Statement;
use crate::types::{Member, NodeName, Types};

/// How often a new node is brought up to date before it is given up.
const ATTEMPTS: u32 = 3;
/// How long a new node may show no progress. A snapshot arrives as a whole, however long it takes.
const PATIENCE: Duration = Duration::from_mins(2);
/// Entries that a node may lack when it begins to count for the majority.
const NEARLY: u64 = 100;

fn failed(error: &RaftError<Types, ClientWriteError<Types>>) -> ClusterError {
    ClusterError::Failed(error.to_string())
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
    /// Whether nodes hold two entries for one place of the order, so that nothing is ordered.
    pub frozen: bool,
    /// By what this node was given up, if it was: it takes no part any more.
    pub given_up: Option<Statement>,
    /// By what the log was begun anew, if it was.
    pub taken_over: Option<Statement>,
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

impl Cluster {
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
                frozen: self.0.lineage.is_frozen(),
                given_up: self.0.lineage.given_up(),
                taken_over: self.0.lineage.newest(),
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
            leader: self
                .heard_of(now.current_leader.as_ref())
                .map(|leader| leader.to_string()),
            term: now.current_term,
            orders: self.0.terms.borrow().is_some(),
            log,
            applied: now.last_applied.index().unwrap_or(0),
            nodes: nodes.collect(),
            frozen: self.0.lineage.is_frozen(),
            given_up: self.0.lineage.given_up(),
            taken_over: self.0.lineage.newest(),
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
    #[boxed]
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
        let one = BTreeSet::from([name.clone()]);
        for _ in 0..ATTEMPTS {
            raft.add_learner(name.clone(), member.clone(), false)
                .await
                .map_err(|e| failed(&e))?;
            if Self::up_to_date(&raft, &name).await {
                raft.change_membership(ChangeMembers::AddVoterIds(one), false)
                    .await
                    .map_err(|e| failed(&e))?;
                return Ok(());
            }
            // Whoever was restarted on the way may have less than it said, and is then sent nothing more: begin anew.
            raft.change_membership(ChangeMembers::RemoveNodes(one.clone()), false)
                .await
                .map_err(|e| failed(&e))?;
        }
        Err(ClusterError::Failed(format!(
            "{name} does not get what the others have: look whether it runs and can be reached, then try again"
        )))
    }

    /// Waits until a new node has nearly all of the log; false if it gets nothing for some time.
    async fn up_to_date(raft: &Lane, name: &NodeName) -> bool {
        let mut metrics = raft.metrics();
        let mut had = None;
        let mut until = Instant::now() + PATIENCE;
        loop {
            let now = metrics.borrow_watched().clone();
            let has = now.replication.as_ref().and_then(|all| all.get(name)?.index());
            if has.is_some_and(|has| now.last_log_index.unwrap_or(0).saturating_sub(has) <= NEARLY) {
                return true;
            }
            if has > had {
                had = has;
                until = Instant::now() + PATIENCE;
            }
            match tokio::time::timeout_at(until, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
    }

    /// Removes a node. The one that leads hands over first, and the call is to be repeated at the next.
    #[boxed]
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
        let names = BTreeSet::from([name]);
        raft.change_membership(ChangeMembers::RemoveVoters(names.clone()), true)
            .await
            .map_err(|e| failed(&e))?;
        raft.change_membership(ChangeMembers::RemoveNodes(names), false)
            .await
            .map_err(|e| failed(&e))?;
        Ok(())
    }

    /// Lets another node lead: this one, or the one that lacks least.
    #[boxed]
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
}
