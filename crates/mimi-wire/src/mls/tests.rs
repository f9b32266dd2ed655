#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::{
    Capabilities, CipherSuite, Content, ContentType, Epoch, MlsMessage, RequiredCapabilities, Sender,
};
use crate::codec::Decode;

#[test]
fn a_message_ends_where_it_ends() {
    let hex = "00010001016700000000000000050100000000000200030000000101aa01bb";
    let mut bytes = hex::decode(hex).unwrap();
    let message = MlsMessage::from_bytes(&bytes).unwrap();
    assert_eq!(message.group_id().unwrap().as_bytes(), b"g");
    assert_eq!(message.epoch(), Some(Epoch(5)));
    assert_eq!(message.sender(), Some(Sender::Member { leaf_index: 0 }));
    assert_eq!(message.content_type(), Some(ContentType::Proposal));
    let public = message.public_message().unwrap();
    let Content::Proposal(proposal) = public.content else {
        panic!("not a proposal")
    };
    assert_eq!(*proposal, super::Proposal::Remove { removed: 1 });
    assert_eq!(public.membership_tag.unwrap().as_bytes(), &[0xbb]);
    // The reference covers wire format to signature, not version and membership tag.
    let expected = crate::labels::ref_hash(
        super::HashAlgorithm::Sha256,
        "MLS 1.0 Proposal Reference",
        &bytes[2..bytes.len() - 2],
    );
    assert_eq!(message.proposal_ref(CipherSuite(1)).unwrap().as_bytes(), expected);
    bytes.push(0);
    assert!(MlsMessage::from_bytes(&bytes).is_err());
}

#[test]
fn default_capabilities_need_not_be_listed() {
    let required = RequiredCapabilities {
        extension_types: vec![5, 6],
        proposal_types: vec![7, 8],
        credential_types: vec![1],
    };
    let mut capabilities = Capabilities {
        extensions: vec![6],
        proposals: vec![8],
        ..Default::default()
    };
    assert!(!required.are_met_by(&capabilities));
    capabilities.credentials = vec![1];
    assert!(required.are_met_by(&capabilities));
}
