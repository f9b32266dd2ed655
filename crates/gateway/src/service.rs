//! The whole service in one value: engine, faces, senders. `causeway serve` runs one; tests run several.

use crate::assets::Assets;
use crate::cluster::Nodes;
use crate::config::{Config, Secret};
use crate::faces::admin::{self, AdminFace};
use crate::faces::client::ClientFace;
use crate::faces::matrix as matrix_face;
use crate::faces::mimi::MimiFace;
use crate::failure::{Code, Failure};
use crate::heads;
use crate::keys;
use crate::matrix;
use crate::mimi_client::MimiClient;
use crate::pictures::PeerPictures;
use crate::reload::Reloader;
use crate::senders::{MimiTransport, Senders, Transports};
use crate::tls::Live;
use crate::web::{
    Listener, PeerAllowance, PeerLimits, Stop, StopHandle, TlsSource, observe, refused, stop_pair,
};
use appservice::{
    AppserviceState, Gallery, Homeserver, HomeserverSettings, HomeserverTransport, KeyRing, Watch,
    WatchSettings,
};
use metrics_exporter_prometheus::PrometheusHandle;
use ohttp::Gateway;
use replication::EventTransport;
use replication::healing::HEADS_EVERY;
use replication::server::TRANSACTION;
use room_engine::outbox::{SenderSettings, Transport};
use room_engine::{Clock, Engine, EngineConfig, EngineError, HomeserverInfo, Keys, Limits, SystemClock};
use std::net::SocketAddr;
use std::sync::Arc;
use store::Store;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// Where the faces listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Other providers.
    pub mimi: SocketAddr,
    /// Own clients.
    pub client_api: SocketAddr,
    /// Administration.
    pub admin: SocketAddr,
    /// The homeserver, where there is one.
    pub appservice: Option<SocketAddr>,
    /// Matrix servers, where this node federates.
    pub matrix: Option<SocketAddr>,
}

/// A running service.
pub struct Service {
    addresses: Addresses,
    engine: Engine,
    nodes: Nodes,
    reloader: Reloader,
    listeners: (StopHandle, Vec<JoinHandle<()>>),
    background: (StopHandle, Vec<JoinHandle<()>>),
}

/// Reads the provider's keys.
pub fn keys(config: &Config) -> Result<Keys, Failure> {
    Ok(Keys {
        node: keys::signing(&config.provider.node_name, &config.path(&config.keys.node))?,
        hub: keys::hub(config)?,
    })
}

/// What the engine is told.
pub fn engine_config(config: &Config) -> EngineConfig {
    EngineConfig {
        provider: config.provider.domain.0.clone(),
        node_name: config.provider.node_name.clone(),
        homeserver: config.homeserver.as_ref().map(|h| HomeserverInfo {
            server_name: h.server_name.clone(),
            bot: appservice::bot_user_id(&h.server_name),
            admins: config
                .appservice
                .as_ref()
                .map(|a| a.admins.clone())
                .unwrap_or_default(),
        }),
        limits: Limits::default(),
        users: config.users.policies(),
    }
}

