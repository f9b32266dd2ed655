//! The sender: one per destination.
//!
//! Entries of a room go in order, one in flight. A room that can't be delivered waits with growing pauses, and one that
//! is slow goes on by itself: neither holds up another. Of those that wait the one comes first whose last turn was
//! longest ago. How many rooms are served beside each other is the destination's ([`Destination::width`]). A delivery
//! is forgotten in a batch of its own; a crash between the delivery and that batch repeats the delivery with the same
//! octets.

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use store::{Batch, Guard, Scan, Space, StoreError, failpoint};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Destination, Transport};
use crate::Engine;
use crate::engine::Env;
use crate::owner::Owner;
use crate::worker::finish;

mod turn;

use turn::{RoomKey, Turn, Turns};

/// Pauses of a sender.
#[derive(Clone, Copy, Debug)]
pub struct SenderSettings {
    /// After the first failure; doubled by each further one.
    pub first_pause: Duration,
    /// The longest.
    pub longest_pause: Duration,
    /// What the pauses' jitter follows from; a simulation tells the same story again. None: the system's randomness.
    pub seed: Option<u64>,
}

impl Default for SenderSettings {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_mins(1),
            seed: None,
        }
    }
}

/// How long at most between two looks at the queue.
const LOOK: Duration = Duration::from_secs(10);
/// Failures in a row after which the destination itself is taken to be away, and left alone for a pause.
const AWAY: u32 = 3;

/// A running sender.
#[derive(Debug)]
pub struct Sender {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Sender {
    /// Finishes the request in flight and ends.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        finish(self.task, "sender").await;
    }
}

impl Engine {
    /// Starts a destination's sender. There must be one at a time.
    pub fn sender(
        &self,
        destination: Destination,
        transport: Arc<dyn Transport>,
        settings: SenderSettings,
    ) -> Sender {
        let (stop, stopped) = watch::channel(false);
        let run = Run {
            env: self.env().clone(),
            wake: self.env().waker(&destination),
            destination,
            transport,
            settings,
            lanes: HashMap::new(),
            turns: 0,
            guard: None,
            jitter: settings.seed.unwrap_or_else(|| getrandom::u64().unwrap_or(0)) | 1,
        };
        Sender {
            stop,
            task: tokio::spawn(run.run(stopped)),
        }
    }
}

/// A room's queue for this destination.
#[derive(Default)]
struct Lane {
    failures: u32,
    not_before: Option<Instant>,
    /// The number of its newest turn; 0 before the first.
    turn: u64,
}

struct Run {
    env: Arc<Env>,
    wake: Arc<tokio::sync::Notify>,
    destination: Destination,
    transport: Arc<dyn Transport>,
    settings: SenderSettings,
    lanes: HashMap<RoomKey, Lane>,
    /// Turns so far.
    turns: u64,
    guard: Option<Guard>,
    /// State of a xorshift generator, never zero.
    jitter: u64,
}

