//! Our codec against crate mls-spec, structure by structure.

use crate::{bodies, strategies};
use mimi_wire::components::SafeAad as OurSafeAad;
use mimi_wire::{Encode, Opaque};
use mls_spec::drafts::mls_extensions::safe_application::{
    ApplicationDataDictionary, ComponentsList, SafeAad,
};
use mls_spec::drafts::ratchet_tree_options::{PartialGroupInfo, RatchetTreeOption};
use mls_spec::{Parsable, Serializable};
use proptest::prelude::*;

/// The other codec reads what we wrote and writes the same.
macro_rules! agrees {
    ($theirs:ty, $bytes:expr) => {{
        let bytes: Vec<u8> = $bytes;
        let value = <$theirs>::from_tls_bytes(&bytes);
        prop_assert!(
            value.is_ok(),
            "{}: {:?} of {}",
            stringify!($theirs),
            value.err(),
            hex::encode(&bytes)
        );
        prop_assert_eq!(
            value.unwrap().to_tls_bytes().unwrap(),
            bytes,
            "{}",
            stringify!($theirs)
        );
    }};
}

macro_rules! structures {
    ($($test:ident: $theirs:ty, $strategy:expr;)*) => {
        $(
            proptest! {
                #![proptest_config(ProptestConfig::with_cases(128))]
                #[test]
                fn $test(value in $strategy) {
                    agrees!($theirs, value.to_bytes());
                }
            }
        )*
    };
}

structures! {
    app_data_dictionary: ApplicationDataDictionary<'_>, strategies::dictionary();
    capabilities: mls_spec::defs::Capabilities, strategies::capabilities();
    commit: mls_spec::group::commits::Commit<'_>, strategies::commit();
    credential: mls_spec::credential::Credential<'_>, strategies::credential();
    external_sender: mls_spec::group::ExternalSender<'_>, strategies::external_sender();
    group_info: mls_spec::group::group_info::GroupInfo<'_>, strategies::group_info();
    hpke_ciphertext: mls_spec::crypto::HpkeCiphertext<'_>, strategies::ciphertext();
    key_package: mls_spec::key_package::KeyPackage<'_>, strategies::key_package();
    leaf_node: mls_spec::tree::leaf_node::LeafNode<'_>, strategies::leaf();
    message_application: mls_spec::messages::MlsMessage<'_>, strategies::application_message();
    message_commit: mls_spec::messages::MlsMessage<'_>, strategies::commit_message();
    message_proposal: mls_spec::messages::MlsMessage<'_>, strategies::proposal_message();
    proposal: mls_spec::group::proposals::Proposal<'_>, strategies::proposal();
    ratchet_tree: mls_spec::tree::RatchetTree<'_>, strategies::ratchet_tree();
    required_capabilities: mls_spec::group::RequiredCapabilities, strategies::required();
    welcome: mls_spec::group::welcome::Welcome<'_>, strategies::welcome();
}

proptest! {
    #[test]
    fn options_in_bundles(bundle in bodies::handshake_bundle()) {
        use mimi_wire::protocol::{BundleBody, GroupInfoOption};
        if let BundleBody::Commit { group_info_option, ratchet_tree_option, .. } = bundle.body() {
            agrees!(RatchetTreeOption<'_>, ratchet_tree_option.to_bytes());
            if let GroupInfoOption::Partial(partial) = group_info_option {
                agrees!(PartialGroupInfo<'_>, partial.to_bytes());
            }
        }
    }

    #[test]
    fn safe_aad_and_lists(tag: [u8; 32], component_ids: Vec<u16>) {
        agrees!(SafeAad<'_>, OurSafeAad::with_franking_tag(&tag).to_bytes());
        agrees!(ComponentsList, mimi_wire::components::ComponentsList { component_ids }.to_bytes());
    }

    #[test]
    fn labels(label in "[a-zA-Z]{0,20}", content: Vec<u8>) {
        let ours = mimi_wire::labels::sign_content(&label, &content);
        let full = format!("MLS 1.0 {label}");
        let mut theirs = Opaque(full.into_bytes()).to_bytes();
        Opaque(content).encode(&mut theirs);
        prop_assert_eq!(ours, theirs);
    }
}

/// Both codecs take the same octets, damaged ones included.
fn same_verdict(bytes: &[u8]) -> Result<(), TestCaseError> {
    use mimi_wire::{Decode, DecodeErrorKind};
    let ours = mimi_wire::mls::MlsMessage::from_bytes(bytes);
    let theirs = mls_spec::messages::MlsMessage::from_tls_bytes(bytes);
    let theirs_is_exact = theirs
        .as_ref()
        .is_ok_and(|message| message.to_tls_bytes().is_ok_and(|again| again == bytes));
    // The other codec carries versions and types that it doesn't know; we refuse what can't be judged.
    let by_rule = ours.as_ref().err().is_some_and(|error| {
        matches!(
            error.kind,
            DecodeErrorKind::Unknown { .. } | DecodeErrorKind::Invalid(_)
        )
    });
    // It refuses credentials of unknown types, which we carry.
    let carried = ours.is_ok() && format!("{theirs:?}").contains("UnknownEnumDiscriminant");
    if !by_rule && !carried {
        prop_assert_eq!(
            ours.is_ok(),
            theirs_is_exact,
            "ours {:?}, theirs {:?}",
            ours,
            theirs
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn verdicts_on_damaged_messages(
        message in prop_oneof![strategies::proposal_message(), strategies::commit_message()],
        at: prop::sample::Index,
        to: u8,
    ) {
        let mut bytes = message.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        same_verdict(&bytes)?;
    }
}
