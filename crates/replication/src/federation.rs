//! The one door: whatever comes from another server, pushed or pulled, is parsed, verified and judged here.

use async_recursion::async_recursion as boxed;
use event_graph::json::Raw;
use event_graph::{EventId, KeyRing, Pdu, RoomVersion, UnverifiedPdu};
use matrix_wire::ServerName;
use matrix_wire::keys::OwnKeys;
use matrix_wire::requests::room_of;
use room_engine::graphs::{Admitted, Fate, GraphCommand, GraphReply, Heads, Question};
use room_engine::{Engine, Refusal, RequestContext};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::client::{FederationClient, RequestError};
use crate::healing::Healing;
use crate::keys::KeyStore;

/// Why something that this server wanted of others was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FederationError {
    /// Another server can't be asked or said no.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The engine said no.
    #[error(transparent)]
    Engine(#[from] Refusal),
    /// Another server's answer makes no sense or lies.
    #[error("{server} gave an unusable answer: {reason}")]
    Answer {
        /// Who.
        server: ServerName,
        /// Why.
        reason: String,
    },
    /// No server was named or could help.
    #[error("no server could help: {0}")]
    Nobody(String),
}

/// Bounds on what others may make us fetch.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events of one gap. They are in memory until the way back has met what is known.
    pub gap: usize,
    /// Events of a room's history, when all of it is asked for.
    pub history: usize,
    /// Largest answer with the state of a room, in octets.
    pub state: usize,
    /// How long an event that others need may be missing before what waits for it is given up.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            gap: 20_000,
            history: 200_000,
            state: 128 << 20,
            patience: Duration::from_mins(10),
        }
    }
}

/// This node as a Matrix server. Cheap to clone.
#[derive(Clone)]
pub struct Federation(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) client: FederationClient,
    pub(crate) keys: KeyStore,
    pub(crate) own: OwnKeys,
    pub(crate) healing: Healing,
    pub(crate) bounds: Bounds,
}

impl Federation {
    /// Puts it together. Requests go out when there is a reason.
    pub fn new(
        engine: Engine,
        client: FederationClient,
        keys: KeyStore,
        own: OwnKeys,
        bounds: Bounds,
    ) -> Self {
        Self(Arc::new(Inner {
            engine,
            client,
            keys,
            own,
            healing: Healing::default(),
            bounds,
        }))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The way to other servers.
    pub fn client(&self) -> &FederationClient {
        &self.0.client
    }

    /// Others' keys.
    pub fn keys(&self) -> &KeyStore {
        &self.0.keys
    }

    /// This server's name.
    pub fn name(&self) -> &str {
        self.0.client.identity().server_name()
    }

    /// Checks 1 to 3 on receipt for many events at once, so that keys are fetched together. The answer has one entry
    /// per event, in order.
    pub async fn verify(&self, version: RoomVersion, octets: &[&[u8]]) -> Vec<Result<Pdu, Unverified>> {
        let parsed: Vec<Result<UnverifiedPdu, Unverified>> = octets
            .iter()
            .map(|o| Pdu::parse(o, version).map_err(|e| Unverified(None, e.to_string())))
            .collect();
        let mut wanted: BTreeMap<(ServerName, String), i64> = BTreeMap::new();
        let mut times: BTreeSet<(ServerName, String, i64)> = BTreeSet::new();
        for pdu in parsed.iter().flatten() {
            for (server, key_id) in signatures(pdu) {
                let at = pdu.origin_server_ts();
                let latest = wanted.entry((server, key_id)).or_insert(at);
                *latest = (*latest).max(at);
            }
        }
        times.extend(
            wanted
                .into_iter()
                .map(|((server, key_id), at)| (server, key_id, at)),
        );
        let mut ring = self.ring(times.clone()).await;
        let mut out: Vec<Result<Pdu, Unverified>> = Vec::with_capacity(parsed.len());
        for pdu in parsed {
            out.push(match pdu {
                Err(error) => Err(error),
                Ok(pdu) => {
                    let id = pdu.event_id();
                    let retry = pdu.clone();
                    match pdu.verify(&ring) {
                        Ok(pdu) => Ok(pdu),
                        // The newest event's time may be past the key's end where this one's is not.
                        Err(event_graph::VerifyError::UnknownKey { .. }) => {
                            let own = signatures(&retry)
                                .into_iter()
                                .map(|(s, k)| (s, k, retry.origin_server_ts()));
                            ring = self.ring(times.iter().cloned().chain(own)).await;
                            retry
                                .verify(&ring)
                                .map_err(|e| Unverified(Some(id), e.to_string()))
                        }
                        Err(error) => Err(Unverified(Some(id), error.to_string())),
                    }
                }
            });
        }
        out
    }

    /// Keys as they are wanted. Our own are known: events of ours that come back, since they were lost here, need nobody
    /// to be asked.
    async fn ring(&self, wanted: impl IntoIterator<Item = (ServerName, String, i64)>) -> KeyRing {
        let (own, others): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|(server, ..)| server.as_str() == self.name());
        let mut ring = self.0.keys.ring(others).await;
        for (server, key_id, _) in own {
            if let Some((key, until)) = self.0.own.key(&key_id) {
                ring.insert(server.as_str(), &key_id, key, until);
            }
        }
        ring
    }

