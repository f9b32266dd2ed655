//! The room engine as what stands behind the routes and the transport.

use crate::portal;
use crate::routes::{Intake, IntakeError, Lookup};
use crate::thirdparty::{Place, Wanted};
use crate::transport::Portals;
use async_trait::async_trait;
use matrix_wire::push::{Incoming, RoomEvent, Unusable};
use mimi_wire::uri::MimiUri;
use room_engine::{
    Engine, InboundEvent, InboundTransaction, PictureKept, PortalWanted, Refusal, RequestContext, SetAside,
    Taken,
};

/// Most portals that one third-party look-up lists.
const LISTED: usize = 100;

#[async_trait]
impl Intake for Engine {
    async fn transaction(&self, request_id: &str, incoming: Incoming) -> Result<Taken, IntakeError> {
        let homeserver = self.config().homeserver.as_ref();
        let fingerprint = incoming.fingerprint();
        let events = incoming
            .events
            .into_iter()
            // The bot is for its own homeserver's users; an invitation from elsewhere stays unanswered.
            .filter(|event| {
                homeserver.is_none_or(|h| {
                    event.membership_of(&h.bot) != Some("invite") || event.sender_server() == h.server_name
                })
            })
            .map(inbound)
            .collect();
        let ctx = RequestContext {
            request_id: request_id.to_owned(),
        };
        let transaction = InboundTransaction {
            txn_id: incoming.txn_id,
            fingerprint,
            events,
            set_aside: incoming.unusable.into_iter().map(set_aside).collect(),
        };
        self.take(ctx, transaction).await.map_err(intake_error)
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

    async fn places(&self, wanted: &Wanted) -> Result<Vec<Place>, IntakeError> {
        let Some(homeserver) = &self.config().homeserver else {
            return Ok(Vec::new());
        };
        let rooms = self.rooms().await.map_err(|e| unavailable(e.to_string()))?;
        Ok(rooms
            .into_iter()
            .filter(|view| view.portal.is_some())
            .map(|view| {
                let room = view.room.as_str();
                Place::new(portal::alias(room, &homeserver.server_name), room)
            })
            .filter(|place| {
                wanted.alias.as_ref().is_none_or(|alias| *alias == place.alias)
                    && wanted
                        .uri
                        .as_ref()
                        .is_none_or(|uri| place.fields.values().any(|known| known == uri))
            })
            .take(LISTED)
            .collect())
    }

    fn server_name(&self) -> String {
        self.config()
            .homeserver
            .as_ref()
            .map_or_else(|| self.config().provider.to_string(), |h| h.server_name.clone())
    }
}

pub(crate) fn inbound(event: RoomEvent) -> InboundEvent {
    InboundEvent {
        room_id: event.room_id,
        event_id: event.event_id,
        sender: event.sender,
        event_type: event.event_type,
        state_key: event.state_key,
        origin_server_ts: event.origin_server_ts,
        content: event.content,
    }
}

fn set_aside(unusable: Unusable) -> SetAside {
    SetAside {
        at: 0,
        event_id: unusable.event_id,
        room_id: None,
        code: unusable.code.to_owned(),
        reason: unusable.reason,
        event: unusable.event,
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

fn caused_by(request_id: &str, room: &str) -> Result<(RequestContext, MimiUri), String> {
    let room = MimiUri::parse(room).map_err(|e| e.to_string())?;
    let ctx = RequestContext {
        request_id: request_id.to_owned(),
    };
    Ok((ctx, room))
}

#[async_trait]
impl Portals for Engine {
    async fn portal_of(&self, room: &str) -> Result<Option<String>, String> {
        let room = MimiUri::parse(room).map_err(|e| e.to_string())?;
        self.portal_room(&room).await.map_err(|e| e.to_string())
    }

    async fn portal_created(&self, request_id: &str, room: &str, portal: &str) -> Result<(), String> {
        let (ctx, room) = caused_by(request_id, room)?;
        let done = Self::portal_created(self, ctx, &room, portal).await;
        done.map_err(|e| e.to_string())
    }

    async fn wanted(&self, room: &str) -> Result<Option<PortalWanted>, String> {
        let room = MimiUri::parse(room).map_err(|e| e.to_string())?;
        self.portal_wanted(&room).await.map_err(|e| e.to_string())
    }

    async fn portal_moved(&self, request_id: &str, room: &str, old: &str, new: &str) -> Result<(), String> {
        let (ctx, room) = caused_by(request_id, room)?;
        let done = Self::portal_moved(self, ctx, &room, old, new).await;
        done.map_err(|e| e.to_string())
    }

    async fn picture_kept(&self, request_id: &str, room: &str, kept: PictureKept) -> Result<(), String> {
        let (ctx, room) = caused_by(request_id, room)?;
        let done = Self::picture_kept(self, ctx, &room, kept).await;
        done.map_err(|e| e.to_string())
    }

    async fn conversation(&self, user: &str) -> Result<Option<String>, String> {
        Self::conversation(self, user).await.map_err(|e| e.to_string())
    }

    async fn conversation_made(&self, request_id: &str, user: &str, room_id: &str) -> Result<(), String> {
        let ctx = RequestContext {
            request_id: request_id.to_owned(),
        };
        let done = Self::conversation_made(self, ctx, user, room_id).await;
        done.map_err(|e| e.to_string())
    }

    async fn portal_closed(&self, request_id: &str, room: &str, portal: &str) -> Result<(), String> {
        let (ctx, room) = caused_by(request_id, room)?;
        let done = Self::portal_closed(self, ctx, &room, portal).await;
        done.map_err(|e| e.to_string())
    }
}
