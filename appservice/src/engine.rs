//! The room engine as what stands behind the routes and the transport.

use crate::events::RoomEvent;
use crate::portal;
use crate::routes::{Intake, IntakeError, Lookup};
use crate::transport::Portals;
use async_trait::async_trait;
use mimi_wire::uri::MimiUri;
use room_engine::{Engine, InboundEvent, Refusal, RequestContext};

#[async_trait]
impl Intake for Engine {
    async fn transaction(
        &self,
        request_id: &str,
        txn_id: &str,
        events: Vec<RoomEvent>,
    ) -> Result<(), IntakeError> {
        let bot = self
            .config()
            .homeserver
            .as_ref()
            .map(|h| (h.bot.as_str(), h.server_name.as_str()));
        let events = events
            .into_iter()
            // The bot is for its own homeserver's users; an invitation from elsewhere stays unanswered.
            .filter(|event| {
                bot.is_none_or(|(bot, server)| {
                    event.membership_of(bot) != Some("invite") || event.sender_server() == server
                })
            })
            .map(|event| InboundEvent {
                room_id: event.room_id,
                event_id: event.event_id,
                sender: event.sender,
                event_type: event.event_type,
                state_key: event.state_key,
                content: event.content,
            })
            .collect();
        let ctx = RequestContext {
            request_id: request_id.to_owned(),
        };
        Self::transaction(self, ctx, txn_id, events)
            .await
            .map_err(intake_error)
    }

    async fn alias(&self, alias: &str) -> Result<Lookup, IntakeError> {
        let Some(homeserver) = &self.config().homeserver else {
            return Ok(Lookup::Unknown);
        };
        // Asked when somebody types an alias that doesn't exist: rare enough to look through all rooms.
        let rooms = self.rooms().await.map_err(|e| unavailable(e.to_string()))?;
        let known = rooms.iter().any(|view| {
            view.portal.is_some() && portal::alias(view.room.as_str(), &homeserver.server_name) == alias
        });
        Ok(if known { Lookup::Exists } else { Lookup::Unknown })
    }

    async fn user(&self, user: &str) -> Result<Lookup, IntakeError> {
        // In opaque rooms there are no ghosts: the bot is the only user of ours.
        let bot = self.config().homeserver.as_ref().is_some_and(|h| h.bot == user);
        Ok(if bot { Lookup::Exists } else { Lookup::Unknown })
    }
}

fn intake_error(refusal: Refusal) -> IntakeError {
    match refusal {
        Refusal::Unavailable { retry_after, reason } => IntakeError::Unavailable {
            reason,
            retry_after: Some(retry_after),
        },
        // Only octets that are no good are refused for ever; all else is ours to mend while the homeserver waits.
        Refusal::Malformed { .. } | Refusal::TooLarge { .. } => IntakeError::Refused(refusal.to_string()),
        other => unavailable(other.to_string()),
    }
}

fn unavailable(reason: String) -> IntakeError {
    IntakeError::Unavailable {
        reason,
        retry_after: None,
    }
}

#[async_trait]
impl Portals for Engine {
    async fn portal_of(&self, room: &str) -> Result<Option<String>, String> {
        let room = MimiUri::parse(room).map_err(|e| e.to_string())?;
        self.portal_room(&room).await.map_err(|e| e.to_string())
    }

    async fn portal_created(&self, request_id: &str, room: &str, portal: &str) -> Result<(), String> {
        let room = MimiUri::parse(room).map_err(|e| e.to_string())?;
        let ctx = RequestContext {
            request_id: request_id.to_owned(),
        };
        Self::portal_created(self, ctx, &room, portal)
            .await
            .map_err(|e| e.to_string())
    }
}
