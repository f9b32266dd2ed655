//! Messages of this provider's own users, from the client API or a portal.
//!
//! One id is accepted once, however often and by whatever way it is handed in.

use delivery_service::MessageRefusal;
use mimi_wire::codec::{Decode as _, Encode as _};
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{SubmitMessageRequest, SubmitMessageResponse};
use mimi_wire::uri::MimiUri;
use store::Space;

use super::RoomState;
use super::message::{Accepted, Origin};
use super::scribe::Scribe;
use crate::carrier::{self, Decimal, Octets, Sha256Hash, SubmissionRefusal, SubmissionState};
use crate::command::{InboxKey, Reply, RequestContext, Submission};
use crate::decision::Decision;
use crate::engine::Env;
use crate::outbox::{Destination, OutboxBody};
use crate::records::{SubmissionRecord, read, submission_key};
use crate::refusal::Refusal;

impl RoomState {
    /// Whether a user of this provider takes part here.
    pub(crate) fn speaks(&self, user: &MimiUri) -> Result<(), Refusal> {
        if self.known()?.participants.get(user).is_some_and(|user| user.here) {
            Ok(())
        } else {
            Err(Refusal::Unknown { what: "room" })
        }
    }

    pub(super) async fn submit(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        user: &MimiUri,
        submission: &Submission,
    ) -> Result<Decision, Refusal> {
        self.speaks(user)?;
        let records = self.known()?;
        let place = submission_key(self.id(), user, &submission.id);
        let before: Option<SubmissionRecord> = read(env.store.as_ref(), Space::Submission, &place).await?;
        let hash = Sha256Hash::of(&submission.message);
        if let Some(before) = &before {
            let again = before.message == hash || !matches!(before.state, SubmissionState::Refused { .. });
            if again {
                // The same message once more, or another under an id that is taken: the first outcome stands.
                let mut decision = Decision::reply(Reply::Submission(before.state.clone()));
                consume(&mut decision, submission.from_portal);
                return Ok(decision);
            }
        }
        let message =
            MlsMessage::from_bytes(&submission.message).map_err(|e| Refusal::malformed("message", e))?;
        let request =
            SubmitMessageRequest::new(message, user.clone()).map_err(|e| Refusal::malformed("message", e))?;
        let attempt = before.map_or(1, |before| before.attempt.saturating_add(1));
        let mut scribe = Scribe::new(env, ctx, records);
        let origin = if submission.from_portal.is_some() {
            Origin::Portal
        } else {
            Origin::Elsewhere
        };
        let state = if self.group.is_some() {
            match self.accept(&mut scribe, &env.config.provider, &request, origin)? {
                Ok(accepted) => accepted_state(&accepted),
                Err(refusal) => refused_state(&refusal),
            }
        } else {
            let octets = scribe.decision.payload(&request.to_bytes());
            let hub = scribe.room.room.domain();
            let body = OutboxBody::Submit {
                submission: hex::encode(&place),
            };
            scribe.queue(Destination::Provider(hub), body, Some(octets))?;
            SubmissionState::Queued
        };
        let kept = SubmissionRecord {
            user: user.clone(),
            id: submission.id.clone(),
            message: hash,
            attempt,
            state: state.clone(),
            in_portal: origin == Origin::Portal,
        };
        scribe.decision.put(Space::Submission, place, &kept)?;
        consume(&mut scribe.decision, submission.from_portal);
        if state != SubmissionState::Queued {
            scribe.settled(&kept)?;
        }
        let (decision, changes) = scribe.finish(Reply::Submission(state))?;
        self.take(changes);
        Ok(decision)
    }

    /// A submission in the portal that is none, or whose sender takes no part: the sender sees why in the portal, and in
    /// the feed where there is one.
    pub(super) fn refuse_submission(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        user: &MimiUri,
        id: &str,
        refusal: &SubmissionState,
        entry: InboxKey,
    ) -> Result<Decision, Refusal> {
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        consume(&mut scribe.decision, Some(entry));
        if scribe.is_here(user) {
            scribe.status(user, id, refusal.clone())?;
        }
        let content = carrier::Status {
            id: id.to_owned(),
            state: refusal.clone(),
        };
        scribe.portal_event(carrier::STATUS, &content, &format!("refused {}", entry.0))?;
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }

    /// The hub's answer to a queued submission.
    pub(super) async fn submission_outcome(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        submission: &str,
        response: &SubmitMessageResponse,
    ) -> Result<Decision, Refusal> {
        let place = hex::decode(submission).map_err(|e| Refusal::malformed("submission", e))?;
        let Some(mut kept) = read::<SubmissionRecord>(env.store.as_ref(), Space::Submission, &place).await?
        else {
            return Err(Refusal::Unknown { what: "submission" });
        };
        if kept.state != SubmissionState::Queued {
            return Ok(Decision::reply(Reply::Done));
        }
        kept.state = match response {
            SubmitMessageResponse::Accepted {
                accepted_timestamp,
                frank,
            } => accepted_state(&Accepted {
                at: accepted_timestamp.0,
                frank: frank.clone(),
            }),
            SubmitMessageResponse::NotAllowed => SubmissionState::Refused {
                code: SubmissionRefusal::NotAllowed,
                reason: "the hub does not allow it".to_owned(),
                current_epoch: None,
            },
            SubmitMessageResponse::EpochTooOld { current_epoch } => SubmissionState::Refused {
                code: SubmissionRefusal::EpochTooOld,
                reason: "encrypted for an epoch that has passed".to_owned(),
                current_epoch: Some(Decimal(current_epoch.0)),
            },
        };
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        scribe.decision.put(Space::Submission, place, &kept)?;
        scribe.settled(&kept)?;
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }
}

impl Scribe<'_> {
    /// Tells the sender how it ended: in the feed, and in the portal if it came from there.
    pub(super) fn settled(&mut self, kept: &SubmissionRecord) -> Result<(), Refusal> {
        self.status(&kept.user, &kept.id, kept.state.clone())?;
        if kept.in_portal {
            let content = carrier::Status {
                id: kept.id.clone(),
                state: kept.state.clone(),
            };
            let distinct = format!("{} {} {}", kept.user.as_str(), kept.id, kept.attempt);
            self.portal_event(carrier::STATUS, &content, &distinct)?;
        }
        Ok(())
    }
}

fn consume(decision: &mut Decision, entry: Option<InboxKey>) {
    if let Some(entry) = entry {
        decision.delete(Space::HsInbox, entry.0.to_be_bytes().to_vec());
    }
}

fn accepted_state(accepted: &Accepted) -> SubmissionState {
    SubmissionState::Accepted {
        at: Decimal(accepted.at),
        frank: accepted.frank.as_ref().map(|frank| Octets(frank.to_bytes())),
    }
}

fn refused_state(refusal: &MessageRefusal) -> SubmissionState {
    let (code, current_epoch) = match refusal {
        MessageRefusal::EpochTooOld { current } => (SubmissionRefusal::EpochTooOld, Some(Decimal(current.0))),
        MessageRefusal::EpochInFuture { .. }
        | MessageRefusal::ForeignSender
        | MessageRefusal::NotAParticipant(_)
        | MessageRefusal::Forbidden(_) => (SubmissionRefusal::NotAllowed, None),
        _ => (SubmissionRefusal::Malformed, None),
    };
    SubmissionState::Refused {
        code,
        reason: refusal.to_string(),
        current_epoch,
    }
}
