//! How the suite gets its stores.

use std::{path::PathBuf, sync::Mutex, time::Duration};

use store::{MemoryStore, SledOptions, SledStore, sim::SimStore, suite::Harness};
use tempfile::TempDir;

pub(crate) struct Memory;

impl Harness for Memory {
    type Store = MemoryStore;

    async fn create(&self) -> MemoryStore {
        MemoryStore::new()
    }

    async fn reopen(&self, store: MemoryStore) -> MemoryStore {
        store
    }
}

/// A simulated disk; what was not synced is lost when it is opened again.
pub(crate) struct Sim;

impl Harness for Sim {
    type Store = SimStore;

    async fn create(&self) -> SimStore {
        SimStore::create(Duration::from_micros(100)).await
    }

    async fn reopen(&self, store: SimStore) -> SimStore {
        store.crash(0);
        store.reopen().await
    }
}

/// Stores on sled in a temporary directory, gone with the harness.
pub(crate) struct Sled {
    dir: TempDir,
    /// How many there are; the last created is the one to reopen.
    created: Mutex<u32>,
}

impl Sled {
    pub(crate) fn new() -> Sled {
        Sled {
            dir: tempfile::tempdir().unwrap(),
            created: Mutex::new(0),
        }
    }
}

pub(crate) fn options(path: impl Into<PathBuf>) -> SledOptions {
    let mut options = SledOptions::new(path);
    options.cache_bytes = 8 * 1024 * 1024;
    options
}

impl Harness for Sled {
    type Store = SledStore;

    async fn create(&self) -> SledStore {
        let number = {
            let mut created = self.created.lock().unwrap();
            *created += 1;
            *created
        };
        SledStore::open(options(self.dir.path().join(number.to_string())))
            .await
            .unwrap()
    }

    async fn reopen(&self, store: SledStore) -> SledStore {
        let path = store.path().to_owned();
        store.close().await;
        SledStore::open(options(path)).await.unwrap()
    }
}
