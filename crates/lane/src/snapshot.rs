//! Snapshots: the whole store of one node, taken in by another.
//!
//! The sender pages through a view of its store. The receiver keeps the octets as records of [`Space::RaftStaged`]
//! until all are there, then puts them in place of its own records: first a mark ([`INSTALLING`]), then the records,
//! last the position in the log, in place of the mark. A node that dies in between does it again when it starts.

use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::{Batch, Record, Scan, Snapshot, Space, Store};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::machine::{APPLIED, MEMBERSHIP};
use super::types::{SnapshotMeta, io};
use super::wire::{decode, encode};

/// Who writes what the log says, and whether records are being replaced. A clone is the same.
#[derive(Clone, Default)]
pub(super) struct Turnover {
    /// Odd while records are being replaced: meanwhile nobody may read them, half of them would be missing.
    stamp: Arc<AtomicU64>,
    /// Number of the newest machine. Held by whoever writes: openraft doesn't wait for a machine that it gives up, so that it
    /// may still be at it when the next one is opened.
    newest: Arc<Mutex<u64>>,
}

/// Whose turn it is to write, as long as this is kept.
pub(super) type Turn = OwnedMutexGuard<u64>;

impl Turnover {
    /// The turn of a further machine, and its number. Those before it get none any more.
    pub(super) async fn succeed(&self) -> (u64, Turn) {
        let mut turn = self.newest.clone().lock_owned().await;
        *turn += 1;
        (*turn, turn)
    }

    /// The turn of a machine.
    pub(super) async fn turn(&self, number: u64) -> io::Result<Turn> {
        let turn = self.newest.clone().lock_owned().await;
        if *turn == number {
            Ok(turn)
        } else {
            Err(io::Error::other("the replicated log was opened again"))
        }
    }

    /// What has to be the same after a read for it to count; none while records are being replaced.
    pub(super) fn stamp(&self) -> Option<u64> {
        let stamp = self.stamp.load(Ordering::SeqCst);
        stamp.is_multiple_of(2).then_some(stamp)
    }

    /// Replaced from now on, until [`Turnover::end`]. A failure leaves it so: what is there is of no use.
    fn begin(&self) {
        self.stamp.fetch_or(1, Ordering::SeqCst);
    }

