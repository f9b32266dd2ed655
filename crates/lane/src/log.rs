//! The log on the store: [`Space::RaftLog`] and what belongs to it in [`Space::RaftState`].
//!
//! An entry is one record, or several where it is larger than one may be: key is the index and the number of the
//! part, the first part begins with the number of parts and is written last. One task writes, in the order of the
//! calls; what waits meanwhile goes into one batch with one sync. Once a write has failed it refuses all others.

use bytes::Bytes;
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::vote::leader_id_std::LeaderId;
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{Batch, Scan, Space, Store};
use tokio::sync::{mpsc, oneshot};

use super::forced::Position;
use super::types::{Entry, LogId, NodeName, Types, Vote, io};
use super::wire::{Plain, decode, encode};

const VOTE: &[u8] = b"vote";
const PURGED: &[u8] = b"purged";
/// Octets of an entry in one record.
const PART: usize = 60 * 1024;
/// Octets of one batch of entries.
const WRITE: usize = 4 * 1024 * 1024;
/// Entries kept in memory behind the newest, so that replicating and applying them reads nothing.
const KEPT: usize = 512;
/// Records deleted at once.
const DELETED: usize = 2000;

enum Task {
    Append(Vec<(u64, Vec<u8>)>, IOFlushed<Types>),
    Do(Batch, oneshot::Sender<Result<(), io::Error>>),
    /// Deletes the entries behind this index (none: all).
    Truncate(Option<u64>, oneshot::Sender<Result<(), io::Error>>),
    /// Deletes the entries up to this one.
    Purge(LogId, oneshot::Sender<Result<(), io::Error>>),
}

/// Entries in memory: all that aren't on disk yet, and some behind them.
#[derive(Default)]
struct Recent {
    entries: BTreeMap<u64, Entry>,
    /// Up to this index all are on disk.
    durable: u64,
}

impl Recent {
    fn trim(&mut self) {
        while self.entries.len() > KEPT
            && let Some(first) = self.entries.first_entry()
            && *first.key() <= self.durable
        {
            first.remove();
        }
    }
}

/// The log of this node. A clone reads the same one.
#[derive(Clone)]
pub(super) struct Log {
    store: Arc<dyn Store>,
    tasks: mpsc::UnboundedSender<Task>,
    recent: Arc<Mutex<Recent>>,
}

impl Log {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (tasks, queue) = mpsc::unbounded_channel();
        let recent: Arc<Mutex<Recent>> = Arc::default();
        tokio::spawn(write(store.clone(), queue, recent.clone()));
        Self { store, tasks, recent }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once everything handed in before is in the store, or has failed.
    pub(super) async fn flush(&self) -> io::Result<()> {
        self.ask(|reply| Task::Do(Batch::new(), reply)).await
    }

