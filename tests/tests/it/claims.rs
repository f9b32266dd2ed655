//! Each KeyPackage once, though the directory dies between taking one and answering, and several ask at the same time.

use crate::support::Place;
use causeway_tests::client;
use causeway_tests::provider::{Addresses, Provider, run};
use mimi_wire::protocol::KeyMaterialResponse;
use mimi_wire::{Decode as _, MimiUri};
use mls_client::api::ClaimRequest;
use mls_client::transport::{Http, Transport as _};
use mls_client::{Client, Engine, Options};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Where the directory dies: before anything is written, in the middle, after it and before the answer; and at any
/// instant.
const POINTS: [Option<&str>; 5] = [
    Some("engine.before-commit:2"),
    Some("store.before-sync:2"),
    Some("engine.after-commit:2"),
    Some("engine.after-commit:3"),
    None,
];
const BOB: &str = "mimi://b.example/u/bob";

fn device(profile: &Path) -> Client<Http> {
    let engine = Engine::open(profile, None, Duration::from_secs(10)).unwrap();
    let account = engine.account().unwrap();
    let http = Http::new(&account.provider_url, None)
        .unwrap()
        .with_token(&account.session.token);
    Client::new(engine, http, None, Options::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_package_is_handed_out_twice_though_the_directory_is_killed() {
    causeway_tests::install_tls();
    let place = Place::new();
    let ca = place.path("ca");
    let (at_a, at_b) = (Addresses::free().unwrap(), Addresses::free().unwrap());
    let mut a = Provider::init(
        &place.path("a"),
        "a.example",
        at_a,
        &ca,
        &[("b.example", at_b.mimi)],
        None,
    )
    .await
    .unwrap();
    let mut b = Provider::init(
        &place.path("b"),
        "b.example",
        at_b,
        &ca,
        &[("a.example", at_a.mimi)],
        None,
    )
    .await
    .unwrap();
    a.start(None).await.unwrap();
    b.start(None).await.unwrap();
    let mut profiles = Vec::new();
    for (provider, name) in [(&a, "alice"), (&b, "bob")] {
        let token = provider.add_user(name).await.unwrap();
        let folder = place.path("profiles");
        let client = client::Client::login_token(&folder, name, provider, (name, &token), "d1");
        profiles.push(client.await.unwrap());
    }
    let mut alice = device(profiles[0].profile());
    let mut bob = device(profiles[1].profile());
    bob.refill(Some(60)).await.unwrap();
    let room = alice.create("club").await.unwrap();
    let bob_uri = MimiUri::parse(BOB).unwrap();

    // One-time KeyPackages and the requests that they answered.
    let mut handed_out: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut answered = 0;
    for point in POINTS {
        b.stop().await.unwrap();
        b.start(point).await.unwrap();
        let requests: Vec<Vec<u8>> = (0..6)
            .map(|_| alice.engine().claim(&room, &bob_uri).unwrap())
            .collect();
        // All at once, until each has its answer; whoever lost the answer asks with the same octets.
        let mut asking = tokio::task::JoinSet::new();
        for request in requests {
            let (transport, room) = (alice.transport().clone(), room.clone());
            asking.spawn(async move {
                let claim = ClaimRequest {
                    request: request.clone().into(),
                };
                for _ in 0..100 {
                    if let Ok(answer) = transport.claim(&room, &claim).await {
                        return (request, answer);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                panic!("never answered");
            });
        }
        if point.is_none() {
            tokio::time::sleep(Duration::from_millis(15)).await;
            b.kill().await.unwrap();
        }
        while !asking.is_empty() {
            if b.died().unwrap() {
                b.start(None).await.unwrap();
            }
            let Ok(next) = tokio::time::timeout(Duration::from_millis(50), asking.join_next()).await else {
                continue;
            };
            let (request, answer) = next.unwrap().unwrap();
            let response = KeyMaterialResponse::from_bytes(&answer.response.0).unwrap();
            for (_, package) in response.key_packages().filter(|(_, p)| !p.is_last_resort()) {
                answered += 1;
                let reference = package.reference().unwrap().as_bytes().to_vec();
                let other = handed_out.insert(reference, request.clone());
                assert!(other.is_none(), "one KeyPackage, two answers");
            }
        }
    }
    assert_eq!(handed_out.len(), answered, "each answer had its own");
    assert_eq!(answered, POINTS.len() * 6);
    for provider in [&mut a, &mut b] {
        provider.stop().await.unwrap();
        run(provider.command().unwrap().args(["store", "verify"]))
            .await
            .unwrap();
    }
}
