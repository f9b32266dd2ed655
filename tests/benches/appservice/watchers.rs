//! Who sees what is sent, and when.

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use causeway_tests::matrix::User;
use causeway_tests::process::free_addresses;
use mls_client::api::FeedItem;
use mls_client::transport::{Http, Transport as _};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) type Seen = Arc<Mutex<HashMap<String, Instant>>>;

/// What a user's sync shows of a room, by event id, octets of a carrier event, or id of a settled submission.
pub(crate) type Sync = Arc<Mutex<HashMap<Vec<u8>, Instant>>>;

/// The application service that does nothing: event id to when it came.
pub(crate) async fn empty_appservice(server_name: &str, file: &Path) -> Seen {
    let seen = Seen::default();
    let [address] = free_addresses().unwrap();
    let registration = json!({
        "id": "empty", "url": format!("http://{address}"), "as_token": "empty-as", "hs_token": "empty-hs",
        "sender_localpart": "empty", "rate_limited": false,
        "namespaces": {"users": [{"exclusive": false, "regex": format!("@alice:{server_name}")}], "aliases": [], "rooms": []},
    });
    std::fs::write(file, registration.to_string()).unwrap();
    let router = axum::Router::new()
        .fallback(|State(seen): State<Seen>, body: axum::body::Bytes| async move {
            let now = Instant::now();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            for event in body["events"].as_array().into_iter().flatten() {
                let id = event["event_id"].as_str().unwrap().to_owned();
                seen.lock().unwrap().entry(id).or_insert(now);
            }
            "{}"
        })
        .with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    seen
}

/// Follows a feed from its end: the octets of each message, and when they were there.
pub(crate) async fn follow(http: Http, room: String) -> Sync {
    let seen = Sync::default();
    let there = seen.clone();
    let mut from = 1;
    // A provider that is away has no end to start from.
    while let Ok(page) = http.log(&room, from, 500, Duration::ZERO).await {
        if page.entries.is_empty() {
            break;
        }
        from = page.next;
    }
    tokio::spawn(async move {
        loop {
            match http.log(&room, from, 200, Duration::from_secs(20)).await {
                Ok(page) => {
                    let now = Instant::now();
                    for entry in &page.entries {
                        if let FeedItem::Message { message, .. } = &entry.item {
                            there.lock().unwrap().entry(message.0.clone()).or_insert(now);
                        }
                    }
                    from = page.next;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    seen
}

/// Follows a user's sync of a room. It starts with what is there now.
pub(crate) async fn follow_sync(user: &User, room: &str) -> Sync {
    let filter =
        json!({"room": {"rooms": [room], "timeline": {"limit": 1000}, "state": {"lazy_load_members": true}}});
    let filter: String = filter
        .to_string()
        .bytes()
        .fold(String::new(), |all, byte| all + &format!("%{byte:02X}"));
    let path = format!("/_matrix/client/v3/sync?filter={filter}");
    let get = move |user: User, more: String| {
        let path = format!("{path}{more}");
        async move { user.call(reqwest::Method::GET, &path, None).await }
    };
    let first = get(user.clone(), "&timeout=0".to_owned()).await.unwrap();
    let mut since = first["next_batch"].as_str().unwrap().to_owned();
    let seen = Sync::default();
    let (there, user, room) = (seen.clone(), user.clone(), room.to_owned());
    tokio::spawn(async move {
        loop {
            let Ok(sync) = get(user.clone(), format!("&timeout=20000&since={since}")).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let now = Instant::now();
            let timeline = &sync["rooms"]["join"][&room]["timeline"]["events"];
            let mut there = there.lock().unwrap();
            for event in timeline.as_array().into_iter().flatten() {
                let mut saw = |what: &[u8]| {
                    there.entry(what.to_vec()).or_insert(now);
                };
                let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                saw(text("/event_id").as_bytes());
                if let Ok(octets) = STANDARD_NO_PAD.decode(text("/content/payload/data")) {
                    saw(&octets);
                }
                let several = event.pointer("/content/all").and_then(Value::as_array);
                for status in several.into_iter().flatten().chain([&event["content"]]) {
                    if event["type"] == "org.causeway.status" && status["state"] != "queued" {
                        saw(status["id"].as_str().unwrap_or_default().as_bytes());
                    }
                }
            }
            sync["next_batch"].as_str().unwrap().clone_into(&mut since);
        }
    });
    seen
}
