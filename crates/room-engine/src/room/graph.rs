//! The room's event graph, as its one node writes it.
//!
//! Every event is a signed PDU of the node user, so that any Matrix server can verify the room. It stands on the
//! forward extremities that the record names; events of other servers move them (see [`crate::graphs`]).

use event_graph::limits::{MAX_INTEGER, MAX_PREV_EVENTS};
use event_graph::{Draft, EventId, Pdu, RoomVersion};
use serde_json::{Value, json};
use std::str::FromStr as _;

use crate::carrier;
use crate::engine::Env;
use crate::records::{GraphHead, GraphRecord};
use crate::refusal::Refusal;

/// Version of the graphs made here.
const VERSION: RoomVersion = RoomVersion::V12;
/// What only nodes reach. Room version 12 gives its creators more than any number.
const NODE_LEVEL: u32 = 100;

/// A new graph and its first events, in order.
pub(super) struct NewGraph {
    pub(super) record: GraphRecord,
    /// Before its events are written: they are not counted yet.
    pub(super) head: GraphHead,
    pub(super) events: Vec<Pdu>,
}

/// The node user of this node.
pub(super) fn node_user(env: &Env) -> String {
    format!("@_causeway:{}", env.config.node_name)
}

/// Makes the graph room of a MIMI room: create, the node's join, power levels, join rules, visibility.
pub(super) fn found(env: &Env, about: &Value, now: u64) -> Result<NewGraph, Refusal> {
    let create = Step {
        event_type: "m.room.create",
        state_key: "",
        auth: vec![],
    }
    .sign(
        env,
        None,
        None,
        json!({ "room_version": VERSION.as_str(), carrier::ROOM: about }),
        now,
    )?;
    let room_id = create.event_id().to_room_id();
    let user = node_user(env);
    let member = Step {
        event_type: "m.room.member",
        state_key: &user,
        auth: vec![],
    }
    .sign(
        env,
        Some(&room_id),
        Some(&create),
        json!({ "membership": "join" }),
        now,
    )?;
    let pinned: serde_json::Map<String, Value> = carrier::PINNED
        .iter()
        .map(|kind| ((*kind).to_owned(), json!(NODE_LEVEL)))
        .collect();
    let levels = json!({
        "users": {}, "users_default": 0, "events": pinned, "events_default": NODE_LEVEL,
        "state_default": NODE_LEVEL, "invite": NODE_LEVEL, "kick": NODE_LEVEL, "ban": NODE_LEVEL,
        "redact": NODE_LEVEL,
    });
    let power_levels = Step {
        event_type: "m.room.power_levels",
        state_key: "",
        auth: vec![&member],
    }
    .sign(env, Some(&room_id), Some(&member), levels, now)?;
    let auth = vec![&power_levels, &member];
    let rules = Step {
        event_type: "m.room.join_rules",
        state_key: "",
        auth: auth.clone(),
    }
    .sign(
        env,
        Some(&room_id),
        Some(&power_levels),
        json!({ "join_rule": "invite" }),
        now,
    )?;
    let visibility = Step {
        event_type: "m.room.history_visibility",
        state_key: "",
        auth,
    }
    .sign(
        env,
        Some(&room_id),
        Some(&rules),
        json!({ "history_visibility": "shared" }),
        now,
    )?;
    let head = GraphHead {
        heads: vec![visibility.event_id().to_string()],
        depth: visibility.depth(),
        newest_ts: now,
        events: 0,
    };
    let record = GraphRecord {
        room_id,
        room_version: VERSION.as_str().to_owned(),
        create: create.event_id().to_string(),
        power_levels: power_levels.event_id().to_string(),
        member: member.event_id().to_string(),
        servers: std::collections::BTreeSet::new(),
        joined: true,
    };
    Ok(NewGraph {
        record,
        head,
        events: vec![create, member, power_levels, rules, visibility],
    })
}

struct Step<'a> {
    event_type: &'a str,
    state_key: &'a str,
    auth: Vec<&'a Pdu>,
}

impl Step<'_> {
    fn sign(
        self,
        env: &Env,
        room_id: Option<&str>,
        parent: Option<&Pdu>,
        content: Value,
        now: u64,
    ) -> Result<Pdu, Refusal> {
        Draft {
            room_id: room_id.map(str::to_owned),
            event_type: self.event_type.to_owned(),
            sender: node_user(env),
            state_key: Some(self.state_key.to_owned()),
            content,
            prev_events: parent.iter().map(|p| p.event_id()).collect(),
            auth_events: self.auth.iter().map(|p| p.event_id()).collect(),
            depth: parent.map_or(0, Pdu::depth).saturating_add(1),
            origin_server_ts: matrix_time(now),
        }
        .sign(&env.node, VERSION)
        .map_err(Refusal::internal)
    }
}

/// Makes the next event on top of the graph's heads and moves them.
pub(super) fn append(
    env: &Env,
    graph: &GraphRecord,
    head: &mut GraphHead,
    event_type: &str,
    state_key: Option<&str>,
    content: Value,
    at: u64,
) -> Result<Pdu, Refusal> {
    let version = RoomVersion::from_str(&graph.room_version).map_err(Refusal::internal)?;
    // The newest, where there are more than an event may have as parents.
    let heads = head
        .heads
        .iter()
        .skip(head.heads.len().saturating_sub(MAX_PREV_EVENTS))
        .map(|id| event_id(id))
        .collect::<Result<Vec<_>, _>>()?;
    // Where another server has been to the end of all depths, nothing is deeper.
    let depth = head.depth.saturating_add(1).min(MAX_INTEGER.unsigned_abs());
    let pdu = Draft {
        room_id: Some(graph.room_id.clone()),
        event_type: event_type.to_owned(),
        sender: node_user(env),
        state_key: state_key.map(str::to_owned),
        content,
        prev_events: heads.clone(),
        auth_events: vec![event_id(&graph.power_levels)?, event_id(&graph.member)?],
        depth,
        origin_server_ts: matrix_time(at),
    }
    .sign(&env.node, version)
    .map_err(Refusal::internal)?;
    let behind: Vec<String> = heads.iter().map(ToString::to_string).collect();
    head.heads.retain(|id| !behind.contains(id));
    head.heads.push(pdu.event_id().to_string());
    head.depth = depth;
    head.newest_ts = head.newest_ts.max(at);
    Ok(pdu)
}

fn event_id(text: &str) -> Result<EventId, Refusal> {
    EventId::from_str(text).map_err(Refusal::internal)
}

/// Canonical JSON's integers end at 2^53 - 1, a hub's timestamps at 2^64 - 1.
fn matrix_time(ms: u64) -> i64 {
    const LAST: u64 = (1 << 53) - 1;
    i64::try_from(ms.min(LAST)).unwrap_or(i64::MAX)
}
