//! What the homeserver pushes: made durable first, handed on afterwards.
//!
//! A transaction is answered once its events are in the inbox. A background task hands each entry to the room or
//! user it is about; the batch that acts on an entry also deletes it, so a crash in between repeats nothing and
//! loses nothing.

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::{Scan, Space};

use crate::carrier::{self, Sha256Hash};
use crate::command::{HomeserverCommand, InboxKey, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::{Engine, Env};
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
    /// The homeserver's time, Unix ms.
    #[serde(default)]
    pub origin_server_ts: u64,
    /// Content.
    pub content: serde_json::Value,
}

/// An inbox entry (space `HsInbox`, key: position).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InboxRecord {
    pub(crate) request_id: String,
    /// When it came, Unix ms.
    #[serde(default)]
    pub(crate) at: u64,
    pub(crate) event: InboundEvent,
}

/// A transaction of the homeserver.
#[derive(Clone, Debug, Default)]
pub struct InboundTransaction {
    /// The homeserver's number for it. A homeserver that was restarted or restored counts from an earlier number again, so
    /// this alone says nothing about what is inside.
    pub txn_id: String,
    /// SHA-256 over what identifies its contents (event ids, to-device messages), not over octets: each attempt carries
    /// other ages.
    pub fingerprint: [u8; 32],
    /// Its events, in the homeserver's order.
    pub events: Vec<InboundEvent>,
    /// Events that no reading makes sense of.
    pub set_aside: Vec<SetAside>,
}

impl InboundTransaction {
    /// A transaction that holds nothing but these events.
    pub fn of(txn_id: &str, events: Vec<InboundEvent>) -> Self {
        let mut hash = Sha256::new();
        for event in &events {
            hash.update(event.event_id.as_bytes());
            hash.update([0]);
        }
        Self {
            txn_id: txn_id.to_owned(),
            fingerprint: hash.finalize().into(),
            events,
            set_aside: Vec::new(),
        }
    }
}

/// An event that nothing could be done with, and why. Kept for operators (space `HsSetAside`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// When, Unix ms. Given by the engine.
    #[serde(default)]
    pub at: u64,
    /// Event id, where it has one.
    pub event_id: Option<String>,
    /// Matrix room id, where it has one.
    pub room_id: Option<String>,
    /// For programs.
    pub code: String,
    /// For people.
    pub reason: String,
    /// The event as it came, up to a bound.
    pub event: String,
}

impl SetAside {
    fn too_large(event: &InboundEvent, octets: usize) -> Self {
        Self {
            at: 0,
            event_id: Some(event.event_id.clone()),
            room_id: Some(event.room_id.clone()),
            code: "too_large".to_owned(),
            reason: format!("{octets} octets are more than a record may have"),
            event: format!("a {} of {}", event.event_type, event.sender),
        }
    }
}

/// What became of a transaction or of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Events that are new and of concern.
    pub events: usize,
    /// The same number came before with other contents: a homeserver on SQLite counts from 1 again after a restart, one
    /// that was restored from a backup from where it was then.
    pub renumbered: bool,
}

/// A transaction that was taken in (space `HsTransaction`, key: half SHA-256 of its id).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TransactionRecord {
    pub(crate) at: u64,
    fingerprint: Sha256Hash,
}

/// How far a portal's timeline has been compared (space `PortalCheck`, key: Matrix room id).
#[derive(Debug, Serialize, Deserialize)]
struct CheckRecord {
    at: u64,
    up_to: String,
}

/// How many set-aside events are kept.
const SET_ASIDE_KEPT: u64 = 1000;
/// Octets kept of one of them.
const SET_ASIDE_OCTETS: usize = 16 * 1024;

/// The homeserver's owner: its inbox.
pub(crate) struct HomeserverState {
    next: u64,
    set_aside_next: u64,
}

impl HomeserverState {
    pub(crate) async fn load(env: &Env) -> Result<Self, Refusal> {
        // The counters are records of their own: an empty inbox must not start again at a position that a room's
        // batch may still be about to delete.
        let counter = async |key: &[u8]| -> Result<u64, Refusal> {
            Ok(crate::records::read(env.store.as_ref(), Space::Cursor, key)
                .await?
                .unwrap_or(1))
        };
        Ok(Self {
            next: counter(INBOX_NEXT).await?,
            set_aside_next: counter(SET_ASIDE_NEXT).await?,
        })
    }

