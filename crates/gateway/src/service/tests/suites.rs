//! Rooms of each cipher suite, between two providers over TLS: what depends on the hub's key of the suite's scheme.

use super::conversation::Person;
use super::scene::{BOB, Scene, scene_of, uri};
use super::*;
use delivery_service::{CIPHER_SUITES, public_keys};
use mimi_wire::mls::CipherSuite;

/// Messages both ways with their franks verified, a report of one, a device by external commit, new keys of the hub, its
/// restart, somebody leaving; then a room of the new keys.
async fn told(suite: CipherSuite) {
    let mut scene = Box::pin(scene_of(suite.0)).await;
    assert_eq!(hub_has(&scene).await, (Some(suite.0), 3));
    scene.alice.does(&["send", "club", "insult"]).await;
    scene.bob.does(&["send", "club", "retort"]).await;
    scene.bob.does(&["read", "club"]).await;
    scene.alice.does(&["read", "club"]).await;
    let (id, report) = scene.report(&scene.bob, "insult", "");
    assert_eq!(report.messages[0].frank.franking_signature_ciphersuite, suite);
    scene.bob.does(&["report", "club", &id]).await;
    assert_eq!(proved(&scene).await, [true]);

    // The device doesn't know the room's suite before it has the answer.
    let desk = Person::device(scene.folder.path(), &scene.b, "bob", "d2").await;
    desk.does(&["sync"]).await;
    desk.does(&["join", "club"]).await;
    desk.does(&["send", "club", "from my desk"]).await;

    rotate(&scene).await;
    scene.a.service.stop().await;
    let again = Service::start(&scene.a.config, scene.a.store.clone(), Some(recorder()));
    scene.a.service = Box::pin(again).await.unwrap();
    scene.alice.does(&["read", "club"]).await;
    let (id, _) = scene.report(&scene.alice, "retort", "");
    scene.alice.does(&["report", "club", &id]).await;
    assert_eq!(proved(&scene).await, [true, true]);
    scene.alice.does(&["send", "club", "still franked"]).await;
    desk.does(&["leave", "club"]).await;
    scene.alice.does(&["sync"]).await;
    scene.carol.does(&["read", "club"]).await;
    let (_, later) = scene.report(&scene.carol, "still franked", "");
    assert_eq!(later.messages[0].frank.franking_signature_ciphersuite, suite);
    let view = scene.a.service.engine().room(&scene.room).await.unwrap().unwrap();
    assert!(!view.participants.iter().any(|(user, _)| *user == uri(BOB)));

    let number = suite.0.to_string();
    scene
        .alice
        .does(&["create", "second", "--cipher-suite", &number])
        .await;
    scene.stop().await;
}

/// The suite of the room, and how many take part.
async fn hub_has(scene: &Scene) -> (Option<u16>, usize) {
    let view = scene.a.service.engine().room(&scene.room).await.unwrap().unwrap();
    (view.suite, view.participants.len())
}

/// Whether the reports so far are proved, newest first.
async fn proved(scene: &Scene) -> Vec<bool> {
    let (_, reports) = scene.a.admin(Method::GET, "/reports", None).await;
    let reports = reports.as_array().unwrap();
    let proved = reports.iter().map(|report| &report["messages"][0]["proved"]);
    proved.map(|proved| proved.as_bool().unwrap()).collect()
}

async fn rotate(scene: &Scene) {
    let config = scene.a.config.file.as_ref().unwrap().to_str().unwrap().to_owned();
    let rotated = tokio::task::spawn_blocking(move || {
        crate::cli::run_from(["causeway", "--config", &config, "keys", "rotate", "all"])
    });
    rotated.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_suite_1() {
    told(CipherSuite::X25519_AES128).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_suite_2() {
    told(CipherSuite::P256_AES128).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_suite_3() {
    told(CipherSuite::X25519_CHACHA).await;
}

/// A provider that was made when there were Ed25519 keys only: its key files are of the form of then, and a room of suite 2
/// can be founded as soon as it is started by this program. Its public keys follow from what it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_before_p256_keys_needs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let seeds = [[7_u8; 32], [8; 32]];
    // As they were written by the first version.
    for (file, line) in [
        (
            &a.keys.hub,
            "ed25519 0a1b2c3d BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\n",
        ),
        (
            &a.keys.franking,
            "ed25519 4d5e6f70 CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg\n",
        ),
    ] {
        std::fs::write(a.path(file), line).unwrap();
    }
    let before = crate::files::read(&a.path(&a.keys.hub)).unwrap();
    let a = start(a).await;
    let hub = a.service.engine().hub();
    for suite in CIPHER_SUITES {
        let [signing, franking] = seeds.map(|seed| {
            let keys = public_keys(&seed);
            match suite {
                CipherSuite::P256_AES128 => keys.p256,
                _ => keys.ed25519,
            }
        });
        let sender = hub.external_sender(suite).unwrap();
        assert!(sender.windows(signing.len()).any(|at| at == signing));
        let agent = hub.franking_agent(suite).unwrap();
        assert_eq!(agent.franking_signature_key.as_bytes(), franking);
    }
    let alice = Person::new(folder.path(), &a, "alice").await;
    alice.does(&["create", "club", "--cipher-suite", "2"]).await;
    alice.does(&["send", "club", "to myself"]).await;
    assert!(
        alice
            .tries(&["create", "none", "--cipher-suite", "7"])
            .await
            .is_err()
    );
    a.service.stop().await;
    // The files are what they were: an older program would read them as well.
    assert_eq!(
        crate::files::read(&a.config.path(&a.config.keys.hub)).unwrap(),
        before
    );
}
