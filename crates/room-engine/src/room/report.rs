//! As hub: reports of abuse (protocol-06 section 5.9), kept for the operator.

use delivery_service::abuse::{self, Evidence, EvidenceFault};
use delivery_service::{Group, View};
use mimi_wire::codec::Decode as _;
use mimi_wire::protocol::AbuseReport;
use store::Space;

use super::RoomState;
use crate::carrier::Octets;
use crate::command::{Actor, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::records::{AbuseRecord, OutcomeRecord, ReportedMessage, abuse_key, outcome_key, read};
use crate::refusal::Refusal;

/// Messages in one report.
const MAX_MESSAGES: usize = 32;
/// Octets of a report that are kept in its record; above, they are a blob.
const INLINE: usize = 16_000;
/// Octets of the note.
const MAX_NOTE: usize = 4096;

impl RoomState {
    /// `POST reportAbuse`. A report is kept if it comes from somebody who takes part, or brings a message that this hub
    /// franked; if it brings messages, one of them at least has to be such a one.
    pub(super) async fn report(
        &self,
        env: &Env,
        ctx: &RequestContext,
        actor: &Actor,
        octets: &[u8],
    ) -> Result<Decision, Refusal> {
        let remembered = outcome_key(self.id(), &actor.name(), octets);
        if read::<OutcomeRecord>(env.store.as_ref(), Space::Outcome, &remembered)
            .await?
            .is_some()
        {
            return Ok(Decision::reply(Reply::Done));
        }
        let group = self.hub_group()?;
        let report = AbuseReport::from_bytes(octets).map_err(|e| Refusal::malformed("AbuseReport", e))?;
        if report.messages.len() > MAX_MESSAGES {
            let reason = format!("more than {MAX_MESSAGES} messages");
            return Err(Refusal::malformed("AbuseReport", reason));
        }
        if report.note.len() > MAX_NOTE {
            let what = "note of the report";
            return Err(Refusal::TooLarge {
                what,
                limit: MAX_NOTE,
            });
        }
        let speaks_for = |user: &mimi_wire::MimiUri| match actor {
            Actor::Peer(peer) => user.domain() == *peer,
            Actor::Client(client) => client.user == *user,
        };
        if report
            .reporting_user
            .as_ref()
            .is_some_and(|user| !speaks_for(user))
        {
            return Err(Refusal::forbidden("the reporting user is not the caller's"));
        }
        let hub = env.hub();
        let findings: Vec<_> = report
            .messages
            .iter()
            .map(|message| {
                let found = abuse::examine(&hub, &self.uri, &report.alleged_abuser_uri, message);
                if let Err(fault) = &found {
                    count(fault.code());
                }
                (message.accepted_timestamp.0, found)
            })
            .collect();
        let proved = findings.iter().any(|(_, found)| found.is_ok());
        if !proved && !report.messages.is_empty() {
            let first = findings.iter().find_map(|(_, found)| found.as_ref().err());
            let why = first.map(ToString::to_string).unwrap_or_default();
            return Err(Refusal::forbidden(format!(
                "no message in the report is proved: {why}"
            )));
        }
        if !proved && !takes_part(group, actor, report.reporting_user.as_ref()) {
            return Err(Refusal::forbidden(
                "a report without a message that this hub franked has to come from a participant",
            ));
        }
        let at = env.clock.now_ms();
        let key = abuse_key(at, &remembered);
        let mut decision = Decision::reply(Reply::Done);
        let record = AbuseRecord {
            v: 1,
            at,
            room: self.uri.clone(),
            provider: actor.provider().as_str().to_owned(),
            reporting_user: report.reporting_user.clone(),
            accused: report.alleged_abuser_uri.clone(),
            reason: report.reason_code.code(),
            note: report.note.clone(),
            messages: findings
                .into_iter()
                .map(|(at, found)| reported(at, found))
                .collect(),
            octets: decision.payload_up_to(INLINE, octets),
        };
        decision.put(Space::AbuseReport, key, &record)?;
        let outcome = OutcomeRecord {
            at,
            response: Octets::default(),
        };
        decision.put(Space::Outcome, remembered, &outcome)?;
        count(if proved { "proved" } else { "no_evidence" });
        tracing::warn!(
            request_id = %ctx.request_id, room = %self.uri.as_str(), accused = %report.alleged_abuser_uri.as_str(),
            proved, "abuse reported; see `causeway reports ls`"
        );
        Ok(decision)
    }
}

fn reported(at: u64, found: Result<Evidence, EvidenceFault>) -> ReportedMessage {
    match found {
        Ok(evidence) => ReportedMessage {
            accepted_at: at,
            message_id: Some(Octets(evidence.message_id.as_bytes().to_vec())),
            fault: None,
        },
        Err(fault) => ReportedMessage {
            accepted_at: at,
            message_id: None,
            fault: Some(fault.code().to_owned()),
        },
    }
}

/// Whether the reporter, or for an anonymous report somebody of its provider, takes part and may report.
fn takes_part(group: &Group, actor: &Actor, reporter: Option<&mimi_wire::MimiUri>) -> bool {
    if let Some(user) = reporter {
        return group.may_report(user);
    }
    let provider = actor.provider();
    group
        .participants(View::Effective)
        .any(|(user, _)| user.domain() == provider && group.may_report(user))
}

fn count(outcome: &'static str) {
    metrics::counter!("causeway_abuse_reports_total", "outcome" => outcome).increment(1);
}
