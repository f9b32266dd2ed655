//! The state machine: the node's store itself.
//!
//! Entries are written one by one, each in a batch together with the log position it has, and each demands that the
//! position before it is there. So they can be handed to the store all at once, which syncs them together, and a crash
//! at any instant repeats none and skips none.

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _};
use openraft::entry::RaftEntry as _;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use std::io;
use std::sync::Arc;
use store::{Batch, Committed, Space, Store, StoreError};

use super::forced::Lineage;
use super::snapshot::{self, Handed, Turnover};
use super::types::{Entry, LogId, Outcome, SnapshotMeta, StoredMembership, Types, io};
use super::wire::{decode, encode};

pub(super) const APPLIED: &[u8] = b"applied";
pub(super) const MEMBERSHIP: &[u8] = b"membership";
/// Entries handed to the store at once.
const RUN: usize = 30;

/// Told of every batch that was written, wherever it was decided.
pub(super) type Observer = Arc<dyn Fn(&Batch) + Send + Sync>;

type Snapshot = openraft::alias::SnapshotOf<Types, Handed>;

/// See the module.
pub(super) struct Machine {
    store: Arc<dyn Store>,
    turnover: Turnover,
    /// Among all that were opened on this store.
    number: u64,
    lineage: Lineage,
    observer: Observer,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Whether a snapshot was still to be put in place when it was opened.
    pub(super) took_in: bool,
}

impl Machine {
    /// Opens it; finishes a snapshot that was being taken in.
    pub(super) async fn open(
        store: Arc<dyn Store>,
        turnover: Turnover,
        lineage: Lineage,
        observer: Observer,
    ) -> io::Result<Self> {
        let (number, _turn) = turnover.succeed().await;
        let took_in = snapshot::finish(store.as_ref(), &turnover).await?;
        let mut machine = Self {
            store,
            turnover,
            number,
            lineage,
            observer,
            applied: None,
            membership: StoredMembership::default(),
            took_in,
        };
        machine.load().await?;
        Ok(machine)
    }

    /// Reads what is kept in memory: no observer is told of what a snapshot brings.
    async fn load(&mut self) -> io::Result<()> {
        (self.applied, self.membership) = position(self.store.as_ref()).await?;
        self.lineage.load(self.store.as_ref()).await
    }

    async fn snapshot(&self) -> io::Result<Snapshot> {
        // Applying and this take turns, so that the view is of exactly this position.
        let view = self.store.snapshot().await.map_err(io)?;
        Ok(Snapshot {
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            snapshot: Handed::view(view),
        })
    }

    /// Applies some entries; returns what became of each.
    async fn run(&mut self, entries: &[Entry]) -> io::Result<Vec<Outcome>> {
        let _turn = self.turnover.turn(self.number).await?;
        let mut outcomes = Vec::with_capacity(entries.len());
        while let Some(rest) = entries.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
            let mut applied = self.applied;
            let mut batches = Vec::with_capacity(rest.len());
            for entry in rest {
                batches.push(batch(entry, applied.as_ref())?);
                applied = Some(entry.log_id());
            }
            let kept = batches.clone();
            let results = join_all(batches.into_iter().map(|batch| self.store.commit(batch))).await;
            for (at, ((entry, batch), result)) in rest.iter().zip(kept).zip(results).enumerate() {
                if at > 0 && is_behind(&result) {
                    // The batch before it was refused and left the position where it was: once more from here.
                    break;
                }
                outcomes.push(self.took(entry, &batch, result).await?);
            }
        }
        Ok(outcomes)
    }

    /// What became of one entry.
    async fn took(
        &mut self,
        entry: &Entry,
        batch: &Batch,
        result: Result<Committed, StoreError>,
    ) -> io::Result<Outcome> {
        if is_behind(&result) {
            return Err(io::Error::other("the store was written past the replicated log"));
        }
        let written = result.is_ok();
        let outcome = Outcome::of(result).map_err(io)?;
        if written {
            (self.observer)(batch);
        } else {
            // Refused, here and everywhere: only the position moves.
            let mut only = Batch::new();
            follow(&mut only, self.applied.as_ref(), &entry.log_id())?;
            self.store.commit(only).await.map_err(io)?;
        }
        self.applied = Some(entry.log_id());
        if let EntryPayload::Membership(membership) = &entry.payload {
            self.membership = StoredMembership::new(self.applied, membership.clone());
            return Ok(Outcome::Own);
        }
        if matches!(entry.payload, EntryPayload::Blank) {
            return Ok(Outcome::Own);
        }
        Ok(outcome)
    }
}

/// Whether a batch found the store at another position than the one it follows.
fn is_behind(result: &Result<Committed, StoreError>) -> bool {
    matches!(
        result,
        Err(StoreError::ExpectationFailed {
            space: Space::RaftState,
            ..
        })
    )
}

/// Where a store stands in the log.
pub(super) async fn position(store: &dyn Store) -> io::Result<(Option<LogId>, StoredMembership)> {
    let applied = store.get(Space::RaftState, APPLIED).await.map_err(io)?;
    let membership = store.get(Space::RaftState, MEMBERSHIP).await.map_err(io)?;
    Ok((
        applied.map(|octets| decode(&octets)).transpose()?,
        membership
            .map(|octets| decode(&octets))
            .transpose()?
            .unwrap_or_default(),
    ))
}

