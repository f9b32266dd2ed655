//! Taking events in: judged by the graph, written with what follows.

use bytes::Bytes;
use event_graph::graph::{Arrival, Standing};
use event_graph::{DropReason, EventId, Outcome, Pdu, Verdict, receipt::signed_by_policy_server};
use std::collections::BTreeSet;
use store::Space;

use super::command::Fate;
use super::loaded::{LoadedGraph, Work, dropped, is_carrier, state_octets};
use super::records::{Noted, TimelineEntry, held_key, timeline_key};
use crate::carrier::Sha256Hash;
use crate::refusal::Refusal;

impl LoadedGraph {
    /// Checks 4 to 7 on receipt, for each event in turn; those that had waited for one follow it. One that would have to
    /// wait itself is dropped unless it may.
    pub(super) async fn admit(
        &mut self,
        work: &mut Work<'_>,
        pdus: &[Pdu],
        past: bool,
        may_wait: bool,
    ) -> Result<Vec<(EventId, Fate)>, Refusal> {
        let mut fates = Vec::with_capacity(pdus.len());
        let mut changed = Changed::default();
        for pdu in pdus {
            if !may_wait && self.lacks(pdu) {
                let reason = "its server is not in the room, and what it refers to is not here";
                fates.push((pdu.event_id(), Fate::Dropped(reason)));
                continue;
            }
            let refused = !past && self.refused_by_policy(work, pdu).await?;
            let arrival = match (past, refused) {
                (true, _) => Arrival::Backfilled,
                (false, true) => Arrival::Refused,
                (false, false) => Arrival::New,
            };
            let outcomes = self.graph.admit_as(pdu, arrival);
            let mut first = None;
            for outcome in outcomes {
                let fate = self.settle(work, pdu, &outcome, &mut changed).await?;
                first.get_or_insert(fate);
            }
            fates.push((pdu.event_id(), first.unwrap_or(Fate::Known)));
        }
        self.record(work, &changed);
        Ok(fates)
    }

    /// Whether an event can't be judged yet.
    fn lacks(&self, pdu: &Pdu) -> bool {
        let graph = &self.graph;
        !graph.has_state(pdu.event_id())
            && (pdu.prev_events().iter().any(|id| !graph.has_state(*id))
                || pdu.auth_events().iter().any(|id| !graph.contains(*id)))
    }

    /// Check 7.
    async fn refused_by_policy(&mut self, work: &Work<'_>, pdu: &Pdu) -> Result<bool, Refusal> {
        let Some(policy) = self.graph.current_event("m.room.policy", "") else {
            return Ok(false);
        };
        let policy = self.event_now(work, policy).await?;
        Ok(!signed_by_policy_server(pdu, &policy, |server| {
            self.graph.joined_servers().contains(server)
        }))
    }

    pub(super) async fn outliers(
        &mut self,
        work: &mut Work<'_>,
        pdus: &[Pdu],
    ) -> Result<Vec<(EventId, Fate)>, Refusal> {
        let mut fates = Vec::with_capacity(pdus.len());
        let mut changed = Changed::default();
        for pdu in pdus {
            let outcomes = self.graph.admit_outlier(pdu);
            fates.extend(self.settle_all(work, pdu, &outcomes, &mut changed).await?);
        }
        self.record(work, &changed);
        Ok(fates)
    }

    /// An event at a state that another server gave. Those that waited for it go on.
    pub(super) async fn at_state(
        &mut self,
        work: &mut Work<'_>,
        pdu: &Pdu,
        state: &[EventId],
    ) -> Result<Vec<(EventId, Fate)>, Refusal> {
        let mut changed = Changed::default();
        let outcomes = self.graph.admit_at_state(pdu, state, Arrival::New);
        let fates = self.settle_all(work, pdu, &outcomes, &mut changed).await?;
        self.record(work, &changed);
        Ok(fates)
    }

