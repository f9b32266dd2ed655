//! Outgoing events: what the outbox holds for a server goes in transactions, in order, no faster than the server can
//! take it.
//!
//! A homeserver acknowledges before it processes, and throws away what piles up in a room beyond a hundred events. So
//! no more than [`AHEAD`] events of a room are ahead of what the server has shown to hold; it is asked for the newest
//! one sent. Until it has it, no more than [`TRICKLE`] a second follow.

use async_trait::async_trait;
use event_graph::EventId;
use http::Method;
use matrix_wire::ServerName;
use matrix_wire::requests::MOST_PDUS;
use room_engine::RequestContext;
use room_engine::outbox::{Delivery, Destination, OutboxBody, OutboxEntry, Transport};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::{RequestError, segment};
use crate::federation::Federation;

/// Events of a room that a server may be behind.
pub const AHEAD: usize = 50;
/// Events of a room a second, where the server doesn't show what it has.
pub const TRICKLE: u32 = 10;
/// Largest answer to a transaction, in bytes.
const ANSWER_SIZE: usize = 1 << 20;
/// Rooms and servers whose pace is remembered.
const MOST_PACES: usize = 10_000;

/// Carries events to Matrix servers.
#[derive(Debug)]
pub struct EventTransport {
    federation: Federation,
    paces: Mutex<HashMap<(Destination, String), Pace>>,
}

/// How far one server is in one room.
#[derive(Clone, Copy, Debug)]
struct Pace {
    ahead: usize,
    newest: EventId,
    not_before: Instant,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    pdus: BTreeMap<String, Value>,
}

impl EventTransport {
    /// For the senders of servers.
    pub fn new(federation: Federation) -> Self {
        Self {
            federation,
            paces: Mutex::default(),
        }
    }

    fn pace(&self, key: &(Destination, String)) -> Option<Pace> {
        self.paces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied()
    }

    fn set_pace(&self, key: &(Destination, String), pace: Option<Pace>) {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        match pace {
            Some(pace) => {
                if paces.len() >= MOST_PACES {
                    paces.retain(|_, p| p.ahead > 0);
                }
                paces.insert(key.clone(), pace);
            }
            None => drop(paces.remove(key)),
        }
    }

    /// How many events may go now; none: the pause until some may.
    async fn allowance(&self, server: &ServerName, key: &(Destination, String)) -> Result<usize, Duration> {
        let Some(pace) = self.pace(key) else {
            return Ok(AHEAD);
        };
        if pace.ahead < AHEAD {
            return Ok(AHEAD - pace.ahead);
        }
        let target = format!(
            "/_matrix/federation/v1/event/{}",
            segment(&pace.newest.to_string())
        );
        let asked: Result<Value, RequestError> =
            self.federation.client().get(server, &target, 512 * 1024).await;
        if asked.is_ok() {
            self.set_pace(key, None);
            return Ok(AHEAD);
        }
        let now = Instant::now();
        if pace.not_before > now {
            return Err((pace.not_before - now).min(Duration::from_millis(250)));
        }
        Ok(1)
    }

