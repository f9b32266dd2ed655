//! The provider protocol (draft-ietf-mimi-protocol-06 section 5), served.

use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::mimi_client::MimiClient;
use crate::tls::PeerTrust;
use crate::web::{BodyLimit, observe};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use mimi_wire::directory::{Directory, WELL_KNOWN_PATH};
use room_engine::Engine;
use std::sync::Arc;

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
    trust: Arc<PeerTrust>,
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
        trust: Arc<PeerTrust>,
    ) -> Result<Self, Failure> {
        Ok(Self(Arc::new(Inner {
            engine,
            client,
            trust,
            limit: BodyLimit {
                size: usize::try_from(config.limits.mimi_body_kib).unwrap_or(usize::MAX >> 10) << 10,
                time: config.limits.body(),
            },
            directory: directory(config.advertised())?,
            hosts: [
                config.provider.domain.to_string(),
                config.advertised_name().to_owned(),
            ],
        })))
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route(WELL_KNOWN_PATH, get(serve_directory))
            .route("/v1/keyMaterial/{*target}", post(endpoints::key_material))
            .route("/v1/update/{*room}", post(endpoints::update))
            .route("/v1/submitMessage/{*room}", post(endpoints::submit_message))
            .route("/v1/notify/{*room}", post(endpoints::notify))
            .route("/v1/groupInfo/{*room}", post(endpoints::group_info))
            .route("/v1/requestConsent/{*user}", post(people::request_consent))
            .route("/v1/updateConsent/{*user}", post(people::update_consent))
            .route("/v1/identifierQuery/{*domain}", post(people::identifier_query))
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
fn directory(host: &str) -> Result<Bytes, Failure> {
    let failure = |e: String| Failure::new(Code::ConfigValue, format!("mimi.host: {e}"), "write a host name");
    let all = Directory::for_base(&format!("https://{host}")).map_err(|e| failure(e.to_string()))?;
    let served = Directory {
        key_material: all.key_material,
        update: all.update,
        notify: all.notify,
        submit_message: all.submit_message,
        group_info: all.group_info,
        request_consent: all.request_consent,
        update_consent: all.update_consent,
        identifier_query: all.identifier_query,
        ..Directory::default()
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
