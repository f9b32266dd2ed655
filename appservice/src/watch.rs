//! Never silent: whether what the homeserver's users do still reaches us, and what was missed.
//!
//! A homeserver that stops pushing says nothing; for an application service silence looks like a quiet night. So the
//! bot sends a *heartbeat* into a room of its own and waits to see it come back. When it doesn't come back in time,
//! that is told (log, metric, readiness), the homeserver is pinged, which ends its back-off, and every portal's
//! timeline is read instead. The same comparison of timelines runs at start and from time to time: an event that was
//! never pushed (a homeserver keeps in memory what it is about to push, and loses it in a crash) is taken in then.

use crate::homeserver::{Homeserver, HomeserverError};
use crate::routes::{Intake, IntakeError, Lookup};
use crate::thirdparty::{Place, Wanted};
use async_recursion::async_recursion as boxed;
use async_trait::async_trait;
use matrix_wire::push::Incoming;
use matrix_wire::push::RoomEvent;
use room_engine::{Clock, Taken};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

mod compare;
mod heartbeat;
mod ledger;

pub use ledger::Ledger;

/// Type of a heartbeat.
pub const HEARTBEAT: &str = "org.causeway.heartbeat";

/// Portals whose members and state are compared between two heartbeats: the sender and the homeserver have other work.
const AUDITED_AT_ONCE: usize = 200;

/// Between two comparisons of all portals' members and state with their rooms. The first is at start.
const AUDIT_EVERY: Duration = Duration::from_hours(6);

/// Times of the watch.
#[derive(Clone, Copy, Debug)]
pub struct WatchSettings {
    /// Between two heartbeats.
    pub every: Duration,
    /// After this long a heartbeat is late.
    pub late: Duration,
    /// Between two comparisons of all timelines.
    pub compare_every: Duration,
    /// While heartbeats are late, events older than this are taken from the timelines.
    pub grace: Duration,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_mins(1),
            late: Duration::from_secs(20),
            compare_every: Duration::from_mins(15),
            grace: Duration::from_secs(30),
        }
    }
}

/// What is known about the homeserver now. Times are Unix ms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// When the homeserver last pushed anything.
    pub last_transaction: Option<u64>,
    /// When a heartbeat last came back.
    pub heartbeat_seen: Option<u64>,
    /// How long it took, ms.
    pub heartbeat_took: Option<u64>,
    /// Since when heartbeats don't come back in time.
    pub late_since: Option<u64>,
    /// Since when the homeserver can't be talked to, and why.
    pub unreachable: Option<(u64, String)>,
    /// What our last ping through the homeserver came to, if it failed.
    pub ping_failed: Option<String>,
    /// When all timelines were last compared.
    pub compared: Option<u64>,
    /// Events found in timelines that were never pushed, since the start.
    pub missed: u64,
    /// How often the homeserver turned out to have gone back in time, since the start.
    pub rewound: u64,
    /// Portals that the bot can't read any more.
    pub portals_lost: Vec<String>,
}

impl Watched {
    /// What an operator has to know, each with its remedy.
    pub fn warnings(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Some((_, why)) = &self.unreachable {
            all.push(format!(
                "the homeserver can't be used ({why}); what is for it waits. Run `causeway doctor`"
            ));
        } else if self.late_since.is_some() {
            let why = self
                .ping_failed
                .as_deref()
                .unwrap_or("it reaches us, but lags; look at its load and at its log for \"appservice\"");
            all.push(format!(
                "the homeserver doesn't push in time: {why}. Portals are read from their timelines meanwhile. \
                 Run `causeway doctor`"
            ));
        }
        if !self.portals_lost.is_empty() {
            all.push(format!(
                "{} portals can't be read any more, the first is {}: was the bot removed, or the homeserver restored \
                 from a backup?",
                self.portals_lost.len(),
                self.portals_lost.first().map_or("", String::as_str)
            ));
        }
        if self.rewound > 0 {
            all.push(
                "the homeserver went back in time since the start (restored from a backup?): its users may miss \
                 events in portals, which their clients still find in the feed"
                    .to_owned(),
            );
        }
        all
    }
}

