//! Joining, leaving and knocking through this server, and invitations to it.

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::IntoResponse as _;
use event_graph::{Pdu, RoomVersion};
use http::StatusCode;
use matrix_wire::requests::{InviteRequest, values};
use room_engine::graphs::{Change, Fate, GraphCommand, GraphReply, InviteView};
use serde_json::{Value, json};
use std::fmt::Write as _;

use super::{Answer, Authentic, MatrixError, SMALL, ServerFace, raw_json, write_events};
use crate::federation::unexpected;

async fn make(
    face: &ServerFace,
    room: &str,
    user: String,
    query: Option<String>,
    request: Request,
    change: Change,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let mut versions = values(query.as_deref(), "ver");
    if versions.is_empty() {
        // What not to name a version means.
        versions.push("1".to_owned());
    }
    let command = GraphCommand::Template {
        origin: by.origin.as_str().to_owned(),
        user,
        change,
        versions,
    };
    match face.federation().ask(&by.ctx, room, command).await? {
        GraphReply::Template { event, version } => {
            Ok(axum::Json(json!({ "event": event, "room_version": version.as_str() })).into_response())
        }
        GraphReply::IncompatibleVersion(version) => {
            let text = "your server doesn't know the room's version";
            let mut error = MatrixError::new(StatusCode::BAD_REQUEST, "M_INCOMPATIBLE_ROOM_VERSION", text);
            error.more.push(("room_version", json!(version.as_str())));
            Err(error)
        }
        other => Err(unexpected(&other).into()),
    }
}

type RoomAndUser = Path<(String, String)>;

pub(super) async fn make_join(
    State(face): State<ServerFace>,
    Path((room, user)): RoomAndUser,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    make(&face, &room, user, query, request, Change::Join).await
}

pub(super) async fn make_leave(
    State(face): State<ServerFace>,
    Path((room, user)): RoomAndUser,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    make(&face, &room, user, query, request, Change::Leave).await
}

pub(super) async fn make_knock(
    State(face): State<ServerFace>,
    Path((room, user)): RoomAndUser,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    make(&face, &room, user, query, request, Change::Knock).await
}

/// The event of a body, verified, which has to be the one that the path names.
async fn event_of_path(
    face: &ServerFace,
    room: &str,
    event: &str,
    octets: &[u8],
    version: RoomVersion,
) -> Result<Pdu, MatrixError> {
    let verified = face.federation().verify(version, &[octets]).await;
    let pdu = match verified.into_iter().next() {
        Some(Ok(pdu)) => pdu,
        Some(Err(error)) => {
            return Err(MatrixError::forbidden(format!(
                "the event is not acceptable: {}",
                error.1
            )));
        }
        None => return Err(MatrixError::bad_json("no event")),
    };
    if pdu.event_id().to_string() != event {
        return Err(MatrixError::invalid("the path names another event"));
    }
    if pdu.room_id() != room {
        return Err(MatrixError::invalid("the path names another room"));
    }
    if pdu.is_redacted() {
        return Err(MatrixError::invalid("the content hash is wrong"));
    }
    Ok(pdu)
}

async fn receive(
    face: &ServerFace,
    room: &str,
    event: &str,
    request: Request,
    change: Change,
) -> Result<room_engine::graphs::Joined, MatrixError> {
    let by = face.authenticate(request, SMALL).await?;
    let version = face.version_of(room).await?;
    let pdu = event_of_path(face, room, event, &by.body, version).await?;
    let command = GraphCommand::Receive {
        origin: by.origin.as_str().to_owned(),
        pdu,
        change,
    };
    let joined = match face.federation().ask(&by.ctx, room, command).await? {
        GraphReply::Joined(joined) => *joined,
        other => return Err(unexpected(&other).into()),
    };
    match &joined.fate {
        Fate::Accepted | Fate::Known => Ok(joined),
        Fate::Rejected(rule) | Fate::SoftFailed(rule) => Err(MatrixError::forbidden(rule.describe())),
        Fate::Dropped(reason) => Err(MatrixError::invalid(*reason)),
        _ => Err(MatrixError::invalid(
            "the event refers to events that are not here",
        )),
    }
}

