//! Questions about users, aliases and lists of rooms, of which a node has next to nothing.

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::IntoResponse as _;
use http::StatusCode;
use room_engine::graphs::{GraphReply, Question};
use serde_json::{Value, json};

use super::{Answer, MatrixError, SMALL, ServerFace, required, value};
use crate::federation::unexpected;

pub(super) async fn directory(
    State(face): State<ServerFace>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    face.authenticate(request, SMALL).await?;
    required(query.as_deref(), "room_alias")?;
    Err(MatrixError::not_found("this server has no room aliases"))
}

pub(super) async fn profile(
    State(face): State<ServerFace>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    face.authenticate(request, SMALL).await?;
    let user = required(query.as_deref(), "user_id")?;
    own_user(&face, &user)?;
    let field = value(query.as_deref(), "field");
    let body = match field.as_deref() {
        None | Some("displayname") => json!({ "displayname": "Causeway" }),
        Some(_) => json!({}),
    };
    Ok(axum::Json(body).into_response())
}

/// The node user is the only one here; others' data are never given out (CVE-2023-43796).
fn own_user(face: &ServerFace, user: &str) -> Result<(), MatrixError> {
    if user == face.federation().engine().node_user() {
        Ok(())
    } else {
        Err(MatrixError::not_found("no such user here"))
    }
}

pub(super) async fn devices(
    State(face): State<ServerFace>,
    Path(user): Path<String>,
    request: Request,
) -> Answer {
    face.authenticate(request, SMALL).await?;
    own_user(&face, &user)?;
    Ok(axum::Json(json!({ "user_id": user, "stream_id": 1, "devices": [] })).into_response())
}

pub(super) async fn keys_query(State(face): State<ServerFace>, request: Request) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let wanted: Value = by.json()?;
    let users = wanted
        .get("device_keys")
        .and_then(Value::as_object)
        .ok_or_else(|| MatrixError::bad_json("device_keys is no object"))?;
    let own = face.federation().engine().node_user();
    let known: serde_json::Map<String, Value> = users
        .keys()
        .filter(|user| **user == own)
        .map(|user| (user.clone(), json!({})))
        .collect();
    Ok(axum::Json(json!({ "device_keys": known })).into_response())
}

pub(super) async fn keys_claim(State(face): State<ServerFace>, request: Request) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let wanted: Value = by.json()?;
    wanted
        .get("one_time_keys")
        .and_then(Value::as_object)
        .ok_or_else(|| MatrixError::bad_json("one_time_keys is no object"))?;
    Ok(axum::Json(json!({ "one_time_keys": {} })).into_response())
}

/// Graphs are invite-only: none is public.
pub(super) async fn public_rooms(State(face): State<ServerFace>, request: Request) -> Answer {
    face.authenticate(request, SMALL).await?;
    Ok(axum::Json(json!({ "chunk": [], "total_room_count_estimate": 0 })).into_response())
}

pub(super) async fn hierarchy(
    State(face): State<ServerFace>,
    Path(room): Path<String>,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let summary = match face.ask(&by, &room, Question::Summary).await {
        Ok(GraphReply::Summary(summary)) => summary,
        Ok(other) => return Err(unexpected(&other).into()),
        // Whoever may not see the room does not learn that it is here.
        Err(error) if error.status == StatusCode::FORBIDDEN => {
            return Err(MatrixError::not_found("no such room here"));
        }
        Err(error) => return Err(error),
    };
    let mut about = json!({
        "room_id": summary.room_id, "num_joined_members": summary.joined, "world_readable": false,
        "guest_can_join": false, "children_state": [], "room_version": summary.room_version,
        "join_rule": summary.join_rule.unwrap_or_else(|| "invite".to_owned()),
    });
    for (name, value) in [("name", summary.name), ("topic", summary.topic)] {
        if let (Some(value), Some(about)) = (value, about.as_object_mut()) {
            about.insert(name.to_owned(), json!(value));
        }
    }
    Ok(axum::Json(json!({ "room": about, "children": [], "inaccessible_children": [] })).into_response())
}

pub(super) async fn openid() -> MatrixError {
    MatrixError::new(
        StatusCode::UNAUTHORIZED,
        "M_UNKNOWN_TOKEN",
        "no user of this server signs in that way",
    )
}
