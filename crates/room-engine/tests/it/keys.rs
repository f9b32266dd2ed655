//! The key directory: each KeyPackage once, whatever happens.

use mimi_wire::codec::Encode as _;
use mimi_wire::mls::KeyPackageRef;
use mimi_wire::protocol::{KeyMaterialResponse, KeyMaterialUserCode};
use room_engine::{KeyPackageStock, Notice, Swept};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::world::{A, B, Person, World, ctx, domain, uri};

const BOB: &str = "mimi://b.example/u/bob";

/// Alice with a room, and Bob with a full stock.
async fn two(world: &Arc<World>) -> (Person, Person, String) {
    let (mut alice, _) = world.user(A, "alice").await;
    let (bob, _) = world.user(B, "bob").await;
    let room = alice.client.create("club").await.unwrap();
    (alice, bob, room)
}

/// A request like those before it, but of other octets.
fn request(alice: &Person, room: &str) -> Vec<u8> {
    alice.client.engine().claim(room, &uri(BOB)).unwrap()
}

async fn serve(world: &World, request: Vec<u8>) -> KeyMaterialResponse {
    world
        .engine(B)
        .serve_key_material(ctx(), &domain(A), request)
        .await
        .unwrap()
}

/// One-time KeyPackages of an answer, and whether it had one of last resort.
fn given(answer: &KeyMaterialResponse) -> (Vec<KeyPackageRef>, bool) {
    let mut once = Vec::new();
    let mut last_resort = false;
    for (_, package) in answer.key_packages() {
        if package.is_last_resort() {
            last_resort = true;
        } else {
            once.push(package.reference().unwrap());
        }
    }
    (once, last_resort)
}

