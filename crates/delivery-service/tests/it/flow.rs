//! What a room goes through when all is well.

use crate::client::{Plan, SUITES, TestClient, domain, each_suite, uri};
use crate::room::{NOW, Room, add, remove};
use delivery_service::{HubIdentity, HubSeeds, Judged, View};
use mimi_wire::Encode as _;
use mimi_wire::mls::CipherSuite;
use mimi_wire::protocol::GroupInfoResponse;
use openmls_traits::signatures::Signer as _;
use zeroize::Zeroizing;

#[test]
fn add_users_one_by_one() {
    each_suite(|suite| {
        let room = Room::of_three_and(suite);
        assert_eq!(room.group.epoch().0, 2);
        assert_eq!(room.group.participants(View::Committed).count(), 3);
        let providers: Vec<String> = room
            .group
            .providers(View::Effective)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(providers, ["a.example", "b.example", "c.example"]);
    });
}

#[test]
fn add_a_user_with_two_clients() {
    each_suite(|suite| {
        let mut room = Room::of(suite);
        let phone = TestClient::of(suite, "mimi://b.example/d/bob/phone");
        let mut laptop = TestClient::of(suite, "mimi://b.example/d/bob/laptop");
        let plan = Plan {
            adds: vec![phone.key_package(), laptop.key_package()],
            list: add(&[&phone.user()]),
            ..Plan::default()
        };
        let bundle = room.clients[0].commit(plan);
        let commit = room.judge_commit(&room.clients[0].domain(), &bundle);
        assert_eq!(commit.added.len(), 2);
        assert!(commit.added.iter().all(|added| added.key_package.is_some()));
        assert_eq!(commit.participants.len(), 1);
        let welcome = commit.welcome.clone().unwrap();
        room.accept_with_newcomer(0, &bundle, phone);
        laptop.join(&welcome, &room.group.ratchet_tree_option());
        room.clients.push(laptop);
        room.check();
        assert_eq!(room.group.clients_of(&uri("mimi://b.example/u/bob")).count(), 2);
    });
}

#[test]
fn a_second_device_joins_by_external_commit() {
    each_suite(|suite| {
        let mut room = Room::of_three_and(suite);
        room.join_externally("mimi://b.example/d/bob/laptop");
        assert_eq!(room.group.clients_of(&uri("mimi://b.example/u/bob")).count(), 2);
        let metadata = Plan::default();
        let bundle = room.clients[3].commit(metadata);
        room.accept(3, &bundle);
    });
}

#[test]
fn a_client_resyncs_in_its_own_place() {
    each_suite(|suite| {
        let mut room = Room::of_three_and(suite);
        let mut bob = room.clients.remove(1);
        bob.provider = openmls_rust_crypto::OpenMlsRustCrypto::default();
        bob.group = None;
        let from = bob.ask_group_info(&room.hub, &room.group).unwrap();
        let bundle = bob.join_externally(&from, None);
        let commit = room.judge_commit(&bob.domain(), &bundle);
        assert!(commit.external);
        assert_eq!(commit.removed.len(), 1);
        assert_eq!(commit.added.len(), 1);
        room.accept_joiner(bob, &bundle);
        assert_eq!(room.group.clients_of(&uri("mimi://b.example/u/bob")).count(), 1);
    });
}

#[test]
fn leaving_takes_effect_at_once_and_is_committed_by_another() {
    each_suite(|suite| {
        let mut room = Room::of_three_and(suite);
        let bob = uri("mimi://b.example/u/bob");
        let bundle = room.clients[1].leave();
        room.accept(1, &bundle);
        assert!(room.group.is_participant(&bob, View::Committed));
        assert!(!room.group.is_participant(&bob, View::Effective));
        assert_eq!(room.group.pending_proposals().len(), 2);
        assert!(
            !room
                .group
                .providers(View::Effective)
                .contains(&room.clients[1].domain())
        );

        let bundle = room.clients[2].commit(Plan::default());
        let commit = room.judge_commit(&room.clients[2].domain(), &bundle);
        assert_eq!(commit.removed.len(), 1);
        room.apply(Some(2), &bundle, Judged::Commit(Box::new(commit)));
        assert!(!room.group.is_participant(&bob, View::Committed));
        assert!(room.group.pending_proposals().is_empty());
        assert!(!room.clients[1].group().is_active());
    });
}

#[test]
fn somebody_leaves_with_two_clients() {
    each_suite(|suite| {
        let mut room = Room::of_three_and(suite);
        room.join_externally("mimi://b.example/d/bob/laptop");
        let bundle = room.clients[1].leave();
        room.accept(1, &bundle);
        assert_eq!(room.group.pending_proposals().len(), 3);
        let bundle = room.clients[0].commit(Plan::default());
        room.accept(0, &bundle);
        assert_eq!(room.group.clients().count(), 2);
    });
}

