//! The hub, its followers, and rooms that all of them are in.

use crate::case::Report;
use gateway::config::{Config, Environment, load};
use gateway::mimi_client::MimiClient;
use gateway::service::Service;
use gateway::tls::Live;
use mimi_wire::{Domain, MimiUri};
use mls_client::client::{Credentials, sign_in};
use mls_client::transport::Http;
use mls_client::{Client, Engine, Options};
use room_engine::RequestContext;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{SledOptions, SledStore};

pub(crate) struct Provider {
    pub(crate) domain: Domain,
    pub(crate) config: Config,
    pub(crate) service: Service,
    pub(crate) client: MimiClient,
    /// Its one user.
    pub(crate) user: MimiUri,
}

pub(crate) struct Room {
    pub(crate) uri: MimiUri,
    pub(crate) group_id: Vec<u8>,
    pub(crate) epoch: u64,
}

pub(crate) struct World {
    pub(crate) hub: Provider,
    pub(crate) followers: Vec<Provider>,
    pub(crate) rooms: Vec<Room>,
    /// The device of the hub's user, who is in every room.
    pub(crate) creator: Client<Http>,
    folder: tempfile::TempDir,
}

pub(crate) fn ctx() -> RequestContext {
    RequestContext {
        request_id: "bench".to_owned(),
    }
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

/// A provider as `causeway init` makes it, listening on addresses of its own.
pub(crate) fn configure(
    folder: &Path,
    domain: &str,
    mimi: SocketAddr,
    peers: &[(String, SocketAddr)],
) -> Config {
    let file = folder.join(domain).join("causeway.toml");
    let mut arguments: Vec<String> = [
        "causeway",
        "init",
        "--yes",
        "--quiet",
        "--config",
        file.to_str().unwrap(),
        "--domain",
        domain,
        "--mimi-listen",
        &mimi.to_string(),
        "--client-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--dev-ca",
        folder.join("ca").to_str().unwrap(),
    ]
    .map(str::to_owned)
    .to_vec();
    for (peer, address) in peers.iter().filter(|(peer, _)| peer != domain) {
        arguments.extend(["--peer".to_owned(), format!("{peer}={address}")]);
    }
    gateway::cli::run_from(arguments).unwrap();
    load(&file, &Environment::default()).unwrap()
}

pub(crate) async fn open_store(config: &Config) -> Arc<SledStore> {
    let mut options = SledOptions::new(config.path(&config.store.path));
    options.cache_bytes = u64::from(config.store.cache_mib) << 20;
    Arc::new(SledStore::open(options).await.unwrap())
}

/// A user with a device, and so many KeyPackages for others.
async fn device(folder: &Path, service: &Service, user: &str, packages: usize) -> (MimiUri, Client<Http>) {
    let (uri, token) = service.engine().add_account(ctx(), user).await.unwrap();
    let http = Http::new(&format!("http://{}", service.addresses().client_api), None).unwrap();
    let credentials = Credentials::Token { user, token: &token };
    let (info, session) = sign_in(&http, credentials, "d1").await.unwrap();
    let profile = folder
        .join(uri.domain().to_string())
        .join(format!("profile-{user}"));
    let mut engine = Engine::create(&profile, None).unwrap();
    let http = http.with_token(&session.token);
    engine.signed_in("bench", None, info, session, None).unwrap();
    let options = Options {
        commit_jitter: Duration::ZERO,
        ..Options::default()
    };
    let mut device = Client::new(engine, http, None, options);
    device
        .refill(Some(u32::try_from(packages).unwrap()))
        .await
        .unwrap();
    (uri, device)
}

/// Starts a provider and gives it a user with a device.
async fn start(folder: &Path, config: Config, packages: usize) -> (Provider, Client<Http>) {
    let service = Service::start(&config, open_store(&config).await, None)
        .await
        .unwrap();
    let client = MimiClient::new(&config, Live::load(&config).unwrap()).unwrap();
    let (user, device) = device(folder, &service, "user", packages + 5).await;
    let provider = Provider {
        domain: config.provider.domain.0.clone(),
        config,
        service,
        client,
        user,
    };
    (provider, device)
}

impl World {
    pub(crate) async fn new(report: Report, followers: usize, rooms: usize) -> Self {
        let began = Instant::now();
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let names =
            std::iter::once("hub.example".to_owned()).chain((0..followers).map(|n| format!("f{n}.example")));
        let addresses: Vec<(String, SocketAddr)> = names.map(|name| (name, free_address())).collect();
        let mut providers = Vec::new();
        let mut creator = None;
        for (name, address) in &addresses {
            let config = configure(folder, name, *address, &addresses);
            let (provider, device) = start(folder, config, rooms).await;
            creator.get_or_insert(device);
            providers.push(provider);
        }
        let others = providers.split_off(1);
        let hub = providers.pop().unwrap();
        let mut creator = creator.unwrap();
        let users: Vec<MimiUri> = others.iter().map(|follower| follower.user.clone()).collect();
        let mut founded = Vec::new();
        for number in 0..rooms {
            let uri = creator.create(&format!("Room {number}")).await.unwrap();
            creator.add(&uri, &users).await.unwrap();
            let uri = MimiUri::parse(&uri).unwrap();
            let view = hub.service.engine().room(&uri).await.unwrap().unwrap();
            founded.push(Room {
                uri,
                group_id: view.group_id.unwrap(),
                epoch: view.epoch,
            });
        }
        let world = Self {
            hub,
            followers: others,
            rooms: founded,
            creator,
            folder: temporary,
        };
        world.quiet().await;
        let case = format!("{rooms} rooms founded, {followers} users of other providers added to each");
        report.figure(&case, began.elapsed().as_secs_f64(), "s");
        world
    }

    /// A user of one of the followers, with a device.
    pub(crate) async fn device(
        &self,
        follower: usize,
        user: &str,
        packages: usize,
    ) -> (MimiUri, Client<Http>) {
        let service = &self.followers[follower % self.followers.len()].service;
        device(self.folder.path(), service, user, packages).await
    }

    /// Waits until the hub has nothing left to send.
    pub(crate) async fn quiet(&self) {
        loop {
            let queues = self.hub.service.engine().queues().await.unwrap();
            if queues.iter().all(|queue| queue.waiting == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn stop(self) {
        for provider in self.followers.into_iter().chain([self.hub]) {
            provider.service.stop().await;
        }
    }
}
