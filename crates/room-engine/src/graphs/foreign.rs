//! A room that another server made, as its own owner.

use event_graph::{RoomVersion, ids::server_of_room};
use std::collections::{BTreeMap, BTreeSet};
use store::Space;

use super::command::{GraphCommand, GraphReply};
use super::loaded::{LoadedGraph, Work};
use super::records::ForeignRecord;
use crate::command::{Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::owner::UriKey;
use crate::records::{GraphHead, GraphRecord, read};
use crate::refusal::Refusal;

/// What the owner's worker keeps in memory.
pub(crate) struct ForeignState {
    room_id: String,
    record: Option<ForeignRecord>,
    graph: Option<Box<LoadedGraph>>,
}

impl ForeignState {
    pub(crate) async fn load(env: &Env, room_id: &str) -> Result<Self, Refusal> {
        let key = UriKey::of_text(room_id);
        Ok(Self {
            room_id: room_id.to_owned(),
            record: read(env.store.as_ref(), Space::GraphRoom, &key.0).await?,
            graph: None,
        })
    }

    pub(crate) fn is_vacant(&self) -> bool {
        self.record.is_none()
    }

    pub(crate) async fn decide(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &GraphCommand,
    ) -> Result<Decision, Refusal> {
        let key = UriKey::of_text(&self.room_id);
        let mut decision = Decision::reply(Reply::Done);
        let mut record = match (&self.record, command) {
            (Some(record), _) => record.clone(),
            (None, GraphCommand::Establish { version }) => self.establish(env, *version)?,
            (None, _) => return Err(Refusal::Unknown { what: "room" }),
        };
        if matches!(command, GraphCommand::Establish { .. }) {
            decision.put(Space::GraphRoom, key.0.to_vec(), &record)?;
            decision.reply = Reply::Graph(Box::new(GraphReply::Done));
            self.record = Some(record);
            return Ok(decision);
        }
        if self.graph.is_none() {
            self.graph = Some(Box::new(LoadedGraph::load(env, key, &record.graph).await?));
        }
        let Some(graph) = &mut self.graph else {
            return Err(Refusal::internal("no graph"));
        };
        let mut work = Work {
            env,
            ctx,
            record: &mut record.graph,
            head: &mut record.head,
            outbox_next: &mut record.outbox_next,
            outbox_room: &self.room_id,
            decision: &mut decision,
        };
        let reply = graph.handle(&mut work, command).await?;
        decision.reply = Reply::Graph(Box::new(reply));
        if !decision.is_read() {
            record.joined = record.graph.joined;
            decision.put(Space::GraphRoom, key.0.to_vec(), &record)?;
            self.record = Some(record);
        }
        Ok(decision)
    }

    fn establish(&self, env: &Env, version: RoomVersion) -> Result<ForeignRecord, Refusal> {
        let named = event_graph::EventId::from_room_id(&self.room_id);
        let fits = if version.rules().room_id_is_create_hash {
            named.is_some()
        } else {
            server_of_room(&self.room_id).is_some()
        };
        if !fits {
            return Err(Refusal::malformed("room id", "not one of this room version"));
        }
        Ok(ForeignRecord {
            v: 1,
            graph: GraphRecord {
                room_id: self.room_id.clone(),
                room_version: version.as_str().to_owned(),
                create: named.map(|id| id.to_string()).unwrap_or_default(),
                power_levels: String::new(),
                member: String::new(),
                servers: BTreeSet::new(),
                joined: false,
            },
            head: GraphHead::default(),
            outbox_next: BTreeMap::new(),
            joined: false,
            created_at: env.clock.now_ms(),
        })
    }
}
