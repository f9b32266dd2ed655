//! Founding a room of which this provider is the hub.

use delivery_service::{Group, View};
use mimi_wire::codec::Decode as _;
use mimi_wire::components::{RoomMetaData, component_id};
use mimi_wire::mls::GroupInfo;
use mimi_wire::uri::MimiUri;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

use super::scribe::{Entry, Scribe};
use super::{RoomState, graph};
use crate::carrier::{self, Decimal, HandshakeKind, Mode, Octets};
use crate::command::{ClientActor, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::records::{LogRecord, PortalState, RoomRecord};
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
        if let Some(record) = &self.record {
            // The same creator asking for the same group again missed the first answer.
            let group = self.hub_group()?;
            let same = group.epoch().0 == 0
                && group.group_info() == group_info
                && group.role(&who.user, View::Committed).0 != 0;
            return if same {
                Ok(Decision::reply(Reply::Room(Box::new(env.view(record)))))
            } else {
                Err(Refusal::Conflict { what: "the room" })
            };
        }
        let group = Group::found(&env.keys.hub, &self.uri, &who.user, group_info, ratchet_tree)
            .map_err(|refusal| Refusal::malformed("first GroupInfo", refusal))?;
        let record = new_record(
            env,
            &self.uri,
            Some(group.group_id().as_bytes().to_vec()),
            room_name(group_info),
        )?;
        let mut scribe = Scribe::new(env, ctx, record.record);
        for event in &record.events {
            scribe.pdu(event)?;
        }
        scribe.write_room_state()?;
        let mut entry = Entry::new(HandshakeKind::Founding, group.epoch().0, group_info.to_vec());
        entry.ratchet_tree = Some(ratchet_tree.to_vec());
        scribe.handshake(&entry)?;
        scribe.participants(&group)?;
        let first = scribe.record.feed_next;
        scribe.admit(&who.user, first)?;
        scribe.want_portal(&who.user)?;
        scribe.snapshot(&group)?;
        let reply = Reply::Room(Box::new(env.view(&scribe.record)));
        let (decision, record) = scribe.finish(reply)?;
        self.record = Some(record);
        self.group = Some(group);
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

/// A record with a new graph, and the graph's first events.
pub(super) struct NewRoom {
    pub(super) record: RoomRecord,
    pub(super) events: Vec<event_graph::Pdu>,
}

pub(super) fn new_record(
    env: &Env,
    room: &MimiUri,
    group_id: Option<Vec<u8>>,
    name: Option<String>,
) -> Result<NewRoom, Refusal> {
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
        v: 1,
        room: room.clone(),
        name,
        group_id: group_id.map(Octets),
        epoch: 0,
        created_at: now,
        graph: graph.record,
        log: LogRecord {
            term: 1,
            seq: 0,
            prev: None,
        },
        feed_next: 1,
        outbox_next: BTreeMap::new(),
        portal: PortalState::None,
        participants: Vec::new(),
        local_users: BTreeSet::new(),
        leaving: BTreeSet::new(),
        snapshot: None,
    };
    Ok(NewRoom {
        record,
        events: graph.events,
    })
}

impl Scribe<'_> {
    /// The `org.causeway.room` state event.
    pub(super) fn write_room_state(&mut self) -> Result<(), Refusal> {
        let content = self.room_content();
        self.event(carrier::ROOM, Some(""), &content).map(drop)
    }

    pub(super) fn room_content(&self) -> carrier::Room {
        carrier::Room {
            room: self.record.room.as_str().to_owned(),
            hub: self.record.room.domain().as_str().to_owned(),
            group_id: self.record.group_id.clone().unwrap_or_default(),
            mode: Mode::Opaque,
        }
    }

    /// Brings the participants' state events up to the group's effective list.
    pub(super) fn participants(&mut self, group: &Group) -> Result<(), Refusal> {
        let new: Vec<(MimiUri, u32)> = group
            .participants(View::Effective)
            .map(|(user, role)| (user.clone(), role.0))
            .collect();
        let before: BTreeMap<&MimiUri, u32> = self.record.participants.iter().map(|(u, r)| (u, *r)).collect();
        let after: BTreeMap<&MimiUri, u32> = new.iter().map(|(u, r)| (u, *r)).collect();
        let mut changed: Vec<(MimiUri, u32)> = after
            .iter()
            .filter(|(user, role)| before.get(*user) != Some(*role))
            .map(|(user, role)| ((*user).clone(), *role))
            .collect();
        changed.extend(
            before
                .keys()
                .filter(|user| !after.contains_key(*user))
                .map(|user| ((*user).clone(), 0)),
        );
        for (user, role) in changed {
            let state_key = carrier::participant_state_key(user.as_str());
            let content = carrier::Participant {
                user: user.as_str().to_owned(),
                role,
            };
            self.event(carrier::PARTICIPANT, Some(&state_key), &content)?;
        }
        self.record.participants = new;
        Ok(())
    }

    /// The acceptance time as carrier events have it.
    pub(super) fn accepted_at(&self) -> Decimal {
        Decimal(self.at)
    }
}
