//! Every structure round-trips, and whatever damaged octets a decoder takes it writes back unchanged.

use crate::{bodies, strategies};
use mimi_wire::view::{KINDS, Kind};
use mimi_wire::{Decode, Encode};
use proptest::prelude::*;

fn round_trip<T: Encode + Decode + PartialEq + std::fmt::Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = value.to_bytes();
    prop_assert_eq!(&T::from_bytes(&bytes).unwrap(), value);
    Ok(())
}

/// A damage: at a place, so many octets are taken out and others put in.
type Damage = (prop::sample::Index, usize, Vec<u8>);

fn damage() -> impl Strategy<Value = Damage> {
    (
        any::<prop::sample::Index>(),
        0usize..4,
        proptest::collection::vec(any::<u8>(), 0..4),
    )
}

fn damaged(mut bytes: Vec<u8>, (at, out, put): Damage) -> Vec<u8> {
    let at = at.index(bytes.len() + 1);
    let end = (at + out).min(bytes.len());
    bytes.splice(at..end, put);
    bytes
}

/// Reads octets as the kind; if that works, the octets come back.
fn exact(kind: &Kind, bytes: &[u8]) -> Result<bool, TestCaseError> {
    match kind.read(bytes) {
        Ok(view) => {
            prop_assert_eq!(view.octets, bytes, "{:?}", kind);
            prop_assert!(!view.json.is_null(), "{:?}", kind);
            Ok(true)
        }
        Err(error) => {
            prop_assert!(error.offset <= bytes.len(), "{:?}: {}", kind, error);
            Ok(false)
        }
    }
}

/// One test per structure: it round-trips, has a view, and survives damage.
macro_rules! structures {
    ($($test:ident: $kind:literal, $strategy:expr;)*) => {
        $(
            proptest! {
                #![proptest_config(ProptestConfig::with_cases(128))]
                #[test]
                fn $test(value in $strategy, damage in damage()) {
                    round_trip(&value)?;
                    let kind = Kind::by_name($kind).unwrap();
                    let bytes = value.to_bytes();
                    prop_assert!(exact(&kind, &bytes)?);
                    exact(&kind, &damaged(bytes, damage))?;
                }
            }
        )*
    };
}

structures! {
    abuse_report: "AbuseReport", bodies::abuse_report();
    app_data_dictionary: "AppDataDictionary", strategies::dictionary();
    capabilities: "Capabilities", strategies::capabilities();
    commit: "Commit", strategies::commit();
    consent_entry: "ConsentEntry", bodies::consent_entry();
    credential: "Credential", strategies::credential();
    fanout_message: "FanoutMessage", bodies::fanout_message();
    group_info: "GroupInfo", strategies::group_info();
    group_info_request: "GroupInfoRequest", bodies::group_info_request();
    group_info_response: "GroupInfoResponse", bodies::group_info_response();
    group_info_tbe: "GroupInfoRatchetTreeTbe", bodies::group_info_tbe();
    handshake_bundle: "HandshakeBundle", bodies::handshake_bundle();
    identifier_request: "IdentifierRequest", bodies::identifier_request();
    identifier_response: "IdentifierResponse", bodies::identifier_response();
    key_material_request: "KeyMaterialRequest", bodies::key_material_request();
    key_material_response: "KeyMaterialResponse", bodies::key_material_response();
    key_package: "KeyPackage", strategies::key_package();
    leaf_node: "LeafNode", strategies::leaf();
    message_application: "MlsMessage", strategies::application_message();
    message_commit: "MlsMessage", strategies::commit_message();
    message_proposal: "MlsMessage", strategies::proposal_message();
    participants: "ParticipantListData", strategies::participants();
    participants_update: "ParticipantListUpdate", strategies::participants_update();
    proposal: "Proposal", strategies::proposal();
    ratchet_tree: "RatchetTree", strategies::ratchet_tree();
    submit_request: "SubmitMessageRequest", bodies::submit_request();
    submit_response: "SubmitMessageResponse", bodies::submit_response();
    update_response: "UpdateRoomResponse", bodies::update_response();
    welcome: "Welcome", strategies::welcome();
}

proptest! {
    #[test]
    fn any_octets_in_any_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in KINDS {
            exact(kind, &bytes)?;
        }
    }

    #[test]
    fn small_octets_in_any_decoder(bytes in proptest::collection::vec(0u8..8, 0..60)) {
        // Small numbers are presence octets, codes and short lengths, so that decoders get further.
        for kind in KINDS {
            exact(kind, &bytes)?;
        }
    }
}

#[test]
fn a_length_that_is_not_there() {
    // A vector that claims a gigabyte.
    for kind in KINDS {
        assert!(kind.read(&[0xbf, 0xff, 0xff, 0xff]).is_err(), "{kind:?}");
    }
}
