//! The concurrent lane at a node that is cut off from the one that orders.
//!
//! A message is judged against what this node has applied, kept in its own store (space `PendingMessage`), and accepted:
//! time and frank are final. Once the node that orders can be reached it takes the message in, under the verdict that
//! was given, and distributes it; by the request's identity exactly once, however often it is handed over. A user who
//! was removed on the other side may so speak until the cut heals.

use mimi_wire::codec::{Decode as _, UnixMillis};
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{SubmitMessageRequest, SubmitMessageResponse};
use mimi_wire::uri::{Domain, MimiUri};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Batch, Scan, Space};

use crate::Engine;
use crate::carrier::{INLINE_LIMIT, Octets, Payload, Sha256Hash, SubmissionState};
use crate::command::{RequestContext, RoomCommand, Submission};
use crate::owner::UriKey;
use crate::records::{OutcomeRecord, SubmissionRecord, outcome_key, read, submission_key};
use crate::refusal::Refusal;
use crate::room::{RoomState, Verdict};

/// A message accepted here that is still to be distributed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingRecord {
    pub(crate) v: u8,
    pub(crate) room: MimiUri,
    pub(crate) from: Sender,
    /// The peer's request, or the user's message.
    pub(crate) octets: Payload,
    pub(crate) verdict: Verdict,
    pub(crate) request_id: String,
}

/// Where a message is kept in [`Space::PendingMessage`]: by what it was handed in as.
const MESSAGE: &[u8] = b"m";
/// Its place among those that this node accepted (times may be the same) to where it is kept.
const PLACE: &[u8] = b"p";
/// Messages handed over in one go.
const PAGE: usize = 200;

/// Accepting aside, one message at a time.
#[derive(Debug)]
pub(crate) struct Aside {
    /// The next message's place, where it is known.
    next: Arc<tokio::sync::Mutex<Option<u64>>>,
    /// Whether something may wait to be distributed.
    waiting: AtomicBool,
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            next: Arc::default(),
            waiting: AtomicBool::new(true),
        }
    }
}

/// Who handed it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Sender {
    /// A follower.
    Peer { peer: Domain },
    /// A user of this provider, under an id of its client's.
    User { user: MimiUri, id: String },
}

/// A message to be handed to the node that orders.
#[derive(Clone, Debug)]
pub struct PendingMessage {
    /// What [`Engine::take_in`] of the other node reads.
    pub record: Vec<u8>,
    /// The room: what waits of one room goes in order.
    pub room: MimiUri,
    place: Vec<u8>,
    key: Vec<u8>,
}

impl Sender {
    fn key(&self, room: UriKey, octets: &[u8]) -> Vec<u8> {
        match self {
            Self::Peer { peer } => outcome_key(room, &format!("peer:{}", peer.as_str()), octets),
            Self::User { user, id } => submission_key(room, user, id),
        }
    }
}

impl Engine {
    /// Accepts a follower's message while this node does not order.
    pub(crate) async fn deliver_aside(
        &self,
        ctx: &RequestContext,
        room: &MimiUri,
        peer: &Domain,
        octets: Vec<u8>,
    ) -> Result<SubmitMessageResponse, Refusal> {
        let request = SubmitMessageRequest::from_bytes(&octets)
            .map_err(|e| Refusal::malformed("SubmitMessageRequest", e))?;
        let from = Sender::Peer { peer: peer.clone() };
        let before = from.key(UriKey::of(room), &octets);
        let store = self.env().store.as_ref();
        if let Some(outcome) = read::<OutcomeRecord>(store, Space::Outcome, &before).await? {
            return SubmitMessageResponse::from_bytes(&outcome.response.0).map_err(Refusal::internal);
        }
        match self.accept_aside(ctx, room, from, peer, &request, octets).await? {
            Ok(verdict) => Ok(SubmitMessageResponse::Accepted {
                accepted_timestamp: UnixMillis(verdict.at),
                frank: verdict.frank()?,
            }),
            Err(response) => Ok(response),
        }
    }

