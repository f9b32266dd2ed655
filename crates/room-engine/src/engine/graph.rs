//! Graphs: what the part that speaks to other Matrix servers asks of them.

use event_graph::json::Raw;
use event_graph::{EventId, Pdu, RoomVersion};
use mimi_wire::uri::MimiUri;
use std::str::FromStr as _;
use store::{Batch, Space};

use super::{Engine, EngineError, unexpected};
use crate::command::{Command, Reply, RequestContext, RoomCommand};
use crate::graphs::{
    ForeignRecord, GraphCommand, GraphReply, Heads, InviteRecord, InviteView, Question, graph_index_key,
    invite_key,
};
use crate::outbox::Destination;
use crate::owner::{Owner, UriKey};
use crate::records::{RoomHead, RoomRecord, parse, read};
use crate::refusal::Refusal;
use crate::room::About;
use crate::views::{GraphView, RebuiltRoom};

/// Invitations kept at a time.
const MOST_INVITES: usize = 1_000;

impl Engine {
    /// Asks a graph, by its room id.
    pub async fn graph(
        &self,
        ctx: RequestContext,
        room_id: &str,
        command: GraphCommand,
    ) -> Result<GraphReply, Refusal> {
        let owner = self.graph_owner(room_id).await?;
        match self
            .workers
            .execute(&self.env, owner, ctx, Command::Graph(command))
            .await?
        {
            Reply::Graph(reply) => Ok(*reply),
            other => Err(unexpected(&other)),
        }
    }

    async fn graph_owner(&self, room_id: &str) -> Result<Owner, Refusal> {
        if room_id.len() > event_graph::limits::MAX_ID_BYTES {
            return Err(Refusal::Unknown { what: "room" });
        }
        let index = graph_index_key(room_id);
        let uri: Option<MimiUri> = read(self.env.store.as_ref(), Space::RoomIndex, &index).await?;
        Ok(uri.map_or_else(|| Owner::Graph(room_id.to_owned()), Owner::Room))
    }

    /// The graph of a MIMI room.
    pub async fn graph_of(&self, room: &MimiUri) -> Result<Option<String>, EngineError> {
        Ok(self.room(room).await?.map(|view| view.graph))
    }

    /// The end of a graph, and its current state as type, state key and event.
    pub async fn graph_state(
        &self,
        ctx: RequestContext,
        room_id: &str,
    ) -> Result<(Heads, Vec<(String, String, EventId)>), Refusal> {
        let ask = |question| GraphCommand::Ask {
            asker: None,
            question,
        };
        let heads = match self.graph(ctx.clone(), room_id, ask(Question::Heads)).await? {
            GraphReply::Heads(heads) => heads,
            other => return Err(Refusal::internal(format!("unexpected reply {other:?}"))),
        };
        match self.graph(ctx, room_id, ask(Question::CurrentState)).await? {
            GraphReply::Entries(entries) => Ok((heads, entries)),
            other => Err(Refusal::internal(format!("unexpected reply {other:?}"))),
        }
    }

    /// Sends an event of the node user.
    pub async fn graph_send(
        &self,
        ctx: RequestContext,
        room_id: &str,
        event_type: String,
        state_key: Option<String>,
        content: serde_json::Value,
    ) -> Result<Pdu, Refusal> {
        let command = GraphCommand::Own {
            event_type,
            state_key,
            content,
        };
        match self.graph(ctx, room_id, command).await? {
            GraphReply::Own(pdu) => Ok(pdu),
            other => Err(Refusal::internal(format!("unexpected reply {other:?}"))),
        }
    }

    /// Makes a room of which this provider is the hub again, from its graph: the store that had it is lost, and this
    /// node has joined the graph by a witness, with its history. With `dry` nothing is written: the reply says how far
    /// the room would come, and who can tell whether that is far enough.
    pub async fn rebuild_room(
        &self,
        ctx: RequestContext,
        room_id: &str,
        dry: bool,
    ) -> Result<RebuiltRoom, Refusal> {
        let about = self.about(room_id).await?;
        if about.room.domain() != self.env.config.provider {
            return Err(Refusal::NotHub {
                hub: about.room.domain(),
            });
        }
        let command = RoomCommand::Rebuild {
            graph: room_id.to_owned(),
            dry,
        };
        match self.room_command(ctx, &about.room, command).await? {
            Reply::Rebuilt(rebuilt) => Ok(*rebuilt),
            other => Err(unexpected(&other)),
        }
    }

    /// The MIMI room that this node once founded a graph for.
    async fn about(&self, room_id: &str) -> Result<About, Refusal> {
        let no_room = || Refusal::malformed("graph", "this node founded it for no MIMI room");
        let version = self.graph_version(room_id).await?;
        let version = version.ok_or(Refusal::Unknown { what: "graph" })?;
        let create = EventId::from_room_id(room_id).ok_or_else(no_room)?;
        let create = self.event(create, version).await?.ok_or_else(no_room)?;
        if create.sender() != self.node_user() {
            return Err(no_room());
        }
        let about = create.content().get(crate::carrier::ROOM).ok_or_else(no_room)?;
        serde_json::from_value(about.to_value()).map_err(|_| no_room())
    }

