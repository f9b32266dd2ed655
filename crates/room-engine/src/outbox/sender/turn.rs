//! A room's turn: its oldest entries go, one after the other.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use store::{Scan, Space, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::{DeadLetterRecord, Delivery, Destination, OutboxEntry, Transport};
use crate::carrier::{Octets, Payload};
use crate::engine::Env;
use crate::records::{OutboxRecord, parse};

/// Entries of one room that go before its turn ends and is written down.
const TURN: usize = 50;

pub(super) type RoomKey = [u8; 16];

/// How a room's turn ended.
pub(super) struct Turn {
    pub(super) room: RoomKey,
    /// What is delivered, or refused for good.
    pub(super) done: Vec<(Bytes, Option<DeadLetterRecord>)>,
    /// An entry that has to wait.
    pub(super) retry: Option<Wait>,
    /// Entries after which the turn ended, though there may be more.
    pub(super) full: bool,
}

/// An entry could not be delivered now.
pub(super) struct Wait {
    /// How long the destination wishes to be left alone, if it says so.
    pub(super) wish: Option<Duration>,
}

/// What a room's turn needs.
pub(super) struct Turns {
    pub(super) env: Arc<Env>,
    pub(super) destination: Destination,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Turns {
    pub(super) async fn turn(&self, room: RoomKey) -> (RoomKey, Result<Turn, StoreError>) {
        (room, self.deliver(room).await)
    }

    /// Sends a room's oldest entries, one after the other.
    async fn deliver(&self, room: RoomKey) -> Result<Turn, StoreError> {
        let prefix = [&self.destination.key()[..], &room[..]].concat();
        let rows = self
            .env
            .store
            .scan(Scan::prefix(Space::Outbox, prefix).limit(TURN))
            .await?;
        let mut turn = Turn {
            room,
            full: rows.len() == TURN,
            done: Vec::new(),
            retry: None,
        };
        for chunk in rows.chunks(self.transport.batch().max(1)) {
            if *self.stop.borrow() && !turn.done.is_empty() {
                break;
            }
            let entries = match self.entries(chunk).await {
                Ok(entries) => entries,
                // What went before is written down first, or it would be sent again; the next turn begins here.
                Err(_) if !turn.done.is_empty() => break,
                Err(error) => return Err(error),
            };
            let whole = entries.len() == chunk.len();
            let started = Instant::now();
            let mut deliveries = self.transport.deliver_all(&entries).await.into_iter();
            let took = started.elapsed().as_secs_f64();
            for ((key, _), entry) in chunk.iter().zip(entries) {
                // A transport stops at the first entry that it can't get rid of.
                let delivery = deliveries.next().unwrap_or(Delivery::Retry {
                    after: None,
                    reason: "one before it was not delivered".to_owned(),
                });
                metrics::histogram!("causeway_delivery_seconds", "what" => entry.body.name()).record(took);
                if !self.note(&mut turn, key, entry, delivery) {
                    return Ok(turn);
                }
            }
            if !whole {
                break;
            }
        }
        Ok(turn)
    }

    /// Notes how an entry fared; false if it and what follows is to be tried again.
    fn note(&self, turn: &mut Turn, key: &Bytes, entry: OutboxEntry, delivery: Delivery) -> bool {
        let what = entry.body.name();
        match delivery {
            Delivery::Done => {
                tracing::info!(
                    request_id = %entry.request_id, destination = %self.destination, room = %entry.room,
                    seq = entry.seq, what, "delivered"
                );
                count(what, "done");
                turn.done.push((key.clone(), None));
                true
            }
            Delivery::Refused { code, reason } => {
                tracing::error!(
                    request_id = %entry.request_id, destination = %self.destination, room = %entry.room,
                    seq = entry.seq, what, code, reason, "refused for good, kept as a dead letter"
                );
                count(what, "refused");
                let dead = DeadLetterRecord {
                    entry,
                    refused_at: self.env.clock.now_ms(),
                    code,
                    reason,
                };
                turn.done.push((key.clone(), Some(dead)));
                true
            }
            Delivery::Retry { after, reason } => {
                count(what, "retry");
                tracing::warn!(
                    request_id = %entry.request_id, destination = %self.destination, room = %entry.room,
                    seq = entry.seq, what, reason, wish_ms = after.map(|wish| wish.as_millis()), "not delivered yet"
                );
                turn.retry = Some(Wait { wish: after });
                turn.full = false;
                false
            }
        }
    }

    /// Entries up to the first that can't be read.
    async fn entries(&self, rows: &[(Bytes, Bytes)]) -> Result<Vec<OutboxEntry>, StoreError> {
        let mut entries = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            match self.entry(key, value).await {
                Ok(entry) => entries.push(entry),
                Err(error) if entries.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(entries)
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
}

fn count(what: &'static str, outcome: &'static str) {
    metrics::counter!("causeway_deliveries_total", "what" => what, "outcome" => outcome).increment(1);
}
