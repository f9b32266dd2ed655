#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

//! Two providers over real sockets, real certificates and a real engine each, on the memory store.

use super::*;
use crate::config::{Environment, load};
use crate::tls::dev_ca::DevCa;
use bytes::Bytes;
use http::{Method, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use mimi_wire::directory::Endpoint;
use mimi_wire::protocol::{GroupInfoCode, GroupInfoResponse};
use mimi_wire::{Decode as _, Domain};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::OnceLock;
use store::MemoryStore;

mod abuse;

mod assets;
mod bad_input;
mod cli;
mod codes;
mod conversation;
mod endpoints;
mod follower;
mod hostile;
mod people;
mod races;
mod rebuilt;
mod scene;
mod suites;
mod tap;
mod three;
mod transactions;
mod transport;

/// One recorder for all tests of the process.
fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
        .clone()
}

/// A loopback address that nothing else uses. Both providers have to know each other's address before they start, and a
/// port of 127.0.0.1 that was free a moment ago may by then be the end of somebody's connection.
fn loopback() -> std::net::Ipv4Addr {
    static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    // Never 127.0.x.x, where everybody else is.
    std::net::Ipv4Addr::new(127, high | 0x80, low, next)
}

struct Provider {
    config: Config,
    service: Service,
    store: Arc<dyn Store>,
    clock: Arc<Shifted>,
    http: reqwest::Client,
}

/// The system's clock, put forward or back.
#[derive(Default)]
struct Shifted(std::sync::atomic::AtomicI64);

