//! Each of several nodes stands for the provider: on every face, for whoever comes in. And what one of them does not know
//! it does not answer.

use crate::nodes::{Spot, found, join, leader, nodes, reasons};
use crate::support::Place;
use causeway_tests::client::Client;
use causeway_tests::link::Link;
use causeway_tests::matrix::{eventually, http};
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider, run};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_mins(1);
const ALL: [usize; 3] = [0, 1, 2];

/// The state of a graph at a node: whose membership is what.
async fn membership(node: &Provider, graph: &str, user: &str) -> Option<String> {
    let state = node.graph_json(&["state", graph]).await.ok()?;
    let member = state["state"]
        .as_array()?
        .iter()
        .find(|e| e["type"] == "m.room.member" && e["state_key"] == user)?;
    let event = member["event_id"].as_str()?;
    let events = node.graph(&["pull", graph]).await.ok()?;
    events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|e| e["unsigned"]["event_id"] == event)
        .and_then(|e| Some(e["content"]["membership"].as_str()?.to_owned()))
}

async fn until(node: &Provider, graph: &str, user: &str, wanted: &str) {
    eventually(&format!("{user} is at {wanted}"), WITHIN, || async {
        let now = membership(node, graph, user).await;
        Ok((now.as_deref() == Some(wanted)).then_some(()))
    })
    .await
    .unwrap();
}

/// Alice signs in at a node and founds a room.
async fn founds(place: &Place, node: &Provider, token: &str, name: &str) -> (Client, String) {
    let profiles = place.path("profiles");
    let alice = Client::login_token(&profiles, "Alice", node, ("alice", token), "phone")
        .await
        .unwrap();
    let room = alice.run(&["create", name]).await.unwrap();
    (alice, room["room"].as_str().unwrap().to_owned())
}

/// Another Matrix server joins the graph of a room and leaves it, each time through another node, also while one is dead:
/// all are one server. Then an operator lets another node order and takes one out.
#[tokio::test(flavor = "multi_thread")]
async fn every_node_is_one_matrix_server() {
    causeway_tests::install_tls();
    let place = Place::new();
    let spots = [Spot::here(), Spot::here(), Spot::here()];
    let [name, name_of_witness] = free_addresses().unwrap();
    let node_name = format!("localhost:{}", name.port());
    let at = |number: usize| spots[number].addresses.federation;
    let link = Link::open(name, at(0)).await.unwrap();
    let (ca, dir) = (place.path("ca"), place.path("a1"));
    let one = spots[0].addresses;
    let first = Provider::init_node(&dir, "a.example", one, &ca, &node_name, one.federation)
        .await
        .unwrap();
    let mut a = join(&place, &spots, first).await;
    let witness_name = format!("localhost:{}", name_of_witness.port());
    let mut witness = Provider::init_node(
        &place.path("w"),
        "w.example",
        Addresses::free().unwrap(),
        &ca,
        &witness_name,
        name_of_witness,
    )
    .await
    .unwrap();
    witness.start(None).await.unwrap();
    let witness_user = format!("@_causeway:{witness_name}");

    let token = a[1].add_user("alice").await.unwrap();
    let (alice, room) = founds(&place, &a[1], &token, "Any").await;
    alice.send(&room, "one", WITHIN).await.unwrap();
    let graph = a[2].graph_json(&["state", &room]).await.unwrap()["graph"]
        .as_str()
        .unwrap()
        .to_owned();

    // Whoever comes through a node that does not order is served by the one that does.
    for number in ALL {
        link.lead(at(number));
        let inviting = (number + 1) % 3;
        a[inviting]
            .graph(&["invite", &room, &witness_user])
            .await
            .unwrap();
        eventually("the invitation arrives", WITHIN, || async {
            Ok(witness.graph(&["ls"]).await?.contains(&graph).then_some(()))
        })
        .await
        .unwrap();
        witness
            .graph_json(&["join", &graph, "--via", &node_name, "--history"])
            .await
            .unwrap();
        until(&a[inviting], &graph, &witness_user, "join").await;
        alice
            .send(&room, &format!("through node {number}"), WITHIN)
            .await
            .unwrap();
        let have = async || {
            let pulled = witness.graph(&["pull", &graph]).await.unwrap_or_default();
            pulled
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(|event| event["type"] == "org.causeway.message")
                .count()
        };
        eventually("the witness has every message", WITHIN, || async {
            Ok((have().await == number + 2).then_some(()))
        })
        .await
        .unwrap();
        witness.graph(&["leave", &graph]).await.unwrap();
        until(&a[inviting], &graph, &witness_user, "leave").await;
    }

    // The same while the node that ordered is dead.
    let dead = leader(&a, &ALL).await;
    a[dead].kill().await.unwrap();
    let alive: Vec<usize> = ALL.into_iter().filter(|number| *number != dead).collect();
    let orders = leader(&a, &alive).await;
    let follows = *alive.iter().find(|number| **number != orders).unwrap();
    link.lead(at(follows));
    a[orders].graph(&["invite", &room, &witness_user]).await.unwrap();
    eventually("it joins once more", WITHIN, || async {
        let joined = witness
            .graph_json(&["join", &graph, "--via", &node_name, "--history"])
            .await;
        Ok(joined.is_ok().then_some(()))
    })
    .await
    .unwrap();
    until(&a[follows], &graph, &witness_user, "join").await;

    a[dead].start(None).await.unwrap();
    administered(&a, &dead).await;
    alice.send(&room, "still", WITHIN).await.unwrap();
    for node in a.iter_mut().chain([&mut witness]) {
        node.stop().await.unwrap();
    }
}

