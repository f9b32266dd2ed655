use event_graph::{
    Pdu, RoomVersion, SigningIdentity, VerifyKey,
    json::{JsonErrorKind, canonicalize},
};
use serde_json::Value;

use crate::data;

#[test]
fn vectors_of_the_specification() {
    let Some(data) = data() else { return };
    let vectors: Value =
        serde_json::from_slice(&std::fs::read(data.join("matrix-spec-vectors.json")).unwrap()).unwrap();
    for case in vectors["canonical_json"].as_array().unwrap() {
        let input = case["input"].as_str().unwrap();
        let ours = canonicalize(input.as_bytes());
        // The last example turns `-0` and `1e10` into integers. In events of room version 6 and later neither
        // may appear ("strictly enforce"), and this parser reads events: docs/decisions/0011.
        if input.contains("-0") {
            assert_eq!(ours.unwrap_err().kind, JsonErrorKind::NegativeZero);
            continue;
        }
        assert_eq!(ours.unwrap(), case["canonical"].as_str().unwrap());
    }
    let seed: [u8; 32] = hex::decode("6090c103d5e7af6b15a970fd563ed75549e6159719ae5c3c31dee4316fb75c0d")
        .unwrap()
        .try_into()
        .unwrap();
    let identity = SigningIdentity::from_seed("domain", "ed25519:1", &seed);
    for case in vectors["signing"]["json"].as_array().unwrap() {
        let signature = identity.sign_json(&case["input"]).unwrap();
        assert_eq!(
            case["signed"]["signatures"]["domain"]["ed25519:1"],
            signature.as_str()
        );
    }
    let mut keys = event_graph::KeyRing::new();
    keys.insert("domain", "ed25519:1", identity.verify_key(), None);
    let mut read = 0;
    for case in vectors["signing"]["events"].as_array().unwrap() {
        // The second lacks fields that room versions 6 and later demand; what it has is hashed the same.
        let Ok(pdu) = Pdu::parse(case["signed"].to_string().as_bytes(), RoomVersion::V6) else {
            continue;
        };
        assert!(pdu.content_hash_matches());
        pdu.verify(&keys).unwrap();
        read += 1;
    }
    assert!(read > 0);
}

/// Every file of the suite is accepted or refused as docs/decisions/0011 says: by the specification's text.
#[test]
fn json_test_suite() {
    let Some(data) = data() else { return };
    let peers: Value =
        serde_json::from_slice(&std::fs::read(data.join("json-strictness-peers.json")).unwrap()).unwrap();
    let list = |key: &str| -> Vec<&str> {
        peers[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap())
            .collect()
    };
    let (synapse, ruma) = (list("synapse_1.163.2_accepts"), list("ruma_common_0.20_accepts"));
    let mut seen = 0;
    for entry in std::fs::read_dir(data.join("json/test_parsing")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let ours = canonicalize(&bytes);
        seen += 1;
        if let Err(error) = &ours {
            let explained = match error.kind {
                // Both peers take the last of two equal keys; we refuse what has two readings.
                JsonErrorKind::DuplicateKey => name.contains("duplicated_key"),
                // "negative zero -0 MUST NOT appear": ruma refuses too, Synapse does not.
                JsonErrorKind::NegativeZero => !ruma.contains(&name.as_str()),
                _ => !synapse.contains(&name.as_str()) || !ruma.contains(&name.as_str()),
            };
            assert!(explained, "{name} is refused with {error}, peers accept it");
            assert!(
                !name.starts_with("y_number") || !name.contains("simple_int"),
                "{name}"
            );
        } else {
            assert!(!name.starts_with("n_"), "{name} is accepted");
            // Beyond both peers' nesting there is nothing that we accept and neither does.
            assert!(
                synapse.contains(&name.as_str()) || ruma.contains(&name.as_str()),
                "{name}"
            );
        }
    }
    assert!(seen > 300);
    assert!(
        canonicalize(
            &std::fs::read(data.join("json/test_parsing/i_structure_500_nested_arrays.json")).unwrap()
        )
        .is_ok()
    );
}

/// Wycheproof, whole. The suite's verdicts are those of strict implementations, and ours.
#[test]
fn wycheproof_ed25519() {
    let Some(data) = data() else { return };
    let suite: Value =
        serde_json::from_slice(&std::fs::read(data.join("ed25519/ed25519_test.json")).unwrap()).unwrap();
    let mut seen = 0;
    for group in suite["testGroups"].as_array().unwrap() {
        let key: [u8; 32] = hex::decode(group["publicKey"]["pk"].as_str().unwrap())
            .unwrap()
            .try_into()
            .unwrap();
        let key = VerifyKey::from_bytes(&key);
        for case in group["tests"].as_array().unwrap() {
            let message = hex::decode(case["msg"].as_str().unwrap()).unwrap();
            let signature: Result<[u8; 64], _> =
                hex::decode(case["sig"].as_str().unwrap()).unwrap().try_into();
            let ours = match (&key, signature) {
                (Ok(key), Ok(signature)) => key.verifies(&message, &signature),
                _ => false,
            };
            assert_eq!(ours, case["result"] == "valid", "{case}");
            seen += 1;
        }
    }
    assert_eq!(seen, suite["numberOfTests"].as_u64().unwrap());
}
