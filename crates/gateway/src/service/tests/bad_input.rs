//! What is refused, as what, and that it is counted and changes nothing.

use super::*;
use crate::tls::{self, OwnCertificate};

/// Value of a line of `/metrics`.
async fn counted(provider: &Provider, face: &str, endpoint: &str, reason: &str) -> u64 {
    let (_, text) = provider.text("/metrics").await;
    let line =
        format!("causeway_refused_total{{face=\"{face}\",endpoint=\"{endpoint}\",reason=\"{reason}\"}} ");
    text.lines()
        .find_map(|l| l.strip_prefix(&line))
        .map_or(0, |n| n.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_get_an_http_error_or_the_answer_of_the_draft() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = configurations(folder.path());
    let (a, b) = (start(a).await, start(b).await);
    a.signed_in("alice").await;
    let peer = b.peer();
    let to_a = domain("a.example");
    let (own, others, user) = (
        "mimi://a.example/r/x",
        "mimi://b.example/r/x",
        "mimi://a.example/u/alice",
    );
    let large = Bytes::from(vec![0; (4096 << 10) + 1]);
    let x = || Bytes::from_static(b"\xff\xffnot TLS");
    for (endpoint, variable, body, status, reason) in [
        (Endpoint::Update, own, x(), 400, "malformed"),
        (Endpoint::Update, others, x(), 404, "not_hub"),
        (Endpoint::Update, own, large, 413, "too_large"),
        (Endpoint::SubmitMessage, own, x(), 400, "malformed"),
        (
            Endpoint::KeyMaterial,
            user,
            Bytes::from_static(b"\x01\xff"),
            400,
            "malformed",
        ),
        (Endpoint::KeyMaterial, user, x(), 200, "incompatible_protocol"),
        (Endpoint::Notify, own, x(), 403, "forbidden"),
    ] {
        let before = counted(&a, "mimi", endpoint.name(), reason).await;
        let answer = peer.post(&to_a, endpoint, variable, "r1", body).await.unwrap();
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{} {variable}: {:?}",
            endpoint.name(),
            answer.body
        );
        assert!(
            counted(&a, "mimi", endpoint.name(), reason).await > before,
            "{} {reason}",
            endpoint.name()
        );
    }
    // groupInfo has codes of its own.
    let answer = peer
        .post(&to_a, Endpoint::GroupInfo, own, "r1", x())
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        GroupInfoResponse::from_bytes(&answer.body).unwrap().code(),
        GroupInfoCode::NoSuchRoom
    );
    assert!(counted(&a, "mimi", "groupInfo", "no_such_room").await > 0);
    assert_eq!(a.admin(Method::GET, "/rooms", None).await.1, json!([]));
    a.service.stop().await;
    b.service.stop().await;
}

