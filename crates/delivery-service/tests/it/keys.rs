//! Decisions of the key directory.

use crate::client::{COMPONENTS, SUITE, SUITES, TestClient, each_suite, uri, wire};
use delivery_service::keys::{
    RequestRefusal, Selection, UploadRefusal, room_capabilities, select, validate_upload, verify_request,
};
use mimi_wire::mls::{CipherSuite, Credential, KeyPackage};
use mimi_wire::protocol::KeyMaterialRequest;
use mimi_wire::{MimiUri, Opaque};
use openmls::prelude::{Lifetime, tls_codec::Serialize as _};
use openmls_traits::signatures::Signer as _;
use openmls_traits::types::SignatureScheme;
use std::time::{SystemTime, UNIX_EPOCH};

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A request whose first suite is the requester's.
pub(crate) fn request(client: &TestClient, user: MimiUri) -> KeyMaterialRequest {
    let mut request = KeyMaterialRequest {
        requesting_user: user,
        target_user: uri("mimi://b.example/u/bob"),
        room_id: Some(uri("mimi://a.example/r/club")),
        acceptable_ciphersuites: vec![
            CipherSuite(client.suite.into()),
            CipherSuite(0x0a0a),
            CipherSuite(7),
        ],
        required_capabilities: room_capabilities(),
        requester_signature_key: client.signer.public().into(),
        requester_credential: Credential::basic(client.uri.as_bytes()),
        key_material_request_signature: Opaque::default(),
    };
    let signature = client.signer.sign(&request.sign_content()).unwrap();
    request.key_material_request_signature = signature.into();
    request
}

fn key_package(client: &TestClient, lifetime: Lifetime) -> KeyPackage {
    wire(
        &client
            .key_package_with(lifetime, &COMPONENTS)
            .tls_serialize_detached()
            .unwrap(),
    )
}

#[test]
fn requests_are_signed_by_who_asks() {
    each_suite(|suite| {
        let alice = TestClient::of(suite, "mimi://a.example/d/alice/phone");
        let genuine = request(&alice, alice.user());
        assert_eq!(verify_request(&genuine), Ok(()));
        let foreign = request(&alice, uri("mimi://a.example/u/mallory"));
        assert_eq!(verify_request(&foreign), Err(RequestRefusal::Credential));
        let mut retargeted = genuine.clone();
        retargeted.target_user = uri("mimi://b.example/u/carol");
        assert_eq!(verify_request(&retargeted), Err(RequestRefusal::Signature));
        // By the scheme of an acceptable suite, not of any that is known here.
        let other = match suite.signature_algorithm() {
            SignatureScheme::ED25519 => CipherSuite(2),
            _ => CipherSuite(1),
        };
        for others in [vec![CipherSuite(0xf000)], vec![CipherSuite(7), other]] {
            let mut request = genuine.clone();
            request.acceptable_ciphersuites = others;
            let signature = alice.signer.sign(&request.sign_content()).unwrap();
            request.key_material_request_signature = signature.into();
            assert_eq!(verify_request(&request), Err(RequestRefusal::Signature));
        }
    });
}

#[test]
fn the_fitting_key_package_is_chosen() {
    let alice = TestClient::new("mimi://a.example/d/alice/phone");
    let bob = TestClient::new("mimi://b.example/d/bob/phone");
    let request = request(&alice, alice.user());
    let lifetimes = [(100, 200), (100, 400), (100, 300)];
    let stock: Vec<KeyPackage> = lifetimes
        .iter()
        .map(|(from, until)| key_package(&bob, Lifetime::init(*from, *until)))
        .collect();
    let pick = |request: &KeyMaterialRequest, now| select(request, stock.iter().enumerate(), now);
    assert_eq!(pick(&request, 150_000), Selection::Found(0));
    assert_eq!(pick(&request, 200_000), Selection::Found(2));
    assert_eq!(pick(&request, 399_000), Selection::Found(1));
    assert_eq!(pick(&request, 400_000), Selection::Exhausted);
    assert_eq!(pick(&request, 99_000), Selection::Exhausted);
    let mut other = request.clone();
    other.acceptable_ciphersuites = vec![CipherSuite(3)];
    assert_eq!(pick(&other, 150_000), Selection::NothingCompatible);
    let mut demanding = request;
    demanding.required_capabilities.extension_types.push(0xf123);
    assert_eq!(pick(&demanding, 150_000), Selection::NothingCompatible);
}

