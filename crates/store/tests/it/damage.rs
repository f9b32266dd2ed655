//! Files of a store altered behind its back: refused or reported, never silent.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use store::{Batch, Record, SledStore, Snapshot, Space, Store, Verify};

use crate::harness::options;

/// A closed store with records of all sizes, and what is in it.
async fn filled(dir: &Path) -> Vec<Record> {
    let store = SledStore::open(options(dir)).await.unwrap();
    for number in 0_u32..250 {
        let mut batch = Batch::new();
        let length = [50, 500, 3000, 9000, 40_000][number as usize % 5];
        batch.put(
            Space::Event,
            number.to_be_bytes(),
            vec![u8::try_from(number).unwrap(); length],
        );
        batch.put(Space::Room, "room", number.to_be_bytes().to_vec());
        batch.put(Space::Outbox, number.to_be_bytes(), "entry");
        if number > 20 {
            batch.delete(Space::Outbox, (number - 20).to_be_bytes());
        }
        store.commit(batch).await.unwrap();
    }
    store.blob_put(vec![5; 100_000].into()).await.unwrap();
    let all = records(&store).await.unwrap();
    store.close().await;
    all
}

async fn records(store: &SledStore) -> Result<Vec<Record>, store::StoreError> {
    let mut snapshot: Box<dyn Snapshot> = store.snapshot().await?;
    let mut found = Vec::new();
    loop {
        let page = snapshot.next(1000).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    Reported,
    Harmless,
    Silent,
}

/// Opens an altered store and looks at everything in it.
async fn look(dir: &Path, expected: &[Record]) -> Outcome {
    let Ok(store) = SledStore::open(options(dir)).await else {
        return Outcome::Refused;
    };
    let clean = store
        .verify(Verify::Full)
        .await
        .is_ok_and(|report| report.is_clean());
    let blobs = store.stats().await.is_ok_and(|stats| stats.blobs == 1);
    let outcome = match records(&store).await {
        _ if !clean => Outcome::Reported,
        Err(_) => Outcome::Reported,
        Ok(found) if found == expected && blobs => Outcome::Harmless,
        Ok(_) => Outcome::Silent,
    };
    store.close().await;
    outcome
}

/// Places of a file worth altering: not in the zeroes a file is filled up with.
fn places(content: &[u8], count: usize, seed: &str) -> Vec<usize> {
    let filled: Vec<usize> = (0..content.len()).filter(|place| content[*place] != 0).collect();
    (0..count.min(filled.len()))
        .map(|number| {
            let hash = Sha256::digest(format!("{seed} {number}"));
            filled[usize::try_from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])).unwrap()
                % filled.len()]
        })
        .collect()
}

#[tokio::test]
async fn a_flipped_byte_never_goes_unnoticed() {
    let count = std::env::var("CAUSEWAY_FLIPS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8);
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good");
    let expected = filled(&good).await;
    let mut noticed = 0;
    for file in files(&good) {
        let name = file.strip_prefix(&good).unwrap();
        let content = fs::read(&file).unwrap();
        for place in places(&content, count, &name.display().to_string()) {
            let bad = dir.path().join("bad");
            copy(&good, &bad);
            let mut altered = content.clone();
            altered[place] ^= 0x10;
            fs::write(bad.join(name), altered).unwrap();
            let outcome = look(&bad, &expected).await;
            println!("{} byte {place}: {outcome:?}", name.display());
            assert_ne!(outcome, Outcome::Silent, "{} byte {place}", name.display());
            noticed += u32::from(outcome != Outcome::Harmless);
            fs::remove_dir_all(&bad).unwrap();
        }
    }
    assert!(noticed > 0);
}
