//! Taking over without a majority, and what comes of it.
//!
//! A node that outlives the majority may begin a new *lineage* of the log, alone, on an operator's word: it keeps all
//! that it has, puts itself in the place of all members, and records the operator's statement as the first decision.
//! Messages of the log carry the number of the lineage. A node of an older one that comes back is told of the statement
//! and takes no further part: it orders nothing, forwards what it is asked, hands over what it accepted while it was cut
//! off, and shows what it holds behind the take-over. Where that are decisions, there are two entries for one place of
//! the order: they are kept as evidence, and the lane is frozen until an operator says which side counts.

use openraft::entry::RaftEntry as _;
use openraft::vote::leader_id_std::CommittedLeaderId;
use openraft::{EntryPayload, Membership};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{Batch, Scan, Space, Store};

use super::log;
use super::types::{Entry, LogId, Member, NodeName, Proposal, io};
use super::wire::encode;

/// In [`Space::RaftState`]: the number of the node's lineage. None: the first one.
const LINEAGE: &[u8] = b"lineage";
/// In [`Space::RaftState`]: the statement by which this node was given up.
const GIVEN_UP: &[u8] = b"given_up";
/// In [`Space::ClusterStatement`]: why the lane is frozen.
const FROZEN: &[u8] = b"frozen";
/// Entries shown as evidence at most, and octets of each.
const SHOWN: usize = 50;
const SHOWN_OCTETS: usize = 16 * 1024;

/// How far a node's log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Term of the newest entry.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// An operator's word that a node takes over without a majority. Recorded in the log for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Version of this record, 1.
    pub v: u8,
    /// Number of the lineage that it begins.
    pub lineage: u64,
    /// The node that took over.
    pub node: NodeName,
    /// When, Unix ms.
    pub at: u64,
    /// The operator's reason.
    pub reason: String,
    /// Nodes that did not answer, as the operator named them.
    pub lost: BTreeSet<NodeName>,
    /// Nodes that answered, too few for a majority, with how far they had come: none further than this one.
    pub answered: BTreeMap<NodeName, Position>,
    /// How all other nodes of the old lineage are known.
    pub former: BTreeMap<NodeName, Member>,
    /// The newest entry that the node had. What the lost ones made final behind it is lost.
    pub after: Position,
}

/// Two entries for one place of the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Version of this record, 1.
    pub v: u8,
    /// Place in the log.
    pub index: u64,
    /// The node that showed the other entry.
    pub node: NodeName,
    /// That entry.
    pub theirs: Shown,
    /// The one of this lineage; none where it is deleted already.
    pub ours: Option<Shown>,
}

/// An entry as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Place in the log.
    pub index: u64,
    /// Term.
    pub term: u64,
    /// SHA-256 of its octets, hex.
    pub sha256: String,
    /// The octets, hex, where they are few.
    pub octets: Option<String>,
    /// What it writes: kinds of records and keys, hex.
    pub writes: Vec<(String, String)>,
}

/// What a node of an older lineage shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    pub(super) node: NodeName,
    pub(super) entries: Vec<Shown>,
}

impl Shown {
    fn of(entry: &Entry) -> io::Result<Self> {
        let octets = encode(entry)?;
        let writes = match &entry.payload {
            EntryPayload::Normal(proposal) => Batch::from_bytes(&proposal.0).map_or_else(
                |_| Vec::new(),
                |batch| {
                    let name = |(space, key, _): (Space, &[u8], Option<&[u8]>)| {
                        (space.name().to_owned(), hex::encode(key))
                    };
                    batch.writes().map(name).take(SHOWN).collect()
                },
            ),
            EntryPayload::Blank | EntryPayload::Membership(_) => Vec::new(),
        };
        let log_id = entry.log_id();
        Ok(Self {
            index: log_id.index,
            term: log_id.leader_id.term,
            sha256: hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&octets)),
            octets: (octets.len() <= SHOWN_OCTETS).then(|| hex::encode(&octets)),
            writes,
        })
    }
}

