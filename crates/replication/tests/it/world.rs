//! The node under test: an engine on a store in memory, its federation, and its routes.

use crate::peer::{Authority, Peer};
use crate::room::now;
use axum::Router;
use axum::body::Body;
use delivery_service::HubIdentity;
use event_graph::{EventId, Pdu, SigningIdentity};
use http::{Method, Request, StatusCode};
use replication::{
    AddressPolicy, Bounds, ClientSettings, Federation, FederationClient, KeyStore, OwnKeys, auth, server,
};
use room_engine::graphs::Heads;
use room_engine::{
    Engine, EngineConfig, Keys, Limits, LocalSequencer, RequestContext, Sequencer, SystemClock, UserPolicies,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use store::{MemoryStore, Store};
use tower::ServiceExt as _;

pub(crate) const NODE: &str = "node.test";

pub(crate) fn ctx() -> RequestContext {
    RequestContext {
        request_id: "test".to_owned(),
    }
}

pub(crate) struct Node {
    pub(crate) federation: Federation,
    pub(crate) engine: Engine,
    pub(crate) router: Router,
    pub(crate) authority: Authority,
}

impl Node {
    pub(crate) async fn new() -> Self {
        Self::on(Authority::new(), Arc::new(MemoryStore::new())).await
    }

    pub(crate) async fn on(authority: Authority, store: Arc<dyn Store>) -> Self {
        Self::with(
            authority,
            store,
            Arc::new(LocalSequencer::new()),
            Bounds::default(),
        )
        .await
    }

    /// One of several nodes: `sequencer` says whether it orders.
    pub(crate) async fn with(
        authority: Authority,
        store: Arc<dyn Store>,
        sequencer: Arc<dyn Sequencer>,
        bounds: Bounds,
    ) -> Self {
        let identity = || SigningIdentity::from_seed(NODE, "ed25519:n", &[7; 32]);
        let config = EngineConfig {
            provider: "a.example".parse().unwrap(),
            node_name: NODE.to_owned(),
            homeserver: None,
            limits: Limits::default(),
            users: UserPolicies::default(),
        };
        let keys = Keys {
            node: identity(),
            hub: HubIdentity::from_seeds("a.example".parse().unwrap(), [1; 32], [2; 32], [3; 32]),
        };
        let (local, clock) = (store.clone(), Arc::new(SystemClock));
        let engine = Engine::open_with(config, keys, store.clone(), clock, sequencer, local)
            .await
            .unwrap();
        let settings = ClientSettings {
            addresses: AddressPolicy::Any,
            roots: authority.roots(),
            timeout: Duration::from_secs(10),
            well_known_port: 443,
        };
        let identity = Arc::new(identity());
        let client = FederationClient::new(identity.clone(), settings).unwrap();
        let keys = KeyStore::new(client.clone(), store, now);
        let own = OwnKeys::new(identity, BTreeMap::new());
        let federation = Federation::new(engine.clone(), client, keys, own, Bounds { gap: 4_000, ..bounds });
        let router = server::router(
            federation.clone(),
            Duration::from_millis(300),
            Arc::new(server::Everybody),
        );
        Self {
            federation,
            engine,
            router,
            authority,
        }
    }

    /// A request as it stands.
    pub(crate) async fn raw(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 64 << 20)
            .await
            .unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// A request signed by `by`.
    pub(crate) async fn ask(
        &self,
        by: &SigningIdentity,
        method: Method,
        target: &str,
        content: Option<&Value>,
    ) -> (StatusCode, Value) {
        let content = content.map(|c| event_graph::json::to_canonical(c).unwrap());
        let authorization = auth::sign(by, method.as_str(), target, NODE, content.as_deref());
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("authorization", authorization)
            .body(content.map_or_else(Body::empty, Body::from))
            .unwrap();
        self.raw(request).await
    }

    pub(crate) async fn get(&self, by: &SigningIdentity, target: &str) -> StatusCode {
        self.ask(by, Method::GET, target, None).await.0
    }

    /// A transaction of a peer: per event id what it is told.
    pub(crate) async fn send(
        &self,
        peer: &Peer,
        txn: &str,
        pdus: &[Value],
    ) -> BTreeMap<String, Option<String>> {
        let content = json!({ "origin": peer.name.as_str(), "origin_server_ts": now(), "pdus": pdus });
        let target = format!("/_matrix/federation/v1/send/{txn}");
        let (status, answer) = self
            .ask(&peer.identity, Method::PUT, &target, Some(&content))
            .await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let results = answer["pdus"].as_object().unwrap();
        let error = |v: &Value| v.get("error").and_then(Value::as_str).map(str::to_owned);
        results.iter().map(|(id, v)| (id.clone(), error(v))).collect()
    }

    pub(crate) async fn join(&self, peer: &Peer) {
        self.federation
            .join(&ctx(), &peer.room_id(), std::slice::from_ref(&peer.name), false)
            .await
            .unwrap();
    }

    pub(crate) async fn heads(&self, room: &str) -> Heads {
        self.federation.heads(&ctx(), room).await.unwrap()
    }

    /// Ids of the events that count here.
    pub(crate) async fn accepted(&self, room: &str) -> BTreeSet<String> {
        let lines = self.engine.graph_events(room).await.unwrap();
        lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| event["unsigned"]["verdict"] == "accepted")
            .map(|event| event["unsigned"]["event_id"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn holds(&self, pdu: &Pdu) -> bool {
        let stored = self.engine.event(pdu.event_id(), pdu.room_version()).await;
        stored.unwrap().is_some()
    }

    /// The current state as type, state key and event.
    pub(crate) async fn state(&self, room: &str) -> BTreeMap<(String, String), EventId> {
        let (_, entries) = self.engine.graph_state(ctx(), room).await.unwrap();
        entries.into_iter().map(|(t, k, id)| ((t, k), id)).collect()
    }
}

/// Looks again until it is so; a test that waits in vain is ended by its runner.
pub(crate) async fn until<F: Future<Output = bool>>(mut so: impl FnMut() -> F) {
    while !so().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
