use super::*;
use proptest::prelude::*;

/// The signing key of the specification's appendix.
fn identity() -> SigningIdentity {
    // The appendix gives it with a last digit whose spare bits are set; the same octets with them clear.
    let seed = STANDARD_NO_PAD
        .decode("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA0")
        .unwrap();
    SigningIdentity::from_seed("domain", "ed25519:1", &seed.try_into().unwrap())
}

fn signature(header: &str) -> String {
    header
        .rsplit_once("sig=\"")
        .unwrap()
        .1
        .trim_end_matches('"')
        .to_owned()
}

#[test]
fn known_signatures() {
    let content = r#"{"origin":"domain","origin_server_ts":1,"pdus":[]}"#;
    let put = sign(
        &identity(),
        "PUT",
        "/_matrix/federation/v1/send/t1",
        "dest.test",
        Some(content),
    );
    assert_eq!(
        signature(&put),
        "X9Ck1fprfKcGlL9PT9+z/dnhZbXv3sZqDK0/mp1EPJr9AKnH69ApMzfabzbAYSH9T7k/N9f3AnQdEsYAIHnICQ"
    );
    let get = sign(
        &identity(),
        "GET",
        "/_matrix/federation/v1/version?x=1",
        "dest.test",
        None,
    );
    assert_eq!(
        signature(&get),
        "RpXbRCqlB/t/iOBvH1ZqfuOqKIeHN1ozYC6f8G3fw32Ahb9aAVLR/hcYYQZl2sDPcdE4Kdr2aWY47MlOIDyqAg"
    );
}

#[test]
fn what_is_signed_verifies_and_nothing_else_does() {
    let identity = identity();
    let key = identity.verify_key();
    let body = br#"{"b": 1, "a": [ "x" ]}"#;
    let canonical = canonicalize(body).unwrap();
    let uri = "/_matrix/federation/v1/state/%21a%3Ab?event_id=%24x";
    let header = sign(&identity, "PUT", uri, "me.test", Some(&canonical));
    let claim = parse(&header).unwrap();
    assert_eq!(verify(&claim, &key, "me.test", "PUT", uri, body), Ok(()));
    // The same target in another spelling is another target.
    let spelt = "/_matrix/federation/v1/state/!a:b?event_id=%24x";
    for (method, uri, own, body) in [
        ("PUT", spelt, "me.test", &body[..]),
        ("POST", uri, "me.test", body),
        ("PUT", uri, "other.test", body),
        ("PUT", uri, "me.test", br#"{"b":2,"a":["x"]}"#),
        ("PUT", uri, "me.test", b""),
    ] {
        assert_eq!(
            verify(&claim, &key, own, method, uri, body),
            Err(AuthError::WrongSignature)
        );
    }
    assert!(matches!(
        verify(&claim, &key, "me.test", "PUT", uri, br#"{"a":1.5}"#),
        Err(AuthError::Body(_))
    ));
    assert!(matches!(
        verify(&claim, &key, "me.test", "PUT", uri, br#"{"a":1,"a":2}"#),
        Err(AuthError::Body(_))
    ));
}

#[test]
fn headers_as_servers_write_them() {
    let sig = STANDARD_NO_PAD.encode([7; 64]);
    for header in [
        format!("X-Matrix origin=\"a.example\",destination=\"b.example\",key=\"ed25519:1\",sig=\"{sig}\""),
        format!("X-Matrix origin=a.example,key=\"ed25519:1\",destination=b.example,sig={sig}"),
        format!(
            "x-matrix  origin = \"a.ex\\ample\" , key=ed25519:1,extra=\"a, b=c\",destination=b.example, sig=\"{sig}\""
        ),
    ] {
        let claim = parse(&header).unwrap();
        assert_eq!(claim.origin.as_str(), "a.example");
        assert_eq!(claim.destination.as_deref(), Some("b.example"));
        assert_eq!((claim.key_id.as_str(), claim.signature), ("ed25519:1", [7; 64]));
    }
    let old = parse(&format!("X-Matrix origin=a,key=\"ed25519:1\",sig=\"{sig}\"")).unwrap();
    assert_eq!(old.destination, None);
    assert_eq!(check_names(&old, "b"), Ok(()));
    assert_eq!(check_names(&old, "a"), Err(AuthError::OwnOrigin));
    for header in [
        String::new(),
        "Bearer x".to_owned(),
        "X-Matrix".to_owned(),
        "X-Matrix origin=a".to_owned(),
        format!("X-Matrix origin=\"a,key=ed25519:1,sig={sig}"),
        format!("X-Matrix origin=a b,key=ed25519:1,sig={sig}"),
        format!("X-Matrix origin=a,origin=b,key=ed25519:1,sig={sig}"),
        format!("X-Matrix origin=a,key=rsa:1,sig={sig}"),
        format!("X-Matrix origin=a,key=ed25519:1,sig={}", &sig[1..]),
        format!(
            "X-Matrix origin=a,key=ed25519:1,sig={sig}{}",
            " ".repeat(MAX_HEADER)
        ),
    ] {
        assert!(parse(&header).is_err(), "{header}");
    }
}

proptest! {
    #[test]
    fn any_header_is_read_or_refused(text in ".{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("X-Matrix {text}"));
    }

    #[test]
    fn a_signed_header_comes_back(uri in "/[a-zA-Z0-9%/!:?=&$_-]{0,80}", n in any::<u32>()) {
        let identity = identity();
        let content = format!("{{\"n\":{n}}}");
        let claim = parse(&sign(&identity, "POST", &uri, "me.test", Some(&content))).unwrap();
        prop_assert_eq!(
            verify(&claim, &identity.verify_key(), "me.test", "POST", &uri, content.as_bytes()),
            Ok(())
        );
    }
}
