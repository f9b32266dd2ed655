//! What can only be tested from inside: instants between two steps, failing syncs, other formats, damaged records.

mod damaged;
mod directory;
mod durable;
mod formats;

use std::path::Path;

use super::{SledOptions, SledStore};
use crate::{Batch, Space, Store as _, StoreError};

fn options(path: &Path) -> SledOptions {
    SledOptions {
        cache_bytes: 8 * 1024 * 1024,
        ..SledOptions::new(path)
    }
}

async fn open(path: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(options(path)).await
}

async fn put(store: &SledStore, key: &str, value: &str) {
    let mut batch = Batch::new();
    batch.put(Space::Room, key, value.to_owned());
    store.commit(batch).await.unwrap();
}

async fn get(store: &SledStore, key: &str) -> Option<String> {
    let value = store.get(Space::Room, key.as_bytes()).await.unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}
