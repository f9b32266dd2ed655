use super::*;
use proptest::prelude::*;

const DAY: i64 = 24 * 3600 * 1000;
const NOW: i64 = 1_700_000_000_000;

fn identity(version: &str, seed: u8) -> Arc<SigningIdentity> {
    Arc::new(SigningIdentity::from_seed(
        "a.example",
        &format!("ed25519:{version}"),
        &[seed; 32],
    ))
}

fn signed(mut document: Value, by: &[&SigningIdentity]) -> Vec<u8> {
    let signatures: Map<String, Value> = by
        .iter()
        .map(|i| (i.key_id().to_owned(), json!(i.sign_json(&document).unwrap())))
        .collect();
    document["signatures"] = json!({ "a.example": signatures });
    document.to_string().into_bytes()
}

fn document(key: &SigningIdentity, valid_until: i64) -> Value {
    json!({
        "server_name": "a.example", "valid_until_ts": valid_until, "old_verify_keys": {},
        "verify_keys": { key.key_id(): { "key": key.verify_key().to_base64() } },
    })
}

#[test]
fn our_own_document_is_taken_by_our_own_reader() {
    let old = identity("0", 9);
    let keys = OwnKeys::new(
        identity("1", 1),
        [("ed25519:0".to_owned(), (old.verify_key(), NOW - 5))].into(),
    );
    let record = read_answer(keys.document(NOW).to_string().as_bytes(), "a.example", NOW).unwrap();
    assert_eq!(record.key("ed25519:1", NOW), Some(identity("1", 1).verify_key()));
    assert_eq!(record.key("ed25519:1", NOW + 2 * DAY), None);
    assert_eq!(record.key("ed25519:0", NOW - 5), Some(old.verify_key()));
    assert_eq!(
        record.key("ed25519:0", NOW - 4),
        None,
        "ATK-36: after it expired a key signs nothing"
    );
    assert!(!record.keys["ed25519:0"].current);
    assert_eq!(keys.key("ed25519:1"), Some((identity("1", 1).verify_key(), None)));
    assert_eq!(keys.key("ed25519:0"), Some((old.verify_key(), Some(NOW - 5))));
    assert_eq!(keys.key("ed25519:2"), None);
}

#[test]
fn validity_is_seven_days_at_most() {
    let one = identity("1", 1);
    let record = read_answer(
        &signed(document(&one, NOW + 400 * DAY), &[&one]),
        "a.example",
        NOW,
    )
    .unwrap();
    assert!(record.key("ed25519:1", NOW + 7 * DAY).is_some());
    assert_eq!(record.key("ed25519:1", NOW + 7 * DAY + 1), None);
    let past = read_answer(&signed(document(&one, NOW - DAY), &[&one]), "a.example", NOW).unwrap();
    assert_eq!(
        past.key("ed25519:1", NOW),
        None,
        "expired keys are no keys for now"
    );
    assert!(past.key("ed25519:1", NOW - DAY).is_some());
}

#[test]
fn lies_in_key_answers_are_refused() {
    let (one, two) = (identity("1", 1), identity("2", 2));
    let good = document(&one, NOW + DAY);
    let read = |octets: &[u8]| read_answer(octets, "a.example", NOW);
    assert!(read(&signed(good.clone(), &[&one])).is_ok());
    // Signed by another key, by nobody, for another name, or rightly by one key and wrongly by another.
    assert_eq!(
        read(&signed(good.clone(), &[&two])),
        Err(KeyAnswerError::Signature)
    );
    assert_eq!(read(&signed(good.clone(), &[])), Err(KeyAnswerError::Signature));
    let other = read_answer(&signed(good.clone(), &[&one]), "b.example", NOW);
    assert_eq!(other, Err(KeyAnswerError::OtherServer));
    let mut both = good.clone();
    both["verify_keys"]["ed25519:2"] = json!({ "key": two.verify_key().to_base64() });
    let mut octets: Value = serde_json::from_slice(&signed(both, &[&one, &two])).unwrap();
    octets["signatures"]["a.example"]["ed25519:2"] = octets["signatures"]["a.example"]["ed25519:1"].clone();
    assert_eq!(
        read(octets.to_string().as_bytes()),
        Err(KeyAnswerError::Signature)
    );
    for (pointer, value) in [
        ("/valid_until_ts", json!("soon")),
        ("/valid_until_ts", json!(null)),
        ("/verify_keys", json!([])),
        (
            "/verify_keys/ed25519:1/key",
            json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ),
        ("/verify_keys/ed25519:1/key", json!(7)),
        (
            "/old_verify_keys",
            json!({"ed25519:0": {"key": one.verify_key().to_base64()}}),
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(read(&signed(bad, &[&one])).is_err(), "{pointer}");
    }
    let mut many = good;
    for n in 0..=MOST_KEYS {
        many["old_verify_keys"][format!("ed25519:o{n}")] =
            json!({"key": two.verify_key().to_base64(), "expired_ts": 1});
    }
    assert_eq!(read(&signed(many, &[&one])), Err(KeyAnswerError::TooMany));
    assert_eq!(
        read(br#"{"server_name":"a.example","server_name":"a.example"}"#),
        Err(KeyAnswerError::Json)
    );
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300), at in any::<usize>()) {
        let _ = read_answer(&octets, "a.example", NOW);
        // One octet of a good answer changed: another answer, or none, and never one that lasts longer.
        let one = identity("1", 1);
        let mut good = signed(document(&one, NOW + DAY), &[&one]);
        let place = at % good.len();
        good[place] = octets.first().copied().unwrap_or(b'0');
        if let Ok(record) = read_answer(&good, "a.example", NOW) {
            prop_assert_eq!(record.key("ed25519:1", NOW + DAY + 1), None);
        }
    }
}

#[test]
fn a_known_key_id_never_means_another_key() {
    let (one, other) = (identity("1", 1), identity("1", 3));
    let mut record = read_answer(&signed(document(&one, NOW + DAY), &[&one]), "a.example", NOW).unwrap();
    let newer = read_answer(
        &signed(document(&other, NOW + 2 * DAY), &[&other]),
        "a.example",
        NOW + 1,
    )
    .unwrap();
    record.merge(newer);
    assert_eq!(record.key("ed25519:1", NOW), Some(one.verify_key()));
    // A key that vanished keeps what it had.
    let two = identity("2", 2);
    record.merge(
        read_answer(
            &signed(document(&two, NOW + 2 * DAY), &[&two]),
            "a.example",
            NOW + 2,
        )
        .unwrap(),
    );
    assert!(record.key("ed25519:1", NOW + DAY).is_some() && record.key("ed25519:1", NOW + DAY + 1).is_none());
    assert!(record.key("ed25519:2", NOW + 2 * DAY).is_some());
}
