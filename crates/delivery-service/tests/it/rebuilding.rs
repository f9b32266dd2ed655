//! Groups taken up again from the log. That each accepted handshake gives the same group again is checked by `Room` with
//! every change; here is what spans several.

use crate::client::{COMPONENTS, Plan, TestClient, each_suite, uri};
use crate::room::{NOW, Room, add, begun_at, hub, remove};
use delivery_service::{FoundRefusal, Group, HubIdentity, Judged};
use mimi_wire::Encode as _;
use mimi_wire::protocol::{HandshakeBundle, RatchetTreeOption};
use openmls::prelude::{Ciphersuite, Lifetime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Applies to a rebuilt group what the room has accepted; both are the same then.
fn follow(room: &Room, rebuilt: &mut Group, bundle: &HandshakeBundle, judged: Judged) {
    rebuilt.apply(judged).unwrap();
    assert!(
        rebuilt.snapshot().unwrap() == room.group.snapshot().unwrap(),
        "after {:?}",
        bundle.proposal_or_commit().content_type()
    );
}

#[test]
fn pending_removals_and_the_external_commit_that_meets_them() {
    each_suite(pending_removals_and_the_external_commit_that_meets_them_in);
}

fn pending_removals_and_the_external_commit_that_meets_them_in(suite: Ciphersuite) {
    let mut room = Room::of_three_and(suite);
    let (bob, carol) = (uri("mimi://b.example/u/bob"), uri("mimi://c.example/u/carol"));
    let mut rebuilt = begun_at(&room.hub, &room.group);

    let left = room.clients[2].leave();
    room.accept(2, &left);
    let again = rebuilt.judge_again(&room.hub, &left, Vec::new(), NOW).unwrap();
    follow(&room, &mut rebuilt, &left, again);

    let removal = HandshakeBundle::proposals(room.remove_by_hub(&bob), Vec::new()).unwrap();
    let again = rebuilt.judge_again(&room.hub, &removal, Vec::new(), NOW).unwrap();
    follow(&room, &mut rebuilt, &removal, again);

    let mut laptop = TestClient::of(suite, "mimi://a.example/d/alice/laptop");
    let from = laptop.ask_group_info(&room.hub, &room.group).unwrap();
    let joined = laptop.join_externally(&from, None);
    let laptop = room.accept_joiner(laptop, &joined);
    let stapled: Vec<_> = room
        .group
        .pending_proposals()
        .iter()
        .map(|p| p.message().clone())
        .collect();
    assert_eq!(stapled.len(), 1);
    let again = rebuilt.judge_again(&room.hub, &joined, stapled, NOW).unwrap();
    follow(&room, &mut rebuilt, &joined, again);

    let indices = [&bob, &carol].map(|user| room.clients[0].index_of(user));
    let bundle = room.clients[laptop].commit(Plan {
        list: remove(&indices),
        ..Plan::default()
    });
    room.accept(laptop, &bundle);
    let again = rebuilt.judge_again(&room.hub, &bundle, Vec::new(), NOW).unwrap();
    follow(&room, &mut rebuilt, &bundle, again);
}

/// A quiet member's leaf is still the one of a KeyPackage that has expired.
#[test]
fn key_packages_may_have_expired() {
    for seconds in [2, 10, 60] {
        let mut room = Room::new();
        let bob = TestClient::new("mimi://b.example/d/bob/phone");
        let until = unix_seconds() + seconds;
        let key_package = bob.key_package_with(Lifetime::init(until - 3600, until), &COMPONENTS);
        let bundle = room.clients[0].commit(Plan {
            adds: vec![key_package],
            list: add(&[&bob.user()]),
            ..Plan::default()
        });
        let Ok(judged) = room.judge(&room.clients[0].domain(), &bundle) else {
            continue;
        };
        room.group.apply(judged).unwrap();
        while unix_seconds() <= until {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let rebuilt = begun_at(&room.hub, &room.group);
        assert!(rebuilt.snapshot().unwrap() == room.group.snapshot().unwrap());
        return;
    }
    panic!("the machine is too slow for a minute's lifetime");
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let mut room = Room::of_three();
    let uri = room.group.room_uri().clone();
    let info = room.group.group_info().to_vec();
    let tree = |group: &Group| {
        let RatchetTreeOption::Full(tree) = group.ratchet_tree_option() else {
            panic!()
        };
        tree.to_bytes()
    };
    let before = tree(&room.group);
    let bundle = room.clients[1].commit(Plan::default());
    room.accept(1, &bundle);
    let rebuild =
        |hub: &HubIdentity, info: &[u8], tree: &[u8]| Group::rebuild(hub, &uri, info, tree).unwrap_err();
    // Another epoch's tree, a changed octet, another hub, another room.
    assert!(matches!(
        rebuild(&room.hub, &info, &tree(&room.group)),
        FoundRefusal::Mls(_)
    ));
    let mut changed = info.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    rebuild(&room.hub, &changed, &before);
    let other = HubIdentity::from_seeds(hub().provider().clone(), [9; 32], [2; 32], [3; 32]);
    assert!(matches!(
        rebuild(&other, &info, &before),
        FoundRefusal::HubNotExternalSender
    ));
    let elsewhere = crate::client::uri("mimi://a.example/r/other");
    assert!(matches!(
        Group::rebuild(&room.hub, &elsewhere, &info, &before),
        Err(FoundRefusal::RoomUri)
    ));
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
