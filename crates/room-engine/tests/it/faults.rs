//! A store that fails at any write: nothing acknowledged is lost, nothing is done twice.

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use store::{Batch, Committed, Guard, MemoryStore, OwnerKey, Scan, Space, Store as _, StoreError};

use crate::hooked::{Hook, Hooked};
use crate::world::{A, B, World, uri};

/// So many of a hundred commits fail, scattered; about half of those have been written all the same, as when the answer
/// of a store is lost.
#[derive(Default)]
pub(crate) struct Failing {
    commits: AtomicU32,
    pub(crate) percent: AtomicU32,
    /// So many reads and claims of an owner from now one is asked to be patient; none if 0.
    patience: AtomicU32,
}

impl Failing {
    /// Commits that were asked for so far.
    pub(crate) fn commits(&self) -> u32 {
        self.commits.load(Ordering::Relaxed)
    }

    fn ask(&self) -> Result<(), StoreError> {
        let left = self
            .patience
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left != Ok(1) {
            return Ok(());
        }
        Err(StoreError::Unavailable {
            retry_after: Duration::ZERO,
            why: "injected".into(),
        })
    }
}

fn fault() -> StoreError {
    StoreError::Io {
        what: "commit",
        path: "memory".into(),
        source: Arc::new(std::io::Error::other("injected")),
    }
}

#[async_trait]
impl Hook for Failing {
    async fn acquire(&self, store: &MemoryStore, owner: &OwnerKey) -> Result<Guard, StoreError> {
        self.ask()?;
        store.acquire(owner).await
    }
    async fn get(&self, store: &MemoryStore, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.ask()?;
        store.get(space, key).await
    }
    async fn scan(&self, store: &MemoryStore, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.ask()?;
        store.scan(scan).await
    }
    async fn commit(&self, store: &MemoryStore, batch: Batch) -> Result<Committed, StoreError> {
        let count = self.commits.fetch_add(1, Ordering::Relaxed);
        let scattered = count.wrapping_mul(2_654_435_761) >> 16;
        if scattered % 100 >= self.percent.load(Ordering::Relaxed) {
            return store.commit(batch).await;
        }
        if (scattered >> 8).is_multiple_of(2) {
            store.commit(batch).await?;
        }
        Err(fault())
    }
}

pub(crate) fn failing() -> Arc<Hooked<Failing>> {
    Arc::default()
}

#[tokio::test]
async fn a_failing_store_loses_and_doubles_nothing() {
    for percent in [10, 30, 50] {
        let (store_a, store_b) = (failing(), failing());
        let world = World::on(vec![(A, store_a.clone()), (B, store_b.clone())]).await;
        let (mut alice, _) = world.user(A, "alice").await;
        let (mut bob, _) = world.user(B, "bob").await;
        let room = alice.client.create("Faults").await.unwrap();
        alice
            .client
            .add(&room, &[uri("mimi://b.example/u/bob")])
            .await
            .unwrap();
        world.quiet().await;
        bob.client.sync().await.unwrap();
        store_a.percent.store(percent, Ordering::Relaxed);
        store_b.percent.store(percent, Ordering::Relaxed);
        let mut texts = Vec::new();
        for index in 0..12 {
            // Either is told that it failed and tries again under the same id.
            let text = format!("{index}");
            if index % 2 == 0 {
                alice.insist(&room, &text).await;
            } else {
                bob.insist(&room, &text).await;
            }
            texts.push(text);
        }
        store_a.percent.store(0, Ordering::Relaxed);
        store_b.percent.store(0, Ordering::Relaxed);
        world.quiet().await;
        for person in [&mut alice, &mut bob] {
            let mut seen: Vec<String> = person
                .texts(&room)
                .await
                .into_iter()
                .map(|(_, text)| text)
                .collect();
            seen.sort_by_key(|text| text.parse::<u32>().unwrap());
            assert_eq!(seen, texts, "{percent} of 100 commits fail");
        }
    }
}

/// A store of several nodes asks for patience while it is replaced and while it has no majority, and may do so in the
/// middle of a command.
#[tokio::test]
async fn an_update_that_the_store_puts_off_leaves_nothing_behind() {
    for nth in 1.. {
        let store = failing();
        let world = World::on(vec![(A, store.clone()), (B, Arc::new(MemoryStore::new()))]).await;
        let (mut alice, _) = world.user(A, "alice").await;
        let room = alice.client.create("Reads").await.unwrap();
        alice.say(&room, "first").await;
        // Who decides for the room now has not written yet: it decides, takes the right to write, and decides again.
        world.restart(A).await;
        store.patience.store(nth, Ordering::Relaxed);
        let _ = alice.client.renew_keys(&room).await;
        let happened = store.patience.swap(0, Ordering::Relaxed) == 0;
        // An owner that nobody asks for a minute forgets everything: that must not be what helps.
        let heals = async {
            alice.client.sync().await.unwrap();
            alice.insist(&room, "second").await;
        };
        let healed = tokio::time::timeout(Duration::from_secs(30), heals).await;
        assert!(
            healed.is_ok(),
            "ask {nth}: the room refuses what belongs to its epoch"
        );
        let view = world.engine(A).room(&uri(&room)).await.unwrap().unwrap();
        let epoch = alice.client.engine().epoch(&room).unwrap();
        assert_eq!(epoch, Some(view.epoch), "ask {nth}");
        if !happened {
            return;
        }
    }
}
