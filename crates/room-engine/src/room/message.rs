//! Application messages at the hub.

use delivery_service::franking::{self, FrankingContext};
use delivery_service::{MessageRefusal, MessageSettings};
use mimi_wire::codec::{Decode as _, Encode as _, UnixMillis};
use mimi_wire::protocol::{FanoutMessage, Frank, SubmitMessageRequest, SubmitMessageResponse};
use mimi_wire::uri::Domain;
use store::Space;

use super::RoomState;
use super::scribe::Scribe;
use crate::carrier::{self, Decimal, Octets};
use crate::command::{Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::records::{Audience, FeedKind, OutcomeRecord, outcome_key, read};
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
        let group = self.hub_group()?;
        if let Err(refusal) = group.judge_message(actor, request, MessageSettings::default()) {
            metrics::counter!("causeway_messages_refused_total", "reason" => reason(&refusal)).increment(1);
            return Ok(Err(refusal));
        }
        let message = request.app_message();
        let at = scribe.at;
        let frank = if group.has_franking_agent() {
            let context = FrankingContext {
                sender: request.sending_uri.clone(),
                room: self.uri.clone(),
                accepted_ms: at,
            };
            franking::frank(&scribe.env.keys.hub, group.cipher_suite(), message, &context)
        } else {
            None
        };
        let content = carrier::Message {
            v: 1,
            group_id: Octets(group.group_id().as_bytes().to_vec()),
            epoch: Decimal(group.epoch().0),
            after: scribe.head.log.prev.clone(),
            accepted_at: scribe.accepted_at(),
            frank: frank.as_ref().map(|frank| Octets(frank.to_bytes())),
            payload: scribe.decision.payload(message.as_bytes()),
        };
        scribe.message(&content, origin)?;
        let fanout = FanoutMessage::application(UnixMillis(at), message.clone(), frank.clone())
            .map_err(Refusal::internal)?;
        scribe.fan_out(&group.receivers(), &fanout)?;
        metrics::counter!("causeway_messages_total", "lane" => "hub").increment(1);
        Ok(Ok(Accepted { at, frank }))
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
        self.feed(Some(&event_id), Audience::All, FeedKind::Message)?;
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
