//! Founding a room of which this provider is the hub.

use delivery_service::{Group, View};
use mimi_wire::codec::Decode as _;
use mimi_wire::components::{RoomMetaData, component_id};
use mimi_wire::mls::GroupInfo;
use mimi_wire::uri::MimiUri;
use serde_json::json;

use super::face::RoomFace;
use super::scribe::{Entry, Scribe};
use super::{RoomState, graph};
use crate::carrier::{self, Decimal, HandshakeKind, Mode, Octets};
use crate::command::{ClientActor, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::records::{LogRecord, PortalState, ROOM_VERSION, RoomHead, RoomRecord};
use crate::refusal::Refusal;

impl RoomState {
    pub(super) fn create(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        who: &ClientActor,
        group_info: &[u8],
        ratchet_tree: &[u8],
    ) -> Result<Decision, Refusal> {
        if let Some(records) = &self.records {
            // The same creator asking for the same group again missed the first answer.
            let group = self.hub_group()?;
            let same = group.epoch().0 == 0
                && group.group_info() == group_info
                && group.role(&who.user, View::Committed).0 != 0;
            return if same {
                Ok(Decision::reply(Reply::Room(Box::new(env.view(records)))))
            } else {
                Err(Refusal::Conflict { what: "the room" })
            };
        }
        let group = Group::found(&env.hub(), &self.uri, &who.user, group_info, ratchet_tree)
            .map_err(|refusal| Refusal::malformed("first GroupInfo", refusal))?;
        let group_id = group.group_id().as_bytes().to_vec();
        let mut scribe = Scribe::found(env, ctx, &self.uri, Some(group_id), room_name(group_info))?;
        let mut entry = Entry::new(HandshakeKind::Founding, group.epoch().0, group_info.to_vec());
        entry.ratchet_tree = Some(ratchet_tree.to_vec());
        scribe.handshake(&entry)?;
        for (user, role) in group.participants(View::Effective) {
            scribe.role(user, role.0)?;
        }
        scribe.face_of(&group)?;
        let first = scribe.head.feed_next;
        scribe.admit(&who.user, first)?;
        scribe.want_portal(&who.user)?;
        scribe.snapshot(&group)?;
        let (mut decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        self.group = Some(group);
        decision.reply = Reply::Room(Box::new(env.view(self.known()?)));
        Ok(decision)
    }
}

/// The name in the group's room metadata.
fn room_name(group_info: &[u8]) -> Option<String> {
    let metadata: RoomMetaData = GroupInfo::from_bytes(group_info)
        .ok()?
        .app_data()?
        .ok()?
        .get_as(component_id::ROOM_METADATA)?
        .ok()?;
    (!metadata.room_name.is_empty()).then_some(metadata.room_name)
}

/// Content of a room's `org.causeway.room`, in its graph and in its portal.
pub(crate) fn room_content(record: &RoomRecord) -> carrier::Room {
    carrier::Room {
        room: record.room.as_str().to_owned(),
        hub: record.room.domain().as_str().to_owned(),
        group_id: record.group_id.clone().unwrap_or_default(),
        mode: Mode::Opaque,
    }
}

impl<'a> Scribe<'a> {
    /// Begins a room that this provider has not seen before, with a graph of its own.
    pub(super) fn found(
        env: &'a Env,
        ctx: &'a RequestContext,
        room: &MimiUri,
        group_id: Option<Vec<u8>>,
        name: Option<String>,
    ) -> Result<Self, Refusal> {
        let now = env.clock.now_ms();
        let about = json!({
            "room": room.as_str(),
            "hub": room.domain().as_str(),
            "group_id": Octets(group_id.clone().unwrap_or_default()),
            "protocol": "mls10",
            "sequencers": [env.config.node_name],
        });
        let graph = graph::found(env, &about, now)?;
        let record = RoomRecord {
            v: ROOM_VERSION,
            room: room.clone(),
            name,
            group_id: group_id.map(Octets),
            created_at: now,
            graph: graph.record,
            portal: PortalState::None,
            face: RoomFace::default(),
        };
        let head = RoomHead {
            graph: graph.head,
            log: LogRecord {
                term: 1,
                seq: 0,
                prev: None,
            },
            feed_next: 1,
            unfenced: env.fence.free(),
            ..RoomHead::default()
        };
        let mut scribe = Self::on_nothing(env, ctx, record, head);
        for event in &graph.events {
            scribe.pdu(event)?;
        }
        scribe.write_room_state()?;
        Ok(scribe)
    }
}

impl Scribe<'_> {
    /// The `org.causeway.room` state event.
    pub(super) fn write_room_state(&mut self) -> Result<(), Refusal> {
        let content = self.room_content();
        self.event(carrier::ROOM, Some(""), &content).map(drop)
    }

    pub(super) fn room_content(&self) -> carrier::Room {
        room_content(&self.room)
    }

    /// Writes the role that a user has now in the group's effective view, where it is another one than before.
    pub(super) fn role(&mut self, user: &MimiUri, role: u32) -> Result<(), Refusal> {
        let participant = self.participant_mut(user);
        if participant.role == role {
            return Ok(());
        }
        participant.role = role;
        let state_key = carrier::participant_state_key(user.as_str());
        let content = carrier::Participant {
            user: user.as_str().to_owned(),
            role,
        };
        self.event(carrier::PARTICIPANT, Some(&state_key), &content)
            .map(drop)
    }

    /// The acceptance time as carrier events have it.
    pub(super) fn accepted_at(&self) -> Decimal {
        Decimal(self.at)
    }
}
