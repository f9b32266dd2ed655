//! Servers that say where they are, and lie, or lead in circles. The names of this machine are `localhost` and its
//! addresses.

use crate::peer::{Asked, Authority, Peer, ok, status};
use axum::body::Body;
use axum::response::Response;
use event_graph::SigningIdentity;
use http::StatusCode;
use replication::{AddressPolicy, ClientSettings, FederationClient, RequestError, ServerName};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn client(authority: &Authority, addresses: AddressPolicy, peer: &Peer) -> FederationClient {
    let identity = Arc::new(SigningIdentity::from_seed("node.test", "ed25519:n", &[7; 32]));
    let settings = ClientSettings {
        addresses,
        roots: authority.roots(),
        timeout: Duration::from_millis(1500),
        well_known_port: peer.name.port().unwrap(),
    };
    FederationClient::new(identity, settings).unwrap()
}

async fn ask(client: &FederationClient) -> Result<Value, RequestError> {
    let name = ServerName::parse("localhost").unwrap();
    client.get(&name, "/asked", 1024).await
}

fn is_well_known(asked: &Asked) -> bool {
    asked.target == "/.well-known/matrix/server"
}

#[tokio::test]
async fn a_delegated_server_is_found() {
    let authority = Authority::new();
    let peer = Peer::start(&authority, 1).await;
    let delegated = json!({ "m.server": peer.name.as_str() });
    peer.script(move |asked| {
        let answer = if is_well_known(asked) {
            &delegated
        } else {
            &json!({ "here": true })
        };
        Some(ok(answer))
    });
    let client = client(&authority, AddressPolicy::Any, &peer);
    assert_eq!(ask(&client).await.unwrap(), json!({ "here": true }));
    // Asked once, known afterwards.
    assert!(ask(&client).await.is_ok());
    assert_eq!(peer.count("/.well-known/"), 1);
}

/// ATK-16, ATK-33: a name that leads home is not even asked for its well-known.
#[tokio::test]
async fn a_name_that_leads_home_is_not_asked() {
    let authority = Authority::new();
    let peer = Peer::start(&authority, 1).await;
    let client = client(&authority, AddressPolicy::Public, &peer);
    assert!(ask(&client).await.is_err());
    let address = client.get::<Value>(&peer.name, "/asked", 1024).await;
    assert!(matches!(address, Err(RequestError::Discovery { .. })));
    assert!(peer.asked.lock().unwrap().is_empty());
}

/// ATK-17: documents that are too large, redirects in circles and nonsense count as no well-known.
#[tokio::test]
async fn well_knowns_that_are_none() {
    type Script = Box<dyn Fn(&Asked) -> Response + Send + Sync>;
    let large = format!(
        "{{\"m.server\":\"127.0.0.1:1\",\"x\":\"{}\"}}",
        "x".repeat(60_000)
    );
    let document = |value: Value| -> Script { Box::new(move |_| ok(&value)) };
    let cases: Vec<Script> = vec![
        Box::new(move |_| Response::new(Body::from(large.clone()))),
        Box::new(|_| {
            let mut response = status(StatusCode::FOUND);
            response
                .headers_mut()
                .insert("location", "/.well-known/matrix/server".parse().unwrap());
            response
        }),
        document(json!({ "m.server": "a b" })),
        document(json!({ "m.server": "https://127.0.0.1:1/x" })),
        document(json!({ "m.server": 7 })),
        document(json!([])),
    ];
    let tried = cases.into_iter().map(|script| async move {
        let authority = Authority::new();
        let peer = Peer::start(&authority, 1).await;
        peer.script(move |asked| is_well_known(asked).then(|| script(asked)));
        let client = client(&authority, AddressPolicy::Any, &peer);
        assert!(ask(&client).await.is_err());
        let count = peer.count("/.well-known/");
        assert!((1..=6).contains(&count), "{count}");
        assert_eq!(peer.count("/asked"), 0);
    });
    futures_util::future::join_all(tried).await;
}

/// A server that takes the connection and says nothing is given up.
#[tokio::test]
async fn a_server_that_never_answers() {
    let authority = Authority::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let peer = Peer::start(&authority, 1).await;
    let client = client(&authority, AddressPolicy::Any, &peer);
    let got = client
        .get::<Value>(&ServerName::parse(&name).unwrap(), "/x", 1024)
        .await;
    assert!(matches!(got, Err(RequestError::Unreachable { .. })));
}