async fn stock(world: &World) -> KeyPackageStock {
    let devices = world.engine(B).devices(ctx(), &uri(BOB)).await.unwrap();
    devices[0].stock.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_claims_get_different_key_packages() {
    let world = World::new().await;
    let (alice, mut bob, room) = two(&world).await;
    let mut notices = world.engine(B).notices();
    let before = stock(&world).await;
    assert!(!before.low && before.last_resort && !before.last_resort_used);
    // Claims for a room are for KeyPackages of its suite.
    let of_suite = before.suites[0].available;
    let claims = (0..of_suite + 5).map(|_| {
        let (world, request) = (world.clone(), request(&alice, &room));
        // The same octets twice, at the same time: one claim.
        tokio::spawn(async move { tokio::join!(serve(&world, request.clone()), serve(&world, request)) })
    });
    let mut seen = BTreeSet::new();
    let mut last_resorts = 0;
    for claim in futures_util::future::join_all(claims).await {
        let (one, repeat) = claim.unwrap();
        assert_eq!(one.to_bytes(), repeat.to_bytes());
        let (once, last_resort) = given(&one);
        last_resorts += u32::from(last_resort);
        for reference in once {
            assert!(seen.insert(reference.as_bytes().to_vec()), "handed out twice");
        }
    }
    assert_eq!((seen.len(), last_resorts), (of_suite as usize, 5));
    let after = stock(&world).await;
    assert!(after.low && after.last_resort && after.last_resort_used);
    assert_eq!(after.suites[0].available, 0);
    assert_eq!(after.suites[1..], before.suites[1..], "others are untouched");
    let notice = notices.recv().await.unwrap().what;
    assert!(
        matches!(notice, Notice::KeyPackagesLow { available: 9, .. }),
        "{notice:?}"
    );

    // Bob's client refills, and replaces the one of last resort.
    bob.client.refill(None).await.unwrap();
    let refilled = stock(&world).await;
    assert!(!refilled.low && refilled.last_resort && !refilled.last_resort_used);
    assert_eq!(refilled.suites[1..], before.suites[1..]);
}

/// The directory answers by suite: what the room has, one of last resort of each, and nothing of others.
#[tokio::test]
async fn claims_are_answered_by_suite() {
    let world = World::new().await;
    let (mut alice, _bob, _) = two(&world).await;
    for (at, suite) in delivery_service::CIPHER_SUITES.into_iter().enumerate() {
        let new = mls_client::NewRoom {
            suite: Some(suite.0),
            ..mls_client::NewRoom::default()
        };
        let room = alice.client.create_as("of a suite", new).await.unwrap();
        let before = stock(&world).await.suites[at];
        assert_eq!((before.suite, before.last_resort_used), (suite.0, false));
        for _ in 0..=before.available {
            let answer = serve(&world, request(&alice, &room)).await;
            assert_eq!(answer.user_status, KeyMaterialUserCode::Success);
            let mut packages = answer.key_packages();
            assert!(packages.all(|(_, package)| package.cipher_suite() == suite));
        }
        let after = stock(&world).await.suites;
        let used = room_engine::SuiteStock {
            available: 0,
            last_resort_used: true,
            ..before
        };
        assert_eq!(after[at], used);
        let untouched = &after[at + 1..];
        assert!(
            untouched
                .iter()
                .all(|of| of.available > 0 && !of.last_resort_used)
        );
    }
}

#[tokio::test]
async fn the_same_octets_get_the_same_answer_for_a_while_and_until_it_is_used() {
    let world = World::new().await;
    let (mut alice, _bob, room) = two(&world).await;
    let one = request(&alice, &room);
    let first = given(&serve(&world, one.clone()).await);
    world.restart(B).await;
    assert_eq!(given(&serve(&world, one.clone()).await), first);
    // Whoever comes later with the same octets wants another.
    world.clock.forward(Duration::from_mins(11));
    let later = given(&serve(&world, one.clone()).await);
    assert_ne!(later, first);
    assert_eq!(given(&serve(&world, one.clone()).await), later);
    // And so does who comes after the KeyPackage has brought Bob into a room.
    alice
        .client
        .add_claimed(&room, &uri(BOB), one.clone())
        .await
        .unwrap();
    world.quiet().await;
    let used = given(&serve(&world, one).await);
    assert_ne!(used, later);
}

#[tokio::test]
async fn a_repeated_upload_brings_nothing_back() {
    let world = World::new().await;
    let (alice, _bob, room) = two(&world).await;
    let handed_out = serve(&world, request(&alice, &room)).await;
    let octets: Vec<Vec<u8>> = handed_out
        .key_packages()
        .map(|(_, p)| p.as_bytes().to_vec())
        .collect();
    let before = stock(&world).await;
    let who = room_engine::ClientActor {
        user: uri(BOB),
        client: uri("mimi://b.example/d/bob/d1"),
    };
    let after = world
        .engine(B)
        .upload_key_packages(ctx(), &who, octets)
        .await
        .unwrap();
    assert_eq!(after, before);
}

#[tokio::test]
async fn expired_key_packages_are_not_handed_out_and_go_away() {
    let world = World::new().await;
    let (alice, _bob, room) = two(&world).await;
    let lifetime = Duration::from_hours(24 * 101);
    world.clock.forward(lifetime);
    let answer = serve(&world, request(&alice, &room)).await;
    assert_eq!(answer.user_status, KeyMaterialUserCode::NoCompatibleMaterial);
    assert_eq!(given(&answer), (Vec::new(), false));
    let left = world
        .store(B)
        .scan(store::Scan::all(store::Space::KeyPackage))
        .await
        .unwrap();
    assert!(left.is_empty());
    let stock = stock(&world).await;
    assert!(stock.low && !stock.last_resort);
}

#[tokio::test]
async fn housekeeping_forgets_what_is_old_and_nothing_else() {
    let world = World::new().await;
    let (mut alice, mut bob, room) = two(&world).await;
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    alice.say(&room, "hello").await;
    world.quiet().await;
    bob.client.sync().await.unwrap();
    bob.say(&room, "hello yourself").await;
    world.quiet().await;
    let count = async |name: &str, space| {
        world
            .store(name)
            .scan(store::Scan::all(space))
            .await
            .unwrap()
            .len()
    };
    let (outcome, seen, packages) = (
        store::Space::Outcome,
        store::Space::NotifySeen,
        store::Space::KeyPackage,
    );
    world
        .engine(A)
        .transaction(ctx(), "t1", Vec::new())
        .await
        .unwrap();
    let before = [
        count(A, outcome).await,
        count(B, seen).await,
        count(B, packages).await,
    ];
    assert!(before.iter().all(|n| *n > 0), "{before:?}");
    // Nothing is old yet.
    for name in [A, B] {
        assert_eq!(world.engine(name).sweep().await.unwrap(), Swept::default());
    }
    world.clock.forward(Duration::from_hours(24 * 15));
    let swept = world.engine(A).sweep().await.unwrap();
    assert_eq!(swept.transactions, 1);
    world.engine(B).sweep().await.unwrap();
    let after = [
        count(A, outcome).await,
        count(B, seen).await,
        count(B, packages).await,
    ];
    assert_eq!(after, [0, 0, before[2]]);
    world.clock.forward(Duration::from_hours(24 * 100));
    let swept = world.engine(B).sweep().await.unwrap();
    assert_eq!(swept.key_packages, before[2] as u64);
    assert!(swept.key_package_refs > 0);
    assert_eq!(count(B, packages).await, 0);
    // The room goes on.
    alice.say(&room, "still there").await;
}