pub(super) async fn send_join(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let joined = receive(&face, &room, &event, request, Change::Join).await?;
    // Ten thousand members make ten megabytes: written once, as they are stored.
    let mut out = String::with_capacity((joined.state.len() + joined.auth_chain.len()) * 1024 + 4096);
    let _ = write!(
        out,
        "{{\"origin\":{},\"members_omitted\":false,\"servers_in_room\":{},\"event\":{},\"state\":",
        json!(face.federation().name()),
        json!(joined.servers),
        joined.pdu.as_str()
    );
    write_events(&mut out, &joined.state);
    out.push_str(",\"auth_chain\":");
    write_events(&mut out, &joined.auth_chain);
    out.push('}');
    Ok(raw_json(out))
}

pub(super) async fn send_leave(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    receive(&face, &room, &event, request, Change::Leave).await?;
    Ok(axum::Json(json!({})).into_response())
}

pub(super) async fn send_knock(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let joined = receive(&face, &room, &event, request, Change::Knock).await?;
    let mut out = "{\"knock_room_state\":".to_owned();
    write_events(&mut out, &joined.state);
    out.push('}');
    Ok(raw_json(out))
}

/// Takes an invitation of the node user; gives the event with our signature.
async fn invited(
    face: &ServerFace,
    room: &str,
    event: &str,
    by: &Authentic,
    wanted: &InviteRequest,
) -> Result<Pdu, MatrixError> {
    let version: RoomVersion = wanted.room_version.parse().map_err(|_| {
        let mut error = MatrixError::new(
            StatusCode::BAD_REQUEST,
            "M_INCOMPATIBLE_ROOM_VERSION",
            "unknown room version",
        );
        error.more.push(("room_version", json!(wanted.room_version)));
        error
    })?;
    if wanted.invite_room_state.len() > 50 {
        return Err(MatrixError::invalid("too much invite_room_state"));
    }
    if version.rules().room_id_is_create_hash {
        let is_create = |e: &Value| e.get("type").and_then(Value::as_str) == Some("m.room.create");
        if !wanted.invite_room_state.iter().any(is_create) {
            let text = "invite_room_state lacks the create event";
            return Err(MatrixError::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", text));
        }
    }
    let pdu = event_of_path(face, room, event, wanted.event.get().as_bytes(), version).await?;
    let federation = face.federation();
    let user = federation.engine().node_user();
    let fits = pdu.event_type() == "m.room.member"
        && pdu.content_value().get("membership").and_then(Value::as_str) == Some("invite");
    if !fits {
        return Err(MatrixError::invalid("not an invitation"));
    }
    if event_graph::ids::server_of_user(pdu.sender()) != Some(by.origin.as_str()) {
        return Err(MatrixError::forbidden(
            "the inviter is no user of the sending server",
        ));
    }
    if pdu.state_key() != Some(user.as_str()) {
        return Err(MatrixError::forbidden("the invited user is none of this server"));
    }
    let invite = InviteView {
        room_id: room.to_owned(),
        room_version: version.as_str().to_owned(),
        sender: pdu.sender().to_owned(),
        origin: by.origin.as_str().to_owned(),
    };
    let signed = pdu.countersign(federation.client().identity());
    let signed = signed.map_err(|e| MatrixError::invalid(e.to_string()))?;
    // In a room that is here already the event counts at once, and one that it doesn't take gets no signature.
    if federation.engine().graph_version(room).await?.is_some() {
        let (origin, pdus) = (Some(by.origin.as_str()), vec![signed.clone()]);
        let admitted = federation.admit(&by.ctx, room, origin, pdus, false).await?;
        for (_, fate) in &admitted.fates {
            match fate {
                Fate::Dropped(reason) => return Err(MatrixError::forbidden(*reason)),
                Fate::Rejected(rule) => return Err(MatrixError::forbidden(rule.describe())),
                _ => {}
            }
        }
    }
    federation.engine().remember_invite(&invite, &pdu).await?;
    Ok(signed)
}

pub(super) async fn invite_v2(
    State(face): State<ServerFace>,
    Path((room, event)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let by = face.authenticate(request, SMALL).await?;
    let wanted: InviteRequest = by.json()?;
    let signed = invited(&face, &room, &event, &by, &wanted).await?;
    Ok(raw_json(format!("{{\"event\":{}}}", signed.as_str())))
}

/// Only for room versions 1 and 2, which nobody here knows.
pub(super) async fn invite_v1(
    State(face): State<ServerFace>,
    Path(_): Path<(String, String)>,
    request: Request,
) -> Answer {
    face.authenticate(request, SMALL).await?;
    let mut error = MatrixError::new(
        StatusCode::BAD_REQUEST,
        "M_INCOMPATIBLE_ROOM_VERSION",
        "rooms of versions 1 and 2 are not known here",
    );
    error.more.push(("room_version", json!("1")));
    Err(error)
}
