//! A room: judged by the delivery service where this provider is the hub, taken in from the hub where it follows.
//!
//! Every accepted thing becomes a carrier event of the room's graph, a feed entry for local users, and outbox
//! entries, in one batch.

use bytes::Bytes;
use mimi_wire::uri::MimiUri;
use std::collections::BTreeMap;
use std::time::Duration;
use store::{Scan, Space, StoreError};

use crate::command::{Reply, RequestContext, RoomCommand};
use crate::decision::Decision;
use crate::engine::Env;
use crate::graphs::{GraphCommand, LoadedGraph, Work};
use crate::owner::UriKey;
use crate::records::{ParticipantRecord, RoomHead, RoomRecord, SnapshotPlace, parse, read};
use crate::refusal::Refusal;

mod claims;
mod create;
mod face;
mod follower;
mod graph;
mod message;
mod order;
mod portal;
mod rebuild;
mod report;
mod requests;
mod scribe;
mod submission;
mod update;

pub(crate) use create::room_content;
pub(crate) use face::RoomFace;
pub use face::Thresholds;
pub(crate) use message::Verdict;
pub(crate) use rebuild::About;
pub use requests::PortalAct;
pub(crate) use requests::PortalRequest;
use scribe::Changes;
pub(crate) use scribe::Scribe;

/// How often a room is read again because it changed meanwhile.
const TORN: u32 = 100;

/// What the room's worker keeps in memory.
pub(crate) struct RoomState {
    uri: MimiUri,
    pub(crate) records: Option<Records>,
    /// The group, where this provider is the hub.
    pub(crate) group: Option<delivery_service::Group>,
    /// At a follower: since when the hub's messages are turned away because one before them is missing.
    ahead_since: Option<u64>,
    /// The graph's index, once another server had to do with it.
    graph: Option<Box<LoadedGraph>>,
}

/// A room's records, as the store has them.
pub(crate) struct Records {
    pub(crate) room: RoomRecord,
    pub(crate) head: RoomHead,
    pub(crate) participants: BTreeMap<MimiUri, ParticipantRecord>,
}

impl Records {
    /// All records of a room as they were at one time; none if there is no such room.
    pub(crate) async fn load(env: &Env, id: UriKey) -> Result<Option<Self>, StoreError> {
        let mut look = Look::at(env, id).await?;
        loop {
            let found = Self::read(env, id).await;
            if look.was_whole(env).await? {
                return found;
            }
        }
    }

    /// The same, where the caller sees to it that all is of one time ([`Look`]).
    pub(crate) async fn read(env: &Env, id: UriKey) -> Result<Option<Self>, StoreError> {
        let store = env.store.as_ref();
        let Some(room) = read::<RoomRecord>(store, Space::Room, &id.0).await? else {
            return Ok(None);
        };
        let head = read(store, Space::RoomHead, &id.0)
            .await?
            .ok_or_else(|| StoreError::Corrupt {
                space: Some(Space::RoomHead),
                key: id.0.to_vec(),
                why: "the room is there and its head is gone".to_owned(),
            })?;
        let mut participants = BTreeMap::new();
        for (key, value) in store.scan(Scan::prefix(Space::Participant, id.0)).await? {
            let participant: ParticipantRecord = parse(Space::Participant, &key, &value)?;
            participants.insert(participant.user.clone(), participant);
        }
        Ok(Some(Self {
            room,
            head,
            participants,
        }))
    }
}

/// Several reads of a room, to be of one time: who does not order reads while batches of the one who does land. Each batch
/// changes the head, and no head comes back.
pub(crate) struct Look {
    id: UriKey,
    head: Option<Bytes>,
    looks: u32,
}

impl Look {
    /// Before the first read.
    pub(crate) async fn at(env: &Env, id: UriKey) -> Result<Self, StoreError> {
        let head = env.store.get(Space::RoomHead, &id.0).await?;
        Ok(Self { id, head, looks: 0 })
    }

    /// After the last one: whether all is of one time. If not, also where a read failed, all has to be read again.
    pub(crate) async fn was_whole(&mut self, env: &Env) -> Result<bool, StoreError> {
        let now = env.store.get(Space::RoomHead, &self.id.0).await?;
        if self.head == now {
            return Ok(true);
        }
        self.head = now;
        self.looks = self.looks.saturating_add(1);
        if self.looks > TORN {
            return Err(StoreError::Unavailable {
                retry_after: Duration::from_secs(1),
                why: "the room changes faster than it can be read".into(),
            });
        }
        Ok(false)
    }
}

impl RoomState {
    pub(crate) async fn load(env: &Env, uri: &MimiUri) -> Result<Self, Refusal> {
        let id = UriKey::of(uri);
        let mut look = Look::at(env, id).await?;
        let (records, snapshot) = loop {
            let found = Self::read(env, id).await;
            if look.was_whole(env).await? {
                break found?;
            }
        };
        let group = match snapshot {
            None => None,
            Some(bytes) => Some(delivery_service::Group::restore(&bytes).map_err(Refusal::internal)?),
        };
        Ok(Self {
            uri: uri.clone(),
            records,
            group,
            ahead_since: None,
            graph: None,
        })
    }

