//! Consent, as the user's worker keeps it: the user's own towards others, and others' towards the user.

use mimi_wire::codec::Encode as _;
use mimi_wire::components::AppDataDictionary;
use mimi_wire::mls::KeyPackage;
use mimi_wire::protocol::{ConsentEntry, ConsentOperation};
use mimi_wire::uri::{Domain, MimiUri, UriKind};
use store::{Scan, Space};

use super::UserState;
use crate::command::{Reply, RequestContext};
use crate::consent::{ConsentRecord, Direction, Pair, Sent, Verdict};
use crate::decision::Decision;
use crate::engine::Env;
use crate::outbox::{Destination, OutboxBody};
use crate::owner::UriKey;
use crate::records::{OutboxRecord, key, parse};
use crate::refusal::Refusal;
use crate::views::{ConsentBook, ConsentView, Notice, UserNotice};

/// Scopes that a user may have open or answered, in each direction.
const SCOPES: usize = 1000;
/// Open requests of one provider's users to one user; further ones are taken and forgotten.
const ASKED_BY_ONE_PROVIDER: usize = 200;
/// A request that the other provider has may be sent to it again after this long, ms.
const ASK_AGAIN: u64 = 24 * 60 * 60 * 1000;

/// What an own user decides about a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentAnswer {
    /// The requester may add the user.
    Grant,
    /// It may not.
    Refuse {
        /// Whether the requester is told; normally it isn't.
        tell: bool,
    },
    /// As if nothing had been said.
    Forget,
}

impl UserState {
    /// Whether this provider has the user. Beside a homeserver every name may be one that has never signed in here.
    pub(super) fn exists(&self, env: &Env) -> bool {
        self.account.is_some() || env.config.homeserver.is_some()
    }

    fn scopes_key(&self, direction: Direction) -> Vec<u8> {
        key(&[&self.id().0, &[direction as u8]])
    }

    async fn scopes(&self, env: &Env, direction: Direction) -> Result<Vec<ConsentRecord>, Refusal> {
        read_scopes(env, self.scopes_key(direction)).await
    }

    pub(super) async fn pair(
        &self,
        env: &Env,
        direction: Direction,
        other: &MimiUri,
    ) -> Result<Pair, Refusal> {
        let prefix = key(&[&self.scopes_key(direction), &UriKey::of(other).0]);
        let records = read_scopes(env, prefix).await?;
        Ok(Pair::new(self.user.clone(), other.clone(), records))
    }

    /// Users who hold a grant of this user's consent, for one room or for any.
    pub(super) async fn granted_to(&self, env: &Env) -> Result<Vec<MimiUri>, Refusal> {
        let scopes = self.scopes(env, Direction::OfMe).await?;
        let granted = scopes
            .into_iter()
            .filter(|scope| scope.answer.is_some_and(|answer| answer.granted));
        let mut users: Vec<MimiUri> = granted.map(|scope| scope.other).collect();
        users.dedup();
        Ok(users)
    }

    /// With the account goes what was said to it and by it.
    pub(super) async fn forget_consents(&self, env: &Env, decision: &mut Decision) -> Result<(), Refusal> {
        for (key, _) in env.store.scan(Scan::prefix(Space::Consent, self.id().0)).await? {
            decision.delete(Space::Consent, key.to_vec());
        }
        Ok(())
    }

    pub(super) fn write(
        &self,
        decision: &mut Decision,
        direction: Direction,
        pair: &Pair,
    ) -> Result<(), Refusal> {
        for (record, void) in pair.changes() {
            let room = record.room.as_ref().map_or([0; 16], |room| UriKey::of(room).0);
            let place = key(&[&self.scopes_key(direction), &UriKey::of(&record.other).0, &room]);
            if void {
                decision.delete(Space::Consent, place);
            } else {
                decision.put(Space::Consent, place, record)?;
            }
        }
        Ok(())
    }

    /// Whether a requester may have KeyPackages for a room.
    pub(super) async fn permits(
        &self,
        env: &Env,
        requester: &MimiUri,
        room: Option<&MimiUri>,
    ) -> Result<Verdict, Refusal> {
        let foreign = requester.domain() != env.config.provider;
        // A user's own clients need nobody's leave.
        let required = self.required_of(env).asks(foreign) && *requester != self.user;
        let pair = self.pair(env, Direction::OfMe, requester).await?;
        Ok(pair.verdict(room, required))
    }

