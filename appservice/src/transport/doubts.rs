//! What may have been sent already.
//!
//! A request whose answer never came may have been carried out. A homeserver that remembers transaction ids makes of a
//! repeat what it made of the first; one that forgets them when it is restarted (`Homeserver::forgets`) would make a second
//! event. There the timeline is looked into first, for those entries alone of which it isn't known that they were never sent.

use crate::homeserver::{Homeserver, HomeserverError};
use room_engine::outbox::OutboxEntry;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// How far the homeserver's clock may be behind ours.
const CLOCKS_APART_MS: u64 = 60_000;

/// Which entries may have been sent already.
#[derive(Clone, Debug)]
pub(super) struct Doubts {
    /// What was queued before, an earlier process may have sent; `None`: others send beside us at any time.
    since: Option<u64>,
    /// Entries of which an attempt of ours was not answered.
    unanswered: Arc<Mutex<HashSet<(String, u64)>>>,
}

impl Doubts {
    /// From now on this process alone sends.
    pub(super) fn from_now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            since: Some(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
            unanswered: Arc::default(),
        }
    }

    /// Other nodes send too.
    pub(super) fn always(self) -> Self {
        Self { since: None, ..self }
    }

    fn about(&self, entry: &OutboxEntry) -> bool {
        let unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        self.since.is_none_or(|since| entry.queued_at < since)
            || unanswered.contains(&(entry.room.clone(), entry.seq))
    }

    fn note(&self, entry: &OutboxEntry, outcome: &Result<String, HomeserverError>) {
        let answered = match outcome {
            Ok(_) => true,
            Err(error) => !error.is_transient() || error.status().is_some_and(|status| status < 500),
        };
        let place = (entry.room.clone(), entry.seq);
        let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            unanswered.remove(&place);
        } else {
            unanswered.insert(place);
        }
    }

    /// Sends an event as the bot, unless that was done already. Answers with its id.
    pub(super) async fn send(
        &self,
        homeserver: &Homeserver,
        entry: &OutboxEntry,
        event: Event<'_>,
    ) -> Result<String, HomeserverError> {
        let Event {
            room,
            kind,
            txn_id,
            content,
            at,
        } = event;
        if homeserver.forgets() && self.about(entry) {
            let since = at.unwrap_or(entry.queued_at).saturating_sub(CLOCKS_APART_MS);
            if let Some(found) = homeserver.find_own(room, kind, content, since).await? {
                metrics::counter!("causeway_homeserver_found_sent_total").increment(1);
                tracing::info!(
                    room,
                    event_id = found,
                    txn_id,
                    "sent before, though nobody told us"
                );
                return Ok(found);
            }
        }
        let outcome = homeserver.send(room, kind, txn_id, content, at).await;
        self.note(entry, &outcome);
        outcome
    }
}

/// An event to be sent as the bot.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    /// Matrix room id.
    pub(super) room: &'a str,
    /// Its type.
    pub(super) kind: &'a str,
    /// Matrix transaction id.
    pub(super) txn_id: &'a str,
    /// Its content.
    pub(super) content: &'a Value,
    /// The time that it shall show.
    pub(super) at: Option<u64>,
}
