//! The fuzz targets' corpus, replayed on the stable compiler.

#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../../mimi-wire/tests/it/replay.rs"]
mod replay;

use crate::import::exported;
use crate::model::block_on;
use store::{Batch, Guard, OwnerKey, Space};

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

#[test]
fn batch() {
    replay::replay(FUZZ, "batch", checks::batch);
}

#[test]
fn export() {
    replay::replay(FUZZ, "export", checks::export);
}

/// Writes the corpus anew when asked to.
#[test]
fn update() {
    if !replay::updates() {
        return;
    }
    let write = |target: &str, name: &str, input: &[u8]| replay::write(FUZZ, target, name, input);
    let owner = OwnerKey::new("room");
    let guard = Guard {
        owner: owner.clone(),
        lease: 3,
        version: 7,
    };
    for (name, mut batch) in [
        ("plain", Batch::new()),
        ("guarded", Batch::guarded(guard)),
        ("claiming", Batch::claiming(owner)),
    ] {
        batch.expect_absent(Space::Room, "a");
        batch.expect_value_sha256(Space::Room, "b", [7; 32]);
        batch.put(Space::Feed, "key", "value");
        batch.delete(Space::Outbox, "key");
        write("batch", name, &batch.to_bytes());
    }
    let records = [(Space::Room, b"a".to_vec(), b"state".to_vec())];
    block_on(async {
        write("export", "whole", &exported(&records, b"blob").await);
        write("export", "empty", &exported(&[], b"").await);
    });
}