    async fn settle_all(
        &mut self,
        work: &mut Work<'_>,
        given: &Pdu,
        outcomes: &[Outcome],
        changed: &mut Changed,
    ) -> Result<Vec<(EventId, Fate)>, Refusal> {
        let mut fates = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            fates.push((
                outcome.event_id,
                self.settle(work, given, outcome, changed).await?,
            ));
        }
        Ok(fates)
    }

    pub(super) fn give_up(&mut self, work: &mut Work<'_>, events: &[EventId]) {
        for id in events {
            for outcome in self.graph.give_up(*id, DropReason::Unobtainable) {
                self.held.remove(&outcome.event_id);
                work.decision
                    .delete(Space::HeldEvent, held_key(self.id, outcome.event_id));
            }
        }
    }

    /// A carrier whose content hash is right takes the place of the copy without content.
    pub(super) fn complete(&mut self, work: &mut Work<'_>, pdu: &Pdu) {
        if self.incomplete.contains(&pdu.event_id()) && !pdu.is_redacted() {
            self.incomplete.remove(&pdu.event_id());
            work.decision.put_bytes(
                Space::Event,
                pdu.event_id().to_string().into_bytes(),
                Bytes::copy_from_slice(pdu.as_bytes()),
            );
            metrics::counter!("causeway_carriers_completed_total").increment(1);
        }
    }

    /// Writes what became of one event. `given` is the one whose admission led to the outcome.
    async fn settle(
        &mut self,
        work: &mut Work<'_>,
        given: &Pdu,
        outcome: &Outcome,
        changed: &mut Changed,
    ) -> Result<Fate, Refusal> {
        let id = outcome.event_id;
        let waited = self.held.get(&id).cloned();
        let pdu = match &waited {
            Some(pdu) => pdu.clone(),
            None if id == given.event_id() => given.clone(),
            None => return Ok(Fate::Known),
        };
        let fate = match &outcome.verdict {
            Verdict::Accepted | Verdict::Outlier => Fate::Accepted,
            Verdict::SoftFailed { rule } => Fate::SoftFailed(*rule),
            Verdict::Rejected { rule, .. } => Fate::Rejected(*rule),
            Verdict::Held { .. } => {
                // An outlier that lacks what it cites is not held by the graph.
                let is_held = matches!(self.graph.verdict(id), Some(Verdict::Held { .. }));
                if is_held && waited.is_none() {
                    let octets = Bytes::copy_from_slice(pdu.as_bytes());
                    work.decision
                        .put_bytes(Space::HeldEvent, held_key(self.id, id), octets);
                    self.held.insert(id, pdu);
                }
                return Ok(Fate::Held);
            }
            Verdict::Duplicate => return Ok(if waited.is_some() { Fate::Held } else { Fate::Known }),
            Verdict::Dropped(reason) => {
                self.unhold(work, id);
                return Ok(dropped(*reason));
            }
            _ => return Ok(Fate::Known),
        };
        self.unhold(work, id);
        metrics::counter!("causeway_graph_events_total", "fate" => fate.name()).increment(1);
        self.write(work, &pdu, matches!(fate, Fate::Rejected(_)))?;
        changed.any = true;
        changed.membership |=
            pdu.event_type() == "m.room.member" || pdu.event_type() == "m.room.power_levels";
        for redaction in &outcome.redactions {
            self.redact(work, redaction.target, &pdu).await?;
        }
        Ok(fate)
    }

    /// An event waits no more.
    fn unhold(&mut self, work: &mut Work<'_>, id: EventId) {
        if self.held.remove(&id).is_some() {
            work.decision.delete(Space::HeldEvent, held_key(self.id, id));
        }
    }

    /// A redaction that takes effect. What carries MIMI is never redacted.
    async fn redact(&mut self, work: &mut Work<'_>, target: EventId, latest: &Pdu) -> Result<(), Refusal> {
        let pdu = if target == latest.event_id() {
            latest.clone()
        } else {
            self.event_now(work, target).await?
        };
        if is_carrier(&pdu) || pdu.event_type() == "m.room.create" || pdu.is_redacted() {
            return Ok(());
        }
        let redacted = pdu.redact();
        work.decision.put_bytes(
            Space::Event,
            target.to_string().into_bytes(),
            Bytes::copy_from_slice(redacted.as_bytes()),
        );
        Ok(())
    }

    /// An event as it is by now: the command may have taken it in, or redacted it, itself.
    async fn event_now(&self, work: &Work<'_>, id: EventId) -> Result<Pdu, Refusal> {
        match work.decision.event(&id.to_string()) {
            Some(octets) => Pdu::parse_trusted(octets, self.version()).map_err(Refusal::internal),
            None => self.event(work.env, id).await,
        }
    }

    /// Event and place in the order of admission, with what the graph has to be told when it is loaded again.
    fn write(&mut self, work: &mut Work<'_>, pdu: &Pdu, rejected: bool) -> Result<(), Refusal> {
        let id = pdu.event_id();
        if is_carrier(pdu) && pdu.is_redacted() {
            self.incomplete.insert(id);
        }
        let mut noted = Noted {
            rejected,
            ..Noted::plain(id)
        };
        if let Some(entry) = self.graph.entry(id) {
            noted.soft_failed = entry.soft_failed;
            noted.backfilled = entry.backfilled;
            match entry.standing {
                Standing::Linked => {}
                Standing::Outlier => noted.outlier = true,
                Standing::AtState(state) => {
                    let blob = Bytes::from(state_octets(&state));
                    noted.state = Some(Sha256Hash::of(&blob));
                    work.decision.blobs.push(blob);
                }
            }
        }
        work.head.events = work.head.events.saturating_add(1);
        work.decision.put(
            Space::Timeline,
            timeline_key(self.id, work.head.events),
            &TimelineEntry::of(noted),
        )?;
        work.decision.put_bytes(
            Space::Event,
            pdu.event_id().to_string().into_bytes(),
            Bytes::copy_from_slice(pdu.as_bytes()),
        );
        Ok(())
    }

    /// Brings the owner's record up to the graph.
    fn record(&mut self, work: &mut Work<'_>, changed: &Changed) {
        if !changed.any {
            return;
        }
        let head = self.graph.head();
        work.head.heads = self.graph.extremities().iter().map(ToString::to_string).collect();
        work.head.depth = head.max_depth;
        if changed.membership {
            let node_user = work.node_user();
            let own = work.env.config.node_name.as_str();
            let servers = self.graph.joined_servers();
            let mut servers: BTreeSet<String> = servers.into_iter().map(str::to_owned).collect();
            work.record.joined = servers.remove(own);
            work.record.servers = servers;
            if let Some(id) = self.graph.current_event("m.room.power_levels", "") {
                work.record.power_levels = id.to_string();
            }
            if let Some(id) = self.graph.current_event("m.room.member", &node_user) {
                work.record.member = id.to_string();
            }
        }
    }
}

/// What a command changed.
#[derive(Default)]
struct Changed {
    any: bool,
    membership: bool,
}

impl Fate {
    /// A stable name for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::SoftFailed(_) => "soft_failed",
            Self::Rejected(_) => "rejected",
            Self::Known => "known",
            Self::Held => "held",
            Self::Dropped(_) => "dropped",
        }
    }

    /// Whether the event is part of the room.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted | Self::Known)
    }
}
