//! What a homeserver may send, at the face that it reaches.

use super::*;
use appservice::Registration;
use store::{Scan, Space};

/// A provider beside a homeserver that isn't running: it has nothing to say for this.
async fn beside_homeserver(folder: &Path, transaction_kib: u32) -> Provider {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let file = folder.join("causeway.toml");
    let host = loopback();
    crate::cli::run_from([
        "causeway",
        "init",
        "--yes",
        "--quiet",
        "--config",
        file.to_str().unwrap(),
        "--domain",
        "a.example",
        "--mimi-listen",
        &format!("{host}:8443"),
        "--client-listen",
        &format!("{host}:8444"),
        "--admin-listen",
        &format!("{host}:8445"),
        "--appservice-listen",
        &format!("{host}:8446"),
        "--homeserver",
        &format!("http://{host}:8447"),
        "--dev-ca",
        folder.join("ca").to_str().unwrap(),
    ])
    .unwrap();
    let mut config = load(&file, &Environment::default()).unwrap();
    config.limits.transaction_kib = transaction_kib;
    start(config).await
}

/// A transaction of exactly so many octets, in one event.
fn transaction(size: usize) -> Vec<u8> {
    let body = |padding: &str| {
        json!({"events": [{
            "type": "m.room.message", "event_id": "$e", "room_id": "!r:a.example", "sender": "@alice:a.example",
            "origin_server_ts": 1, "content": {"body": padding},
        }]})
        .to_string()
        .into_bytes()
    };
    let padding = size - body("").len();
    body(&"x".repeat(padding))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_above_the_limit_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let a = beside_homeserver(folder.path(), 64).await;
    let registration =
        Registration::from_yaml(&std::fs::read_to_string(folder.path().join("registration.yaml")).unwrap())
            .unwrap();
    let address = a.service.addresses().appservice.unwrap();
    let put = async |number: u32, body: Vec<u8>| {
        let url = format!("http://{address}/_matrix/app/v1/transactions/{number}");
        let answer = a
            .http
            .put(url)
            .bearer_auth(registration.hs_token.expose())
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap())
    };
    let taken = async || {
        let scan = Scan::prefix(Space::HsTransaction, []);
        a.store.scan(scan).await.unwrap().len()
    };
    let limit = 64 << 10;
    for size in [limit + 1, 4 * limit] {
        let (status, answer) = put(1, transaction(size)).await;
        assert_eq!(
            (status, &answer["errcode"]),
            (StatusCode::PAYLOAD_TOO_LARGE, &json!("M_TOO_LARGE"))
        );
        assert_eq!(taken().await, 0, "nothing of it");
    }
    // The limit itself is within it, and the number is still free.
    let (status, answer) = put(1, transaction(limit)).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({})));
    assert_eq!(taken().await, 1);
    // The event in it is larger than any that Matrix servers agree on: it is set aside and holds up nothing.
    let (_, aside) = a.admin(Method::GET, "/homeserver/set-aside", None).await;
    assert_eq!(aside[0]["code"], "too_large", "{aside}");
    a.service.stop().await;
}
