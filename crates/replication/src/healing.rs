//! Healing: what a cut, a restart or a lying server left out is fetched, within bounds, until the graphs agree.
//!
//! An event whose parents are missing waits in its room. They are asked for breadth first (`get_missing_events`), from
//! the server that sent the event, then from others in the room; what is too much for that is fetched as history until
//! the way back meets what is known. A gap that stays is closed by taking the event at the state that a server gives
//! for it, with every event of that state verified and judged. What nobody has is given up in the end, and what waited
//! for it is dropped; the next event will ask again.

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use event_graph::{EventId, Pdu, RoomVersion};
use futures_util::StreamExt as _;
use http::Method;
use matrix_wire::ServerName;
use matrix_wire::answers::{Events, Octets, State, StateIds, octets};
use room_engine::graphs::{Admitted, GraphCommand, Heads};
use room_engine::{Refusal, RequestContext};
use serde_json::json;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

use crate::client::{RequestError, segment};
use crate::federation::{Federation, FederationError, admitted};
use crate::history::{Reach, after_cited, chunks};

/// Events asked for in one request.
const MISSING_LIMIT: usize = 20;
/// Requests for missing events per round of healing and server.
const ROUNDS: usize = 25;
/// Servers asked about one gap.
const MOST_SERVERS: usize = 5;
/// Gaps closed by a state from elsewhere in one round.
const MOST_STATES: usize = 5;
/// Largest answer with events, in bytes.
const EVENTS_SIZE: usize = 16 << 20;
/// Events of a state fetched one by one; a larger difference is fetched as a whole.
const ONE_BY_ONE: usize = 50;
/// Forward extremities that are merged by an event of ours.
const MOST_HEADS: usize = 10;
/// Requests in flight for one room.
const AT_ONCE: usize = 8;
/// How often a room's healing is tried again while something is missing.
const AGAIN: Duration = Duration::from_secs(2);

mod heads;

pub use heads::HEADS_EVERY;

/// Rooms that are being healed at the same time; the others wait for their turn.
const ROOMS_AT_ONCE: usize = 32;

/// What is being healed, and of whom something is being asked.
#[derive(Debug)]
pub(crate) struct Healing {
    busy: Mutex<HashSet<String>>,
    /// Rounds of healing that may run.
    rounds: Semaphore,
    /// Servers that are being asked for heads.
    asked: Mutex<HashSet<ServerName>>,
    /// Requests for heads that may be in flight.
    requests: Semaphore,
    /// Servers that answered a request for heads with 404: no nodes of ours.
    no_heads: Mutex<HashMap<ServerName, Instant>>,
}

impl Default for Healing {
    fn default() -> Self {
        Self {
            busy: Mutex::default(),
            rounds: Semaphore::new(ROOMS_AT_ONCE),
            asked: Mutex::default(),
            requests: Semaphore::new(heads::REQUESTS),
            no_heads: Mutex::default(),
        }
    }
}

/// A place among those that are at work, free again when it is dropped.
struct Place<'a, T: Eq + Hash>(&'a Mutex<HashSet<T>>, T);

impl<'a, T: Eq + Hash + Clone> Place<'a, T> {
    /// None if it is taken.
    fn take(places: &'a Mutex<HashSet<T>>, of: &T) -> Option<Self> {
        lock(places).insert(of.clone()).then(|| Self(places, of.clone()))
    }
}

impl<T: Eq + Hash> Drop for Place<'_, T> {
    fn drop(&mut self) {
        lock(self.0).remove(&self.1);
    }
}

impl Federation {
    /// Starts healing where an admission left something open.
    pub(crate) fn heal_after(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        origin: &ServerName,
        admitted: &Admitted,
    ) {
        if admitted.missing.is_empty() && admitted.incomplete.is_empty() && !admitted.wants_merge {
            return;
        }
        let (this, ctx, room_id, origin) = (self.clone(), ctx.clone(), room_id.to_owned(), origin.clone());
        tokio::spawn(async move { this.heal(&ctx, &room_id, Some(&origin)).await });
    }

