//! Replays the corpus of a fuzz target on the stable compiler, and writes it.

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

/// Whether the corpus is to be written anew.
pub(crate) fn updates() -> bool {
    std::env::var_os("UPDATE_CORPUS").is_some()
}

/// Writes an input of a target's corpus.
pub(crate) fn write(fuzz: &str, target: &str, name: &str, input: &[u8]) {
    let folder = Path::new(fuzz).join("corpus").join(target);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), input).unwrap();
}
