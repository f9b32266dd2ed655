//! The room's portal: the homeserver's own room in which Matrix users find the MIMI room.

use mimi_wire::uri::MimiUri;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use store::Space;

use super::RoomState;
use super::scribe::Scribe;
use crate::command::{Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::outbox::{Destination, OutboxBody};
use crate::records::PortalState;
use crate::refusal::Refusal;

impl RoomState {
    /// The homeserver has the portal now.
    pub(super) fn portal_created(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        portal: &str,
    ) -> Result<Decision, Refusal> {
        let records = self.known()?;
        match &records.room.portal {
            PortalState::Linked { room_id } if room_id == portal => return Ok(Decision::reply(Reply::Done)),
            PortalState::Linked { .. } => return Err(Refusal::Conflict { what: "the portal" }),
            PortalState::None | PortalState::Wanted => {}
        }
        let mut scribe = Scribe::new(env, ctx, records);
        scribe.room.to_mut().portal = PortalState::Linked {
            room_id: portal.to_owned(),
        };
        scribe
            .decision
            .put(Space::Portal, portal.as_bytes().to_vec(), &self.uri)?;
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }
}

impl Scribe<'_> {
    /// Makes the portal for a first local user, or invites a further one.
    pub(super) fn want_portal(&mut self, user: &MimiUri) -> Result<(), Refusal> {
        let Some(user) = self.matrix_user(user) else {
            return Ok(());
        };
        let body = if self.room.portal == PortalState::None {
            self.room.to_mut().portal = PortalState::Wanted;
            let info = serde_json::to_value(self.room_content()).map_err(Refusal::internal)?;
            OutboxBody::PortalCreate {
                name: self.room.name.clone(),
                invite: vec![user],
                info,
            }
        } else {
            OutboxBody::PortalInvite { user }
        };
        self.queue(Destination::Homeserver, body, None)
    }

    /// Takes a local user out of the portal.
    pub(super) fn leave_portal(&mut self, user: &MimiUri) -> Result<(), Refusal> {
        match self.matrix_user(user) {
            Some(user) if self.room.portal != PortalState::None => {
                let body = OutboxBody::PortalRemove {
                    user,
                    reason: Some("no longer a participant".to_owned()),
                };
                self.queue(Destination::Homeserver, body, None)
            }
            _ => Ok(()),
        }
    }

    /// Sends an event into the portal, if there is one (or will be). `distinct` makes the transaction id: the same
    /// thing sent again is the same event.
    pub(super) fn portal_event(
        &mut self,
        event_type: &str,
        content: &impl Serialize,
        distinct: &str,
    ) -> Result<(), Refusal> {
        if self.room.portal == PortalState::None {
            return Ok(());
        }
        let name = format!("{} {event_type} {distinct}", self.room.room.as_str());
        let body = OutboxBody::PortalSend {
            txn_id: hex::encode(Sha256::digest(name.as_bytes())),
            event_type: event_type.to_owned(),
            content: serde_json::to_value(content).map_err(Refusal::internal)?,
        };
        self.queue(Destination::Homeserver, body, None)
    }

    /// The Matrix user of a user of this provider, where there is a homeserver.
    fn matrix_user(&self, user: &MimiUri) -> Option<String> {
        let homeserver = self.env.config.homeserver.as_ref()?;
        Some(format!("@{}:{}", user.local_id()?, homeserver.server_name))
    }
}
