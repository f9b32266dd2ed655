//! Attachments from a file to a file, and a proxy that is open to nobody.

use super::conversation::{Person, view};
use super::*;

async fn say_id(profile: &Path, room: &str, text: &str) -> String {
    let (profile, room, text) = (profile.to_owned(), room.to_owned(), text.to_owned());
    let find = move || {
        let engine = mls_client::Engine::open(&profile, None, std::time::Duration::from_secs(15)).unwrap();
        let said = |e: &mls_client::state::Entry| match &e.what {
            mls_client::state::What::Message(m) if m.text == text => Some(hex::encode(&m.message_id.0)),
            _ => None,
        };
        engine.room(&room).unwrap().history.iter().find_map(said).unwrap()
    };
    tokio::task::spawn_blocking(find).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_travels_both_ways_and_by_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = configurations(folder.path());
    let (a, b) = (start(a).await, start(b).await);
    let alice = Person::new(folder.path(), &a, "alice").await;
    let bob = Person::new(folder.path(), &b, "bob").await;
    bob.does(&["register-keys"]).await;
    alice.does(&["create", "club"]).await;
    alice.does(&["add", "club", "mimi://b.example/u/bob"]).await;
    let room = view(&a).await.room;
    // Above one piece of the store.
    let picture: Vec<u8> = (0..5_000_000_u32)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("picture.png"), &picture).unwrap();
    std::fs::write(path("note.txt"), "a note of Bob's").unwrap();

    // The hub's own asset: Bob's provider asks the hub, which has it.
    alice.does(&["attach", "club", &path("picture.png")]).await;
    // Its pieces are blobs, and a record names them.
    let collected = a
        .service
        .engine()
        .collect_blobs(std::time::Duration::ZERO)
        .await
        .unwrap();
    assert!(collected.kept >= 2, "{collected:?}");
    bob.does(&["read", "club"]).await;
    let id = say_id(&bob.profile, room.as_str(), "[attachment picture.png]").await;
    bob.does(&["fetch", "club", &id, "-o", &path("got.png")]).await;
    assert_eq!(std::fs::read(path("got.png")).unwrap(), picture);
    // The same, without its provider learning what.
    bob.does(&["fetch", "club", &id, "--ohttp", "-o", &path("oblivious.png")])
        .await;
    assert_eq!(std::fs::read(path("oblivious.png")).unwrap(), picture);
    // The follower's asset: the hub fetches it from Bob's provider, whose directory names the host.
    bob.does(&["attach", "club", &path("note.txt"), "--description", "for Alice"])
        .await;
    alice.does(&["read", "club"]).await;
    let id = say_id(&alice.profile, room.as_str(), "[attachment note.txt]").await;
    alice.does(&["fetch", "club", &id, "-o", &path("got.txt")]).await;
    assert_eq!(std::fs::read(path("got.txt")).unwrap(), b"a note of Bob's");
    // Bob's own, from his own provider.
    bob.does(&["read", "club"]).await;
    bob.does(&["fetch", "club", &id, "-o", &path("own.txt")]).await;
    assert_eq!(std::fs::read(path("own.txt")).unwrap(), b"a note of Bob's");
    // Relay and gateway in one would be no privacy.
    let profile = alice.profile.to_str().unwrap().to_owned();
    let refused = tokio::task::spawn_blocking(move || {
        crate::cli::run_from([
            "causeway",
            "client",
            "fetch",
            "club",
            &id,
            "--ohttp",
            "-o",
            "-",
            "--profile",
            &profile,
        ])
    });
    assert!(refused.await.unwrap().is_err());
    b.service.stop().await;
    a.service.stop().await;
}

