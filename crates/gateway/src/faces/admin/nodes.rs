//! The nodes of the provider.

use super::AdminFace;
use super::api::{AddNode, Nodes, Release, TakeOver, TakenOver};
use super::endpoints::Problem;
use crate::cluster::NodeLine;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use lane::{Cluster, ClusterError, NodeName};
use room_engine::{Clock as _, SystemClock};

impl From<ClusterError> for Problem {
    fn from(error: ClusterError) -> Self {
        let (status, code) = match &error {
            ClusterError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown"),
            ClusterError::Exists(_) | ClusterError::Last(_) | ClusterError::TakeOver(_) => {
                (StatusCode::CONFLICT, "conflict")
            }
            _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

fn cluster(face: &AdminFace) -> Result<&Cluster, Problem> {
    let missing = "this node is the only one: its configuration has no section cluster";
    face.0
        .cluster
        .as_ref()
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no_cluster", missing))
}

pub(super) async fn list(State(face): State<AdminFace>) -> Result<Json<Nodes>, Problem> {
    Ok(Json(cluster(&face)?.view().into()))
}

pub(super) async fn add(
    State(face): State<AdminFace>,
    Json(request): Json<AddNode>,
) -> Result<StatusCode, Problem> {
    let line: Result<NodeLine, String> = request.node.parse();
    let NodeLine(name, member) = line.map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "malformed", e))?;
    tracing::warn!(node = %name, address = %member.address, "audit: a node is added");
    cluster(&face)?.add(name, member).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove(
    State(face): State<AdminFace>,
    Path(node): Path<String>,
) -> Result<StatusCode, Problem> {
    tracing::warn!(node, "audit: a node is removed");
    cluster(&face)?.remove(NodeName::from(node.as_str())).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn lead(
    State(face): State<AdminFace>,
    Path(node): Path<String>,
) -> Result<StatusCode, Problem> {
    let cluster = cluster(&face)?;
    let to = NodeName::from(node.as_str());
    if *cluster.name() == to {
        return Ok(StatusCode::NO_CONTENT);
    }
    tracing::warn!(node, "audit: another node is to order");
    cluster.hand_over(Some(to)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn stated(reason: &str) -> Result<(), Problem> {
    if reason.trim().is_empty() {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            "a reason is missing".to_owned(),
        ));
    }
    Ok(())
}

pub(super) async fn take_over(
    State(face): State<AdminFace>,
    Json(request): Json<TakeOver>,
) -> Result<Json<TakenOver>, Problem> {
    stated(&request.reason)?;
    tracing::warn!(lost = ?request.lost, request.reason, "audit: this node is to take over without a majority");
    let lost = request
        .lost
        .iter()
        .map(|name| NodeName::from(name.as_str()))
        .collect();
    let now = SystemClock.now_ms();
    let statement = cluster(&face)?.take_over(lost, request.reason, now).await?;
    Ok(Json(statement.into()))
}

pub(super) async fn release(
    State(face): State<AdminFace>,
    Json(request): Json<Release>,
) -> Result<StatusCode, Problem> {
    stated(&request.reason)?;
    tracing::warn!(request.reason, "audit: the frozen lane is released");
    cluster(&face)?.release().await?;
    Ok(StatusCode::NO_CONTENT)
}
