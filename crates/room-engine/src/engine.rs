//! The engine: the way in for every face.

use async_recursion::async_recursion as boxed;
use mimi_wire::uri::{Domain, MimiUri};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use store::{Space, Store, StoreError};
use tokio::sync::{Notify, broadcast, watch};

use crate::aside::Aside;
use crate::clock::Clock;
use crate::command::{Command, HomeserverCommand, Reply, RequestContext, RoomCommand, UserCommand};
use crate::decision::Decision;
use crate::fence::{self, Fenced};
use crate::migrate::migrate;
use crate::outbox::Destination;
use crate::owner::{Owner, UriKey};
use crate::refusal::Refusal;
use crate::sequencer::{LocalSequencer, Sequencer};
use crate::views::UserNotice;
use crate::wake::Wakes;
use crate::worker::{Workers, finish};

mod assets;
mod bot;
mod feed;
pub(crate) use feed::split_messages;
mod graph;
mod housekeeping;
mod inbox;
mod people;
mod portal;
mod reads;
mod reports;
mod rooms;
mod settle;
mod users;

pub use housekeeping::Swept;
pub use people::UserPolicies;
pub(crate) use portal::concerns_portals;
pub use settle::UpdateFate;

/// What the engine must know about its surroundings.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The provider's domain.
    pub provider: Domain,
    /// The node's Matrix server name, for example `cw1.a.example`.
    pub node_name: String,
    /// The homeserver beside this provider, if there is one.
    pub homeserver: Option<HomeserverInfo>,
    /// Bounds.
    pub limits: Limits,
    /// What its users are open to.
    pub users: UserPolicies,
}

/// The homeserver beside this provider.
#[derive(Clone, Debug)]
pub struct HomeserverInfo {
    /// Its server name, the same as the provider's domain.
    pub server_name: String,
    /// The bot's user id, `@_mimi:a.example`.
    pub bot: String,
    /// Matrix users who may tell the bot to administer.
    pub admins: Vec<String>,
}

/// Bounds on what others may make us do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of an application message.
    pub message: usize,
    /// Octets of a handshake bundle or of a notify body.
    pub handshake: usize,
    /// Entries of a feed page.
    pub feed_page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 1 << 20,
            handshake: 16 << 20,
            feed_page: 500,
        }
    }
}

/// The provider's keys. They are never in the store.
#[derive(Debug)]
pub struct Keys {
    /// Signs the node's events.
    pub node: event_graph::SigningIdentity,
    /// Signs and franks as a hub.
    pub hub: delivery_service::HubIdentity,
}

/// Why the engine can't be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => Self::Store(error),
        }
    }
}

/// What every worker can reach.
pub(crate) struct Env {
    pub(crate) config: EngineConfig,
    pub(crate) node: event_graph::SigningIdentity,
    hub: RwLock<Arc<delivery_service::HubIdentity>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sequencer: Arc<dyn Sequencer>,
    /// This node's own store, where `store` is that of all nodes.
    pub(crate) local: Arc<dyn Store>,
    pub(crate) aside: Aside,
    pub(crate) fence: Fenced,
    feeds: Mutex<HashMap<UriKey, watch::Sender<u64>>>,
    wake: Mutex<HashMap<Destination, Arc<Notify>>>,
    /// Destinations that have spoken since their sender last looked.
    revived: Mutex<HashSet<Destination>>,
    new_destinations: broadcast::Sender<Destination>,
    inbox: Notify,
    notices: broadcast::Sender<UserNotice>,
    users: Mutex<HashMap<UriKey, watch::Sender<u64>>>,
    pub(crate) wakes: Wakes,
}