/// The watch over a homeserver. Cheap to clone.
#[derive(Clone)]
pub struct Watch(Arc<Inner>);

struct Inner {
    homeserver: Homeserver,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    settings: WatchSettings,
    state: Mutex<State>,
    /// A heartbeat came back.
    seen: Notify,
    /// Look at everything now.
    hurry: Notify,
}

#[derive(Default)]
struct State {
    watched: Watched,
    /// What is in the heartbeat that we wait for, and when it was sent.
    awaited: Option<(String, u64)>,
    /// The homeserver's time of the newest heartbeat that came back.
    seen_ts: Option<u64>,
    /// Room and id of the newest heartbeat that was sent.
    newest: Option<(String, String)>,
    /// All timelines are to be compared as soon as possible.
    compare: bool,
    /// So are all portals' members and state.
    audit: bool,
}

impl Watch {
    /// Over this homeserver. Nothing happens before [`Watch::run`].
    pub fn new(
        homeserver: Homeserver,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        settings: WatchSettings,
    ) -> Self {
        Self(Arc::new(Inner {
            homeserver,
            ledger,
            clock,
            settings,
            state: Mutex::new(State {
                compare: true,
                audit: true,
                ..State::default()
            }),
            seen: Notify::new(),
            hurry: Notify::new(),
        }))
    }

    /// What is known now.
    pub fn watched(&self) -> Watched {
        self.state().watched.clone()
    }

