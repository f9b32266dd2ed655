//! What a room's servers ask of its past: events, states, what is missing.

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use event_graph::{EventId, Pdu};
use matrix_wire::requests::{MissingRequest, values};
use room_engine::graphs::{GraphReply, Question};
use serde_json::json;

use super::{
    Answer, Authentic, MatrixError, SMALL, ServerFace, event_id, ids, raw_json, required, write_events,
};
use crate::federation::unexpected;

/// Events of a page of history.
const PAGE: usize = 100;
/// Events of an answer about missing ones.
const MISSING: usize = 50;

/// The events that answer a question.
async fn events(
    face: &ServerFace,
    by: &Authentic,
    room: &str,
    question: Question,
) -> Result<Vec<Pdu>, MatrixError> {
    match face.ask(by, room, question).await? {
        GraphReply::Events(pdus) => Ok(pdus),
        other => Err(unexpected(&other).into()),
    }
}

/// A body with one list of events.
fn listed(name: &str, pdus: &[Pdu]) -> Response {
    let mut out = format!("{{\"{name}\":");
    write_events(&mut out, pdus);
    out.push('}');
    raw_json(out)
}

pub(super) async fn event(
    State(face): State<ServerFace>,
    Path(event): Path<String>,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let id = event_id(&event)?;
    let room = face.federation().engine().room_of_event(id).await?;
    let room = room.ok_or_else(|| MatrixError::not_found("no such event here"))?;
    let pdus = events(&face, &by, &room, Question::Event(id)).await?;
    if pdus.is_empty() {
        return Err(MatrixError::not_found("no such event here"));
    }
    Ok(face.wrapped(&pdus))
}

pub(super) async fn event_auth(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let chain = events(&face, &by, &room, Question::AuthChain(event_id(&event)?)).await?;
    Ok(listed("auth_chain", &chain))
}

async fn state_of(
    face: &ServerFace,
    by: &Authentic,
    room: &str,
    query: Option<&str>,
) -> Result<(Vec<EventId>, Vec<EventId>), MatrixError> {
    let id = event_id(&required(query, "event_id")?)?;
    match face.ask(by, room, Question::StateBefore(id)).await? {
        GraphReply::State { state, auth_chain } => Ok((state, auth_chain)),
        other => Err(unexpected(&other).into()),
    }
}

pub(super) async fn state(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let version = face.version_of(&room).await?;
    let (state, chain) = state_of(&face, &by, &room, query.as_deref()).await?;
    let mut out = String::new();
    for (name, ids) in [("{\"pdus\":", state), (",\"auth_chain\":", chain)] {
        out.push_str(name);
        let mut pdus = Vec::with_capacity(ids.len());
        for id in ids {
            let pdu = face.federation().engine().event(id, version).await;
            pdus.extend(pdu.map_err(crate::healing::engine)?);
        }
        write_events(&mut out, &pdus);
    }
    out.push('}');
    Ok(raw_json(out))
}

pub(super) async fn state_ids(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let (state, chain) = state_of(&face, &by, &room, query.as_deref()).await?;
    Ok(axum::Json(json!({ "pdu_ids": ids(&state), "auth_chain_ids": ids(&chain) })).into_response())
}

pub(super) async fn backfill(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let query = query.as_deref();
    let limit: usize = required(query, "limit")?
        .parse()
        .map_err(|_| MatrixError::invalid("limit is no number"))?;
    let from = values(query, "v")
        .iter()
        .take(20)
        .map(|v| event_id(v))
        .collect::<Result<Vec<_>, _>>()?;
    let question = Question::Backfill {
        from,
        limit: limit.min(PAGE),
    };
    Ok(face.wrapped(&events(&face, &by, &room, question).await?))
}

pub(super) async fn missing_events(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let wanted: MissingRequest = by.json()?;
    if wanted.earliest_events.len() > 1_000 || wanted.latest_events.len() > 1_000 {
        return Err(MatrixError::invalid("too many events"));
    }
    let limit = usize::try_from(wanted.limit.unwrap_or(10)).unwrap_or(MISSING);
    let question = Question::Missing {
        earliest: wanted.earliest_events,
        latest: wanted.latest_events,
        limit: limit.min(MISSING),
        min_depth: wanted.min_depth.unwrap_or(0),
    };
    Ok(listed("events", &events(&face, &by, &room, question).await?))
}

pub(super) async fn timestamp_to_event(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let query = query.as_deref();
    let ts: i64 = required(query, "ts")?
        .parse()
        .map_err(|_| MatrixError::invalid("ts is no number"))?;
    let forwards = match required(query, "dir")?.as_str() {
        "f" => true,
        "b" => false,
        _ => return Err(MatrixError::invalid("dir is f or b")),
    };
    let found = events(&face, &by, &room, Question::Nearest { ts, forwards }).await?;
    let pdu = found
        .first()
        .ok_or_else(|| MatrixError::not_found("no event near that time"))?;
    let body = json!({
        "event_id": pdu.event_id().to_string(), "origin_server_ts": pdu.origin_server_ts(),
    });
    Ok(axum::Json(body).into_response())
}

pub(super) async fn heads(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    match face.ask(&by, &room, Question::Heads).await? {
        GraphReply::Heads(heads) => Ok(axum::Json(json!({ "heads": ids(&heads.heads) })).into_response()),
        other => Err(unexpected(&other).into()),
    }
}
