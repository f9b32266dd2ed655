//! Snapshots. That each step survives a restart is checked by `Room` after every change.

use crate::client::{COMPONENTS, Plan, TestClient};
use crate::room::{Room, add};
use delivery_service::{Group, SnapshotError, UpdateRefusal};
use openmls::prelude::Lifetime;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn expired_key_packages_stay_accepted() {
    // The only clock is openmls's own, so the test waits for a KeyPackage to expire. Should the machine be too
    // slow to use it in time, it gets more.
    for seconds in [2, 10, 60] {
        let mut room = Room::new();
        let bob = TestClient::new("mimi://b.example/d/bob/phone");
        let until = unix_seconds() + seconds;
        let key_package = bob.key_package_with(Lifetime::init(until - 3600, until), &COMPONENTS);
        let plan = Plan {
            adds: vec![key_package],
            list: add(&[&bob.user()]),
            ..Plan::default()
        };
        let bundle = room.clients[0].commit(plan);
        match room.judge(&room.clients[0].domain(), &bundle) {
            Err(UpdateRefusal::InvalidProposal { .. } | UpdateRefusal::NotAllowed { .. }) => continue,
            judged => drop(judged.unwrap()),
        }
        room.accept_with_newcomer(0, &bundle, bob);
        while unix_seconds() <= until {
            std::thread::sleep(Duration::from_millis(50));
        }
        room.restart();
        let bundle = room.clients[1].commit(Plan::default());
        room.accept(1, &bundle);
        // A KeyPackage that has expired is not accepted any more, of course.
        let carol = TestClient::new("mimi://c.example/d/carol/phone");
        let fresh = carol.key_package();
        let plan = Plan {
            adds: vec![fresh],
            list: add(&[&carol.user()]),
            ..Plan::default()
        };
        let bundle = room.clients[0].commit(plan);
        room.accept_with_newcomer(0, &bundle, carol);
        return;
    }
    panic!("the machine is too slow for a minute's lifetime");
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut room = Room::of_three();
    let bundle = room.clients[1].leave();
    room.accept(1, &bundle);
    let snapshot = room.group.snapshot().unwrap();
    for cut in 0..snapshot.len() {
        assert!(Group::restore(&snapshot[..cut]).is_err(), "{cut}");
    }
    let mut longer = snapshot.clone();
    longer.push(0);
    assert!(matches!(Group::restore(&longer), Err(SnapshotError::Format)));
    let mut newer = snapshot;
    newer[5] = 9;
    assert!(matches!(
        Group::restore(&newer),
        Err(SnapshotError::Version { found: 9 })
    ));
}
