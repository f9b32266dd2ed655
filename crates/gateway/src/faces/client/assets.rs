//! Attachments: kept here for own clients, fetched for them by the ways of draft-ietf-mimi-protocol-06 section 5.10.

use super::ClientFace;
use super::error::Problem;
use super::request::{Call, room};
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use mls_client::api::{ApiErrorCode, AssetRef};
use room_engine::{ClientActor, Hub, Refusal};
use serde::Deserialize;

const NAME: &str = "assets";
/// Largest encapsulated request.
const OHTTP_REQUEST: usize = 16 * 1024;

/// Keeps what a client has encrypted.
pub(super) async fn put(State(face): State<ClientFace>, request: Request) -> Result<Json<AssetRef>, Problem> {
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let kept = face.0.assets.keep(ctx, &who.user, call.into_body()).await;
    kept.map(|(url, size)| Json(AssetRef { url, size }))
        .map_err(|e| Problem::asset(NAME, &e))
}

/// For everybody who knows the address.
pub(super) async fn public(
    State(face): State<ClientFace>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let download = face.0.assets.own(&id).await;
    download
        .map(crate::assets::Download::into_response)
        .map_err(|e| Problem::asset(NAME, &e))
}

/// `?url=`
#[derive(Deserialize)]
pub(super) struct Wanted {
    url: String,
}

/// The room's hub, if the caller has ever been in the room.
async fn hub(face: &ClientFace, who: &ClientActor, segment: &str) -> Result<Hub, Problem> {
    let uri = room(NAME, segment)?;
    let seen = face.0.engine.room_of(&who.user, &uri).await;
    if seen.map_err(|e| Problem::engine(NAME, e))?.is_none() {
        return Err(Problem::refusal(NAME, &Refusal::Unknown { what: "room" }));
    }
    Ok(face.0.engine.hub_of(&uri))
}

/// An asset named in a message of the room, by the hub's proxy.
pub(super) async fn get(
    State(face): State<ClientFace>,
    Path(segment): Path<String>,
    query: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let call = Call::new(NAME, request);
    let id = call.ctx().request_id;
    let asking = call.who(&face);
    let who = asking.await?;
    let hub = hub(&face, &who, &segment).await?;
    let Query(wanted) = query.map_err(|e| Problem::malformed(NAME, e.body_text()))?;
    let assets = &face.0.assets;
    let download = match &hub {
        Hub::Own => assets.fetch(&wanted.url, &id).await,
        Hub::Peer(hub) => assets.fetch_through(hub, &wanted.url, &id).await,
    };
    download
        .map(crate::assets::Download::into_response)
        .map_err(|e| Problem::asset(NAME, &e))
}

/// The keys of the hub's OHTTP gateway.
pub(super) async fn ohttp_keys(
    State(face): State<ClientFace>,
    Path(segment): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let call = Call::new(NAME, request);
    let id = call.ctx().request_id;
    let asking = call.who(&face);
    let who = asking.await?;
    let keys = match hub(&face, &who, &segment).await? {
        Hub::Own => face.0.ohttp.keys().into(),
        Hub::Peer(hub) => {
            let answer = face.0.client.ohttp_keys(&hub, &id).await;
            let answer = answer.map_err(|e| Problem::link(NAME, &e))?;
            if !answer.status.is_success() {
                return Err(Problem::answer(NAME, &hub, &answer));
            }
            answer.body
        }
    };
    Ok(([(header::CONTENT_TYPE, ohttp::KEYS_TYPE)], keys).into_response())
}

/// The relay (RFC 9458 section 5.1): passes an encapsulated request on to the hub's gateway, without a word about whose
/// it is.
pub(super) async fn ohttp_relay(
    State(face): State<ClientFace>,
    Path(segment): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let call = Call::new(NAME, request);
    let asking = call.who(&face);
    let who = asking.await?;
    let hub = match hub(&face, &who, &segment).await? {
        Hub::Peer(hub) => hub,
        Hub::Own => {
            let text = "this provider is the room's hub itself: it would be relay and gateway in one; \
                        fetch the asset without OHTTP";
            return Err(Problem::new(NAME, ApiErrorCode::Forbidden, text));
        }
    };
    let sealed = call.octets(&face).await?;
    if sealed.len() > OHTTP_REQUEST {
        let text = format!("an encapsulated request is at most {OHTTP_REQUEST} octets");
        return Err(Problem::new(NAME, ApiErrorCode::TooLarge, text));
    }
    let relayed = face.0.assets.relay(&hub, sealed).await;
    let download = relayed.map_err(|e| Problem::asset(NAME, &e))?;
    let mut response = download.into_response();
    let kind = axum::http::HeaderValue::from_static(ohttp::RESPONSE_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
