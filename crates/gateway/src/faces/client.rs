//! The client API (`mls_client::api`), served to this provider's own users.

use crate::assets::Assets;
use crate::config::Config;
use crate::mimi_client::MimiClient;
use crate::web::{BodyLimit, Stop, observe};
use appservice::Homeserver;
use axum::Router;
use axum::routing::{get, post, put};
use mls_client::api::PREFIX;
use ohttp::Gateway;
use room_engine::Engine;
use std::sync::Arc;
use store::Store;

mod assets;
mod blobs;
mod convert;
mod devices;
mod error;
mod login;
mod people;
mod request;
mod rooms;
mod submit;
mod wishes;

/// Name in logs and metrics.
pub const FACE: &str = "client";

/// What the face needs.
#[derive(Clone)]
pub struct ClientFace(Arc<Inner>);

struct Inner {
    engine: Engine,
    client: MimiClient,
    store: Arc<dyn Store>,
    assets: Assets,
    ohttp: Arc<Gateway>,
    /// The homeserver beside us, at the address where OpenID tokens are checked.
    homeserver: Option<Homeserver>,
    limit: BodyLimit,
    stop: Stop,
}

impl ClientFace {
    /// Puts it together. Once `stop` says so, nobody is kept waiting for something new.
    pub fn new(
        config: &Config,
        engine: Engine,
        client: MimiClient,
        store: Arc<dyn Store>,
        (assets, ohttp): (Assets, Arc<Gateway>),
        homeserver: Option<Homeserver>,
        stop: Stop,
    ) -> Self {
        let limit = BodyLimit {
            size: config.limits.client_body(),
            time: config.limits.body(),
        };
        Self(Arc::new(Inner {
            engine,
            client,
            store,
            assets,
            ohttp,
            homeserver,
            limit,
            stop,
        }))
    }

    /// The routes, and `also` under the same observation.
    pub fn router(self, also: Router) -> Router {
        let api = Router::new()
            .route("/provider", get(login::provider))
            .route("/login", post(login::login))
            .route("/logout", post(login::logout))
            .route("/devices", get(devices::list))
            .route("/key_packages", get(devices::stock).post(devices::upload))
            .route("/notices", get(people::notices))
            .route("/consents", get(people::consents).post(people::consent))
            .route("/settings", get(people::settings).put(people::set_settings))
            .route("/search", post(people::search))
            .route("/rooms", get(rooms::list).post(rooms::create))
            .route("/rooms/{room}/claims", post(rooms::claim))
            .route("/rooms/{room}/update", post(rooms::update))
            .route("/rooms/{room}/group_info", post(rooms::group_info))
            .route("/rooms/{room}/messages", post(submit::submit))
            .route("/rooms/{room}/reports", post(rooms::report))
            .route("/rooms/{room}/log", get(rooms::log))
            .route("/rooms/{room}/card", put(wishes::card))
            .route("/wake", put(wishes::wake))
            .route("/wishes", get(wishes::list))
            .route("/wishes/{id}", post(wishes::settle))
            .route("/assets", post(assets::put))
            .route("/rooms/{room}/assets", get(assets::get))
            .route(
                "/rooms/{room}/ohttp",
                get(assets::ohttp_keys).post(assets::ohttp_relay),
            )
            .route("/blobs", put(blobs::put))
            .route("/blobs/{sha256}", get(blobs::get));
        Router::new()
            .nest(PREFIX, api)
            .route("/_causeway/assets/{id}", get(assets::public))
            .fallback(error::unknown)
            .method_not_allowed_fallback(error::wrong_method)
            .with_state(self)
            .merge(also)
            .layer(axum::middleware::from_fn(|request, next| {
                observe(FACE, request, next)
            }))
    }
}