impl Shifted {
    /// Puts it forward, or back.
    fn by_minutes(&self, minutes: i64) {
        self.0
            .fetch_add(minutes * 60_000, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now_ms(&self) -> u64 {
        let by = self.0.load(std::sync::atomic::Ordering::SeqCst);
        SystemClock.now_ms().saturating_add_signed(by)
    }
}

/// Configurations of a.example and b.example.
fn configurations(folder: &Path) -> [Config; 2] {
    configured(folder, ["a.example", "b.example"])
}

/// Configurations of providers that are each other's peers, made by `causeway init` as a user would.
fn configured<const N: usize>(folder: &Path, names: [&str; N]) -> [Config; N] {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let hosts: [_; N] = std::array::from_fn(|_| loopback());
    std::array::from_fn(|at| {
        let file = folder.join(names[at]).join("causeway.toml");
        let address = |n: usize| format!("{}:{}", hosts[at], 8443 + n);
        let host = format!("mimi.{}", names[at]);
        let mut arguments = [
            "causeway",
            "init",
            "--yes",
            "--quiet",
            "--config",
            file.to_str().unwrap(),
            "--domain",
            names[at],
            "--mimi-host",
            &host,
            "--mimi-listen",
            &address(0),
            "--client-listen",
            &address(1),
            "--admin-listen",
            &address(2),
            "--dev-ca",
            folder.join("ca").to_str().unwrap(),
        ]
        .map(str::to_owned)
        .to_vec();
        for other in (0..N).filter(|other| *other != at) {
            let peer = format!("{}={}:8443", names[other], hosts[other]);
            arguments.extend(["--peer".to_owned(), peer]);
        }
        crate::cli::run_from(arguments).unwrap();
        load(&file, &Environment::default()).unwrap()
    })
}

async fn start(config: Config) -> Provider {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let clock = Arc::new(Shifted::default());
    let service = serve(&config, store.clone(), clock.clone()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    Provider {
        config,
        service,
        store,
        clock,
        http,
    }
}

/// Starts a provider on its store and at its addresses, also after it was stopped.
async fn serve(config: &Config, store: Arc<dyn Store>, clock: Arc<Shifted>) -> Service {
    let started = Box::pin(Service::start_at(config, store, Some(recorder()), clock));
    started.await.unwrap()
}

impl Provider {
    /// A request to the client API.
    async fn client(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let url = format!(
            "http://{}{}{path}",
            self.service.addresses().client_api,
            mls_client::api::PREFIX
        );
        self.json(method, url, token, body).await
    }

    /// A request to the admin API.
    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let token = admin_token(&self.config).unwrap().unwrap();
        let url = format!(
            "http://{}/_causeway/admin/v1{path}",
            self.service.addresses().admin
        );
        self.json(method, url, Some(token.expose()), body).await
    }

    async fn json(
        &self,
        method: Method,
        url: String,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn text(&self, path: &str) -> (StatusCode, String) {
        let response = self
            .http
            .get(format!("http://{}{path}", self.service.addresses().admin))
            .send()
            .await
            .unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// An account, signed in on a device: the session token.
    async fn signed_in(&self, user: &str) -> String {
        let (status, added) = self
            .admin(Method::POST, "/accounts", Some(json!({"user": user})))
            .await;
        assert_eq!(status, StatusCode::OK, "{added}");
        let login = json!({"kind": "local_token", "user": user, "token": added["token"], "device": "d1"});
        let (status, session) = self.client(Method::POST, "/login", None, Some(login)).await;
        assert_eq!(status, StatusCode::OK, "{session}");
        session["token"].as_str().unwrap().to_owned()
    }

    /// A client of the provider protocol with this provider's certificate.
    fn peer(&self) -> MimiClient {
        MimiClient::new(&self.config, Live::load(&self.config).unwrap()).unwrap()
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let a = start(a).await;
    assert_eq!(a.text("/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(
        a.text("/readyz").await,
        (
            StatusCode::OK,
            r#"{"ready":true,"reasons":[],"warnings":[]}"#.to_owned()
        )
    );

    let (status, body) = a.client(Method::GET, "/provider", None, None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["provider"], "a.example");
    assert_eq!(body["login"], json!(["local_token"]));

    let token = a.signed_in("alice").await;
    let (_, accounts) = a.admin(Method::GET, "/accounts", None).await;
    assert_eq!(accounts[0]["user"], "mimi://a.example/u/alice");
    assert_eq!(accounts[0]["devices"], 1);
    let (status, again) = a
        .admin(Method::POST, "/accounts", Some(json!({"user": "alice"})))
        .await;
    assert_eq!(status, StatusCode::CONFLICT, "{again}");
    let (status, devices) = a.client(Method::GET, "/devices", Some(&token), None).await;
    assert_eq!(
        (status, &devices[0]["client"]),
        (StatusCode::OK, &json!("mimi://a.example/d/alice/d1"))
    );
    let (status, rooms) = a.client(Method::GET, "/rooms", Some(&token), None).await;
    assert_eq!((status, rooms), (StatusCode::OK, json!([])));

    assert_eq!(
        a.client(Method::POST, "/logout", Some(&token), None).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        a.client(Method::GET, "/devices", Some(&token), None).await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        a.admin(Method::DELETE, "/accounts/alice", None).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        a.admin(Method::DELETE, "/accounts/alice", None).await.0,
        StatusCode::NOT_FOUND
    );
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_come_back_to_who_is_signed_in() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let a = start(a).await;
    let token = a.signed_in("alice").await;
    let url = |path: &str| {
        format!(
            "http://{}{}{path}",
            a.service.addresses().client_api,
            mls_client::api::PREFIX
        )
    };
    let put = a
        .http
        .put(url("/blobs"))
        .bearer_auth(&token)
        .body("octets")
        .send()
        .await
        .unwrap();
    let put: Value = put.json().await.unwrap();
    assert_eq!(put["size"], 6);
    let path = format!("/blobs/{}", put["sha256"].as_str().unwrap());
    let got = a.http.get(url(&path)).bearer_auth(&token).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), "octets");
    assert_eq!(
        a.http.get(url(&path)).send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_leads_to_the_endpoints() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = configurations(folder.path());
    let (a, b) = (start(a).await, start(b).await);
    // The same at the face that a reverse proxy reaches.
    let url = format!(
        "http://{}/.well-known/mimi-protocol-directory",
        b.service.addresses().client_api
    );
    let directory: Value = a.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(directory["notify"], "https://mimi.b.example/v1/notify/{roomId}");
    let consent = "https://mimi.b.example/v1/requestConsent/{targetUser}";
    assert_eq!(directory["requestConsent"], consent);

    // Over mutual TLS: b is asked something that no bundle is.
    let room = "mimi://b.example/r/nowhere";
    let answer = a
        .peer()
        .post(
            &domain("b.example"),
            Endpoint::Update,
            room,
            "r1",
            Bytes::from_static(b"x"),
        )
        .await;
    assert_eq!(answer.unwrap().status, StatusCode::BAD_REQUEST);
    let refused = a
        .peer()
        .post(&domain("c.example"), Endpoint::Update, room, "r1", Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "not_a_peer");
    b.service.stop().await;
    let away = a
        .peer()
        .post(&domain("b.example"), Endpoint::Update, room, "r1", Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(away.code(), "unreachable");
    a.service.stop().await;
}
