//! Newer formats are refused, older ones migrated.

use std::{fs, path::Path};

use super::{get, open, options, put};
use crate::{
    Space, Store as _, StoreError, Verify, key,
    sled_store::{
        SledStore,
        layout::Migration,
        system::System,
        table::{Change, Table, Undo},
    },
};

/// A migration like a real one: rewrites every record of a space.
fn shout(table: &Table) -> Result<(), StoreError> {
    let mut system = System::decode(&table.system()?.unwrap())?;
    let none = Undo::new();
    for (raw, value) in table.walk(&none, key::everything(), false) {
        let before = value?;
        if key::split(&raw).0 == Some(Space::Room) && !before.ends_with(b"!") {
            let after = [&before[..], b"!"].concat().into();
            system.count(&raw, Some(before.len()), Some(before.len() + 1));
            let change = Change {
                raw: &raw,
                before: Some(&before),
                after: Some(&after),
            };
            table.apply([change].into_iter(), &system.encode())?;
        }
    }
    Ok(())
}

/// Dies after half of its work.
fn shout_once(table: &Table) -> Result<(), StoreError> {
    let mut system = System::decode(&table.system()?.unwrap())?;
    let raw = key::raw(Space::Room, b"a");
    let before = table.read(&raw)?.unwrap();
    let after = [&before[..], b"!"].concat().into();
    system.count(&raw, Some(before.len()), Some(before.len() + 1));
    table.apply(
        [Change {
            raw: &raw,
            before: Some(&before),
            after: Some(&after),
        }]
        .into_iter(),
        &system.encode(),
    )?;
    Err(StoreError::damaged("died"))
}

async fn open_as(
    path: &Path,
    format: u32,
    migrations: &'static [(u32, Migration)],
) -> Result<SledStore, StoreError> {
    let options = options(path);
    tokio::task::spawn_blocking(move || SledStore::open_as(&options, format, migrations))
        .await
        .unwrap()
}

async fn old_store(path: &Path) {
    let store = open_as(path, 1, &[]).await.unwrap();
    put(&store, "a", "one").await;
    put(&store, "b", "two").await;
    store.close().await;
}

#[tokio::test]
async fn an_older_store_is_migrated_step_by_step_and_once() {
    let dir = tempfile::tempdir().unwrap();
    old_store(dir.path()).await;
    let migrations: &[(u32, Migration)] = &[(2, |_| Ok(())), (1, shout)];
    for _ in 0..2 {
        let store = open_as(dir.path(), 3, migrations).await.unwrap();
        assert_eq!(get(&store, "a").await.as_deref(), Some("one!"));
        assert_eq!(get(&store, "b").await.as_deref(), Some("two!"));
        assert_eq!(store.verify(Verify::Full).await.unwrap().problems, []);
        store.close().await;
    }
    // And there is no way back.
    match open_as(dir.path(), 2, &[]).await {
        Err(StoreError::NewerFormat {
            found: 3,
            supported: 2,
        }) => {}
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[tokio::test]
async fn a_store_of_the_first_format_opens() {
    let dir = tempfile::tempdir().unwrap();
    old_store(dir.path()).await;
    let store = open(dir.path()).await.unwrap();
    assert_eq!(get(&store, "a").await.as_deref(), Some("one"));
    assert_eq!(store.stats().await.unwrap().format, SledStore::FORMAT);
}

#[tokio::test]
async fn a_migration_that_was_broken_off_is_run_again() {
    let dir = tempfile::tempdir().unwrap();
    old_store(dir.path()).await;
    assert!(open_as(dir.path(), 2, &[(1, shout_once)]).await.is_err());
    let store = open_as(dir.path(), 2, &[(1, shout)]).await.unwrap();
    assert_eq!(get(&store, "a").await.as_deref(), Some("one!"));
    assert_eq!(get(&store, "b").await.as_deref(), Some("two!"));
}

#[tokio::test]
async fn a_format_without_a_way_to_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    old_store(dir.path()).await;
    assert!(open_as(dir.path(), 3, &[(2, |_| Ok(()))]).await.is_err());
    // Nothing was changed by the attempt.
    let store = open_as(dir.path(), 1, &[]).await.unwrap();
    assert_eq!(get(&store, "a").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn a_newer_store_is_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    old_store(dir.path()).await;
    fs::write(dir.path().join("FORMAT"), "causeway-store 99\n").unwrap();
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    assert!(matches!(
        open(dir.path()).await,
        Err(StoreError::NewerFormat {
            found: 99,
            supported: SledStore::FORMAT
        })
    ));
    assert!(!dir.path().join("sled").exists());
}