    /// The records, and the group's snapshot.
    async fn read(env: &Env, id: UriKey) -> Result<(Option<Records>, Option<Bytes>), StoreError> {
        let records = Records::read(env, id).await?;
        let place = records
            .as_ref()
            .and_then(|records| records.head.snapshot.as_ref());
        let snapshot = match place {
            None => None,
            Some(SnapshotPlace::Inline) => env.store.get(Space::Snapshot, &id.0).await?,
            Some(SnapshotPlace::Blob(hash)) => Some(env.blob(hash).await?),
        };
        Ok((records, snapshot))
    }

    pub(crate) async fn decide(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &RoomCommand,
    ) -> Result<Decision, Refusal> {
        let decision = self.decide_room(env, ctx, command).await?;
        if let Some(graph) = &mut self.graph {
            for octets in decision.events() {
                let pdu =
                    event_graph::Pdu::parse_trusted(octets, graph.version()).map_err(Refusal::internal)?;
                graph.follow(&pdu);
            }
        }
        Ok(decision)
    }

    /// What another server, or the part that speaks to other servers, asks of the room's graph.
    pub(crate) async fn graph(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &GraphCommand,
    ) -> Result<Decision, Refusal> {
        let id = self.id();
        let known = self.known()?;
        let (mut room, mut head) = (known.room.clone(), known.head.clone());
        let before = room.graph.clone();
        if self.graph.is_none() {
            self.graph = Some(Box::new(LoadedGraph::load(env, id, &room.graph).await?));
        }
        let graph = self.graph.as_mut().ok_or_else(|| Refusal::internal("no graph"))?;
        let mut decision = Decision::reply(Reply::Done);
        let mut work = Work {
            env,
            ctx,
            record: &mut room.graph,
            head: &mut head.graph,
            outbox_next: &mut head.outbox_next,
            outbox_room: self.uri.as_str(),
            decision: &mut decision,
        };
        let reply = graph.handle(&mut work, command).await?;
        decision.reply = Reply::Graph(Box::new(reply));
        if !decision.is_read() {
            decision.put(Space::RoomHead, id.0.to_vec(), &head)?;
            if room.graph != before {
                decision.put(Space::Room, id.0.to_vec(), &room)?;
            }
            if let Some(records) = &mut self.records {
                records.room = room;
                records.head = head;
            }
        }
        Ok(decision)
    }

    async fn decide_room(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &RoomCommand,
    ) -> Result<Decision, Refusal> {
        if let Some(decision) = self.behind_fence(env, ctx, command) {
            return decision;
        }
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
            RoomCommand::FollowerUpdated {
                who,
                bundle,
                accepted_at,
            } => self.follower_updated(env, ctx, who, bundle, *accepted_at),
            RoomCommand::RouteClaim {
                actor,
                requesting_user,
                target,
            } => self.route_claim(env, actor, requesting_user, target),
            RoomCommand::RecordClaim { claimed } => self.record_claim(env, claimed),
            RoomCommand::Report { actor, report } => self.report(env, ctx, actor, report).await,
            RoomCommand::GroupInfo { actor, request } => self.group_info(env, actor, request),
            RoomCommand::TakeIn(pending) => self.take_in(env, ctx, pending).await,
            RoomCommand::PortalCreated { portal } => self.portal_created(env, ctx, portal),
            RoomCommand::Card { who, card } => self.card(env, ctx, who, card),
            RoomCommand::RefuseSubmission {
                user,
                id,
                refusal,
                entry,
            } => self.refuse_submission(env, ctx, user, id, refusal, *entry),
            RoomCommand::PortalRequest(request) => self.portal_request(env, ctx, request).await,
            RoomCommand::SyncPortal { why, audit } => self.sync_again(env, ctx, why.as_deref(), *audit),
            RoomCommand::PortalMoved { old, new } => self.portal_moved(env, ctx, old, new),
            RoomCommand::PortalClosed { portal } => self.portal_closed(env, ctx, portal),
            RoomCommand::Unbridge => self.unbridge(env, ctx),
            RoomCommand::UpgradePortal { version } => self.upgrade_portal(env, ctx, version),
            RoomCommand::Bridge => self.bridge(env, ctx),
            RoomCommand::Compared { newest } => self.compared(env, ctx, *newest),
            RoomCommand::Rebuild { graph, dry } => self.rebuild(env, ctx, graph, *dry).await,
            RoomCommand::AcceptRollback => self.accept_rollback(env, ctx),
        }
    }

    /// Whether there is no such room.
    pub(crate) fn is_vacant(&self) -> bool {
        self.records.is_none()
    }

    fn id(&self) -> UriKey {
        UriKey::of(&self.uri)
    }

    pub(crate) fn known(&self) -> Result<&Records, Refusal> {
        self.records.as_ref().ok_or(Refusal::Unknown { what: "room" })
    }

    /// Takes over what a decision changed.
    pub(crate) fn take(&mut self, changes: Changes) {
        self.records = changes.onto(self.records.take());
    }

    fn hub_group(&self) -> Result<&delivery_service::Group, Refusal> {
        self.group.as_ref().ok_or(Refusal::Unknown { what: "room" })
    }
}
