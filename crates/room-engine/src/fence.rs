//! The fence of a provider that was restored from a backup.
//!
//! What happened after the backup was made is unknown to it, but not to others: clients may be epochs ahead. A hub that
//! went on from its old state would fork the group. So each room takes no handshakes until its *head* was compared with
//! what its peers know: as hub, every provider that takes part is asked for the newest epoch it has seen; as follower,
//! the hub is. A hub whose peers are ahead stays fenced until an operator accepts the loss. MIMI has no request for
//! this (`groupInfo` needs a member's signature), so it is an extension; peers that lack it leave the decision to the
//! operator. docs/decisions/0026.
//!
//! One-time KeyPackages of the backup may have been handed out since. None of them is handed out again.

use mimi_wire::codec::Decode as _;
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{HandshakeBundle, SubmitMessageRequest};
use mimi_wire::uri::{Domain, MimiUri};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use store::{Batch, Space, Store, StoreError};

use crate::command::{Reply, RequestContext, RoomCommand};
use crate::decision::Decision;
use crate::engine::{Engine, EngineError, Env};
use crate::owner::UriKey;
use crate::records::{RoomHead, RoomRecord, read};
use crate::refusal::Refusal;
use crate::room::{Records, RoomState, Scribe};
use delivery_service::{MessageRefusal, MessageSettings};

/// Where the fence is kept (space `Meta`).
const PLACE: &[u8] = b"engine.fence";
/// When a refused request may come again.
const RETRY: Duration = Duration::from_secs(5);

/// That this store comes from a backup.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Fence {
    /// When it was restored, Unix ms. Also its number: rooms remember up to which fence they are free.
    id: u64,
    /// When the backup was begun, Unix ms.
    made_at: u64,
    /// Somebody has said that whatever happened since may be lost.
    accepted: bool,
}

/// What marks a restored store as fenced; to be written in the step that makes it usable.
pub fn raise_fence(made_at: u64, now: u64, accept_rollback: bool) -> Batch {
    let fence = Fence {
        id: now,
        made_at,
        accepted: accept_rollback,
    };
    let mut batch = Batch::new();
    // Three numbers and a flag: this can't fail.
    batch.put(Space::Meta, PLACE, serde_json::to_vec(&fence).unwrap_or_default());
    batch
}

/// The fence as every worker sees it.
#[derive(Debug, Default)]
pub(crate) struct Fenced {
    fence: RwLock<Option<Fence>>,
    /// Up to which fence all rooms were found free.
    settled: AtomicU64,
}

impl Fenced {
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let fenced = Self::default();
        fenced.refresh(store).await?;
        Ok(fenced)
    }

    /// Reads it again: a node that joins opens on nothing, and is given the provider's store later.
    pub(crate) async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let fence = read(store, Space::Meta, PLACE).await?;
        *self.fence.write().unwrap_or_else(PoisonError::into_inner) = fence;
        Ok(())
    }

    fn fence(&self) -> Option<Fence> {
        *self.fence.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether rooms can be fenced at all.
    fn is_up(&self) -> bool {
        let settled = self.settled.load(Ordering::Relaxed);
        self.fence()
            .is_some_and(|fence| !fence.accepted && settled < fence.id)
    }

    /// Up to which fence a room that is free now is free.
    pub(crate) fn free(&self) -> u64 {
        self.fence().map_or(0, |fence| fence.id)
    }

    /// Whether a room is fenced.
    pub(crate) fn holds(&self, head: &RoomHead) -> bool {
        self.is_up() && head.unfenced < self.free()
    }

    /// Whether a one-time KeyPackage may have been handed out by the provider that this one was restored from.
    pub(crate) fn may_be_spent(&self, uploaded_at: u64) -> bool {
        self.fence().is_some_and(|fence| uploaded_at <= fence.made_at)
    }
}

/// Why a fenced room refuses.
pub(crate) fn refusal() -> Refusal {
    Refusal::Unavailable {
        retry_after: RETRY,
        reason:
            "this provider was restored from a backup, and what happened in the room since is not known yet"
                .to_owned(),
    }
}

/// A room that is fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencedRoom {
    /// The room.
    pub room: MimiUri,
    /// The epoch it was restored in.
    pub epoch: u64,
    /// The newest epoch that somebody has shown since, where it is a later one.
    pub ahead: Option<u64>,
    /// Who can tell: the hub, or the followers' providers. Empty where only own users take part.
    pub peers: BTreeSet<Domain>,
}

