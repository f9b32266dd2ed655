#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;
use crate::registration::Secret;
use axum::body::Body;
use http_body_util::BodyExt as _;
use matrix_wire::push::MAX_EVENTS;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Mutex;
use tower::ServiceExt as _;

/// A file of the shared data, or a visible skip.
pub(crate) fn shared_data(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CAUSEWAY_SHARED_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let file = root.join(name);
    if file.exists() {
        return Some(file);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", file.display());
    println!("SKIPPED: {name} is not there");
    None
}

/// Keeps what it is given, like the engine, and fails when told to.
#[derive(Default)]
struct Kept {
    transactions: Mutex<Vec<(String, Incoming)>>,
    fail: Mutex<Option<IntakeError>>,
}

#[async_trait]
impl Intake for Kept {
    async fn transaction(&self, request_id: &str, incoming: Incoming) -> Result<Taken, IntakeError> {
        if let Some(error) = self.fail.lock().unwrap().clone() {
            return Err(error);
        }
        self.transactions
            .lock()
            .unwrap()
            .push((request_id.to_owned(), incoming));
        Ok(Taken::default())
    }

    async fn alias(&self, alias: &str) -> Result<Lookup, IntakeError> {
        Ok(if alias == "#_mimi_there:a.example" {
            Lookup::Exists
        } else {
            Lookup::Unknown
        })
    }

    async fn user(&self, user: &str) -> Result<Lookup, IntakeError> {
        Ok(if user == "@_mimi:a.example" {
            Lookup::Exists
        } else {
            Lookup::Unknown
        })
    }

    async fn places(&self, wanted: &thirdparty::Wanted) -> Result<Vec<Place>, IntakeError> {
        let place = Place::new("#_mimi_there:a.example".into(), "mimi://b.example/r/x");
        let fits = wanted.alias.as_ref().is_none_or(|a| *a == place.alias)
            && wanted.uri.as_ref().is_none_or(|u| *u == place.fields["uri"]);
        Ok(fits.then_some(place).into_iter().collect())
    }

    fn server_name(&self) -> String {
        "a.example".into()
    }
}

struct Bench {
    intake: Arc<Kept>,
    router: Router,
}

impl Bench {
    fn new() -> Self {
        let intake = Arc::new(Kept::default());
        let state = AppserviceState {
            intake: intake.clone(),
            tokens: KeyRing::fixed(Secret::new("as-secret"), Secret::new("hs-secret")),
            max_body: MAX_BODY,
        };
        Self {
            intake,
            router: routes(state),
        }
    }

    async fn ask(&self, request: http::Request<Body>) -> (StatusCode, HeaderMap, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            serde_json::from_slice(&body).unwrap_or(Value::Null),
        )
    }

    async fn call(&self, method: &str, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", "Bearer hs-secret")
            .body(body.into())
            .unwrap();
        let (status, _, body) = self.ask(request).await;
        (status, body)
    }
}

const EMPTY: &str = r#"{"events":[]}"#;