    /// Every event of a graph in order of admission, each as JSON with its id and verdict in `unsigned`.
    pub async fn graph_events(&self, room_id: &str) -> Result<Vec<String>, Refusal> {
        let version = self
            .graph_version(room_id)
            .await?
            .ok_or(Refusal::Unknown { what: "room" })?;
        let key = if let Owner::Room(uri) = self.graph_owner(room_id).await? {
            UriKey::of(&uri)
        } else {
            UriKey::of_text(room_id)
        };
        let mut places = Vec::new();
        self.each(Space::Timeline, &key.0, |key, value| {
            places.push(crate::graphs::place(key, value)?);
            Ok(())
        })
        .await?;
        let mut lines = Vec::with_capacity(places.len());
        for (id, verdict) in places {
            let octets = self
                .env
                .store
                .get(Space::Event, id.to_string().as_bytes())
                .await?;
            let Some(pdu) = octets.and_then(|o| Pdu::parse_trusted(&o, version).ok()) else {
                continue;
            };
            let unsigned = serde_json::json!({ "event_id": id, "verdict": verdict });
            let body = pdu.as_str().strip_suffix('}').unwrap_or_default();
            lines.push(format!("{body},\"unsigned\":{unsigned}}}"));
        }
        Ok(lines)
    }

    /// The version of a graph that is here.
    pub async fn graph_version(&self, room_id: &str) -> Result<Option<RoomVersion>, Refusal> {
        let store = self.env.store.as_ref();
        let version = if let Owner::Room(uri) = self.graph_owner(room_id).await? {
            let record: Option<RoomRecord> = read(store, Space::Room, &UriKey::of(&uri).0).await?;
            record.map(|r| r.graph.room_version)
        } else {
            let key = UriKey::of_text(room_id);
            let record: Option<ForeignRecord> = read(store, Space::GraphRoom, &key.0).await?;
            record.map(|r| r.graph.room_version)
        };
        version
            .map(|v| RoomVersion::from_str(&v).map_err(Refusal::internal))
            .transpose()
    }

    /// Every graph that other servers take part in or made.
    pub async fn shared_graphs(&self) -> Result<Vec<GraphView>, EngineError> {
        let mut graphs = Vec::new();
        self.each(Space::GraphRoom, b"", |key, value| {
            let record: ForeignRecord = parse(Space::GraphRoom, key, value)?;
            graphs.push(GraphView::of(&record.graph, &record.head, None));
            Ok(())
        })
        .await?;
        let mut shared = Vec::new();
        self.each(Space::Room, b"", |key, value| {
            let record: RoomRecord = parse(Space::Room, key, value)?;
            if !record.graph.servers.is_empty() {
                shared.push((key.to_vec(), record));
            }
            Ok(())
        })
        .await?;
        for (key, record) in shared {
            let head: Option<RoomHead> = read(self.env.store.as_ref(), Space::RoomHead, &key).await?;
            graphs.push(GraphView::of(
                &record.graph,
                &head.unwrap_or_default().graph,
                Some(record.room),
            ));
        }
        Ok(graphs)
    }

    /// A stored event, whatever its verdict.
    pub async fn event(&self, id: EventId, version: RoomVersion) -> Result<Option<Pdu>, EngineError> {
        let octets = self
            .env
            .store
            .get(Space::Event, id.to_string().as_bytes())
            .await?;
        Ok(octets.and_then(|octets| Pdu::parse_trusted(&octets, version).ok()))
    }

    /// The room that a stored event says it is of.
    pub async fn room_of_event(&self, id: EventId) -> Result<Option<String>, Refusal> {
        let Some(octets) = self
            .env
            .store
            .get(Space::Event, id.to_string().as_bytes())
            .await?
        else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&octets).map_err(Refusal::internal)?;
        let named = Raw::new(text).get("room_id").and_then(Raw::as_str);
        // The create event of room version 12 names no room: it is the room.
        Ok(Some(
            named.map_or_else(|| id.to_room_id(), std::borrow::Cow::into_owned),
        ))
    }

    /// Remembers an invitation of the node user.
    pub async fn remember_invite(&self, invite: &InviteView, event: &Pdu) -> Result<(), Refusal> {
        let kept = self
            .env
            .store
            .scan(store::Scan::all(Space::GraphInvite).limit(MOST_INVITES))
            .await?;
        let key = invite_key(&invite.room_id);
        if kept.len() >= MOST_INVITES && !kept.iter().any(|(k, _)| k[..] == key[..]) {
            return Err(Refusal::unavailable("too many invitations are open"));
        }
        let record = InviteRecord {
            room_id: invite.room_id.clone(),
            room_version: invite.room_version.clone(),
            sender: invite.sender.clone(),
            origin: invite.origin.clone(),
            event: event.as_str().to_owned(),
            received_at: self.env.clock.now_ms(),
        };
        let mut batch = Batch::new();
        batch.put(
            Space::GraphInvite,
            key,
            serde_json::to_vec(&record).map_err(Refusal::internal)?,
        );
        self.env.store.commit(batch).await?;
        Ok(())
    }

    /// Open invitations of the node user.
    pub async fn invites(&self) -> Result<Vec<InviteView>, EngineError> {
        let mut invites = Vec::new();
        self.each(Space::GraphInvite, b"", |key, value| {
            let record: InviteRecord = parse(Space::GraphInvite, key, value)?;
            invites.push(InviteView {
                room_id: record.room_id,
                room_version: record.room_version,
                sender: record.sender,
                origin: record.origin,
            });
            Ok(())
        })
        .await?;
        Ok(invites)
    }

    /// Forgets an invitation: it was accepted, rejected or withdrawn.
    pub async fn forget_invite(&self, room_id: &str) -> Result<(), Refusal> {
        let mut batch = Batch::new();
        batch.delete(Space::GraphInvite, invite_key(room_id));
        self.env.store.commit(batch).await?;
        Ok(())
    }

    /// The server has spoken: whatever waits for it is tried now.
    pub fn server_spoke(&self, server: &str) {
        self.env.revive(&Destination::Server(server.to_owned()));
    }

    /// The node's clock, unix ms.
    pub fn now_ms(&self) -> u64 {
        self.env.clock.now_ms()
    }

    /// The node user.
    pub fn node_user(&self) -> String {
        format!("@_causeway:{}", self.env.config.node_name)
    }
}
