//! The sender: one per destination, one request in flight.
//!
//! Entries of a room go in order; a room that can't be delivered waits with growing pauses and holds up no other
//! room. A delivery is forgotten in a batch of its own; a crash between the delivery and that batch repeats the
//! delivery with the same octets.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Batch, Guard, Scan, Space, StoreError, failpoint};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{DeadLetterRecord, Delivery, Destination, OutboxEntry, Transport};
use crate::Engine;
use crate::carrier::{Octets, Payload};
use crate::engine::Env;
use crate::owner::Owner;
use crate::records::{OutboxRecord, parse};
use crate::worker::finish;

/// Pauses of a sender.
#[derive(Clone, Copy, Debug)]
pub struct SenderSettings {
    /// After the first failure; doubled by each further one.
    pub first_pause: Duration,
    /// The longest.
    pub longest_pause: Duration,
}

impl Default for SenderSettings {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_mins(1),
        }
    }
}

/// Entries of one room that go before the next room has its turn.
const TURN: usize = 32;
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
            guard: None,
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
}

struct Run {
    env: Arc<Env>,
    wake: Arc<tokio::sync::Notify>,
    destination: Destination,
    transport: Arc<dyn Transport>,
    settings: SenderSettings,
    lanes: HashMap<[u8; 16], Lane>,
    guard: Option<Guard>,
}

/// How a pass over all rooms ended.
enum Pass {
    /// Something was delivered: look again at once.
    Progress,
    /// Nothing to do before this instant (or before somebody wakes us).
    Wait(Option<Instant>),
}

impl Run {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let until = match self.pass(&stop).await {
                Ok(Pass::Progress) => continue,
                Ok(Pass::Wait(until)) => until,
                Err(error) => {
                    // The guard may be spent; a new one fences whoever else believes to own this queue.
                    self.guard = None;
                    tracing::error!(destination = %self.destination, %error, "the outbox can't be read or written");
                    Some(Instant::now() + self.settings.first_pause)
                }
            };
            // Whatever should have woken us and did not is found all the same, if late.
            let until = until.unwrap_or_else(|| Instant::now() + LOOK);
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.wake.notified() => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn pass(&mut self, stop: &watch::Receiver<bool>) -> Result<Pass, StoreError> {
        let rooms = self.rooms().await?;
        self.lanes.retain(|room, _| rooms.contains(room));
        let mut progress = false;
        let mut next: Option<Instant> = None;
        let mut failures_in_a_row = 0_u32;
        for room in rooms {
            if *stop.borrow() {
                return Ok(Pass::Wait(None));
            }
            let lane = self.lanes.entry(room).or_default();
            if let Some(not_before) = lane.not_before.filter(|t| *t > Instant::now()) {
                next = Some(next.map_or(not_before, |n| n.min(not_before)));
                continue;
            }
            let (delivered, failed) = self.turn(room).await?;
            progress |= delivered > 0;
            if failed {
                failures_in_a_row = failures_in_a_row.saturating_add(1);
                if let Some(not_before) = self.lanes.get(&room).and_then(|lane| lane.not_before) {
                    next = Some(next.map_or(not_before, |n| n.min(not_before)));
                }
                if failures_in_a_row >= AWAY {
                    break;
                }
            } else {
                failures_in_a_row = 0;
            }
        }
        if progress && failures_in_a_row < AWAY {
            Ok(Pass::Progress)
        } else {
            Ok(Pass::Wait(next))
        }
    }

    /// Rooms with something to send.
    async fn rooms(&self) -> Result<Vec<[u8; 16]>, StoreError> {
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

    /// Sends a room's oldest entries; returns how many are done, and whether one failed.
    async fn turn(&mut self, room: [u8; 16]) -> Result<(usize, bool), StoreError> {
        let prefix = [&self.destination.key()[..], &room[..]].concat();
        let rows = self
            .env
            .store
            .scan(Scan::prefix(Space::Outbox, prefix).limit(TURN))
            .await?;
        let mut done: Vec<(Bytes, Option<DeadLetterRecord>)> = Vec::new();
        let mut failed = false;
        for (key, value) in rows {
            let entry = self.entry(&key, &value).await?;
            let what = entry.body.name();
            let started = Instant::now();
            let delivery = self.transport.deliver(&entry).await;
            metrics::histogram!("causeway_delivery_seconds", "what" => what)
                .record(started.elapsed().as_secs_f64());
            match delivery {
                Delivery::Done => {
                    tracing::info!(
                        request_id = %entry.request_id, destination = %self.destination, room = %entry.room,
                        seq = entry.seq, what, "delivered"
                    );
                    count(what, "done");
                    done.push((key, None));
                    self.lanes.insert(room, Lane::default());
                }
                Delivery::Refused { code, reason } => {
                    tracing::error!(
                        request_id = %entry.request_id, destination = %self.destination, room = %entry.room,
                        seq = entry.seq, what, code, reason, "refused for good, kept as a dead letter"
                    );
                    count(what, "refused");
                    let refused_at = self.env.clock.now_ms();
                    done.push((
                        key,
                        Some(DeadLetterRecord {
                            entry,
                            refused_at,
                            code,
                            reason,
                        }),
                    ));
                }
                Delivery::Retry { after, reason } => {
                    count(what, "retry");
                    let pause = self.pause(room, after);
                    tracing::warn!(
                        request_id = %entry.request_id, destination = %self.destination, room = %entry.room,
                        seq = entry.seq, what, reason, pause_ms = pause.as_millis(), "not delivered yet"
                    );
                    failed = true;
                    break;
                }
            }
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
        Ok((done.len(), failed))
    }

    async fn entry(&self, key: &[u8], value: &[u8]) -> Result<OutboxEntry, StoreError> {
        let record: OutboxRecord = parse(Space::Outbox, key, value)?;
        let octets = match record.octets {
            None => Vec::new(),
            Some(Payload::Inline { data }) => data.0,
            Some(Payload::ByHash { sha256, .. }) => self.env.blob(&sha256).await?.to_vec(),
        };
        Ok(OutboxEntry {
            destination: record.destination,
            room: record.room,
            seq: record.seq,
            request_id: record.request_id,
            queued_at: record.queued_at,
            body: record.body,
            octets: Octets(octets),
        })
    }

    fn pause(&mut self, room: [u8; 16], wish: Option<Duration>) -> Duration {
        let lane = self.lanes.entry(room).or_default();
        lane.failures = lane.failures.saturating_add(1);
        let doubled = self
            .settings
            .first_pause
            .saturating_mul(1 << lane.failures.saturating_sub(1).min(16));
        let backoff = doubled.min(self.settings.longest_pause);
        // Between half and all of it, so that many rooms don't come back in one instant.
        let mut random = [0; 1];
        let _ = getrandom::fill(&mut random);
        let jittered = backoff.mul_f64(0.5 + f64::from(random[0]) / 510.0);
        let pause = wish.map_or(jittered, |wish| wish.max(jittered));
        lane.not_before = Some(Instant::now() + pause);
        pause
    }
}

fn room_of(key: &[u8]) -> Option<[u8; 16]> {
    key.get(16..32)?.try_into().ok()
}

fn count(what: &'static str, outcome: &'static str) {
    metrics::counter!("causeway_deliveries_total", "what" => what, "outcome" => outcome).increment(1);
}