#[tokio::test]
async fn the_token_is_asked_for_before_anything_else() {
    let bench = Bench::new();
    let ask = async |header: Option<&str>, path: &str| {
        let mut request = http::Request::builder().method("PUT").uri(path);
        if let Some(value) = header {
            request = request.header("authorization", value);
        }
        let (status, _, body) = bench
            .ask(request.body(Body::from("not even JSON")).unwrap())
            .await;
        (
            status.as_u16(),
            body["errcode"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let path = "/_matrix/app/v1/transactions/1";
    assert_eq!(ask(None, path).await, (401, "M_MISSING_TOKEN".into()));
    assert_eq!(
        ask(Some("Basic aHMtc2VjcmV0"), path).await,
        (401, "M_MISSING_TOKEN".into())
    );
    assert_eq!(ask(Some("Bearer wrong"), path).await, (403, "M_FORBIDDEN".into()));
    assert_eq!(ask(Some("Bearer "), path).await, (403, "M_FORBIDDEN".into()));
    assert_eq!(
        ask(Some("Bearer wrong"), "/no/such/path").await,
        (403, "M_FORBIDDEN".into())
    );
    assert_eq!(
        ask(None, &format!("{path}?access_token=wrong")).await,
        (403, "M_FORBIDDEN".into())
    );
    // The header wins over the query.
    assert_eq!(
        ask(Some("Bearer wrong"), &format!("{path}?access_token=hs-secret"))
            .await
            .0,
        403
    );
    assert_eq!(
        ask(Some("bearer hs-secret"), path).await,
        (400, "M_NOT_JSON".into())
    );
    assert_eq!(
        ask(None, &format!("{path}?access_token=hs-secret")).await,
        (400, "M_NOT_JSON".into())
    );
    assert!(bench.intake.transactions.lock().unwrap().is_empty());
}

#[tokio::test]
async fn transactions_of_a_real_synapse_arrive_whole_and_in_order() {
    let Some(file) = shared_data("synapse/appservice-transactions.json") else {
        return;
    };
    let transactions: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let bench = Bench::new();
    for (n, transaction) in transactions.iter().enumerate() {
        // Every second one on the path of before v1.
        let prefix = if n % 2 == 0 { "/_matrix/app/v1" } else { "" };
        let (status, body) = bench
            .call(
                "PUT",
                &format!("{prefix}/transactions/{n}"),
                transaction.to_string(),
            )
            .await;
        assert_eq!((status, body), (StatusCode::OK, json!({})));
    }
    let kept = bench.intake.transactions.lock().unwrap();
    assert_eq!(kept.len(), transactions.len());
    for (n, ((request_id, incoming), sent)) in kept.iter().zip(&transactions).enumerate() {
        assert_eq!(
            (&incoming.txn_id, request_id),
            (&n.to_string(), &format!("txn-{n}"))
        );
        assert!(incoming.unusable.is_empty());
        let got: Vec<(&str, &Value)> = incoming
            .events
            .iter()
            .map(|e| (e.event_id.as_str(), &e.content))
            .collect();
        let sent = sent["events"].as_array().unwrap();
        let sent: Vec<(&str, &Value)> = sent
            .iter()
            .map(|e| (e["event_id"].as_str().unwrap(), &e["content"]))
            .collect();
        assert_eq!(got, sent);
    }
}

#[tokio::test]
async fn only_durable_transactions_are_acknowledged() {
    let bench = Bench::new();
    let path = "/_matrix/app/v1/transactions/x";
    *bench.intake.fail.lock().unwrap() = Some(IntakeError::Unavailable {
        reason: "store is full".into(),
        retry_after: Some(Duration::from_secs(3)),
    });
    let request = http::Request::put(path).header("authorization", "Bearer hs-secret");
    let (status, headers, _) = bench.ask(request.body(Body::from(EMPTY)).unwrap()).await;
    assert_eq!(
        (status.as_u16(), headers["retry-after"].to_str().unwrap()),
        (503, "3")
    );
    *bench.intake.fail.lock().unwrap() = Some(IntakeError::Refused("no".into()));
    assert_eq!(bench.call("PUT", path, EMPTY).await.0, 400);
    *bench.intake.fail.lock().unwrap() = None;
    assert_eq!(bench.call("PUT", path, EMPTY).await.0, 200);
    assert_eq!(bench.intake.transactions.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_too_large_or_no_transaction_is_refused() {
    let bench = Bench::new();
    let path = "/_matrix/app/v1/transactions/x";
    for (body, status, code) in [
        ("", 400, "M_NOT_JSON"),
        ("{", 400, "M_NOT_JSON"),
        ("[]", 400, "M_BAD_JSON"),
        (r#"{"events":{}}"#, 400, "M_BAD_JSON"),
    ] {
        let (got, answer) = bench.call("PUT", path, body).await;
        assert_eq!(
            (got.as_u16(), answer["errcode"].as_str()),
            (status, Some(code)),
            "{body:?}"
        );
    }
    let many = json!({"events": vec![json!({}); MAX_EVENTS + 1]}).to_string();
    assert_eq!(bench.call("PUT", path, many).await.0, 413);
    assert_eq!(bench.call("PUT", path, vec![b' '; MAX_BODY + 1]).await.0, 413);
    let long = format!("/_matrix/app/v1/transactions/{}", "x".repeat(300));
    assert_eq!(bench.call("PUT", &long, EMPTY).await.0, 400);
    assert!(bench.intake.transactions.lock().unwrap().is_empty());
    // Unknown keys are no reason to stall a homeserver.
    let body = r#"{"events":[],"ephemeral":[1],"org.matrix.msc3202.device_lists":{},"new":true}"#;
    assert_eq!(bench.call("PUT", path, body).await.0, 200);
}

#[tokio::test]
async fn queries_pings_and_unknown_paths_are_answered_as_the_specification_says() {
    let bench = Bench::new();
    for (method, path, status, code) in [
        ("POST", "/_matrix/app/v1/ping", 200, None),
        (
            "GET",
            "/_matrix/app/v1/rooms/%23_mimi_there%3Aa.example",
            200,
            None,
        ),
        ("GET", "/rooms/%23_mimi_there%3Aa.example", 200, None),
        (
            "GET",
            "/_matrix/app/v1/rooms/%23_mimi_x%3Aa.example",
            404,
            Some("M_NOT_FOUND"),
        ),
        ("GET", "/_matrix/app/v1/users/%40_mimi%3Aa.example", 200, None),
        ("GET", "/users/%40_mimi_x%3Aa.example", 404, Some("M_NOT_FOUND")),
        (
            "GET",
            "/_matrix/app/v1/thirdparty/protocol/irc",
            404,
            Some("M_NOT_FOUND"),
        ),
        (
            "GET",
            "/_matrix/app/v1/transactions/1",
            405,
            Some("M_UNRECOGNIZED"),
        ),
        (
            "POST",
            "/_matrix/app/unstable/org.matrix.msc3984/keys/query",
            404,
            Some("M_UNRECOGNIZED"),
        ),
        ("GET", "/", 404, Some("M_UNRECOGNIZED")),
    ] {
        let (got, answer) = bench.call(method, path, "{}").await;
        assert_eq!(
            (got.as_u16(), answer["errcode"].as_str()),
            (status, code),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn one_poisonous_event_among_99_good_ones_costs_itself_only() {
    let bench = Bench::new();
    let mut events: Vec<Value> = (0..100)
        .map(|n| {
            json!({"room_id": "!r", "event_id": format!("$e{n}"), "sender": "@a:b", "type": "t", "content": {"n": n}})
        })
        .collect();
    events[42] = json!({"type": "m.room.message", "event_id": 7, "content": "poison"});
    let body = json!({"events": events}).to_string();
    assert_eq!(
        bench.call("PUT", "/_matrix/app/v1/transactions/x", body).await.0,
        200
    );
    let kept = bench.intake.transactions.lock().unwrap();
    let got: Vec<u64> = kept[0]
        .1
        .events
        .iter()
        .map(|e| e.content["n"].as_u64().unwrap())
        .collect();
    assert_eq!(got, (0..100).filter(|n| *n != 42).collect::<Vec<u64>>());
    assert_eq!(kept[0].1.unusable.len(), 1);
    assert_eq!(kept[0].1.unusable[0].code, "malformed");
}

#[tokio::test]
async fn users_and_rooms_of_the_network_are_found_by_either_name() {
    let bench = Bench::new();
    let get = async |path: &str| {
        let (status, body) = bench
            .call("GET", &format!("/_matrix/app/v1/thirdparty/{path}"), "")
            .await;
        assert_eq!(status, 200, "{path}");
        body
    };
    let protocol = get("protocol/mimi").await;
    assert_eq!(protocol["user_fields"], json!(["uri"]));
    assert_eq!(protocol["instances"][0]["network_id"], "mimi");
    let bob = get("user/mimi?uri=mimi://b.example/u/bob").await;
    assert_eq!(bob[0]["userid"], "@_mimi_bob=40b.example:a.example");
    assert_eq!(
        get("user?userid=%40_mimi_bob%3D40b.example%3Aa.example").await,
        bob
    );
    assert_eq!(
        get("user/mimi?uri=mimi://a.example/u/alice").await[0]["userid"],
        "@alice:a.example"
    );
    assert_eq!(get("user/mimi?uri=nonsense").await, json!([]));
    assert_eq!(get("user/mimi").await, json!([]));
    assert_eq!(get("user?userid=%40alice%3Aa.example").await, json!([]));
    let room = get("location/mimi?uri=mimi://b.example/r/x").await;
    assert_eq!(room[0]["alias"], "#_mimi_there:a.example");
    assert_eq!(get("location?alias=%23_mimi_there%3Aa.example").await, room);
    assert_eq!(get("location/mimi").await, room);
    assert_eq!(get("location?alias=%23other%3Aa.example").await, json!([]));
}
