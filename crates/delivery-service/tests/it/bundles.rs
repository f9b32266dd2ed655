//! What comes with a commit: Welcome, GroupInfo, ratchet tree.

use crate::client::{Plan, TestClient, domain, wire};
use crate::refusals::not_allowed;
use crate::room::{NOW, Room, add};
use delivery_service::{Group, GroupInfoFault, NotAllowed};
use mimi_wire::Opaque;
use mimi_wire::components::extension_type;
use mimi_wire::mls::{GroupInfo, RatchetTree};
use mimi_wire::protocol::{
    BundleBody, GroupInfoOption, HandshakeBundle, PartialGroupInfo, RatchetTreeOption, RatchetTreePresence,
};

/// A commit's bundle with something exchanged.
pub fn change(
    bundle: &HandshakeBundle,
    change: impl FnOnce(&mut Option<mimi_wire::mls::Welcome>, &mut GroupInfoOption, &mut RatchetTreeOption),
) -> HandshakeBundle {
    let (commit, body) = bundle.clone().into_parts();
    let BundleBody::Commit {
        mut welcome,
        mut group_info_option,
        mut ratchet_tree_option,
    } = body
    else {
        panic!("no commit")
    };
    change(&mut welcome, &mut group_info_option, &mut ratchet_tree_option);
    HandshakeBundle::commit(commit, welcome, group_info_option, ratchet_tree_option).unwrap()
}

#[test]
fn welcomes_are_for_the_added() {
    let mut room = Room::of_three();
    let dave = TestClient::new("mimi://d.example/d/dave/phone");
    let erin = TestClient::new("mimi://e.example/d/erin/phone");
    let other = room.clients[0].commit(Plan {
        adds: vec![erin.key_package()],
        list: add(&[&erin.user()]),
        ..Plan::default()
    });
    room.clients[0].discard();
    let BundleBody::Commit { welcome: other, .. } = other.body().clone() else {
        panic!()
    };
    let bundle = room.clients[0].commit(Plan {
        adds: vec![dave.key_package()],
        list: add(&[&dave.user()]),
        ..Plan::default()
    });
    let foreign = change(&bundle, |welcome, _, _| *welcome = other.clone());
    assert_eq!(not_allowed(room.refuse(0, &foreign)), NotAllowed::Welcome);
    let none = change(&bundle, |welcome, _, _| *welcome = None);
    assert_eq!(not_allowed(room.refuse(0, &none)), NotAllowed::Welcome);
    room.clients[0].discard();
    let superfluous = change(&room.clients[0].commit(Plan::default()), |welcome, _, _| {
        *welcome = other;
    });
    assert_eq!(not_allowed(room.refuse(0, &superfluous)), NotAllowed::Welcome);
}

#[test]
fn group_infos_are_of_the_new_epoch() {
    let mut room = Room::of_three();
    let old = room.group.group_info().to_vec();
    let bundle = room.clients[0].commit(Plan::default());
    let BundleBody::Commit {
        group_info_option: GroupInfoOption::Full(full),
        ..
    } = bundle.body()
    else {
        panic!()
    };
    let fault = |room: &Room, group_info: GroupInfo| {
        let changed = change(&bundle, |_, option, _| {
            *option = GroupInfoOption::Full(Box::new(group_info));
        });
        match not_allowed(room.refuse(0, &changed)) {
            NotAllowed::GroupInfo(fault) => fault,
            other => panic!("{other:?}"),
        }
    };
    let with = |change: &dyn Fn(&mut mimi_wire::mls::GroupInfoContent)| {
        let mut content = full.content().clone();
        change(&mut content);
        GroupInfo::new(content)
    };
    assert_eq!(fault(&room, wire(&old)), GroupInfoFault::Context);
    let tag = with(&|content| content.confirmation_tag = vec![0; 32].into());
    assert_eq!(fault(&room, tag), GroupInfoFault::ConfirmationTag);
    assert_eq!(
        fault(&room, with(&|content| content.signer = 1)),
        GroupInfoFault::Signer
    );
    let signature = with(&|content| content.signature.0[0] ^= 1);
    assert_eq!(fault(&room, signature), GroupInfoFault::Signature);
    let bare = with(&|content| content.extensions.clear());
    assert_eq!(fault(&room, bare), GroupInfoFault::NoExternalPub);
    let tree = with(&|content| {
        content.extensions.push(mimi_wire::mls::Extension {
            extension_type: extension_type::RATCHET_TREE,
            extension_data: Opaque(vec![0]),
        });
    });
    assert_eq!(fault(&room, tree), GroupInfoFault::EmbeddedTree);

    // A partial one says the same in fewer octets.
    let partial = |presence| {
        change(&bundle, |_, option, _| {
            *option = GroupInfoOption::Partial(PartialGroupInfo {
                ratchet_tree_presence: presence,
                group_info_extensions: full.extensions().to_vec(),
                signature: full.content().signature.clone(),
            });
        })
    };
    let reason = not_allowed(room.refuse(0, &partial(RatchetTreePresence::Present)));
    assert_eq!(reason, NotAllowed::GroupInfo(GroupInfoFault::EmbeddedTree));
    let full = full.as_bytes().to_vec();
    room.accept(0, &partial(RatchetTreePresence::NoRatchetTree));
    assert_eq!(room.group.group_info(), full);
}

#[test]
fn a_tree_sent_along_is_the_new_one() {
    let mut room = Room::of_three();
    let RatchetTreeOption::Full(old) = room.group.ratchet_tree_option() else {
        panic!()
    };
    let bundle = room.clients[0].commit(Plan::default());
    let stale = change(&bundle, |_, _, tree| *tree = RatchetTreeOption::Full(old));
    assert_eq!(not_allowed(room.refuse(0, &stale)), NotAllowed::RatchetTree);
    let empty: RatchetTree = wire(&[0]);
    let empty = change(&bundle, |_, _, tree| *tree = RatchetTreeOption::Full(empty));
    assert_eq!(not_allowed(room.refuse(0, &empty)), NotAllowed::RatchetTree);
    // The real one, known once the commit is merged.
    let mut after = Group::restore(&room.group.snapshot().unwrap()).unwrap();
    let judged = after
        .judge(&room.hub, &domain("a.example"), &bundle, NOW)
        .unwrap();
    after.apply(judged).unwrap();
    let new = after.ratchet_tree_option();
    let fresh = change(&bundle, |_, _, tree| *tree = new);
    room.accept(0, &fresh);
}

#[test]
fn a_tampered_commit() {
    let mut room = Room::of_three();
    let bundle = room.clients[0].commit(Plan::default());
    let (commit, body) = bundle.into_parts();
    let BundleBody::Commit {
        welcome,
        group_info_option,
        ratchet_tree_option,
    } = body
    else {
        panic!()
    };
    let bytes = commit.as_bytes();
    let mut refused = 0;
    for index in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.to_vec();
        changed[index] ^= 0x20;
        let Ok(commit) = mimi_wire::Decode::from_bytes(&changed) else {
            continue;
        };
        let Ok(bundle) = HandshakeBundle::commit(
            commit,
            welcome.clone(),
            group_info_option.clone(),
            ratchet_tree_option.clone(),
        ) else {
            continue;
        };
        // The membership tag, the last 32 octets, is the one thing an observer has no key for.
        if index < bytes.len() - 32 {
            room.refuse(0, &bundle);
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused}");
}
