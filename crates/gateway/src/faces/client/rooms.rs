//! Rooms: founded here, or led to their hub.

use super::error::Problem;
use super::request::{Call, room};
use super::{ClientFace, FACE, convert};
use crate::faces::{claims, outcome};
use crate::web::refused;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use mimi_wire::codec::UnixMillis;
use mimi_wire::directory::Endpoint;
use mimi_wire::mls::Epoch;
use mimi_wire::protocol::{
    AbuseReport, GroupInfoResponse, HandshakeBundle, KeyMaterialRequest, KeyMaterialResponse, UpdateOutcome,
    UpdateRoomResponse,
};
use mimi_wire::{Decode, Domain, Encode, MimiUri};
use mls_client::api::{
    B64, ClaimRequest, CreateRoom, GroupInfoQuery, HubAnswer, LogPage, ReportAbuse, RoomSummary,
    UpdateRequest,
};
use room_engine::{Actor, FeedPage, Hub, LONGEST_POLL, Refusal, UpdateFate};
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

pub(super) async fn create(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<RoomSummary>, Problem> {
    const NAME: &str = "rooms";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let body: CreateRoom = call.json(&face).await?;
    let uri = room(NAME, &body.room)?;
    let view = face
        .0
        .engine
        .create_room(ctx, &who, uri, body.group_info.0, body.ratchet_tree.0)
        .await;
    view.map(|v| Json(convert::founded(v)))
        .map_err(|e| Problem::refusal(NAME, &e))
}

pub(super) async fn list(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<Vec<RoomSummary>>, Problem> {
    const NAME: &str = "rooms";
    let who = Call::new(NAME, request).who(&face).await?;
    let rooms = face
        .0
        .engine
        .rooms_of(&who.user)
        .await
        .map_err(|e| Problem::engine(NAME, e))?;
    Ok(Json(rooms.into_iter().map(convert::room).collect()))
}

/// The answer for the client, counted if it is a refusal.
fn answer<T: Encode>(endpoint: &'static str, reason: Option<&'static str>, response: &T) -> Json<HubAnswer> {
    if let Some(reason) = reason {
        refused(FACE, endpoint, reason);
    }
    Json(HubAnswer {
        response: B64(response.to_bytes()),
    })
}

/// POSTs to the hub and reads its answer.
async fn ask<T: Decode>(
    face: &ClientFace,
    name: &'static str,
    hub: &Domain,
    (endpoint, variable): (Endpoint, &MimiUri),
    request_id: &str,
    body: Vec<u8>,
) -> Result<T, Problem> {
    let answer = face
        .0
        .client
        .post(hub, endpoint, variable.as_str(), request_id, Bytes::from(body))
        .await;
    let answer = answer.map_err(|e| Problem::link(name, &e))?;
    if !answer.status.is_success() {
        return Err(Problem::answer(name, hub, &answer));
    }
    T::from_bytes(&answer.body).map_err(|e| {
        Problem::unavailable(
            name,
            format!("the hub {hub} answered something malformed: {e}"),
            None,
        )
    })
}

pub(super) async fn claim(
    State(face): State<ClientFace>,
    Path(segment): Path<String>,
    request: Request,
) -> Result<Json<HubAnswer>, Problem> {
    const NAME: &str = "claims";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let uri = room(NAME, &segment)?;
    let octets = call.json::<ClaimRequest>(&face).await?.request.0;
    let request = KeyMaterialRequest::from_bytes(&octets)
        .map_err(|e| Problem::malformed(NAME, format!("the KeyMaterialRequest: {e}")))?;
    if request.room_id.as_ref() != Some(&uri) {
        return Err(Problem::malformed(
            NAME,
            "the request is for another room than the path",
        ));
    }
    if request.requesting_user != who.user {
        return Err(Problem::malformed(
            NAME,
            "the request is in the name of another user",
        ));
    }
    let engine = &face.0.engine;
    let response: KeyMaterialResponse = match engine.hub_of(&uri) {
        Hub::Own => {
            let actor = Actor::Client(who);
            claims::as_hub(engine, &face.0.client, ctx, &actor, &uri, &request, octets.into())
                .await
                .map_err(|e| Problem::claim(NAME, &e))?
        }
        Hub::Peer(hub) => {
            let target = (Endpoint::KeyMaterial, &request.target_user);
            ask(&face, NAME, &hub, target, &ctx.request_id, octets).await?
        }
    };
    Ok(answer(
        NAME,
        outcome::key_material(response.user_status),
        &response,
    ))
}

pub(super) async fn update(
    State(face): State<ClientFace>,
    Path(segment): Path<String>,
    request: Request,
) -> Result<Json<HubAnswer>, Problem> {
    const NAME: &str = "update";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let uri = room(NAME, &segment)?;
    let bundle = call.json::<UpdateRequest>(&face).await?.bundle.0;
    let engine = &face.0.engine;
    let response: UpdateRoomResponse = match engine.hub_of(&uri) {
        Hub::Own => {
            let done = engine.update(ctx, &uri, Actor::Client(who), bundle).await;
            done.map_err(|e| Problem::refusal(NAME, &e))?
        }
        Hub::Peer(hub) => {
            engine
                .check_fence(&uri)
                .await
                .map_err(|e| Problem::refusal(NAME, &e))?;
            // What this provider can't read itself must not reach the hub in its name.
            HandshakeBundle::from_bytes(&bundle)
                .map_err(|e| Problem::malformed(NAME, format!("the HandshakeBundle: {e}")))?;
            let response = update_elsewhere(&face, NAME, &hub, &uri, &ctx.request_id, &bundle).await?;
            if let UpdateOutcome::Success { accepted_timestamp } = response.outcome {
                // If this fails the client repeats; the hub remembers the bundle and answers the same.
                let done = engine.follower_updated(ctx, &uri, &who, bundle, accepted_timestamp.0);
                done.await.map_err(|e| Problem::refusal(NAME, &e))?;
            }
            response
        }
    };
    Ok(answer(NAME, outcome::update(response.outcome.code()), &response))
}

/// How long an update of unknown outcome is followed up before the client is told that nobody knows.
const SETTLE: Duration = Duration::from_secs(20);
/// The first pause between two attempts; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Hands an update to a hub elsewhere. Where the answer is lost, what the hub sends to its followers tells whether it
/// was accepted; until it does, the hub is asked again with the same octets. A hub that remembers gives its first answer;
/// from one that doesn't, a refusal says nothing about the attempt before.
async fn update_elsewhere(
    face: &ClientFace,
    name: &'static str,
    hub: &Domain,
    room: &MimiUri,
    request_id: &str,
    bundle: &[u8],
) -> Result<UpdateRoomResponse, Problem> {
    let response = |outcome| UpdateRoomResponse {
        error_description: String::new(),
        outcome,
    };
    let deadline = Instant::now() + SETTLE;
    let mut pause = FIRST_PAUSE;
    loop {
        let target = (Endpoint::Update, room);
        let asked: Result<UpdateRoomResponse, _> =
            ask(face, name, hub, target, request_id, bundle.to_vec()).await;
        let wait = match &asked {
            Ok(answer) if matches!(answer.outcome, UpdateOutcome::Success { .. }) => return asked,
            Ok(_) => Duration::ZERO,
            Err(problem) if !problem.may_pass() => return asked,
            Err(_) => pause.min(deadline.saturating_duration_since(Instant::now())),
        };
        let fate = face.0.engine.update_fate(room, bundle, wait).await;
        match fate.map_err(|e| Problem::refusal(name, &e))? {
            UpdateFate::Accepted { at } => {
                metrics::counter!("causeway_updates_settled_total", "outcome" => "accepted").increment(1);
                return Ok(response(UpdateOutcome::Success {
                    accepted_timestamp: UnixMillis(at),
                }));
            }
            UpdateFate::Overtaken { current_epoch } if asked.is_err() => {
                metrics::counter!("causeway_updates_settled_total", "outcome" => "overtaken").increment(1);
                return Ok(response(UpdateOutcome::WrongEpoch {
                    current_epoch: Epoch(current_epoch),
                }));
            }
            UpdateFate::Overtaken { .. } | UpdateFate::Unknown => {}
        }
        if asked.is_ok() || Instant::now() >= deadline {
            return asked;
        }
        pause = pause.saturating_mul(2);
    }
}

pub(super) async fn group_info(
    State(face): State<ClientFace>,
    Path(segment): Path<String>,
    request: Request,
) -> Result<Json<HubAnswer>, Problem> {
    const NAME: &str = "group_info";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let uri = room(NAME, &segment)?;
    let octets = call.json::<GroupInfoQuery>(&face).await?.request.0;
    let response: GroupInfoResponse = match face.0.engine.hub_of(&uri) {
        Hub::Own => {
            let done = face
                .0
                .engine
                .group_info(ctx, &uri, Actor::Client(who), octets)
                .await;
            done.map_err(|e| Problem::refusal(NAME, &e))?
        }
        Hub::Peer(hub) => {
            ask(
                &face,
                NAME,
                &hub,
                (Endpoint::GroupInfo, &uri),
                &ctx.request_id,
                octets,
            )
            .await?
        }
    };
    Ok(answer(NAME, outcome::group_info(response.code()), &response))
}

pub(super) async fn report(
    State(face): State<ClientFace>,
    Path(segment): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    const NAME: &str = "reports";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let uri = room(NAME, &segment)?;
    let octets = call.json::<ReportAbuse>(&face).await?.report.0;
    let report = AbuseReport::from_bytes(&octets)
        .map_err(|e| Problem::malformed(NAME, format!("the AbuseReport: {e}")))?;
    if report.reporting_user.is_some_and(|user| user != who.user) {
        return Err(Problem::malformed(
            NAME,
            "the report is in the name of another user",
        ));
    }
    // Who was never in the room has nothing to report from it, and must not make this provider say so.
    let seen = face.0.engine.room_of(&who.user, &uri).await;
    if seen.map_err(|e| Problem::engine(NAME, e))?.is_none() {
        return Err(Problem::refusal(NAME, &Refusal::Unknown { what: "room" }));
    }
    match face.0.engine.hub_of(&uri) {
        Hub::Own => {
            let done = face
                .0
                .engine
                .report_abuse(ctx, &uri, Actor::Client(who), octets)
                .await;
            done.map_err(|e| Problem::refusal(NAME, &e))?;
        }
        Hub::Peer(hub) => {
            let (client, body) = (&face.0.client, Bytes::from(octets));
            let answer = client
                .post(&hub, Endpoint::ReportAbuse, uri.as_str(), &ctx.request_id, body)
                .await;
            let answer = answer.map_err(|e| Problem::link(NAME, &e))?;
            if !answer.status.is_success() {
                return Err(Problem::answer(NAME, &hub, &answer));
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `?from=&limit=&wait_ms=`
#[derive(Debug, Deserialize)]
pub(super) struct LogQuery {
    from: Option<u64>,
    limit: Option<usize>,
    wait_ms: Option<u64>,
}

pub(super) async fn log(
    State(face): State<ClientFace>,
    Path(segment): Path<String>,
    query: Result<Query<LogQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Json<LogPage>, Problem> {
    const NAME: &str = "log";
    let who = Call::new(NAME, request).who(&face).await?;
    let uri = room(NAME, &segment)?;
    let Query(query) = query.map_err(|e| Problem::malformed(NAME, e.body_text()))?;
    let wait = query
        .wait_ms
        .filter(|ms| *ms > 0)
        .map(|ms| Duration::from_millis(ms).min(LONGEST_POLL));
    let limit = query.limit.unwrap_or(usize::MAX);
    let page = face
        .feed(&uri, &who.user, query.from.unwrap_or(1), limit, wait)
        .await;
    page.map(|p| Json(convert::page(p)))
        .map_err(|e| Problem::refusal(NAME, &e))
}

impl ClientFace {
    /// [`Engine::feed`](room_engine::Engine::feed) that waits no longer than the service runs.
    pub(super) async fn feed(
        &self,
        room: &MimiUri,
        user: &MimiUri,
        from: u64,
        limit: usize,
        wait: Option<Duration>,
    ) -> Result<FeedPage, Refusal> {
        let engine = &self.0.engine;
        let mut stop = self.0.stop.clone();
        tokio::select! {
            page = engine.feed(room, user, from, limit, wait) => page,
            () = stop.wait() => engine.feed(room, user, from, limit, None).await,
        }
    }
}
