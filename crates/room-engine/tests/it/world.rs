//! Providers in one process. What a network and the faces would do is done by calls.

use async_trait::async_trait;
use mimi_wire::uri::MimiUri;
use mls_client::state::What;
use mls_client::{Client, Options};
use room_engine::outbox::{Destination, OutboxEntry, Sender, SenderSettings};
use room_engine::{Clock, Engine, Sequencer, SystemClock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{MemoryStore, Store, StoreError};
use tokio::sync::watch;

pub(crate) use crate::faces::{A, B, config, ctx, domain, keys, uri};
use crate::faces::{Face, Home, Link, Way, sign_in_at};

/// All providers. A provider's engine can be dropped and opened again on its store, as after a crash.
pub(crate) struct World {
    providers: Mutex<HashMap<String, Provider>>,
    /// What was sent to each homeserver.
    pub(crate) portal_events: Mutex<Vec<OutboxEntry>>,
    /// Whether answers get lost between providers.
    pub(crate) lost_answers: Mutex<bool>,
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
            lost_answers: Mutex::default(),
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
            ..SenderSettings::default()
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
                    home: Arc::downgrade(self),
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
        let dir = tempfile::tempdir().unwrap();
        let engine = mls_client::Engine::create(dir.path(), None).unwrap();
        self.signed_in(provider, (user, secret), device, engine, dir)
            .await
    }

    async fn signed_in(
        self: &Arc<Self>,
        provider: &str,
        who: (&str, &str),
        device: &str,
        engine: mls_client::Engine,
        dir: tempfile::TempDir,
    ) -> Person {
        let options = Options {
            commit_jitter: Duration::ZERO,
            ..Options::default()
        };
        let mut client = sign_in_at(self, provider, who, device, engine, options).await;
        client.refill(None).await.unwrap();
        Person { client, _dir: dir }
    }

    /// An account anew and the first device of it, which has kept its state: the provider has lost both.
    pub(crate) async fn user_again(self: &Arc<Self>, provider: &str, user: &str, person: Person) -> Person {
        let (_, secret) = self.engine(provider).add_account(ctx(), user).await.unwrap();
        let Person { client, _dir: dir } = person;
        self.signed_in(provider, (user, &secret), "d1", client.into_engine(), dir)
            .await
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
        let mut seen_empty = false;
        for _ in 0..2000 {
            let mut waiting = 0;
            for name in [A, B] {
                for queue in self.engine(name).queues().await.unwrap() {
                    waiting += queue.waiting;
                }
            }
            // Twice: what left the second for the first while it was looked at is seen the second time.
            if waiting == 0 && seen_empty {
                return;
            }
            seen_empty = waiting == 0;
            if !seen_empty {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        panic!("something is never delivered");
    }
}

/// A client and where its state is.
pub(crate) struct Person {
    pub(crate) client: Client<Face<World>>,
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

impl World {
    fn running(&self, name: &str) -> Option<Engine> {
        self.providers
            .lock()
            .unwrap()
            .get(name)
            .map(|provider| provider.engine.clone())
    }
}

#[async_trait]
impl Home for World {
    async fn reach(&self, _: &str, to: &str, _: Way) -> Result<Engine, String> {
        self.running(to).ok_or_else(|| "down".to_owned())
    }

    fn updating(&self, _: &MimiUri, bundle: &[u8]) {
        self.bundles.lock().unwrap().push(bundle.to_vec());
    }

    async fn back(&self, from: &str, to: &str) -> Result<(), String> {
        let lost = from != to && *self.lost_answers.lock().unwrap();
        if lost { Err("lost".to_owned()) } else { Ok(()) }
    }

    fn shown(&self, entry: &OutboxEntry) {
        self.portal_events.lock().unwrap().push(entry.clone());
    }

    fn forgets(&self) -> bool {
        let mut forget = self.forget_deliveries.lock().unwrap();
        let forgets = *forget > 0;
        *forget -= u32::from(forgets);
        forgets
    }
}
