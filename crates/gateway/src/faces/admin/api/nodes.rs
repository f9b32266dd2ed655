//! Nodes of the provider.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The nodes of the provider, as the node that answers sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nodes {
    /// The node that answers.
    pub name: String,
    /// The node that orders, as far as it knows.
    pub leader: Option<String>,
    /// The term of the provider's log.
    pub term: u64,
    /// Entries of the log that it has.
    pub log: u64,
    /// Entries that are in its store.
    pub applied: u64,
    /// All of them.
    pub nodes: Vec<Node>,
    /// Whether nodes hold two entries for one place of the order: nothing is ordered until an operator releases it.
    #[serde(default)]
    pub frozen: bool,
    /// By whose take-over this node was given up, if it was: it takes no part any more.
    #[serde(default)]
    pub given_up: Option<TakenOver>,
    /// By what the log was begun anew without a majority, if it was.
    #[serde(default)]
    pub taken_over: Option<TakenOver>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its name: its Matrix server name.
    pub name: String,
    /// Host and port of its node API.
    pub address: String,
    /// Whether it counts for the majority.
    pub voter: bool,
    /// Entries of the log that it lacks, where the node that orders answers.
    pub lag: Option<u64>,
}

impl From<lane::ClusterView> for Nodes {
    fn from(view: lane::ClusterView) -> Self {
        Self {
            name: view.name,
            leader: view.leader,
            term: view.term,
            log: view.log,
            applied: view.applied,
            nodes: view
                .nodes
                .into_iter()
                .map(|node| Node {
                    name: node.name,
                    address: node.address,
                    voter: node.voter,
                    lag: node.lag,
                })
                .collect(),
            frozen: view.frozen,
            given_up: view.given_up.map(TakenOver::from),
            taken_over: view.taken_over.map(TakenOver::from),
        }
    }
}

/// `POST /nodes/take-over`: this node goes on without a majority.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TakeOver {
    /// The nodes that are lost: all that do not answer.
    pub lost: Vec<String>,
    /// Why; recorded for good.
    pub reason: String,
}

/// A take-over without a majority, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakenOver {
    /// The node that took over.
    pub node: String,
    /// When, Unix ms.
    pub at: u64,
    /// Why.
    pub reason: String,
    /// The nodes that were lost.
    pub lost: Vec<String>,
    /// The newest entry that the node had: what the lost ones made final behind it is lost.
    pub after: u64,
}

impl From<lane::Statement> for TakenOver {
    fn from(statement: lane::Statement) -> Self {
        Self {
            node: statement.node.to_string(),
            at: statement.at,
            reason: statement.reason,
            lost: statement.lost.iter().map(ToString::to_string).collect(),
            after: statement.after.index,
        }
    }
}

/// `POST /nodes/release`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Why this side counts; in the log of the service.
    pub reason: String,
}

/// `POST /nodes`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AddNode {
    /// Name, address and key of the node, as `causeway node self` prints them there.
    pub node: String,
}
