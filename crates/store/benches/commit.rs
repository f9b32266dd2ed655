//! What a durable batch costs: alone, 64 at a time, and beside what the disk's sync alone costs.
//!
//! `cargo bench --profile ci -p store`. Each batch is what one accepted message writes: an event of 1.2 KB, three index
//! records, an outbox entry and the owner's version. Where it runs matters: set `TMPDIR` to the disk to be measured.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use store::{Batch, Guard, MemoryStore, OwnerKey, SledOptions, SledStore, Space, Store};
use tokio::runtime::Runtime;

fn message(guard: Guard, number: u64) -> Batch {
    let position = [guard.owner.as_bytes(), &number.to_be_bytes()].concat();
    let mut id = [0; 32];
    for (place, byte) in id.iter_mut().zip(
        number
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_be_bytes()
            .iter()
            .cycle(),
    ) {
        *place = *byte;
    }
    id[8..16].copy_from_slice(&number.to_be_bytes());
    let mut batch = Batch::guarded(guard);
    batch
        .put(Space::Event, [&position[..], &id].concat(), vec![7; 1200])
        .put(Space::Timeline, &position, id.to_vec())
        .put(Space::Feed, &position, id.to_vec())
        .put(Space::Outcome, id, "accepted")
        .put(Space::Outbox, &position, id.to_vec());
    batch
}

/// One owner at work: commits so many batches, one after the other.
async fn write(store: &impl Store, guard: &mut Guard, batches: u64) {
    for _ in 0..batches {
        let number = guard.version;
        *guard = store
            .commit(message(guard.clone(), number))
            .await
            .unwrap()
            .guard
            .unwrap();
    }
}

async fn acquire(store: &impl Store, owners: u8) -> Vec<Guard> {
    let mut guards = Vec::new();
    for owner in 0..owners {
        guards.push(store.acquire(&OwnerKey::new(vec![owner])).await.unwrap());
    }
    guards
}

fn committers<S: Store>(
    criterion: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    store: &Arc<S>,
    owners: u8,
) {
    let mut guards = runtime.block_on(acquire(&**store, owners));
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(u64::from(owners)));
    group.bench_function(format!("{name}, {owners} at a time"), |bencher| {
        bencher.iter_custom(|rounds| {
            let started = Instant::now();
            let tasks = guards.drain(..).map(|mut guard| {
                let store = Arc::clone(store);
                tokio::spawn(async move {
                    write(&*store, &mut guard, rounds).await;
                    guard
                })
            });
            guards =
                runtime.block_on(async { join_all(tasks).await.into_iter().map(Result::unwrap).collect() });
            started.elapsed()
        });
    });
    group.finish();
}

fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let dir = tempfile::tempdir().unwrap();

    let mut file = File::create(dir.path().join("file")).unwrap();
    file.write_all(&vec![0; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    criterion
        .benchmark_group("sync alone")
        .throughput(Throughput::Elements(1))
        .bench_function("4 KiB", |bencher| {
            bencher.iter(|| {
                file.rewind().unwrap();
                file.write_all(&[1; 4096]).unwrap();
                file.sync_data().unwrap();
            });
        });

    committers(criterion, &runtime, "memory", &Arc::new(MemoryStore::new()), 1);
    let store = Arc::new(
        runtime
            .block_on(SledStore::open(SledOptions::new(dir.path().join("store"))))
            .unwrap(),
    );
    for owners in [1, 64] {
        committers(criterion, &runtime, "sled", &store, owners);
    }
    let stats = runtime.block_on(store.stats()).unwrap();
    let per_group =
        Duration::from_nanos(u64::try_from(stats.sync_time.as_nanos()).unwrap() / stats.groups.max(1));
    println!(
        "{} batches in {} groups; a sync took {per_group:?} on average, {:?} at most; {} bytes on disk for {}",
        stats.batches,
        stats.groups,
        stats.sync_max,
        stats.disk_bytes,
        stats.bytes(),
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(8)).warm_up_time(Duration::from_secs(1)).without_plots();
    targets = bench
}
criterion_main!(benches);
