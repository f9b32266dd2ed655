//! Replays the fuzz corpus on stable, and every prefix and one-octet change of its short entries.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        run(&bytes);
        seen += 1;
        for cut in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
            run(&bytes[..cut]);
            let mut changed = bytes.clone();
            changed[cut] = changed[cut].wrapping_add(u8::try_from(cut % 251).unwrap()) ^ 1;
            run(&changed);
        }
    }
    assert!(seen > 0, "no corpus for {target}");
}

#[test]
fn canonical_json() {
    replay("canonical_json", targets::canonical_json);
}

#[test]
fn pdu() {
    replay("pdu", targets::pdu);
}

#[test]
fn receipt() {
    replay("receipt", targets::receipt);
}

#[test]
fn resolver() {
    replay("resolver", targets::resolver);
}
