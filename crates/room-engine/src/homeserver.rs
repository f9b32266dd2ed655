//! What the homeserver pushes: made durable first, handed on afterwards.
//!
//! A transaction is answered once its events are in the inbox. A background task hands each entry to the room or
//! user it is about; the batch that acts on an entry also deletes it, so a crash in between repeats nothing and
//! loses nothing.

use serde::{Deserialize, Serialize};
use store::{Scan, Space};

use crate::carrier;
use crate::command::{HomeserverCommand, InboxKey, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::outbox::{Destination, OutboxBody};
use crate::owner::half_sha256;
use crate::records::OutboxRecord;
use crate::refusal::Refusal;

/// An event as the homeserver pushes it, reduced to what the engine acts on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundEvent {
    /// Matrix room id.
    pub room_id: String,
    /// Event id.
    pub event_id: String,
    /// Matrix user id.
    pub sender: String,
    /// Event type.
    pub event_type: String,
    /// State key, if it is a state event.
    pub state_key: Option<String>,
    /// Content.
    pub content: serde_json::Value,
}

/// An inbox entry (space `HsInbox`, key: position).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InboxRecord {
    pub(crate) request_id: String,
    pub(crate) event: InboundEvent,
}

/// The homeserver's owner: its inbox.
pub(crate) struct HomeserverState {
    next: u64,
}

impl HomeserverState {
    pub(crate) async fn load(env: &Env) -> Result<Self, Refusal> {
        // The counter is a record of its own: an empty inbox must not start again at a position that a room's
        // batch may still be about to delete.
        let next = match env.store.get(Space::Cursor, INBOX_NEXT).await? {
            None => 1,
            Some(bytes) => crate::records::parse(Space::Cursor, INBOX_NEXT, &bytes)?,
        };
        Ok(Self { next })
    }

    pub(crate) async fn decide(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &HomeserverCommand,
    ) -> Result<Decision, Refusal> {
        match command {
            HomeserverCommand::Transaction { txn_id, events } => {
                self.transaction(env, ctx, txn_id, events).await
            }
            HomeserverCommand::Discard { entry } => {
                let mut decision = Decision::reply(Reply::Done);
                decision.delete(Space::HsInbox, entry.0.to_be_bytes().to_vec());
                Ok(decision)
            }
            HomeserverCommand::JoinInvited { entry, room_id } => {
                let mut decision = Decision::reply(Reply::Done);
                decision.delete(Space::HsInbox, entry.0.to_be_bytes().to_vec());
                // Rooms of the homeserver that are no portals have queues of their own; positions come from the
                // inbox, which only grows.
                Env::queue(
                    &mut decision,
                    &OutboxRecord {
                        destination: Destination::Homeserver,
                        seq: entry.0,
                        request_id: ctx.request_id.clone(),
                        queued_at: env.clock.now_ms(),
                        octets: None,
                        body: OutboxBody::JoinAsBot {
                            room_id: room_id.clone(),
                        },
                        room: room_id.clone(),
                    },
                )?;
                Ok(decision)
            }
        }
    }

    async fn transaction(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        txn_id: &str,
        events: &[InboundEvent],
    ) -> Result<Decision, Refusal> {
        let mut decision = Decision::reply(Reply::Done);
        let txn_key = half_sha256(txn_id.as_bytes()).to_vec();
        if env.store.get(Space::HsTransaction, &txn_key).await?.is_some() {
            metrics::counter!("causeway_homeserver_repeated_total", "what" => "transaction").increment(1);
            return Ok(decision);
        }
        let mut next = self.next;
        let mut seen = std::collections::BTreeSet::new();
        for event in events.iter().filter(|event| env.concerns_us(event)) {
            let event_key = half_sha256(event.event_id.as_bytes()).to_vec();
            if !seen.insert(event_key.clone())
                || env.store.get(Space::PortalEvent, &event_key).await?.is_some()
            {
                metrics::counter!("causeway_homeserver_repeated_total", "what" => "event").increment(1);
                continue;
            }
            decision.put_bytes(Space::PortalEvent, event_key, Vec::new());
            let record = InboxRecord {
                request_id: ctx.request_id.clone(),
                event: event.clone(),
            };
            decision.put(Space::HsInbox, next.to_be_bytes().to_vec(), &record)?;
            next = next.saturating_add(1);
        }
        decision.put(Space::HsTransaction, txn_key, &env.clock.now_ms())?;
        decision.put(Space::Cursor, INBOX_NEXT.to_vec(), &next)?;
        decision.inbox = next != self.next;
        self.next = next;
        Ok(decision)
    }
}

/// Where the next inbox position is kept (space `Cursor`).
const INBOX_NEXT: &[u8] = b"homeserver-inbox-next";

impl Env {
    /// Whether an event is one that anything here acts on; the rest is not stored.
    fn concerns_us(&self, event: &InboundEvent) -> bool {
        let Some(homeserver) = &self.config.homeserver else {
            return false;
        };
        if event.sender == homeserver.bot {
            return false;
        }
        match event.event_type.as_str() {
            carrier::MESSAGE | carrier::LOGIN => event.state_key.is_none(),
            "m.room.member" => {
                event.state_key.as_deref() == Some(homeserver.bot.as_str())
                    && event.content.get("membership").and_then(|m| m.as_str()) == Some("invite")
            }
            _ => false,
        }
    }

    /// One page of the inbox, oldest first.
    pub(crate) async fn inbox_page(&self, limit: usize) -> Result<Vec<(InboxKey, InboxRecord)>, Refusal> {
        let rows = self.store.scan(Scan::all(Space::HsInbox).limit(limit)).await?;
        let mut page = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let position: [u8; 8] = key
                .as_ref()
                .try_into()
                .map_err(|_| Refusal::internal("an inbox key of another length"))?;
            page.push((
                InboxKey(u64::from_be_bytes(position)),
                crate::records::parse(Space::HsInbox, &key, &value)?,
            ));
        }
        Ok(page)
    }
}
