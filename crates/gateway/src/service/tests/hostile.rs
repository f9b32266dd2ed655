//! A peer that sends whatever comes to its mind: refused, never a fault of ours.

use super::*;

/// xorshift: the same octets in every run.
struct Octets(u64);

impl Octets {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Random octets; some begin like a struct of the protocol, so that decoders get further.
    fn body(&mut self) -> Vec<u8> {
        let length = self.number() % 400;
        let mut body: Vec<u8> = (0..length).map(|_| self.number().to_le_bytes()[0]).collect();
        let start: &[u8] = match self.number() % 5 {
            0 => b"\x01\x00\x01\x00\x01",
            1 => b"\x01\x18mimi://a.example/u/alice",
            2 => b"\x18mimi://a.example/u/alice",
            3 => b"\x01\x00\x01\x00\x02",
            _ => b"",
        };
        body.splice(0..0, start.iter().copied());
        body
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bodies_at_every_endpoint_are_refused_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let a = start(a).await;
    a.signed_in("alice").await;
    let b = super::bad_input::liar(folder.path(), &["b.example"], a.service.addresses().mimi);
    let mut octets = Octets(0x9e37_79b9_7f4a_7c15);
    let user = "mimi%3A%2F%2Fa.example%2Fu%2Falice";
    let room = "mimi%3A%2F%2Fa.example%2Fr%2Fx";
    let mut paths: Vec<String> = Endpoint::ALL
        .iter()
        .map(|endpoint| {
            let variable = match endpoint {
                Endpoint::KeyMaterial | Endpoint::RequestConsent | Endpoint::UpdateConsent => user,
                Endpoint::IdentifierQuery => "a.example",
                _ => room,
            };
            format!("/v1/{}/{variable}", endpoint.name())
        })
        .collect();
    paths.extend(["/v1/ohttp", "/v1/asset/x", "/.well-known/mimi-protocol-directory"].map(str::to_owned));
    for path in &paths {
        for method in [Method::POST, Method::GET] {
            for _ in 0..30 {
                let answer = b
                    .request(method.clone(), format!("https://a.example{path}"))
                    .header("from", "mimi@b.example")
                    .header(
                        "content-type",
                        if path.ends_with("ohttp") {
                            ohttp::REQUEST_TYPE
                        } else {
                            "application/octet-stream"
                        },
                    )
                    .body(octets.body())
                    .send()
                    .await
                    .unwrap();
                assert!(
                    !answer.status().is_server_error(),
                    "{method} {path}: {}",
                    answer.status()
                );
            }
        }
        // Paths that are no identifiers.
        let base = path.rsplit_once('/').unwrap().0;
        for _ in 0..10 {
            let body = octets.body();
            let garbage = percent_encoding::percent_encode(&body, percent_encoding::NON_ALPHANUMERIC);
            let url = format!("https://a.example{base}/{garbage}");
            let answer = b
                .post(url)
                .header("from", "mimi@b.example")
                .body("x")
                .send()
                .await
                .unwrap();
            assert!(!answer.status().is_server_error(), "{base}: {}", answer.status());
        }
    }
    assert_eq!(a.admin(Method::GET, "/rooms", None).await.1, json!([]));
    assert_eq!(a.admin(Method::GET, "/reports", None).await.1, json!([]));
    assert_eq!(a.text("/healthz").await.0, StatusCode::OK);
    a.service.stop().await;
}
