//! The client API over HTTP: paths, tokens, errors, repeats.

use mls_client::api::{ApiErrorCode, ClaimRequest, LoginKind, ProviderInfo};
use mls_client::transport::{Backoff, Http, Transport as _, TransportError, with_retry};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Answers one request after the other as written, and keeps what it was sent.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !complete(&request) {
                    let mut piece = [0; 4096];
                    let read = stream.read(&mut piece).await.unwrap();
                    assert_ne!(read, 0, "the client hung up");
                    request.extend_from_slice(&piece[..read]);
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(body.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { url, requests }
    }

    fn client(&self) -> Http {
        Http::new(&self.url, None).unwrap().with_token("secret-token")
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|l| {
        l.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse::<usize>()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}

const ROOM: &str = "mimi://a.example/r/tea";

#[tokio::test]
async fn a_room_is_one_path_segment_and_the_token_goes_along() {
    let answer = r#"{"entries": [], "next": "18446744073709551615"}"#;
    let server = Server::start(vec![(200, answer.into())]).await;
    let page = server
        .client()
        .log(ROOM, 7, 200, Duration::from_secs(3))
        .await
        .unwrap();
    assert_eq!(page.next, u64::MAX);
    let request = &server.requests()[0];
    let path =
        "/_causeway/client/v1/rooms/mimi%3A%2F%2Fa.example%2Fr%2Ftea/log?from=7&limit=200&wait_ms=3000";
    assert!(
        request.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
        "{request}"
    );
    assert!(
        request
            .to_ascii_lowercase()
            .contains("authorization: bearer secret-token\r\n")
    );
    assert!(!format!("{:?}", server.client()).contains("secret-token"));
}

#[tokio::test]
async fn the_same_request_is_repeated_when_the_provider_asks_for_it() {
    let busy = r#"{"code": "unavailable", "error": "later", "retry_after_ms": 1}"#;
    let answer = r#"{"response": "AQID"}"#;
    let server = Server::start(vec![(503, busy.into()), (200, answer.into())]).await;
    let request = ClaimRequest {
        request: vec![1, 2, 3].into(),
    };
    assert_eq!(
        server.client().claim(ROOM, &request).await.unwrap().response.0,
        [1, 2, 3]
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], requests[1]);
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let refusal = r#"{"code": "forbidden", "error": "you may not"}"#;
    let server = Server::start(vec![(403, refusal.into()), (200, "[]".into())]).await;
    let error = server.client().rooms().await.unwrap_err();
    assert_eq!(error.code(), Some(ApiErrorCode::Forbidden));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn answers_that_make_no_sense_are_told_from_refusals() {
    let server = Server::start(vec![
        (200, "{".into()),
        (418, "tea".into()),
        (404, "<html>".into()),
    ])
    .await;
    let client = server.client();
    assert!(matches!(
        client.devices().await,
        Err(TransportError::BadAnswer(_))
    ));
    assert!(matches!(
        client.devices().await,
        Err(TransportError::BadAnswer(_))
    ));
    assert_eq!(
        client.devices().await.unwrap_err().code(),
        Some(ApiErrorCode::NotFound)
    );
}

#[tokio::test]
async fn what_the_provider_is_comes_without_a_token() {
    let info = ProviderInfo {
        provider: "a.example".into(),
        external_sender: vec![1].into(),
        franking_agent: vec![2].into(),
        p256: None,
        cipher_suites: vec![1],
        login: vec![LoginKind::MatrixOpenid],
        homeserver: Some("a.example".into()),
        bot: Some("@mimi:a.example".into()),
    };
    let server = Server::start(vec![(200, serde_json::to_string(&info).unwrap())]).await;
    let client = Http::new(&server.url, None).unwrap();
    assert_eq!(client.provider().await.unwrap(), info);
    assert!(
        !server.requests()[0]
            .to_ascii_lowercase()
            .contains("authorization")
    );
    assert!(Http::new("a.example", None).is_err());
}

#[tokio::test]
async fn repeats_end() {
    let backoff = Backoff {
        first: Duration::ZERO,
        most: Duration::ZERO,
        attempts: 3,
    };
    let mut tries = 0;
    let result: Result<(), _> = with_retry(backoff, || {
        tries += 1;
        async { Err(TransportError::Unreachable("no".into())) }
    })
    .await;
    assert!(result.is_err());
    assert_eq!(tries, 3);
}

#[test]
fn pauses_grow_are_random_and_keep_what_was_asked() {
    let backoff = Backoff {
        first: Duration::from_millis(10),
        most: Duration::from_millis(100),
        attempts: 9,
    };
    for attempt in 0..64 {
        let bound = Duration::from_millis(10)
            .saturating_mul(1 << attempt.min(16))
            .min(backoff.most);
        let pause = backoff.pause(attempt, Some(Duration::from_secs(2)));
        assert!(pause >= Duration::from_secs(2) && pause <= Duration::from_secs(2) + bound);
    }
    assert!(backoff.pause(0, Some(Duration::from_secs(100_000))) <= Duration::from_mins(2));
}
