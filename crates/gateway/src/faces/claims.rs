//! KeyPackages for a room's new participant, fetched by its hub (draft-ietf-mimi-protocol-06 section 5.2).

use crate::mimi_client::{LinkError, MimiClient};
use bytes::Bytes;
use mimi_wire::directory::Endpoint;
use mimi_wire::protocol::{KeyMaterialRequest, KeyMaterialResponse};
use mimi_wire::{Decode as _, Domain, MimiUri};
use room_engine::{Actor, ClaimRoute, Engine, Refusal, RequestContext};
use std::time::Duration;

/// Why a claim has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The engine refuses.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The other provider doesn't answer.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other provider answers with an error.
    #[error("{peer} answered {status}")]
    Status {
        /// Who.
        peer: Domain,
        /// HTTP status.
        status: http::StatusCode,
        /// When a repeat makes sense.
        retry_after: Option<Duration>,
    },
    /// The other provider's answer can't be read.
    #[error("the answer of {peer} is malformed: {reason}")]
    Answer {
        /// Who.
        peer: Domain,
        /// Why.
        reason: String,
    },
}

/// As hub of `room`: gets the KeyPackages from the target's provider (which may be this one), and remembers where they
/// came from before anybody sees them, because the Welcome will have to go there.
pub async fn as_hub(
    engine: &Engine,
    client: &MimiClient,
    ctx: RequestContext,
    actor: &Actor,
    room: &MimiUri,
    request: &KeyMaterialRequest,
    octets: Bytes,
) -> Result<KeyMaterialResponse, ClaimError> {
    let response = match engine.claim_route(ctx.clone(), room, actor, request).await? {
        ClaimRoute::Local => {
            let own = engine.config().provider.clone();
            engine
                .serve_key_material(ctx.clone(), &own, octets.to_vec())
                .await?
        }
        ClaimRoute::Provider(peer) => {
            let target = request.target_user.as_str();
            let answer = client
                .post(&peer, Endpoint::KeyMaterial, target, &ctx.request_id, octets)
                .await?;
            if answer.status != http::StatusCode::OK {
                return Err(ClaimError::Status {
                    peer,
                    status: answer.status,
                    retry_after: answer.retry_after,
                });
            }
            let response = KeyMaterialResponse::from_bytes(&answer.body).map_err(|e| ClaimError::Answer {
                peer: peer.clone(),
                reason: e.to_string(),
            })?;
            if response.user_uri != request.target_user {
                let reason = "it is about another user".to_owned();
                return Err(ClaimError::Answer { peer, reason });
            }
            response
        }
        ClaimRoute::Granted(response) => *response,
    };
    engine.record_claim(ctx, room, &response).await?;
    Ok(response)
}
