//! The stage: a homeserver with a provider beside it, a second provider, and who plays.

use crate::watchers::{Seen, empty_appservice};
use causeway_tests::client::Client;
use causeway_tests::matrix::User;
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider};
use causeway_tests::synapse::Synapse;
use mls_client::Engine;
use mls_client::transport::Http;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

pub(crate) struct Stage {
    pub(crate) synapse: Synapse,
    pub(crate) a: Provider,
    pub(crate) b: Provider,
    pub(crate) alice: Client,
    pub(crate) bob: Client,
    pub(crate) matrix: User,
    pub(crate) carol: User,
    pub(crate) room: String,
    pub(crate) portal: String,
    /// A room of Carol and Alice that is no portal.
    pub(crate) ordinary: String,
    pub(crate) empty: Seen,
}

pub(crate) async fn stage(place: &Path) -> Stage {
    let [homeserver] = free_addresses().unwrap();
    let (for_a, for_b) = (Addresses::free().unwrap(), Addresses::free().unwrap());
    let url = format!("http://{homeserver}");
    let ca = place.join("ca");
    let (peer_a, peer_b) = (("a.example", for_a.mimi), ("b.example", for_b.mimi));
    let mut a = Provider::init(&place.join("a"), "a.example", for_a, &ca, &[peer_b], Some(&url))
        .await
        .unwrap();
    let mut b = Provider::init(&place.join("b"), "b.example", for_b, &ca, &[peer_a], None)
        .await
        .unwrap();
    let file = place.join("empty.yaml");
    let empty = empty_appservice("a.example", &file).await;
    let mut synapse = Synapse::configure(
        &place.join("synapse"),
        "a.example",
        homeserver,
        &[a.registration(), file],
    )
    .unwrap();
    synapse.start().await.unwrap();
    a.start(None).await.unwrap();
    b.start(None).await.unwrap();
    let matrix = synapse.register("alice", "password").await.unwrap();
    let profiles = place.join("profiles");
    let alice = Client::login_matrix(&profiles, "Alice", &a, &synapse, ("alice", "password"), "phone")
        .await
        .unwrap();
    let token = b.add_user("bob").await.unwrap();
    let bob = Client::login_token(&profiles, "Bob", &b, ("bob", &token), "laptop")
        .await
        .unwrap();
    let room = alice.run(&["create", "Bench"]).await.unwrap()["room"]
        .as_str()
        .unwrap()
        .to_owned();
    alice.run(&["add", &room, &bob.user]).await.unwrap();
    for (client, text) in [(&alice, "first"), (&bob, "second")] {
        client.send(&room, text, Duration::from_mins(1)).await.unwrap();
    }
    let portal = causeway_tests::matrix::eventually("the portal", Duration::from_mins(1), || async {
        let mut command = a.command()?;
        let shown = causeway_tests::provider::run(command.args(["room", "show", &room, "--json"])).await?;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        Ok(shown["portal"].as_str().map(ToOwned::to_owned))
    })
    .await
    .unwrap();
    matrix.join(&portal).await.unwrap();
    let carol = synapse.register("carol", "password").await.unwrap();
    let ordinary = carol.create_room(&["@alice:a.example"]).await.unwrap();
    matrix.join(&ordinary).await.unwrap();
    Stage {
        synapse,
        a,
        b,
        alice,
        bob,
        matrix,
        carol,
        room,
        portal,
        ordinary,
        empty,
    }
}

/// A device's session with its provider.
pub(crate) fn transport(profile: &Path) -> Http {
    let engine = Engine::open(profile, None, Duration::from_secs(10)).unwrap();
    let account = engine.account().unwrap();
    Http::new(&account.provider_url, None)
        .unwrap()
        .with_token(&account.session.token)
}

/// Messages of the right form: one that the client composes, then copies of it with other ciphertexts. The gateways see no
/// difference, and ten thousand are made at once; nobody here opens them.
pub(crate) fn compose(profile: &Path, room: &str, n: usize) -> Vec<(String, Vec<u8>)> {
    let mut engine = Engine::open(profile, None, Duration::from_secs(10)).unwrap();
    let first = engine
        .compose(
            room,
            "a message of a usual length, some words long",
            "text/plain;charset=utf-8",
        )
        .unwrap();
    let octets = engine.submission(room, &first).unwrap().0.message.0;
    (0..n)
        .map(|n| {
            let mut octets = octets.clone();
            let end = octets.len();
            octets[end - 8..].copy_from_slice(&(n as u64).to_be_bytes());
            (format!("{first}-{n}"), octets)
        })
        .collect()
}