    /// Verified events of a room; what doesn't verify or is of another room is left out.
    pub(crate) async fn verified(&self, version: RoomVersion, room_id: &str, octets: &[&[u8]]) -> Vec<Pdu> {
        let verified = self.verify(version, octets).await;
        verified
            .into_iter()
            .filter_map(|pdu| {
                pdu.map_err(|e| tracing::debug!(room = room_id, reason = e.1, "an event doesn't verify"))
                    .ok()
            })
            .filter(|pdu| pdu.room_id() == room_id)
            .collect()
    }

    pub(crate) async fn ask(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        command: GraphCommand,
    ) -> Result<GraphReply, Refusal> {
        self.0.engine.graph(ctx.clone(), room_id, command).await
    }

    /// Hands verified events to their room.
    pub(crate) async fn admit(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        origin: Option<&str>,
        pdus: Vec<Pdu>,
        past: bool,
    ) -> Result<Admitted, Refusal> {
        let command = GraphCommand::Admit {
            origin: origin.map(str::to_owned),
            pdus,
            past,
        };
        admitted(self.ask(ctx, room_id, command).await?)
    }

    /// The end of a graph.
    #[boxed]
    pub async fn heads(&self, ctx: &RequestContext, room_id: &str) -> Result<Heads, Refusal> {
        let command = GraphCommand::Ask {
            asker: None,
            question: Question::Heads,
        };
        match self.ask(ctx, room_id, command).await? {
            GraphReply::Heads(heads) => Ok(heads),
            other => Err(unexpected(&other)),
        }
    }

    /// PDUs of a transaction that arrived: per event what is told to the sender, nothing where it was taken or quietly
    /// set aside.
    pub(crate) async fn transaction(
        &self,
        ctx: &RequestContext,
        origin: &ServerName,
        pdus: &[Raw<'_>],
    ) -> Result<BTreeMap<String, Option<String>>, Refusal> {
        let mut results = BTreeMap::new();
        // Rooms in the order in which they first appear, each with its events in order.
        let mut rooms: Vec<(String, Vec<&[u8]>)> = Vec::new();
        for pdu in pdus {
            let Some(room_id) = room_of(*pdu) else {
                // Without a room there is no version and no event id to name.
                continue;
            };
            match rooms.iter_mut().find(|(id, _)| *id == room_id) {
                Some((_, list)) => list.push(pdu.text().as_bytes()),
                None => rooms.push((room_id, vec![pdu.text().as_bytes()])),
            }
        }
        for (room_id, octets) in rooms {
            let Some(version) = self.0.engine.graph_version(&room_id).await? else {
                // Under which version's rules would their ids be computed? They can't be named.
                metrics::counter!("causeway_federation_pdus_refused_total", "reason" => "unknown_room")
                    .increment(octets.len() as u64);
                continue;
            };
            let mut good = Vec::with_capacity(octets.len());
            for verified in self.verify(version, &octets).await {
                match verified {
                    Ok(pdu) => good.push(pdu),
                    Err(Unverified(id, reason)) => {
                        metrics::counter!("causeway_federation_pdus_refused_total", "reason" => "unverified")
                            .increment(1);
                        tracing::info!(%origin, room = room_id, reason, "an event is dropped");
                        if let Some(id) = id {
                            results.insert(id.to_string(), Some(reason));
                        }
                    }
                }
            }
            if good.is_empty() {
                continue;
            }
            let admitted = match self
                .admit(ctx, &room_id, Some(origin.as_str()), good, false)
                .await
            {
                Ok(admitted) => admitted,
                Err(Refusal::Unknown { .. }) => continue,
                Err(error) => return Err(error),
            };
            for (id, fate) in &admitted.fates {
                let error = match fate {
                    Fate::Dropped(reason) => Some((*reason).to_owned()),
                    Fate::Rejected(rule) => Some(rule.describe().to_owned()),
                    _ => None,
                };
                results.insert(id.to_string(), error);
            }
            self.heal_after(ctx, &room_id, origin, &admitted);
        }
        Ok(results)
    }
}

/// An event that doesn't verify: its id, where it has one, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified(pub Option<EventId>, pub String);

/// Servers that have to sign and the keys they used.
fn signatures(pdu: &UnverifiedPdu) -> Vec<(ServerName, String)> {
    let mut keys = Vec::with_capacity(1);
    for server in pdu.required_signers().unwrap_or_default() {
        let Ok(name) = ServerName::parse(server) else {
            continue;
        };
        let entries = pdu.raw().get("signatures").and_then(|s| s.get(server)?.entries());
        for entry in entries.into_iter().flatten().take(4) {
            let key_id = entry.key.escaped();
            if matrix_wire::auth::is_key_id(key_id) {
                keys.push((name.clone(), key_id.to_owned()));
            }
        }
    }
    keys
}

pub(crate) fn admitted(reply: GraphReply) -> Result<Admitted, Refusal> {
    match reply {
        GraphReply::Admitted(admitted) => Ok(admitted),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn unexpected(reply: &GraphReply) -> Refusal {
    tracing::error!(?reply, "an unexpected answer of a graph");
    Refusal::Internal("an unexpected answer of a graph".to_owned())
}

impl std::fmt::Debug for Federation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Federation")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
