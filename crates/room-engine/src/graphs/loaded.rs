//! A graph in memory, and what a command writes of it.

use event_graph::graph::{Entry, Standing};
use event_graph::{DropReason, EventId, Graph, Pdu, RoomVersion, Verdict};
use futures_util::StreamExt as _;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr as _;
use store::{Scan, Space, StoreError};

use super::acl::Acl;
use super::command::{Admitted, Fate, GraphCommand, GraphReply};
use super::records::{Noted, TimelineEntry};
use crate::command::RequestContext;
use crate::decision::Decision;
use crate::engine::Env;
use crate::outbox::{Destination, OutboxBody};
use crate::owner::UriKey;
use crate::records::{GraphHead, GraphRecord, OutboxRecord, parse};
use crate::refusal::Refusal;

/// Rows read at once.
const PAGE: usize = 1_000;
/// Events read at the same time.
const AT_ONCE: usize = 64;

/// What a command works with besides the graph itself: copies of the owner's records, and the decision.
pub(crate) struct Work<'a> {
    pub(crate) env: &'a Env,
    pub(crate) ctx: &'a RequestContext,
    pub(crate) record: &'a mut GraphRecord,
    pub(crate) head: &'a mut GraphHead,
    pub(crate) outbox_next: &'a mut BTreeMap<String, u64>,
    /// What the outbox calls the room.
    pub(crate) outbox_room: &'a str,
    pub(crate) decision: &'a mut Decision,
}

impl Work<'_> {
    pub(super) fn node_user(&self) -> String {
        node_user(self.env)
    }

    /// Queues an event for some servers.
    pub(super) fn queue(
        &mut self,
        pdu: &Pdu,
        servers: impl IntoIterator<Item = String>,
    ) -> Result<(), Refusal> {
        for server in servers {
            queue_event(
                self.env,
                self.ctx,
                self.decision,
                self.outbox_next,
                self.outbox_room,
                &server,
                pdu,
            )?;
        }
        Ok(())
    }
}

/// Queues an event for one server.
pub(crate) fn queue_event(
    env: &Env,
    ctx: &RequestContext,
    decision: &mut Decision,
    outbox_next: &mut BTreeMap<String, u64>,
    room: &str,
    server: &str,
    pdu: &Pdu,
) -> Result<(), Refusal> {
    let destination = Destination::Server(server.to_owned());
    let seq = outbox_next.entry(destination.to_string()).or_insert(1);
    let record = OutboxRecord {
        destination,
        room: room.to_owned(),
        seq: *seq,
        request_id: ctx.request_id.clone(),
        queued_at: env.clock.now_ms(),
        octets: None,
        body: OutboxBody::Event {
            graph: pdu.room_id().to_owned(),
            event: pdu.event_id(),
        },
    };
    *seq = seq.saturating_add(1);
    decision.queue(record)
}

/// The node user of this node.
pub(crate) fn node_user(env: &Env) -> String {
    format!("@_causeway:{}", env.config.node_name)
}

/// A graph in memory.
pub(crate) struct LoadedGraph {
    pub(super) id: UriKey,
    pub(super) graph: Graph,
    /// Events that wait; the graph holds them too and gives none out.
    pub(super) held: HashMap<EventId, Pdu>,
    /// Carriers whose content is still to be had.
    pub(super) incomplete: BTreeSet<EventId>,
    /// The ACL, with the event it was read from.
    acl: Option<(EventId, Acl)>,
}