/// Opens the engine on a store.
pub async fn open_engine(
    config: &Config,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Result<Engine, Failure> {
    let engine = Engine::open(engine_config(config), keys(config)?, store, clock).await;
    engine.map_err(engine_failure)
}

/// What an engine that can't start means.
pub(crate) fn engine_failure(error: EngineError) -> Failure {
    Failure::new(
        Code::StoreOpen,
        "the engine can't start",
        "run `causeway check`, then `causeway store verify`",
    )
    .with_source(error)
}

/// The admin token, where there is one.
pub fn admin_token(config: &Config) -> Result<Option<Secret>, Failure> {
    match (&config.admin.token, &config.admin.token_file) {
        (Some(token), _) => Ok(Some(token.clone())),
        (None, Some(file)) => Secret::from_file(&config.path(file)).map(Some),
        (None, None) => Ok(None),
    }
}

/// What goes on between us and the homeserver.
struct Beside {
    homeserver: Homeserver,
    tokens: KeyRing,
    listen: SocketAddr,
    watch: WatchSettings,
}

/// The client of the homeserver that the configuration names, with the tokens that are good now.
pub fn homeserver(config: &Config) -> Result<Option<(Homeserver, KeyRing)>, Failure> {
    let Some(homeserver) = &config.homeserver else {
        return Ok(None);
    };
    let tokens = matrix::key_ring(config)?;
    let settings = HomeserverSettings {
        url: homeserver.url.clone(),
        openid_url: homeserver.openid_url().to_owned(),
        server_name: homeserver.server_name.clone(),
        appservice_id: appservice::registration::DEFAULT_ID.to_owned(),
        tokens: tokens.clone(),
        timeout: config.limits.outgoing(),
    };
    let homeserver = Homeserver::new(settings).map_err(|e| {
        Failure::new(
            Code::ConfigValue,
            "the homeserver can't be used",
            "check the section homeserver",
        )
        .with_source(e)
    })?;
    Ok(Some((homeserver, tokens)))
}

fn beside(config: &Config) -> Result<Option<Beside>, Failure> {
    let (Some((homeserver, tokens)), Some(section)) = (homeserver(config)?, &config.appservice) else {
        return Ok(None);
    };
    Ok(Some(Beside {
        homeserver,
        tokens,
        listen: section.listen,
        watch: section.watch(),
    }))
}

impl Service {
    /// Starts everything. When this returns, all faces listen.
    pub async fn start(
        config: &Config,
        store: Arc<dyn Store>,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self, Failure> {
        Box::pin(Self::start_at(config, store, metrics, Arc::new(SystemClock))).await
    }

    /// The same by another clock than the system's.
    pub async fn start_at(
        config: &Config,
        store: Arc<dyn Store>,
        metrics: Option<PrometheusHandle>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let live = Live::load(config)?;
        let peer_limits = PeerLimits::new(PeerAllowance::from(&config.limits));
        let client = MimiClient::new(config, live.clone())?;
        let beside = beside(config)?;
        let token = admin_token(config)?;
        let (mut nodes, store, engine) = Nodes::open(config, store, clock.clone()).await?;

        let (stop_listeners, stop) = stop_pair();
        let assets = Assets::new(config, engine.clone(), client.clone(), store.clone());
        let ohttp = Arc::new(ohttp_gateway()?);
        let mimi = MimiFace::new(
            config,
            engine.clone(),
            client.clone(),
            live.clone(),
            peer_limits.clone(),
            assets.clone(),
            ohttp.clone(),
        )?;
        let reloader = Reloader::new(config, live.clone(), engine.clone(), peer_limits.clone());
        let directory = mimi.directory_router();
        let openid = beside.as_ref().map(|b| b.homeserver.clone());
        let clients = ClientFace::new(
            config,
            engine.clone(),
            client.clone(),
            store.clone(),
            (assets.clone(), ohttp),
            openid,
            stop.clone(),
        );
        let watch = beside.as_ref().map(|b| {
            Watch::new(
                b.homeserver.clone(),
                Arc::new(engine.clone()),
                clock.clone(),
                b.watch,
            )
        });
        let federation = match &config.federation {
            None => None,
            Some(section) => Some(matrix_face::federation(config, section, &engine, store.clone())?),
        };
        let admin = AdminFace::new(
            engine.clone(),
            client.clone(),
            federation.clone(),
            store,
            token,
            metrics,
            config.limits.body(),
            watch.clone(),
            nodes.cluster().cloned(),
            reloader.clone(),
        );

        let limits = &config.limits;
        let (for_mimi, for_clients) = (live.clone(), live.clone());
        let mimi_tls: TlsSource = Arc::new(move || for_mimi.now().mimi.clone());
        let first_client_tls = live.now().client_api.clone();
        let client_tls = first_client_tls.map(|first| -> TlsSource {
            Arc::new(move || {
                for_clients
                    .now()
                    .client_api
                    .clone()
                    .unwrap_or_else(|| first.clone())
            })
        });
        let mimi = nodes.face(config, "mimi", limits.mimi_body(), mimi.router());
        let clients = nodes.face(config, "client", limits.client_body(), clients.router(directory));
        let admin = nodes.face(config, admin::FACE, admin::BODY, admin.router());
        let mut listeners = vec![
            Listener::bind("mimi", config.mimi.listen, Some(mimi_tls), mimi, limits)
                .await?
                .bounded_per_address(),
            Listener::bind("client", config.client_api.listen, client_tls, clients, limits).await?,
            Listener::bind("admin", config.admin.listen, None, admin, limits).await?,
        ];
        if let (Some(beside), Some(watch)) = (&beside, &watch) {
            let state = AppserviceState {
                intake: watch.over(Arc::new(engine.clone())),
                tokens: beside.tokens.clone(),
                max_body: config.limits.transaction(),
            };
            let router = appservice::routes(state)
                .layer(axum::middleware::from_fn(count_refusals))
                .layer(axum::middleware::from_fn(|request, next| {
                    observe("appservice", request, next)
                }));
            let router = nodes.face(config, "appservice", limits.transaction(), router);
            listeners.push(Listener::bind("appservice", beside.listen, None, router, limits).await?);
        }
        let mut addresses = addresses(&listeners, beside.is_some())?;
        if let (Some(section), Some(federation), Some(first)) =
            (&config.federation, &federation, live.now().matrix.clone())
        {
            let for_servers = live.clone();
            let tls: TlsSource = Arc::new(move || {
                let now = for_servers.now();
                now.matrix.clone().unwrap_or_else(|| first.clone())
            });
            let routes = matrix_face::router(config, federation.clone(), peer_limits.clone());
            let routes = nodes.face(config, matrix_face::FACE, TRANSACTION, routes);
            let listener = Listener::bind(matrix_face::FACE, section.listen, Some(tls), routes, limits)
                .await?
                .bounded_per_address();
            addresses.matrix = listener.address().ok();
            listeners.push(listener);
        }
        listeners.extend(nodes.listener(config, &engine, &live).await?);

        let listening = listeners
            .into_iter()
            .map(|l| tokio::spawn(l.run(stop.clone())))
            .collect();
        let (stop_background, stop) = stop_pair();
        let peers: Arc<dyn Transport> = Arc::new(MimiTransport::new(client.clone(), engine.clone()));
        let to_homeserver = beside.as_ref().map(|b| -> Arc<dyn Transport> {
            let pictures = PeerPictures::new(engine.clone(), client.clone(), assets);
            let version = config.appservice.as_ref().and_then(|a| a.room_version.clone());
            let transport = HomeserverTransport::new(b.homeserver.clone(), Arc::new(engine.clone()))
                .with_room_version(version)
                .with_gallery(Gallery::new(Arc::new(pictures)));
            Arc::new(if nodes.cluster().is_some() {
                transport.beside_others()
            } else {
                transport
            })
        });
        let to_servers = federation
            .clone()
            .map(|f| -> Arc<dyn Transport> { Arc::new(EventTransport::new(f)) });
        let transports = Transports {
            peers,
            homeserver: to_homeserver,
            servers: to_servers,
        };
        let senders = Senders::new(engine.clone(), transports, SenderSettings::default());
        let mut background = vec![
            tokio::spawn(senders.run(stop.clone())),
            tokio::spawn(heads::compare(engine.clone(), client, stop.clone())),
        ];
        background.extend(nodes.background(&stop));
        if let Some(federation) = federation {
            let mut stop = stop.clone();
            background.push(tokio::spawn(async move {
                tokio::select! {
                    () = federation.keep_healing(HEADS_EVERY) => {}
                    () = stop.wait() => {}
                }
            }));
        }
        if let Some(watch) = watch {
            background.push(tokio::spawn(watching(watch, engine.clone(), stop.clone())));
        }
        background.push(tokio::spawn(reloader.clone().watch(stop)));
        Ok(Self {
            addresses,
            engine,
            nodes,
            reloader,
            listeners: (stop_listeners, listening),
            background: (stop_background, background),
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What brings changed certificates, peers, limits and keys into the running service.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// Stops: no new connections, running requests end, senders finish what is in flight, workers drain.
    pub async fn stop(self) {
        self.nodes.hand_over().await;
        for (handle, tasks) in [self.listeners, self.background] {
            handle.stop();
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, "a part of the service failed");
                }
            }
        }
        self.engine.close().await;
        self.nodes.stop().await;
    }
}

/// The gateway's key is new with each start and in memory only: clients ask for it before each use, and what was
/// recorded before a restart can't be opened afterwards.
fn ohttp_gateway() -> Result<Gateway, Failure> {
    let failure = |cause: String| Failure::new(Code::Internal, cause, "report this");
    let mut seed = Zeroizing::new([0; 33]);
    getrandom::fill(seed.as_mut()).map_err(|e| failure(format!("no random numbers: {e}")))?;
    let (key_id, seed) = seed.split_first().ok_or_else(|| failure("no key".into()))?;
    let seed = seed.try_into().map_err(|_| failure("no key".into()))?;
    Gateway::derive(*key_id, seed).map_err(|e| failure(format!("the OHTTP gateway has no key: {e}")))
}

fn addresses(listeners: &[Listener], beside: bool) -> Result<Addresses, Failure> {
    let address = |at: usize| -> Result<Option<SocketAddr>, Failure> {
        listeners.get(at).map(Listener::address).transpose().map_err(|e| {
            Failure::new(Code::Listen, "a listening socket is gone", "start again").with_source(e)
        })
    };
    let unset = SocketAddr::from(([0, 0, 0, 0], 0));
    Ok(Addresses {
        mimi: address(0)?.unwrap_or(unset),
        client_api: address(1)?.unwrap_or(unset),
        admin: address(2)?.unwrap_or(unset),
        appservice: if beside { address(3)? } else { None },
        matrix: None,
    })
}

/// The appservice crate answers in Matrix's terms; this counts its refusals as every face's are counted.
async fn count_refusals(
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let path = request.extensions().get::<axum::extract::MatchedPath>().cloned();
    let response = next.run(request).await;
    let reason = match response.status().as_u16() {
        ..400 => return response,
        400 => "malformed",
        401 => "no_token",
        403 => "wrong_token",
        404 => "unknown",
        405 => "wrong_method",
        413 => "too_large",
        500.. => "unavailable",
        _ => "other",
    };
    refused(
        "appservice",
        path.as_ref().map_or("none", axum::extract::MatchedPath::as_str),
        reason,
    );
    response
}

/// Greets the homeserver and watches over what it pushes while this node orders, until told to stop: of several nodes one
/// sends heartbeats and sees them come back.
async fn watching(watch: Watch, engine: Engine, mut stop: Stop) {
    let mut terms = engine.terms();
    loop {
        let orders = terms.borrow_and_update().is_some();
        tokio::select! {
            () = watch.run(), if orders => {}
            changed = terms.changed() => {
                watch.rest();
                if changed.is_err() {
                    return;
                }
            }
            () = stop.wait() => return,
        }
    }
}

#[cfg(test)]
mod tests;
