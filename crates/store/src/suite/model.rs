//! A store against a plain map: whatever the operations, both show the same.

use std::collections::BTreeMap;

use super::Harness;
use crate::{Batch, Scan, Space, Store, Verify};

/// One step of a test.
#[derive(Clone, Debug)]
pub enum Step {
    /// Commits a batch: puts (`Some` length of the value) and deletes, expecting the first key absent or not.
    Commit {
        /// Keys, by number, and the lengths of their values.
        writes: Vec<(u8, Option<u32>)>,
        /// Expects this key absent.
        absent: Option<u8>,
    },
    /// Scans.
    Scan {
        /// Only keys whose first digit is this.
        prefix: Option<u8>,
        /// Start.
        after: Option<u8>,
        /// Most records.
        limit: u8,
        /// Backwards.
        reverse: bool,
    },
    /// Closes the store and opens it again.
    Reopen,
}

/// Two spaces, and within each a few keys of one to three digits, so that they are prefixes of each other.
fn key(number: u8) -> (Space, Vec<u8>) {
    let space = if number.is_multiple_of(2) {
        Space::Event
    } else {
        Space::Timeline
    };
    (space, (number / 2).to_string().into_bytes())
}

fn value(step: usize, length: u32) -> Vec<u8> {
    let seed = u32::try_from(step % 251).unwrap();
    (0..length)
        .map(|place| u8::try_from((place / 7 + seed) % 256).unwrap())
        .collect()
}

/// Runs the steps on a new store and a map, and compares after each.
pub async fn run(harness: &impl Harness, steps: &[Step]) {
    let mut store = harness.create().await;
    let mut model: BTreeMap<(Space, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Commit { writes, absent } => {
                let mut batch = Batch::new();
                let mut after = model.clone();
                for (number_of_key, length) in writes {
                    let (space, key) = key(*number_of_key);
                    if let Some(length) = length {
                        let value = value(number, *length);
                        batch.put(space, &key, value.clone());
                        after.insert((space, key), value);
                    } else {
                        batch.delete(space, &key);
                        after.remove(&(space, key));
                    }
                }
                let mut refused = false;
                if let Some(absent) = absent {
                    let (space, key) = key(*absent);
                    batch.expect_absent(space, &key);
                    refused = model.contains_key(&(space, key));
                }
                assert_eq!(store.commit(batch).await.is_err(), refused);
                if !refused {
                    model = after;
                }
            }
            Step::Scan {
                prefix,
                after,
                limit,
                reverse,
            } => {
                for space in [Space::Event, Space::Timeline] {
                    let prefix = prefix.map(|digit| (digit % 10).to_string()).unwrap_or_default();
                    let mut scan = Scan::prefix(space, &prefix).limit(usize::from(*limit));
                    scan.reverse = *reverse;
                    let start = after.map(|number| key(number).1);
                    scan.after = start.clone().map(Into::into);
                    let mut expected: Vec<(Vec<u8>, Vec<u8>)> = model
                        .iter()
                        .filter(|((of, key), _)| *of == space && key.starts_with(prefix.as_bytes()))
                        .filter(|((_, key), _)| {
                            start
                                .as_ref()
                                .is_none_or(|start| if *reverse { key < start } else { key > start })
                        })
                        .map(|((_, key), value)| (key.clone(), value.clone()))
                        .collect();
                    if *reverse {
                        expected.reverse();
                    }
                    expected.truncate(usize::from(*limit));
                    let found: Vec<(Vec<u8>, Vec<u8>)> = store
                        .scan(scan)
                        .await
                        .unwrap()
                        .into_iter()
                        .map(|(key, value)| (key.to_vec(), value.to_vec()))
                        .collect();
                    assert_eq!(found, expected);
                }
            }
            Step::Reopen => store = harness.reopen(store).await,
        }
    }
    let stats = store.stats().await.unwrap();
    let bytes: usize = model
        .iter()
        .map(|((_, key), value)| key.len() + value.len())
        .sum();
    assert_eq!(
        (stats.records(), stats.bytes()),
        (model.len() as u64, bytes as u64)
    );
    for ((space, key), value) in model {
        assert_eq!(store.get(space, &key).await.unwrap().unwrap(), value);
    }
    assert_eq!(store.verify(Verify::Full).await.unwrap().problems, []);
}
