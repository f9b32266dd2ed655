//! Taking over without a majority: see [`crate::forced`].

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, oneshot};

use super::{Cluster, ClusterError, Lane, lock};
use crate::forced::{self, Position, Statement, Tail};
use crate::log;
use crate::network::ask;
use crate::rpc::{self, Answer, Call};
use crate::types::{NodeName, Proposal};

type Reply = oneshot::Sender<Result<Statement, String>>;

/// What waits for the lane to stand still.
#[derive(Default)]
pub(super) struct Asked {
    /// What other nodes told of a newer lineage.
    pub(super) told: Told,
    begin: Mutex<Option<(Statement, Reply)>>,
    /// Whether what this node holds behind a take-over has been shown.
    shown: AtomicBool,
}

impl Asked {
    /// Returns when the lane has to stand still.
    pub(super) async fn interrupted(&self) {
        self.told.interrupt.notified().await;
    }
}

/// Where a statement of a newer lineage goes when another node answers with one. A clone is the same.
#[derive(Clone, Default)]
pub(crate) struct Told {
    statement: Arc<Mutex<Option<Statement>>>,
    interrupt: Arc<Notify>,
}

impl Told {
    /// Another node is of a newer lineage.
    pub(crate) fn tell(&self, statement: Statement) {
        *lock(&self.statement) = Some(statement);
        self.interrupt.notify_one();
    }
}

fn call(method: &'static str, path: &str, body: Bytes, cluster: &Cluster) -> Call {
    Call {
        method,
        ..Call::post(path, body, cluster.0.settings.commit)
    }
}

impl Cluster {
    /// Takes over without a majority, on an operator's word: goes on alone, behind all that this node has. `lost` are
    /// the nodes that do not answer, all of them; `at` is the time, Unix ms. What they made final and this node never
    /// got is lost, which is why nothing but the word of a person who knows that they are gone leads here.
    #[boxed]
    pub async fn take_over(
        &self,
        lost: BTreeSet<NodeName>,
        reason: String,
        at: u64,
    ) -> Result<Statement, ClusterError> {
        let refused = |why: String| Err(ClusterError::TakeOver(why));
        let name = self.0.settings.name.clone();
        if self.0.terms.borrow().is_some() {
            return refused("this node orders already: nothing has to be forced".to_owned());
        }
        if self.0.lineage.is_frozen() {
            return refused("the lane is frozen, not lost: `causeway node release`".to_owned());
        }
        let raft = self.lane().map_err(|e| ClusterError::Failed(e.to_string()))?;
        let _one = self.0.changing.lock().await;
        let membership = raft.metrics().borrow_watched().membership_config.clone();
        let voters: BTreeSet<NodeName> = membership.voter_ids().collect();
        if !voters.contains(&name) {
            return refused(
                "this node does not count for the majority: take over at one that does".to_owned(),
            );
        }
        let former: BTreeMap<_, _> = membership
            .nodes()
            .map(|(name, member)| (name.clone(), member.clone()))
            .collect();
        let asked = former
            .iter()
            .filter(|(other, _)| **other != name && voters.contains(*other));
        let answers = join_all(asked.map(|(other, member)| async move {
            let call = call("GET", rpc::POSITION, Bytes::new(), self);
            let answer = ask(self.0.link.as_ref(), other, member, call).await.ok()?;
            Some((other.clone(), serde_json::from_slice::<Position>(&answer).ok()?))
        }));
        let answered: BTreeMap<NodeName, Position> = answers.await.into_iter().flatten().collect();
        if answered.len() + 1 > voters.len() / 2 {
            return refused(format!(
                "{} of {} nodes answer each other, which is a majority: they elect one among themselves",
                answered.len() + 1,
                voters.len()
            ));
        }
        let silent: BTreeSet<NodeName> = voters
            .iter()
            .filter(|voter| **voter != name && !answered.contains_key(*voter))
            .cloned()
            .collect();
        if silent != lost {
            let silent: Vec<_> = silent.iter().map(NodeName::as_str).collect();
            return refused(format!(
                "the nodes that do not answer are {}: name exactly these as lost",
                silent.join(", ")
            ));
        }
        let own = log::ends(self.0.local.as_ref())
            .await
            .map_err(ClusterError::Log)?
            .1;
        let own = own.unwrap_or_default();
        if let Some((further, position)) = answered.iter().find(|(_, position)| **position > own) {
            return refused(format!(
                "node {further} has more (up to entry {}, this one up to {}): take over there",
                position.index, own.index
            ));
        }
        let statement = Statement {
            v: 1,
            lineage: 0,
            node: name,
            at,
            reason,
            lost,
            answered,
            former,
            after: own,
        };
        let (reply, begun) = oneshot::channel();
        *lock(&self.0.take_over.begin) = Some((statement, reply));
        self.0.take_over.told.interrupt.notify_one();
        let gone = |_| ClusterError::Failed("this node is ending".to_owned());
        let statement = begun.await.map_err(gone)?.map_err(ClusterError::Failed)?;
        let mut terms = self.0.terms.subscribe();
        let orders = terms.wait_for(Option::is_some);
        let orders = tokio::time::timeout(self.0.settings.election.saturating_mul(10), orders).await;
        match orders {
            Ok(Ok(_)) => Ok(statement),
            _ => Err(ClusterError::Failed(
                "the log was taken over, but this node does not order yet".to_owned(),
            )),
        }
    }

