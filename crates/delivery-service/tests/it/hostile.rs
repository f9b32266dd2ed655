//! Octets nobody sane would send: nothing panics, nothing changes.

use crate::client::{Plan, TestClient, domain};
use crate::room::{NOW, Room, add};
use delivery_service::{Group, MessageSettings};
use mimi_wire::protocol::{GroupInfoRequest, HandshakeBundle, SubmitMessageRequest};
use mimi_wire::{Decode, Encode};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Changes to make to valid octets.
#[derive(Debug, Clone)]
enum Damage {
    Set(usize, u8),
    Cut(usize),
    Repeat(usize, usize),
    Drop(usize, usize),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let one = prop_oneof![
        6 => (any::<usize>(), any::<u8>()).prop_map(|(at, octet)| Damage::Set(at, octet)),
        1 => any::<usize>().prop_map(Damage::Cut),
        1 => (any::<usize>(), 1..200usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
        1 => (any::<usize>(), 1..200usize).prop_map(|(at, len)| Damage::Drop(at, len)),
    ];
    proptest::collection::vec(one, 1..4)
}

fn apply(bytes: &[u8], damage: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damage {
        let len = bytes.len().max(1);
        let range = |at: usize, size: usize| (at % len, (at % len).saturating_add(size).min(len));
        match *damage {
            Damage::Set(at, octet) => bytes[at % len] = octet,
            Damage::Cut(at) => bytes.truncate((at % len).max(1)),
            Damage::Repeat(at, size) => {
                let (from, to) = range(at, size);
                let piece = bytes[from..to].to_vec();
                bytes.splice(from..from, piece);
            }
            Damage::Drop(at, size) => {
                let (from, to) = range(at, size);
                bytes.drain(from..to);
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}

/// Runs `check` on damaged copies of some octets.
fn attack(cases: u32, originals: &[Vec<u8>], check: impl Fn(&[u8])) {
    let mut runner = TestRunner::new(Config {
        cases,
        ..Config::default()
    });
    let strategy = (0..originals.len(), damage());
    runner
        .run(&strategy, |(which, damage)| {
            check(&apply(&originals[which], &damage));
            Ok(())
        })
        .unwrap();
}

#[test]
fn damaged_bundles() {
    let mut room = Room::of_three();
    let dave = TestClient::new("mimi://d.example/d/dave/phone");
    let plan = Plan {
        adds: vec![dave.key_package()],
        list: add(&[&dave.user()]),
        ..Plan::default()
    };
    let commit = room.clients[0].commit(plan);
    let leave = room.clients[1].leave();
    let mut laptop = TestClient::new("mimi://c.example/d/carol/laptop");
    let from = laptop.ask_group_info(&room.hub, &room.group).unwrap();
    let external = laptop.join_externally(&from, None);
    let before = room.group.snapshot().unwrap();
    let originals = [commit, leave, external].map(|bundle| bundle.to_bytes());
    attack(4000, &originals, |octets| {
        let Ok(bundle) = HandshakeBundle::from_bytes(octets) else {
            return;
        };
        for actor in ["a.example", "b.example", "c.example"] {
            let _ = room.group.judge(&room.hub, &domain(actor), &bundle, NOW);
        }
    });
    assert!(room.group.snapshot().unwrap() == before);
}

#[test]
fn damaged_messages_and_requests() {
    let mut room = Room::of_three();
    let message = room.clients[1].message(b"hello", Some([7; 32])).to_bytes();
    attack(2000, &[message], |octets| {
        let Ok(request) = SubmitMessageRequest::from_bytes(octets) else {
            return;
        };
        let _ = room
            .group
            .judge_message(&domain("b.example"), &request, MessageSettings::default());
        let _ = delivery_service::franking::franking_tag(request.app_message());
    });
    let request = room.clients[1].group_info_request().0.to_bytes();
    attack(1000, &[request], |octets| {
        let Ok(request) = GroupInfoRequest::from_bytes(octets) else {
            return;
        };
        room.group
            .group_info_response(&room.hub, &domain("b.example"), &request);
    });
}

#[test]
fn damaged_snapshots() {
    let mut room = Room::of_three();
    let bundle = room.clients[1].leave();
    room.accept(1, &bundle);
    let snapshot = room.group.snapshot().unwrap();
    attack(2000, &[snapshot], |octets| {
        let _ = Group::restore(octets);
    });
}

#[test]
fn damaged_founding() {
    let hub = crate::room::hub();
    let room = crate::client::uri("mimi://a.example/r/club");
    let mut alice = TestClient::new("mimi://a.example/d/alice/phone");
    let components = crate::setup::room_components(&hub, crate::client::SUITE, &room, &alice.user());
    let (group_info, tree) = alice.create(
        crate::setup::room_extensions(&hub, crate::client::SUITE, &components),
        b"group",
    );
    let user = alice.user();
    attack(1000, std::slice::from_ref(&group_info), |octets| {
        let _ = Group::found(&hub, &room, &user, octets, &tree);
    });
    attack(1000, std::slice::from_ref(&tree), |octets| {
        let _ = Group::found(&hub, &room, &user, &group_info, octets);
    });
}
