#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

//! Over real sockets: who gets in, and as whom.

use super::dev_ca::DevCa;
use super::*;
use crate::config::{Environment, LimitsConfig, parse};
use crate::web::{Connection, Listener, stop_pair};
use ::http::{HeaderMap, StatusCode};
use axum::extract::{Extension, State};
use axum::routing::get;
use mimi_wire::Domain;
use std::net::SocketAddr;
use std::path::PathBuf;

struct Folder(tempfile::TempDir);

impl Folder {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A certificate of the named authority; files `NAME.pem`, `NAME.key`.
    fn certificate(&self, ca: &str, name: &str, names: &[&str]) -> OwnCertificate {
        let ca = DevCa::open(&self.path(ca)).unwrap();
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let (pem, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        ca.issue(&names, &pem, &key).unwrap();
        OwnCertificate::load(&pem, &key).unwrap()
    }
}

fn folder() -> Folder {
    let folder = Folder(tempfile::tempdir().unwrap());
    for ca in ["one", "two", "web"] {
        DevCa::open(&folder.path(ca)).unwrap();
    }
    folder
}

/// Peers of a.example: b.example by the common authority, c.example by one of its own.
fn trust(folder: &Folder) -> PeerTrust {
    let text = r#"
        [provider]
        domain = "a.example"
        node_name = "cw1.a.example"
        [mimi]
        listen = "127.0.0.1:0"
        certificate = "a.pem"
        key = "a.key"
        trusted_ca = ["one/ca.pem"]
        web_pki_roots = "web/ca.pem"
        [peers."b.example"]
        [peers."c.example"]
        ca = "two/ca.pem"
        [peers."d.example"]
        allow = false
        [peers."e.example"]
        web_pki = true
    "#;
    let config = parse(text, "test", folder.0.path().to_owned(), &Environment::default()).unwrap();
    PeerTrust::new(&config).unwrap()
}

async fn who(
    State(trust): State<Arc<PeerTrust>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    match trust.identify(&headers, &connection.certificates) {
        Ok(peer) => (StatusCode::OK, peer.domain().to_string()),
        Err(refusal) => (refusal.status(), refusal.code().to_owned()),
    }
}

async fn server(folder: &Folder) -> (SocketAddr, crate::web::StopHandle, tokio::task::JoinHandle<()>) {
    let own = folder.certificate("one", "a", &["a.example", "mimi.a.example"]);
    let trust = Arc::new(trust(folder));
    let tls = mimi_server(&own, &trust).unwrap();
    let router = axum::Router::new().route("/who", get(who)).with_state(trust);
    let listener = Listener::bind(
        "test",
        ([127, 0, 0, 1], 0).into(),
        Some(Arc::new(move || tls.clone())),
        router,
        &LimitsConfig::default(),
    )
    .await
    .unwrap();
    let address = listener.address().unwrap();
    let (handle, stop) = stop_pair();
    (address, handle, tokio::spawn(listener.run(stop)))
}

fn client(folder: &Folder, own: &OwnCertificate, ca: &str, address: SocketAddr) -> reqwest::Client {
    let roots = Arc::new(roots([folder.path(ca).join("ca.pem").as_path()]).unwrap());
    reqwest::Client::builder()
        .tls_backend_preconfigured(mimi_client(own, roots).unwrap())
        .resolve("a.example", address)
        .no_proxy()
        .build()
        .unwrap()
}

async fn ask(client: &reqwest::Client, from: &[&str]) -> Result<(u16, String), reqwest::Error> {
    let mut request = client.get("https://a.example/who");
    for from in from {
        request = request.header("from", *from);
    }
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test]
async fn a_peer_is_who_its_certificate_says() {
    let folder = folder();
    let (address, _stop, _task) = server(&folder).await;
    let b = folder.certificate("one", "b", &["b.example", "mimi.b.example"]);
    let client_b = client(&folder, &b, "one", address);
    assert_eq!(
        ask(&client_b, &["mimi@b.example"]).await.unwrap(),
        (200, "b.example".into())
    );
    assert_eq!(
        ask(&client_b, &["mimi@B.Example"]).await.unwrap(),
        (200, "b.example".into())
    );
    for (from, status, code) in [
        (&[][..], 400, "no_from"),
        (&["b.example"][..], 400, "malformed_from"),
        (&["Bob <mimi@b.example>"][..], 400, "malformed_from"),
        (&["mimi@b.example:8443"][..], 400, "malformed_from"),
        (&["mimi@b.example", "mimi@b.example"][..], 400, "malformed_from"),
        (&["mimi@x.example"][..], 403, "not_a_peer"),
        (&["mimi@a.example"][..], 403, "not_a_peer"),
        (&["mimi@d.example"][..], 403, "not_a_peer"),
        // A good certificate, but not of the authority that c.example is pinned to.
        (&["mimi@c.example"][..], 403, "untrusted_certificate"),
    ] {
        assert_eq!(
            ask(&client_b, from).await.unwrap(),
            (status, code.to_owned()),
            "{from:?}"
        );
    }
}

/// A certificate as public authorities issue them: for serverAuth alone.
fn server_only(folder: &Folder, ca: &str, name: &str, names: &[&str]) -> OwnCertificate {
    let ca = DevCa::open(&folder.path(ca)).unwrap();
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let (pem, key) = (
        folder.path(&format!("{name}.pem")),
        folder.path(&format!("{name}.key")),
    );
    let usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    ca.issue_for(&names, usages, &pem, &key).unwrap();
    OwnCertificate::load(&pem, &key).unwrap()
}

#[tokio::test]
async fn the_public_web_s_authorities_count_for_the_peers_that_are_to_be_trusted_by_them() {
    let folder = folder();
    let (address, _stop, _task) = server(&folder).await;
    let e = server_only(&folder, "web", "e", &["e.example", "mimi.e.example"]);
    let client_e = client(&folder, &e, "one", address);
    assert_eq!(
        ask(&client_e, &["mimi@e.example"]).await.unwrap(),
        (200, "e.example".into())
    );
    // Such a chain speaks for no other peer, whatever names it has.
    let b = server_only(&folder, "web", "b", &["b.example", "e.example"]);
    let client_b = client(&folder, &b, "one", address);
    assert_eq!(
        ask(&client_b, &["mimi@b.example"]).await.unwrap(),
        (403, "untrusted_certificate".into())
    );
    // And a certificate for serverAuth alone is none for a peer with an authority of its own.
    let own = server_only(&folder, "one", "b2", &["b.example"]);
    let answer = ask(&client(&folder, &own, "one", address), &["mimi@b.example"]).await;
    assert!(answer.is_err() || answer.unwrap().0 == 403);
    let wrong = server_only(&folder, "web", "x", &["x.example"]);
    assert_eq!(
        ask(&client(&folder, &wrong, "one", address), &["mimi@e.example"])
            .await
            .unwrap(),
        (403, "wrong_certificate_name".into())
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let folder = folder();
    let (address, _stop, _task) = server(&folder).await;
    let e = folder.certificate("one", "e", &["e.example", "b.example.e.example"]);
    let client_e = client(&folder, &e, "one", address);
    assert_eq!(
        ask(&client_e, &["mimi@b.example"]).await.unwrap(),
        (403, "wrong_certificate_name".into())
    );
    // The authority pinned for c.example may not speak for b.example.
    let c = folder.certificate("two", "c", &["c.example", "b.example"]);
    let client_c = client(&folder, &c, "one", address);
    assert_eq!(
        ask(&client_c, &["mimi@c.example"]).await.unwrap(),
        (200, "c.example".into())
    );
    assert_eq!(
        ask(&client_c, &["mimi@b.example"]).await.unwrap(),
        (403, "untrusted_certificate".into())
    );
}

#[tokio::test]
async fn without_a_trusted_certificate_there_is_no_connection() {
    let folder = folder();
    let (address, _stop, _task) = server(&folder).await;
    let stranger = folder.certificate("three", "s", &["b.example"]);
    assert!(
        ask(&client(&folder, &stranger, "one", address), &["mimi@b.example"])
            .await
            .is_err()
    );
    // None at all.
    let roots = Arc::new(roots([folder.path("one/ca.pem").as_path()]).unwrap());
    let bare = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let bare = reqwest::Client::builder()
        .tls_backend_preconfigured(bare)
        .resolve("a.example", address)
        .no_proxy()
        .build()
        .unwrap();
    assert!(ask(&bare, &["mimi@b.example"]).await.is_err());
    // And the other way round: a server whose authority the client doesn't trust.
    let b = folder.certificate("one", "b", &["b.example"]);
    assert!(
        ask(&client(&folder, &b, "two", address), &["mimi@b.example"])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn stopping_lets_the_running_request_end() {
    let (started, mut running) = tokio::sync::mpsc::channel(1);
    let release = Arc::new(tokio::sync::Notify::new());
    let gate = release.clone();
    let router = axum::Router::new().route(
        "/slow",
        get(move || async move {
            started.send(()).await.unwrap();
            gate.notified().await;
            "done"
        }),
    );
    let limits = LimitsConfig::default();
    let listener = Listener::bind("test", ([127, 0, 0, 1], 0).into(), None, router, &limits)
        .await
        .unwrap();
    let address = listener.address().unwrap();
    let (handle, stop) = stop_pair();
    let serving = tokio::spawn(listener.run(stop));
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let asked = tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client
            .get(format!("http://{address}/slow"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    });
    running.recv().await.unwrap();
    handle.stop();
    release.notify_one();
    assert_eq!(asked.await.unwrap(), "done");
    serving.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[test]
fn a_domain_is_needed_for_every_peer() {
    let folder = folder();
    let trust = trust(&folder);
    let domain = |d| Domain::parse(d).unwrap();
    assert!(trust.roots_of(&domain("b.example")).is_some());
    assert_eq!(trust.roots_of(&domain("c.example")).unwrap().len(), 1);
    for none in ["a.example", "d.example", "x.example"] {
        assert!(trust.roots_of(&domain(none)).is_none());
    }
}