/// What a node knows of lineages. A clone is the same.
#[derive(Clone, Default)]
pub(super) struct Lineage(Arc<Known>);

#[derive(Default)]
struct Known {
    number: AtomicU64,
    frozen: AtomicBool,
    statements: Mutex<BTreeMap<u64, Statement>>,
    given_up: Mutex<Option<Statement>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T: serde::de::DeserializeOwned>(octets: &[u8]) -> io::Result<T> {
    serde_json::from_slice(octets).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

fn json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

impl Lineage {
    /// Reads what the store holds.
    pub(super) async fn load(&self, store: &dyn Store) -> io::Result<()> {
        let number = store.get(Space::RaftState, LINEAGE).await.map_err(io)?;
        let number = number.and_then(|octets| Some(u64::from_be_bytes(octets.as_ref().try_into().ok()?)));
        self.0.number.store(number.unwrap_or(0), Ordering::SeqCst);
        let given_up = store.get(Space::RaftState, GIVEN_UP).await.map_err(io)?;
        *lock(&self.0.given_up) = given_up.map(|octets| read(&octets)).transpose()?;
        let mut statements = BTreeMap::new();
        let mut frozen = false;
        for (key, value) in store.scan(Scan::all(Space::ClusterStatement)).await.map_err(io)? {
            if key == FROZEN {
                frozen = true;
            } else {
                let statement: Statement = read(&value)?;
                statements.insert(statement.lineage, statement);
            }
        }
        self.0.frozen.store(frozen, Ordering::SeqCst);
        *lock(&self.0.statements) = statements;
        Ok(())
    }

    /// Follows what a batch changes.
    pub(super) fn applied(&self, batch: &Batch) {
        for (space, key, value) in batch
            .writes()
            .filter(|(space, ..)| *space == Space::ClusterStatement)
        {
            debug_assert_eq!(space, Space::ClusterStatement);
            if key == FROZEN {
                let frozen = value.is_some();
                if self.0.frozen.swap(frozen, Ordering::SeqCst) != frozen {
                    tracing::error!(
                        frozen,
                        "two entries for one place of the order: the lane is frozen, or goes on again"
                    );
                }
            } else if let Some(statement) = value.and_then(|value| read::<Statement>(value).ok()) {
                lock(&self.0.statements).insert(statement.lineage, statement);
            }
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.0.number.load(Ordering::SeqCst)
    }

    /// Whether two entries for one place were shown, and nobody has said yet which counts.
    pub(super) fn is_frozen(&self) -> bool {
        self.0.frozen.load(Ordering::SeqCst)
    }

    /// By what this node was given up, if it was.
    pub(super) fn given_up(&self) -> Option<Statement> {
        lock(&self.0.given_up).clone()
    }

    /// The statement that began the newest lineage, where this node is of it.
    pub(super) fn newest(&self) -> Option<Statement> {
        lock(&self.0.statements).get(&self.number()).cloned()
    }

    /// A node of an older lineage.
    pub(super) fn former(&self, name: &NodeName) -> Option<Member> {
        lock(&self.0.statements)
            .values()
            .rev()
            .find_map(|statement| statement.former.get(name).cloned())
    }

    /// A node without a past takes the lineage of the one that speaks to it.
    pub(super) async fn adopt(&self, store: &dyn Store, number: u64) -> io::Result<()> {
        let mut batch = Batch::new();
        batch.put(Space::RaftState, LINEAGE, number.to_be_bytes().to_vec());
        store.commit(batch).await.map_err(io)?;
        self.0.number.store(number, Ordering::SeqCst);
        Ok(())
    }

    /// This node is given up.
    pub(super) async fn give_up(&self, store: &dyn Store, statement: &Statement) -> io::Result<()> {
        let mut batch = Batch::new();
        batch.put(Space::RaftState, GIVEN_UP, json(statement)?);
        store.commit(batch).await.map_err(io)?;
        *lock(&self.0.given_up) = Some(statement.clone());
        metrics::gauge!("causeway_cluster_given_up").set(1.0);
        tracing::error!(
            by = %statement.node, reason = statement.reason, after = statement.after.index,
            "this node was given up: it takes no part any more; delete its store and join it anew"
        );
        Ok(())
    }

    /// Begins a new lineage in a store whose log stands still: this node alone, behind all that it has. Completes the
    /// statement.
    pub(super) async fn begin(
        &self,
        store: &dyn Store,
        statement: &mut Statement,
        own: &Member,
    ) -> io::Result<()> {
        let (vote, last) = log::ends(store).await?;
        let last = last.unwrap_or_default();
        let term = vote
            .as_ref()
            .map_or(0, |vote| vote.leader_id.term)
            .max(last.term)
            .saturating_add(1);
        statement.after = last.clone();
        statement.lineage = self.number().saturating_add(1);
        let at = |behind: u64| LogId::new(CommittedLeaderId::new(term), last.index.saturating_add(behind));
        let name = statement.node.clone();
        let alone = Membership::new(
            vec![BTreeSet::from([name.clone()])],
            BTreeMap::from([(name.clone(), own.clone())]),
        )
        .map_err(|e| io::Error::other(e.to_string()))?;
        let mut stated = Batch::new();
        stated.put(
            Space::ClusterStatement,
            statement.lineage.to_be_bytes(),
            json(statement)?,
        );
        let entries = [
            Entry {
                log_id: at(1),
                payload: EntryPayload::Membership(alone),
            },
            Entry {
                log_id: at(2),
                payload: EntryPayload::Normal(Proposal(stated.to_bytes())),
            },
        ];
        let mut batch = log::go_on(&entries, term, &name)?;
        batch.put(
            Space::RaftState,
            LINEAGE,
            statement.lineage.to_be_bytes().to_vec(),
        );
        store.commit(batch).await.map_err(io)?;
        self.0.number.store(statement.lineage, Ordering::SeqCst);
        Ok(())
    }
}

/// The decisions that a store's log holds behind a place.
pub(super) async fn tail(store: &dyn Store, node: NodeName, after: &Position) -> io::Result<Tail> {
    let entries = log::behind(store, after.index).await?;
    let decisions = entries
        .iter()
        .filter(|entry| matches!(entry.payload, EntryPayload::Normal(_)));
    let entries = decisions.take(SHOWN).map(Shown::of).collect::<io::Result<_>>()?;
    Ok(Tail { node, entries })
}

/// What is recorded when a node of an older lineage shows its tail; none where nothing contradicts.
pub(super) async fn evidence(store: &dyn Store, tail: &Tail) -> io::Result<Option<Batch>> {
    let Some(first) = tail.entries.first() else {
        return Ok(None);
    };
    let own = log::behind(store, first.index.saturating_sub(1)).await?;
    let mut batch = Batch::new();
    for theirs in &tail.entries {
        let ours = own
            .iter()
            .find(|entry| entry.log_id().index == theirs.index)
            .map(Shown::of)
            .transpose()?;
        if ours.as_ref().is_some_and(|ours| ours.sha256 == theirs.sha256) {
            continue;
        }
        let evidence = Evidence {
            v: 1,
            index: theirs.index,
            node: tail.node.clone(),
            theirs: theirs.clone(),
            ours,
        };
        let key = [
            b"lane:",
            tail.node.as_str().as_bytes(),
            b":",
            &theirs.index.to_be_bytes()[..],
        ]
        .concat();
        batch.put(Space::Evidence, key, json(&evidence)?);
    }
    if batch.is_empty() {
        return Ok(None);
    }
    batch.put(Space::ClusterStatement, FROZEN, json(&tail.node)?);
    Ok(Some(batch))
}

/// Lets the lane go on, with this side.
pub(super) fn release() -> Batch {
    let mut batch = Batch::new();
    batch.delete(Space::ClusterStatement, FROZEN);
    batch
}