    async fn ask(&self, task: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Task) -> io::Result<()> {
        let (reply, done) = oneshot::channel();
        let gone = || io::Error::other("the log's writer is gone");
        self.tasks.send(task(reply)).map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}

/// How a log that stands still ends: vote and place of the newest entry.
pub(super) async fn ends(store: &dyn Store) -> io::Result<(Option<Vote>, Option<Position>)> {
    let vote = read_state(store, VOTE).await?;
    let purged: Option<LogId> = read_state(store, PURGED).await?;
    let last = last(store).await?.map(|entry| entry.log_id()).max(purged);
    let place = last.map(|last| Position {
        term: last.leader_id.term,
        index: last.index,
    });
    Ok((vote, place))
}

/// Entries behind a place, as far as they are there.
pub(super) async fn behind(store: &dyn Store, index: u64) -> io::Result<Vec<Entry>> {
    stored(store, index.saturating_add(1), u64::MAX, false).await
}

/// A batch that goes on a log that stands still, under a vote for the node in that term.
pub(super) fn go_on(entries: &[Entry], term: u64, node: &NodeName) -> io::Result<Batch> {
    let mut batch = Batch::new();
    let vote = Vote {
        leader_id: LeaderId {
            term,
            voted_for: node.clone(),
        },
        committed: false,
    };
    batch.put(Space::RaftState, VOTE, encode(&vote)?);
    for entry in entries {
        for (key, part) in parts(entry.log_id().index, &encode(entry)?) {
            batch.put(Space::RaftLog, key, part);
        }
    }
    Ok(batch)
}

/// An entry as records; the first one, which says how many there are, comes last.
fn parts(index: u64, octets: &[u8]) -> Vec<([u8; 12], Bytes)> {
    let mut parts = octets.chunks(PART);
    let first = parts.next().unwrap_or_default();
    let mut records: Vec<_> = (1..)
        .zip(parts)
        .map(|(number, part)| (key(index, number), Bytes::copy_from_slice(part)))
        .collect();
    let count = u32::try_from(records.len()).unwrap_or(u32::MAX).saturating_add(1);
    records.push((key(index, 0), [&count.to_be_bytes()[..], first].concat().into()));
    records
}

async fn read_state<T: Plain>(store: &dyn Store, key: &[u8]) -> io::Result<Option<T>> {
    let octets = store.get(Space::RaftState, key).await.map_err(io)?;
    octets.map(|octets| decode(&octets)).transpose()
}

/// Reads entries from `start` on, before `end`, from the store. They may be missing where the log was purged, and where it
/// ends, but not before `end` where `followed` says that it goes on there.
async fn stored(store: &dyn Store, start: u64, end: u64, followed: bool) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut next = start;
    while next < end {
        if let Some(octets) = octets(store, next).await? {
            entries.push(decode(&octets)?);
            next = next.saturating_add(1);
            continue;
        }
        let behind = following(store, next).await?.map(|index| index.min(end));
        let Some(behind) = behind.or(followed.then_some(end)) else {
            break;
        };
        let purged: Option<LogId> = read_state(store, PURGED).await?;
        if purged.is_none_or(|purged| purged.index.saturating_add(1) < behind) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("log entry {next} is missing, though there are entries behind it"),
            ));
        }
        entries.clear();
        next = behind;
    }
    Ok(entries)
}

/// The next entry behind a place that has none.
async fn following(store: &dyn Store, index: u64) -> io::Result<Option<u64>> {
    let scan = Scan::all(Space::RaftLog).after(key(index, u32::MAX)).limit(1);
    let rows = store.scan(scan).await.map_err(io)?;
    // Parts without the first one: the node died while it wrote them.
    Ok(rows
        .first()
        .filter(|(found, _)| found.ends_with(&0_u32.to_be_bytes()))
        .and_then(|(found, _)| index_of(found)))
}

async fn octets(store: &dyn Store, index: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(first) = store.get(Space::RaftLog, &key(index, 0)).await.map_err(io)? else {
        return Ok(None);
    };
    let damaged = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("log entry {index} is cut short"),
        )
    };
    let (parts, head) = first.split_at_checked(4).ok_or_else(damaged)?;
    let parts = u32::from_be_bytes(parts.try_into().map_err(|_| damaged())?);
    let mut octets = head.to_vec();
    for part in 1..parts {
        let part = store.get(Space::RaftLog, &key(index, part)).await.map_err(io)?;
        octets.extend_from_slice(&part.ok_or_else(damaged)?);
    }
    Ok(Some(octets))
}

/// The newest entry that is whole.
async fn last(store: &dyn Store) -> io::Result<Option<Entry>> {
    let mut scan = Scan::all(Space::RaftLog).reverse().limit(1);
    loop {
        let rows = store.scan(scan.clone()).await.map_err(io)?;
        let Some(index) = rows.first().and_then(|(key, _)| index_of(key)) else {
            return Ok(None);
        };
        if let Some(octets) = octets(store, index).await? {
            return decode(&octets).map(Some);
        }
        // Parts without the first one: the node died while it wrote them.
        scan = scan.after(key(index, 0));
    }
}

fn key(index: u64, part: u32) -> [u8; 12] {
    let mut key = [0; 12];
    let (high, low) = key.split_at_mut(8);
    high.copy_from_slice(&index.to_be_bytes());
    low.copy_from_slice(&part.to_be_bytes());
    key
}

fn index_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(..8)?.try_into().ok()?))
}

