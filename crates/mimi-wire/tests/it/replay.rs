//! Replays the corpus of a fuzz target on the stable compiler.

use std::path::Path;

/// Checks every input of a target's corpus, and what lies near it. `fuzz` is the crate's folder of that name.
pub(crate) fn replay(fuzz: &str, target: &str, check: fn(&[u8])) {
    let folder = Path::new(fuzz).join("corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        let bytes = std::fs::read(&input).unwrap();
        check(&bytes);
        for cut in 0..bytes.len().min(512) {
            check(&bytes[..cut]);
            let mut changed = bytes.clone();
            changed[cut] = changed[cut].wrapping_add(1);
            check(&changed);
        }
    }
}