#[test]
fn uploads() {
    let bob = TestClient::new("mimi://b.example/d/bob/phone");
    let now = now_ms();
    let good = key_package(&bob, Lifetime::default());
    assert_eq!(
        validate_upload(&bob.uri, &good, now).unwrap(),
        good.reference().unwrap()
    );
    let other = uri("mimi://b.example/d/bob/laptop");
    assert_eq!(
        validate_upload(&other, &good, now),
        Err(UploadRefusal::AnotherClient(bob.uri.clone()))
    );
    let seconds = now / 1000;
    for (from, until) in [
        (seconds - 20, seconds - 10),
        (seconds + 1000, seconds + 2000),
        (seconds - 10, seconds + 400 * 24 * 3600),
    ] {
        let bad = key_package(&bob, Lifetime::init(from, until));
        assert_eq!(validate_upload(&bob.uri, &bad, now), Err(UploadRefusal::Lifetime));
    }
    let mut bytes = good.as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(
        validate_upload(&bob.uri, &wire(&bytes), now),
        Err(UploadRefusal::Mls(_))
    ));
    // Other suites are refused by number; what is of one of ours is validated by it.
    for suite in [0_u16, 4, 5, 6, 7, 8, 0x0a0a, 0xf000] {
        let mut bytes = good.as_bytes().to_vec();
        bytes[2..4].copy_from_slice(&suite.to_be_bytes());
        let refused = validate_upload(&bob.uri, &wire(&bytes), now);
        assert_eq!(refused, Err(UploadRefusal::CipherSuite(suite)));
    }
    each_suite(|suite| {
        let bob = TestClient::of(suite, "mimi://b.example/d/bob/phone");
        let good = key_package(&bob, Lifetime::default());
        assert_eq!(good.cipher_suite().0, u16::from(suite));
        assert!(validate_upload(&bob.uri, &good, now).is_ok());
        for other in SUITES.into_iter().filter(|other| *other != suite) {
            let mut bytes = good.as_bytes().to_vec();
            bytes[2..4].copy_from_slice(&u16::from(other).to_be_bytes());
            let refused = validate_upload(&bob.uri, &wire(&bytes), now);
            assert!(matches!(refused, Err(UploadRefusal::Mls(_))));
        }
    });

    let bare = openmls::prelude::KeyPackage::builder()
        .build(SUITE, &bob.provider, &bob.signer, bob.credential())
        .unwrap();
    let bare: KeyPackage = wire(&bare.key_package().tls_serialize_detached().unwrap());
    assert!(matches!(
        validate_upload(&bob.uri, &bare, now),
        Err(UploadRefusal::Capability(_))
    ));
    let deaf: KeyPackage = wire(
        &bob.key_package_with(Lifetime::default(), &[])
            .tls_serialize_detached()
            .unwrap(),
    );
    assert!(matches!(
        validate_upload(&bob.uri, &deaf, now),
        Err(UploadRefusal::Capability(_))
    ));
}

#[test]
fn a_key_package_of_the_requesters_best_suite_is_chosen() {
    let alice = TestClient::new("mimi://a.example/d/alice/phone");
    let stock: Vec<KeyPackage> = SUITES
        .iter()
        .map(|suite| {
            let bob = TestClient::of(*suite, "mimi://b.example/d/bob/phone");
            key_package(&bob, Lifetime::default())
        })
        .collect();
    let mut request = request(&alice, alice.user());
    for (suites, chosen) in [
        (vec![1, 2, 3], Selection::Found(0)),
        (vec![2, 1, 3], Selection::Found(1)),
        (vec![3, 2], Selection::Found(2)),
        (vec![0x0a0a, 7, 2], Selection::Found(1)),
        (vec![4, 7], Selection::NothingCompatible),
    ] {
        request.acceptable_ciphersuites = suites.into_iter().map(CipherSuite).collect();
        assert_eq!(select(&request, stock.iter().enumerate(), now_ms()), chosen);
    }
}
