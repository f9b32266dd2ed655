//! Between providers without a room: consent and identifierQuery (draft-ietf-mimi-protocol-06 sections 5.7, 5.8).

use super::inbound::Inbound;
use super::problem::Problem;
use super::{FACE, MimiFace};
use crate::faces::outcome;
use crate::web::refused;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use mimi_wire::directory::parse_path_uri;
use mimi_wire::protocol::{ConsentEntry, IdentifierRequest};
use mimi_wire::{Decode as _, Domain, Encode as _, MimiUri};
use room_engine::Refusal;
use std::time::Duration;

/// An answer to a consent entry takes at least this long. A user who exists costs a write and one who doesn't costs none;
/// the time must not tell what the answer doesn't.
const CONSENT_TIME: Duration = Duration::from_millis(100);

/// What the path names: the draft's directory has the user there, its section 5.7 the domain.
enum Named {
    User(MimiUri),
    Domain(Domain),
}

impl Named {
    fn parse(raw: &str) -> Result<Self, String> {
        if let Ok(domain) = Domain::parse(raw) {
            return Ok(Self::Domain(domain));
        }
        parse_path_uri(raw).map(Self::User).map_err(|e| e.to_string())
    }

    fn fits(&self, user: &MimiUri) -> bool {
        match self {
            Self::User(named) => named == user,
            Self::Domain(domain) => *domain == user.domain(),
        }
    }
}

/// Section 5.7: request, cancel.
pub(super) async fn request_consent(
    State(face): State<MimiFace>,
    request: Request,
) -> Result<StatusCode, Problem> {
    const NAME: &str = "requestConsent";
    consent(&face, NAME, request, |entry| &entry.target_uri).await
}

/// Section 5.7: grant, revoke.
pub(super) async fn update_consent(
    State(face): State<MimiFace>,
    request: Request,
) -> Result<StatusCode, Problem> {
    const NAME: &str = "updateConsent";
    consent(&face, NAME, request, |entry| &entry.requester_uri).await
}

/// 201 once it is durable, whoever is meant.
async fn consent(
    face: &MimiFace,
    name: &'static str,
    request: Request,
    meant: impl FnOnce(&ConsentEntry) -> &MimiUri,
) -> Result<StatusCode, Problem> {
    let answer_at = tokio::time::Instant::now() + CONSENT_TIME;
    let Inbound { peer, uri, ctx, body } = Inbound::read_about(face, name, request, Named::parse).await?;
    let entry = ConsentEntry::from_bytes(&body).map_err(|e| Problem::malformed(name, e.to_string()))?;
    if !uri.fits(meant(&entry)) {
        return Err(Problem::malformed(
            name,
            "the path and the body name different users",
        ));
    }
    let engine = &face.0.engine;
    let done = if name == "requestConsent" {
        engine.request_consent(ctx, &peer, entry).await
    } else {
        engine.update_consent(ctx, &peer, entry).await
    };
    tokio::time::sleep_until(answer_at).await;
    match done {
        Ok(()) => Ok(StatusCode::CREATED),
        Err(refusal) => Err(Problem::refusal(name, &refusal)),
    }
}

/// Section 5.8.
pub(super) async fn identifier_query(
    State(face): State<MimiFace>,
    request: Request,
) -> Result<Response, Problem> {
    const NAME: &str = "identifierQuery";
    let Inbound { uri: named, body, .. } = Inbound::read_about(&face, NAME, request, Named::parse).await?;
    let domain = match named {
        Named::User(uri) => uri.domain(),
        Named::Domain(domain) => domain,
    };
    let engine = &face.0.engine;
    if domain != engine.config().provider {
        return Err(Problem::refusal(NAME, &Refusal::Unknown { what: "provider" }));
    }
    let query = IdentifierRequest::from_bytes(&body).map_err(|e| Problem::malformed(NAME, e.to_string()))?;
    let response = engine.identifier_query(&query).await;
    let response = response.map_err(|e| Problem::engine(NAME, &e))?;
    if let Some(reason) = outcome::identifier_query(response.response_code) {
        refused(FACE, NAME, reason);
    }
    let octets = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((octets, response.to_bytes()).into_response())
}