    pub(crate) async fn decide(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &HomeserverCommand,
    ) -> Result<Decision, Refusal> {
        match command {
            HomeserverCommand::Transaction(transaction) => self.transaction(env, ctx, transaction).await,
            HomeserverCommand::Compared {
                portal,
                up_to,
                events,
            } => {
                let mut decision = Decision::reply(Reply::Done);
                let events = self.take(env, ctx, &mut decision, events, "comparison").await?;
                decision.put(
                    Space::PortalCheck,
                    portal.as_bytes().to_vec(),
                    &CheckRecord {
                        at: env.clock.now_ms(),
                        up_to: up_to.clone(),
                    },
                )?;
                decision.reply = Reply::Taken(Taken {
                    events,
                    renumbered: false,
                });
                Ok(decision)
            }
            HomeserverCommand::Discard { entry, why } => {
                let mut decision = Decision::reply(Reply::Done);
                decision.delete(Space::HsInbox, entry.0.to_be_bytes().to_vec());
                self.set_aside(env, &mut decision, why.as_slice())?;
                Ok(decision)
            }
            HomeserverCommand::JoinInvited {
                entry,
                room_id,
                direct,
            } => {
                let body = OutboxBody::JoinAsBot {
                    room_id: room_id.clone(),
                };
                let mut decision = act(env, ctx, *entry, room_id, body)?;
                if let Some(user) = direct {
                    decision.put(Space::BotRoom, room_id.as_bytes().to_vec(), user)?;
                }
                Ok(decision)
            }
            HomeserverCommand::Conversation { room_id, user } => {
                let mut decision = Decision::reply(Reply::Done);
                decision.put(Space::BotRoom, room_id.as_bytes().to_vec(), user)?;
                Ok(decision)
            }
            HomeserverCommand::Act { entry, room_id, body } => act(env, ctx, *entry, room_id, body.clone()),
        }
    }

    async fn transaction(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        transaction: &InboundTransaction,
    ) -> Result<Decision, Refusal> {
        let mut decision = Decision::reply(Reply::Taken(Taken::default()));
        let txn_key = half_sha256(transaction.txn_id.as_bytes()).to_vec();
        let before: Option<TransactionRecord> =
            crate::records::read(env.store.as_ref(), Space::HsTransaction, &txn_key).await?;
        let fingerprint = Sha256Hash(transaction.fingerprint);
        let renumbered = match before {
            None => false,
            Some(known) if known.fingerprint == fingerprint => {
                metrics::counter!("causeway_homeserver_repeated_total", "what" => "transaction").increment(1);
                return Ok(decision);
            }
            // Dropping it would lose what is inside; its events are known by their own ids.
            Some(_) => true,
        };
        let events = self
            .take(env, ctx, &mut decision, &transaction.events, "event")
            .await?;
        self.set_aside(env, &mut decision, &transaction.set_aside)?;
        decision.put(
            Space::HsTransaction,
            txn_key,
            &TransactionRecord {
                at: env.clock.now_ms(),
                fingerprint,
            },
        )?;
        decision.reply = Reply::Taken(Taken { events, renumbered });
        Ok(decision)
    }

    /// Puts the events into the inbox that are new and of concern; returns how many.
    async fn take(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        decision: &mut Decision,
        events: &[InboundEvent],
        repeated: &'static str,
    ) -> Result<usize, Refusal> {
        let first = self.next;
        let mut too_large = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut taken = 0;
        let ours: Vec<_> = events
            .iter()
            .filter(|event| env.concerns_us(event))
            .map(|event| (event, half_sha256(event.event_id.as_bytes()).to_vec()))
            .collect();
        // All at once: each may wait for a thread of its own.
        let known = try_join_all(ours.iter().map(|(_, key)| env.store.get(Space::PortalEvent, key))).await?;
        for ((event, event_key), known) in ours.into_iter().zip(known) {
            if !seen.insert(event_key.clone()) || known.is_some() {
                metrics::counter!("causeway_homeserver_repeated_total", "what" => repeated).increment(1);
                continue;
            }
            let record = InboxRecord {
                request_id: ctx.request_id.clone(),
                at: env.clock.now_ms(),
                event: event.clone(),
            };
            let octets = serde_json::to_vec(&record).map_err(Refusal::internal)?;
            decision.put_bytes(Space::PortalEvent, event_key, Vec::new());
            if octets.len() > store::MAX_VALUE {
                // No event that Matrix servers agree on is as large. It must not hold up the others.
                too_large.push(SetAside::too_large(event, octets.len()));
                continue;
            }
            decision.put_bytes(Space::HsInbox, self.next.to_be_bytes().to_vec(), octets);
            self.next = self.next.saturating_add(1);
            taken += 1;
        }
        if self.next != first {
            decision.put(Space::Cursor, INBOX_NEXT.to_vec(), &self.next)?;
            decision.inbox = true;
        }
        self.set_aside(env, decision, &too_large)?;
        Ok(taken)
    }

    fn set_aside(&mut self, env: &Env, decision: &mut Decision, all: &[SetAside]) -> Result<(), Refusal> {
        for one in all {
            let mut kept = one.clone();
            kept.at = env.clock.now_ms();
            let end = kept.event.floor_char_boundary(SET_ASIDE_OCTETS);
            kept.event.truncate(end);
            let place = self.set_aside_next % SET_ASIDE_KEPT;
            decision.put(Space::HsSetAside, place.to_be_bytes().to_vec(), &kept)?;
            self.set_aside_next = self.set_aside_next.saturating_add(1);
        }
        if !all.is_empty() {
            decision.put(Space::Cursor, SET_ASIDE_NEXT.to_vec(), &self.set_aside_next)?;
        }
        Ok(())
    }
}