    /// While the lane stands still: does what was asked of it. Returns whether a new lineage has begun.
    pub(super) async fn begin_asked(&self) -> bool {
        let (local, lineage) = (self.0.local.as_ref(), &self.0.lineage);
        let log = lock(&self.0.log).take();
        if let Some(log) = log
            && let Err(error) = log.flush().await
        {
            tracing::warn!(%error, "the log's last writes failed");
        }
        let told = lock(&self.0.take_over.told.statement).take();
        if let Some(statement) = told.filter(|told| told.lineage > lineage.number()) {
            if let Err(error) = lineage.give_up(local, &statement).await {
                tracing::error!(%error, "that this node was given up can't be noted");
            }
            return false;
        }
        let Some((mut statement, reply)) = lock(&self.0.take_over.begin).take() else {
            return false;
        };
        let begun = lineage
            .begin(local, &mut statement, &self.0.settings.member)
            .await;
        if begun.is_ok() {
            tracing::error!(
                lost = ?statement.lost, reason = statement.reason, after = statement.after.index,
                "audit: this node took over without a majority"
            );
        }
        let is_begun = begun.is_ok();
        let _ = reply.send(begun.map(|()| statement).map_err(|e| e.to_string()));
        is_begun
    }

    /// At a node that was given up: shows what it holds behind the take-over, until somebody has seen it.
    pub(super) async fn show_tail(&self) {
        let Some(statement) = self.0.lineage.given_up() else {
            return;
        };
        if self.0.take_over.shown.load(Ordering::SeqCst) {
            return;
        }
        match self.try_show_tail(&statement).await {
            Ok(()) => self.0.take_over.shown.store(true, Ordering::SeqCst),
            Err(error) => tracing::warn!(error, "what this node holds behind the take-over can't be shown"),
        }
    }

    async fn try_show_tail(&self, statement: &Statement) -> Result<(), String> {
        let name = self.0.settings.name.clone();
        let tail = forced::tail(self.0.local.as_ref(), name, &statement.after).await;
        let tail = tail.map_err(|e| e.to_string())?;
        if tail.entries.is_empty() {
            return Ok(());
        }
        tracing::error!(
            entries = tail.entries.len(),
            "this node holds decisions behind the take-over"
        );
        let (node, member) = self.leader().ok_or("the node that took over is unknown")?;
        let body = serde_json::to_vec(&tail).map_err(|e| e.to_string())?;
        let call = call("POST", rpc::EVIDENCE, body.into(), self);
        let shown = ask(self.0.link.as_ref(), &node, &member, call).await;
        shown.map(drop).map_err(|e| e.to_string())
    }

