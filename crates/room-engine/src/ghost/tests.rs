#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;
use proptest::prelude::*;

const SERVER: &str = "a.example";

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

#[test]
fn the_forms_of_the_design() {
    for (from, to) in [
        ("mimi://b.example/u/bob", "_mimi_bob=40b.example"),
        ("mimi://b.example/u/Bob_x=y", "_mimi_=42ob=5fx=3dy=40b.example"),
        ("mimi://B.example/u/bob", "_mimi_bob=40=42.example"),
        (
            "mimi://b.example/u/a@c.example",
            "_mimi_a=40c.example=40b.example",
        ),
        ("mimi://b.example/u/a%20b", "_mimi_a=2520b=40b.example"),
        ("mimi://b.example/u/h_", "_mimi_h=5f=40b.example"),
    ] {
        assert_eq!(localpart(&uri(from), SERVER), to);
        assert_eq!(parse(to, SERVER), Some(Ghost::User(uri(from))));
    }
    for hashed in [
        "mimi://b.example/p/bob",
        "mimi://b.example/u/bob/x",
        "mimi://b.example/u/",
        "mimi://b.example",
        &format!("mimi://b.example/u/{}", "x".repeat(240)),
        &format!("mimi://b.example/u/{}", "X".repeat(80)),
    ] {
        let part = localpart(&uri(hashed), SERVER);
        assert!(
            part.starts_with("_mimi_h_") && part.len() == 60,
            "{hashed} {part}"
        );
        assert!(matches!(parse(&part, SERVER), Some(Ghost::Hashed(_))));
    }
}

#[test]
fn base32_is_that_of_rfc_4648() {
    // SHA-256 of nothing; base32 made with another implementation.
    assert_eq!(
        hashed(b""),
        "4oymiquy7qobjgx36tejs35zeqt24qpemsnzgtfeswmrw6csxbkq"
    );
}

#[test]
fn other_spellings_are_no_ghosts() {
    for text in [
        "_mimi",
        "_mimi_",
        "_mimi_bob",
        "_mimi_bob=40",
        "_mimi_=40b.example",
        "_mimi_=62ob=40b.example",
        "_mimi_bob=4Fx=40b.example",
        "_mimi_bob=40b_example",
        "_mimi_bob=4",
        "_mimi_h_",
        "_mimi_h_4oymiquy7qobjgx36tejs35zeqt24qpemsnzgtfeswmrw6csxbkz",
        "bob",
    ] {
        assert_eq!(parse(text, SERVER), None, "{text}");
    }
}

proptest! {
    #[test]
    fn uris_and_local_parts_belong_to_each_other(
        domain in "[a-zA-Z0-9]{1,12}(\\.[a-zA-Z0-9]{1,9}){1,3}",
        path in "/(u|p|d)(/([A-Za-z0-9._~!$&'()*+,;=:@é-]|%[0-9A-Fa-f]{2}){0,40}){0,2}",
    ) {
        let Ok(uri) = MimiUri::parse(&format!("mimi://{domain}{path}")) else { return Ok(()) };
        let part = localpart(&uri, SERVER);
        prop_assert!(part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'=' | b'_')));
        prop_assert!(user_id(&uri, SERVER).len() <= MAX_MXID);
        match parse(&part, SERVER) {
            Some(Ghost::User(back)) => prop_assert_eq!(back, uri),
            Some(Ghost::Hashed(hash)) => prop_assert_eq!(hash, hashed(uri.as_bytes())),
            None => prop_assert!(false, "{} does not read back", part),
        }
    }

    #[test]
    fn what_reads_as_a_ghost_is_written_the_same_way(rest in "[a-z0-9.=_-]{0,60}") {
        let part = format!("{NAMESPACE}{rest}");
        if let Some(Ghost::User(uri)) = parse(&part, SERVER) {
            prop_assert_eq!(localpart(&uri, SERVER), part);
        }
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,300}") {
        let _ = parse(&text, SERVER);
    }
}
