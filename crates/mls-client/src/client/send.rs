//! Sending messages until they are accepted.

use super::{Client, final_refusal};
use crate::api::{RefusalCode, SubmissionState, SubmissionStatus, SubmitMessage};
use crate::engine::Sent;
use crate::error::ClientError;
use crate::matrix::MESSAGE_EVENT;
use crate::state::Entry;
use crate::transport::{Transport, TransportError};
use std::time::{Duration, Instant};

/// What goes into a portal event; larger messages go to the client API (homeservers take about 65,000 octets).
const PORTAL_LIMIT: usize = 40_000;
/// How long one look at the feed waits for a status.
const STATUS_WAIT: Duration = Duration::from_secs(2);

impl<T: Transport> Client<T> {
    /// Writes and sends a message, and waits up to `wait` for it to be accepted. It is saved before it is sent:
    /// what isn't accepted in time is sent on by [`Client::sync`]. Returns our id for it and how it stands.
    pub async fn send(
        &mut self,
        uri: &str,
        text: &str,
        content_type: &str,
        wait: Duration,
    ) -> Result<(String, Sent, Vec<Entry>), ClientError> {
        let mut news = self.catch_up(uri).await?;
        let id = self.engine.compose(uri, text, content_type)?;
        let sent = self.push(uri, &id, wait, &mut news).await?;
        Ok((id, sent, news))
    }

    /// Sends a written message and waits up to `wait` for its acceptance.
    pub(super) async fn push(
        &mut self,
        uri: &str,
        id: &str,
        wait: Duration,
        news: &mut Vec<Entry>,
    ) -> Result<Sent, ClientError> {
        let start = Instant::now();
        for attempt in 0..self.options.attempts {
            let sent = self.attempt(uri, id, start, wait, news).await?;
            match sent {
                Sent::Again => {
                    tokio::time::sleep(self.options.backoff.pause(attempt, None)).await;
                    news.extend(self.catch_up(uri).await?);
                }
                Sent::Refused(why) => return Err(ClientError::MessageRefused { id: id.into(), why }),
                done => return Ok(done),
            }
        }
        Err(ClientError::TooBusy(self.options.attempts))
    }

    async fn attempt(
        &mut self,
        uri: &str,
        id: &str,
        start: Instant,
        wait: Duration,
        news: &mut Vec<Entry>,
    ) -> Result<Sent, ClientError> {
        // With proposals pending nothing may be encrypted (RFC 9420 section 12.4): whoever wants to speak commits.
        if self.engine.sent(uri, id)? == Sent::Again
            && self.engine.proposals_pending(uri)?
            && self.engine.commit_proposals(uri)?
        {
            self.settle(uri, news).await?;
        }
        let (submission, attempt) = self.engine.submission(uri, id)?;
        let mut sent = self.submit(uri, &submission, attempt).await?;
        while matches!(sent, Sent::Waiting { .. }) && start.elapsed() < wait {
            let left = wait.saturating_sub(start.elapsed()).min(STATUS_WAIT);
            news.extend(self.read(uri, left).await?);
            sent = self.engine.sent(uri, id)?;
        }
        Ok(sent)
    }

    async fn submit(
        &mut self,
        uri: &str,
        submission: &SubmitMessage,
        attempt: u32,
    ) -> Result<Sent, ClientError> {
        let portal = self.engine.room(uri)?.portal.clone();
        if let (Some(matrix), Some(portal)) = (&self.matrix, portal)
            && submission.message.0.len() <= PORTAL_LIMIT
        {
            // A homeserver takes a transaction id once, so each encryption has its own.
            let transaction = if attempt <= 1 {
                submission.id.clone()
            } else {
                format!("{}.{attempt}", submission.id)
            };
            let event = matrix
                .send(&portal, MESSAGE_EVENT, &transaction, submission)
                .await?;
            tracing::debug!(
                room = uri,
                id = submission.id,
                event,
                "submitted through the portal"
            );
            let queued = SubmissionStatus {
                id: submission.id.clone(),
                state: SubmissionState::Queued,
            };
            return self.engine.submitted(uri, &queued);
        }
        let status = match self.transport.submit(uri, submission).await {
            Ok(status) => status,
            Err(error) if final_refusal(&error) => refusal(&submission.id, &error),
            Err(error) => return Err(error.into()),
        };
        if status.id != submission.id {
            return Err(TransportError::BadAnswer("it is about another message".into()).into());
        }
        self.engine.submitted(uri, &status)
    }
}

fn refusal(id: &str, error: &TransportError) -> SubmissionStatus {
    SubmissionStatus {
        id: id.into(),
        state: SubmissionState::Refused {
            code: RefusalCode::NotAllowed,
            reason: error.to_string(),
            current_epoch: None,
        },
    }
}
