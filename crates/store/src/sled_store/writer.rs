//! The one writer: takes what is queued, judges it, applies it as a group, syncs once, answers all.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    shared::Shared,
    system::System,
    table::{Change, Table, Undo},
};
use crate::{
    Batch, Committed, Guard, MAX_BATCH_BYTES, Space, StoreError, failpoint,
    judge::{self, Judged, View},
    key,
};

/// Most batches in a group.
const GROUP: usize = 64;

pub(super) type Reply = oneshot::Sender<Result<Committed, StoreError>>;

pub(super) struct Request {
    pub(super) batch: Batch,
    pub(super) reply: Reply,
}

/// Runs until every sender of the queue is gone.
pub(super) fn run(shared: &Shared, mut queue: mpsc::Receiver<Request>) {
    while let Some(first) = queue.blocking_recv() {
        // A group is what has come in during the sync before: under load it grows by itself, and a lone batch never
        // waits for others.
        let mut bytes = first.batch.bytes();
        let mut requests = vec![first];
        while requests.len() < GROUP && bytes < MAX_BATCH_BYTES {
            let Ok(next) = queue.try_recv() else { break };
            bytes += next.batch.bytes();
            requests.push(next);
        }
        group(shared, requests, bytes as u64);
    }
}

/// A committer with its answer.
type Waiting = (Reply, Option<Guard>);

fn group(shared: &Shared, requests: Vec<Request>, bytes: u64) {
    if let Err(error) = shared.check_writable(bytes) {
        for request in requests {
            answer(request.reply, Err(error.clone()));
        }
        return;
    }
    let mut view = GroupView {
        table: &shared.table,
        stored: BTreeMap::new(),
        after: BTreeMap::new(),
    };
    let mut waiting: Vec<Waiting> = Vec::with_capacity(requests.len());
    for Request { batch, reply } in requests {
        match judge::judge(&mut view, batch).and_then(|judged| view.take(judged)) {
            Ok(guard) => waiting.push((reply, guard)),
            Err(error) => {
                shared.count(|counters| counters.refused += 1);
                answer(reply, Err(error));
            }
        }
    }
    if waiting.is_empty() {
        return;
    }
    let before = shared.visible().system().commit;
    match write(shared, view, waiting.len() as u64) {
        Ok(()) => {
            for ((reply, guard), commit) in waiting.into_iter().zip(before + 1..) {
                answer(reply, Ok(Committed { guard, commit }));
            }
        }
        Err(error) => {
            shared.fail(&error);
            for (reply, _) in waiting {
                answer(reply, Err(error.clone()));
            }
        }
    }
}

/// Applies and syncs a group. After an error nobody knows what the disk holds: readers stay with the state before it,
/// and the store takes no more writes.
fn write(shared: &Shared, view: GroupView<'_>, batches: u64) -> Result<(), StoreError> {
    let GroupView { stored, after, .. } = view;
    let earlier: Undo = stored
        .into_iter()
        .filter(|(raw, _)| after.contains_key(raw))
        .collect();
    let earlier = Arc::new(earlier);
    let changes = || {
        after.iter().map(|(raw, after)| Change {
            raw,
            before: earlier.get(raw).and_then(Option::as_ref),
            after: after.as_ref(),
        })
    };
    let mut system: System = shared.visible().system().clone();
    for change in changes() {
        system.count(
            change.raw,
            change.before.map(Bytes::len),
            change.after.map(Bytes::len),
        );
    }
    system.commit += batches;

    shared.visible_mut().begin(Arc::clone(&earlier));
    shared.applying.store(true, Ordering::Relaxed);
    let applied = shared.table.apply(changes(), &system.encode());
    shared.applying.store(false, Ordering::Relaxed);
    applied?;

    failpoint::hit("store.before-sync");
    let started = Instant::now();
    shared.table.sync()?;
    let took = started.elapsed();
    failpoint::hit("store.after-sync");
    shared.layout.write_head(system.commit)?;

    shared.visible_mut().end(system);
    shared.count(|counters| {
        counters.groups += 1;
        counters.batches += batches;
        counters.sync_time += took;
        counters.sync_max = counters.sync_max.max(took);
    });
    Ok(())
}

/// The state as it is with the batches of the group accepted so far.
struct GroupView<'a> {
    table: &'a Table,
    /// What was read from the table.
    stored: BTreeMap<Vec<u8>, Option<Bytes>>,
    /// What the group has changed.
    after: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl GroupView<'_> {
    fn stored(&mut self, raw: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(value) = self.stored.get(raw) {
            return Ok(value.clone());
        }
        let value = self.table.read(raw)?;
        self.stored.insert(raw.to_vec(), value.clone());
        Ok(value)
    }

    /// Takes an accepted batch into the group. If an earlier value can't be read, the batch changes nothing.
    fn take(&mut self, judged: Judged) -> Result<Option<Guard>, StoreError> {
        let mut changes = Vec::with_capacity(judged.writes.len());
        for write in judged.writes {
            let raw = key::raw(write.space, &write.key);
            self.stored(&raw)?;
            changes.push((raw, write.value));
        }
        self.after.extend(changes);
        Ok(judged.guard)
    }
}

impl View for GroupView<'_> {
    fn value(&mut self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let raw = key::raw(space, key);
        match self.after.get(&raw) {
            Some(value) => Ok(value.clone()),
            None => self.stored(&raw),
        }
    }
}

fn answer(reply: Reply, result: Result<Committed, StoreError>) {
    // Nobody may be waiting any more; the batch stands all the same.
    let _ = reply.send(result);
}
