#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

const SECRET: &[u8; 32] = b"\x01\xff\x80private key of 32 octets\x00\xfe\x7f\x10\x99";

fn found(content: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/file"), content).unwrap();
    let mut audit = Audit::new();
    audit.look_for("the key", SECRET).unwrap();
    audit.look_for("another", b"what nobody ever wrote").unwrap();
    let (findings, searched) = audit.search(&[dir.path().to_owned()]).unwrap();
    assert_eq!((searched.files, searched.octets), (1, content.len() as u64));
    assert!(findings.iter().all(|f| f.label == "the key"));
    !findings.is_empty()
}

fn b64(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

#[test]
fn encodings_hide_nothing() {
    let list = format!("{:?}", SECRET.as_slice());
    let wrapped = b64(SECRET)
        .as_bytes()
        .chunks(10)
        .map(String::from_utf8_lossy)
        .collect::<Vec<_>>()
        .join("\n");
    for (what, text) in [
        ("base64", format!("{{\"k\":\"{}\"}}", b64(SECRET))),
        ("url", format!("k={}&x", URL_SAFE_NO_PAD.encode(SECRET))),
        ("hex", format!("key {}!", hex::encode(SECRET))),
        ("HEX", hex::encode_upper(SECRET)),
        ("odd hex", format!("a{}", hex::encode(SECRET))),
        ("decimals", list.clone()),
        ("decimals without spaces", list.replace(' ', "")),
        ("wrapped", wrapped.clone()),
        ("escaped line breaks", wrapped.replace('\n', "\\n")),
        ("shifted", format!("path/to/it/{}", b64(SECRET))),
        ("twice", b64(b64(SECRET).as_bytes())),
        (
            "hex of JSON of base64",
            hex::encode(format!("{{\"key\":\"{}\"}}", b64(SECRET))),
        ),
        (
            "three layers",
            b64(format!("\"{}\"", b64(format!("<{}>", hex::encode(SECRET)).as_bytes())).as_bytes()),
        ),
        (
            "inside a larger structure",
            b64(&[&[7; 5], SECRET.as_slice(), &[9; 40]].concat()),
        ),
    ] {
        assert!(found(text.as_bytes()), "{what}: {text}");
    }
}

#[test]
fn being_cut_up_hides_nothing() {
    for cut in 1..SECRET.len() {
        let (a, b) = SECRET.split_at(cut);
        assert!(
            found(&[a, b"\x00 next chunk \x00", b].concat()),
            "raw, cut at {cut}"
        );
        let text = b64(SECRET);
        let (a, b) = text.split_at(cut);
        assert!(
            found(format!("{a}\"}}\n{{\"{b}").as_bytes()),
            "base64, cut at {cut}"
        );
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    assert!(!found(b""));
    assert!(!found(&vec![0; 100_000]));
    assert!(!found(
        b64(&(0..=255).cycle().take(5000).collect::<Vec<u8>>()).as_bytes()
    ));
    assert!(!found(&SECRET[..7]));
    let mut audit = Audit::new();
    assert!(audit.look_for("short", b"short").is_err());
}

proptest! {
    #[test]
    fn any_octets_around_it_leave_it_visible(
        before in proptest::collection::vec(any::<u8>(), 0..200),
        after in proptest::collection::vec(any::<u8>(), 0..200),
        way in 0..4,
    ) {
        let whole = [before.as_slice(), SECRET, after.as_slice()].concat();
        let text = match way {
            0 => whole,
            1 => b64(&whole).into_bytes(),
            2 => URL_SAFE_NO_PAD.encode(&whole).into_bytes(),
            _ => hex::encode(&whole).into_bytes(),
        };
        prop_assert!(found(&text));
    }

    #[test]
    fn random_octets_are_no_finding(octets in proptest::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(!found(&octets));
    }
}
