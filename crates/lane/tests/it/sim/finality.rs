//! What is final at this moment, whatever the nodes take it to be: what most of their disks have synced.

use crate::world::Disks;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use std::collections::BTreeSet;
use std::sync::Mutex;
use store::sim::SimStore;
use store::{Scan, Space, Store as _, StoreError};

/// Records of a log among which one is looked for that was not applied yet.
const NEWEST: usize = 400;

pub(super) struct Finality {
    disks: Disks,
    /// How many disks are a majority of the smallest number of nodes that there was.
    majority: usize,
    /// What was final once.
    known: Mutex<BTreeSet<Vec<u8>>>,
}

impl Finality {
    pub(super) fn new(disks: Disks, members: usize) -> Self {
        Self {
            disks,
            majority: members / 2 + 1,
            known: Mutex::default(),
        }
    }

    /// Whether a commit can't be lost any more.
    pub(super) fn of(&self, commit: &[u8]) -> bool {
        let mut known = self.known.lock().unwrap();
        if known.contains(commit) {
            return true;
        }
        let text = STANDARD_NO_PAD.encode(commit);
        let disks = self.disks.lock().unwrap();
        let there = disks.values().filter(|disk| has(disk, &text).unwrap_or(false));
        let is = there.count() >= self.majority;
        if is {
            known.insert(commit.to_vec());
        }
        is
    }

    /// Whether a commit was found to be final before.
    pub(super) fn knew(&self, commit: &[u8]) -> bool {
        self.known.lock().unwrap().contains(commit)
    }
}

/// A disk that is read at once, as the simulated ones are.
fn at_once<T>(read: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    read.now_or_never()?.ok()
}

/// Whether a disk has a handshake: applied, or in the log.
fn has(disk: &SimStore, text: &str) -> Option<bool> {
    for (_, id) in at_once(disk.scan(Scan::all(Space::Handshake).reverse()))? {
        let id: String = serde_json::from_slice(&id).unwrap();
        let event = at_once(disk.get(Space::Event, id.as_bytes()))??;
        if std::str::from_utf8(&event).unwrap().contains(text) {
            return Some(true);
        }
    }
    // The parts of an entry follow each other.
    let newest = at_once(disk.scan(Scan::all(Space::RaftLog).reverse().limit(NEWEST)))?;
    let newest: Vec<Bytes> = newest.into_iter().rev().map(|(_, part)| part).collect();
    Some(String::from_utf8_lossy(&newest.concat()).contains(text))
}