impl Env {
    /// The hub's keys as they are now.
    pub(crate) fn hub(&self) -> Arc<delivery_service::HubIdentity> {
        self.hub.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells those who wait that a decision has been written.
    pub(crate) fn announce(&self, decision: &Decision) {
        if let Some((room, next)) = &decision.feed {
            self.grown(UriKey::of(room), *next);
        }
        for destination in &decision.wake {
            let known = self
                .wake
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(destination)
                .cloned();
            match known {
                Some(wake) => wake.notify_one(),
                None => drop(self.new_destinations.send(destination.clone())),
            }
        }
        if decision.inbox {
            self.inbox.notify_one();
        }
        for notice in &decision.notices {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let id = UriKey::of(&notice.user);
            match users.get(&id) {
                Some(user) if user.receiver_count() > 0 => {
                    user.send_modify(|count| *count = count.wrapping_add(1));
                }
                Some(_) => drop(users.remove(&id)),
                None => {}
            }
            // Nobody has to listen.
            drop(self.notices.send(notice.clone()));
        }
    }

    fn watch_user(&self, user: &MimiUri) -> watch::Receiver<u64> {
        self.users
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(UriKey::of(user))
            .or_insert_with(|| watch::channel(0).0)
            .subscribe()
    }

    fn grown(&self, room: UriKey, next: u64) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(&room)
            && feed.send(next).is_err()
        {
            feeds.remove(&room);
        }
    }

    /// What wakes a destination's sender.
    pub(crate) fn waker(&self, destination: &Destination) -> Arc<Notify> {
        self.wake
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(destination.clone())
            .or_default()
            .clone()
    }

    /// A destination that may have been away is there: its sender forgets its pauses.
    pub(crate) fn revive(&self, destination: &Destination) {
        let wake = self
            .wake
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(destination)
            .cloned();
        if let Some(wake) = wake {
            let mut revived = self.revived.lock().unwrap_or_else(PoisonError::into_inner);
            revived.insert(destination.clone());
            wake.notify_one();
        }
    }

    /// Whether the destination has spoken since this was last asked.
    pub(crate) fn was_revived(&self, destination: &Destination) -> bool {
        self.revived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(destination)
    }

    fn watch_feed(&self, room: &MimiUri) -> watch::Receiver<u64> {
        self.feeds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(UriKey::of(room))
            .or_insert_with(|| watch::channel(0).0)
            .subscribe()
    }
}

/// The task that hands on the homeserver's inbox and does the housekeeping, and what stops it.
type Background = (watch::Sender<bool>, tokio::task::JoinHandle<()>);

/// A provider's engine. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Engine {
    env: Arc<Env>,
    workers: Arc<Workers>,
    background: Arc<Mutex<Option<Background>>>,
}