    /// The intake that tells this watch what passes.
    pub fn over(&self, intake: Arc<dyn Intake>) -> Arc<dyn Intake> {
        Arc::new(Observed {
            watch: self.clone(),
            intake,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.0.clock.now_ms()
    }

    /// Heartbeats and comparisons, until it is dropped. Greets the homeserver first: its ping ends the homeserver's
    /// back-off, so that what waits comes at once.
    #[boxed]
    pub async fn run(&self) {
        self.greet().await;
        let mut compared = None::<tokio::time::Instant>;
        let mut audited = tokio::time::Instant::now();
        let mut to_audit = VecDeque::new();
        loop {
            let in_time = self.heartbeat().await;
            let due = compared.is_none_or(|at| at.elapsed() >= self.0.settings.compare_every);
            let wanted = std::mem::take(&mut self.state().compare);
            if due || wanted || in_time == Some(false) {
                match self.compare_all().await {
                    Ok(()) => compared = Some(tokio::time::Instant::now()),
                    Err(error) => {
                        self.state().compare = true;
                        tracing::warn!(%error, "the portals' timelines can't be compared now");
                    }
                }
            }
            let wanted = std::mem::take(&mut self.state().audit);
            if wanted || audited.elapsed() >= AUDIT_EVERY {
                audited = tokio::time::Instant::now();
                to_audit.clear();
                self.state().audit = !self.all_portals(&mut to_audit).await;
            }
            self.audit(&mut to_audit).await;
            tokio::select! {
                () = tokio::time::sleep(self.0.settings.every) => {}
                () = self.0.hurry.notified() => {}
            }
        }
    }

    /// Another node watches from here on: what this one knew is no news any more, and when its turn comes again it looks at
    /// everything.
    pub fn rest(&self) {
        let mut state = self.state();
        state.watched.late_since = None;
        state.watched.unreachable = None;
        state.watched.ping_failed = None;
        state.awaited = None;
        (state.compare, state.audit) = (true, true);
        metrics::gauge!("causeway_homeserver_heartbeat_late").set(0.0);
    }

    /// Makes sure of the bot, and pings, for as long as it takes.
    async fn greet(&self) {
        let mut pause = Duration::from_millis(500);
        loop {
            let done = async {
                self.0.homeserver.ensure_bot().await?;
                self.ping().await
            };
            match done.await {
                Ok(took) => {
                    self.reachable();
                    tracing::info!(
                        server_name = self.0.homeserver.server_name(),
                        ?took,
                        "the homeserver reaches us"
                    );
                    return;
                }
                Err(error) => {
                    self.unreachable(&error);
                    tracing::warn!(
                        %error, "the homeserver can't be greeted yet; is it running, with our registration?"
                    );
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }

    async fn ping(&self) -> Result<Duration, HomeserverError> {
        let outcome = self.0.homeserver.ping().await;
        self.state().watched.ping_failed = outcome.as_ref().err().map(ToString::to_string);
        outcome
    }

    fn reachable(&self) {
        metrics::gauge!("causeway_homeserver_up").set(1.0);
        self.state().watched.unreachable = None;
    }

    fn unreachable(&self, error: &HomeserverError) {
        metrics::gauge!("causeway_homeserver_up").set(0.0);
        let now = self.now();
        let mut state = self.state();
        let since = state
            .watched
            .unreachable
            .as_ref()
            .map_or(now, |(since, _)| *since);
        state.watched.unreachable = Some((since, error.to_string()));
    }

    /// The homeserver doesn't know an event any more that it once told us of.
    fn rewound(&self, what: &'static str) {
        metrics::counter!("causeway_homeserver_rewound_total", "seen" => what).increment(1);
        let mut state = self.state();
        state.watched.rewound = state.watched.rewound.saturating_add(1);
        state.compare = true;
        state.audit = true;
    }

    fn observe(&self, events: &[Passing]) {
        let now = self.now();
        let mut state = self.state();
        state.watched.last_transaction = Some(now);
        let mut back = None;
        for event in events {
            let lag = Duration::from_millis(now.saturating_sub(event.ts));
            metrics::histogram!("causeway_homeserver_delivery_seconds").record(lag.as_secs_f64());
            let awaited = state
                .awaited
                .as_ref()
                .is_some_and(|(nonce, _)| Some(nonce) == event.nonce.as_ref());
            if awaited && let Some((_, sent)) = state.awaited.take() {
                back = Some(now.saturating_sub(sent));
                state.seen_ts = Some(event.ts);
            }
        }
        if let Some(took) = back {
            state.watched.heartbeat_seen = Some(now);
            state.watched.heartbeat_took = Some(took);
            if let Some(since) = state.watched.late_since.take() {
                let after_ms = now.saturating_sub(since);
                tracing::info!(after_ms, "the homeserver pushes again");
                state.compare = true;
                self.0.hurry.notify_one();
            }
            metrics::gauge!("causeway_homeserver_heartbeat_late").set(0.0);
            metrics::histogram!("causeway_homeserver_heartbeat_seconds")
                .record(Duration::from_millis(took).as_secs_f64());
        }
        drop(state);
        if back.is_some() {
            self.0.seen.notify_one();
        }
    }
}

/// What the watch looks at in an event.
struct Passing {
    ts: u64,
    /// Of a heartbeat.
    nonce: Option<String>,
}

impl Passing {
    fn of(event: &RoomEvent, bot: &str) -> Self {
        let nonce = (event.sender == bot && event.event_type == HEARTBEAT)
            .then(|| event.content.get("nonce")?.as_str().map(ToOwned::to_owned))
            .flatten();
        Self {
            ts: event.origin_server_ts,
            nonce,
        }
    }
}

/// An intake under watch.
struct Observed {
    watch: Watch,
    intake: Arc<dyn Intake>,
}

#[async_trait]
impl Intake for Observed {
    async fn transaction(&self, request_id: &str, incoming: Incoming) -> Result<Taken, IntakeError> {
        let bot = self.watch.0.homeserver.bot();
        let passing: Vec<Passing> = incoming.events.iter().map(|e| Passing::of(e, bot)).collect();
        let taken = self.intake.transaction(request_id, incoming).await?;
        self.watch.observe(&passing);
        Ok(taken)
    }

    async fn alias(&self, alias: &str) -> Result<Lookup, IntakeError> {
        self.intake.alias(alias).await
    }

    async fn user(&self, user: &str) -> Result<Lookup, IntakeError> {
        self.intake.user(user).await
    }

    async fn places(&self, wanted: &Wanted) -> Result<Vec<Place>, IntakeError> {
        self.intake.places(wanted).await
    }

    fn server_name(&self) -> String {
        self.intake.server_name()
    }
}