    /// `requestConsent` and `updateConsent` of another provider, or of an own user. What it says of users that
    /// don't exist, or beyond the bounds, is taken and forgotten: the answer never tells.
    pub(super) async fn consent_entry(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        entry: &ConsentEntry,
    ) -> Result<Decision, Refusal> {
        let now = env.clock.now_ms();
        let mut decision = Decision::reply(Reply::Done);
        let room = entry.room_id.as_ref();
        let of_me = entry.target_uri == self.user && crate::consent::is_request(entry.consent_operation);
        let (direction, other) = if of_me {
            (Direction::OfMe, &entry.requester_uri)
        } else {
            (Direction::OfOthers, &entry.target_uri)
        };
        if !self.exists(env) || !is_person(other) || room.is_some_and(|room| room.kind() != UriKind::Room) {
            dropped("unknown");
            return Ok(decision);
        }
        let mut pair = self.pair(env, direction, other).await?;
        let notice = match entry.consent_operation {
            ConsentOperation::Request => {
                if pair.answer(room).is_some_and(|answer| answer.granted) {
                    // It doesn't know, or not any more.
                    self.tell(env, ctx, &mut decision, Said::grant(), other, room, now)?;
                    None
                } else if pair.ask(room, now) {
                    if !self.has_place(env, direction, &other.domain()).await? {
                        dropped("too_many");
                        return Ok(decision);
                    }
                    Some(Notice::ConsentAsked {
                        requester: other.clone(),
                        room: room.cloned(),
                    })
                } else {
                    None
                }
            }
            ConsentOperation::Cancel => pair.cancel(room).then(|| Notice::ConsentCancelled {
                requester: other.clone(),
                room: room.cloned(),
            }),
            operation @ (ConsentOperation::Grant | ConsentOperation::Revoke) => {
                let granted = operation == ConsentOperation::Grant;
                let known = pair.standing(room).is_some() || pair.answer(room).is_some();
                if !known && !self.has_place(env, direction, &other.domain()).await? {
                    dropped("too_many");
                    return Ok(decision);
                }
                let news = pair.settle(room, granted, now);
                // Nothing but a grant has any.
                Self::keep_granted(&mut pair, (other, room), &entry.client_key_packages, now);
                news.then(|| Notice::ConsentAnswered {
                    target: other.clone(),
                    room: room.cloned(),
                    granted,
                })
            }
        };
        self.write(&mut decision, direction, &pair)?;
        let words = match &notice {
            Some(Notice::ConsentAsked { .. }) => Some(format!(
                "{0} asks for your consent to add you to rooms. Say accept {0}, or refuse {0}.",
                other.as_str()
            )),
            Some(Notice::ConsentAnswered { granted: true, .. }) => {
                Some(format!("{} lets you add them to rooms.", other.as_str()))
            }
            _ => None,
        };
        if let Some(words) = words {
            let distinct = format!("consent {} {now}", other.as_str());
            self.tell_by_bot(env, ctx, &mut decision, &distinct, &words)?;
        }
        decision.notices.extend(notice.map(|what| UserNotice {
            user: self.user.clone(),
            what,
        }));
        let operation = operation_name(entry.consent_operation);
        metrics::counter!("causeway_consent_total", "operation" => operation, "by" => "other").increment(1);
        Ok(decision)
    }

    async fn has_place(&self, env: &Env, direction: Direction, provider: &Domain) -> Result<bool, Refusal> {
        let records = self.scopes(env, direction).await?;
        let of_provider = records
            .iter()
            .filter(|record| record.asked_at.is_some() && record.other.domain() == *provider)
            .count();
        let limited = direction == Direction::OfMe && *provider != env.config.provider;
        Ok(records.len() < SCOPES && !(limited && of_provider >= ASKED_BY_ONE_PROVIDER))
    }