/// Consumes an inbox entry and queues what follows from it. Rooms of the homeserver that are no portals have queues of
/// their own; positions come from the inbox, which only grows.
fn act(
    env: &Env,
    ctx: &RequestContext,
    entry: InboxKey,
    room_id: &str,
    body: OutboxBody,
) -> Result<Decision, Refusal> {
    let mut decision = Decision::reply(Reply::Done);
    decision.delete(Space::HsInbox, entry.0.to_be_bytes().to_vec());
    decision.queue(OutboxRecord {
        destination: Destination::Homeserver,
        seq: entry.0,
        request_id: ctx.request_id.clone(),
        queued_at: env.clock.now_ms(),
        octets: None,
        body,
        room: room_id.to_owned(),
    })?;
    Ok(decision)
}

/// Where the next inbox position is kept (space `Cursor`).
const INBOX_NEXT: &[u8] = b"homeserver-inbox-next";
/// Where the next place for a set-aside event is kept (space `Cursor`).
const SET_ASIDE_NEXT: &[u8] = b"homeserver-set-aside-next";

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
            "m.room.member" if event.state_key.as_deref() == Some(homeserver.bot.as_str()) => {
                event.content.get("membership").and_then(|m| m.as_str()) == Some("invite")
            }
            _ => crate::engine::concerns_portals(event),
        }
    }

    /// One page of the inbox, oldest first, behind a position.
    pub(crate) async fn inbox_page(
        &self,
        after: Option<InboxKey>,
        limit: usize,
    ) -> Result<Vec<(InboxKey, InboxRecord)>, Refusal> {
        let mut scan = Scan::all(Space::HsInbox).limit(limit);
        if let Some(after) = after {
            scan = scan.after(after.0.to_be_bytes());
        }
        let rows = self.store.scan(scan).await?;
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

impl Engine {
    /// A transaction of the homeserver. `Ok` is the 200: its events are durable; they are acted on afterwards.
    pub async fn take(&self, ctx: RequestContext, transaction: InboundTransaction) -> Result<Taken, Refusal> {
        let set_aside = transaction.set_aside.len();
        let txn_id = transaction.txn_id.clone();
        let reply = self
            .homeserver_command(ctx, HomeserverCommand::Transaction(transaction))
            .await?;
        let taken = taken(&reply)?;
        count_set_aside(set_aside);
        if taken.renumbered {
            metrics::counter!("causeway_homeserver_renumbered_total").increment(1);
            tracing::info!(
                txn_id,
                "the homeserver counts its transactions from an earlier number again, as some do after a restart; what \
                 is inside counts, not the number"
            );
        }
        Ok(taken)
    }

    /// The same for a transaction that holds events alone.
    pub async fn transaction(
        &self,
        ctx: RequestContext,
        txn_id: &str,
        events: Vec<InboundEvent>,
    ) -> Result<(), Refusal> {
        self.take(ctx, InboundTransaction::of(txn_id, events))
            .await
            .map(drop)
    }

    /// A portal's timeline was read up to `up_to` and holds these events. What the homeserver never pushed is taken in;
    /// answers with how many.
    pub async fn compared(
        &self,
        ctx: RequestContext,
        portal: &str,
        up_to: &str,
        events: Vec<InboundEvent>,
    ) -> Result<usize, Refusal> {
        let command = HomeserverCommand::Compared {
            portal: portal.to_owned(),
            up_to: up_to.to_owned(),
            events,
        };
        let reply = self.homeserver_command(ctx, command).await?;
        Ok(taken(&reply)?.events)
    }

    /// The event up to which a portal's timeline has been compared.
    pub async fn compared_up_to(&self, portal: &str) -> Result<Option<String>, Refusal> {
        let store = self.env().store.as_ref();
        let record: Option<CheckRecord> =
            crate::records::read(store, Space::PortalCheck, portal.as_bytes()).await?;
        Ok(record.map(|record| record.up_to))
    }

    /// Events that nothing could be done with, newest first.
    pub async fn set_aside(&self) -> Result<Vec<SetAside>, Refusal> {
        let rows = self
            .env()
            .store
            .scan(Scan::all(Space::HsSetAside).limit(usize::try_from(SET_ASIDE_KEPT).unwrap_or(usize::MAX)))
            .await?;
        let mut all: Vec<SetAside> = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            all.push(crate::records::parse(Space::HsSetAside, &key, &value)?);
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.at));
        Ok(all)
    }
}

/// Tells how much was set aside.
pub(crate) fn count_set_aside(events: usize) {
    if events > 0 {
        metrics::counter!("causeway_homeserver_set_aside_total")
            .increment(u64::try_from(events).unwrap_or(u64::MAX));
    }
}

fn taken(reply: &Reply) -> Result<Taken, Refusal> {
    match reply {
        Reply::Taken(taken) => Ok(*taken),
        other => Err(Refusal::internal(format!("unexpected reply {other:?}"))),
    }
}
