//! Submitting a message.

use super::error::Problem;
use super::request::{Call, room};
use super::{ClientFace, FACE, convert};
use crate::web::refused;
use axum::Json;
use axum::extract::{Path, Request, State};
use mimi_wire::MimiUri;
use mls_client::api::{RefusalCode, SubmissionState, SubmissionStatus, SubmitMessage};
use room_engine::{FeedItem, Submission, carrier};
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait for the hub's answer before the client is sent to its feed.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn submit(
    State(face): State<ClientFace>,
    Path(segment): Path<String>,
    request: Request,
) -> Result<Json<SubmissionStatus>, Problem> {
    const NAME: &str = "messages";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let uri = room(NAME, &segment)?;
    let body: SubmitMessage = call.json(&face).await?;
    let known = face
        .0
        .engine
        .room_of(&who.user, &uri)
        .await
        .map_err(|e| Problem::engine(NAME, e))?;
    let from = known.map_or(1, |room| room.next);
    let submission = Submission {
        id: body.id.clone(),
        message: body.message.0,
        from_portal: None,
    };
    let state = face.0.engine.submit(ctx, &uri, &who.user, submission).await;
    let mut state = state.map_err(|e| Problem::refusal(NAME, &e))?;
    if state == carrier::SubmissionState::Queued {
        state = face
            .outcome(NAME, &uri, &who.user, &body.id, from)
            .await?
            .unwrap_or(state);
    }
    let state = convert::state(state);
    if let SubmissionState::Refused { code, .. } = &state {
        refused(FACE, NAME, name(*code));
    }
    Ok(Json(SubmissionStatus { id: body.id, state }))
}

fn name(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::EpochTooOld => "epoch_too_old",
        RefusalCode::NotAllowed => "not_allowed",
        RefusalCode::Malformed => "malformed",
        RefusalCode::UnknownRoom => "unknown",
    }
}

impl ClientFace {
    /// What the feed says about a submission, from position `from` on, if it says so in time.
    async fn outcome(
        &self,
        endpoint: &'static str,
        room: &MimiUri,
        user: &MimiUri,
        id: &str,
        mut from: u64,
    ) -> Result<Option<carrier::SubmissionState>, Problem> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let page = self.feed(room, user, from, usize::MAX, Some(left)).await;
            let page = page.map_err(|e| Problem::refusal(endpoint, &e))?;
            // An end that never moves on: the user left the room meanwhile.
            if page.entries.is_empty() && page.next == from {
                return Ok(None);
            }
            from = page.next;
            let found = page.entries.into_iter().find_map(|entry| match entry.item {
                FeedItem::Status { id: of, state }
                    if of == id && state != carrier::SubmissionState::Queued =>
                {
                    Some(state)
                }
                _ => None,
            });
            if found.is_some() {
                return Ok(found);
            }
        }
    }
}
