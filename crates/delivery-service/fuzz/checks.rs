//! What must hold for any input. Used by the fuzz target and, on the corpus, by the crate's own tests.

use delivery_service::{Group, HubIdentity, MessageSettings, abuse, franking, keys};
use mimi_wire::mls::KeyPackage;
use mimi_wire::protocol::{
    AbuseReport, GroupInfoRequest, HandshakeBundle, KeyMaterialRequest, SubmitMessageRequest,
};
use mimi_wire::{Decode as _, Domain, MimiUri, Reader};
use std::sync::LazyLock;

/// When everything is judged, Unix ms.
const NOW: u64 = 1_800_000_000_000;

/// The hub of the room, always the same.
pub(crate) static HUB: LazyLock<HubIdentity> =
    LazyLock::new(|| HubIdentity::from_seeds(domain("a.example"), [1; 32], [2; 32], [3; 32]));
/// The room that the corpus was made for: Alice, Bob and Carol, each of another provider.
static ROOM: LazyLock<Group> = LazyLock::new(|| Group::restore(include_bytes!("room.snapshot")).unwrap());

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// What the first octet says the others are, in this order.
pub(crate) const KINDS: [&str; 7] = [
    "bundle",
    "message",
    "group-info",
    "key-package",
    "key-material",
    "abuse",
    "founding",
];

/// What peers and clients send is refused, or judged without harm.
pub(crate) fn judge(data: &[u8]) {
    let Some((&first, octets)) = data.split_first() else {
        return;
    };
    let peers = ["a.example", "b.example", "c.example"].map(domain);
    match KINDS[usize::from(first) % KINDS.len()] {
        "bundle" => {
            let Ok(bundle) = HandshakeBundle::from_bytes(octets) else {
                return;
            };
            for peer in &peers {
                let _ = ROOM.judge(&HUB, peer, &bundle, NOW);
            }
        }
        "message" => {
            let Ok(request) = SubmitMessageRequest::from_bytes(octets) else {
                return;
            };
            for peer in &peers {
                let _ = ROOM.judge_message(peer, &request, MessageSettings::default());
            }
            let _ = franking::franking_tag(request.app_message());
        }
        "group-info" => {
            let Ok(request) = GroupInfoRequest::from_bytes(octets) else {
                return;
            };
            ROOM.group_info_response(&HUB, &peers[1], &request);
        }
        "key-package" => {
            let Ok(package) = KeyPackage::from_bytes(octets) else {
                return;
            };
            let client = MimiUri::parse("mimi://d.example/d/dave/phone").unwrap();
            let _ = keys::validate_upload(&client, &package, NOW);
        }
        "key-material" => {
            let Ok(request) = KeyMaterialRequest::from_bytes(octets) else {
                return;
            };
            let _ = keys::verify_request(&request);
        }
        "abuse" => {
            let Ok(report) = AbuseReport::from_bytes(octets) else {
                return;
            };
            for message in &report.messages {
                let _ = abuse::examine(&HUB, ROOM.room_uri(), &report.alleged_abuser_uri, message);
            }
        }
        _ => {
            let mut r = Reader::new(octets);
            let (Ok(group_info), Ok(tree)) = (r.opaque(), r.opaque()) else {
                return;
            };
            let creator = MimiUri::parse("mimi://a.example/u/alice").unwrap();
            let _ = Group::found(&HUB, ROOM.room_uri(), &creator, group_info, tree);
        }
    }
}
