//! The fuzz target's corpus, replayed on the stable compiler.

#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../../mimi-wire/tests/it/replay.rs"]
mod replay;

use crate::client::{Plan, TestClient, uri};
use crate::room::{Room, add, hub};
use mimi_wire::Encode as _;
use mimi_wire::codec::encode_opaque;
use openmls::prelude::tls_codec::Serialize as _;
use std::path::Path;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

#[test]
fn judge() {
    replay::replay(FUZZ, "judge", checks::judge);
}

/// Writes the corpus, and the room that it is for, anew when asked to.
#[test]
fn update() {
    if !replay::updates() {
        return;
    }
    let mut room = Room::of_three();
    std::fs::write(
        Path::new(FUZZ).join("room.snapshot"),
        room.group.snapshot().unwrap(),
    )
    .unwrap();
    let write = |kind: &str, name: &str, octets: &[u8]| {
        let first = checks::KINDS.iter().position(|known| *known == kind).unwrap();
        let input = [&[u8::try_from(first).unwrap()], octets].concat();
        replay::write(FUZZ, "judge", name, &input);
    };
    let dave = TestClient::new("mimi://d.example/d/dave/phone");
    let package = dave.key_package().tls_serialize_detached().unwrap();
    write("key-package", "key-package", &package);
    let claim = crate::keys::request(&room.clients[0], room.clients[0].user());
    write("key-material", "key-material", &claim.to_bytes());
    let said = room.clients[1].message(b"hello", Some([7; 32])).to_bytes();
    write("message", "message", &said);
    let asked = room.clients[1].group_info_request().0.to_bytes();
    write("group-info", "group-info", &asked);
    let plan = Plan {
        adds: vec![dave.key_package()],
        list: add(&[&dave.user()]),
        ..Plan::default()
    };
    write("bundle", "add", &room.clients[0].commit(plan).to_bytes());
    room.clients[0].discard();
    write(
        "bundle",
        "renew",
        &room.clients[0].commit(Plan::default()).to_bytes(),
    );
    write("bundle", "leave", &room.clients[1].leave().to_bytes());
    let mut laptop = TestClient::new("mimi://c.example/d/carol/laptop");
    let from = laptop.ask_group_info(&room.hub, &room.group).unwrap();
    write("bundle", "join", &laptop.join_externally(&from, None).to_bytes());

    let club = uri("mimi://a.example/r/club");
    let mut alice = TestClient::new("mimi://a.example/d/alice/phone");
    let components = crate::setup::room_components(&hub(), crate::client::SUITE, &club, &alice.user());
    let (group_info, tree) = alice.create(
        crate::setup::room_extensions(&hub(), crate::client::SUITE, &components),
        b"group",
    );
    let mut founding = Vec::new();
    encode_opaque(&group_info, &mut founding);
    encode_opaque(&tree, &mut founding);
    write("founding", "founding", &founding);
}