impl Run {
    /// Sends in each term in which this node orders.
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut terms = self.env.sequencer.terms();
        while !*stop.borrow() {
            let term = *terms.borrow_and_update();
            let Some(term) = term else {
                tokio::select! {
                    biased;
                    _ = terms.changed() => {}
                    _ = stop.changed() => {}
                }
                continue;
            };
            // The queue was somebody else's in between, and what was delivered must not be taken for undelivered.
            self.guard = None;
            self.lanes.clear();
            match self.env.sequencer.confirm(term).await {
                Ok(()) => self.send(term, &mut terms, &mut stop).await,
                Err(error) => {
                    tracing::warn!(destination = %self.destination, %error, "the outbox can't be sent yet");
                    tokio::time::sleep(self.settings.first_pause).await;
                }
            }
        }
    }

    async fn send(
        &mut self,
        term: u64,
        terms: &mut watch::Receiver<Option<u64>>,
        stop: &mut watch::Receiver<bool>,
    ) {
        let turns = Turns {
            env: self.env.clone(),
            destination: self.destination.clone(),
            transport: self.transport.clone(),
            stop: stop.clone(),
        };
        let width = self.destination.width();
        let mut running = FuturesUnordered::new();
        let mut busy: HashSet<RoomKey> = HashSet::new();
        let mut ready: VecDeque<RoomKey> = VecDeque::new();
        // Whether the outbox is worth a look, and when it is at the latest.
        let mut look = true;
        let mut away: Option<Instant> = None;
        // After a pause one room is enough to find out whether the destination is back.
        let mut probing = false;
        let mut failures_in_a_row = 0_u32;
        while !*stop.borrow() && *terms.borrow() == Some(term) {
            let now = Instant::now();
            if away.is_some_and(|until| until <= now) {
                away = None;
                probing = failures_in_a_row >= AWAY;
                failures_in_a_row = if probing { AWAY - 1 } else { 0 };
            }
            if look && ready.is_empty() {
                match self.rooms().await {
                    Ok(mut rooms) => {
                        look = false;
                        let waiting: HashSet<RoomKey> = rooms.iter().copied().collect();
                        self.lanes.retain(|room, _| waiting.contains(room));
                        // Who waits longest for a turn comes first, or a room that fails each time would be the only
                        // one that is ever tried after a pause.
                        rooms.sort_by_key(|room| self.lanes.get(room).map_or(0, |lane| lane.turn));
                        ready.extend(rooms);
                    }
                    Err(error) => {
                        tracing::error!(destination = %self.destination, %error, "the outbox can't be read");
                        away = Some(now + self.settings.first_pause);
                    }
                }
            }
            let width = if probing { 1 } else { width };
            while running.len() < width && away.is_none() {
                let Some(room) = ready.pop_front() else { break };
                let waits = self.lanes.get(&room).and_then(|lane| lane.not_before);
                if waits.is_none_or(|until| until <= now) && busy.insert(room) {
                    self.turns = self.turns.saturating_add(1);
                    self.lanes.entry(room).or_default().turn = self.turns;
                    running.push(turns.turn(room));
                }
            }
            // Whatever should have woken us and did not is found all the same, if late.
            let mut until = away.unwrap_or(now + LOOK);
            if away.is_none() && running.len() < width {
                let waiting = self.lanes.iter().filter(|(room, _)| !busy.contains(*room));
                until = waiting
                    .filter_map(|(_, lane)| lane.not_before)
                    .fold(until, Instant::min);
            }
            tokio::select! {
                biased;
                Some(first) = running.next() => {
                    // Rooms that are through by now are written down in one batch.
                    let mut ended = vec![first];
                    while let Some(Some(next)) = running.next().now_or_never() {
                        ended.push(next);
                    }
                    for (room, _) in &ended {
                        busy.remove(room);
                    }
                    match self.settle(ended.into_iter().map(|(_, turn)| turn)).await {
                        Ok(settled) => {
                            for Settled { progress, failed } in settled {
                                look |= progress;
                                failures_in_a_row = if failed { failures_in_a_row.saturating_add(1) } else { 0 };
                            }
                            if failures_in_a_row >= AWAY {
                                away = self.lanes.values().filter_map(|lane| lane.not_before).min();
                                ready.clear();
                            } else {
                                probing &= failures_in_a_row > 0;
                            }
                        }
                        Err(error) => {
                            // The guard may be spent; a new one fences whoever else believes to own this queue.
                            self.guard = None;
                            tracing::error!(destination = %self.destination, %error, "the outbox can't be read or written");
                            away = Some(Instant::now() + self.settings.first_pause);
                        }
                    }
                }
                () = tokio::time::sleep_until(until) => look = true,
                () = self.wake.notified() => {
                    look = true;
                    if self.env.was_revived(&self.destination) {
                        away = None;
                        failures_in_a_row = 0;
                        self.lanes.clear();
                    }
                }
                _ = terms.changed() => {}
                _ = stop.changed() => {}
            }
        }
        // What is in flight is finished and written down.
        while let Some((_, turn)) = running.next().await {
            if let Err(error) = self.settle([turn]).await {
                self.guard = None;
                tracing::error!(destination = %self.destination, %error, "the outbox can't be written");
            }
        }
    }

    /// Rooms with something to send.
    async fn rooms(&self) -> Result<Vec<RoomKey>, StoreError> {
        let prefix = self.destination.key();
        let mut rooms = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let mut scan = Scan::prefix(Space::Outbox, prefix).limit(1);
            if let Some(after) = &after {
                scan = scan.after(after);
            }
            let rows = self.env.store.scan(scan).await?;
            let Some(room) = rows.first().and_then(|(key, _)| room_of(key)) else {
                return Ok(rooms);
            };
            rooms.push(room);
            after = Some([&prefix[..], &room[..], &u64::MAX.to_be_bytes()[..]].concat());
        }
    }

    /// Forgets what turns have delivered.
    async fn settle(
        &mut self,
        turns: impl IntoIterator<Item = Result<Turn, StoreError>>,
    ) -> Result<Vec<Settled>, StoreError> {
        let mut settled = Vec::new();
        let mut done = Vec::new();
        // What was delivered is written down even if another room's queue can't be read.
        let mut unreadable = None;
        for turn in turns {
            let turn = match turn {
                Ok(turn) => turn,
                Err(error) => {
                    unreadable = Some(error);
                    continue;
                }
            };
            if !turn.done.is_empty() {
                let lane = self.lanes.entry(turn.room).or_default();
                (lane.failures, lane.not_before) = (0, None);
            }
            if let Some(wait) = &turn.retry {
                let pause = self.pause(turn.room, wait.wish);
                tracing::debug!(destination = %self.destination, pause_ms = pause.as_millis(), "a room waits");
            }
            settled.push(Settled {
                progress: turn.full || (!turn.done.is_empty() && turn.retry.is_none()),
                // A homeserver that limits one endpoint's rate is not away.
                failed: turn
                    .retry
                    .is_some_and(|wait| wait.wish.is_none() || self.destination != Destination::Homeserver),
            });
            done.extend(turn.done);
        }
        failpoint::hit("sender.after-send");
        if !done.is_empty() {
            let guard = match self.guard.take() {
                Some(guard) => guard,
                None => {
                    self.env
                        .store
                        .acquire(&Owner::Destination(self.destination.clone()).key())
                        .await?
                }
            };
            let mut batch = Batch::guarded(guard);
            for (key, dead) in &done {
                batch.delete(Space::Outbox, key);
                if let Some(dead) = dead {
                    let value = serde_json::to_vec(dead).unwrap_or_default();
                    batch.put(Space::DeadLetter, key, value);
                }
            }
            self.guard = self.env.store.commit(batch).await?.guard;
        }
        failpoint::hit("sender.after-cursor");
        unreadable.map_or(Ok(settled), Err)
    }

    fn pause(&mut self, room: RoomKey, wish: Option<Duration>) -> Duration {
        let lane = self.lanes.entry(room).or_default();
        lane.failures = lane.failures.saturating_add(1);
        let doubled = self
            .settings
            .first_pause
            .saturating_mul(1 << lane.failures.saturating_sub(1).min(16));
        let backoff = doubled.min(self.settings.longest_pause);
        // Between half and all of it, so that many rooms don't come back in one instant.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let [random, ..] = self.jitter.to_be_bytes();
        let jittered = backoff.mul_f64(0.5 + f64::from(random) / 510.0);
        let pause = match wish {
            None => jittered,
            // A homeserver's rate limits say exactly when the next request is allowed.
            Some(wish) if self.destination == Destination::Homeserver => wish.max(self.settings.first_pause),
            Some(wish) => wish.max(jittered),
        };
        lane.not_before = Some(Instant::now() + pause);
        pause
    }
}

/// What a turn came to.
struct Settled {
    /// Something was delivered: there may be more.
    progress: bool,
    /// It tells against the destination itself.
    failed: bool,
}

fn room_of(key: &[u8]) -> Option<[u8; 16]> {
    key.get(16..32)?.try_into().ok()
}