/// A room's hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hub {
    /// This provider.
    Own,
    /// Another one.
    Peer(Domain),
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.env.config)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the engine on a store and starts handing on what waits in the homeserver inbox.
    pub async fn open(
        config: EngineConfig,
        keys: Keys,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EngineError> {
        let local = store.clone();
        Self::open_with(config, keys, store, clock, Arc::new(LocalSequencer::new()), local).await
    }

    /// The same as one of several nodes: commits of `store` are final at all of them, and `sequencer` says whether
    /// this node may decide. `local` is the node's own store, for what it accepts while it is cut off.
    #[boxed]
    pub async fn open_with(
        config: EngineConfig,
        keys: Keys,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        sequencer: Arc<dyn Sequencer>,
        local: Arc<dyn Store>,
    ) -> Result<Self, EngineError> {
        // A store that can't be read should fail here and not at the first request.
        store.get(Space::Cursor, b"probe").await?;
        migrate(local.as_ref()).await?;
        let wakes = Wakes::load(store.as_ref()).await?;
        let fence = Fenced::load(store.as_ref()).await?;
        let env = Arc::new(Env {
            config,
            node: keys.node,
            hub: RwLock::new(Arc::new(keys.hub)),
            store,
            clock,
            sequencer,
            local,
            aside: Aside::default(),
            fence,
            feeds: Mutex::default(),
            wake: Mutex::default(),
            revived: Mutex::default(),
            new_destinations: broadcast::channel(1024).0,
            inbox: Notify::new(),
            notices: broadcast::channel(1024).0,
            users: Mutex::default(),
            wakes,
        });
        let engine = Self {
            env,
            workers: Arc::default(),
            background: Arc::default(),
        };
        let (stop, stopped) = watch::channel(false);
        let (inbox, housekeeping) = (
            inbox::run(engine.clone(), stopped.clone()),
            housekeeping::run(engine.clone(), stopped),
        );
        let task = tokio::spawn(async {
            tokio::join!(inbox, housekeeping);
        });
        *engine.background.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, task));
        Ok(engine)
    }

    /// Finishes what was begun and takes no more.
    pub async fn close(&self) {
        let background = self
            .background
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((stop, task)) = background {
            let _ = stop.send(true);
            finish(task, "homeserver inbox and housekeeping").await;
        }
        self.workers.close().await;
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &EngineConfig {
        &self.env.config
    }

    /// The hub's keys' public side, for clients that found groups here.
    pub fn hub(&self) -> Arc<delivery_service::HubIdentity> {
        self.env.hub()
    }

    /// From now on these are the hub's keys. What was decided with the others stays.
    pub fn set_hub(&self, hub: delivery_service::HubIdentity) {
        *self.env.hub.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(hub);
    }

    /// The room's hub, by its authority (a hub never moves).
    pub fn hub_of(&self, room: &MimiUri) -> Hub {
        let domain = room.domain();
        if domain == self.env.config.provider {
            Hub::Own
        } else {
            Hub::Peer(domain)
        }
    }

    pub(crate) async fn room_command(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        command: RoomCommand,
    ) -> Result<Reply, Refusal> {
        let reply = self
            .workers
            .execute(&self.env, Owner::Room(room.clone()), ctx, Command::Room(command))
            .await?;
        match reply {
            Reply::Fenced => Err(fence::refusal()),
            reply => Ok(reply),
        }
    }

    async fn user_command(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        command: UserCommand,
    ) -> Result<Reply, Refusal> {
        if user.domain() != self.env.config.provider {
            return Err(Refusal::Unknown { what: "user" });
        }
        self.workers
            .execute(&self.env, Owner::User(user.clone()), ctx, Command::User(command))
            .await
    }

    pub(crate) async fn homeserver_command(
        &self,
        ctx: RequestContext,
        command: HomeserverCommand,
    ) -> Result<Reply, Refusal> {
        self.workers
            .execute(&self.env, Owner::Homeserver, ctx, Command::Homeserver(command))
            .await
    }

    /// Destinations that get their first entry while nobody sends to them.
    pub fn new_destinations(&self) -> broadcast::Receiver<Destination> {
        self.env.new_destinations.subscribe()
    }

    /// The term under which this node orders, as it changes; none while another does.
    pub fn terms(&self) -> watch::Receiver<Option<u64>> {
        self.env.sequencer.terms()
    }

    /// To be called when the store holds a batch that another node decided: wakes the readers of feeds it grew.
    pub fn applied(&self, batch: &store::Batch) {
        let grown = batch.writes().filter_map(|(space, key, value)| {
            let (room, position) = key.split_at_checked(16)?;
            let position = u64::from_be_bytes(position.try_into().ok()?);
            (space == Space::Feed && value.is_some())
                .then_some((UriKey(room.try_into().ok()?), position.saturating_add(1)))
        });
        for (room, next) in grown {
            self.env.grown(room, next);
        }
    }

    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.env
    }

    /// Workers that hold state in memory now.
    pub fn workers(&self) -> usize {
        self.workers.count()
    }
}

fn unexpected(reply: &Reply) -> Refusal {
    Refusal::internal(format!("unexpected reply {reply:?}"))
}

/// How long a long poll may last.
pub const LONGEST_POLL: Duration = Duration::from_mins(1);