    async fn transact(&self, server: &ServerName, entries: &[OutboxEntry]) -> Result<(), Delivery> {
        let engine = self.federation.engine();
        let retry = |reason: String, after| Delivery::Retry { after, reason };
        let mut pdus = Vec::with_capacity(entries.len());
        let mut ids = Vec::with_capacity(entries.len());
        for entry in entries {
            let OutboxBody::Event { graph, event } = &entry.body else {
                continue;
            };
            let version = engine
                .graph_version(graph)
                .await
                .map_err(|e| retry(e.to_string(), None))?;
            let Some(version) = version else { continue };
            let pdu = engine
                .event(*event, version)
                .await
                .map_err(|e| retry(e.to_string(), None))?;
            if let Some(pdu) = pdu {
                pdus.push(pdu.raw().to_value());
                ids.push(*event);
            }
        }
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Ok(());
        };
        // The same events make the same transaction, so that a repeat is one.
        let txn = format!("{}{}{}", short(first), short(last), ids.len());
        let content = json!({
            "origin": self.federation.name(),
            "origin_server_ts": i64::try_from(engine.now_ms()).unwrap_or(i64::MAX),
            "pdus": pdus,
        });
        let target = format!("/_matrix/federation/v1/send/{txn}");
        let sent: Result<Answer, RequestError> = self
            .federation
            .client()
            .send(Method::PUT, server, &target, &content, ANSWER_SIZE)
            .await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) if error.is_final() => {
                return Err(Delivery::Refused {
                    code: error.code().to_owned(),
                    reason: error.to_string(),
                });
            }
            Err(error) => {
                let after = match &error {
                    RequestError::Refused { retry_after, .. } => *retry_after,
                    _ => None,
                };
                return Err(retry(error.to_string(), after));
            }
        };
        for (id, result) in answer.pdus {
            if let Some(error) = result.get("error").and_then(Value::as_str) {
                // It has judged; sending it again changes nothing.
                metrics::counter!("causeway_federation_pdus_refused_by_others_total").increment(1);
                tracing::warn!(%server, event = id, error, "a server refused an event");
            }
        }
        Ok(())
    }

    /// Sends events one by one, so that one which the server will never have spoils no other.
    async fn singly(&self, server: &ServerName, entries: &[OutboxEntry]) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(entries.len());
        for entry in entries {
            let sent = self.transact(server, std::slice::from_ref(entry)).await;
            let delivery = sent.err().unwrap_or(Delivery::Done);
            let stop = matches!(delivery, Delivery::Retry { .. });
            deliveries.push(delivery);
            if stop {
                break;
            }
        }
        deliveries
    }
}

/// Enough of an id to tell it from others.
fn short(id: &EventId) -> String {
    id.to_string().chars().skip(1).take(16).collect()
}

#[async_trait]
impl Transport for EventTransport {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        let mut done = self.deliver_all(std::slice::from_ref(entry)).await;
        done.pop().unwrap_or(Delivery::Done)
    }

    fn batch(&self) -> usize {
        MOST_PDUS
    }

    async fn deliver_all(&self, entries: &[OutboxEntry]) -> Vec<Delivery> {
        let refused = |reason: &str| Delivery::Refused {
            code: "wrong_destination".to_owned(),
            reason: reason.to_owned(),
        };
        let Some(first) = entries.first() else {
            return Vec::new();
        };
        let Destination::Server(name) = &first.destination else {
            return vec![refused("an entry for another kind of destination"); entries.len()];
        };
        let Ok(server) = ServerName::parse(name) else {
            return vec![refused("not a server name"); entries.len()];
        };
        let key = (first.destination.clone(), first.room.clone());
        let count = match self.allowance(&server, &key).await {
            Ok(count) => count.min(entries.len()).min(MOST_PDUS),
            Err(pause) => {
                return vec![Delivery::Retry {
                    after: Some(pause),
                    reason: "the server has not shown yet that it holds what was sent".to_owned(),
                }];
            }
        };
        let now = entries.get(..count).unwrap_or(entries);
        let mut deliveries = match self.transact(&server, now).await {
            Ok(()) => vec![Delivery::Done; now.len()],
            Err(Delivery::Refused { .. }) if now.len() > 1 => self.singly(&server, now).await,
            Err(delivery) => vec![delivery],
        };
        let sent = now.iter().zip(&deliveries).filter(|(_, d)| **d == Delivery::Done);
        let sent: Vec<&OutboxEntry> = sent.map(|(entry, _)| entry).collect();
        if let Some(OutboxBody::Event { event, .. }) = sent.last().map(|e| &e.body) {
            let ahead = self.pace(&key).map_or(0, |p| p.ahead) + sent.len();
            let pause = Duration::from_secs(1) / TRICKLE * u32::try_from(sent.len()).unwrap_or(1);
            self.set_pace(
                &key,
                Some(Pace {
                    ahead,
                    newest: *event,
                    not_before: Instant::now() + pause,
                }),
            );
        }
        if deliveries.len() == now.len() && now.len() < entries.len() {
            deliveries.push(Delivery::Retry {
                after: Some(Duration::from_millis(100)),
                reason: "no more events ahead of what the server has shown to hold".to_owned(),
            });
        }
        deliveries
    }
}

/// A context for work that no request caused.
pub(crate) fn background(what: &str) -> RequestContext {
    let mut random = [0; 8];
    let _ = getrandom::fill(&mut random);
    RequestContext {
        request_id: format!("{what}-{:012x}", u64::from_be_bytes(random) >> 16),
    }
}
