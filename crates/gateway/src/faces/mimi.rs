//! The provider protocol (draft-ietf-mimi-protocol-06 section 5), served.

use crate::assets::Assets;
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::mimi_client::MimiClient;
use crate::tls::Live;
use crate::web::{BodyLimit, PeerLimits, observe};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use mimi_wire::directory::{Directory, WELL_KNOWN_PATH};
use ohttp::Gateway;
use room_engine::Engine;
use std::sync::Arc;

mod assets;
mod endpoints;
mod inbound;
mod people;
mod problem;

/// Name in logs and metrics.
pub const FACE: &str = "mimi";

/// What the face needs.
#[derive(Clone)]
pub struct MimiFace(Arc<Inner>);

struct Inner {
    engine: Engine,
    client: MimiClient,
    live: Live,
    peer_limits: PeerLimits,
    assets: Assets,
    ohttp: Arc<Gateway>,
    limit: BodyLimit,
    directory: Bytes,
    /// Names under which this provider may be addressed.
    hosts: [String; 2],
}

impl MimiFace {
    /// Puts it together.
    pub fn new(
        config: &Config,
        engine: Engine,
        client: MimiClient,
        live: Live,
        peer_limits: PeerLimits,
        assets: Assets,
        ohttp: Arc<Gateway>,
    ) -> Result<Self, Failure> {
        Ok(Self(Arc::new(Inner {
            engine,
            client,
            live,
            peer_limits,
            assets,
            ohttp,
            limit: BodyLimit {
                size: config.limits.mimi_body(),
                time: config.limits.body(),
            },
            directory: directory(config)?,
            hosts: [
                config.provider.domain.to_string(),
                config.advertised_name().to_owned(),
            ],
        })))
    }

    /// The routes.
    pub fn router(self) -> Router {
        let for_peers = Router::new()
            .route("/v1/keyMaterial/{*target}", post(endpoints::key_material))
            .route("/v1/update/{*room}", post(endpoints::update))
            .route("/v1/submitMessage/{*room}", post(endpoints::submit_message))
            .route("/v1/notify/{*room}", post(endpoints::notify))
            .route("/v1/groupInfo/{*room}", post(endpoints::group_info))
            .route("/v1/requestConsent/{*user}", post(people::request_consent))
            .route("/v1/updateConsent/{*user}", post(people::update_consent))
            .route("/v1/identifierQuery/{*domain}", post(people::identifier_query))
            .route("/v1/reportAbuse/{*room}", post(endpoints::report_abuse))
            .route("/v1/proxyDownload/{*url}", get(assets::proxy_download))
            .route("/v1/asset/{id}", get(assets::asset))
            .route("/v1/ohttp", get(assets::ohttp_keys).post(assets::ohttp_gateway))
            .route("/v1/roomHead/{*room}", post(endpoints::room_head))
            .route_layer(axum::middleware::from_fn_with_state(self.clone(), inbound::admit));
        for_peers
            .route(WELL_KNOWN_PATH, get(serve_directory))
            .fallback(endpoints::unknown)
            .method_not_allowed_fallback(endpoints::wrong_method)
            .with_state(self)
            .layer(axum::middleware::from_fn(|request, next| {
                observe(FACE, request, next)
            }))
    }

    /// The directory alone, for a face that a reverse proxy can reach.
    pub fn directory_router(&self) -> Router {
        Router::new()
            .route(WELL_KNOWN_PATH, get(serve_directory))
            .with_state(self.clone())
    }
}

/// What is served here, and nothing else.
fn directory(config: &Config) -> Result<Bytes, Failure> {
    let host = config.advertised();
    let failure = |e: String| Failure::new(Code::ConfigValue, format!("mimi.host: {e}"), "write a host name");
    let all = Directory::for_base(&format!("https://{host}")).map_err(|e| failure(e.to_string()))?;
    let served = Directory {
        ohttp_gateway: Some(format!("https://{host}/v1/ohttp")),
        asset_hosts: crate::assets::host(config).map(|host| vec![host]),
        ..all
    };
    serde_json::to_vec(&served)
        .map(Bytes::from)
        .map_err(|e| failure(e.to_string()))
}

async fn serve_directory(State(face): State<MimiFace>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "max-age=600"),
    ];
    (headers, face.0.directory.clone()).into_response()
}
