//! Wishes made on the Matrix side, and the cards of followed rooms that portals show.

use super::error::Problem;
use super::request::{Call, room};
use super::{ClientFace, convert};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use mimi_wire::MimiUri;
use mls_client::api::{RoomCard, SetWake, Wish, WishOutcome};

pub(super) async fn list(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<Vec<Wish>>, Problem> {
    const NAME: &str = "wishes";
    let call = Call::new(NAME, request);
    let who = call.who(&face).await?;
    let wishes = face.0.engine.wishes(&who.user).await;
    let wishes = wishes.map_err(|e| Problem::engine(NAME, e))?;
    Ok(Json(wishes.into_iter().map(convert::wish).collect()))
}

pub(super) async fn wake(State(face): State<ClientFace>, request: Request) -> Result<StatusCode, Problem> {
    const NAME: &str = "wake";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let SetWake { matrix_device } = call.json(&face).await?;
    let set = face.0.engine.set_wake(ctx, &who, matrix_device).await;
    set.map_err(|e| Problem::refusal(NAME, &e))?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn settle(
    State(face): State<ClientFace>,
    Path(id): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    const NAME: &str = "wishes";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let outcome: WishOutcome = call.json(&face).await?;
    let settled = face.0.engine.settle_wish(ctx, &who.user, &id, outcome).await;
    settled.map_err(|e| Problem::refusal(NAME, &e))?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn card(
    State(face): State<ClientFace>,
    Path(uri): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    const NAME: &str = "card";
    let call = Call::new(NAME, request);
    let uri = room(NAME, &uri)?;
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let card: RoomCard = call.json(&face).await?;
    let mut participants = Vec::with_capacity(card.participants.len().min(1024));
    for one in card.participants {
        let user =
            MimiUri::parse(&one.user).map_err(|e| Problem::malformed(NAME, format!("a participant: {e}")))?;
        participants.push((user, one.role));
    }
    let card = room_engine::RoomCard {
        epoch: card.epoch,
        name: card.name,
        topic: card.topic,
        picture: card.picture,
        roles: card.roles.map(|roles| roles.0),
        participants,
    };
    let taken = face.0.engine.hand_in_card(ctx, &uri, &who, card).await;
    taken.map_err(|e| Problem::refusal(NAME, &e))?;
    Ok(StatusCode::NO_CONTENT)
}