impl RoomState {
    fn is_fenced(&self, env: &Env) -> bool {
        self.records
            .as_ref()
            .is_some_and(|records| env.fence.holds(&records.head))
    }

    /// What a fenced room says, where that differs from what it says otherwise.
    pub(crate) fn behind_fence(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &RoomCommand,
    ) -> Option<Result<Decision, Refusal>> {
        if !self.is_fenced(env) {
            return None;
        }
        match command {
            RoomCommand::Update { actor, bundle } => {
                let bundle = HandshakeBundle::from_bytes(bundle).ok();
                let epoch = bundle.and_then(|bundle| bundle.proposal_or_commit().epoch());
                Some(self.shown(env, ctx, &actor.provider(), epoch.map(|epoch| epoch.0)))
            }
            RoomCommand::GroupInfo { .. }
            | RoomCommand::RouteClaim { .. }
            | RoomCommand::RecordClaim { .. } => Some(Err(refusal())),
            // A removal would be proposed to the group.
            RoomCommand::PortalRequest(_) if self.group.is_some() => Some(Err(refusal())),
            RoomCommand::Deliver { peer, request } => {
                let request = SubmitMessageRequest::from_bytes(request).ok()?;
                self.message_behind_fence(env, ctx, peer, &request)
            }
            RoomCommand::Submit { user, submission } => {
                let message = MlsMessage::from_bytes(&submission.message).ok()?;
                let request = SubmitMessageRequest::new(message, user.clone()).ok()?;
                self.message_behind_fence(env, ctx, &env.config.provider, &request)
            }
            _ => None,
        }
    }

    /// What the old state refuses may be right in the new one. What it accepts, and what is malformed, stays so.
    fn message_behind_fence(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        actor: &Domain,
        request: &SubmitMessageRequest,
    ) -> Option<Result<Decision, Refusal>> {
        let group = self.group.as_ref()?;
        match group.judge_message(actor, request, MessageSettings::default()) {
            Err(
                MessageRefusal::EpochInFuture { .. }
                | MessageRefusal::NotAParticipant(_)
                | MessageRefusal::Forbidden(_),
            ) => {
                let epoch = request.app_message().epoch().map(|epoch| epoch.0);
                Some(self.shown(env, ctx, actor, epoch))
            }
            _ => None,
        }
    }

    /// Somebody refers to an epoch. One that is later than ours is remembered, if it comes from a provider that takes
    /// part.
    fn shown(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        actor: &Domain,
        epoch: Option<u64>,
    ) -> Result<Decision, Refusal> {
        let records = self.known()?;
        let (Some(epoch), head) = (epoch, &records.head) else {
            return Err(refusal());
        };
        let takes_part = records.participants.keys().any(|user| user.domain() == *actor);
        if !takes_part || epoch <= head.epoch || head.ahead >= Some(epoch) {
            return Err(refusal());
        }
        let mut scribe = Scribe::new(env, ctx, records);
        scribe.head.ahead = Some(epoch);
        let (decision, changes) = scribe.finish(Reply::Fenced)?;
        self.take(changes);
        Ok(decision)
    }

    /// All who can tell have told; the newest epoch among theirs is this.
    pub(crate) fn compared(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        newest: u64,
    ) -> Result<Decision, Refusal> {
        let records = self.known()?;
        if !env.fence.holds(&records.head) {
            return Ok(Decision::reply(Reply::Done));
        }
        let newest = newest.max(records.head.ahead.unwrap_or_default());
        let behind = newest > records.head.epoch;
        let room = records.room.room.as_str();
        let mut scribe = Scribe::new(env, ctx, records);
        if behind && self.group.is_some() {
            if scribe.head.ahead == Some(newest) {
                return Ok(Decision::reply(Reply::Done));
            }
            tracing::error!(
                room,
                ours = scribe.head.epoch,
                newest,
                "the room has gone on since the backup"
            );
            scribe.head.ahead = Some(newest);
        } else {
            if behind {
                // The hub judges, so nothing can fork; members miss the commits in between and join anew.
                tracing::warn!(
                    room,
                    ours = scribe.head.epoch,
                    newest,
                    "commits since the backup are missing"
                );
            }
            tracing::info!(room, "the room's head was compared: it takes handshakes again");
            scribe.unfence();
        }
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }

