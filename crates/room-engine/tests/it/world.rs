//! Providers in one process. What a network and the faces would do is done by calls.

use async_trait::async_trait;
use delivery_service::HubIdentity;
use event_graph::SigningIdentity;
use mimi_wire::codec::{Decode as _, Encode as _};
use mimi_wire::protocol::{ConsentEntry, KeyMaterialRequest, UpdateOutcome};
use mimi_wire::uri::{Domain, MimiUri};
use mls_client::api::{
    ApiError, ApiErrorCode, B64, BlobRef, ClaimRequest, CreateRoom, Device, FeedEntry, FeedItem,
    GroupInfoQuery, HubAnswer, KeyPackageStock, LogPage, LoginKind, LoginRequest, LoginResponse,
    ProviderInfo, RefusalCode, RoomSummary, SubmissionState, SubmissionStatus, SubmitMessage, UpdateRequest,
    UploadKeyPackages,
};
use mls_client::client::{Credentials, sign_in};
use mls_client::state::What;
use mls_client::transport::{Transport, TransportError};
use mls_client::{Client, Options};
use room_engine::carrier::{self, SubmissionRefusal};
use room_engine::outbox::{Delivery, Destination, OutboxBody, OutboxEntry, Sender, SenderSettings};
use room_engine::{
    Actor, ClaimRoute, ClientActor, Clock, Engine, EngineConfig, HomeserverInfo, Hub, Keys, Limits, Refusal,
    RequestContext, RequiredOf, Sent, Sequencer, Submission, SystemClock, UserPolicies,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{MemoryStore, Store, StoreError};
use tokio::sync::watch;
use zeroize::Zeroizing;

pub(crate) const A: &str = "a.example";
pub(crate) const B: &str = "b.example";

/// All providers. A provider's engine can be dropped and opened again on its store, as after a crash.
pub(crate) struct World {
    providers: Mutex<HashMap<String, Provider>>,
    /// What was sent to each homeserver.
    pub(crate) portal_events: Mutex<Vec<OutboxEntry>>,
    /// Whether deliveries are lost after they have arrived, as when a process dies before it notes them.
    pub(crate) forget_deliveries: Mutex<u32>,
    /// What clients handed in as updates.
    pub(crate) bundles: Mutex<Vec<Vec<u8>>>,
    /// What time it is.
    pub(crate) clock: Arc<WorldClock>,
    /// By how many milliseconds a provider's clock is wrong, from its next start on.
    skews: Mutex<HashMap<String, i64>>,
}

/// The system's clock, put forward.
#[derive(Default)]
pub(crate) struct WorldClock(AtomicU64);

impl WorldClock {
    /// Lets time pass for every provider.
    pub(crate) fn forward(&self, by: Duration) {
        self.0
            .fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets every clock back to the system's.
    pub(crate) fn back(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

impl Clock for WorldClock {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.0.load(Ordering::SeqCst)
    }
}

/// Whether a provider's node orders, or is cut off from the one that does.
struct Switch(watch::Sender<Option<u64>>);

#[async_trait]
impl Sequencer for Switch {
    fn term(&self) -> Result<u64, StoreError> {
        self.0.borrow().ok_or_else(|| StoreError::Unavailable {
            retry_after: Duration::from_millis(1),
            why: "cut off".into(),
        })
    }

    async fn confirm(&self, _: u64) -> Result<(), StoreError> {
        self.term().map(drop)
    }

    fn terms(&self) -> watch::Receiver<Option<u64>> {
        self.0.subscribe()
    }
}

/// A provider's own clock.
struct Skewed {
    clock: Arc<WorldClock>,
    by: i64,
}

impl Clock for Skewed {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms().saturating_add_signed(self.by)
    }
}

struct Provider {
    engine: Engine,
    order: Arc<Switch>,
    store: Arc<dyn Store>,
    senders: Vec<Sender>,
}

pub(crate) fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

pub(crate) fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

pub(crate) fn ctx() -> RequestContext {
    RequestContext {
        request_id: "test".to_owned(),
    }
}

pub(crate) fn keys(provider: &str) -> Keys {
    let seed = u8::try_from(provider.len()).unwrap() ^ provider.as_bytes()[0];
    Keys {
        node: SigningIdentity::from_seed(&format!("cw1.{provider}"), "ed25519:n1", &[seed; 32]),
        hub: HubIdentity::from_seeds(domain(provider), [seed ^ 1; 32], [seed ^ 2; 32], [seed ^ 3; 32]),
    }
}

pub(crate) fn config(provider: &str) -> EngineConfig {
    EngineConfig {
        provider: domain(provider),
        node_name: format!("cw1.{provider}"),
        homeserver: (provider == A).then(|| HomeserverInfo {
            admins: Vec::new(),
            server_name: provider.to_owned(),
            bot: format!("@_mimi:{provider}"),
        }),
        limits: Limits::default(),
        users: open_policies(),
    }
}

/// Anybody may add anybody, so that stories which are about something else need no consent.
pub(crate) fn open_policies() -> UserPolicies {
    UserPolicies {
        consent_required_of: RequiredOf::Nobody,
        ..UserPolicies::default()
    }
}

impl World {
    pub(crate) async fn new() -> Arc<Self> {
        let stores: Vec<(&str, Arc<dyn Store>)> = vec![
            (A, Arc::new(MemoryStore::new())),
            (B, Arc::new(MemoryStore::new())),
        ];
        Self::on(stores).await
    }

    pub(crate) async fn on(stores: Vec<(&str, Arc<dyn Store>)>) -> Arc<Self> {
        let world = Arc::new(Self {
            providers: Mutex::default(),
            portal_events: Mutex::default(),
            forget_deliveries: Mutex::default(),
            bundles: Mutex::default(),
            clock: Arc::default(),
            skews: Mutex::default(),
        });
        for (name, store) in stores {
            world.start(name, store).await;
        }
        world
    }

    /// Starts a provider on its store.
    pub(crate) async fn start(self: &Arc<Self>, name: &str, store: Arc<dyn Store>) {
        let order = Arc::new(Switch(watch::channel(Some(1)).0));
        let clock = Arc::new(Skewed {
            clock: self.clock.clone(),
            by: self.skews.lock().unwrap().get(name).copied().unwrap_or_default(),
        });
        let local = store.clone();
        let engine = Engine::open_with(
            config(name),
            keys(name),
            store.clone(),
            clock,
            order.clone(),
            local,
        )
        .await
        .unwrap();
        let settings = SenderSettings {
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(50),
        };
        let others = [A, B].into_iter().filter(|other| *other != name);
        let mut destinations: Vec<_> = others.map(|other| Destination::Provider(domain(other))).collect();
        destinations.push(Destination::Homeserver);
        let senders = destinations
            .into_iter()
            .map(|destination| {
                let link = Link {
                    from: name.to_owned(),
                    engine: engine.clone(),
                    world: Arc::downgrade(self),
                };
                engine.sender(destination, Arc::new(link), settings)
            })
            .collect();
        let provider = Provider {
            engine,
            order,
            store,
            senders,
        };
        self.providers.lock().unwrap().insert(name.to_owned(), provider);
    }

    /// Sets a provider's clock wrong, from its next start on.
    pub(crate) fn skew(&self, name: &str, by_ms: i64) {
        self.skews.lock().unwrap().insert(name.to_owned(), by_ms);
    }

    /// Ends a provider's senders; what is queued stays.
    pub(crate) async fn stop_senders(&self, name: &str) {
        let senders = std::mem::take(&mut self.providers.lock().unwrap().get_mut(name).unwrap().senders);
        for sender in senders {
            sender.stop().await;
        }
    }

    /// Whether a provider's node orders from now on, or is cut off. Each time it orders under a new term.
    pub(crate) fn orders(&self, name: &str, orders: bool) {
        static TERMS: AtomicU64 = AtomicU64::new(1);
        let term = orders.then(|| TERMS.fetch_add(1, Ordering::SeqCst) + 1);
        self.providers.lock().unwrap()[name].order.0.send_replace(term);
    }

    pub(crate) fn engine(&self, name: &str) -> Engine {
        self.providers.lock().unwrap()[name].engine.clone()
    }

    pub(crate) fn store(&self, name: &str) -> Arc<dyn Store> {
        self.providers.lock().unwrap()[name].store.clone()
    }

    /// Drops everything a provider has in memory and starts it on its store again.
    pub(crate) async fn restart(self: &Arc<Self>, name: &str) {
        let store = self.stop(name).await;
        self.start(name, store).await;
    }

    /// Drops everything a provider has in memory; its store is left.
    pub(crate) async fn stop(&self, name: &str) -> Arc<dyn Store> {
        let provider = self.providers.lock().unwrap().remove(name).unwrap();
        for sender in provider.senders {
            sender.stop().await;
        }
        provider.engine.close().await;
        provider.store
    }

    /// A signed-in device of a user.
    pub(crate) async fn device(
        self: &Arc<Self>,
        provider: &str,
        user: &str,
        device: &str,
        secret: &str,
    ) -> Person {
        let face = Face {
            world: self.clone(),
            provider: provider.to_owned(),
            token: Arc::default(),
        };
        let credentials = Credentials::Token { user, token: secret };
        let (info, session) = sign_in(&face, credentials, device).await.unwrap();
        *face.token.lock().unwrap() = Some(session.token.clone());
        let dir = tempfile::tempdir().unwrap();
        let mut engine = mls_client::Engine::create(dir.path(), None).unwrap();
        engine.signed_in("in-process", None, info, session, None).unwrap();
        let options = Options {
            commit_jitter: Duration::ZERO,
            ..Options::default()
        };
        let mut client = Client::new(engine, face, None, options);
        client.refill(None).await.unwrap();
        Person { client, _dir: dir }
    }

    /// An account and its first device; returns the secret for further ones.
    pub(crate) async fn user(self: &Arc<Self>, provider: &str, user: &str) -> (Person, String) {
        let (_, secret) = self.engine(provider).add_account(ctx(), user).await.unwrap();
        (
            self.device(provider, user, "d1", &secret).await,
            secret.to_string(),
        )
    }

    /// Waits until nothing is left to send anywhere.
    pub(crate) async fn quiet(&self) {
        for _ in 0..2000 {
            let mut waiting = 0;
            for name in [A, B] {
                for queue in self.engine(name).queues().await.unwrap() {
                    waiting += queue.waiting;
                }
            }
            if waiting == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("something is never delivered");
    }
}

/// A client and where its state is.
pub(crate) struct Person {
    pub(crate) client: Client<Face>,
    _dir: tempfile::TempDir,
}

impl Person {
    /// Reads everything, and returns the texts of a room in the feed's order with who wrote them.
    pub(crate) async fn texts(&mut self, room: &str) -> Vec<(String, String)> {
        self.client.sync().await.unwrap();
        let room = self.client.engine().room(room).unwrap();
        room.ordered()
            .iter()
            .filter_map(|entry| match &entry.what {
                What::Message(message) => Some((message.sender.clone(), message.text.clone())),
                What::Problem { what, reason } => panic!("{what}: {reason}"),
                What::Change(_) => None,
            })
            .collect()
    }

    /// Sends through failures: the message is written once and pushed until it is accepted.
    pub(crate) async fn insist(&mut self, room: &str, text: &str) {
        let wait = Duration::from_millis(200);
        let mut last = String::new();
        let _ = self
            .client
            .send(room, text, "text/plain;charset=utf-8", wait)
            .await;
        for _ in 0..200 {
            let waiting = self.client.engine().outgoing(room).unwrap();
            if waiting.is_empty() {
                return;
            }
            last = format!("{:?}", self.client.sync().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "never accepted: {last} {:?}",
            self.client.engine().room(room).unwrap().ordered().last()
        );
    }

    pub(crate) async fn say(&mut self, room: &str, text: &str) {
        let wait = Duration::from_secs(20);
        let (_, sent, _) = self
            .client
            .send(room, text, "text/plain;charset=utf-8", wait)
            .await
            .unwrap();
        assert!(matches!(sent, mls_client::engine::Sent::Accepted(_)), "{sent:?}");
    }
}

/// Carries the outbox of one provider.
struct Link {
    from: String,
    engine: Engine,
    world: std::sync::Weak<World>,
}

#[async_trait]
impl room_engine::outbox::Transport for Link {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        let retry = |reason: String| Delivery::Retry { after: None, reason };
        let Some(world) = self.world.upgrade() else {
            return retry("the world is gone".into());
        };
        let room = MimiUri::parse(&entry.room);
        let outcome: Result<(), Refusal> = match (&entry.destination, &entry.body) {
            (Destination::Provider(to), OutboxBody::Notify) => {
                let Some(engine) = world.running(to.as_str()) else {
                    return retry("down".into());
                };
                engine
                    .notify(ctx(), &room.unwrap(), &domain(&self.from), entry.octets.0.clone())
                    .await
            }
            (Destination::Provider(to), OutboxBody::Submit { submission }) => {
                let Some(hub) = world.running(to.as_str()) else {
                    return retry("down".into());
                };
                let room = room.unwrap();
                match hub
                    .submit_message(ctx(), &room, &domain(&self.from), entry.octets.0.clone())
                    .await
                {
                    Ok(response) => {
                        self.engine
                            .submission_outcome(ctx(), &room, submission, response)
                            .await
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            (
                Destination::Provider(to),
                OutboxBody::Consent {
                    request,
                    other,
                    room_id,
                    ask,
                },
            ) => {
                let Some(engine) = world.running(to.as_str()) else {
                    return retry("down".into());
                };
                let consent = ConsentEntry::from_bytes(&entry.octets.0).unwrap();
                let from = domain(&self.from);
                let taken = if *request {
                    engine.request_consent(ctx(), &from, consent).await
                } else {
                    engine.update_consent(ctx(), &from, consent).await
                };
                if *ask && taken.is_ok() {
                    let own = room.unwrap();
                    self.engine
                        .consent_sent(ctx(), &own, other, room_id.as_ref(), Sent::Delivered)
                        .await
                } else {
                    taken
                }
            }
            (Destination::Homeserver, body) => {
                world.portal_events.lock().unwrap().push(entry.clone());
                match body {
                    OutboxBody::PortalCreate { .. } => {
                        let portal = format!("!portal-of-{}", entry.room);
                        self.engine.portal_created(ctx(), &room.unwrap(), &portal).await
                    }
                    _ => Ok(()),
                }
            }
            other => panic!("{other:?}"),
        };
        {
            let mut forget = world.forget_deliveries.lock().unwrap();
            if *forget > 0 {
                *forget -= 1;
                return retry("the answer was lost".into());
            }
        }
        match outcome {
            Ok(()) => Delivery::Done,
            Err(refusal) => retry(refusal.to_string()),
        }
    }
}

impl World {
    fn running(&self, name: &str) -> Option<Engine> {
        self.providers
            .lock()
            .unwrap()
            .get(name)
            .map(|provider| provider.engine.clone())
    }
}

/// The client API, called instead of served.
#[derive(Clone)]
pub(crate) struct Face {
    world: Arc<World>,
    provider: String,
    token: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Face({})", self.provider)
    }
}

#[allow(clippy::needless_pass_by_value)] // stands behind map_err everywhere
fn refused(refusal: Refusal) -> TransportError {
    let code = match &refusal {
        Refusal::Unknown { .. } => ApiErrorCode::NotFound,
        Refusal::Forbidden { .. } => ApiErrorCode::Forbidden,
        Refusal::Unauthorized => ApiErrorCode::Unauthorized,
        Refusal::Malformed { .. } => ApiErrorCode::Malformed,
        Refusal::TooLarge { .. } => ApiErrorCode::TooLarge,
        Refusal::Conflict { .. } => ApiErrorCode::Conflict,
        Refusal::Unavailable { .. } | Refusal::Store(_) => ApiErrorCode::Unavailable,
        _ => ApiErrorCode::Internal,
    };
    TransportError::Api(ApiError {
        code,
        error: refusal.to_string(),
        retry_after_ms: Some(1),
    })
}

fn answer(response: &impl mimi_wire::codec::Encode) -> HubAnswer {
    HubAnswer {
        response: response.to_bytes().into(),
    }
}

fn status_of(state: carrier::SubmissionState) -> SubmissionState {
    match state {
        carrier::SubmissionState::Queued => SubmissionState::Queued,
        carrier::SubmissionState::Accepted { at, frank } => SubmissionState::Accepted {
            at: at.0,
            frank: frank.map(|f| f.0.into()),
        },
        carrier::SubmissionState::Refused {
            code,
            reason,
            current_epoch,
        } => SubmissionState::Refused {
            code: match code {
                SubmissionRefusal::EpochTooOld => RefusalCode::EpochTooOld,
                SubmissionRefusal::NotAllowed => RefusalCode::NotAllowed,
                SubmissionRefusal::Malformed => RefusalCode::Malformed,
                SubmissionRefusal::UnknownRoom => RefusalCode::UnknownRoom,
            },
            reason,
            current_epoch: current_epoch.map(|e| e.0),
        },
    }
}

fn item_of(item: room_engine::FeedItem) -> FeedItem {
    let b64s = |list: Vec<Vec<u8>>| list.into_iter().map(B64).collect();
    match item {
        room_engine::FeedItem::Welcome {
            message,
            ratchet_tree,
        } => FeedItem::Welcome {
            message: message.into(),
            ratchet_tree: ratchet_tree.into(),
        },
        room_engine::FeedItem::Commit {
            message,
            external_proposals,
        } => FeedItem::Commit {
            message: message.into(),
            external_proposals: b64s(external_proposals),
        },
        room_engine::FeedItem::Proposals { messages } => FeedItem::Proposals {
            messages: b64s(messages),
        },
        room_engine::FeedItem::Message { message, frank } => FeedItem::Message {
            message: message.into(),
            frank: frank.map(B64),
        },
        room_engine::FeedItem::Status { id, state } => FeedItem::Status(SubmissionStatus {
            id,
            state: status_of(state),
        }),
        room_engine::FeedItem::Wish { wish } => FeedItem::Wish(mls_client::api::Wish {
            id: wish.id,
            at: wish.at,
            room: wish.room,
            asked_in: wish.asked_in,
            want: serde_json::from_value(serde_json::to_value(wish.want).unwrap()).unwrap(),
        }),
    }
}

fn summary(room: room_engine::UserRoom) -> RoomSummary {
    RoomSummary {
        room: room.view.room.to_string(),
        hub: room.view.hub.to_string(),
        name: room.view.name,
        group_id: room.view.group_id.unwrap_or_default().into(),
        epoch: room.view.epoch,
        portal: room.view.portal,
        first: room.first,
        next: room.next,
        joined: room.joined,
    }
}

impl Face {
    fn engine(&self) -> Engine {
        self.world.engine(&self.provider)
    }

    async fn who(&self) -> Result<ClientActor, TransportError> {
        let token = self.token.lock().unwrap().clone().unwrap_or_default();
        let found = self.engine().session(&token).await.unwrap();
        found.ok_or_else(|| refused(Refusal::Unauthorized))
    }

    /// The room's hub, and as whom we ask it.
    async fn hub(&self, room: &MimiUri) -> Result<(Engine, Actor), TransportError> {
        Ok(match self.engine().hub_of(room) {
            Hub::Own => (self.engine(), Actor::Client(self.who().await?)),
            Hub::Peer(hub) => (
                self.world.engine(hub.as_str()),
                Actor::Peer(domain(&self.provider)),
            ),
        })
    }
}

#[async_trait]
impl Transport for Face {
    async fn provider(&self) -> Result<ProviderInfo, TransportError> {
        let engine = self.engine();
        Ok(ProviderInfo {
            provider: self.provider.clone(),
            external_sender: engine.hub().external_sender().into(),
            franking_agent: engine.hub().franking_agent().to_bytes().into(),
            cipher_suites: vec![1],
            login: vec![LoginKind::LocalToken],
            homeserver: None,
            bot: None,
        })
    }

    async fn login(&self, request: &LoginRequest) -> Result<LoginResponse, TransportError> {
        let LoginRequest::LocalToken { user, token, device } = request else {
            panic!("local only")
        };
        let secret = Zeroizing::new(token.clone());
        let session = self
            .engine()
            .sign_in_local(ctx(), user, secret, device)
            .await
            .map_err(refused)?;
        Ok(LoginResponse::Session(mls_client::api::Session {
            token: session.token,
            user: session.who.user.to_string(),
            client: session.who.client.to_string(),
        }))
    }

    async fn logout(&self) -> Result<(), TransportError> {
        Ok(())
    }

    async fn devices(&self) -> Result<Vec<Device>, TransportError> {
        let who = self.who().await?;
        let devices = self.engine().devices(ctx(), &who.user).await.map_err(refused)?;
        Ok(devices
            .into_iter()
            .map(|d| Device {
                client: d.client.to_string(),
                key_packages: d.stock.available,
                last_resort: d.stock.last_resort,
                created_at: d.created_at,
            })
            .collect())
    }

    async fn upload_key_packages(
        &self,
        upload: &UploadKeyPackages,
    ) -> Result<KeyPackageStock, TransportError> {
        let packages = upload.key_packages.iter().map(|p| p.0.clone()).collect();
        let stock = self
            .engine()
            .upload_key_packages(ctx(), &self.who().await?, packages)
            .await
            .map_err(refused)?;
        Ok(KeyPackageStock {
            available: stock.available,
            last_resort: stock.last_resort,
            last_resort_used: stock.last_resort_used,
            low: stock.low,
        })
    }

    async fn key_packages(&self) -> Result<KeyPackageStock, TransportError> {
        let stock = self
            .engine()
            .key_package_stock(ctx(), &self.who().await?)
            .await
            .map_err(refused)?;
        Ok(KeyPackageStock {
            available: stock.available,
            last_resort: stock.last_resort,
            last_resort_used: stock.last_resort_used,
            low: stock.low,
        })
    }

    async fn create_room(&self, room: &CreateRoom) -> Result<RoomSummary, TransportError> {
        let who = self.who().await?;
        let (group_info, tree) = (room.group_info.0.clone(), room.ratchet_tree.0.clone());
        let created = self
            .engine()
            .create_room(ctx(), &who, uri(&room.room), group_info, tree)
            .await
            .map_err(refused)?;
        let room = self
            .engine()
            .room_of(&who.user, &created.room)
            .await
            .unwrap()
            .unwrap();
        Ok(summary(room))
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, TransportError> {
        let rooms = self.engine().rooms_of(&self.who().await?.user).await.unwrap();
        Ok(rooms.into_iter().map(summary).collect())
    }

    async fn claim(&self, room: &str, request: &ClaimRequest) -> Result<HubAnswer, TransportError> {
        let room = uri(room);
        let (hub, actor) = self.hub(&room).await?;
        let parsed = KeyMaterialRequest::from_bytes(&request.request.0).unwrap();
        let route = hub
            .claim_route(ctx(), &room, &actor, &parsed)
            .await
            .map_err(refused)?;
        let target = match route {
            ClaimRoute::Local => hub.clone(),
            ClaimRoute::Provider(provider) => self.world.engine(provider.as_str()),
        };
        let peer = room.domain();
        let response = target
            .serve_key_material(ctx(), &peer, request.request.0.clone())
            .await
            .map_err(refused)?;
        hub.record_claim(ctx(), &room, &response).await.map_err(refused)?;
        Ok(answer(&response))
    }

    async fn update(&self, room: &str, request: &UpdateRequest) -> Result<HubAnswer, TransportError> {
        let (room, bundle) = (uri(room), request.bundle.0.clone());
        self.world.bundles.lock().unwrap().push(bundle.clone());
        let (hub, actor) = self.hub(&room).await?;
        let response = hub
            .update(ctx(), &room, actor.clone(), bundle.clone())
            .await
            .map_err(refused)?;
        if let (Actor::Peer(_), UpdateOutcome::Success { accepted_timestamp }) = (&actor, &response.outcome) {
            let who = self.who().await?;
            self.engine()
                .follower_updated(ctx(), &room, &who, bundle, accepted_timestamp.0)
                .await
                .map_err(refused)?;
        }
        Ok(answer(&response))
    }

    async fn group_info(&self, room: &str, request: &GroupInfoQuery) -> Result<HubAnswer, TransportError> {
        let room = uri(room);
        let (hub, actor) = self.hub(&room).await?;
        let response = hub
            .group_info(ctx(), &room, actor, request.request.0.clone())
            .await
            .map_err(refused)?;
        Ok(answer(&response))
    }

    async fn submit(&self, room: &str, message: &SubmitMessage) -> Result<SubmissionStatus, TransportError> {
        let submission = Submission {
            id: message.id.clone(),
            message: message.message.0.clone(),
            from_portal: None,
        };
        let user = self.who().await?.user;
        let state = self
            .engine()
            .submit(ctx(), &uri(room), &user, submission)
            .await
            .map_err(refused)?;
        Ok(SubmissionStatus {
            id: message.id.clone(),
            state: status_of(state),
        })
    }

    async fn log(
        &self,
        room: &str,
        from: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<LogPage, TransportError> {
        let user = self.who().await?.user;
        let limit = usize::try_from(limit).unwrap();
        let page = self
            .engine()
            .feed(&uri(room), &user, from, limit, Some(wait))
            .await
            .map_err(refused)?;
        let entries = page
            .entries
            .into_iter()
            .map(|e| FeedEntry {
                pos: e.pos,
                at: e.at,
                event_id: e.event_id,
                item: item_of(e.item),
            })
            .collect();
        Ok(LogPage {
            entries,
            next: page.next,
        })
    }

    async fn put_blob(&self, _: &[u8]) -> Result<BlobRef, TransportError> {
        panic!("no blobs here")
    }

    async fn get_blob(&self, _: &str) -> Result<Vec<u8>, TransportError> {
        panic!("no blobs here")
    }
}