fn batch(entry: &Entry, applied: Option<&LogId>) -> io::Result<Batch> {
    let log_id = entry.log_id();
    let mut batch = match &entry.payload {
        EntryPayload::Blank => Batch::new(),
        // What can't be read is refused by the store: an octet string that no batch has.
        EntryPayload::Normal(proposal) => Batch::from_bytes(&proposal.0).unwrap_or_else(|_| unreadable()),
        EntryPayload::Membership(membership) => {
            let stored = StoredMembership::new(Some(log_id), membership.clone());
            let mut batch = Batch::new();
            batch.put(Space::RaftState, MEMBERSHIP, encode(&stored)?);
            batch
        }
    };
    let next = applied.map_or(0, |applied| applied.index.saturating_add(1));
    if log_id.index != next {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("entry {next} is to be applied next, not {}", log_id.index),
        ));
    }
    follow(&mut batch, applied, &log_id)?;
    Ok(batch)
}

fn unreadable() -> Batch {
    let mut batch = Batch::new();
    batch.put(Space::Meta, b"unreadable", vec![0; store::MAX_VALUE + 1]);
    batch
}

/// Moves the position with the batch.
fn follow(batch: &mut Batch, applied: Option<&LogId>, log_id: &LogId) -> io::Result<()> {
    match applied {
        None => batch.expect_absent(Space::RaftState, APPLIED),
        Some(applied) => batch.expect_value(Space::RaftState, APPLIED, &encode(applied)?),
    };
    batch.put(Space::RaftState, APPLIED, encode(log_id)?);
    Ok(())
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Handed;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.load().await?;
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut runs = entries.ready_chunks(RUN);
        while let Some(run) = runs.next().await {
            let mut entries = Vec::with_capacity(run.len());
            let mut responders: Vec<Option<ApplyResponder<Types>>> = Vec::with_capacity(run.len());
            for one in run {
                let (entry, responder) = one?;
                entries.push(entry);
                responders.push(responder);
            }
            let outcomes = self.run(&entries).await?;
            for (responder, outcome) in responders.into_iter().zip(outcomes) {
                if let Some(responder) = responder {
                    responder.send(outcome);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(Some(self.snapshot().await))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _: Handed) -> Result<(), io::Error> {
        let _turn = self.turnover.turn(self.number).await?;
        snapshot::install(self.store.as_ref(), &self.turnover, meta).await?;
        self.load().await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if self.applied.is_none() {
            return Ok(None);
        }
        self.snapshot().await.map(Some)
    }
}

/// A snapshot is a view of the store: there is nothing to build.
pub(super) struct Builder(Option<io::Result<Snapshot>>);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Handed;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.0
            .take()
            .unwrap_or_else(|| Err(io::Error::other("a snapshot is built once")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples::{entry, log_id};
    use std::time::Duration;
    use store::sim::SimStore;
    use store::{MemoryStore, Scan};

    async fn open(store: Arc<dyn Store>, turnover: &Turnover) -> Machine {
        let observer = Arc::new(|_: &Batch| ());
        Machine::open(store, turnover.clone(), Lineage::default(), observer)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn an_entry_follows_the_one_before_it() {
        let mut machine = open(Arc::new(MemoryStore::new()), &Turnover::default()).await;
        machine.run(&[entry(1)]).await.unwrap_err();
        machine.run(&[entry(0), entry(1)]).await.unwrap();
        machine.run(&[entry(3)]).await.unwrap_err();
        machine.run(&[entry(2), entry(4)]).await.unwrap_err();
        machine.run(&[entry(1)]).await.unwrap_err();
        machine.load().await.unwrap();
        assert_eq!(machine.applied, Some(log_id(1)));
        machine.run(&[entry(2)]).await.unwrap();
    }

    /// Stages a snapshot; returns what it is of.
    async fn staged(store: &dyn Store, turnover: &Turnover) -> SnapshotMeta {
        let (_, octets) = snapshot::sample();
        snapshot::stage(store, turnover, 0, &octets.into()).await.unwrap();
        SnapshotMeta {
            last_log_id: Some(log_id(7)),
            last_membership: StoredMembership::default(),
        }
    }

    #[tokio::test]
    async fn a_machine_that_was_given_up_writes_nothing() {
        let (store, turnover) = (Arc::new(MemoryStore::new()), Turnover::default());
        let mut old = open(store.clone(), &turnover).await;
        old.run(&[entry(0)]).await.unwrap();
        let mut new = open(store.clone(), &turnover).await;
        let meta = staged(store.as_ref(), &turnover).await;
        old.run(&[entry(1)]).await.unwrap_err();
        old.install_snapshot(&meta, Handed::default()).await.unwrap_err();
        new.run(&[entry(1)]).await.unwrap();
        new.install_snapshot(&meta, Handed::default()).await.unwrap();
        assert_eq!(new.applied, Some(log_id(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_is_put_in_place_by_one_at_a_time() {
        let sync = Duration::from_secs(1);
        for begun in 1..8 {
            let (store, turnover) = (Arc::new(SimStore::create(sync).await), Turnover::default());
            let mut old = open(store.clone(), &turnover).await;
            let meta = staged(store.as_ref(), &turnover).await;
            let installing =
                tokio::spawn(async move { old.install_snapshot(&meta, Handed::default()).await });
            tokio::time::sleep(sync * begun / 2).await;
            let new = open(store.clone(), &turnover).await;
            installing.await.unwrap().unwrap();
            assert_eq!(new.applied, Some(log_id(7)), "begun {begun}");
            let (records, _) = snapshot::sample();
            for record in records {
                let there = store.get(record.space, &record.key).await.unwrap();
                assert_eq!(there, Some(record.value), "begun {begun}");
            }
            assert_eq!(store.scan(Scan::all(Space::RaftStaged)).await.unwrap(), []);
        }
    }
}