/// The answers of the hub a to peer b, which asks for something by proxyDownload.
async fn ask(b: &reqwest::Client, path: &str) -> (u16, String) {
    let answer = b
        .get(format!("https://a.example/v1/proxyDownload/{path}"))
        .header("from", "mimi@b.example")
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_is_no_open_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let [mut a, b] = configurations(folder.path());
    a.limits.asset_mib = 1;
    let (a, b) = (start(a).await, start(b).await);
    let peer = super::bad_input::liar(folder.path(), &["b.example"], a.service.addresses().mimi);
    let encoded = |url: &str| {
        percent_encoding::utf8_percent_encode(url, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    for (url, status) in [
        // Nobody's, a stranger's, ourselves by another name, addresses, other schemes.
        ("https://example.com/", 403),
        ("https://evil-b.example/x", 403),
        ("https://b.example.evil.example/x", 403),
        ("https://assets.b.example/x", 403),
        ("https://b.example/x", 403),
        ("https://mimi.b.example:22/x", 403),
        ("https://localhost/x", 403),
        ("https://127.0.0.1:8482/metrics", 400),
        ("https://[::1]/x", 400),
        ("https://2130706433/x", 400),
        ("http://mimi.b.example/x", 400),
        ("https://user:pass@mimi.b.example/x", 400),
        ("file:///etc/passwd", 400),
        ("", 404),
        ("nonsense", 400),
        // B's asset host, and nothing there.
        ("https://mimi.b.example/v1/asset/nothing", 404),
        // Also there only assets: the answer of any other path is octets at most.
        ("https://mimi.b.example/v1/nothing", 404),
        // Our own.
        ("https://mimi.a.example/v1/asset/nothing", 404),
    ] {
        let (got, body) = ask(&peer, &encoded(url)).await;
        assert_eq!(got, status, "{url}: {body}");
    }
    // Too large for this hub, however it is said.
    let token = b.signed_in("bob").await;
    let url = format!(
        "http://{}{}/assets",
        b.service.addresses().client_api,
        mls_client::api::PREFIX
    );
    let put = |octets: usize| b.http.post(&url).bearer_auth(&token).body(vec![7; octets]).send();
    let kept: Value = put((1 << 20) + 1).await.unwrap().json().await.unwrap();
    assert_eq!(ask(&peer, &encoded(kept["url"].as_str().unwrap())).await.0, 413);
    let small: Value = put(1000).await.unwrap().json().await.unwrap();
    let answer = peer
        .get(format!(
            "https://a.example/v1/proxyDownload/{}",
            encoded(small["url"].as_str().unwrap())
        ))
        .header("from", "mimi@b.example")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.bytes().await.unwrap(), vec![7; 1000]);
    // An upload over the limit of its own provider.
    let mut config = b.config.clone();
    config.limits.asset_mib = 1;
    b.service.stop().await;
    let b = start(config).await;
    let token = b.signed_in("bob").await;
    let answer = b
        .http
        .post(&url)
        .bearer_auth(&token)
        .body(vec![7; (1 << 20) + 1])
        .send()
        .await;
    // The connection may be closed before all was sent.
    assert!(answer.is_err() || answer.unwrap().status() == StatusCode::PAYLOAD_TOO_LARGE);
    b.service.stop().await;
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ohttp_gateway_is_as_closed_as_the_proxy() {
    use ohttp::bhttp::{Request, Response};
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let a = start(a).await;
    let relay = super::bad_input::liar(folder.path(), &["b.example"], a.service.addresses().mimi);
    let gateway = "https://a.example/v1/ohttp";
    let keys = relay
        .get(gateway)
        .header("from", "mimi@b.example")
        .send()
        .await
        .unwrap();
    assert_eq!(keys.headers()["content-type"], ohttp::KEYS_TYPE);
    let sender = ohttp::Sender::from_keys(&keys.bytes().await.unwrap()).unwrap();
    let post = |body: Vec<u8>, kind: &'static str| {
        relay
            .post(gateway)
            .header("from", "mimi@b.example")
            .header("content-type", kind)
            .body(body)
            .send()
    };
    let request = |method: &str, authority: &str, path: &str| Request {
        method: method.as_bytes().to_vec(),
        ..Request::get(authority, path)
    };
    for (inner, status) in [
        (request("GET", "example.com", "/").encode(), 403),
        (request("GET", "127.0.0.1:8482", "/metrics").encode(), 400),
        (request("GET", "x@mimi.a.example", "/v1/asset/x").encode(), 400),
        (request("POST", "mimi.a.example", "/v1/asset/x").encode(), 405),
        (request("GET", "mimi.a.example", "/v1/asset/x").encode(), 404),
        (b"no message".to_vec(), 400),
    ] {
        let (sealed, opener) = sender.seal(&inner).unwrap();
        let answer = post(sealed, ohttp::REQUEST_TYPE).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], ohttp::RESPONSE_TYPE);
        let opened = opener.open(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(Response::decode(&opened).unwrap().status, status);
    }
    // Cut anywhere, changed anywhere, or for another gateway: not opened. The same once more: the same answer.
    let (sealed, _) = sender
        .seal(&request("GET", "mimi.a.example", "/v1/asset/x").encode())
        .unwrap();
    let foreign = ohttp::Gateway::derive(1, &[5; 32]).unwrap();
    let foreign = ohttp::Sender::from_keys(&foreign.keys()).unwrap();
    let mut wrong: Vec<Vec<u8>> = vec![foreign.seal(b"x").unwrap().0];
    for at in (0..sealed.len()).step_by(7) {
        wrong.push(sealed[..at].to_vec());
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        wrong.push(changed);
    }
    for body in wrong {
        let answer = post(body, ohttp::REQUEST_TYPE).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    for _ in 0..2 {
        let answer = post(sealed.clone(), ohttp::REQUEST_TYPE).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let (sealed, _) = sender.seal(b"x").unwrap();
    for (body, kind, status) in [
        (sealed, "application/octet-stream", 415),
        (vec![1, 2, 3], ohttp::REQUEST_TYPE, 400),
        (vec![0; 20_000], ohttp::REQUEST_TYPE, 413),
    ] {
        assert_eq!(post(body, kind).await.unwrap().status().as_u16(), status);
    }
    a.service.stop().await;
}