    /// The user asks another user for consent. The worker of an own one has been told already.
    pub(super) async fn ask_consent(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        target: &MimiUri,
        room: Option<&MimiUri>,
    ) -> Result<Decision, Refusal> {
        let now = env.clock.now_ms();
        let local = self.check_other(env, target)?;
        let mut pair = self.pair(env, Direction::OfOthers, target).await?;
        let again = match pair.standing(room) {
            Some((_, Some(Sent::Failed { .. }))) => true,
            Some((at, Some(Sent::Delivered))) => now >= at.saturating_add(ASK_AGAIN),
            _ => false,
        };
        if again {
            pair.cancel(room);
        }
        // A refusal that was told may be asked about again: people change their minds.
        for scope in [room, None] {
            if pair.answer(room).is_some_and(|answer| !answer.granted) {
                pair.forget(scope);
            }
        }
        let mut decision = Decision::reply(Reply::Done);
        if !pair.ask(room, now) {
            return Ok(decision);
        }
        if !again && !self.has_place(env, Direction::OfOthers, &target.domain()).await? {
            return Err(Refusal::forbidden(format!(
                "a user may have {SCOPES} consents of others; cancel or forget some"
            )));
        }
        let sent = if local { Sent::Delivered } else { Sent::Waiting };
        pair.sent(room, sent);
        self.write(&mut decision, Direction::OfOthers, &pair)?;
        if !local {
            self.tell(env, ctx, &mut decision, Said::Request, target, room, now)?;
        }
        own_metric("request");
        Ok(decision)
    }

    /// The user takes a request back, or forgets what another user said.
    pub(super) async fn cancel_consent(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        target: &MimiUri,
        room: Option<&MimiUri>,
    ) -> Result<Decision, Refusal> {
        let now = env.clock.now_ms();
        let local = self.check_other(env, target)?;
        let mut pair = self.pair(env, Direction::OfOthers, target).await?;
        let mut decision = Decision::reply(Reply::Done);
        if !pair.cancel(room) {
            return Ok(decision);
        }
        self.write(&mut decision, Direction::OfOthers, &pair)?;
        if !local {
            self.tell(env, ctx, &mut decision, Said::Cancel, target, room, now)?;
        }
        own_metric("cancel");
        Ok(decision)
    }

    /// The user answers a request, or says something unasked.
    pub(super) async fn answer_consent(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        requester: &MimiUri,
        room: Option<&MimiUri>,
        answer: ConsentAnswer,
    ) -> Result<Decision, Refusal> {
        let now = env.clock.now_ms();
        let local = self.check_other(env, requester)?;
        let mut pair = self.pair(env, Direction::OfMe, requester).await?;
        let asked = pair.is_asked(room);
        let known = asked || pair.answer(room).is_some();
        let changed = match answer {
            ConsentAnswer::Grant => pair.settle(room, true, now),
            ConsentAnswer::Refuse { .. } => pair.settle(room, false, now),
            ConsentAnswer::Forget => pair.forget(room),
        };
        let mut decision = Decision::reply(Reply::Done);
        if !changed {
            return Ok(decision);
        }
        if !known && !self.has_place(env, Direction::OfMe, &env.config.provider).await? {
            return Err(Refusal::forbidden(format!(
                "a user may have {SCOPES} consents; forget some"
            )));
        }
        self.write(&mut decision, Direction::OfMe, &pair)?;
        let said = match answer {
            _ if local => None,
            // Who has asked will add the user at once; with KeyPackages at hand it need not ask for them.
            ConsentAnswer::Grant if asked => Some(Said::Grant(self.take_for_grant(now, &mut decision))),
            ConsentAnswer::Grant => Some(Said::grant()),
            ConsentAnswer::Refuse { tell: true } => Some(Said::Revoke),
            ConsentAnswer::Refuse { tell: false } | ConsentAnswer::Forget => None,
        };
        if let Some(said) = said {
            self.tell(env, ctx, &mut decision, said, requester, room, now)?;
        }
        own_metric(match answer {
            ConsentAnswer::Grant => "grant",
            ConsentAnswer::Refuse { .. } => "revoke",
            ConsentAnswer::Forget => "forget",
        });
        // Other devices of the user see that nothing is open any more.
        decision.notices.push(UserNotice {
            user: self.user.clone(),
            what: Notice::ConsentSettled {
                requester: requester.clone(),
                room: room.cloned(),
            },
        });
        Ok(decision)
    }

    /// What became of a request on its way.
    pub(super) async fn consent_sent(
        &mut self,
        env: &Env,
        target: &MimiUri,
        room: Option<&MimiUri>,
        sent: &Sent,
    ) -> Result<Decision, Refusal> {
        let mut pair = self.pair(env, Direction::OfOthers, target).await?;
        let mut decision = Decision::reply(Reply::Done);
        // It may have been cancelled or answered meanwhile.
        if pair.sent(room, sent.clone()) {
            self.write(&mut decision, Direction::OfOthers, &pair)?;
            decision.notices.push(UserNotice {
                user: self.user.clone(),
                what: Notice::ConsentSent {
                    target: target.clone(),
                    room: room.cloned(),
                },
            });
        }
        Ok(decision)
    }

