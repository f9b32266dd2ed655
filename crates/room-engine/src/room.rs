//! A room: judged by the delivery service where this provider is the hub, taken in from the hub where it follows.
//!
//! Every accepted thing becomes a carrier event of the room's graph, a feed entry for local users, and outbox
//! entries, in one batch.

use mimi_wire::uri::MimiUri;
use store::Space;

use crate::command::{RequestContext, RoomCommand};
use crate::decision::Decision;
use crate::engine::Env;
use crate::owner::UriKey;
use crate::records::{RoomRecord, SnapshotPlace, read};
use crate::refusal::Refusal;

mod claims;
mod create;
mod follower;
mod graph;
mod message;
mod portal;
mod scribe;
mod submission;
mod update;

/// What the room's worker keeps in memory.
pub(crate) struct RoomState {
    uri: MimiUri,
    record: Option<RoomRecord>,
    /// The group, where this provider is the hub.
    group: Option<delivery_service::Group>,
}

impl RoomState {
    pub(crate) async fn load(env: &Env, uri: &MimiUri) -> Result<Self, Refusal> {
        let id = UriKey::of(uri);
        let record: Option<RoomRecord> = read(env.store.as_ref(), Space::Room, &id.0).await?;
        let snapshot = match record.as_ref().and_then(|record| record.snapshot.as_ref()) {
            None => None,
            Some(SnapshotPlace::Inline) => env.store.get(Space::Snapshot, &id.0).await?,
            Some(SnapshotPlace::Blob(hash)) => Some(env.blob(hash).await?),
        };
        let group = match snapshot {
            None => None,
            Some(bytes) => Some(delivery_service::Group::restore(&bytes).map_err(Refusal::internal)?),
        };
        Ok(Self {
            uri: uri.clone(),
            record,
            group,
        })
    }

    pub(crate) async fn decide(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &RoomCommand,
    ) -> Result<Decision, Refusal> {
        match command {
            RoomCommand::Create {
                who,
                group_info,
                ratchet_tree,
            } => self.create(env, ctx, who, group_info, ratchet_tree),
            RoomCommand::Update { actor, bundle } => self.update(env, ctx, actor, bundle).await,
            RoomCommand::Deliver { peer, request } => self.deliver(env, ctx, peer, request).await,
            RoomCommand::Submit { user, submission } => self.submit(env, ctx, user, submission).await,
            RoomCommand::SubmissionOutcome { submission, response } => {
                self.submission_outcome(env, ctx, submission, response).await
            }
            RoomCommand::Notify { peer, body } => self.notified(env, ctx, peer, body).await,
            RoomCommand::FollowerUpdated { who, bundle } => self.follower_updated(env, ctx, who, bundle),
            RoomCommand::RouteClaim {
                actor,
                requesting_user,
                target,
            } => self.route_claim(env, actor, requesting_user, target),
            RoomCommand::RecordClaim { claimed } => self.record_claim(env, claimed),
            RoomCommand::GroupInfo { actor, request } => self.group_info(env, actor, request),
            RoomCommand::PortalCreated { portal } => self.portal_created(env, ctx, portal),
        }
    }

    /// Whether there is no such room.
    pub(crate) fn is_vacant(&self) -> bool {
        self.record.is_none()
    }

    fn id(&self) -> UriKey {
        UriKey::of(&self.uri)
    }

    fn known(&self) -> Result<&RoomRecord, Refusal> {
        self.record.as_ref().ok_or(Refusal::Unknown { what: "room" })
    }

    fn hub_group(&self) -> Result<&delivery_service::Group, Refusal> {
        self.group.as_ref().ok_or(Refusal::Unknown { what: "room" })
    }
}
