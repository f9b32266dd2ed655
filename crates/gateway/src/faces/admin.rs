//! Health, metrics, and the admin API. Not for the public network.

use crate::config::Secret;
use crate::mimi_client::MimiClient;
use crate::reload::Reloader;
use crate::web::{BodyLimit, observe};
use appservice::Watch;
use axum::Router;
use axum::routing::{delete, get, post};
use lane::Cluster;
use metrics_exporter_prometheus::PrometheusHandle;
use replication::Federation;
use room_engine::Engine;
use std::sync::Arc;
use store::Store;

pub mod api;
mod endpoints;
mod export;
mod graphs;
mod health;
mod nodes;

/// Name in logs and metrics.
pub const FACE: &str = "admin";
/// Largest body.
pub const BODY: usize = 64 * 1024;

/// What the face needs.
#[derive(Clone)]
pub struct AdminFace(Arc<Inner>);

struct Inner {
    engine: Engine,
    peers: MimiClient,
    federation: Option<Federation>,
    store: Arc<dyn Store>,
    token: Option<Secret>,
    metrics: Option<PrometheusHandle>,
    limit: BodyLimit,
    watch: Option<Watch>,
    cluster: Option<Cluster>,
    reloader: Reloader,
}

impl AdminFace {
    /// Puts it together, with the node's part where there are several. Without a token the admin API is off; without a handle `/metrics` is.
    #[allow(
        clippy::too_many_arguments,
        reason = "one for each part of the service that it shows"
    )]
    pub fn new(
        engine: Engine,
        peers: MimiClient,
        federation: Option<Federation>,
        store: Arc<dyn Store>,
        token: Option<Secret>,
        metrics: Option<PrometheusHandle>,
        body_time: std::time::Duration,
        watch: Option<Watch>,
        cluster: Option<Cluster>,
        reloader: Reloader,
    ) -> Self {
        let limit = BodyLimit {
            size: BODY,
            time: body_time,
        };
        Self(Arc::new(Inner {
            engine,
            peers,
            federation,
            store,
            token,
            metrics,
            limit,
            watch,
            cluster,
            reloader,
        }))
    }

    /// The routes.
    pub fn router(self) -> Router {
        let admin = Router::new()
            .route("/accounts", get(endpoints::accounts).post(endpoints::add_account))
            .route("/accounts/{user}", delete(endpoints::remove_account))
            .route("/rooms", get(endpoints::rooms))
            .route("/rooms/{room}", get(endpoints::room))
            .route("/rooms/{room}/unbridge", post(endpoints::unbridge))
            .route("/rooms/{room}/bridge", post(endpoints::bridge))
            .route("/rooms/{room}/sync_portal", post(endpoints::sync_portal))
            .route("/rooms/{room}/upgrade_portal", post(endpoints::upgrade_portal))
            .route("/queues", get(endpoints::queues))
            .route("/homeserver", get(endpoints::homeserver))
            .route("/homeserver/set-aside", get(endpoints::set_aside))
            .route("/nodes", get(nodes::list).post(nodes::add))
            .route("/nodes/take-over", post(nodes::take_over))
            .route("/nodes/release", post(nodes::release))
            .route("/nodes/{node}", delete(nodes::remove))
            .route("/nodes/{node}/lead", post(nodes::lead))
            .route("/reports", get(endpoints::reports))
            .route("/reports/{id}", get(endpoints::report))
            .route("/reload", post(endpoints::reload))
            .route("/graphs", get(graphs::list))
            .route("/graphs/{room}", get(graphs::show))
            .route("/graphs/{room}/join", post(graphs::join))
            .route("/graphs/{room}/leave", post(graphs::leave))
            .route("/graphs/{room}/invite", post(graphs::invite))
            .route("/graphs/{room}/send", post(graphs::send))
            .route("/graphs/{room}/rebuild", post(graphs::rebuild))
            .route("/graphs/{room}/events", get(graphs::events))
            .route("/export", get(export::export))
            .route("/unfence", post(endpoints::unfence))
            .layer(axum::middleware::from_fn_with_state(
                self.clone(),
                endpoints::authenticate,
            ));
        Router::new()
            .nest(api::PREFIX, admin)
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(health::metrics))
            .with_state(self)
            .layer(axum::middleware::from_fn(|request, next| {
                observe(FACE, request, next)
            }))
    }
}
