//! The draft's example messages: octets, identifiers, franking tags, JSON.

use crate::data::{json, octets, path};
use mimi_wire::components::{ApplicationFraming, MediaType};
use mimi_wire::content::json::{from_json, to_json};
use mimi_wire::content::{ContentKind, MessageId, MessageStatusReport, MimiContent, Status};
use mimi_wire::{Encode, MimiUri, Opaque, franking};

const EXAMPLES: &str = "mimi/ietf-wg-mimi__draft-ietf-mimi-content/examples";

/// Published identifiers, as in the examples' own comments.
const IDS: [(&str, &str); 14] = [
    (
        "original",
        "017ce54837404c3696e0c747b985cb172716d0ed0a3d249ca63ace7d82a096f4",
    ),
    (
        "reply",
        "015354973c2b65ca937bf1e035ae53a5ab80e947afa43d46920d4202e5cc0b27",
    ),
    (
        "reaction",
        "0158c4288911e50a8f6be3f47746b6682f10fd91bc8c05557aa589a3157aff68",
    ),
    (
        "mention",
        "018d825adf9f6be00dcafc5704c4102f5022e74219d0b603e4ba7622654042af",
    ),
    (
        "mention-html",
        "01967ff8e9a66819738ad5cf26d2e0388a3b81d86b0f61d129c077d043ee2a4e",
    ),
    (
        "edit",
        "014028c0deddbdea56bec26172f6ede953d11024cb82b8192b5e2aea62d7fb47",
    ),
    (
        "delete",
        "011d9efc78d04d4dcf4d82b07d5199bbef37011c1f0c7e004b6111c6dda504b4",
    ),
    (
        "unlike",
        "013aadbb8f313253c8930f4e93c6ca54b2ed06d258185bdcec3870534c8a4ec4",
    ),
    (
        "expiring",
        "01e59db8173939facc2c8a4a0f0ae8d0c7a11a81239626630c9464a8d6717a03",
    ),
    (
        "attachment",
        "0176180c7d19a925021fe446d241134d05c38e0d999cdc0f39c391d2377ed9d1",
    ),
    (
        "conferencing",
        "01496d15a8dba28d7397f9868b70768e4a67f765d5b5b1ae9e03848c5fdeb0ba",
    ),
    (
        "multipart-1",
        "01da5a515ec5db42cc4dcc19b90c3c31245d8a1cfcce11318f24eb11dce0990e",
    ),
    (
        "multipart-2",
        "01d65918c6c51c8e76546337276ae6f4bfd873d867d5cb57c76bcdca3d999dd7",
    ),
    (
        "multipart-3",
        "01cfebeadbdb83c1eefb6403ba4852daf8bbbf9cd53bf5035a74d5d741950c9f",
    ),
];

fn example(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(path(&format!("{EXAMPLES}/{name}.cbor"))?).unwrap())
}

#[test]
fn all_examples() {
    for (name, id) in IDS {
        let Some(bytes) = example(name) else { return };
        let content = MimiContent::decode(&bytes).unwrap();
        assert_eq!(content.encode().unwrap(), bytes, "{name}");
        let (sender, room) = (
            content.sender().unwrap().unwrap(),
            content.room().unwrap().unwrap(),
        );
        assert_eq!(
            MessageId::derive(&sender, &room, &bytes, &content.salt).to_string(),
            id,
            "{name}"
        );
        let text = serde_json::to_string_pretty(&to_json(&content)).unwrap();
        let back = from_json(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(back.encode().unwrap(), bytes, "{name}");
    }
}

#[test]
fn what_the_examples_do() {
    let read = |name: &str| example(name).map(|bytes| MimiContent::decode(&bytes).unwrap());
    let id = |name: &str| {
        IDS.iter()
            .find(|(n, _)| *n == name)
            .unwrap()
            .1
            .parse::<MessageId>()
            .unwrap()
    };
    let Some(original) = read("original") else { return };
    assert_eq!(original.kind(), ContentKind::Message);
    assert!(original.body.text().unwrap().starts_with("Hi everyone"));
    assert_eq!(read("reply").unwrap().in_reply_to, Some(id("original")));
    assert_eq!(
        read("reaction").unwrap().kind(),
        ContentKind::Reaction(id("original"))
    );
    assert_eq!(read("edit").unwrap().kind(), ContentKind::Edit(id("reply")));
    assert_eq!(read("delete").unwrap().kind(), ContentKind::Delete(id("reply")));
    assert_eq!(
        read("unlike").unwrap().kind(),
        ContentKind::Unlike(id("reaction"))
    );
    assert_eq!(
        read("mention").unwrap().mentions(),
        [MimiUri::parse("mimi://example.com/u/alice-smith").unwrap()]
    );
    assert_eq!(read("mention-html").unwrap().mentions().len(), 1);
    assert!(read("expiring").unwrap().expires.is_some());
    assert_eq!(read("multipart-3").unwrap().parts().len(), 11);
}

#[test]
fn franking_tags() {
    let Some(cases) = json("mimi/derived/mimi-content-message-ids.json") else {
        return;
    };
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), IDS.len());
    for case in cases {
        let bytes = octets(&case["cbor_hex"]);
        let salt = octets(&case["salt_hex"]).try_into().unwrap();
        let uri = |key: &str| MimiUri::parse(case[key].as_str().unwrap()).unwrap();
        let id = MessageId::derive(&uri("sender_uri"), &uri("room_uri"), &bytes, &salt);
        assert_eq!(id.to_string(), case["message_id_published"].as_str().unwrap());

        let tag = |data: &[u8]| franking::franking_tag(&salt, data).to_vec();
        assert_eq!(tag(&bytes), octets(&case["franking_tag_over_raw_cbor"]));
        let framed = ApplicationFraming::mimi_content(bytes.clone());
        let expected = &case["franking_tag_over_application_framing_mimi_content"];
        assert_eq!(tag(&framed.to_bytes()), octets(expected));
        let unnamed = ApplicationFraming {
            media_type: MediaType::plain(""),
            inner_application_content: Opaque(bytes),
        };
        let expected = &case["franking_tag_over_application_framing_empty_media_type"];
        assert_eq!(tag(&unnamed.to_bytes()), octets(expected));
    }
}

#[test]
fn status_report() {
    let Some(path) = path("mimi/rohanmahy__mimi-message-status/status.cbor") else {
        return;
    };
    let bytes = std::fs::read(path).unwrap();
    let report = MessageStatusReport::decode(&bytes).unwrap();
    assert_eq!(report.encode(), bytes);
    let statuses: Vec<_> = report.statuses.iter().map(|s| s.status).collect();
    assert_eq!(
        statuses,
        [Status::READ, Status::READ, Status::UNREAD, Status::EXPIRED]
    );
    assert_eq!(report.statuses[0].message_id.to_string(), IDS[0].1);
}