#[test]
fn the_hub_removes_somebody() {
    each_suite(|suite| {
        let mut room = Room::of_three_and(suite);
        let bob = uri("mimi://b.example/u/bob");
        let judged = room.group.propose_removal(&room.hub, &bob, NOW).unwrap();
        let Judged::Proposals(proposals) = &judged else {
            panic!()
        };
        let messages: Vec<_> = proposals.proposals.iter().map(|p| p.message().clone()).collect();
        assert_eq!(messages.len(), 1);
        room.group.apply(judged).unwrap();
        room.restart();
        assert!(!room.group.is_participant(&bob, View::Effective));
        assert!(room.group.propose_removal(&room.hub, &bob, NOW).is_err());
        for client in &mut room.clients {
            client.receive(&messages[0]);
        }
        let index = room.clients[0].index_of(&bob);
        let bundle = room.clients[0].commit(Plan {
            list: remove(&[index]),
            ..Plan::default()
        });
        room.accept(0, &bundle);
        assert!(!room.group.is_participant(&bob, View::Committed));
        assert_eq!(room.group.clients_of(&bob).count(), 0);
    });
}

#[test]
fn an_external_commit_meets_pending_removals() {
    each_suite(|suite| {
        let mut room = Room::of_three_and(suite);
        let (bob, carol) = (uri("mimi://b.example/u/bob"), uri("mimi://c.example/u/carol"));
        // Carol leaves, the hub removes Bob, and Alice's second device comes in before any member commits.
        let bundle = room.clients[2].leave();
        room.accept(2, &bundle);
        room.remove_by_hub(&bob);
        let laptop = room.join_externally("mimi://a.example/d/alice/laptop");
        // Carol's SelfRemove went along, the update of the list and the hub's Remove could not.
        assert_eq!(room.group.clients_of(&carol).count(), 0);
        assert_eq!(room.group.clients_of(&bob).count(), 1);
        assert_eq!(room.group.pending_proposals().len(), 1);
        assert_eq!(room.group.departing().count(), 2);
        assert!(!room.group.is_participant(&carol, View::Effective));
        // The next member's commit has to take both out of the list; the stapled Remove is among what is pending.
        let indices = [&bob, &carol].map(|user| room.clients[0].index_of(user));
        let bundle = room.clients[laptop].commit(Plan {
            list: remove(&indices),
            ..Plan::default()
        });
        room.accept(laptop, &bundle);
        assert_eq!(room.group.departing().count(), 0);
        assert_eq!(room.group.participants(View::Committed).count(), 1);
    });
}

#[test]
fn the_suite_of_a_group_info_request_need_not_be_the_rooms() {
    // It "merely needs to be one ciphersuite in common with the hub" (section 5.6).
    each_suite(|suite| {
        let room = Room::of_three_and(suite);
        for of_request in SUITES {
            let laptop = TestClient::of(of_request, "mimi://b.example/d/bob/laptop");
            let (request, _) = laptop.group_info_request();
            let answer = room
                .group
                .group_info_response(&room.hub, &laptop.domain(), &request);
            let GroupInfoResponse::Success(success) = answer else {
                panic!("refused")
            };
            assert_eq!(success.cipher_suite, request.cipher_suite);
            // With the key that the room names, where it has the scheme; always with the hub's of the request's.
            let hub = room.hub.external_sender(request.cipher_suite).unwrap();
            assert_eq!(success.hub_sender.to_bytes(), hub);
            // Opens the answer, and verifies its signature.
            let opened = laptop.ask_group_info(&room.hub, &room.group).unwrap();
            assert_eq!(opened.group_info.cipher_suite().0, u16::from(suite));
        }
        for other in [0, 4, 5, 6, 7, 0x0a0a].map(CipherSuite) {
            let laptop = TestClient::of(suite, "mimi://b.example/d/bob/laptop");
            let (mut request, _) = laptop.group_info_request();
            request.cipher_suite = other;
            request.signature = laptop.signer.sign(&request.sign_content()).unwrap().into();
            let answer = room
                .group
                .group_info_response(&room.hub, &laptop.domain(), &request);
            assert!(matches!(answer, GroupInfoResponse::NotAuthorized { .. }));
        }
    });
}

#[test]
fn a_hub_with_newer_keys_goes_on_with_the_rooms_own() {
    each_suite(|suite| {
        let mut room = Room::of_three_and(suite);
        let seeds = |numbers: &[u8]| numbers.iter().map(|n| Zeroizing::new([*n; 32])).collect();
        let seeds = HubSeeds {
            signing: seeds(&[1, 11]),
            franking: seeds(&[2, 12]),
            hub_keys: vec![(0, Zeroizing::new([3; 32]))],
        };
        room.hub = HubIdentity::from_rings(domain("a.example"), seeds).unwrap();
        let carol = uri("mimi://c.example/u/carol");
        // Members verify it by what the room names.
        room.remove_by_hub(&carol);
        room.join_externally("mimi://b.example/d/bob/laptop");
    });
}
