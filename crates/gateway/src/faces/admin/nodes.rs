//! The nodes of the provider.

use super::AdminFace;
use super::api::{AddNode, Nodes};
use super::endpoints::Problem;
use crate::cluster::NodeLine;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use lane::{Cluster, ClusterError, NodeName};

impl From<ClusterError> for Problem {
    fn from(error: ClusterError) -> Self {
        let (status, code) = match &error {
            ClusterError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown"),
            ClusterError::Exists(_) | ClusterError::Last(_) => (StatusCode::CONFLICT, "conflict"),
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