    /// Records what a node of an older lineage shows; where it contradicts, the lane is frozen.
    pub(super) async fn take_evidence(&self, body: &Bytes) -> Answer {
        let tail: Tail = match serde_json::from_slice(body) {
            Ok(tail) => tail,
            Err(error) => return Answer::error(400, error),
        };
        let batch = match forced::evidence(self.0.local.as_ref(), &tail).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Answer::ok(Bytes::new()),
            Err(error) => return Answer::error(503, error),
        };
        let Ok(raft) = self.lane() else {
            return Answer::error(503, "the replicated log stands still at this node");
        };
        if let Some((leader, member)) = self.leader() {
            let call = call("POST", rpc::EVIDENCE, body.clone(), self);
            return match self.0.link.call(&leader, &member, call).await {
                Ok(answer) => answer,
                Err(error) => Answer::error(503, error),
            };
        }
        match self.within(raft.client_write(Proposal(batch.to_bytes()))).await {
            Ok(_) => {
                metrics::counter!("causeway_cluster_evidence_total").increment(1);
                tracing::error!(
                    node = %tail.node, entries = tail.entries.len(),
                    "alarm: two entries for one place of the order; kept as evidence, the lane is frozen"
                );
                Answer::ok(Bytes::new())
            }
            Err(error) => Answer::error(503, error),
        }
    }

    /// Lets a frozen lane go on with what this side holds. The evidence stays.
    #[boxed]
    pub async fn release(&self) -> Result<(), ClusterError> {
        if !self.0.lineage.is_frozen() {
            return Err(ClusterError::TakeOver("the lane is not frozen".to_owned()));
        }
        if let Some((leader, _)) = self.leader() {
            return Err(ClusterError::NotLeading { leader: Some(leader) });
        }
        let raft = self.lane().map_err(|e| ClusterError::Failed(e.to_string()))?;
        let released = self
            .within(raft.client_write(Proposal(forced::release().to_bytes())))
            .await;
        released
            .map(drop)
            .map_err(|e| ClusterError::Failed(e.to_string()))
    }

    /// What a node of another lineage is answered; none where it is of this one.
    pub(super) async fn other_lineage(&self, from: &NodeName, theirs: u64, raft: &Lane) -> Option<Answer> {
        let own = self.0.lineage.number();
        if theirs == own {
            return None;
        }
        if theirs > own {
            let is_new = own == 0 && raft.metrics().borrow_watched().last_log_index.is_none();
            if is_new {
                let adopted = self.0.lineage.adopt(self.0.local.as_ref(), theirs).await;
                return adopted.err().map(|error| Answer::error(503, error));
            }
            let (cluster, from) = (self.clone(), from.clone());
            tokio::spawn(async move { cluster.learn(&from).await });
            return Some(Answer::error(409, "this node is of an older lineage of the log"));
        }
        Some(
            match self
                .0
                .lineage
                .newest()
                .map(|statement| serde_json::to_vec(&statement))
            {
                Some(Ok(statement)) => Answer {
                    status: 409,
                    body: statement.into(),
                },
                _ => Answer::error(409, "this node is of a newer lineage of the log"),
            },
        )
    }

    /// Asks a node of a newer lineage how that came.
    async fn learn(&self, from: &NodeName) {
        let Some(member) = self.others().remove(from) else {
            return;
        };
        let call = call("GET", rpc::STATEMENT, Bytes::new(), self);
        if let Ok(answer) = ask(self.0.link.as_ref(), from, &member, call).await
            && let Ok(statement) = serde_json::from_slice::<Statement>(&answer)
            && statement.lineage > self.0.lineage.number()
        {
            self.0.take_over.told.tell(statement);
        }
    }

    /// How far this node's log goes, and by what it was begun anew.
    pub(super) async fn told(&self, path: &str) -> Answer {
        let told = if path == rpc::POSITION {
            match log::ends(self.0.local.as_ref()).await {
                Ok((_, position)) => serde_json::to_vec(&position.unwrap_or_default()),
                Err(error) => return Answer::error(503, error),
            }
        } else {
            match self.0.lineage.newest() {
                Some(statement) => serde_json::to_vec(&statement),
                None => return Answer::error(404, "this is the first lineage of the log"),
            }
        };
        told.map_or_else(|e| Answer::error(500, e), Answer::ok)
    }
}
