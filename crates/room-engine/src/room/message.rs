//! Application messages at the hub.

use delivery_service::franking::{self, FrankingContext};
use delivery_service::{MessageRefusal, MessageSettings};
use mimi_wire::codec::{Decode as _, Encode as _, UnixMillis};
use mimi_wire::protocol::{FanoutMessage, Frank, SubmitMessageRequest, SubmitMessageResponse};
use mimi_wire::uri::Domain;
use serde::{Deserialize, Serialize};
use store::Space;

use super::RoomState;
use super::scribe::Scribe;
use crate::aside::{PendingRecord, Sender};
use crate::carrier::{self, Decimal, Octets, Sha256Hash, SubmissionState};
use crate::command::{Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::records::{Audience, FeedKind, OutcomeRecord, SubmissionRecord, outcome_key, read};
use crate::refusal::Refusal;

/// A message that the hub accepted.
pub(super) struct Accepted {
    pub(super) at: u64,
    pub(super) frank: Option<Frank>,
}

impl RoomState {
    /// `POST submitMessage` (protocol-06 section 5.4).
    pub(super) async fn deliver(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        peer: &Domain,
        octets: &[u8],
    ) -> Result<Decision, Refusal> {
        let remembered = outcome_key(self.id(), &format!("peer:{}", peer.as_str()), octets);
        if let Some(outcome) = read::<OutcomeRecord>(env.store.as_ref(), Space::Outcome, &remembered).await? {
            let response =
                SubmitMessageResponse::from_bytes(&outcome.response.0).map_err(Refusal::internal)?;
            return Ok(Decision::reply(Reply::Message(response)));
        }
        let request = SubmitMessageRequest::from_bytes(octets)
            .map_err(|e| Refusal::malformed("SubmitMessageRequest", e))?;
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        let accepted = match self.accept(&mut scribe, peer, &request, Origin::Elsewhere)? {
            Ok(accepted) => accepted,
            Err(refusal) => {
                tracing::info!(request_id = %ctx.request_id, %refusal, "message refused");
                return Ok(Decision::reply(Reply::Message(refusal.to_response())));
            }
        };
        let response = SubmitMessageResponse::Accepted {
            accepted_timestamp: UnixMillis(accepted.at),
            frank: accepted.frank,
        };
        let outcome = OutcomeRecord {
            at: accepted.at,
            response: Octets(response.to_bytes()),
        };
        scribe.decision.put(Space::Outcome, remembered, &outcome)?;
        let (decision, changes) = scribe.finish(Reply::Message(response))?;
        self.take(changes);
        Ok(decision)
    }

    /// Judges a message and writes all that follows. The inner error is the hub's answer; nothing is written then.
    pub(super) fn accept(
        &self,
        scribe: &mut Scribe<'_>,
        actor: &Domain,
        request: &SubmitMessageRequest,
        origin: Origin,
    ) -> Result<Result<Accepted, MessageRefusal>, Refusal> {
        let verdict = match self.judged(scribe.env, actor, request, scribe.at)? {
            Ok(verdict) => verdict,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.distribute(scribe, &verdict, request, origin)?;
        metrics::counter!("causeway_messages_total", "lane" => "hub").increment(1);
        Ok(Ok(Accepted {
            at: verdict.at,
            frank: verdict.frank()?,
        }))
    }

    /// Judges a message against what is known here, and writes nothing.
    pub(crate) fn judge(
        &self,
        env: &Env,
        actor: &Domain,
        request: &SubmitMessageRequest,
    ) -> Result<Result<Verdict, MessageRefusal>, Refusal> {
        let newest = self.known()?.head.graph.newest_ts;
        self.judged(env, actor, request, env.clock.now_ms().max(newest))
    }

    fn judged(
        &self,
        env: &Env,
        actor: &Domain,
        request: &SubmitMessageRequest,
        at: u64,
    ) -> Result<Result<Verdict, MessageRefusal>, Refusal> {
        let group = self.hub_group()?;
        if let Err(refusal) = group.judge_message(actor, request, MessageSettings::default()) {
            metrics::counter!("causeway_messages_refused_total", "reason" => reason(&refusal)).increment(1);
            return Ok(Err(refusal));
        }
        let frank = group.franking_agent().and_then(|agent| {
            let context = FrankingContext {
                sender: request.sending_uri.clone(),
                room: self.uri.clone(),
                accepted_ms: at,
            };
            let message = request.app_message();
            franking::frank(&env.hub(), &agent, group.cipher_suite(), message, &context)
        });
        Ok(Ok(Verdict {
            at,
            frank: frank.as_ref().map(|frank| Octets(frank.to_bytes())),
            group_id: Octets(group.group_id().as_bytes().to_vec()),
            epoch: Decimal(group.epoch().0),
            after: self.known()?.head.log.prev.clone(),
        }))
    }

    /// Writes an accepted message: carrier event, feed, portal, and to everybody who takes part.
    fn distribute(
        &self,
        scribe: &mut Scribe<'_>,
        verdict: &Verdict,
        request: &SubmitMessageRequest,
        origin: Origin,
    ) -> Result<(), Refusal> {
        let group = self.hub_group()?;
        let message = request.app_message();
        let content = carrier::Message {
            v: 1,
            group_id: verdict.group_id.clone(),
            epoch: verdict.epoch,
            after: verdict.after.clone(),
            accepted_at: Decimal(verdict.at),
            frank: verdict.frank.clone(),
            payload: scribe.decision.payload(message.as_bytes()),
        };
        scribe.message(&content, origin)?;
        let fanout = FanoutMessage::application(UnixMillis(verdict.at), message.clone(), verdict.frank()?)
            .map_err(Refusal::internal)?;
        scribe.fan_out(&group.receivers(), &fanout)
    }

    /// Distributes what a node accepted while it was cut off, unless that was done before.
    pub(super) async fn take_in(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        pending: &PendingRecord,
    ) -> Result<Decision, Refusal> {
        let store = env.store.as_ref();
        let remembered = pending.remembered(self.id())?;
        let before = match &pending.from {
            Sender::Peer { .. } => store.get(Space::Outcome, &remembered).await?.is_some(),
            Sender::User { .. } => read::<SubmissionRecord>(store, Space::Submission, &remembered)
                .await?
                .is_some_and(|before| !matches!(before.state, SubmissionState::Refused { .. })),
        };
        if before {
            return Ok(Decision::reply(Reply::Done));
        }
        let request = pending.request()?;
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        self.distribute(&mut scribe, &pending.verdict, &request, Origin::Elsewhere)?;
        match &pending.from {
            Sender::Peer { .. } => {
                let outcome = OutcomeRecord {
                    at: pending.verdict.at,
                    response: Octets(pending.response()?.to_bytes()),
                };
                scribe.decision.put(Space::Outcome, remembered, &outcome)?;
            }
            Sender::User { user, id } => {
                let kept = SubmissionRecord {
                    user: user.clone(),
                    id: id.clone(),
                    message: Sha256Hash::of(pending.handed_in()?),
                    attempt: 1,
                    in_portal: false,
                    state: pending.verdict.state(),
                };
                scribe.decision.put(Space::Submission, remembered, &kept)?;
                scribe.settled(&kept)?;
            }
        }
        metrics::counter!("causeway_messages_total", "lane" => "taken_in").increment(1);
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }
}

/// That a message is accepted, judged once and for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Acceptance time, Unix ms.
    pub(crate) at: u64,
    frank: Option<Octets>,
    group_id: Octets,
    epoch: Decimal,
    /// The newest handshake entry that was known.
    after: Option<String>,
}

impl Verdict {
    /// The frank, where there is one.
    pub(crate) fn frank(&self) -> Result<Option<Frank>, Refusal> {
        let read = |octets: &Octets| Frank::from_bytes(&octets.0).map_err(|e| Refusal::malformed("frank", e));
        self.frank.as_ref().map(read).transpose()
    }

    /// What the sender is told.
    pub(crate) fn state(&self) -> SubmissionState {
        SubmissionState::Accepted {
            at: Decimal(self.at),
            frank: self.frank.clone(),
        }
    }
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The portal already has it.
    Portal,
    /// The portal doesn't have it.
    Elsewhere,
}

impl Scribe<'_> {
    /// Writes a message: carrier event, feed, portal.
    pub(super) fn message(&mut self, content: &carrier::Message, origin: Origin) -> Result<String, Refusal> {
        let event_id = self.event(carrier::MESSAGE, None, content)?;
        // The time that was franked: one that was accepted aside is older than what is around it.
        self.feed_at(
            content.accepted_at.0,
            Some(&event_id),
            Audience::All,
            FeedKind::Message,
        )?;
        if origin == Origin::Elsewhere {
            self.portal_event_at(carrier::MESSAGE, content, &event_id, Some(content.accepted_at.0))?;
        }
        Ok(event_id)
    }
}

/// A stable name for metrics.
fn reason(refusal: &MessageRefusal) -> &'static str {
    match refusal {
        MessageRefusal::EpochTooOld { .. } => "epoch_too_old",
        MessageRefusal::EpochInFuture { .. } => "epoch_in_future",
        MessageRefusal::WrongGroup => "wrong_group",
        MessageRefusal::ForeignSender => "foreign_sender",
        MessageRefusal::NotAParticipant(_) => "not_a_participant",
        MessageRefusal::Forbidden(_) => "forbidden",
        _ => "malformed",
    }
}