    /// An operator says that what happened since may be lost.
    pub(crate) fn accept_rollback(&mut self, env: &Env, ctx: &RequestContext) -> Result<Decision, Refusal> {
        let records = self.known()?;
        if !env.fence.holds(&records.head) {
            return Ok(Decision::reply(Reply::Done));
        }
        tracing::warn!(
            request_id = %ctx.request_id, room = records.room.room.as_str(), epoch = records.head.epoch,
            ahead = records.head.ahead, "the rollback was accepted: the room takes handshakes again"
        );
        let mut scribe = Scribe::new(env, ctx, records);
        scribe.unfence();
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }
}

impl Scribe<'_> {
    /// The room's head is known to be the right one.
    pub(crate) fn unfence(&mut self) {
        self.head.unfenced = self.env.fence.free();
        self.head.ahead = None;
    }
}

impl Engine {
    /// The rooms that take no handshakes because the provider was restored from a backup.
    pub async fn fenced_rooms(&self) -> Result<Vec<FencedRoom>, EngineError> {
        let env = self.env();
        env.fence.refresh(env.store.as_ref()).await?;
        if !env.fence.is_up() {
            return Ok(Vec::new());
        }
        let fence = env.fence.free();
        let mut fenced = Vec::new();
        for room in self.room_uris().await? {
            let Some(records) = Records::load(env, UriKey::of(&room)).await? else {
                continue;
            };
            if !env.fence.holds(&records.head) {
                continue;
            }
            let own = &env.config.provider;
            let hub = room.domain();
            let peers = if hub == *own {
                records
                    .participants
                    .keys()
                    .map(MimiUri::domain)
                    .filter(|domain| domain != own)
                    .collect()
            } else {
                BTreeSet::from([hub])
            };
            fenced.push(FencedRoom {
                room,
                epoch: records.head.epoch,
                ahead: records.head.ahead,
                peers,
            });
        }
        if fenced.is_empty() {
            env.fence.settled.fetch_max(fence, Ordering::Relaxed);
        }
        Ok(fenced)
    }

    /// Refuses where a room is fenced: for what a follower would only pass on.
    pub async fn check_fence(&self, room: &MimiUri) -> Result<(), Refusal> {
        let env = self.env();
        env.fence.refresh(env.store.as_ref()).await?;
        if !env.fence.is_up() {
            return Ok(());
        }
        let head: Option<RoomHead> = read(env.store.as_ref(), Space::RoomHead, &UriKey::of(room).0).await?;
        match head {
            Some(head) if env.fence.holds(&head) => Err(refusal()),
            _ => Ok(()),
        }
    }

    /// The newest epoch known here, for a peer that was restored. Told to the hub, and to those who take part.
    pub async fn room_head(&self, room: &MimiUri, peer: &Domain) -> Result<u64, Refusal> {
        let records = Records::load(self.env(), UriKey::of(room)).await?;
        let records = records.ok_or(Refusal::Unknown { what: "room" })?;
        let takes_part = records.participants.keys().any(|user| user.domain() == *peer);
        if room.domain() != *peer && !(takes_part && room.domain() == self.env().config.provider) {
            return Err(Refusal::Unknown { what: "room" });
        }
        let env = self.env();
        env.fence.refresh(env.store.as_ref()).await?;
        if env.fence.holds(&records.head) {
            // A head that is in doubt itself settles nothing.
            return Err(refusal());
        }
        Ok(records.head.epoch)
    }

    /// Tells a fenced room the newest epoch that any of its peers knows. All of them have to have been asked.
    pub async fn compare_head(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        newest: u64,
    ) -> Result<(), Refusal> {
        self.room_command(ctx, room, RoomCommand::Compared { newest })
            .await
            .map(drop)
    }

    /// Lets one room, or all, take handshakes again although peers may have gone on. Returns the rooms that were
    /// fenced.
    pub async fn accept_rollback(
        &self,
        ctx: RequestContext,
        room: Option<&MimiUri>,
    ) -> Result<Vec<MimiUri>, Refusal> {
        if let Some(room) = room {
            let known: Option<RoomRecord> =
                read(self.env().store.as_ref(), Space::Room, &UriKey::of(room).0).await?;
            known.ok_or(Refusal::Unknown { what: "room" })?;
        }
        let mut freed = Vec::new();
        let fenced = self.fenced_rooms().await.map_err(|EngineError::Store(e)| e)?;
        for one in fenced {
            if room.is_none_or(|room| *room == one.room) {
                self.room_command(ctx.clone(), &one.room, RoomCommand::AcceptRollback)
                    .await?;
                freed.push(one.room);
            }
        }
        Ok(freed)
    }
}
