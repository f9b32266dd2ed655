//! One handler per endpoint.

use super::inbound::Inbound;
use super::problem::Problem;
use super::{FACE, MimiFace};
use crate::faces::{claims, outcome};
use crate::heads::RoomHead;
use crate::web::refused;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use mimi_wire::codec::DecodeErrorKind;
use mimi_wire::protocol::{GroupInfoResponse, KeyMaterialRequest, KeyMaterialResponse, KeyMaterialUserCode};
use mimi_wire::{Decode as _, Encode, Opaque};
use room_engine::{Actor, Hub, Refusal};

/// 200 with a TLS struct.
fn octets(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

/// The same, counted if it is a refusal.
fn outcome<T: Encode>(endpoint: &'static str, reason: Option<&'static str>, response: &T) -> Response {
    if let Some(reason) = reason {
        refused(FACE, endpoint, reason);
    }
    octets(response.to_bytes())
}

/// Section 5.2. For an own user: serves. For anybody else's, as hub of the room: asks their provider.
pub(super) async fn key_material(
    State(face): State<MimiFace>,
    request: Request,
) -> Result<Response, Problem> {
    const NAME: &str = "keyMaterial";
    let Inbound { peer, uri, ctx, body } = Inbound::read(&face, NAME, request).await?;
    let request = match KeyMaterialRequest::from_bytes(&body) {
        Ok(request) => request,
        // The draft has a code for this; what follows such a protocol's octet is for those who know it.
        Err(e) if matches!(e.kind, DecodeErrorKind::UnsupportedProtocol(_)) => {
            let response = KeyMaterialResponse::refusal(KeyMaterialUserCode::IncompatibleProtocol, uri);
            return Ok(outcome(
                NAME,
                outcome::key_material(response.user_status),
                &response,
            ));
        }
        Err(e) => return Err(Problem::malformed(NAME, e.to_string())),
    };
    if request.target_user != uri {
        return Err(Problem::malformed(
            NAME,
            "the path and the body name different users",
        ));
    }
    let engine = &face.0.engine;
    let hub_room = request
        .room_id
        .clone()
        .filter(|room| engine.hub_of(room) == Hub::Own);
    if let Some(room) = hub_room {
        let actor = Actor::Peer(peer);
        let answer = claims::as_hub(engine, &face.0.client, ctx, &actor, &room, &request, body).await;
        let response = answer.map_err(|e| Problem::claim(NAME, &e))?;
        return Ok(outcome(
            NAME,
            outcome::key_material(response.user_status),
            &response,
        ));
    }
    if request.target_user.domain() != engine.config().provider {
        let refusal = Refusal::Unknown { what: "user" };
        return Err(Problem::refusal(NAME, &refusal));
    }
    if request.room_id.as_ref().is_some_and(|room| room.domain() != peer) {
        let reason = "KeyPackages are fetched through the hub of the room that they are for".to_owned();
        return Err(Problem::refusal(NAME, &Refusal::Forbidden { reason }));
    }
    let response = engine.serve_key_material(ctx, &peer, body.to_vec()).await;
    let response = response.map_err(|e| Problem::refusal(NAME, &e))?;
    Ok(outcome(
        NAME,
        outcome::key_material(response.user_status),
        &response,
    ))
}

/// Section 5.3.
pub(super) async fn update(State(face): State<MimiFace>, request: Request) -> Result<Response, Problem> {
    const NAME: &str = "update";
    let Inbound { peer, uri, ctx, body } = Inbound::read(&face, NAME, request).await?;
    let response = face
        .0
        .engine
        .update(ctx, &uri, Actor::Peer(peer), body.to_vec())
        .await;
    let response = response.map_err(|e| Problem::refusal(NAME, &e))?;
    Ok(outcome(NAME, outcome::update(response.outcome.code()), &response))
}

/// Section 5.4.
pub(super) async fn submit_message(
    State(face): State<MimiFace>,
    request: Request,
) -> Result<Response, Problem> {
    const NAME: &str = "submitMessage";
    let Inbound { peer, uri, ctx, body } = Inbound::read(&face, NAME, request).await?;
    let response = face
        .0
        .engine
        .submit_message(ctx, &uri, &peer, body.to_vec())
        .await;
    let response = response.map_err(|e| Problem::refusal(NAME, &e))?;
    Ok(outcome(NAME, outcome::submit(response.code()), &response))
}

/// Section 5.5. 201 once everything in the body is durable.
pub(super) async fn notify(State(face): State<MimiFace>, request: Request) -> Result<Response, Problem> {
    const NAME: &str = "notify";
    let Inbound { peer, uri, ctx, body } = Inbound::read(&face, NAME, request).await?;
    let done = face.0.engine.notify(ctx, &uri, &peer, body.to_vec()).await;
    done.map(|()| StatusCode::CREATED.into_response())
        .map_err(|e| Problem::refusal(NAME, &e))
}

/// Section 5.6.
pub(super) async fn group_info(State(face): State<MimiFace>, request: Request) -> Result<Response, Problem> {
    const NAME: &str = "groupInfo";
    let Inbound { peer, uri, ctx, body } = Inbound::read(&face, NAME, request).await?;
    let room_id = || Opaque::from(uri.as_bytes().to_vec());
    let response = match face
        .0
        .engine
        .group_info(ctx, &uri, Actor::Peer(peer), body.to_vec())
        .await
    {
        Ok(response) => response,
        // The draft has codes for these.
        Err(Refusal::Unknown { .. } | Refusal::NotHub { .. }) => {
            GroupInfoResponse::NoSuchRoom { room_id: room_id() }
        }
        Err(Refusal::Forbidden { .. }) => GroupInfoResponse::NotAuthorized { room_id: room_id() },
        Err(refusal) => return Err(Problem::refusal(NAME, &refusal)),
    };
    Ok(outcome(NAME, outcome::group_info(response.code()), &response))
}

/// Section 5.9. 201: the report is kept for the operator.
pub(super) async fn report_abuse(
    State(face): State<MimiFace>,
    request: Request,
) -> Result<Response, Problem> {
    const NAME: &str = "reportAbuse";
    let Inbound { peer, uri, ctx, body } = Inbound::read(&face, NAME, request).await?;
    let engine = &face.0.engine;
    let done = engine
        .report_abuse(ctx, &uri, Actor::Peer(peer), body.to_vec())
        .await;
    done.map(|()| StatusCode::CREATED.into_response())
        .map_err(|e| Problem::refusal(NAME, &e))
}

/// Our own extension: the newest epoch known here, for a peer that was restored from a backup.
pub(super) async fn room_head(State(face): State<MimiFace>, request: Request) -> Result<Response, Problem> {
    const NAME: &str = "roomHead";
    let Inbound { peer, uri, body, .. } = Inbound::read(&face, NAME, request).await?;
    if !body.is_empty() {
        return Err(Problem::malformed(NAME, "the request has no body"));
    }
    let epoch = face.0.engine.room_head(&uri, &peer).await;
    let epoch = epoch.map_err(|e| Problem::refusal(NAME, &e))?;
    Ok(Json(RoomHead {
        epoch: epoch.to_string(),
    })
    .into_response())
}

pub(super) async fn unknown() -> Problem {
    Problem::new(
        "none",
        StatusCode::NOT_FOUND,
        "no_endpoint",
        "there is no such endpoint; see the directory",
    )
}

pub(super) async fn wrong_method() -> Problem {
    Problem::new(
        "none",
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        "the endpoint takes another method",
    )
}
