//! The admin API's handlers.

use super::api::{
    Account, AccountAdded, AddAccount, AdminError, HomeserverStatus, Queue, Reloaded, Report, Room,
    SetAsideEvent, Unfence, Unfenced, UpgradePortal,
};
use super::{AdminFace, FACE};
use crate::web::{RequestId, refused};
use axum::Json;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mimi_wire::MimiUri;
use room_engine::{EngineError, Refusal, RoomView};

/// An error answer. Making it counts it.
pub(super) struct Problem(StatusCode, AdminError);

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        refused(FACE, "admin", code);
        Self(
            status,
            AdminError {
                code: code.to_owned(),
                error: text.into(),
            },
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Unknown { .. } => StatusCode::NOT_FOUND,
            Refusal::Malformed { .. } => StatusCode::BAD_REQUEST,
            Refusal::Conflict { .. } => StatusCode::CONFLICT,
            Refusal::Forbidden { .. } | Refusal::NotHub { .. } => StatusCode::FORBIDDEN,
            Refusal::Unavailable { .. } | Refusal::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(error = %refusal, "an admin request failed");
        }
        Self::new(status, refusal.code(), refusal.to_string())
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        tracing::error!(%error, "an admin request failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", error.to_string())
    }
}

/// Lets through who has the token.
pub(super) async fn authenticate(State(face): State<AdminFace>, request: Request, next: Next) -> Response {
    let Some(token) = &face.0.token else {
        let text = "the admin API is off: the service has no admin token";
        return Problem::new(StatusCode::FORBIDDEN, "no_token", text).into_response();
    };
    let value = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok());
    let shown = value.and_then(|v| v.strip_prefix("Bearer "));
    if !shown.is_some_and(|shown| token.matches(shown.trim())) {
        return Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "wrong or no admin token",
        )
        .into_response();
    }
    next.run(request).await
}

pub(super) async fn accounts(State(face): State<AdminFace>) -> Result<Json<Vec<Account>>, Problem> {
    Ok(Json(
        face.0
            .engine
            .accounts()
            .await?
            .into_iter()
            .map(Account::from)
            .collect(),
    ))
}

async fn read<T: serde::de::DeserializeOwned>(face: &AdminFace, request: Request) -> Result<T, Problem> {
    let body = face.0.limit.read(request.into_body()).await;
    let body = body.map_err(|e| Problem::new(e.status(), e.code(), e.to_string()))?;
    serde_json::from_slice(&body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("the body: {e}")))
}

pub(super) async fn add_account(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Json<AccountAdded>, Problem> {
    let body: AddAccount = read(&face, request).await?;
    if face.0.engine.config().homeserver.is_some() {
        let text = "beside a homeserver its accounts are the users; make the account there";
        return Err(Problem::new(StatusCode::FORBIDDEN, "homeserver", text));
    }
    let (user, token) = face.0.engine.add_account((&id).into(), &body.user).await?;
    Ok(Json(AccountAdded {
        user: user.to_string(),
        token: token.to_string(),
    }))
}

pub(super) async fn remove_account(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(user): Path<String>,
) -> Result<StatusCode, Problem> {
    face.0.engine.remove_account((&id).into(), &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rooms(State(face): State<AdminFace>) -> Result<Json<Vec<Room>>, Problem> {
    let leader = leader(&face);
    let rooms = face.0.engine.rooms().await?.into_iter();
    Ok(Json(rooms.map(|view| shown(leader.clone(), view)).collect()))
}

fn room_uri(text: &str) -> Result<MimiUri, Problem> {
    MimiUri::parse(text)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("the room URI: {e}")))
}

pub(super) async fn unbridge(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
) -> Result<StatusCode, Problem> {
    face.0.engine.unbridge((&id).into(), &room_uri(&room)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn bridge(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
) -> Result<StatusCode, Problem> {
    face.0.engine.bridge((&id).into(), &room_uri(&room)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn sync_portal(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
) -> Result<StatusCode, Problem> {
    face.0
        .engine
        .sync_portal((&id).into(), &room_uri(&room)?, None)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn upgrade_portal(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    Path(room): Path<String>,
    Json(body): Json<UpgradePortal>,
) -> Result<StatusCode, Problem> {
    face.0
        .engine
        .upgrade_portal((&id).into(), &room_uri(&room)?, &body.version)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn room(
    State(face): State<AdminFace>,
    Path(room): Path<String>,
) -> Result<Json<Room>, Problem> {
    let uri = room_uri(&room)?;
    let view = face
        .0
        .engine
        .room(&uri)
        .await?
        .ok_or(Refusal::Unknown { what: "room" })?;
    Ok(Json(shown(leader(&face), view)))
}

/// The node that orders, where there are several.
fn leader(face: &AdminFace) -> Option<String> {
    face.0.cluster.as_ref().and_then(|cluster| cluster.view().leader)
}

fn shown(leader: Option<String>, view: RoomView) -> Room {
    Room {
        leader,
        ..view.into()
    }
}

pub(super) async fn unfence(
    State(face): State<AdminFace>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Json<Unfenced>, Problem> {
    let body: Unfence = read(&face, request).await?;
    let room = body.room.as_deref().map(room_uri).transpose()?;
    let freed = face.0.engine.accept_rollback((&id).into(), room.as_ref()).await?;
    Ok(Json(freed.into()))
}

pub(super) async fn queues(State(face): State<AdminFace>) -> Result<Json<Vec<Queue>>, Problem> {
    Ok(Json(
        face.0
            .engine
            .queues()
            .await?
            .into_iter()
            .map(Queue::from)
            .collect(),
    ))
}

pub(super) async fn homeserver(State(face): State<AdminFace>) -> Result<Json<HomeserverStatus>, Problem> {
    let watch = face
        .0
        .watch
        .as_ref()
        .ok_or(Refusal::Unknown { what: "homeserver" })?;
    Ok(Json(watch.watched().into()))
}

pub(super) async fn set_aside(State(face): State<AdminFace>) -> Result<Json<Vec<SetAsideEvent>>, Problem> {
    Ok(Json(
        face.0
            .engine
            .set_aside()
            .await?
            .into_iter()
            .map(SetAsideEvent::from)
            .collect(),
    ))
}

pub(super) async fn reload(State(face): State<AdminFace>) -> Result<Json<Reloaded>, Problem> {
    face.0
        .reloader
        .again()
        .await
        .map(Json)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.code().name(), e.cause()))
}

/// Reports listed at most.
const REPORTS: usize = 1000;

pub(super) async fn reports(State(face): State<AdminFace>) -> Result<Json<Vec<Report>>, Problem> {
    let reports = face.0.engine.abuse_reports(REPORTS).await?;
    Ok(Json(reports.into_iter().map(Report::from).collect()))
}

pub(super) async fn report(
    State(face): State<AdminFace>,
    Path(id): Path<String>,
) -> Result<Json<Report>, Problem> {
    let view = face.0.engine.abuse_report(&id).await?;
    let view = view.ok_or(Refusal::Unknown { what: "report" })?;
    Ok(Json(Report::from(view)))
}
