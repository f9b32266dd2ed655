//! Comparing portals with their timelines, and taking in what was missed.

use super::{AUDITED_AT_ONCE, Watch};
use crate::homeserver::HomeserverError;
use crate::homeserver::timeline::From;
use std::collections::VecDeque;

/// Pages read of one portal before the next has its turn; the rest follows in the next comparison.
const PAGES: usize = 1000;

/// How much earlier than a heartbeat an event must be to have been pushed before it.
const MARGIN_MS: u64 = 2000;

/// Why a portal can't be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompareError {
    #[error("{0}")]
    Homeserver(#[from] HomeserverError),
    #[error("the engine: {0}")]
    Ledger(String),
}

impl Watch {
    /// All portals, one after the other: this is no work that has to be quick, and the homeserver has other work.
    pub(super) async fn compare_all(&self) -> Result<(), CompareError> {
        let until = self.until();
        let portals = self.0.ledger.portals().await.map_err(CompareError::Ledger)?;
        let mut lost = Vec::new();
        for portal in portals {
            match self.compare(&portal, until).await {
                Ok(()) => {}
                Err(CompareError::Homeserver(error)) if matches!(error.status(), Some(403 | 404)) => {
                    metrics::counter!("causeway_homeserver_portal_lost_total").increment(1);
                    tracing::error!(portal, %error, "a portal can't be read: is the bot still in it?");
                    lost.push(portal);
                }
                Err(error) => return Err(error),
            }
        }
        let now = self.now();
        let mut state = self.state();
        state.watched.portals_lost = lost;
        state.watched.compared = Some(now);
        Ok(())
    }

    /// Whose turn it is to be compared with their rooms, members and state: all portals. Answers whether they are known.
    pub(super) async fn all_portals(&self, queue: &mut VecDeque<String>) -> bool {
        match self.0.ledger.portals().await {
            Ok(portals) => queue.extend(portals),
            Err(error) => {
                tracing::warn!(error, "the portals' members can't be compared now");
                return false;
            }
        }
        true
    }

    /// Has the next of them compared, by the sender. What can't be now is compared the next time.
    pub(super) async fn audit(&self, queue: &mut VecDeque<String>) {
        let now = queue.len().min(AUDITED_AT_ONCE);
        for portal in queue.drain(..now) {
            if let Err(error) = self.0.ledger.audit(&portal).await {
                tracing::warn!(portal, error, "a portal's members can't be compared now");
            }
        }
    }

    /// Up to which of the homeserver's times everything must have been pushed: a heartbeat that came back says that
    /// nothing older is on its way. Without one, what is old enough is taken for missed.
    fn until(&self) -> u64 {
        let state = self.state();
        if let (None, Some(seen)) = (state.watched.late_since, state.seen_ts) {
            // An event gets its time a moment before its place in the homeserver's order.
            return seen.saturating_sub(MARGIN_MS);
        }
        let grace = u64::try_from(self.0.settings.grace.as_millis()).unwrap_or(u64::MAX);
        self.now().saturating_sub(grace)
    }

    /// Where to read on: behind the event up to which the portal was compared before.
    async fn start(&self, portal: &str) -> Result<From, CompareError> {
        let known = self.0.ledger.compared_up_to(portal).await;
        let Some(event) = known.map_err(CompareError::Ledger)? else {
            return Ok(From::Beginning);
        };
        if let Some(from) = self.0.homeserver.behind(portal, &event).await? {
            return Ok(from);
        }
        tracing::error!(
            portal,
            event,
            "the homeserver doesn't know an event any more that it once showed us: was its database restored? The \
             whole timeline is compared"
        );
        self.rewound("timeline");
        Ok(From::Beginning)
    }

    async fn compare(&self, portal: &str, until: u64) -> Result<(), CompareError> {
        let homeserver = &self.0.homeserver;
        let mut from = self.start(portal).await?;
        for _ in 0..PAGES {
            let mut page = homeserver.timeline(portal, &from).await?;
            // Whatever is behind the first event that is too new waits for the next time, in order.
            let end = page
                .events
                .iter()
                .position(|event| event.origin_server_ts > until);
            let last = match end {
                Some(end) => {
                    page.events.truncate(end);
                    page.next = None;
                    page.events.last().map(|event| event.event_id.clone())
                }
                None => page.last.map(|(event, _)| event),
            };
            let Some(last) = last else { return Ok(()) };
            let missed = self
                .0
                .ledger
                .compared(portal, &last, page.events)
                .await
                .map_err(CompareError::Ledger)?;
            if missed > 0 {
                let number = u64::try_from(missed).unwrap_or(u64::MAX);
                metrics::counter!("causeway_homeserver_missed_total").increment(number);
                tracing::warn!(
                    portal,
                    missed,
                    "the homeserver never pushed some events of a portal; they are taken from its timeline"
                );
                let mut state = self.state();
                state.watched.missed = state.watched.missed.saturating_add(number);
            }
            match page.next {
                Some(next) => from = From::Token(next),
                None => return Ok(()),
            }
        }
        self.state().compare = true;
        Ok(())
    }
}
