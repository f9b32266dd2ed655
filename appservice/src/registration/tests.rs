#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;

fn counted() -> impl FnMut(&mut [u8]) -> Result<(), std::convert::Infallible> {
    let mut next = 0_u8;
    move |buf| {
        buf.fill_with(|| {
            next = next.wrapping_add(7);
            next
        });
        Ok(())
    }
}

fn sample() -> Registration {
    Registration::generate("a.example", "http://127.0.0.1:9100/", counted()).unwrap()
}

#[test]
fn yaml_round_trip_keeps_everything() {
    let made = sample();
    let text = made.to_yaml().unwrap();
    let read = Registration::from_yaml(&text).unwrap();
    assert_eq!(made.diff(&read), []);
    assert_eq!(read.to_yaml().unwrap(), text);
}

/// "Receipts and typing absent without receive_ephemeral" (mautrix/meta#32), "unstable keys partly implemented"
/// (tuwunel#327): both spellings of every key.
#[test]
fn the_file_holds_what_homeservers_read() {
    let yaml: serde_json::Value = serde_yaml_ng::from_str(&sample().to_yaml().unwrap()).unwrap();
    assert_eq!(yaml["id"], "causeway");
    assert_eq!(yaml["url"], "http://127.0.0.1:9100");
    assert_eq!(yaml["sender_localpart"], "_mimi");
    assert_eq!(yaml["namespaces"]["users"][0]["regex"], r"@_mimi_.*:a\.example");
    assert_eq!(yaml["namespaces"]["users"][0]["exclusive"], true);
    assert_eq!(yaml["namespaces"]["aliases"][0]["regex"], r"#_mimi_.*:a\.example");
    assert_eq!(yaml["namespaces"]["rooms"], serde_json::json!([]));
    assert_eq!(yaml["rate_limited"], false);
    assert_eq!(yaml["protocols"], serde_json::json!(["mimi"]));
    for key in [
        "receive_ephemeral",
        "de.sorunome.msc2409.push_ephemeral",
        "org.matrix.msc3202",
        "io.element.msc4190",
    ] {
        assert_eq!(yaml[key], true, "{key}");
    }
    let (a, h) = (
        yaml["as_token"].as_str().unwrap(),
        yaml["hs_token"].as_str().unwrap(),
    );
    assert_eq!(a.len(), 64);
    assert_ne!(a, h);
}

/// "Registration needs a restart; token and namespace mistakes" (synapse#1354).
#[test]
fn a_difference_names_the_key_and_never_shows_a_token() {
    let (wanted, mut running) = (sample(), sample());
    running.as_token = Secret::new("oldoldold");
    running.rate_limited = None;
    running.namespaces.users[0].exclusive = false;
    running
        .other
        .insert("ip_range_whitelist".to_owned(), serde_json::json!(["127.0.0.1"]));
    let diff = wanted.diff(&running);
    let keys: Vec<&str> = diff.iter().map(|d| d.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "ip_range_whitelist",
            "namespaces.users",
            "rate_limited",
            "as_token"
        ]
    );
    let shown = format!("{diff:?} {wanted:?}");
    assert!(!shown.contains("oldoldold"));
    assert!(!shown.contains(wanted.as_token.expose()));
    assert!(!shown.contains(wanted.hs_token.expose()));
}

#[test]
fn what_no_homeserver_could_use_is_refused() {
    for url in ["127.0.0.1:9100", "ftp://a.example", "", "http://"] {
        assert!(
            matches!(
                Registration::generate("a.example", url, counted()),
                Err(RegistrationError::Url(_))
            ),
            "{url}"
        );
    }
    for name in ["", "a b", "a/b", "@a:b.example"] {
        assert!(
            matches!(
                Registration::generate(name, "http://a", counted()),
                Err(RegistrationError::ServerName(_))
            ),
            "{name}"
        );
    }
    assert!(matches!(
        Registration::from_yaml(&"a".repeat(MAX_FILE + 1)),
        Err(RegistrationError::TooLarge)
    ));
    assert!(Registration::from_yaml("id: x").is_err());
}

#[test]
fn secrets_compare_whole_and_an_empty_one_matches_nothing() {
    let secret = Secret::new("abc\n");
    assert!(secret.matches("abc"));
    assert!(!secret.matches("abcd"));
    assert!(!secret.matches("ab"));
    assert!(!secret.matches(""));
    assert!(!Secret::new("").matches(""));
}
