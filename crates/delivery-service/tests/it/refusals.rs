//! Handshakes the hub refuses, each with its reason. `Room::judge` checks that nothing changes.

use crate::client::{COMPONENTS, Plan, TestClient, domain, uri};
use crate::room::{NOW, Room, add, remove};
use delivery_service::{Group, Judged, LeavesError, NotAllowed, ProposalFault, RoleIndex, UpdateRefusal};
use mimi_wire::components::{
    ParticipantListUpdate, RichDescription, RoomMetaData, UserIndexRolePair, UserRolePair, component_id,
};
use mimi_wire::policy::{Capability, Denial};
use mimi_wire::protocol::{HandshakeBundle, UpdateOutcome};
use openmls::group::Propose;
use openmls::prelude::{
    BasicCredential, CredentialWithKey, Extensions, LeafNodeParameters, Lifetime, OpenMlsProvider as _,
};

pub fn not_allowed(refusal: UpdateRefusal) -> NotAllowed {
    match refusal {
        UpdateRefusal::NotAllowed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn stale_and_future_epochs() {
    let mut room = Room::of_three();
    let current = room.group.epoch();
    let late = room.clients[1].commit(Plan::default());
    room.clients[1].discard();
    let bundle = room.clients[0].commit(Plan::default());
    let before = room.group.snapshot().unwrap();
    room.accept(0, &bundle);
    let refusal = room.refuse(1, &late);
    assert_eq!(
        refusal,
        UpdateRefusal::WrongEpoch {
            current: room.group.epoch()
        }
    );
    assert!(matches!(
        refusal.to_response().outcome,
        UpdateOutcome::WrongEpoch { current_epoch } if current_epoch == room.group.epoch()
    ));
    // The hub as it was before the commit meets a commit of the epoch after.
    let next = room.clients[0].commit(Plan::default());
    room.clients[0].discard();
    room.group = Group::restore(&before).unwrap();
    assert_eq!(room.refuse(0, &next), UpdateRefusal::WrongEpoch { current });
}

#[test]
fn a_commit_comes_from_its_clients_provider() {
    let mut room = Room::of_three();
    let bundle = room.clients[1].commit(Plan::default());
    let refusal = room.judge(&domain("c.example"), &bundle).unwrap_err();
    assert_eq!(not_allowed(refusal), NotAllowed::NotYourClient);
    let mut laptop = TestClient::new("mimi://b.example/d/bob/laptop");
    let from = laptop.ask_group_info(&room.hub, &room.group).unwrap();
    let bundle = laptop.join_externally(&from, None);
    let refusal = room.judge(&domain("c.example"), &bundle).unwrap_err();
    assert_eq!(not_allowed(refusal), NotAllowed::NotYourClient);
}

#[test]
fn another_group() {
    let mut room = Room::of_three();
    let mut other = TestClient::new("mimi://a.example/d/alice/phone");
    other.found(&room.hub, &uri("mimi://a.example/r/other"));
    let bundle = other.commit(Plan::default());
    assert_eq!(not_allowed(room.refuse(0, &bundle)), NotAllowed::WrongGroup);
    let message = room.clients[0].message(b"hi", None);
    assert!(HandshakeBundle::proposals(message.app_message().clone(), vec![]).is_err());
}

#[test]
fn accepted_removals_must_be_committed() {
    let mut room = Room::of_three();
    let bundle = room.clients[1].leave();
    room.accept(1, &bundle);
    let bundle = room.clients[0].commit(Plan {
        ignore_pending: true,
        ..Plan::default()
    });
    let left_out = NotAllowed::PendingLeftOut(uri("mimi://b.example/d/bob/phone"));
    assert_eq!(not_allowed(room.refuse(0, &bundle)), left_out);
    room.clients[0].discard();
    // The leaver can't commit any more, nor join again, nor be added by somebody.
    let bundle = room.clients[1].commit(Plan {
        ignore_pending: true,
        ..Plan::default()
    });
    assert_eq!(
        not_allowed(room.refuse(1, &bundle)),
        NotAllowed::Departed(room.clients[1].user())
    );
    room.clients[1].discard();
    let laptop = TestClient::new("mimi://b.example/d/bob/laptop");
    assert!(laptop.ask_group_info(&room.hub, &room.group).is_none());
    let plan = Plan {
        adds: vec![laptop.key_package()],
        ..Plan::default()
    };
    let bundle = room.clients[0].commit(plan);
    assert_eq!(
        not_allowed(room.refuse(0, &bundle)),
        NotAllowed::NotAParticipant(laptop.user())
    );
    room.clients[0].discard();
    // The leave goes through once only.
    let again = room.clients[1].leave();
    assert!(matches!(
        room.refuse(1, &again),
        UpdateRefusal::InvalidProposal {
            reason: ProposalFault::Repeated,
            ..
        }
    ));
}

#[test]
fn the_hubs_removal_needs_the_list_update() {
    let mut room = Room::of_three();
    let bob = uri("mimi://b.example/u/bob");
    let judged = room.group.propose_removal(&room.hub, &bob, NOW).unwrap();
    let Judged::Proposals(proposals) = &judged else {
        panic!()
    };
    let removal = proposals.proposals[0].message().clone();
    room.group.apply(judged).unwrap();
    room.clients[0].receive(&removal);
    let bundle = room.clients[0].commit(Plan::default());
    assert_eq!(
        not_allowed(room.refuse(0, &bundle)),
        NotAllowed::PendingLeftOut(bob)
    );
}

#[test]
fn an_unknown_proposal_is_named() {
    let mut room = Room::of_three();
    // Bob's proposals reach Alice, but never the hub.
    let bundle = room.clients[1].leave();
    for message in bundle.messages() {
        room.clients[0].receive(message);
    }
    let commit = room.clients[0].commit(Plan::default());
    let refusal = room.refuse(0, &commit);
    let UpdateRefusal::InvalidProposal {
        refs,
        reason: ProposalFault::Unknown,
    } = &refusal
    else {
        panic!("{refusal:?}")
    };
    assert_eq!(refs.len(), 2);
    assert!(matches!(
        refusal.to_response().outcome,
        UpdateOutcome::InvalidProposal { invalid_proposals } if invalid_proposals.len() == 2
    ));
}

#[test]
fn list_and_tree_have_to_agree() {
    let mut room = Room::of_three();
    let dave = TestClient::new("mimi://d.example/d/dave/phone");
    let bob = room.clients[0].index_of(&uri("mimi://b.example/u/bob"));
    let bob_leaf = room.clients[0].leaf_of(&uri("mimi://b.example/d/bob/phone"));
    let cases = [
        (
            Plan {
                adds: vec![dave.key_package()],
                ..Plan::default()
            },
            NotAllowed::ClientsWithoutParticipant(dave.user()),
        ),
        (
            Plan {
                list: remove(&[bob]),
                ..Plan::default()
            },
            NotAllowed::ClientsRemain(uri("mimi://b.example/u/bob")),
        ),
        (
            Plan {
                list: remove(&[0]),
                ..Plan::default()
            },
            NotAllowed::ClientsRemain(uri("mimi://a.example/u/alice")),
        ),
    ];
    for (plan, reason) in cases {
        let bundle = room.clients[0].commit(plan);
        assert_eq!(not_allowed(room.refuse(0, &bundle)), reason);
        room.clients[0].discard();
    }
    // Both together is right, and removing alone is a kick, which an ordinary user may not.
    let bundle = room.clients[2].commit(Plan {
        removes: vec![bob_leaf],
        ..Plan::default()
    });
    assert!(matches!(
        not_allowed(room.refuse(2, &bundle)),
        NotAllowed::Policy(Denial::MissingCapability {
            role: RoleIndex(2),
            capability: Capability::KICK
        })
    ));
    room.clients[2].discard();
    let plan = Plan {
        removes: vec![bob_leaf],
        list: remove(&[bob]),
        ..Plan::default()
    };
    let bundle = room.clients[2].commit(plan);
    room.accept(2, &bundle);
}

#[test]
fn rights_come_from_roles() {
    let mut room = Room::of_three();
    let dave = TestClient::new("mimi://d.example/d/dave/phone");
    let alice = 0;
    let alice_leaf = room.clients[1].leaf_of(&uri("mimi://a.example/d/alice/phone"));
    let admin = ParticipantListUpdate {
        added_participants: vec![UserRolePair {
            user: dave.user(),
            role_index: RoleIndex(3),
        }],
        ..Default::default()
    };
    let promote = |user_index, role| {
        let change = UserIndexRolePair {
            user_index,
            role_index: RoleIndex(role),
        };
        Some(ParticipantListUpdate {
            changed_role_participants: vec![change],
            ..Default::default()
        })
    };
    let name = RoomMetaData {
        room_uri: "mimi://a.example/r/club".to_owned(),
        room_descriptions: vec![RichDescription {
            media_type: String::new(),
            language_tag: "en".to_owned(),
            description_content: b"a bar".as_slice().into(),
        }],
        room_name: "Club".to_owned(),
        ..RoomMetaData::default()
    };
    let plans = [
        Plan {
            adds: vec![dave.key_package()],
            list: Some(admin.clone()),
            ..Plan::default()
        },
        Plan {
            removes: vec![alice_leaf],
            list: remove(&[alice]),
            ..Plan::default()
        },
        Plan {
            list: promote(2, 3),
            ..Plan::default()
        },
        Plan {
            list: promote(1, 3),
            ..Plan::default()
        },
        Plan {
            metadata: Some(name.clone()),
            ..Plan::default()
        },
    ];
    // Bob, an ordinary user.
    for plan in plans {
        let bundle = room.clients[1].commit(plan);
        let reason = not_allowed(room.refuse(1, &bundle));
        assert!(
            matches!(
                reason,
                NotAllowed::Policy(Denial::MissingCapability { .. } | Denial::RoleChange { .. })
            ),
            "{reason:?}"
        );
        room.clients[1].discard();
    }
    // Alice may do all that does not concern her own role.
    for plan in [
        Plan {
            list: promote(2, 3),
            ..Plan::default()
        },
        Plan {
            metadata: Some(name),
            ..Plan::default()
        },
        Plan {
            adds: vec![dave.key_package()],
            list: Some(admin),
            ..Plan::default()
        },
    ] {
        let bundle = room.clients[0].commit(plan);
        room.accept(0, &bundle);
    }
    let bundle = room.clients[0].commit(Plan {
        list: promote(0, 3),
        ..Plan::default()
    });
    let reason = not_allowed(room.refuse(0, &bundle));
    assert!(matches!(
        reason,
        NotAllowed::Policy(Denial::MissingCapability {
            capability: Capability::CHANGE_OWN_ROLE,
            ..
        })
    ));
}

#[test]
fn bans_take_the_clients_along() {
    let mut room = Room::of_three();
    let bob = uri("mimi://b.example/u/bob");
    let ban = |index| {
        let change = UserIndexRolePair {
            user_index: index,
            role_index: RoleIndex::BANNED,
        };
        Some(ParticipantListUpdate {
            changed_role_participants: vec![change],
            ..Default::default()
        })
    };
    let index = room.clients[0].index_of(&bob);
    let leaf = room.clients[0].leaf_of(&uri("mimi://b.example/d/bob/phone"));
    let bundle = room.clients[0].commit(Plan {
        list: ban(index),
        ..Plan::default()
    });
    assert_eq!(
        not_allowed(room.refuse(0, &bundle)),
        NotAllowed::ClientsRemain(bob.clone())
    );
    room.clients[0].discard();
    let bundle = room.clients[0].commit(Plan {
        list: ban(index),
        removes: vec![leaf],
        ..Plan::default()
    });
    room.accept(0, &bundle);
    assert!(!room.group.is_participant(&bob, delivery_service::View::Committed));
    let back = TestClient::new("mimi://b.example/d/bob/laptop");
    assert!(back.ask_group_info(&room.hub, &room.group).is_none());
}

#[test]
fn clients_are_who_they_were_and_each_is_there_once() {
    let mut room = Room::of_three();
    let twin = TestClient::new("mimi://b.example/d/bob/phone");
    let bundle = room.clients[0].commit(Plan {
        adds: vec![twin.key_package()],
        ..Plan::default()
    });
    assert_eq!(
        not_allowed(room.refuse(0, &bundle)),
        NotAllowed::Leaves(LeavesError::Duplicate(twin.uri.clone()))
    );
    room.clients[0].discard();
    // By external commit, with the old leaf left in place.
    let mut twin = TestClient::new("mimi://b.example/d/bob/phone");
    let from = twin.ask_group_info(&room.hub, &room.group).unwrap();
    let bundle = twin.join_externally(&from, None);
    let reason = not_allowed(room.refuse(1, &bundle));
    assert_eq!(
        reason,
        NotAllowed::Leaves(LeavesError::Duplicate(twin.uri.clone()))
    );
    // Bob's phone with a leaf that says it is Carol's: openmls makes and takes such a commit, the hub doesn't.
    let bob = &mut room.clients[1];
    let credential = CredentialWithKey {
        credential: BasicCredential::new(b"mimi://c.example/d/carol/pad".to_vec()).into(),
        signature_key: bob.signer.to_public_vec().into(),
    };
    let commit = bob
        .group
        .as_mut()
        .unwrap()
        .commit_builder()
        .leaf_node_parameters(
            LeafNodeParameters::builder()
                .with_credential_with_key(credential)
                .build(),
        )
        .load_psks(bob.provider.storage())
        .unwrap()
        .create_group_info(true)
        .build(bob.provider.rand(), bob.provider.crypto(), &bob.signer, |_| true)
        .unwrap()
        .stage_commit(&bob.provider)
        .unwrap();
    let bundle = crate::client::to_bundle(&commit);
    assert_eq!(not_allowed(room.refuse(1, &bundle)), NotAllowed::IdentityChanged);
}

#[test]
fn an_add_of_an_expired_or_unfit_client() {
    let mut room = Room::of_three();
    let dave = TestClient::new("mimi://d.example/d/dave/phone");
    let kp = dave.key_package_with(Lifetime::default(), &COMPONENTS[..2]);
    let bundle = room.clients[0].commit(Plan {
        adds: vec![kp],
        list: add(&[&dave.user()]),
        ..Plan::default()
    });
    let reason = not_allowed(room.refuse(0, &bundle));
    assert!(
        matches!(reason, NotAllowed::ComponentUnsupported(_)),
        "{reason:?}"
    );
}

#[test]
fn proposals_on_their_own() {
    let mut room = Room::of_three();
    let carol = room.clients[1].index_of(&uri("mimi://c.example/u/carol"));
    let carol_leaf = room.clients[1].leaf_of(&uri("mimi://c.example/d/carol/phone"));
    let fault =
        |room: &Room, message| match room.refuse(1, &HandshakeBundle::proposals(message, vec![]).unwrap()) {
            UpdateRefusal::InvalidProposal { refs, reason } => {
                assert_eq!(refs.len(), 1);
                reason
            }
            other => panic!("{other:?}"),
        };
    let bob = &mut room.clients[1];
    let update = bob.propose(Propose::Update(LeafNodeParameters::default()));
    let list = bob.propose_list(&remove(&[carol]).unwrap());
    let removal = bob.propose(Propose::Remove(carol_leaf));
    let own = bob.index_of(&bob.user());
    let own_list = bob.propose_list(&remove(&[own]).unwrap());
    let added = TestClient::new("mimi://d.example/d/dave/phone");
    let addition = bob.propose(Propose::Add(added.key_package()));
    assert_eq!(fault(&room, update), ProposalFault::NotStandalone);
    assert_eq!(fault(&room, addition), ProposalFault::NotStandalone);
    assert_eq!(fault(&room, list), ProposalFault::NotOwn);
    assert_eq!(fault(&room, removal), ProposalFault::NotOwn);
    // Out of the list, but not out of the tree.
    assert_eq!(fault(&room, own_list.clone()), ProposalFault::ClientsRemain);
    // Two senders in one bundle.
    let self_remove = room.clients[2].self_remove();
    let mixed = HandshakeBundle::proposals(self_remove, vec![own_list]).unwrap();
    assert_eq!(not_allowed(room.refuse(2, &mixed)), NotAllowed::NotYourClient);
}

#[test]
fn other_proposals_in_commits() {
    let mut room = Room::of_three();
    // A change of the group context, here: the hub is to be no external sender any more.
    let client = &mut room.clients[0];
    let group = client.group.as_mut().unwrap();
    let mut extensions = group.extensions().clone();
    extensions.remove(openmls::prelude::ExtensionType::ExternalSenders);
    let extensions: Extensions<openmls::group::GroupContext> = extensions;
    let commit = group
        .commit_builder()
        .propose_group_context_extensions(extensions)
        .unwrap()
        .load_psks(client.provider.storage())
        .unwrap()
        .create_group_info(true)
        .build(
            client.provider.rand(),
            client.provider.crypto(),
            &client.signer,
            |_| true,
        )
        .unwrap()
        .stage_commit(&client.provider)
        .unwrap();
    let bundle = crate::client::to_bundle(&commit);
    assert_eq!(not_allowed(room.refuse(0, &bundle)), NotAllowed::ProposalType(7));
    room.clients[0].discard();
    // The metadata stay those of this room.
    let foreign = RoomMetaData {
        room_uri: "mimi://a.example/r/other".to_owned(),
        ..RoomMetaData::default()
    };
    let bundle = room.clients[0].commit(Plan {
        metadata: Some(foreign),
        ..Plan::default()
    });
    assert_eq!(
        not_allowed(room.refuse(0, &bundle)),
        NotAllowed::ComponentData(component_id::ROOM_METADATA)
    );
}
