//! Octets too large for a portal event. Whoever knows the hash may read them; they are ciphertext.

use super::ClientFace;
use super::error::Problem;
use super::request::Call;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use mls_client::api::{ApiErrorCode, BlobRef};
use room_engine::Refusal;
use store::BlobHash;

const NAME: &str = "blobs";

pub(super) async fn put(State(face): State<ClientFace>, request: Request) -> Result<Json<BlobRef>, Problem> {
    let call = Call::new(NAME, request);
    call.who(&face).await?;
    let octets = call.octets(&face).await?;
    let size = u64::try_from(octets.len()).unwrap_or(u64::MAX);
    let hash = face
        .0
        .store
        .blob_put(octets)
        .await
        .map_err(|e| Problem::refusal(NAME, &Refusal::Store(e)))?;
    Ok(Json(BlobRef {
        sha256: hash.to_string(),
        size,
    }))
}

pub(super) async fn get(
    State(face): State<ClientFace>,
    Path(sha256): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    Call::new(NAME, request).who(&face).await?;
    let hash: BlobHash = sha256
        .parse()
        .map_err(|_| Problem::malformed(NAME, "not a SHA-256 in lower-case hex"))?;
    match face.0.store.blob_get(&hash).await {
        Ok(Some(octets)) => {
            Ok(([(header::CONTENT_TYPE, "application/octet-stream")], octets).into_response())
        }
        Ok(None) => Err(Problem::new(
            NAME,
            ApiErrorCode::NotFound,
            "there is no such blob",
        )),
        Err(error) => Err(Problem::refusal(NAME, &Refusal::Store(error))),
    }
}
