//! Long rows of events: fetched backwards by `/backfill`, then judged in the order in which they were made.

use event_graph::{EventId, Pdu, RoomVersion};
use matrix_wire::ServerName;
use matrix_wire::answers::{Events, octets};
use room_engine::RequestContext;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::client::segment;
use crate::federation::{Federation, FederationError};
use crate::healing::engine;

/// Events asked for in one page of history.
const PAGE: usize = 100;
/// Largest page of history, in bytes.
const PAGE_SIZE: usize = 32 << 20;
/// Events handed to the engine in one command.
const CHUNK: usize = 500;
/// Octets of events handed to the engine in one command; a batch of the store holds eight MiB.
const CHUNK_OCTETS: usize = 4 << 20;

/// How far back to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To the create event.
    Create,
    /// To events that are here.
    Known,
}

impl Federation {
    /// What is before some events and they themselves, verified, judged in its own order. Gives how many there were.
    pub(crate) async fn fetch_history(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        version: RoomVersion,
        server: &ServerName,
        from: &[EventId],
        reach: Reach,
    ) -> Result<usize, FederationError> {
        let most = match reach {
            Reach::Create => self.inner().bounds.history,
            Reach::Known => self.inner().bounds.gap,
        };
        let mut events: HashMap<EventId, Pdu> = HashMap::new();
        let mut wanted: VecDeque<EventId> = from.iter().copied().collect();
        let mut asked: BTreeSet<EventId> = BTreeSet::new();
        loop {
            let mut at = Vec::new();
            while at.len() < 20
                && let Some(id) = wanted.pop_front()
            {
                let known = events.contains_key(&id)
                    || !asked.insert(id)
                    || (reach == Reach::Known && self.has(id, version).await?);
                if !known {
                    at.push(id);
                }
            }
            if at.is_empty() {
                break;
            }
            let mut target = format!(
                "/_matrix/federation/v1/backfill/{}?limit={PAGE}",
                segment(room_id)
            );
            for id in &at {
                target.push_str("&v=");
                target.push_str(&segment(&id.to_string()));
            }
            let page: Events = self.client().get(server, &target, PAGE_SIZE).await?;
            let some = page.events.get(..PAGE * 2).unwrap_or(&page.events);
            let mut pdus = self.verified(version, room_id, &octets(some)).await;
            // Some servers give what is behind the events asked for, without them.
            let lacking: Vec<EventId> = at
                .iter()
                .filter(|id| pdus.iter().all(|p| p.event_id() != **id))
                .copied()
                .collect();
            pdus.extend(self.fetch_events(version, room_id, server, &lacking).await);
            for pdu in pdus {
                if reach == Reach::Known && self.has(pdu.event_id(), version).await? {
                    continue;
                }
                wanted.extend(pdu.prev_events());
                wanted.extend(pdu.auth_events());
                events.insert(pdu.event_id(), pdu);
            }
            if events.len() > most {
                return Err(FederationError::Answer {
                    server: server.clone(),
                    reason: format!("more than {most} events without an end"),
                });
            }
        }
        let count = events.len();
        let mut pdus: Vec<Pdu> = events.into_values().collect();
        // By depth as far as it can be believed; the walk below makes a right order of it.
        pdus.sort_by_key(|p| (p.depth(), p.event_id()));
        let in_order = after(&pdus, |pdu| [pdu.prev_events(), pdu.auth_events()].concat());
        for pdus in chunks(in_order) {
            // Of a gap nobody has judged anything yet; a room's past was judged by those who were there.
            let past = reach == Reach::Create;
            self.admit(ctx, room_id, None, pdus, past).await?;
        }
        Ok(count)
    }

    async fn has(&self, id: EventId, version: RoomVersion) -> Result<bool, FederationError> {
        Ok(self.engine().event(id, version).await.map_err(engine)?.is_some())
    }
}

/// In pieces of which each fits a command.
pub(crate) fn chunks(pdus: Vec<Pdu>) -> Vec<Vec<Pdu>> {
    let mut out: Vec<Vec<Pdu>> = Vec::new();
    let mut size = 0;
    for pdu in pdus {
        size += pdu.as_bytes().len();
        match out.last_mut() {
            Some(chunk) if chunk.len() < CHUNK && size <= CHUNK_OCTETS => chunk.push(pdu),
            _ => {
                size = pdu.as_bytes().len();
                out.push(vec![pdu]);
            }
        }
    }
    out
}

/// Events so that each comes after those that it cites by its auth events, as far as they are among them; the create
/// event first, which nobody cites in version 12 and before which nothing counts.
pub(crate) fn after_cited(mut pdus: Vec<Pdu>) -> Vec<Pdu> {
    pdus.sort_by_key(|pdu| pdu.event_type() != "m.room.create");
    after(&pdus, |pdu| pdu.auth_events().to_vec())
}

/// Events so that each comes after those that `before` names, as far as they are among them.
fn after(pdus: &[Pdu], before: fn(&Pdu) -> Vec<EventId>) -> Vec<Pdu> {
    let by_id: HashMap<EventId, &Pdu> = pdus.iter().map(|pdu| (pdu.event_id(), pdu)).collect();
    let mut out = Vec::with_capacity(by_id.len());
    let mut seen: HashSet<EventId> = HashSet::new();
    for start in pdus {
        let mut stack = vec![(start.event_id(), false)];
        while let Some((id, ready)) = stack.pop() {
            let Some(pdu) = by_id.get(&id) else { continue };
            if ready {
                out.push((*pdu).clone());
            } else if seen.insert(id) {
                // Ids are hashes over what is named: nothing comes before itself, however long the way.
                stack.push((id, true));
                stack.extend(before(pdu).into_iter().map(|id| (id, false)));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_graph::{Draft, SigningIdentity};
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn what_is_named_comes_before(order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(), gap in 1..4_usize) {
            let identity = SigningIdentity::from_seed("a.example", "ed25519:1", &[1; 32]);
            let mut pdus: Vec<Pdu> = Vec::new();
            for n in 0..12_usize {
                let parents = n.checked_sub(gap).map(|p| pdus[p].event_id());
                let draft = Draft {
                    room_id: Some("!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()),
                    event_type: "m.room.message".to_owned(),
                    sender: "@a:a.example".to_owned(),
                    state_key: None,
                    content: json!({ "n": n }),
                    prev_events: parents.into_iter().collect(),
                    auth_events: Vec::new(),
                    depth: 1,
                    origin_server_ts: 1,
                };
                pdus.push(draft.sign(&identity, RoomVersion::V12).unwrap());
            }
            let shuffled: Vec<Pdu> = order.iter().map(|n| pdus[*n].clone()).collect();
            let sorted = after(&shuffled, |pdu| pdu.prev_events().to_vec());
            prop_assert_eq!(sorted.len(), pdus.len());
            let place = |id: &EventId| sorted.iter().position(|p| p.event_id() == *id);
            for pdu in &pdus {
                for parent in pdu.prev_events() {
                    prop_assert!(place(parent) < place(&pdu.event_id()));
                }
            }
            prop_assert_eq!(chunks(sorted).len(), 1);
        }
    }
}
