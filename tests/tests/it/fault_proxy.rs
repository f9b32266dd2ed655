//! Stands between a homeserver and a gateway, and does what networks, proxies and broken homeservers do.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use causeway_tests::process::free_addresses;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing bad.
    None,
    /// This status instead of an answer; with 429 and 503 a wish for half a second.
    Status(u16),
    /// A transaction is acknowledged and thrown away: what a homeserver loses that had it in memory only.
    Vanish,
    /// A transaction reaches the gateway, but its answer is lost, so that it comes again.
    LoseAnswer,
    /// Each transaction twice, and after its successor.
    TwiceOutOfOrder,
}

#[derive(Clone)]
pub(crate) struct FaultProxy(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    /// Where requests are passed on to: in turn, and to the next one where one can't be reached.
    targets: Mutex<Vec<String>>,
    turn: AtomicUsize,
    fault: Mutex<Fault>,
    held: tokio::sync::Mutex<Option<Held>>,
    requests: AtomicUsize,
    http: reqwest::Client,
}

struct Held {
    head: axum::http::request::Parts,
    body: Bytes,
}

impl FaultProxy {
    /// Starts to listen, and passes on to this base URL.
    pub(crate) async fn start(target: &str) -> Self {
        let [address] = free_addresses().unwrap();
        let proxy = Self(Arc::new(Inner {
            address,
            targets: Mutex::new(vec![target.to_owned()]),
            turn: AtomicUsize::new(0),
            fault: Mutex::new(Fault::None),
            held: tokio::sync::Mutex::new(None),
            requests: AtomicUsize::new(0),
            http: causeway_tests::matrix::http().unwrap(),
        }));
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let router = axum::Router::new().fallback(handle).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.0.fault.lock().unwrap() = fault;
    }

    /// Passes on to this one too.
    pub(crate) fn also(&self, target: &str) {
        self.0.targets.lock().unwrap().push(target.to_owned());
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Lets go of what is held back for the sake of disorder.
    pub(crate) async fn release(&self) {
        if let Some(held) = self.0.held.lock().await.take() {
            self.pass(&held.head, &held.body).await;
        }
    }

    async fn pass(&self, head: &axum::http::request::Parts, body: &Bytes) -> Response {
        let targets = self.0.targets.lock().unwrap().clone();
        let first = self.0.turn.fetch_add(1, Ordering::SeqCst);
        for number in 1..targets.len() {
            let target = &targets[(first + number) % targets.len()];
            if let Ok(response) = self.pass_to(target, head, body).await {
                return response;
            }
        }
        let last = self.pass_to(&targets[first % targets.len()], head, body).await;
        last.unwrap_or_else(|error| (axum::http::StatusCode::BAD_GATEWAY, error.to_string()).into_response())
    }

    async fn pass_to(
        &self,
        target: &str,
        head: &axum::http::request::Parts,
        body: &Bytes,
    ) -> Result<Response, reqwest::Error> {
        let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
        let mut request = self
            .0
            .http
            .request(head.method.clone(), format!("{target}{path}"))
            .body(body.clone());
        for name in ["authorization", "content-type", "x-request-id"] {
            if let Some(value) = head.headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await?;
        let mut response = Response::builder().status(answer.status());
        for name in ["content-type", "retry-after", "date"] {
            if let Some(value) = answer.headers().get(name) {
                response = response.header(name, value);
            }
        }
        let body = answer.bytes().await.unwrap_or_default();
        Ok(response.body(Body::from(body)).unwrap())
    }
}

fn said(status: u16, body: &'static str) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

async fn handle(State(proxy): State<FaultProxy>, request: Request) -> Response {
    proxy.0.requests.fetch_add(1, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let transaction = head.uri.path().contains("/transactions/");
    let fault = *proxy.0.fault.lock().unwrap();
    match fault {
        Fault::Status(status @ (429 | 503)) => said(
            status,
            r#"{"errcode":"M_LIMIT_EXCEEDED","error":"slow","retry_after_ms":500}"#,
        ),
        Fault::Status(status) => said(status, r#"{"errcode":"M_UNKNOWN","error":"broken"}"#),
        Fault::Vanish if transaction => said(200, "{}"),
        Fault::LoseAnswer if transaction => {
            proxy.pass(&head, &body).await;
            said(502, r#"{"errcode":"M_UNKNOWN","error":"lost"}"#)
        }
        Fault::TwiceOutOfOrder if transaction => {
            let mut held = proxy.0.held.lock().await;
            let answer = if let Some(before) = held.take() {
                let answer = proxy.pass(&head, &body).await;
                proxy.pass(&before.head, &before.body).await;
                proxy.pass(&before.head, &before.body).await;
                answer
            } else {
                said(200, "{}")
            };
            *held = Some(Held { head, body });
            answer
        }
        _ => proxy.pass(&head, &body).await,
    }
}
