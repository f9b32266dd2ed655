//! The fuzz targets' corpus, replayed on the stable compiler.

#[path = "../../fuzz/checks.rs"]
mod checks;

use crate::{bodies, replay, strategies};
use mimi_wire::Encode;
use mimi_wire::content::{Disposition, ExternalPart, MimiContent, NestedPart, PartSemantics};
use mimi_wire::policy::Preset;
use mimi_wire::view::KINDS;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

#[test]
fn wire() {
    replay::replay(FUZZ, "wire", checks::wire);
}

#[test]
fn content() {
    replay::replay(FUZZ, "content", checks::content);
}

#[test]
fn text() {
    replay::replay(FUZZ, "text", checks::text);
}

/// Writes the corpus anew when asked to.
#[test]
fn update() {
    if !replay::updates() {
        return;
    }
    let write = |target: &str, name: &str, input: &[u8]| replay::write(FUZZ, target, name, input);
    let mut runner = TestRunner::deterministic();
    macro_rules! sample {
        ($($kind:literal: $strategy:expr;)*) => {$(
            for number in 0..3 {
                let value = $strategy.new_tree(&mut runner).unwrap().current();
                let place = KINDS.iter().position(|k| k.name == $kind).unwrap();
                let mut input = vec![u8::try_from(place).unwrap()];
                value.encode(&mut input);
                if input.len() <= 1024 {
                    write("wire", &format!("{}-{number}", $kind), &input);
                }
            }
        )*};
    }
    sample! {
        "AbuseReport": bodies::abuse_report();
        "AppDataDictionary": strategies::dictionary();
        "Commit": strategies::commit();
        "ConsentEntry": bodies::consent_entry();
        "Credential": strategies::credential();
        "FanoutMessage": bodies::fanout_message();
        "GroupInfo": strategies::group_info();
        "GroupInfoRatchetTreeTbe": bodies::group_info_tbe();
        "GroupInfoRequest": bodies::group_info_request();
        "GroupInfoResponse": bodies::group_info_response();
        "HandshakeBundle": bodies::handshake_bundle();
        "IdentifierRequest": bodies::identifier_request();
        "IdentifierResponse": bodies::identifier_response();
        "KeyMaterialRequest": bodies::key_material_request();
        "KeyMaterialResponse": bodies::key_material_response();
        "KeyPackage": strategies::key_package();
        "MlsMessage": strategies::application_message();
        "NotifyBody": bodies::fanout_message();
        "ParticipantListUpdate": strategies::participants_update();
        "Proposal": strategies::proposal();
        "RatchetTree": strategies::ratchet_tree();
        "RoleData": Just(Preset::Strict.roles());
        "SubmitMessageRequest": bodies::submit_request();
        "SubmitMessageResponse": bodies::submit_response();
        "UpdateRoomResponse": bodies::update_response();
        "Welcome": strategies::welcome();
    }

    let parts = [
        ("text", NestedPart::markdown("Hi <mimi://b.example/u/bob>")),
        ("reaction", NestedPart::reaction("❤")),
        ("delete", NestedPart::deleted()),
        (
            "external",
            NestedPart::external(Disposition::ATTACHMENT, ExternalPart::default()),
        ),
    ];
    let several = parts.iter().map(|(_, part)| part.clone()).collect();
    let several = NestedPart::multi(Disposition::RENDER, PartSemantics::ChooseOne, several);
    let [sender, room] = ["mimi://a.example/u/alice", "mimi://a.example/r/club"].map(|u| u.parse().unwrap());
    for (name, part) in parts.into_iter().chain([("several", several)]) {
        let content = MimiContent::new([7; 16], &sender, &room, part);
        write("content", name, &content.encode().unwrap());
        write(
            "text",
            &format!("{name}.json"),
            mimi_wire::content::json::to_json(&content).to_string().as_bytes(),
        );
    }
    for (name, text) in [
        ("user", "mimi://a.example/u/alice"),
        ("client", "mimi://A.example/d/al%2Fice/Phone%201"),
        ("path", "mimi%3A%2F%2Fa.example%2Fr%2Fclub"),
        ("stripped", "a.example/r/club"),
        ("template", "https://a.example/v1/update{roomId}"),
    ] {
        write("text", name, text.as_bytes());
    }
}
