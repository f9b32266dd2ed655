//! The log alone, hard pressed: what the engine's workers and senders do with a store, on records of a few octets.
//!
//! Judge on what is in memory from the term, write under the owner's guard, drop the memory after any failure; deliver
//! what is in the outbox, then forget it.

use super::trouble::Trouble;
use crate::net::Weather;
use crate::world::World;
use bytes::Bytes;
use lane::{Cluster, ReplicatedStore, seed_elections};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use room_engine::Sequencer as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Batch, Guard, OwnerKey, Scan, Space, Store as _, StoreError};
use tokio::task::JoinHandle;

const ROOMS: u64 = 4;
const PACKAGES: u64 = 60;

/// What clients and destinations saw.
#[derive(Default)]
struct History {
    /// Commits that were acknowledged: room and epoch to id.
    accepted: BTreeMap<(u64, u64), Vec<u64>>,
    /// KeyPackages that were given out, to whom.
    given: BTreeMap<Vec<u8>, Vec<u64>>,
    /// What the destination took in: room and position to what it got under them, repetitions of the same left out.
    delivered: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    ids: u64,
}

type Shared = Arc<Mutex<History>>;

/// What a worker keeps of a room.
struct Memory {
    term: u64,
    guard: Guard,
    epoch: u64,
}

async fn number(store: &ReplicatedStore, space: Space, key: &[u8]) -> Result<u64, StoreError> {
    let value = store.get(space, key).await?;
    Ok(value.map_or(0, |value| u64::from_be_bytes(value.as_ref().try_into().unwrap())))
}

async fn commit_of_a_room(
    cluster: &Cluster,
    store: &ReplicatedStore,
    history: &Shared,
    kept: &mut BTreeMap<u64, Memory>,
    room: u64,
) -> Result<(), StoreError> {
    let term = cluster.term()?;
    let memory = match kept.remove(&room).filter(|memory| memory.term == term) {
        Some(memory) => memory,
        None => {
            cluster.confirm(term).await?;
            let guard = store.acquire(&OwnerKey::new(format!("room:{room}"))).await?;
            let epoch = number(store, Space::Room, &room.to_be_bytes()).await?;
            Memory { term, guard, epoch }
        }
    };
    let id = {
        let mut history = history.lock().unwrap();
        history.ids += 1;
        history.ids
    };
    let epoch = memory.epoch + 1;
    let place = [room.to_be_bytes(), epoch.to_be_bytes()].concat();
    let mut batch = Batch::guarded(memory.guard);
    batch
        .put(Space::Room, room.to_be_bytes(), epoch.to_be_bytes().to_vec())
        .put(Space::Handshake, &place, id.to_be_bytes().to_vec())
        .put(Space::Outbox, &place, id.to_be_bytes().to_vec());
    let committed = store.commit(batch).await?;
    history
        .lock()
        .unwrap()
        .accepted
        .entry((room, epoch))
        .or_default()
        .push(id);
    if let Some(guard) = committed.guard {
        kept.insert(room, Memory { term, guard, epoch });
    }
    Ok(())
}

/// Gives out the first KeyPackage of the stock.
async fn claim(cluster: &Cluster, store: &ReplicatedStore, history: &Shared) -> Result<(), StoreError> {
    let term = cluster.term()?;
    cluster.confirm(term).await?;
    let guard = store.acquire(&OwnerKey::new("user")).await?;
    let stock = store.scan(Scan::all(Space::KeyPackage).limit(1)).await?;
    let Some((package, _)) = stock.first() else {
        return Ok(());
    };
    let id = {
        let mut history = history.lock().unwrap();
        history.ids += 1;
        history.ids
    };
    let mut batch = Batch::guarded(guard);
    batch.delete(Space::KeyPackage, package);
    batch.put(Space::KeyPackageRef, package, id.to_be_bytes().to_vec());
    store.commit(batch).await?;
    history
        .lock()
        .unwrap()
        .given
        .entry(package.to_vec())
        .or_default()
        .push(id);
    Ok(())
}

/// Delivers what waits, then forgets it.
async fn send(cluster: &Cluster, store: &ReplicatedStore, history: &Shared) -> Result<usize, StoreError> {
    let term = cluster.term()?;
    cluster.confirm(term).await?;
    let rows = store.scan(Scan::all(Space::Outbox).limit(8)).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    for (place, octets) in &rows {
        let mut history = history.lock().unwrap();
        history
            .delivered
            .entry(place.to_vec())
            .or_default()
            .insert(octets.to_vec());
    }
    let guard = store.acquire(&OwnerKey::new("destination")).await?;
    let mut batch = Batch::guarded(guard);
    for (place, _) in &rows {
        batch.delete(Space::Outbox, place);
    }
    store.commit(batch).await?;
    Ok(rows.len())
}