    pub(super) async fn consents(&self, env: &Env) -> Result<Decision, Refusal> {
        let all = |records: Vec<ConsentRecord>| records.into_iter().map(ConsentView::from).collect();
        Ok(Decision::reply(Reply::Consents(ConsentBook {
            of_me: all(self.scopes(env, Direction::OfMe).await?),
            of_others: all(self.scopes(env, Direction::OfOthers).await?),
        })))
    }

    /// Whether the other is a user of this provider as well.
    fn check_other(&self, env: &Env, other: &MimiUri) -> Result<bool, Refusal> {
        if self.account.is_none() && env.config.homeserver.is_none() {
            return Err(Refusal::Unknown { what: "user" });
        }
        if !is_person(other) {
            return Err(Refusal::malformed("user", "a consent is between users"));
        }
        if *other == self.user {
            return Err(Refusal::malformed("user", "nobody needs its own consent"));
        }
        Ok(other.domain() == env.config.provider)
    }

    /// Queues an entry for the other user's provider.
    #[allow(clippy::too_many_arguments)] // what an entry consists of
    fn tell(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        decision: &mut Decision,
        said: Said,
        other: &MimiUri,
        room: Option<&MimiUri>,
        now: u64,
    ) -> Result<(), Refusal> {
        if other.domain() == env.config.provider {
            return Ok(());
        }
        let (operation, client_key_packages) = said.on_the_wire();
        let request = crate::consent::is_request(operation);
        let (requester, target) = if request {
            (&self.user, other)
        } else {
            (other, &self.user)
        };
        let entry = ConsentEntry {
            consent_operation: operation,
            requester_uri: requester.clone(),
            target_uri: target.clone(),
            room_id: room.cloned(),
            client_key_packages,
            consent_extensions: AppDataDictionary::default(),
        };
        let seq = self.settings.outbox_next.saturating_add(1);
        self.settings.outbox_next = seq;
        self.write_settings(decision)?;
        let octets = decision.payload(&entry.to_bytes());
        decision.queue(OutboxRecord {
            destination: Destination::Provider(other.domain()),
            // The lane of everything that this user says to that provider without a room.
            room: self.user.as_str().to_owned(),
            seq,
            request_id: ctx.request_id.clone(),
            queued_at: now,
            octets: Some(octets),
            body: OutboxBody::Consent {
                other: other.clone(),
                room_id: room.cloned(),
                request,
                ask: operation == ConsentOperation::Request,
            },
        })
    }
}

/// What is told to another provider.
enum Said {
    Request,
    Cancel,
    Grant(Vec<KeyPackage>),
    Revoke,
}

impl Said {
    /// A grant alone.
    const fn grant() -> Self {
        Self::Grant(Vec::new())
    }

    fn on_the_wire(self) -> (ConsentOperation, Vec<KeyPackage>) {
        match self {
            Self::Request => (ConsentOperation::Request, Vec::new()),
            Self::Cancel => (ConsentOperation::Cancel, Vec::new()),
            Self::Grant(packages) => (ConsentOperation::Grant, packages),
            Self::Revoke => (ConsentOperation::Revoke, Vec::new()),
        }
    }
}

/// Whether a URI names somebody who can consent.
fn is_person(uri: &MimiUri) -> bool {
    matches!(uri.kind(), UriKind::User | UriKind::Pseudonym)
}

async fn read_scopes(env: &Env, prefix: Vec<u8>) -> Result<Vec<ConsentRecord>, Refusal> {
    let mut records = Vec::new();
    for (key, value) in env.store.scan(Scan::prefix(Space::Consent, prefix)).await? {
        records.push(parse(Space::Consent, &key, &value)?);
    }
    Ok(records)
}

fn dropped(reason: &'static str) {
    metrics::counter!("causeway_consent_dropped_total", "reason" => reason).increment(1);
}

fn own_metric(operation: &'static str) {
    metrics::counter!("causeway_consent_total", "operation" => operation, "by" => "own").increment(1);
}

fn operation_name(operation: ConsentOperation) -> &'static str {
    match operation {
        ConsentOperation::Request => "request",
        ConsentOperation::Cancel => "cancel",
        ConsentOperation::Grant => "grant",
        ConsentOperation::Revoke => "revoke",
    }
}