    /// Accepts an own user's message while this node does not order.
    pub(crate) async fn submit_aside(
        &self,
        ctx: &RequestContext,
        room: &MimiUri,
        user: &MimiUri,
        submission: Submission,
    ) -> Result<SubmissionState, Refusal> {
        if submission.from_portal.is_some() {
            return Err(Refusal::unavailable(
                "what comes from the portal waits for the node that orders",
            ));
        }
        let place = submission_key(UriKey::of(room), user, &submission.id);
        let before: Option<SubmissionRecord> =
            read(self.env().store.as_ref(), Space::Submission, &place).await?;
        if let Some(before) = before.filter(|b| !matches!(b.state, SubmissionState::Refused { .. })) {
            return Ok(before.state);
        }
        let message =
            MlsMessage::from_bytes(&submission.message).map_err(|e| Refusal::malformed("message", e))?;
        let request =
            SubmitMessageRequest::new(message, user.clone()).map_err(|e| Refusal::malformed("message", e))?;
        let from = Sender::User {
            user: user.clone(),
            id: submission.id,
        };
        let own = self.config().provider.clone();
        match self
            .accept_aside(ctx, room, from, &own, &request, submission.message)
            .await?
        {
            Ok(verdict) => Ok(verdict.state()),
            // The node that orders says why, and for which epoch.
            Err(_) => Err(Refusal::unavailable(
                "only the node that orders refuses a message for good",
            )),
        }
    }

    async fn accept_aside(
        &self,
        ctx: &RequestContext,
        room: &MimiUri,
        from: Sender,
        actor: &Domain,
        request: &SubmitMessageRequest,
        octets: Vec<u8>,
    ) -> Result<Result<Verdict, SubmitMessageResponse>, Refusal> {
        let env = self.env();
        env.sequencer.accepts_aside()?;
        let key = [MESSAGE, &from.key(UriKey::of(room), &octets)].concat();
        let mut next = env.aside.next.clone().lock_owned().await;
        if let Some(before) = read::<PendingRecord>(env.local.as_ref(), Space::PendingMessage, &key).await? {
            return Ok(Ok(before.verdict));
        }
        let state = RoomState::load(env, room).await?;
        let judged = match &from {
            Sender::User { user, .. } => state.speaks(user),
            Sender::Peer { .. } => Ok(()),
        }
        .and_then(|()| state.judge(env, actor, request));
        let verdict = match judged {
            Ok(Ok(verdict)) => verdict,
            // The room, or who has joined it, may not have got here yet.
            Err(Refusal::Unknown { .. }) => return Err(only_there()),
            Err(refusal) => return Err(refusal),
            Ok(Err(refusal)) => {
                let response = refusal.to_response();
                if matches!(response, SubmitMessageResponse::EpochTooOld { .. }) {
                    return Ok(Err(response));
                }
                // On the other side it may be otherwise by now.
                return Err(only_there());
            }
        };
        let octets = if octets.len() <= INLINE_LIMIT {
            Payload::Inline { data: Octets(octets) }
        } else {
            let payload = Payload::ByHash {
                sha256: Sha256Hash::of(&octets),
                size: u32::try_from(octets.len()).unwrap_or(u32::MAX),
            };
            env.local.blob_put(octets.into()).await?;
            payload
        };
        let record = PendingRecord {
            v: 1,
            room: room.clone(),
            from,
            octets,
            verdict: verdict.clone(),
            request_id: ctx.request_id.clone(),
        };
        // Unknown again until it is certain whether this one is taken.
        let place = match next.take() {
            Some(place) => place,
            None => self.next_place().await?,
        };
        let mut batch = Batch::new();
        let value = serde_json::to_vec(&record).map_err(Refusal::internal)?;
        batch.expect_absent(Space::PendingMessage, &key);
        batch.put(Space::PendingMessage, &key, value);
        batch.put(Space::PendingMessage, [PLACE, &place.to_be_bytes()].concat(), key);
        // A task of its own: who asked may go away while it is written, and what is written has to be distributed.
        let env = env.clone();
        let writing = tokio::spawn(async move {
            let written = env.local.commit(batch).await;
            // Also after an error, which need not mean that nothing was written.
            env.aside.waiting.store(true, Ordering::Release);
            *next = written.is_ok().then(|| place.saturating_add(1));
            written
        });
        writing.await.map_err(Refusal::internal)??;
        metrics::counter!("causeway_messages_total", "lane" => "cut_off").increment(1);
        tracing::info!(request_id = %ctx.request_id, room = %room.as_str(), "accepted while cut off");
        Ok(Ok(verdict))
    }