/// A client that can lie about its name and the host.
pub(super) fn liar(folder: &Path, names: &[&str], address: SocketAddr) -> reqwest::Client {
    let ca = DevCa::open(&folder.join("ca")).unwrap();
    let (pem, key) = (folder.join("liar.pem"), folder.join("liar.key"));
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    ca.issue(&names, &pem, &key).unwrap();
    let own = OwnCertificate::load(&pem, &key).unwrap();
    let roots = tls::roots([ca.certificate()]).unwrap();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::mimi_client(&own, Arc::new(roots)).unwrap())
        .http1_only()
        .resolve("a.example", address)
        .no_proxy()
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_in_another_s_name_is_refused_before_its_body_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let a = start(a).await;
    let client = liar(folder.path(), &["e.example"], a.service.addresses().mimi);
    let url = "https://a.example/v1/update/mimi%3A%2F%2Fa.example%2Fr%2Fx";
    for (from, host, status, reason) in [
        (Some("mimi@b.example"), "a.example", 403, "wrong_certificate_name"),
        (Some("mimi@e.example"), "a.example", 403, "not_a_peer"),
        (None, "a.example", 400, "no_from"),
        (Some("mimi@b.example"), "z.example", 421, "wrong_host"),
    ] {
        let before = counted(&a, "mimi", "update", reason).await;
        let mut request = client.post(url).header("host", host).body("x");
        if let Some(from) = from {
            request = request.header("from", from);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{reason}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["code"], reason);
        assert!(counted(&a, "mimi", "update", reason).await > before);
    }
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_an_api_error() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let a = start(a).await;
    let token = a.signed_in("alice").await;
    let room = "/rooms/mimi%3A%2F%2Fa.example%2Fr%2Fx";
    let log = format!("{room}/log");
    let query = format!("{room}/log?from=x");
    let message = format!("{room}/messages");
    let update = format!("{room}/update");
    let wrong = json!({"kind": "local_token", "user": "alice", "token": "no", "device": "d1"});
    let openid = json!({"kind": "matrix_openid", "access_token": "x", "device": "d1"});
    let submit = json!({"id": "1", "message": "AAAA"});
    let package = json!({"key_packages": ["AAAA"]});
    let large = json!({"key_packages": ["A".repeat(5 << 20)]});
    let (get, post) = (Method::GET, Method::POST);
    for (method, path, signed_in, body, status, code) in [
        (&get, "/devices", false, None, 401, "unauthorized"),
        (&post, "/login", false, Some(wrong), 401, "unauthorized"),
        (&post, "/login", false, Some(openid), 401, "unauthorized"),
        (
            &post,
            "/login",
            false,
            Some(json!({"kind": "password"})),
            400,
            "malformed",
        ),
        (&post, "/login", false, None, 400, "malformed"),
        (&post, "/key_packages", true, Some(package), 400, "malformed"),
        (
            &post,
            "/key_packages",
            true,
            Some(json!({"key_packages": ["+/"]})),
            400,
            "malformed",
        ),
        (&post, "/key_packages", true, Some(large), 413, "too_large"),
        (&get, &log, true, None, 404, "not_found"),
        (&get, "/rooms/nonsense/log", true, None, 400, "malformed"),
        (&get, &query, true, None, 400, "malformed"),
        (&post, &message, true, Some(submit), 404, "not_found"),
        (
            &post,
            &update,
            true,
            Some(json!({"bundle": "AAAA"})),
            400,
            "malformed",
        ),
        (&get, "/nothing", true, None, 404, "not_found"),
        (&Method::DELETE, "/rooms", true, None, 405, "malformed"),
        (&get, "/blobs/00", true, None, 400, "malformed"),
    ] {
        let token = signed_in.then_some(token.as_str());
        let (got, answer) = a.client(method.clone(), path, token, body).await;
        assert_eq!(
            (got.as_u16(), answer["code"].as_str()),
            (status, Some(code)),
            "{method} {path}: {answer}"
        );
    }
    assert!(counted(&a, "client", "login", "unauthorized").await > 0);
    assert!(counted(&a, "client", "key_packages", "too_large").await > 0);
    let (_, stock) = a.client(Method::GET, "/key_packages", Some(&token), None).await;
    let none =
        |suite| json!({"suite": suite, "available": 0, "last_resort": false, "last_resort_used": false});
    let suites = [none(1), none(2), none(3)];
    let empty = json!({"available": 0, "last_resort": false, "last_resort_used": false, "low": true, "suites": suites});
    assert_eq!(stock, empty);
    a.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_needs_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let a = start(a).await;
    let url = || {
        format!(
            "http://{}/_causeway/admin/v1/accounts",
            a.service.addresses().admin
        )
    };
    for token in [None, Some("wrong")] {
        assert_eq!(
            a.json(Method::GET, url(), token, None).await.0,
            StatusCode::UNAUTHORIZED
        );
    }
    let (status, body) = a
        .admin(Method::POST, "/accounts", Some(json!({"user": ""})))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let path = "/rooms/mimi%3A%2F%2Fa.example%2Fr%2Fx";
    assert_eq!(a.admin(Method::GET, path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(a.admin(Method::GET, "/accounts", None).await.1, json!([]));
    a.service.stop().await;
}
