//! The vectors of mlswg/mls-implementations: what is decoded is written back octet for octet.

use crate::data::{json, octets};
use mimi_wire::mls::{
    Commit, Content, ContentType, Extension, GroupId, HashAlgorithm, KeyPackage, LeafNode, MlsMessage,
    PreSharedKeyId, PublicMessage, RatchetTree, ReInit, Welcome, WireFormat,
};
use mimi_wire::{Decode, Encode, Reader, labels};

fn exact<T: Encode + Decode>(bytes: &[u8]) -> T {
    let value = T::from_bytes(bytes).unwrap();
    assert_eq!(value.to_bytes(), bytes);
    // Truncated anywhere near its ends, it is no value; and what follows it is not touched.
    for cut in (0..bytes.len().min(64)).chain(bytes.len().saturating_sub(64)..bytes.len()) {
        assert!(T::from_bytes(&bytes[..cut]).is_err());
    }
    let mut longer = bytes.to_vec();
    longer.extend_from_slice(&[0xff; 9]);
    let mut r = Reader::new(&longer);
    T::decode(&mut r).unwrap();
    assert_eq!(r.remaining(), [0xff; 9]);
    value
}

#[test]
fn vector_headers() {
    let Some(vectors) = json("mls/test-vectors/deserialization.json") else {
        return;
    };
    for vector in vectors.as_array().unwrap() {
        let header = octets(&vector["vlbytes_header"]);
        let length = usize::try_from(vector["length"].as_u64().unwrap()).unwrap();
        assert_eq!(Reader::new(&header).length().unwrap(), length);
        let mut out = Vec::new();
        mimi_wire::codec::encode_length(length, &mut out);
        assert_eq!(out, header);
    }
}

#[test]
fn messages() {
    let Some(vectors) = json("mls/test-vectors/messages.json") else {
        return;
    };
    for vector in vectors.as_array().unwrap() {
        let message = |name: &str| exact::<MlsMessage>(&octets(&vector[name]));

        let welcome = message("mls_welcome");
        assert_eq!(welcome.wire_format(), WireFormat::Welcome);
        exact::<Welcome>(welcome.welcome().unwrap().as_bytes());
        assert_eq!(MlsMessage::from(&welcome.welcome().unwrap()), welcome);

        let group_info = message("mls_group_info");
        let inner = group_info.group_info().unwrap();
        assert_eq!(MlsMessage::from(&inner), group_info);
        assert_eq!(inner.content().to_bytes(), inner.as_bytes());

        let key_package = message("mls_key_package");
        let inner = key_package.key_package().unwrap();
        assert_eq!(MlsMessage::from(&inner), key_package);
        assert!(inner.reference().is_some());

        exact::<RatchetTree>(&octets(&vector["ratchet_tree"]));
        exact::<KeyPackage>(&octets(&vector["add_proposal"])[..]);
        exact::<LeafNode>(&octets(&vector["update_proposal"]));
        exact::<u32>(&octets(&vector["remove_proposal"]));
        exact::<PreSharedKeyId>(&octets(&vector["pre_shared_key_proposal"]));
        exact::<ReInit>(&octets(&vector["re_init_proposal"]));
        exact::<GroupId>(&octets(&vector["external_init_proposal"]));
        exact::<Vec<Extension>>(&octets(&vector["group_context_extensions_proposal"]));
        exact::<Commit>(&octets(&vector["commit"]));

        assert_eq!(
            message("public_message_application").content_type(),
            Some(ContentType::Application)
        );
        assert!(message("public_message_proposal").is_handshake(ContentType::Proposal));
        assert!(message("public_message_commit").is_handshake(ContentType::Commit));
        assert_eq!(
            message("private_message").wire_format(),
            WireFormat::PrivateMessage
        );
    }
}

#[test]
fn message_protection() {
    let Some(vectors) = json("mls/test-vectors/message-protection.json") else {
        return;
    };
    for vector in vectors.as_array().unwrap() {
        for name in [
            "proposal_priv",
            "proposal_pub",
            "commit_priv",
            "commit_pub",
            "application_priv",
        ] {
            let message = exact::<MlsMessage>(&octets(&vector[name]));
            assert_eq!(
                message.group_id().unwrap().as_bytes(),
                octets(&vector["group_id"])
            );
            assert_eq!(message.epoch().unwrap().0, vector["epoch"].as_u64().unwrap());
            if let Some(PublicMessage { content, .. }) = message.public_message() {
                let (expected, inner) = match content {
                    Content::Proposal(proposal) => ("proposal", proposal.to_bytes()),
                    Content::Commit(commit) => ("commit", commit.to_bytes()),
                    Content::Application(_) => panic!("not in this vector"),
                };
                assert_eq!(inner, octets(&vector[expected]));
            }
        }
    }
}

#[test]
fn reference_hashes() {
    let Some(vectors) = json("mls/test-vectors/crypto-basics.json") else {
        return;
    };
    for vector in vectors.as_array().unwrap() {
        let suite = mimi_wire::mls::CipherSuite(vector["cipher_suite"].as_u64().unwrap().try_into().unwrap());
        let hash: HashAlgorithm = suite.hash().unwrap();
        let case = &vector["ref_hash"];
        let label = case["label"].as_str().unwrap();
        assert_eq!(
            labels::ref_hash(hash, label, &octets(&case["value"])),
            octets(&case["out"])
        );
    }
}

#[test]
fn passive_clients() {
    for file in [
        "mls/test-vectors/passive-client-handling-commit.json",
        "mls/passive/commit.json",
        "mls/passive/external_join.json",
        "mls/passive/external_proposals.json",
    ] {
        let Some(vectors) = json(file) else { return };
        for vector in vectors.as_array().unwrap() {
            let key_package = exact::<MlsMessage>(&octets(&vector["key_package"]))
                .key_package()
                .unwrap();
            let welcome = exact::<MlsMessage>(&octets(&vector["welcome"]))
                .welcome()
                .unwrap();
            // The Welcome names the KeyPackage by its reference.
            assert!(
                welcome
                    .key_package_refs()
                    .contains(&key_package.reference().unwrap()),
                "{file}"
            );
            for epoch in vector["epochs"].as_array().unwrap() {
                let commit = exact::<MlsMessage>(&octets(&epoch["commit"]));
                let proposals: Vec<_> = epoch["proposals"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|p| exact::<MlsMessage>(&octets(p)))
                    .collect();
                let Some(PublicMessage {
                    content: Content::Commit(commit),
                    ..
                }) = commit.public_message()
                else {
                    continue;
                };
                // Every proposal a commit names is one of those that came before it.
                let known: Vec<_> = proposals
                    .iter()
                    .filter_map(|p| p.proposal_ref(welcome.cipher_suite()))
                    .collect();
                for named in &commit.proposals {
                    if let mimi_wire::mls::ProposalOrRef::Reference(reference) = named {
                        assert!(known.contains(reference), "{file}");
                    }
                }
            }
        }
    }
}