fn size(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// The first write that failed. Until the log is opened again nothing is written behind it: it would leave a hole.
#[derive(Default)]
struct Failed(Option<io::Error>);

impl Failed {
    async fn or_do(&mut self, write: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let done = match &self.0 {
            Some(error) => Err(again(error)),
            None => write.await,
        };
        if let Err(error) = &done {
            self.0 = Some(again(error));
        }
        done
    }
}

async fn write(store: Arc<dyn Store>, mut queue: mpsc::UnboundedReceiver<Task>, recent: Arc<Mutex<Recent>>) {
    let mut held = None;
    let mut failed = Failed::default();
    loop {
        let task = match held.take() {
            Some(task) => task,
            None => match queue.recv().await {
                Some(task) => task,
                None => return,
            },
        };
        match task {
            Task::Append(entries, flushed) => {
                let mut all = vec![entries];
                let mut waiting = vec![flushed];
                // What was appended during the last sync shares the next one.
                while let Ok(task) = queue.try_recv() {
                    match task {
                        Task::Append(entries, flushed) => {
                            all.push(entries);
                            waiting.push(flushed);
                        }
                        other => {
                            held = Some(other);
                            break;
                        }
                    }
                }
                let last = all.iter().flatten().map(|(index, _)| *index).max().unwrap_or(0);
                let written = append(store.as_ref(), all.into_iter().flatten());
                let written = failed.or_do(written).await;
                if written.is_ok() {
                    let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
                    recent.durable = recent.durable.max(last);
                    recent.trim();
                }
                for flushed in waiting {
                    flushed.io_completed(match &written {
                        Ok(()) => Ok(()),
                        Err(error) => Err(again(error)),
                    });
                }
            }
            Task::Do(batch, reply) => {
                let written = async { store.commit(batch).await.map(drop).map_err(io) };
                let _ = reply.send(failed.or_do(written).await);
            }
            Task::Truncate(after, reply) => {
                let _ = reply.send(failed.or_do(truncate(store.as_ref(), after)).await);
            }
            Task::Purge(upto, reply) => {
                let _ = reply.send(failed.or_do(purge(store.as_ref(), &upto)).await);
            }
        }
    }
}

async fn append(store: &dyn Store, entries: impl Iterator<Item = (u64, Vec<u8>)>) -> io::Result<()> {
    let mut batch = Batch::new();
    for (index, octets) in entries {
        for (key, part) in parts(index, &octets) {
            batch.put(Space::RaftLog, key, part);
            if batch.bytes() > WRITE {
                store.commit(std::mem::take(&mut batch)).await.map_err(io)?;
            }
        }
    }
    if !batch.is_empty() {
        store.commit(batch).await.map_err(io)?;
    }
    Ok(())
}

/// Deletes from the end, so that a crash in between leaves no gap.
async fn truncate(store: &dyn Store, after: Option<u64>) -> io::Result<()> {
    let first = after.map_or(0, |after| after.saturating_add(1));
    loop {
        let scan = Scan::all(Space::RaftLog).reverse().limit(DELETED);
        let rows = store.scan(scan).await.map_err(io)?;
        let mut batch = Batch::new();
        for (key, _) in rows
            .iter()
            .filter(|(key, _)| index_of(key).is_some_and(|i| i >= first))
        {
            batch.delete(Space::RaftLog, key);
        }
        if batch.is_empty() {
            return Ok(());
        }
        store.commit(batch).await.map_err(io)?;
    }
}

async fn purge(store: &dyn Store, upto: &LogId) -> io::Result<()> {
    let mut batch = Batch::new();
    batch.put(Space::RaftState, PURGED, encode(upto)?);
    store.commit(batch).await.map_err(io)?;
    loop {
        let rows = store
            .scan(Scan::all(Space::RaftLog).limit(DELETED))
            .await
            .map_err(io)?;
        let mut batch = Batch::new();
        for (key, _) in rows
            .iter()
            .filter(|(key, _)| index_of(key).is_some_and(|i| i <= upto.index))
        {
            batch.delete(Space::RaftLog, key);
        }
        if batch.is_empty() {
            return Ok(());
        }
        store.commit(batch).await.map_err(io)?;
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        if start >= end {
            return Ok(Vec::new());
        }
        let recent: Vec<Entry> = self
            .recent()
            .entries
            .range(start..end)
            .map(|(_, e)| e.clone())
            .collect();
        let from = recent.first().map_or(end, |entry| entry.log_id().index);
        if from == start {
            return Ok(recent);
        }
        let mut entries = stored(self.store.as_ref(), start, from, !recent.is_empty()).await?;
        entries.extend(recent);
        Ok(entries)
    }

    /// What goes into one message: entries up to [`WRITE`] octets, but at least one.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let mut entries = self.try_get_log_entries(start..end).await?;
        let mut octets = 0_usize;
        let fits = entries.iter().take_while(|entry| {
            octets = octets.saturating_add(size(entry));
            octets <= WRITE
        });
        let fits = fits.count().max(1);
        entries.truncate(fits);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        read_state(self.store.as_ref(), VOTE).await
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let purged: Option<LogId> = read_state(self.store.as_ref(), PURGED).await?;
        let last = last(self.store.as_ref()).await?.map(|entry| entry.log_id());
        Ok(LogState {
            last_log_id: last.max(purged),
            last_purged_log_id: purged,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = Batch::new();
        batch.put(Space::RaftState, VOTE, encode(vote)?);
        self.ask(|reply| Task::Do(batch, reply)).await
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        {
            let mut recent = self.recent();
            for entry in entries {
                let index = entry.log_id().index;
                encoded.push((index, encode(&entry)?));
                recent.durable = recent.durable.min(index.saturating_sub(1));
                recent.entries.insert(index, entry);
            }
        }
        self.tasks
            .send(Task::Append(encoded, flushed))
            .map_err(|_| io::Error::other("the log's writer is gone"))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let after = last.map(|last| last.index);
        self.recent()
            .entries
            .retain(|index, _| after.is_some_and(|after| *index <= after));
        self.ask(|reply| Task::Truncate(after, reply)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.recent().entries.retain(|index, _| *index > upto.index);
        self.ask(|reply| Task::Purge(upto, reply)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples::{entry, log_id, vote};
    use openraft::type_config::TypeConfigExt as _;
    use std::time::Duration;
    use store::MemoryStore;
    use store::sim::SimStore;

    async fn append_one(log: &mut Log, index: u64) -> io::Result<()> {
        let (flushed, done) = Types::oneshot();
        log.append([entry(index)], IOFlushed::signal(flushed)).await?;
        done.await.unwrap()
    }

    /// What of a range can be read.
    async fn read(log: &mut Log, range: std::ops::Range<u64>) -> io::Result<Vec<u64>> {
        let entries = log.try_get_log_entries(range).await?;
        Ok(entries.iter().map(|entry| entry.log_id().index).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_write_that_failed_nothing_is_written() {
        let disk = SimStore::create(Duration::from_millis(1)).await;
        let mut log = Log::new(Arc::new(disk.clone()));
        for index in 0..=10 {
            append_one(&mut log, index).await.unwrap();
        }
        disk.fill(Some(0));
        append_one(&mut log, 11).await.unwrap_err();
        disk.fill(None);
        append_one(&mut log, 12).await.unwrap_err();
        log.save_vote(&vote(9)).await.unwrap_err();
        log.truncate_after(Some(log_id(5))).await.unwrap_err();
        log.purge(log_id(3)).await.unwrap_err();

        let mut log = Log::new(Arc::new(disk));
        let state = log.get_log_state().await.unwrap();
        assert_eq!(
            (state.last_log_id, state.last_purged_log_id),
            (Some(log_id(10)), None)
        );
        assert_eq!(log.read_vote().await.unwrap(), None);
        append_one(&mut log, 11).await.unwrap();
        assert_eq!(
            read(&mut log, 0..20).await.unwrap(),
            (0..=11).collect::<Vec<u64>>()
        );
    }

    #[tokio::test]
    async fn entries_may_be_missing_where_the_log_ends_and_where_it_was_purged() {
        let store = Arc::new(MemoryStore::new());
        let there = [1, 2, 4].map(|index| (index, encode(&entry(index)).unwrap()));
        append(store.as_ref(), there.into_iter()).await.unwrap();
        let mut log = Log::new(store);
        assert_eq!(read(&mut log, 1..3).await.unwrap(), [1, 2]);
        assert_eq!(read(&mut log, 4..9).await.unwrap(), [4]);
        assert_eq!(read(&mut log, 5..9).await.unwrap(), [0; 0]);
        for range in [0..2, 1..4, 1..5, 3..4, 3..9] {
            read(&mut log, range).await.unwrap_err();
        }
        // What is in memory alone follows nothing either.
        append_one(&mut log, 6).await.unwrap();
        assert_eq!(read(&mut log, 6..9).await.unwrap(), [6]);
        read(&mut log, 4..9).await.unwrap_err();
        log.purge(log_id(3)).await.unwrap();
        assert_eq!(read(&mut log, 1..5).await.unwrap(), [4]);
        read(&mut log, 1..9).await.unwrap_err();
        log.purge(log_id(5)).await.unwrap();
        assert_eq!(read(&mut log, 1..9).await.unwrap(), [6]);
    }
}