    /// Heals one room; one task at a time.
    #[boxed]
    pub async fn heal(&self, ctx: &RequestContext, room_id: &str, first: Option<&ServerName>) {
        let healing = &self.inner().healing;
        let Some(_busy) = Place::take(&healing.busy, &room_id.to_owned()) else {
            return;
        };
        // Since when what is open has been open. That the room goes on meanwhile says nothing about it.
        let mut since: HashMap<EventId, Instant> = HashMap::new();
        // Servers whose history of the gap has been fetched: once is enough.
        let mut deep: HashSet<ServerName> = HashSet::new();
        for round in 0.. {
            let open = {
                let _turn = healing.rounds.acquire().await;
                self.heal_once(ctx, room_id, (first, round), &mut deep).await
            };
            let heads = match open {
                Ok(None) => break,
                Ok(Some(heads)) => heads,
                Err(error) => {
                    tracing::warn!(room = room_id, %error, "healing is interrupted");
                    break;
                }
            };
            let open: HashSet<EventId> = heads.missing.iter().chain(&heads.incomplete).copied().collect();
            since.retain(|id, _| open.contains(id));
            for id in &open {
                since.entry(*id).or_insert_with(Instant::now);
            }
            let late = |id: &&EventId| {
                let at = since.get(*id);
                at.is_some_and(|at| at.elapsed() > self.inner().bounds.patience)
            };
            let events: Vec<EventId> = heads.missing.iter().filter(late).copied().collect();
            if !events.is_empty() {
                let (waiting, missing) = (heads.held.len(), events.len());
                tracing::warn!(
                    room = room_id,
                    waiting,
                    missing,
                    "a gap can't be closed: given up"
                );
                let _ = self.ask(ctx, room_id, GraphCommand::GiveUp { events }).await;
            }
            if open.iter().all(|id| late(&id)) {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// One round. Gives the heads while something is still open.
    async fn heal_once(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        (first, round): (Option<&ServerName>, usize),
        deep: &mut HashSet<ServerName>,
    ) -> Result<Option<Heads>, Refusal> {
        let Some(version) = self.engine().graph_version(room_id).await? else {
            return Ok(None);
        };
        let heads = self.heads(ctx, room_id).await?;
        let many = heads.joined && heads.heads.len() > MOST_HEADS;
        if heads.missing.is_empty() && heads.incomplete.is_empty() && !many {
            return Ok(None);
        }
        let servers = candidates(first, &heads.servers, round);
        for server in &servers {
            let heads = self.heads(ctx, room_id).await?;
            if heads.missing.is_empty() && heads.incomplete.is_empty() {
                break;
            }
            if let Err(error) = self.fill(ctx, room_id, version, server).await {
                tracing::info!(room = room_id, %server, %error, "a server can't help to fill a gap");
            }
            let missing = self.heads(ctx, room_id).await?.missing;
            if missing.is_empty() || !deep.insert(server.clone()) {
                continue;
            }
            let fetched = self
                .fetch_history(ctx, room_id, version, server, &missing, Reach::Known)
                .await;
            match fetched {
                Ok(events) => tracing::info!(room = room_id, %server, events, "a deep gap was fetched"),
                Err(error) => tracing::info!(room = room_id, %server, %error, "a deep gap can't be fetched"),
            }
        }
        let heads = self.heads(ctx, room_id).await?;
        if !heads.missing.is_empty() {
            for server in &servers {
                match self.bridge(ctx, room_id, version, server).await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::info!(room = room_id, %server, %error, "a server can't help to bridge a gap");
                    }
                }
            }
        }
        let heads = self.heads(ctx, room_id).await?;
        if heads.joined && heads.heads.len() > MOST_HEADS {
            // Forbidden where the node user may not speak: then others merge.
            let _ = self.ask(ctx, room_id, GraphCommand::Merge).await;
        }
        let open = !heads.missing.is_empty() || !heads.incomplete.is_empty();
        Ok(open.then_some(heads))
    }

    /// Breadth first, back from what waits, as long as it leads on.
    async fn fill(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        version: RoomVersion,
        server: &ServerName,
    ) -> Result<(), FederationError> {
        let mut before: Option<BTreeSet<EventId>> = None;
        for _ in 0..ROUNDS {
            let heads = self.heads(ctx, room_id).await?;
            let missing: BTreeSet<EventId> = heads.missing.iter().copied().collect();
            if missing.is_empty() || before.as_ref() == Some(&missing) {
                break;
            }
            before = Some(missing);
            let target = format!("/_matrix/federation/v1/get_missing_events/{}", segment(room_id));
            let latest: Vec<EventId> = heads.held.iter().take(MISSING_LIMIT).copied().collect();
            let earliest: Vec<EventId> = heads.heads.iter().take(MISSING_LIMIT).copied().collect();
            let content = json!({
                "earliest_events": earliest, "latest_events": latest, "limit": MISSING_LIMIT, "min_depth": 0,
            });
            let answer: Events = self
                .client()
                .send(Method::POST, server, &target, &content, EVENTS_SIZE)
                .await?;
            metrics::counter!("causeway_federation_missing_fetched_total")
                .increment(answer.events.len() as u64);
            let some = answer.events.get(..MISSING_LIMIT * 2).unwrap_or(&answer.events);
            let mut pdus = self.verified(version, room_id, &octets(some)).await;
            if pdus.is_empty() {
                break;
            }
            pdus.sort_by_key(|p| (p.depth(), p.event_id()));
            self.admit(ctx, room_id, None, pdus, false).await?;
        }
        let heads = self.heads(ctx, room_id).await?;
        // Single parents and cited events that `get_missing_events` doesn't give.
        let wanted: Vec<EventId> = heads.missing.iter().take(ONE_BY_ONE).copied().collect();
        if !wanted.is_empty() {
            let mut pdus = self.fetch_events(version, room_id, server, &wanted).await;
            pdus.sort_by_key(|p| (p.depth(), p.event_id()));
            if !pdus.is_empty() {
                self.admit(ctx, room_id, None, pdus, false).await?;
            }
        }
        for event in heads.incomplete.iter().take(ONE_BY_ONE) {
            for pdu in self.fetch_events(version, room_id, server, &[*event]).await {
                if pdu.event_id() == *event && !pdu.is_redacted() {
                    self.ask(ctx, room_id, GraphCommand::Complete { pdu }).await?;
                }
            }
        }
        Ok(())
    }

    /// Closes what fetching parents did not: the oldest event that waits is taken at the state that the server gives.
    async fn bridge(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        version: RoomVersion,
        server: &ServerName,
    ) -> Result<(), FederationError> {
        for _ in 0..MOST_STATES {
            let heads = self.heads(ctx, room_id).await?;
            if heads.missing.is_empty() {
                return Ok(());
            }
            let held: HashSet<EventId> = heads.held.iter().copied().collect();
            // One that waits for nothing that waits itself.
            let some: Vec<EventId> = heads.held.iter().take(ONE_BY_ONE).copied().collect();
            let mut pdus = self.fetch_events(version, room_id, server, &some).await;
            pdus.retain(|p| !p.prev_events().iter().any(|prev| held.contains(prev)));
            pdus.sort_by_key(|p| (p.depth(), p.event_id()));
            let Some(pdu) = pdus.into_iter().next() else {
                return Err(FederationError::Nobody(
                    "what waits can't be fetched again".to_owned(),
                ));
            };
            self.at_state(ctx, room_id, version, server, pdu).await?;
        }
        Ok(())
    }

    /// Takes an event at the state that a server says was before it.
    pub(crate) async fn at_state(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        version: RoomVersion,
        server: &ServerName,
        pdu: Pdu,
    ) -> Result<(), FederationError> {
        let query = format!(
            "{}?event_id={}",
            segment(room_id),
            segment(&pdu.event_id().to_string())
        );
        let ids: StateIds = self
            .client()
            .get(
                server,
                &format!("/_matrix/federation/v1/state_ids/{query}"),
                self.inner().bounds.state,
            )
            .await?;
        let all: BTreeSet<EventId> = ids.pdu_ids.iter().chain(&ids.auth_chain_ids).copied().collect();
        let mut unknown = Vec::new();
        for id in &all {
            if self.engine().event(*id, version).await.map_err(engine)?.is_none() {
                unknown.push(*id);
            }
        }
        let pdus = if unknown.len() <= ONE_BY_ONE {
            self.fetch_events(version, room_id, server, &unknown).await
        } else {
            let state: State = self
                .client()
                .get(
                    server,
                    &format!("/_matrix/federation/v1/state/{query}"),
                    self.inner().bounds.state,
                )
                .await?;
            let both: Vec<Octets> = state.auth_chain.into_iter().chain(state.pdus).collect();
            self.verified(version, room_id, &octets(&both)).await
        };
        self.outliers(ctx, room_id, pdus).await?;
        let command = GraphCommand::AtState {
            pdu: pdu.clone(),
            state: ids.pdu_ids,
        };
        let admitted = admitted(self.ask(ctx, room_id, command).await?)?;
        let fate = admitted.fates.iter().find(|(id, _)| *id == pdu.event_id());
        match fate {
            Some((_, fate)) if !matches!(fate, room_engine::graphs::Fate::Held) => Ok(()),
            _ => Err(FederationError::Answer {
                server: server.clone(),
                reason: "its state lacks events that it cites".to_owned(),
            }),
        }
    }

    /// Takes events for the sake of those that cite them, each after those it cites.
    pub(crate) async fn outliers(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        pdus: Vec<Pdu>,
    ) -> Result<(), FederationError> {
        for pdus in chunks(after_cited(pdus)) {
            self.ask(ctx, room_id, GraphCommand::Outliers { pdus }).await?;
        }
        Ok(())
    }

    /// Single events, verified; those that can't be had are left out.
    pub(crate) async fn fetch_events(
        &self,
        version: RoomVersion,
        room_id: &str,
        server: &ServerName,
        ids: &[EventId],
    ) -> Vec<Pdu> {
        let fetch = |id: EventId| async move {
            let target = format!("/_matrix/federation/v1/event/{}", segment(&id.to_string()));
            self.client()
                .request(Method::GET, server, &target, None, EVENTS_SIZE)
                .await
        };
        let answers: Vec<Result<Bytes, RequestError>> =
            futures_util::stream::iter(ids.iter().copied().map(fetch))
                .buffered(AT_ONCE)
                .collect()
                .await;
        let events: Vec<Octets> = answers
            .into_iter()
            .flatten()
            .filter_map(|body| serde_json::from_slice::<Events>(&body).ok())
            .filter_map(|events| events.events.into_iter().next())
            .collect();
        let wanted: HashSet<EventId> = ids.iter().copied().collect();
        let mut pdus = self.verified(version, room_id, &octets(&events)).await;
        pdus.retain(|pdu| wanted.contains(&pdu.event_id()));
        pdus
    }
}

/// Whom to ask: the one that sent what waits, then others in the room, in each round others; nobody who isn't in it.
fn candidates(first: Option<&ServerName>, room: &BTreeSet<String>, round: usize) -> Vec<ServerName> {
    let begin = round.saturating_mul(MOST_SERVERS).checked_rem(room.len());
    let in_turn = room.iter().cycle().skip(begin.unwrap_or(0)).take(room.len());
    let others = in_turn.filter_map(|s| ServerName::parse(s).ok());
    let first = first.filter(|first| room.contains(first.as_str()));
    let mut servers: Vec<ServerName> = first.cloned().into_iter().collect();
    for other in others {
        if servers.len() >= MOST_SERVERS {
            break;
        }
        if !servers.contains(&other) {
            servers.push(other);
        }
    }
    servers
}

pub(crate) fn engine(error: room_engine::EngineError) -> Refusal {
    match error {
        room_engine::EngineError::Store(error) => Refusal::Store(error),
        other => Refusal::Internal(other.to_string()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_turn_everybody_in_a_room_is_asked() {
        let room: BTreeSet<String> = (0..12).map(|n| format!("s{n:02}.example")).collect();
        let sender = ServerName::parse("s07.example").unwrap();
        let stranger = ServerName::parse("stranger.example").unwrap();
        let mut asked = BTreeSet::new();
        for round in 0..5 {
            let servers = candidates(Some(&sender), &room, round);
            assert_eq!((servers.len(), &servers[0]), (MOST_SERVERS, &sender));
            asked.extend(servers.iter().map(ToString::to_string));
            assert!(!candidates(Some(&stranger), &room, round).contains(&stranger));
        }
        assert_eq!(asked, room);
        assert!(candidates(Some(&sender), &BTreeSet::new(), 3).is_empty());
    }
}
