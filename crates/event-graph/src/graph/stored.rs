//! What the owner of a graph keeps beside each event, and a graph made from it.

use serde::{Deserialize, Serialize};

use super::{
    Arrival, Check, Graph, Outcome, Verdict,
    index::{Place, Status},
};
use crate::{EventId, Pdu, RoomVersion, auth::AuthRule};

/// How an event stands in a graph, as far as it doesn't follow from the events alone. To be stored with each event
/// and written again when a later outcome is about the same event (an outlier that got its parents).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where its state comes from.
    pub standing: Standing,
    /// The rule it broke when it arrived, if that made it soft-failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_failed: Option<AuthRule>,
    /// It came by backfill and is no forward extremity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfilled: bool,
}

/// Where an event's state comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// From its parents, which are in the graph.
    Linked,
    /// From another server: the events of the state before it.
    AtState(Vec<EventId>),
    /// Nowhere: it is there for those that cite it.
    Outlier,
}

impl Graph {
    /// What is to be stored beside an event of the graph.
    pub fn entry(&self, id: EventId) -> Option<Entry> {
        let ix = self.index.get(&id)?;
        let record = self.index.record(ix);
        let place = record.place();
        let soft_failed = match self.index.broken_rule(ix) {
            Some((Check::CurrentState, rule)) if record.status == Status::SoftFailed => Some(rule),
            _ => None,
        };
        Some(Entry {
            standing: match place {
                Place::Outlier => Standing::Outlier,
                Place::Linked | Place::Backfilled => Standing::Linked,
                Place::AtState | Place::BackfilledAtState => {
                    let state = self.states.entries(record.before);
                    Standing::AtState(state.iter().map(|(_, ix)| self.index.record(*ix).id).collect())
                }
            },
            soft_failed,
            backfilled: matches!(place, Place::Backfilled | Place::BackfilledAtState),
        })
    }

    /// Makes a graph from stored events in the order in which the graph first had them. Gives with it the outcomes of
    /// those that could not be placed: something they need is missing in the store.
    pub fn load(
        version: RoomVersion,
        room_id: &str,
        events: impl IntoIterator<Item = (Pdu, Entry)>,
    ) -> (Self, Vec<Outcome>) {
        let mut graph = Self::in_room(version, room_id);
        let mut later = Vec::new();
        let mut unplaced = Vec::new();
        for (pdu, entry) in events {
            // An event that was an outlier at first, and what then stood on it, comes before its parents.
            if !graph.place(&pdu, &entry) {
                graph.admit_outlier(&pdu);
                later.push((pdu, entry));
            }
        }
        loop {
            let before = later.len();
            later.retain(|(pdu, entry)| !graph.place(pdu, entry));
            if later.is_empty() || later.len() == before {
                break;
            }
        }
        for (pdu, _) in later {
            let id = pdu.event_id();
            let missing = graph.missing_for(&pdu, true);
            let verdict = Verdict::Held { missing };
            unplaced.push(Outcome {
                event_id: id,
                verdict,
                redactions: Vec::new(),
            });
        }
        (graph, unplaced)
    }

    /// Puts one stored event in its place; false if something it needs isn't there yet.
    fn place(&mut self, pdu: &Pdu, entry: &Entry) -> bool {
        let arrival = match entry.soft_failed {
            None if entry.backfilled => Arrival::Backfilled,
            rule => Arrival::Recorded(rule),
        };
        let parents = entry.standing == Standing::Linked;
        if !self.missing_for(pdu, parents).is_empty() {
            return false;
        }
        match &entry.standing {
            Standing::Outlier => drop(self.admit_outlier(pdu)),
            Standing::Linked => drop(self.admit_as(pdu, arrival)),
            Standing::AtState(state) => {
                if !state.iter().all(|id| self.contains(*id)) {
                    return false;
                }
                self.admit_at_state(pdu, state, arrival);
            }
        }
        true
    }
}
