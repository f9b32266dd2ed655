//! Graphs that other Matrix servers have to do with: for operators and testers.

use super::AdminFace;
use super::api::{
    Graph, GraphEvent, GraphJoined, GraphState, GraphStateEntry, InviteToGraph, JoinGraph, RebuildRoom,
    RoomRebuilt, SendToGraph,
};
use super::endpoints::Problem;
use crate::heads::{self, Silent};
use crate::web::RequestId;
use axum::Json;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use replication::{Federation, FederationError, ServerName};
use room_engine::{RebuiltRoom, Refusal};
use serde::de::DeserializeOwned;

impl From<FederationError> for Problem {
    fn from(error: FederationError) -> Self {
        match error {
            FederationError::Engine(refusal) => refusal.into(),
            other => Self::new(StatusCode::BAD_GATEWAY, "federation", other.to_string()),
        }
    }
}

impl AdminFace {
    fn federation(&self) -> Result<&Federation, Problem> {
        let text = "this node doesn't federate: the configuration has no section federation";
        self.0
            .federation
            .as_ref()
            .ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "no_federation", text))
    }

    async fn body<T: DeserializeOwned>(&self, request: Request) -> Result<T, Problem> {
        let body = self.0.limit.read(request.into_body()).await;
        let body = body.map_err(|e| Problem::new(e.status(), e.code(), e.to_string()))?;
        serde_json::from_slice(&body)
            .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("the body: {e}")))
    }
}

pub(super) async fn list(State(face): State<AdminFace>) -> Result<Json<Vec<Graph>>, Problem> {
    let mut graphs: Vec<Graph> = face
        .0
        .engine
        .shared_graphs()
        .await?
        .into_iter()
        .map(|view| Graph {
            graph: view.room_id,
            room_version: view.room_version,
            room: view.room.map(|room| room.to_string()),
            membership: if view.joined { "joined" } else { "left" }.to_owned(),
            servers: view.servers,
            heads: view.heads,
            events: view.events,
        })
        .collect();
    graphs.extend(face.0.engine.invites().await?.into_iter().map(|invite| Graph {
        graph: invite.room_id,
        room_version: invite.room_version,
        room: None,
        membership: "invited".to_owned(),
        servers: vec![invite.origin],
        heads: Vec::new(),
        events: 0,
    }));
    Ok(Json(graphs))
}

pub(super) async fn show(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
) -> Result<Json<GraphState>, Problem> {
    let (heads, state) = face.0.engine.graph_state((&id).into(), &room).await?;
    let strings = |ids: &[event_graph::EventId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    Ok(Json(GraphState {
        graph: room,
        joined: heads.joined,
        servers: heads.servers.iter().cloned().collect(),
        heads: strings(&heads.heads),
        missing: strings(&heads.missing),
        held: heads.held.len(),
        incomplete: strings(&heads.incomplete),
        events: heads.events,
        state: state
            .into_iter()
            .map(|(event_type, state_key, id)| GraphStateEntry {
                event_type,
                state_key,
                event_id: id.to_string(),
            })
            .collect(),
    }))
}

pub(super) async fn join(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
    request: Request,
) -> Result<Json<GraphJoined>, Problem> {
    let wanted: JoinGraph = face.body(request).await?;
    let federation = face.federation()?;
    let mut via = Vec::new();
    for name in &wanted.via {
        let name = ServerName::parse(name)
            .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("{name}: {e}")))?;
        via.push(name);
    }
    if via.is_empty() {
        let invites = face.0.engine.invites().await?;
        let inviting = invites.into_iter().find(|i| i.room_id == room).map(|i| i.origin);
        let named = event_graph::ids::server_of_room(&room).map(str::to_owned);
        via.extend(inviting.or(named).and_then(|name| ServerName::parse(&name).ok()));
    }
    if via.is_empty() {
        let text = "nobody invited this node, and the room id names no server: name one";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "no_server", text));
    }
    let report = federation
        .join(&(&id).into(), &room, &via, wanted.history)
        .await?;
    Ok(Json(GraphJoined {
        via: report.via.to_string(),
        room_version: report.version.to_string(),
        event_id: report.event.to_string(),
        state: report.state,
        history: report.history,
    }))
}

pub(super) async fn leave(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
) -> Result<Json<GraphEvent>, Problem> {
    let event = face.federation()?.leave(&(&id).into(), &room).await?;
    Ok(Json(GraphEvent {
        event_id: event.to_string(),
    }))
}

pub(super) async fn invite(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
    request: Request,
) -> Result<Json<GraphEvent>, Problem> {
    let wanted: InviteToGraph = face.body(request).await?;
    let event = face
        .federation()?
        .invite(&(&id).into(), &room, &wanted.user)
        .await?;
    Ok(Json(GraphEvent {
        event_id: event.to_string(),
    }))
}

pub(super) async fn send(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
    request: Request,
) -> Result<Json<GraphEvent>, Problem> {
    let wanted: SendToGraph = face.body(request).await?;
    if wanted.event_type.starts_with("org.causeway.") {
        let text = "events of this kind are made by the engine alone";
        return Err(Refusal::Forbidden {
            reason: text.to_owned(),
        }
        .into());
    }
    let pdu = face
        .0
        .engine
        .graph_send(
            (&id).into(),
            &room,
            wanted.event_type,
            wanted.state_key,
            wanted.content,
        )
        .await?;
    Ok(Json(GraphEvent {
        event_id: pdu.event_id().to_string(),
    }))
}

/// Every event with how it fared, a line each.
pub(super) async fn events(
    State(face): State<AdminFace>,
    Path(room): Path<String>,
) -> Result<Response, Problem> {
    let lines = face.0.engine.graph_events(&room).await?;
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}

/// A room of this hub, whose store is lost, from the graph that a witness gave.
pub(super) async fn rebuild(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
    request: Request,
) -> Result<Json<RoomRebuilt>, Problem> {
    let wanted: RebuildRoom = face.body(request).await?;
    let engine = &face.0.engine;
    if !wanted.accept_rollback {
        let planned = engine.rebuild_room((&id).into(), &room, true).await?;
        face.far_enough(&planned, &id).await?;
    }
    let rebuilt = engine.rebuild_room((&id).into(), &room, false).await?;
    Ok(Json(RoomRebuilt {
        room: rebuilt.room.to_string(),
        epoch: rebuilt.epoch.to_string(),
        log_entries: rebuilt.entries,
        begins_at: rebuilt.begins_at,
        messages: rebuilt.messages,
    }))
}

impl AdminFace {
    /// A room that went on from an epoch that others have left behind would fork its group.
    async fn far_enough(&self, planned: &RebuiltRoom, id: &RequestId) -> Result<(), Problem> {
        let conflict = |text: String| Err(Problem::new(StatusCode::CONFLICT, "rollback", text));
        match heads::newest(&self.0.peers, &planned.room, &planned.peers, id).await {
            Ok(Some(newest)) if newest <= planned.epoch => Ok(()),
            Ok(Some(newest)) => conflict(format!(
                "the graph ends in epoch {}, and other providers have reached epoch {newest}",
                planned.epoch
            )),
            Ok(None) => conflict(
                "only own users take part, so nobody can tell whether the room had come further than the graph"
                    .to_owned(),
            ),
            Err(Silent { peer, reason }) => conflict(format!(
                "{peer} can't be asked whether the room had come further than the graph: {reason}"
            )),
        }
    }
}
