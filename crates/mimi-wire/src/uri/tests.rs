#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::{Domain, MimiUri, UriError, UriKind};
use crate::codec::{Decode, Encode};
use proptest::prelude::*;

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

#[test]
fn kinds() {
    for (text, kind) in [
        ("mimi://a.example", UriKind::Provider),
        ("mimi://a.example/", UriKind::Provider),
        ("mimi://a.example/u/alice", UriKind::User),
        ("mimi://a.example/p/crazykoala75", UriKind::Pseudonym),
        ("mimi://a.example/d/ClientA1", UriKind::Client),
        ("mimi://a.example/d/alice/ClientA1", UriKind::Client),
        ("mimi://a.example/r/clubhouse", UriKind::Room),
        ("mimi://a.example/g/clubhouse", UriKind::Group),
        ("mimi://a.example/t/engineering", UriKind::Team),
        ("mimi://a.example/u", UriKind::Other),
        ("mimi://a.example/u/", UriKind::Other),
        ("mimi://a.example/x/y", UriKind::Other),
    ] {
        assert_eq!(uri(text).kind(), kind, "{text}");
    }
}

#[test]
fn octets_are_the_identity_but_the_host_routes() {
    let upper = uri("mimi://A.Example/u/alice");
    let lower = uri("mimi://a.example/u/alice");
    assert_ne!(upper, lower);
    assert_eq!(upper.domain(), lower.domain());
    assert_eq!(upper.as_str(), "mimi://A.Example/u/alice");
    assert_eq!(upper.authority(), "A.Example");
}

#[test]
fn refused() {
    for (text, error) in [
        ("", UriError::Scheme),
        ("im:alice@a.example", UriError::Scheme),
        ("MIMI://a.example", UriError::Scheme),
        ("mimi://", UriError::Domain),
        ("mimi:///u/a", UriError::Domain),
        ("mimi://a.example:8448/u/a", UriError::Domain),
        ("mimi://u@a.example/u/a", UriError::Domain),
        ("mimi://a..example/u/a", UriError::Domain),
        ("mimi://a.example./u/a", UriError::Domain),
        ("mimi://127.0.0.1/u/a", UriError::Domain),
        ("mimi://a.example/u/a b", UriError::Character),
        ("mimi://a.example/u/a\n", UriError::Character),
        ("mimi://a.example/u/a?x=1", UriError::Character),
        ("mimi://a.example/u/a#x", UriError::Character),
        ("mimi://a.example/u/%4", UriError::Escape),
        ("mimi://a.example/u/%zz", UriError::Escape),
    ] {
        assert_eq!(MimiUri::parse(text), Err(error), "{text}");
    }
    assert_eq!(
        MimiUri::parse(&format!("mimi://a.example/u/{}", "a".repeat(2048))),
        Err(UriError::TooLong)
    );
    assert_eq!(
        MimiUri::try_from(&b"mimi://a.example/u/\xff"[..]),
        Err(UriError::Utf8)
    );
    assert_eq!(
        MimiUri::user(&Domain::parse("a.example").unwrap(), ""),
        Err(UriError::EmptySegment)
    );
}

#[test]
fn clients_name_their_user() {
    let domain = Domain::parse("a.example").unwrap();
    let client = MimiUri::client(&domain, "al/ice", "Phone 1").unwrap();
    assert_eq!(client.as_str(), "mimi://a.example/d/al%2Fice/Phone%201");
    assert_eq!(
        client.client_user().unwrap(),
        MimiUri::user(&domain, "al/ice").unwrap()
    );
    assert_eq!(client.client_device().unwrap(), "Phone 1");
    assert_eq!(uri("mimi://a.example/d/alice").client_user(), None);
    assert_eq!(uri("mimi://a.example/d/a/b/c").client_user(), None);
    assert_eq!(uri("mimi://a.example/u/a/b").client_user(), None);
}

#[test]
fn dots_survive() {
    let domain = Domain::parse("a.example").unwrap();
    assert_eq!(
        MimiUri::user(&domain, "..").unwrap().as_str(),
        "mimi://a.example/u/%2E%2E"
    );
    assert_eq!(
        MimiUri::user(&domain, "a.b").unwrap().as_str(),
        "mimi://a.example/u/a.b"
    );
}

#[test]
fn json_is_the_text() {
    let a = uri("mimi://a.example/u/alice");
    assert_eq!(serde_json::to_string(&a).unwrap(), "\"mimi://a.example/u/alice\"");
    assert!(serde_json::from_str::<MimiUri>("\"mimi://a b/u/alice\"").is_err());
    assert!(serde_json::from_str::<Domain>("\"a_b\"").is_err());
}

proptest! {
    #[test]
    fn localparts_round_trip(localpart in "\\PC{1,40}", device in "\\PC{1,20}") {
        let domain = Domain::parse("a.example").unwrap();
        let user = MimiUri::user(&domain, &localpart).unwrap();
        prop_assert_eq!(user.local_id().unwrap(), localpart.as_str());
        prop_assert_eq!(MimiUri::parse(user.as_str()).unwrap(), user.clone());
        prop_assert_eq!(MimiUri::from_bytes(&user.to_bytes()).unwrap(), user.clone());
        let client = MimiUri::client(&domain, &localpart, &device).unwrap();
        prop_assert_eq!(client.client_user().unwrap(), user);
        prop_assert_eq!(client.client_device().unwrap(), device);
    }

    #[test]
    fn any_text_is_taken_as_it_is_or_refused(text in "(mimi://)?[a-zA-Z0-9./%u -]{0,60}") {
        if let Ok(uri) = MimiUri::parse(&text) {
            prop_assert_eq!(uri.as_str(), text.as_str());
            prop_assert_eq!(Domain::parse(uri.authority()).unwrap(), uri.domain());
            let _ = (uri.kind(), uri.local_id(), uri.client_user(), uri.segments().count());
        }
    }
}
