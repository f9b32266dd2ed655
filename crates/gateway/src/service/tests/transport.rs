//! What the network may do: who gets in, how much of it, and what changes without a restart.

use super::*;
use crate::keys::Ring;
use crate::tls::dev_ca::DevCa;
use delivery_service::CIPHER_SUITES;
use mimi_wire::protocol::SubmitMessageRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ROOM: &str = "mimi://a.example/r/x";

async fn submit(peer: &MimiClient) -> Result<crate::mimi_client::Answer, crate::mimi_client::LinkError> {
    peer.post(
        &domain("a.example"),
        Endpoint::SubmitMessage,
        ROOM,
        "r1",
        Bytes::from_static(b"x"),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_over_its_rate_waits_and_another_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let [mut a, b] = configurations(folder.path());
    a.limits.peer_requests_per_second = 1;
    a.limits.peer_burst = 3;
    a.peers.insert(
        crate::config::PeerDomain(domain("c.example")),
        crate::config::PeerConfig::default(),
    );
    let (a, b) = (start(a).await, start(b).await);
    let greedy = b.peer();
    // All at once, so that no time passes in which it could ask more.
    let answers = futures_util::future::join_all((0..20).map(|_| submit(&greedy))).await;
    let (limited, taken): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .map(Result::unwrap)
        .partition(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS);
    assert!(
        taken
            .iter()
            .all(|answer| answer.status == StatusCode::BAD_REQUEST)
    );
    assert_eq!(limited[0].retry_after.unwrap().as_secs(), 1);

    let other = super::bad_input::liar(folder.path(), &["c.example"], a.service.addresses().mimi);
    let answer = other
        .post("https://a.example/v1/submitMessage/mimi%3A%2F%2Fa.example%2Fr%2Fx")
        .header("from", "mimi@c.example")
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    // The allowance changes without a restart.
    let mut config = a.config.clone();
    config.limits.peer_requests_per_second = 1000;
    config.limits.peer_burst = 1000;
    a.service.reloader().apply(config).await.unwrap();
    while submit(&greedy).await.unwrap().status == StatusCode::TOO_MANY_REQUESTS {}
    let (_, metrics) = a.text("/metrics").await;
    assert!(
        metrics.contains("causeway_peer_limited_total{peer=\"b.example\",reason=\"rate_limited\"}"),
        "{metrics}"
    );
    b.service.stop().await;
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_denied_and_allowed_again_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = configurations(folder.path());
    let (a, b) = (start(a).await, start(b).await);
    let (from_b, to_b) = (b.peer(), a.service.reloader().clone());
    assert_eq!(submit(&from_b).await.unwrap().status, StatusCode::BAD_REQUEST);
    let file = a.config.file.clone().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("allow = true"), "{text}");
    std::fs::write(&file, text.replace("allow = true", "allow = false")).unwrap();
    // By the admin API, as `causeway keys rotate` and operators' scripts do it.
    let (status, done) = a.admin(Method::POST, "/reload", None).await;
    assert_eq!((status, &done["peers"]), (StatusCode::OK, &json!(1)));
    assert_eq!(submit(&from_b).await.unwrap().status, StatusCode::FORBIDDEN);
    std::fs::write(&file, "nonsense").unwrap();
    let (status, error) = a.admin(Method::POST, "/reload", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
    assert_eq!(
        submit(&from_b).await.unwrap().status,
        StatusCode::FORBIDDEN,
        "what held holds on"
    );
    std::fs::write(&file, text).unwrap();
    to_b.again().await.unwrap();
    assert_eq!(submit(&from_b).await.unwrap().status, StatusCode::BAD_REQUEST);
    b.service.stop().await;
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_keys_change_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = configurations(folder.path());
    let (a, b) = (start(a).await, start(b).await);
    let from_b = b.peer();
    assert_eq!(submit(&from_b).await.unwrap().status, StatusCode::BAD_REQUEST);

    // Another authority altogether: b has to trust it first.
    let other = DevCa::open(&folder.path().join("other-ca")).unwrap();
    let mimi = &a.config.mimi;
    let (pem, key) = (a.config.path(&mimi.certificate), a.config.path(&mimi.key));
    for file in [&pem, &key] {
        std::fs::remove_file(file).unwrap();
    }
    other
        .issue(&["a.example".to_owned(), "mimi.a.example".to_owned()], &pem, &key)
        .unwrap();
    let senders = || CIPHER_SUITES.map(|suite| a.service.engine().hub().external_sender(suite).unwrap());
    let before = senders();
    let config_file = a.config.file.as_ref().unwrap().to_str().unwrap().to_owned();
    let rotate = tokio::task::spawn_blocking(move || {
        crate::cli::run_from(["causeway", "--config", &config_file, "keys", "rotate", "all"])
    });
    rotate.await.unwrap().unwrap();
    let after = senders();
    assert!(after.iter().zip(&before).all(|(new, old)| new != old));
    assert_eq!(Ring::Hub.load(&a.config).unwrap().keys().len(), 2);

    let untrusted = b.peer();
    assert_eq!(submit(&untrusted).await.unwrap_err().code(), "unreachable");
    let mut trusting = b.config.clone();
    let a_for_b = trusting
        .peers
        .get_mut(&crate::config::PeerDomain(domain("a.example")))
        .unwrap();
    a_for_b.ca = Some(other.certificate().to_owned());
    let live = Live::load(&b.config).unwrap();
    let client = MimiClient::new(&b.config, live.clone()).unwrap();
    assert_eq!(submit(&client).await.unwrap_err().code(), "unreachable");
    live.replace(crate::tls::Material::load(&trusting).unwrap());
    assert_eq!(submit(&client).await.unwrap().status, StatusCode::BAD_REQUEST);
    // By its key alone, whoever signed it.
    let pinned = trusting
        .peers
        .get_mut(&crate::config::PeerDomain(domain("a.example")))
        .unwrap();
    pinned.ca = None;
    let certificate = crate::tls::certificates(&pem).unwrap();
    pinned.key_sha256 = vec![hex::encode(crate::tls::key_pin(&certificate[0]).unwrap())];
    live.replace(crate::tls::Material::load(&trusting).unwrap());
    assert_eq!(submit(&client).await.unwrap().status, StatusCode::BAD_REQUEST);
    b.service.stop().await;
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_drips_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let [mut a, _] = configurations(folder.path());
    a.limits.head_seconds = 1;
    a.limits.body_seconds = 1;
    a.limits.connections_per_address = 2;
    let a = start(a).await;
    // A TLS handshake that never comes, and a head that never ends.
    let mut silent = TcpStream::connect(a.service.addresses().mimi).await.unwrap();
    let mut head = TcpStream::connect(a.service.addresses().admin).await.unwrap();
    head.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        .await
        .unwrap();
    // A third connection of the same address to the MIMI face is closed at once, the others are not touched.
    let _second = TcpStream::connect(a.service.addresses().mimi).await.unwrap();
    let mut third = TcpStream::connect(a.service.addresses().mimi).await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(third.read_to_end(&mut rest).await.unwrap_or(0), 0);
    assert_eq!(silent.read_to_end(&mut rest).await.unwrap_or(0), 0);
    head.read_to_end(&mut rest).await.unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("200"), "{rest:?}");
    // A body that never ends.
    let mut body = TcpStream::connect(a.service.addresses().client_api)
        .await
        .unwrap();
    let start = format!(
        "POST {}/login HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{{",
        mls_client::api::PREFIX
    );
    body.write_all(start.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let n = body.read(&mut answer).await.unwrap();
    assert!(
        String::from_utf8_lossy(&answer[..n]).starts_with("HTTP/1.1 4"),
        "{:?}",
        String::from_utf8_lossy(&answer[..n])
    );
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_paths_and_media_types_are_those_of_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let a = start(a).await;
    let b = super::bad_input::liar(folder.path(), &["b.example"], a.service.addresses().mimi);
    let at = |path: &str| format!("https://a.example{path}");
    let ask = |method: Method, path: &str| b.request(method, at(path)).header("from", "mimi@b.example");
    let room = "mimi%3A%2F%2Fa.example%2Fr%2Fx";
    let wrong_method = ask(Method::GET, &format!("/v1/update/{room}"))
        .send()
        .await
        .unwrap();
    assert_eq!(wrong_method.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong_method.headers().get("allow").unwrap(), "POST");
    let unknown = ask(Method::POST, "/v1/nothing/x").send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    for (media_type, status) in [
        ("text/plain", 415),
        ("application/json; charset=utf-8", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/octet-stream", 400),
        ("application/mimi-anything", 400),
    ] {
        let path = format!("/v1/update/{room}");
        let answer = ask(Method::POST, &path)
            .header("content-type", media_type)
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{media_type}");
    }
    // Every endpoint that the directory names answers something else than "no such endpoint".
    let directory: Value = ask(Method::GET, "/.well-known/mimi-protocol-directory")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    for (name, template) in directory.as_object().unwrap() {
        // The hosts of assets are names, no endpoint.
        let Some(template) = template.as_str() else {
            continue;
        };
        let template = template.replace("https://mimi.a.example", "");
        let path = match template.split_once('{') {
            Some((before, _)) => format!("{before}{room}"),
            None => template,
        };
        let answer = ask(Method::POST, &path).body("x").send().await.unwrap();
        let body = answer.text().await.unwrap();
        assert!(!body.contains("no_endpoint"), "{name} {path}: {body}");
    }
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_many_requests() {
    let folder = tempfile::tempdir().unwrap();
    let [mut a, b] = configurations(folder.path());
    // One for the host of the directory, one for that of the endpoints, and on a busy machine some that a client opens
    // while it waits for those; one for each request would be refused.
    a.limits.connections_per_address = 9;
    let (a, b) = (start(a).await, start(b).await);
    let peer = b.peer();
    for _ in 0..10 {
        assert_eq!(submit(&peer).await.unwrap().status, StatusCode::BAD_REQUEST);
    }
    b.service.stop().await;
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_none_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let [_, mut b] = configurations(folder.path());
    // A server with a's name that has no directory, and counts who asks.
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    let router = axum::Router::new().fallback(move || async move {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        StatusCode::NOT_FOUND
    });
    let ca = DevCa::open(&folder.path().join("ca")).unwrap();
    let (pem, key) = (folder.path().join("x.pem"), folder.path().join("x.key"));
    ca.issue(&["a.example".to_owned()], &pem, &key).unwrap();
    let own = crate::tls::OwnCertificate::load(&pem, &key).unwrap();
    let tls = crate::tls::plain_server(&own).unwrap();
    let listener = Listener::bind(
        "test",
        (loopback(), 0).into(),
        Some(Arc::new(move || tls.clone())),
        router,
        &b.limits,
    )
    .await
    .unwrap();
    let address = listener.address().unwrap();
    let (stop, stopped) = stop_pair();
    let serving = tokio::spawn(listener.run(stopped));
    b.peers
        .get_mut(&crate::config::PeerDomain(domain("a.example")))
        .unwrap()
        .address = Some(address);
    let client = MimiClient::new(&b, Live::load(&b).unwrap()).unwrap();
    for _ in 0..5 {
        assert_eq!(submit(&client).await.unwrap_err().code(), "directory");
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    // Without the operator's word the loopback address is nowhere to go, whatever DNS or the directory says.
    let peer = crate::config::PeerDomain(domain("a.example"));
    b.peers.get_mut(&peer).unwrap().address = None;
    let guard = crate::mimi_client::address::Guarded::new(&[]);
    assert!(!guard.allows(address.ip()));
    stop.stop();
    serving.await.unwrap();
}

/// A server with a.example's certificate and whatever answers, and b's client of it.
struct Impostor {
    client: MimiClient,
    stop: StopHandle,
    serving: JoinHandle<()>,
}

impl Impostor {
    /// `host` is where its directory says that its endpoints are.
    async fn start(folder: &Path, config: &Config, host: &str, h2: bool, endpoints: axum::Router) -> Self {
        let directory = mimi_wire::directory::Directory::for_base(&format!("https://{host}")).unwrap();
        let directory = axum::routing::get(|| async { axum::Json(directory) });
        let router = endpoints.route(mimi_wire::directory::WELL_KNOWN_PATH, directory);
        let ca = DevCa::open(&folder.join("ca")).unwrap();
        let (pem, key) = (folder.join("x.pem"), folder.join("x.key"));
        let names = ["a.example".to_owned(), "mimi.a.example".to_owned()];
        for file in [&pem, &key] {
            let _ = std::fs::remove_file(file);
        }
        ca.issue(&names, &pem, &key).unwrap();
        let own = crate::tls::OwnCertificate::load(&pem, &key).unwrap();
        // Peers show their certificates in either version.
        let trust = crate::tls::PeerTrust::new(config).unwrap();
        let mut tls = (*crate::tls::mimi_server(&own, &trust).unwrap()).clone();
        if !h2 {
            tls.alpn_protocols.clear();
        }
        let tls = Arc::new(tls);
        let source: TlsSource = Arc::new(move || tls.clone());
        let listener = Listener::bind(
            "test",
            (loopback(), 0).into(),
            Some(source),
            router,
            &config.limits,
        )
        .await
        .unwrap();
        let mut config = config.clone();
        let peer = crate::config::PeerDomain(domain("a.example"));
        config.peers.get_mut(&peer).unwrap().address = Some(listener.address().unwrap());
        let (stop, stopped) = stop_pair();
        Self {
            client: MimiClient::new(&config, Live::load(&config).unwrap()).unwrap(),
            stop,
            serving: tokio::spawn(listener.run(stopped)),
        }
    }

    async fn stop(self) {
        drop(self.client);
        self.stop.stop();
        self.serving.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_where_the_endpoint_has_the_provider_s_name() {
    let folder = tempfile::tempdir().unwrap();
    let [_, b] = configurations(folder.path());
    for (host, h2, spoken) in [
        ("a.example", true, "HTTP/2.0 a.example"),
        ("mimi.a.example", true, "HTTP/1.1 a.example"),
        ("a.example", false, "HTTP/1.1 a.example"),
    ] {
        let router = axum::Router::new().fallback(|request: axum::extract::Request| async move {
            let named = request.headers().get(http::header::HOST);
            let named = named.map(|host| host.to_str().unwrap().to_owned());
            let authority = request.uri().authority().map(ToString::to_string);
            format!("{:?} {}", request.version(), named.or(authority).unwrap())
        });
        let server = Impostor::start(folder.path(), &b, host, h2, router).await;
        assert_eq!(submit(&server.client).await.unwrap().body, spoken, "{host} {h2}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_redirects_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let [_, b] = configurations(folder.path());
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    let router = axum::Router::new().fallback(move || async move {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        (
            StatusCode::TEMPORARY_REDIRECT,
            [(http::header::LOCATION, "https://a.example/elsewhere")],
        )
    });
    let server = Impostor::start(folder.path(), &b, "a.example", true, router).await;
    let answer = submit(&server.client).await.unwrap();
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_so_many_requests_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let [mut a, b] = configurations(folder.path());
    a.limits.peer_concurrent = 1;
    let (a, b) = (start(a).await, start(b).await);
    let slow = super::bad_input::liar(folder.path(), &["b.example"], a.service.addresses().mimi);
    // A request whose body does not come to its end.
    let (body, rest) = tokio::sync::oneshot::channel::<()>();
    let octets = futures_util::stream::once(async move {
        let _ = rest.await;
        Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
    });
    let waiting = tokio::spawn(
        slow.post("https://a.example/v1/submitMessage/mimi%3A%2F%2Fa.example%2Fr%2Fx")
            .header("from", "mimi@b.example")
            .body(reqwest::Body::wrap_stream(octets))
            .send(),
    );
    let peer = b.peer();
    let refused = loop {
        let answer = submit(&peer).await.unwrap();
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            break answer;
        }
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    };
    assert_eq!(refused.retry_after.unwrap().as_secs(), 1);
    body.send(()).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::BAD_REQUEST);
    while submit(&peer).await.unwrap().status == StatusCode::SERVICE_UNAVAILABLE {}
    b.service.stop().await;
    a.service.stop().await;
}

#[test]
fn a_malformed_submission_is_what_these_tests_send() {
    assert!(SubmitMessageRequest::from_bytes(b"x").is_err());
}