    async fn next_place(&self) -> Result<u64, Refusal> {
        let last = Scan::prefix(Space::PendingMessage, PLACE).reverse().limit(1);
        let last = self.env().local.scan(last).await?;
        let place = last
            .first()
            .and_then(|(key, _)| key.get(PLACE.len()..)?.try_into().ok());
        Ok(place.map_or(0, |place| u64::from_be_bytes(place).saturating_add(1)))
    }

    /// Whether there may be messages that were accepted here and are still to be distributed.
    pub fn has_pending(&self) -> bool {
        self.env().aside.waiting.load(Ordering::Acquire)
    }

    /// Messages accepted here that are still to be distributed: the first ones, in the order in which they were
    /// accepted.
    pub async fn pending(&self) -> Result<Vec<PendingMessage>, Refusal> {
        let env = self.env();
        let places = Scan::prefix(Space::PendingMessage, PLACE).limit(PAGE);
        let places = {
            // Nobody accepts one meanwhile.
            let _next = env.aside.next.lock().await;
            let places = env.local.scan(places).await?;
            env.aside.waiting.store(!places.is_empty(), Ordering::Release);
            places
        };
        let mut found = Vec::new();
        for (place, key) in places {
            let Some(mut record) =
                read::<PendingRecord>(env.local.as_ref(), Space::PendingMessage, &key).await?
            else {
                continue;
            };
            if let Payload::ByHash { .. } = record.octets {
                let octets = env.octets(&record.octets).await?;
                record.octets = Payload::Inline { data: Octets(octets) };
            }
            found.push(PendingMessage {
                place: place.to_vec(),
                key: key.to_vec(),
                record: serde_json::to_vec(&record).map_err(Refusal::internal)?,
                room: record.room,
            });
        }
        Ok(found)
    }

    /// Forgets a message that the node that orders has taken in.
    pub async fn forget_pending(&self, message: &PendingMessage) -> Result<(), Refusal> {
        let mut batch = Batch::new();
        batch.delete(Space::PendingMessage, &message.key);
        batch.delete(Space::PendingMessage, &message.place);
        self.env().local.commit(batch).await?;
        Ok(())
    }

    /// Takes in and distributes a message that another node (or this one) accepted while it was cut off. Once.
    pub async fn take_in(&self, record: &[u8]) -> Result<(), Refusal> {
        let record: PendingRecord =
            serde_json::from_slice(record).map_err(|e| Refusal::malformed("pending message", e))?;
        let ctx = RequestContext {
            request_id: record.request_id.clone(),
        };
        let room = record.room.clone();
        self.room_command(ctx, &room, RoomCommand::TakeIn(Box::new(record)))
            .await
            .map(drop)
    }
}

fn only_there() -> Refusal {
    Refusal::unavailable("only the node that orders can know")
}

impl PendingRecord {
    /// Octets as they were handed in; by hash only in the store of the node that accepted it.
    pub(crate) fn handed_in(&self) -> Result<&[u8], Refusal> {
        match &self.octets {
            Payload::Inline { data } => Ok(&data.0),
            Payload::ByHash { .. } => Err(Refusal::malformed("pending message", "octets by hash")),
        }
    }

    /// The request that was judged.
    pub(crate) fn request(&self) -> Result<SubmitMessageRequest, Refusal> {
        let octets = self.handed_in()?;
        match &self.from {
            Sender::Peer { .. } => SubmitMessageRequest::from_bytes(octets)
                .map_err(|e| Refusal::malformed("SubmitMessageRequest", e)),
            Sender::User { user, .. } => {
                let message = MlsMessage::from_bytes(octets).map_err(|e| Refusal::malformed("message", e))?;
                SubmitMessageRequest::new(message, user.clone()).map_err(|e| Refusal::malformed("message", e))
            }
        }
    }

    /// What the peer was answered.
    pub(crate) fn response(&self) -> Result<SubmitMessageResponse, Refusal> {
        Ok(SubmitMessageResponse::Accepted {
            accepted_timestamp: UnixMillis(self.verdict.at),
            frank: self.verdict.frank()?,
        })
    }

    /// The key under which the first outcome is remembered.
    pub(crate) fn remembered(&self, room: UriKey) -> Result<Vec<u8>, Refusal> {
        Ok(self.from.key(room, self.handed_in()?))
    }
}
