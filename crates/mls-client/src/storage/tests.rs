#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;
use proptest::prelude::*;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn reopen(dir: &Path, passphrase: Option<&Passphrase>) -> Result<Vec<u8>, StorageError> {
    Vault::open(dir, passphrase, Duration::ZERO).map(|(_, content)| content.to_vec())
}

#[test]
fn what_was_saved_last_is_read_back() {
    let dir = dir();
    let vault = Vault::create(dir.path(), None, b"one").unwrap();
    vault.replace(b"two").unwrap();
    drop(vault);
    assert_eq!(reopen(dir.path(), None).unwrap(), b"two");
}

#[test]
fn a_passphrase_is_needed_and_has_to_be_right() {
    let dir = dir();
    let right = Passphrase::new("correct horse");
    drop(Vault::create(dir.path(), Some(&right), b"secret").unwrap());
    assert!(!dir.path().join("key").exists());
    assert_eq!(reopen(dir.path(), Some(&right)).unwrap(), b"secret");
    assert!(matches!(
        reopen(dir.path(), None),
        Err(StorageError::PassphraseNeeded)
    ));
    let wrong = Passphrase::new("battery staple");
    assert!(matches!(
        reopen(dir.path(), Some(&wrong)),
        Err(StorageError::WrongPassphrase)
    ));
    assert!(!format!("{right:?}").contains("horse"));
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = dir();
    let profile = dir.path().join("p");
    let _vault = Vault::create(&profile, None, b"x").unwrap();
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&profile), 0o700);
    assert_eq!(mode(&profile.join("key")), 0o600);
    assert_eq!(mode(&profile.join("state")), 0o600);
}

#[test]
fn one_process_at_a_time() {
    let dir = dir();
    let vault = Vault::create(dir.path(), None, b"x").unwrap();
    assert!(matches!(reopen(dir.path(), None), Err(StorageError::InUse(_))));
    drop(vault);
    assert_eq!(reopen(dir.path(), None).unwrap(), b"x");
}

#[test]
fn a_profile_is_neither_overwritten_nor_imagined() {
    let dir = dir();
    assert!(matches!(reopen(dir.path(), None), Err(StorageError::Missing(_))));
    drop(Vault::create(dir.path(), None, b"x").unwrap());
    assert!(matches!(
        Vault::create(dir.path(), None, b"y"),
        Err(StorageError::Exists(_))
    ));
    assert_eq!(reopen(dir.path(), None).unwrap(), b"x");
}

#[test]
fn a_crash_while_writing_leaves_the_old_state() {
    let dir = dir();
    drop(Vault::create(dir.path(), None, b"old").unwrap());
    fs::write(dir.path().join("state.new"), b"half of").unwrap();
    assert_eq!(reopen(dir.path(), None).unwrap(), b"old");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = dir();
    drop(Vault::create(dir.path(), None, b"x").unwrap());
    let file = dir.path().join("state");
    let mut octets = fs::read(&file).unwrap();
    octets[9] = 2;
    fs::write(&file, octets).unwrap();
    assert!(matches!(
        reopen(dir.path(), None),
        Err(StorageError::NewerFormat {
            found: 2,
            known: 1,
            ..
        })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_sequence_of_saves_reads_back_and_shows_no_plaintext(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 16..400), 1..6)
    ) {
        let dir = dir();
        let vault = Vault::create(dir.path(), None, &contents[0]).unwrap();
        for content in &contents {
            vault.replace(content).unwrap();
            prop_assert_eq!(&vault.read().unwrap()[..], &content[..]);
            let raw = fs::read(dir.path().join("state")).unwrap();
            prop_assert!(!raw.windows(16).any(|w| w == &content[..16]));
        }
        drop(vault);
        prop_assert_eq!(&reopen(dir.path(), None).unwrap(), contents.last().unwrap());
    }

    #[test]
    fn a_damaged_state_is_noticed(at in any::<prop::sample::Index>(), flip in 1..=255u8, cut in any::<bool>()) {
        let dir = dir();
        drop(Vault::create(dir.path(), None, b"some state worth keeping").unwrap());
        let file = dir.path().join("state");
        let mut octets = fs::read(&file).unwrap();
        let at = at.index(octets.len());
        if cut { octets.truncate(at) } else { octets[at] ^= flip }
        fs::write(&file, octets).unwrap();
        let noticed =
            matches!(reopen(dir.path(), None), Err(StorageError::Corrupt { .. } | StorageError::NewerFormat { .. }));
        prop_assert!(noticed);
    }
}