    fn end(&self) {
        if self.stamp().is_none() {
            self.stamp.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// In [`Space::RaftState`]: the snapshot that is being put in place.
const INSTALLING: &[u8] = b"installing";
/// Octets of one staged record.
const PIECE: usize = 60 * 1024;
/// Octets of one batch.
const WRITE: usize = 4 * 1024 * 1024;
/// Octets of one message of a snapshot.
const CHUNK: usize = 1024 * 1024;
/// Records read at once.
const PAGE: usize = 1000;

/// What openraft hands around as a snapshot: a view to be sent, or nothing where the octets are staged already.
#[derive(Clone, Default)]
pub(crate) struct Handed(Option<Arc<Mutex<Box<dyn Snapshot>>>>);

impl Handed {
    pub(super) fn view(view: Box<dyn Snapshot>) -> Self {
        Self(Some(Arc::new(Mutex::new(view))))
    }

    /// Octets of the next records, up to about [`CHUNK`]; empty at the end.
    pub(super) async fn next(&self) -> io::Result<Bytes> {
        let mut out = Vec::new();
        let Some(view) = &self.0 else {
            return Ok(Bytes::new());
        };
        let mut view = view.lock().await;
        while out.len() < CHUNK {
            let page = view.next(PAGE).await.map_err(io)?;
            if page.is_empty() {
                break;
            }
            for record in page.iter().filter(|record| is_shared(record.space, &record.key)) {
                put(&mut out, record);
            }
        }
        Ok(out.into())
    }
}

/// Whether a record is the provider's and not the node's.
fn is_shared(space: Space, key: &[u8]) -> bool {
    let own = space == Space::Meta && key.starts_with(b"store.");
    !own && !space.is_local()
}

fn put(out: &mut Vec<u8>, record: &Record) {
    let length = |octets: &Bytes| u32::try_from(octets.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.push(record.space.code());
    out.extend_from_slice(&length(&record.key));
    out.extend_from_slice(&length(&record.value));
    out.extend_from_slice(&record.key);
    out.extend_from_slice(&record.value);
}

/// Takes the first record off; none where it isn't whole yet.
fn take(octets: &mut Bytes) -> io::Result<Option<(Space, Bytes, Bytes)>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed snapshot");
    let Some((head, rest)) = octets.split_first_chunk::<9>() else {
        return Ok(None);
    };
    let [code, k0, k1, k2, k3, v0, v1, v2, v3] = *head;
    let length = |octets: [u8; 4]| usize::try_from(u32::from_be_bytes(octets)).unwrap_or(usize::MAX);
    let (key, value) = (length([k0, k1, k2, k3]), length([v0, v1, v2, v3]));
    if key > store::MAX_KEY || value > store::MAX_VALUE {
        return Err(malformed());
    }
    if rest.len() < key + value {
        return Ok(None);
    }
    let space = Space::from_code(code).ok_or_else(malformed)?;
    let mut record = octets.split_to(9 + key + value).split_off(9);
    let key = record.split_to(key);
    Ok(Some((space, key, record)))
}

/// Takes all records off: each lies within what there was.
pub(super) fn check(octets: &mut Bytes) {
    let mut left = octets.len();
    while let Ok(Some((_, key, value))) = take(octets) {
        left = left.saturating_sub(octets.len());
        assert_eq!(left, 9 + key.len() + value.len());
        left = octets.len();
    }
}

/// Keeps the octets of a snapshot that comes in. Number 0 begins a new one.
pub(super) async fn stage(
    store: &dyn Store,
    turnover: &Turnover,
    number: u64,
    octets: &Bytes,
) -> io::Result<()> {
    // What is still to be put in place must not be replaced.
    let _turn = turnover.newest.lock().await;
    let installing = store.get(Space::RaftState, INSTALLING).await.map_err(io)?;
    if installing.is_some() {
        return Err(io::Error::other("another snapshot is being put in place"));
    }
    if number == 0 {
        clear(store, &Scan::all(Space::RaftStaged)).await?;
    }
    let mut batch = Batch::new();
    for (piece, octets) in (0_u32..).zip(octets.chunks(PIECE)) {
        let key = [&number.to_be_bytes()[..], &piece.to_be_bytes()[..]].concat();
        batch.put(Space::RaftStaged, key, octets.to_vec());
    }
    store.commit(batch).await.map(drop).map_err(io)
}

/// Puts the staged snapshot in place. Who calls has its turn.
pub(super) async fn install(store: &dyn Store, turnover: &Turnover, meta: &SnapshotMeta) -> io::Result<()> {
    let mut batch = Batch::new();
    batch.put(Space::RaftState, INSTALLING, encode(meta)?);
    store.commit(batch).await.map_err(io)?;
    finish(store, turnover).await.map(drop)
}

/// Goes on where [`install`] was broken off; returns whether it was.
pub(super) async fn finish(store: &dyn Store, turnover: &Turnover) -> io::Result<bool> {
    let Some(meta) = store.get(Space::RaftState, INSTALLING).await.map_err(io)? else {
        return Ok(false);
    };
    turnover.begin();
    let meta: SnapshotMeta = decode(&meta)?;
    tracing::info!(position = %meta, "taking in a snapshot of another node");
    for space in Space::ALL.iter().filter(|space| !space.is_local()) {
        clear(store, &Scan::all(*space)).await?;
    }
    let mut octets = Bytes::new();
    let mut batch = Batch::replica();
    let mut after: Option<Bytes> = None;
    loop {
        let mut scan = Scan::all(Space::RaftStaged).limit(32);
        if let Some(after) = &after {
            scan = scan.after(after);
        }
        let rows = store.scan(scan).await.map_err(io)?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        let mut joined = octets.to_vec();
        for (_, piece) in &rows {
            joined.extend_from_slice(piece);
        }
        octets = joined.into();
        while let Some((space, key, value)) = take(&mut octets)? {
            if is_shared(space, &key) {
                batch.put(space, &key, value);
            }
            if batch.bytes() > WRITE {
                store
                    .commit(std::mem::replace(&mut batch, Batch::replica()))
                    .await
                    .map_err(io)?;
            }
        }
    }
    if !octets.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a snapshot was cut short",
        ));
    }
    store.commit(batch).await.map_err(io)?;
    let mut batch = Batch::new();
    match &meta.last_log_id {
        Some(log_id) => batch.put(Space::RaftState, APPLIED, encode(log_id)?),
        None => batch.delete(Space::RaftState, APPLIED),
    };
    batch.put(Space::RaftState, MEMBERSHIP, encode(&meta.last_membership)?);
    batch.delete(Space::RaftState, INSTALLING);
    store.commit(batch).await.map_err(io)?;
    turnover.end();
    clear(store, &Scan::all(Space::RaftStaged)).await?;
    Ok(true)
}

/// Deletes what is the provider's of a space.
async fn clear(store: &dyn Store, scan: &Scan) -> io::Result<()> {
    let mut after: Option<Bytes> = None;
    loop {
        let mut page = scan.clone().limit(PAGE);
        if let Some(after) = &after {
            page = page.after(after);
        }
        let rows = store.scan(page).await.map_err(io)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        after = Some(last.clone());
        let mut batch = Batch::replica();
        for (key, _) in rows
            .iter()
            .filter(|(key, _)| scan.space == Space::RaftStaged || is_shared(scan.space, key))
        {
            batch.delete(scan.space, key);
        }
        store.commit(batch).await.map_err(io)?;
    }
}

/// Some records, and how they go from node to node.
#[cfg(test)]
pub(super) fn sample() -> (Vec<Record>, Vec<u8>) {
    let records = vec![
        Record {
            space: Space::Room,
            key: Bytes::from_static(b"key"),
            value: Bytes::from_static(b"value"),
        },
        Record {
            space: Space::Lease,
            key: Bytes::new(),
            value: Bytes::from(vec![7; 600]),
        },
    ];
    let mut out = Vec::new();
    for record in &records {
        put(&mut out, record);
    }
    (records, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_and_halves_wait() {
        let (records, out) = sample();
        for cut in [1, 8, 9, 14, 20, 26, out.len() - 1] {
            let mut octets = Bytes::copy_from_slice(&out[..cut]);
            while take(&mut octets).unwrap().is_some() {}
            assert!(!octets.is_empty() || cut == 17);
        }
        let mut octets = Bytes::from(out);
        for record in &records {
            let (space, key, value) = take(&mut octets).unwrap().unwrap();
            assert_eq!((space, &key, &value), (record.space, &record.key, &record.value));
        }
        assert!(octets.is_empty());
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused() {
        let mut octets = Bytes::from_static(&[3, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert!(take(&mut octets).is_err());
        let mut octets = Bytes::from_static(&[250, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(take(&mut octets).is_err());
    }
}
