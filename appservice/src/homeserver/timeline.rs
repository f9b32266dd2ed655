//! Reading a room's timeline, to compare it with what was pushed.

use super::{As, Homeserver, room_id};
use crate::HomeserverError;
use crate::matrix::client::{get_context, get_message_events};
use crate::matrix::{OwnedEventId, uint};
use matrix_wire::push::event::{RoomEvent, event_id};
use serde_json::Value;

/// Pages of a room's newest events that are looked through for one of our own.
const LOOKED_THROUGH: usize = 5;

/// Where a timeline is read on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// From the room's first event on.
    Beginning,
    /// From a homeserver's token on.
    Token(String),
}

/// A page of a timeline, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events that can be read.
    pub events: Vec<RoomEvent>,
    /// Id and time of the last event, readable or not.
    pub last: Option<(String, u64)>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

impl Homeserver {
    /// The place behind an event; `None` if the homeserver knows no such event (any more).
    pub async fn behind(&self, room: &str, event: &str) -> Result<Option<From>, HomeserverError> {
        let event = OwnedEventId::try_from(event)
            .map_err(|e| HomeserverError::Setup(format!("event id {event:?}: {e}")))?;
        let mut request = get_context::v3::Request::new(room_id(room)?, event);
        request.limit = uint!(0);
        let answer = super::absent(self.call(request, As::Service).await)?;
        match answer {
            None => Ok(None),
            Some(answer) => answer
                .end
                .map(|token| Some(From::Token(token)))
                .ok_or_else(|| HomeserverError::Answer("a context without end".to_owned())),
        }
    }

    /// An event of the bot's that holds exactly this and isn't older than `since` (Unix ms), if it is among the newest ones
    /// of the room: whether a request was carried out whose answer never came.
    pub async fn find_own(
        &self,
        room: &str,
        event_type: &str,
        content: &Value,
        since: u64,
    ) -> Result<Option<String>, HomeserverError> {
        let mut from = None;
        for _ in 0..LOOKED_THROUGH {
            let mut request = get_message_events::v3::Request::backward(room_id(room)?);
            request.limit = uint!(100);
            request.from = from;
            request.filter.types = Some(vec![event_type.to_owned()]);
            request.filter.senders = Some(vec![self.0.bot.clone()]);
            let answer = self.call(request, As::Service).await?;
            let events = answer
                .chunk
                .iter()
                .filter_map(|raw| RoomEvent::parse(raw.json()).ok());
            let mut newer = 0_usize;
            for event in events.filter(|event| event.origin_server_ts >= since) {
                newer = newer.saturating_add(1);
                let own = event.sender == self.bot() && event.event_type == event_type;
                if own && event.state_key.is_none() && event.content == *content {
                    return Ok(Some(event.event_id));
                }
            }
            from = answer.end;
            if newer == 0 || from.is_none() {
                break;
            }
        }
        Ok(None)
    }

    /// Reads on.
    pub async fn timeline(&self, room: &str, from: &From) -> Result<Page, HomeserverError> {
        let mut request = get_message_events::v3::Request::forward(room_id(room)?);
        request.limit = uint!(100);
        if let From::Token(token) = from {
            request.from = Some(token.clone());
        }
        let answer = self.call(request, As::Service).await?;
        let mut page = Page {
            next: answer.end.filter(|_| !answer.chunk.is_empty()),
            ..Page::default()
        };
        for raw in &answer.chunk {
            let id = event_id(raw.json());
            let time = raw.get_field::<u64>("origin_server_ts").ok().flatten();
            if let Some(id) = id {
                page.last = Some((id, time.unwrap_or(0)));
            }
            // What can't be read was, or will be, set aside when it is pushed.
            if let Ok(event) = RoomEvent::parse(raw.json()) {
                page.events.push(event);
            }
        }
        Ok(page)
    }
}