/// What runs on one node in one life.
fn work(cluster: Cluster, store: ReplicatedStore, history: Shared, seed: u64) -> Vec<JoinHandle<()>> {
    let pause = |rng: &mut SmallRng| Duration::from_millis(rng.random_range(5..400));
    let mut tasks = Vec::new();
    for task in 0..3_u64 {
        let (cluster, store, history) = (cluster.clone(), store.clone(), history.clone());
        tasks.push(tokio::spawn(async move {
            let mut rng = SmallRng::seed_from_u64(seed ^ (task << 32));
            let mut kept = BTreeMap::new();
            loop {
                tokio::time::sleep(pause(&mut rng)).await;
                let _ = match task {
                    0 => {
                        let room = rng.random_range(0..ROOMS);
                        commit_of_a_room(&cluster, &store, &history, &mut kept, room).await
                    }
                    1 => claim(&cluster, &store, &history).await,
                    _ => send(&cluster, &store, &history).await.map(drop),
                };
            }
        }));
    }
    tasks
}

/// Tells a story; returns the records at its end.
pub(super) async fn story(seed: u64) -> BTreeMap<(u8, Vec<u8>), Vec<u8>> {
    seed_elections(seed);
    let mut rng = SmallRng::seed_from_u64(seed);
    let count = [3, 3, 3, 5, 5, 7][rng.random_range(0..6)];
    let mut world = World::new(seed, count).await;
    let history: Shared = Arc::default();
    let first = world.leader().await;
    let (_, store) = world.store(first).unwrap();
    let mut batch = Batch::new();
    for package in 0..PACKAGES {
        batch.put(
            Space::KeyPackage,
            package.to_be_bytes(),
            Bytes::from_static(b"package"),
        );
    }
    store.commit(batch).await.unwrap();

    let mut running: Vec<Vec<JoinHandle<()>>> = Vec::new();
    for at in 0..count {
        let (cluster, store) = world.store(at).unwrap();
        running.push(work(cluster, store, history.clone(), rng.random()));
    }
    let mut trouble = Trouble::new(rng, count);
    while trouble.goes_on() {
        let happened = trouble
            .next(&mut world, |at| {
                running[at].drain(..).for_each(|task| task.abort());
            })
            .await;
        for at in happened.started {
            let (cluster, store) = world.store(at).unwrap();
            running[at] = work(cluster, store, history.clone(), trouble.rng.random());
        }
    }

    // Healed: all run, all reach each other, all have room.
    world.net.heal();
    world.net.weather(Weather::FAIR);
    for at in 0..count {
        world.nodes[at].disk.fill(None);
        if world.nodes[at].cluster.is_none() {
            world.start(at).await;
        }
        running[at].drain(..).for_each(|task| task.abort());
    }
    loop {
        let at = world.leader().await;
        let (cluster, store) = world.store(at).unwrap();
        match send(&cluster, &store, &history).await {
            Ok(0) => break,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    let records = world.converged().await;
    check(&history.lock().unwrap(), &records);
    for node in &world.nodes {
        if let Some(cluster) = &node.cluster {
            cluster.stop().await;
        }
    }
    records
}

fn check(history: &History, records: &BTreeMap<(u8, Vec<u8>), Vec<u8>>) {
    // One accepted commit per room and epoch, and none that was acknowledged is lost.
    for ((room, epoch), ids) in &history.accepted {
        assert_eq!(ids.len(), 1, "room {room} epoch {epoch} was accepted twice");
        let place = [room.to_be_bytes(), epoch.to_be_bytes()].concat();
        let stored = records.get(&(Space::Handshake.code(), place.clone()));
        assert_eq!(
            stored,
            Some(&ids[0].to_be_bytes().to_vec()),
            "room {room} epoch {epoch}"
        );
        assert!(
            history.delivered.contains_key(&place),
            "room {room} epoch {epoch} never left"
        );
    }
    // What left was final, and the same each time it left.
    for (place, octets) in &history.delivered {
        assert_eq!(octets.len(), 1, "{place:?} left twice, differing");
        let stored = records.get(&(Space::Handshake.code(), place.clone()));
        assert_eq!(stored, octets.first(), "{place:?} left before it was final");
    }
    // No KeyPackage twice; none lost.
    for (package, ids) in &history.given {
        assert_eq!(ids.len(), 1, "a KeyPackage was given twice");
        let stored = records.get(&(Space::KeyPackageRef.code(), package.clone()));
        assert_eq!(stored, Some(&ids[0].to_be_bytes().to_vec()));
    }
    let of = |space: Space| records.keys().filter(|(code, _)| *code == space.code()).count() as u64;
    assert_eq!(of(Space::KeyPackage) + of(Space::KeyPackageRef), PACKAGES);
}