impl LoadedGraph {
    /// Builds the index from the stored timeline.
    pub(crate) async fn load(env: &Env, id: UriKey, record: &GraphRecord) -> Result<Self, Refusal> {
        let version = RoomVersion::from_str(&record.room_version).map_err(Refusal::internal)?;
        let mut incomplete = BTreeSet::new();
        let mut stored: Vec<(Pdu, Entry)> = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let mut scan = Scan::prefix(Space::Timeline, id.0).limit(PAGE);
            if let Some(after) = &after {
                scan = scan.after(after);
            }
            let rows = env.store.scan(scan).await?;
            let entries = rows
                .iter()
                .map(|(key, value)| parse(Space::Timeline, key, value).map(TimelineEntry::noted))
                .collect::<Result<Vec<Noted>, _>>()?;
            let ids: Vec<EventId> = entries.iter().map(|n| n.event).collect();
            for (noted, pdu) in entries.into_iter().zip(events(env, version, &ids).await?) {
                if is_carrier(&pdu) && pdu.is_redacted() {
                    incomplete.insert(pdu.event_id());
                }
                stored.push((pdu, entry(env, noted).await?));
            }
            match rows.last() {
                Some((last, _)) if rows.len() == PAGE => after = Some(last.to_vec()),
                _ => break,
            }
        }
        let (graph, unplaced) = Graph::load(version, &record.room_id, stored);
        if let Some(outcome) = unplaced.first() {
            return Err(Refusal::internal(format!(
                "the stored graph has a gap before {}: {}",
                outcome.event_id, outcome.verdict
            )));
        }
        let mut loaded = Self {
            id,
            graph,
            held: HashMap::new(),
            incomplete,
            acl: None,
        };
        for (_, value) in env.store.scan(Scan::prefix(Space::HeldEvent, id.0)).await? {
            if let Ok(pdu) = Pdu::parse_trusted(&value, version) {
                // Whatever it waited for is missing still: it came in before and nothing since.
                for outcome in loaded.graph.admit(&pdu) {
                    if matches!(outcome.verdict, Verdict::Held { .. }) {
                        loaded.held.insert(pdu.event_id(), pdu.clone());
                    }
                }
            }
        }
        metrics::counter!("causeway_graphs_loaded_total").increment(1);
        Ok(loaded)
    }

    /// Takes in what the owner wrote past this index.
    pub(crate) fn follow(&mut self, pdu: &Pdu) {
        if !self.graph.contains(pdu.event_id()) {
            self.graph.admit(pdu);
        }
    }

    /// Carries a command out. What it refuses has changed nothing.
    pub(crate) async fn handle(
        &mut self,
        work: &mut Work<'_>,
        command: &GraphCommand,
    ) -> Result<GraphReply, Refusal> {
        match command {
            GraphCommand::Establish { .. } => Ok(GraphReply::Done),
            GraphCommand::Admit { origin, pdus, past } => {
                if let Some(origin) = origin
                    && !self.acl_allows(work.env, origin).await?
                {
                    let denied =
                        |pdu: &Pdu| (pdu.event_id(), Fate::Dropped("denied by the room's server ACL"));
                    return Ok(GraphReply::Admitted(Admitted {
                        fates: pdus.iter().map(denied).collect(),
                        ..Admitted::default()
                    }));
                }
                // What waits takes up room that a server outside has no right to. Of a room that we are not in ourselves we
                // don't know who is.
                let outside = |origin: &String| work.record.joined && !work.record.servers.contains(origin);
                let may_wait = !origin.as_ref().is_some_and(outside);
                let fates = self.admit(work, pdus, *past, may_wait).await?;
                Ok(GraphReply::Admitted(self.admitted(fates)))
            }
            GraphCommand::Outliers { pdus } => {
                let fates = self.outliers(work, pdus).await?;
                Ok(GraphReply::Admitted(self.admitted(fates)))
            }
            GraphCommand::AtState { pdu, state } => {
                let fates = self.at_state(work, pdu, state).await?;
                Ok(GraphReply::Admitted(self.admitted(fates)))
            }
            GraphCommand::Complete { pdu } => {
                self.complete(work, pdu);
                Ok(GraphReply::Done)
            }
            GraphCommand::GiveUp { events } => {
                self.give_up(work, events);
                Ok(GraphReply::Admitted(self.admitted(Vec::new())))
            }
            GraphCommand::Template {
                origin,
                user,
                change,
                versions,
            } => self.template(work, origin, user, *change, versions).await,
            GraphCommand::Receive { origin, pdu, change } => self.receive(work, origin, pdu, *change).await,
            GraphCommand::Invite { user } => self.invite(work, user).await,
            GraphCommand::Relay { pdu } => {
                let fates = self.relay(work, pdu, None).await?;
                Ok(GraphReply::Admitted(self.admitted(fates)))
            }
            GraphCommand::Own {
                event_type,
                state_key,
                content,
            } => {
                self.own(work, event_type, state_key.as_deref(), content.clone())
                    .await
            }
            GraphCommand::Merge => self.merge(work).await,
            GraphCommand::Ask { asker, question } => self.answer(work, asker.as_deref(), question).await,
        }
    }

    fn admitted(&self, fates: Vec<(EventId, Fate)>) -> Admitted {
        Admitted {
            fates,
            missing: self.graph.missing(),
            held: self.held.keys().copied().collect(),
            incomplete: self.incomplete.iter().copied().collect(),
            wants_merge: self.graph.wants_merge(),
        }
    }

    /// Whether the room's ACL lets the server take part.
    pub(super) async fn acl_allows(&mut self, env: &Env, server: &str) -> Result<bool, Refusal> {
        let Some(current) = self.graph.current_event("m.room.server_acl", "") else {
            return Ok(true);
        };
        if self.acl.as_ref().is_none_or(|(event, _)| *event != current) {
            let pdu = self.event(env, current).await?;
            self.acl = Some((current, Acl::read(&pdu)));
        }
        Ok(self.acl.as_ref().is_none_or(|(_, acl)| acl.allows(server)))
    }

    pub(crate) fn version(&self) -> RoomVersion {
        self.graph.room_version()
    }

    pub(super) async fn event(&self, env: &Env, id: EventId) -> Result<Pdu, Refusal> {
        let mut found = events(env, self.version(), &[id]).await?;
        found.pop().ok_or(Refusal::Unknown { what: "event" })
    }

    pub(super) async fn events(&self, env: &Env, ids: &[EventId]) -> Result<Vec<Pdu>, Refusal> {
        events(env, self.version(), ids).await
    }
}

