//! Events that wait for others, within bounds.

use std::collections::{BTreeSet, HashMap};

use super::admit::Arrival;
use crate::{EventId, Pdu};

/// Most events that wait in one room.
pub const HELD_EVENTS: usize = 2_000;
/// Most octets of events that wait in one room.
pub const HELD_OCTETS: usize = 16 << 20;

#[derive(Debug, Clone)]
struct Waiting {
    pdu: Pdu,
    /// How it is to be judged when its turn comes.
    arrival: Arrival,
    /// How many events are missing.
    missing: usize,
}

/// The waiting events, and what they wait for. Ids are hashes; the maps' keyed hash keeps chosen ids harmless.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    events: HashMap<EventId, Waiting>,
    waiting_for: HashMap<EventId, BTreeSet<EventId>>,
    octets: usize,
}

impl Held {
    pub(super) fn contains(&self, id: &EventId) -> bool {
        self.events.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Holds an event; false if there is no room for it.
    pub(super) fn hold(&mut self, pdu: &Pdu, arrival: Arrival, missing: &[EventId]) -> bool {
        let octets = pdu.as_bytes().len();
        if self.events.len() >= HELD_EVENTS || self.octets + octets > HELD_OCTETS {
            return false;
        }
        let id = pdu.event_id();
        self.octets += octets;
        self.events.insert(
            id,
            Waiting {
                pdu: pdu.clone(),
                arrival,
                missing: missing.len(),
            },
        );
        for wanted in missing {
            self.waiting_for.entry(*wanted).or_default().insert(id);
        }
        true
    }

    /// Events that wait for nothing more, now that `id` is there; by id, so that the order is the same
    /// everywhere.
    pub(super) fn release(&mut self, id: &EventId) -> Vec<(Pdu, Arrival)> {
        let mut free = Vec::new();
        for waiting in self.waiting_for.remove(id).unwrap_or_default() {
            let Some(entry) = self.events.get_mut(&waiting) else {
                continue;
            };
            entry.missing -= 1;
            if entry.missing == 0
                && let Some(Waiting { pdu, arrival, .. }) = self.events.remove(&waiting)
            {
                self.octets -= pdu.as_bytes().len();
                free.push((pdu, arrival));
            }
        }
        free
    }

    /// Removes an event that is judged in another way.
    pub(super) fn forget(&mut self, id: &EventId) {
        let Some(Waiting { pdu, .. }) = self.events.remove(id) else {
            return;
        };
        self.octets -= pdu.as_bytes().len();
        self.waiting_for.retain(|_, waiting| {
            waiting.remove(id);
            !waiting.is_empty()
        });
    }

    /// What an event waits for, sorted.
    pub(super) fn wanted_by(&self, id: &EventId) -> Vec<EventId> {
        let wants = |(_, waiting): &(&EventId, &BTreeSet<EventId>)| waiting.contains(id);
        let mut ids: Vec<_> = self.waiting_for.iter().filter(wants).map(|(w, _)| *w).collect();
        ids.sort_unstable();
        ids
    }

    /// Removes every event that needs `id`, directly or through another; each with whether it cites `id`.
    pub(super) fn give_up(&mut self, id: &EventId) -> Vec<(Pdu, bool)> {
        let mut gone = Vec::new();
        let mut lost = vec![*id];
        while let Some(next) = lost.pop() {
            for waiting in self.waiting_for.remove(&next).unwrap_or_default() {
                if let Some(Waiting { pdu, .. }) = self.events.remove(&waiting) {
                    self.octets -= pdu.as_bytes().len();
                    lost.push(waiting);
                    let cites = pdu.auth_events().contains(id);
                    gone.push((pdu, cites));
                }
            }
        }
        // What they waited for besides needs no memory any more.
        let events = &self.events;
        self.waiting_for.retain(|_, waiting| {
            waiting.retain(|w| events.contains_key(w));
            !waiting.is_empty()
        });
        gone
    }

    /// What is waited for and not itself waiting, sorted.
    pub(super) fn missing(&self) -> Vec<EventId> {
        let mut ids: Vec<_> = self
            .waiting_for
            .keys()
            .filter(|id| !self.contains(id))
            .copied()
            .collect();
        ids.sort_unstable();
        ids
    }
}