/// An operator lets each node order in turn, then takes one out, which says so.
async fn administered(a: &[Provider], out: &usize) {
    let command = async |at: usize, args: &[&str]| run(a[at].command().unwrap().arg("node").args(args)).await;
    for number in ALL {
        let name = format!("cw{}", number + 1);
        command((number + 1) % 3, &["lead", &name]).await.unwrap();
        // Not all nodes hear of it at once.
        eventually(&format!("{name} orders"), WITHIN, || async {
            Ok((leader(a, &ALL).await == number).then_some(()))
        })
        .await
        .unwrap();
    }
    assert!(command(0, &["lead", "cw9"]).await.is_err());
    assert!(command(0, &["remove", "cw9"]).await.is_err());
    let name = format!("cw{}", out + 1);
    let at = (out + 1) % 3;
    command(at, &["remove", &name]).await.unwrap();
    let left = nodes(&a[at]).await.unwrap();
    let names: Vec<&str> = left["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["name"].as_str().unwrap())
        .collect();
    assert!(names.len() == 2 && !names.contains(&name.as_str()), "{names:?}");
    let end = Instant::now() + WITHIN;
    while reasons(&a[*out]).await == "[]" {
        assert!(
            Instant::now() < end,
            "the node that was taken out takes itself for ready"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A client with the certificate of a provider, for one address.
fn tls(provider: &Provider, to: SocketAddr) -> reqwest::Client {
    let file = |name: &str| std::fs::read(provider.dir().join("tls").join(name)).unwrap();
    let mut identity = file("mimi.pem");
    identity.extend(file("mimi.key"));
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&file("ca.pem")).unwrap()])
        .identity(reqwest::Identity::from_pem(&identity).unwrap())
        .resolve("a.example", to)
        .build()
        .unwrap()
}

/// What was asked, and that it was put off.
async fn put_off(request: reqwest::RequestBuilder, what: &str) {
    let answer = request.send().await.unwrap();
    let (status, retry) = (answer.status(), answer.headers().get("retry-after").cloned());
    let text = answer.text().await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{what}: {text}");
    assert!(retry.is_some(), "{what}");
}

/// A node that the others can't be reached from answers nothing that only the one that orders can know: not that a
/// session, a room or a KeyPackage is not there, and not that an epoch is wrong. And to strangers it is no node at all.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_guessed() {
    causeway_tests::install_tls();
    let place = Place::new();
    let spots = [Spot::here(), Spot::here(), Spot::here()];
    let for_b = Addresses::free().unwrap();
    let (mut a, token) = found(&place, &spots, ("b.example", for_b.mimi)).await;
    let peer_a = ("a.example", spots[2].addresses.mimi);
    let b = Provider::init(
        &place.path("b"),
        "b.example",
        for_b,
        &place.path("ca"),
        &[peer_a],
        None,
    )
    .await
    .unwrap();
    let (_, room) = founds(&place, &a[2], &token, "Guess").await;

    strangers(&a, &spots, &b).await;
    large_bodies(&a).await;

    a[0].kill().await.unwrap();
    a[1].kill().await.unwrap();
    let end = Instant::now() + WITHIN;
    while !reasons(&a[2]).await.contains("majority") {
        assert!(Instant::now() < end, "it never missed the others");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let clients = format!("{}/_causeway/client/v1", a[2].client_url());
    let in_room = |name: &str| {
        format!(
            "{clients}/rooms/{}/{name}",
            room.replace('/', "%2F").replace(':', "%3A")
        )
    };
    for (method, url) in [
        (Method::POST, in_room("update")),
        (Method::POST, in_room("claims")),
        (Method::POST, in_room("group_info")),
        (Method::GET, in_room("log")),
        (Method::GET, format!("{clients}/rooms")),
        (Method::GET, format!("{clients}/devices")),
        (Method::POST, format!("{clients}/login")),
        (Method::POST, format!("{clients}/key_packages")),
        (Method::GET, format!("{clients}/blobs/{}", "0".repeat(64))),
    ] {
        let request = http().unwrap().request(method, &url).bearer_auth("unknown");
        put_off(request, &url).await;
    }
    let address = spots[2].addresses.mimi;
    let peer = tls(&b, address);
    for path in [
        "update",
        "keyMaterial",
        "groupInfo",
        "notify",
        "requestConsent",
        "updateConsent",
    ] {
        let url = format!("https://a.example:{}/v1/{path}/a.example", address.port());
        let request = peer.post(&url).header("from", "mimi@b.example").body("x");
        put_off(request, &url).await;
    }
    a[2].stop().await.unwrap();
}

/// Only nodes speak to nodes: a peer's certificate does not make one, nor does the provider's own without a node's key.
async fn strangers(a: &[Provider], spots: &[Spot; 3], b: &Provider) {
    let to = spots[0].listen;
    let url = |path: &str| format!("https://a.example:{}/_causeway/node/v1/{path}", to.port());
    let paths = [
        "forward/admin",
        "append",
        "vote",
        "blob/00",
        "pending",
        "take-over",
    ];
    for path in paths {
        let foreign = tls(b, to).post(url(path)).body("x").send().await;
        if let Ok(answer) = foreign {
            assert_eq!(
                answer.status(),
                StatusCode::FORBIDDEN,
                "{path} with a peer's certificate"
            );
        }
        let own = tls(&a[1], to).post(url(path)).body("x");
        let signed = own.try_clone().unwrap().header(
            "authorization",
            "X-Matrix origin=\"cw2\",destination=\"cw1\",key=\"ed25519:1\",sig=\"AAAA\"",
        );
        for request in [own, signed] {
            let answer = request.send().await.unwrap();
            assert_eq!(
                answer.status(),
                StatusCode::FORBIDDEN,
                "{path} without a node's signature"
            );
        }
    }
}

/// What is too large for its face is refused where it arrives.
async fn large_bodies(a: &[Provider]) {
    let orders = leader(a, &ALL).await;
    let follows = &a[(orders + 1) % 3];
    let forwarded = async || {
        let metrics = follows.metrics().await.unwrap();
        metrics
            .iter()
            .filter(|(name, _)| {
                name.starts_with("causeway_cluster_forwarded_total") && name.contains("client")
            })
            .map(|(_, value)| *value)
            .sum::<f64>()
    };
    let before = forwarded().await;
    let url = format!("{}/_causeway/client/v1/key_packages", follows.client_url());
    let answer = http()
        .unwrap()
        .post(url)
        .bearer_auth("unknown")
        .body(vec![0; 5 << 20])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!((forwarded().await - before).abs() < 0.5, "it was sent on");
}