/// What the graph is told of a stored event.
async fn entry(env: &Env, noted: Noted) -> Result<Entry, Refusal> {
    let standing = match noted.state {
        _ if noted.outlier => Standing::Outlier,
        Some(blob) => Standing::AtState(state_list(&env.blob(&blob).await?)),
        None => Standing::Linked,
    };
    Ok(Entry {
        standing,
        soft_failed: noted.soft_failed,
        backfilled: noted.backfilled,
    })
}

/// Stored events, in the order asked for. One that is gone is damage.
pub(super) async fn events(env: &Env, version: RoomVersion, ids: &[EventId]) -> Result<Vec<Pdu>, Refusal> {
    let read = |id: EventId| async move {
        let key = id.to_string().into_bytes();
        let bytes = env.store.get(Space::Event, &key).await?;
        let bytes = bytes.ok_or_else(|| StoreError::Corrupt {
            space: Some(Space::Event),
            key: key.clone(),
            why: "an event of a timeline is gone".to_owned(),
        })?;
        Pdu::parse_trusted(&bytes, version).map_err(|e| {
            Refusal::from(StoreError::Corrupt {
                space: Some(Space::Event),
                key,
                why: e.to_string(),
            })
        })
    };
    let mut reading = futures_util::stream::iter(ids.iter().copied().map(read)).buffered(AT_ONCE);
    let mut pdus = Vec::with_capacity(ids.len());
    while let Some(pdu) = reading.next().await {
        pdus.push(pdu?);
    }
    Ok(pdus)
}

/// Events that redaction never applies to.
pub(super) fn is_carrier(pdu: &Pdu) -> bool {
    pdu.event_type().starts_with("org.causeway.")
}

/// The ids of a state as a blob: 32 octets each.
pub(super) fn state_octets(state: &[EventId]) -> Vec<u8> {
    state.iter().flat_map(|id| *id.as_bytes()).collect()
}

fn state_list(octets: &[u8]) -> Vec<EventId> {
    octets
        .chunks_exact(32)
        .filter_map(|hash| hash.try_into().ok().map(EventId::from_hash))
        .collect()
}

pub(super) fn dropped(reason: DropReason) -> Fate {
    Fate::Dropped(match reason {
        DropReason::OtherRoom => "it is of another room",
        DropReason::NoCreate => "the room has no create event yet",
        DropReason::SecondCreate => "it is a second create event",
        DropReason::SelfReference => "it refers to itself",
        DropReason::HoldFull => "too many events are waiting for others",
        DropReason::Unobtainable => "an event it refers to can't be had",
        DropReason::CitesOtherRoom => "an event it cites is of another room",
        _ => "it is not taken",
    })
}
