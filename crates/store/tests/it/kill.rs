//! The process dies at any instant: every acknowledged batch is there, none half.
//!
//! The child is this test binary, run again with one test, `child`, that writes until it is killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use store::{Batch, OwnerKey, Scan, SledStore, Space, Store as _, Verify};

use crate::harness::options;

const DIR: &str = "CAUSEWAY_TEST_KILL_DIR";
const WRITERS: u8 = 6;
/// Every batch of the child writes a record into each of these, under the same key.
const SPACES: [Space; 3] = [Space::Event, Space::Timeline, Space::Outbox];

fn key(writer: u8, number: u32) -> Vec<u8> {
    [&[writer][..], &number.to_be_bytes()].concat()
}

/// Lengths on both sides of every limit, contents that no other record has.
fn value(space: Space, key: &[u8]) -> Vec<u8> {
    let seed = Sha256::digest([&[space.code()], key].concat());
    let length = match seed[0] {
        0..=200 => usize::from(seed[1]),
        201..=230 => 4000 + usize::from(seed[1]),
        _ => 256 * usize::from(seed[1]),
    };
    seed.iter().copied().cycle().take(length).collect()
}

async fn next_number(store: &SledStore, writer: u8) -> u32 {
    let last = store
        .scan(Scan::prefix(Space::Event, [writer]).reverse().limit(1))
        .await
        .unwrap();
    last.first()
        .map_or(0, |(key, _)| u32::from_be_bytes(key[1..].try_into().unwrap()) + 1)
}

/// Not a test of its own: what the others kill.
#[test]
fn child() {
    let Ok(dir) = env::var(DIR) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Arc::new(SledStore::open(options(dir)).await.unwrap());
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(Arc::clone(&store), writer)))
            .collect();
        println!("\nready");
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write(store: Arc<SledStore>, writer: u8) {
    let mut guard = store.acquire(&OwnerKey::new(vec![writer])).await.unwrap();
    for number in next_number(&store, writer).await.. {
        let key = key(writer, number);
        let mut batch = Batch::guarded(guard);
        for space in SPACES {
            batch.put(space, &key, value(space, &key));
        }
        // Also something that is replaced and something that goes.
        batch.put(Space::Room, [writer], value(Space::Room, &key));
        batch
            .delete(Space::Room, self::key(writer, number.wrapping_sub(1)))
            .put(Space::Room, &key, "newest");
        guard = store.commit(batch).await.unwrap().guard.unwrap();
        println!("ack {writer} {number}");
    }
}

/// Runs a child until it dies: by itself at a failpoint, else by us after so many acknowledgements and a moment more.
/// Returns the last number acknowledged to each writer.
fn run_child(
    dir: &Path,
    failpoint: Option<&str>,
    acknowledgements: u32,
    moment: Duration,
) -> BTreeMap<u8, u32> {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["kill::child", "--exact", "--nocapture", "--test-threads=1"]);
    command
        .env(DIR, dir)
        .env_remove("CAUSEWAY_FAILPOINT")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(failpoint) = failpoint {
        command.env("CAUSEWAY_FAILPOINT", failpoint);
    }
    let mut child = command.spawn().unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut left = acknowledgements;
    let mut ready = false;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        ready |= line == "ready";
        let Some((writer, number)) = line.strip_prefix("ack ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        // The last line may be cut off; then it was not said.
        let (Ok(writer), Ok(number)) = (writer.parse(), number.parse()) else {
            continue;
        };
        acknowledged.insert(writer, number);
        left = left.saturating_sub(1);
        if left == 0 && failpoint.is_none() {
            std::thread::sleep(moment);
            // What was printed before the kill is still read.
            let _ = child.kill();
        }
    }
    let status = child.wait().unwrap();
    assert!(ready, "the child never started");
    assert!(!status.success(), "the child was to be killed");
    acknowledged
}

async fn check(dir: &Path, acknowledged: &BTreeMap<u8, u32>) {
    let store = SledStore::open(options(dir)).await.unwrap();
    assert_eq!(store.verify(Verify::Full).await.unwrap().problems, []);
    for writer in 0..WRITERS {
        let mut numbers = Vec::new();
        for space in SPACES {
            let mut found = BTreeSet::new();
            for (key, stored) in store.scan(Scan::prefix(space, [writer])).await.unwrap() {
                assert_eq!(stored, value(space, &key), "{space} {key:?}");
                found.insert(u32::from_be_bytes(key[1..].try_into().unwrap()));
            }
            numbers.push(found);
        }
        let next = next_number(&store, writer).await;
        assert!(numbers[0].iter().copied().eq(0..next), "a gap");
        assert!(numbers.iter().all(|found| *found == numbers[0]), "half a batch");
        if let Some(last) = acknowledged.get(&writer) {
            assert!(next > *last, "writer {writer} was told {last}, {next} are there");
        }
        if let Some(last) = next.checked_sub(1) {
            let newest = store.get(Space::Room, &[writer]).await.unwrap().unwrap();
            assert_eq!(newest, value(Space::Room, &key(writer, last)));
            let names: Vec<_> = store.scan(Scan::prefix(Space::Room, [writer])).await.unwrap();
            assert_eq!(names.len(), 2);
            assert_eq!(names[1].0, key(writer, last));
        }
    }
    store.close().await;
}

/// More of them with `CAUSEWAY_KILL_ROUNDS`; the seed of a run is printed.
fn rounds() -> u32 {
    env::var("CAUSEWAY_KILL_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(6)
}

fn random(seed: u32, round: u32) -> u32 {
    let hash = Sha256::digest([seed.to_be_bytes(), round.to_be_bytes()].concat());
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

fn seed() -> u32 {
    let seed = env::var("CAUSEWAY_KILL_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(std::process::id);
    println!("CAUSEWAY_KILL_SEED={seed}");
    seed
}

#[tokio::test]
async fn killed_at_random_instants() {
    let (dir, seed) = (tempfile::tempdir().unwrap(), seed());
    for round in 0..rounds() {
        let random = random(seed, round);
        let moment = Duration::from_micros(u64::from(random / 200 % 5000));
        let acknowledged = run_child(dir.path(), None, 1 + random % 200, moment);
        check(dir.path(), &acknowledged).await;
    }
}

#[tokio::test]
async fn killed_before_and_after_the_sync() {
    let (dir, seed) = (tempfile::tempdir().unwrap(), seed());
    for round in 0..rounds() {
        let point = if round % 2 == 0 {
            "store.before-sync"
        } else {
            "store.after-sync"
        };
        let failpoint = format!("{point}:{}", 1 + random(seed, round) % 40);
        let acknowledged = run_child(dir.path(), Some(&failpoint), 0, Duration::ZERO);
        check(dir.path(), &acknowledged).await;
    }
}
