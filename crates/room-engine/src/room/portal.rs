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
        match &self.known()?.room.portal {
            PortalState::Linked { room_id } if room_id == portal => return Ok(Decision::reply(Reply::Done)),
            PortalState::None | PortalState::Wanted => {}
            _ => return Err(Refusal::Conflict { what: "the portal" }),
        }
        self.link(env, ctx, portal)
    }

    /// The portal was replaced, and this room is the portal from now on. What still comes from the old one is taken.
    pub(super) fn portal_moved(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        old: &str,
        new: &str,
    ) -> Result<Decision, Refusal> {
        match &self.known()?.room.portal {
            PortalState::Linked { room_id } if room_id == old => self.link(env, ctx, new),
            _ => Ok(Decision::reply(Reply::Done)),
        }
    }

    fn link(&mut self, env: &Env, ctx: &RequestContext, portal: &str) -> Result<Decision, Refusal> {
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        scribe.room.to_mut().portal = PortalState::Linked {
            room_id: portal.to_owned(),
        };
        scribe
            .decision
            .put(Space::Portal, portal.as_bytes().to_vec(), &self.uri)?;
        scribe.sync_portal()?;
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }

    /// Has the portal replaced by a room of another version.
    pub(super) fn upgrade_portal(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        version: &str,
    ) -> Result<Decision, Refusal> {
        let portal = match &self.known()?.room.portal {
            PortalState::Linked { room_id } => room_id.clone(),
            PortalState::Wanted => return Err(Refusal::unavailable("the portal is just being made")),
            _ => return Err(Refusal::Unknown { what: "portal" }),
        };
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        let version = version.to_owned();
        scribe.queue(
            Destination::Homeserver,
            OutboxBody::PortalUpgrade { portal, version },
            None,
        )?;
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }

    /// Gives the portal up. The same again changes nothing.
    pub(super) fn unbridge(&mut self, env: &Env, ctx: &RequestContext) -> Result<Decision, Refusal> {
        let room_id = match &self.known()?.room.portal {
            PortalState::Linked { room_id } => room_id.clone(),
            PortalState::Closing { .. } | PortalState::Unbridged => return Ok(Decision::reply(Reply::Done)),
            PortalState::Wanted => return Err(Refusal::unavailable("the portal is just being made")),
            PortalState::None => return Err(Refusal::Unknown { what: "portal" }),
        };
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        let body = OutboxBody::PortalClose {
            portal: room_id.clone(),
        };
        scribe.room.to_mut().portal = PortalState::Closing { room_id };
        scribe.queue(Destination::Homeserver, body, None)?;
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }

    /// Everybody is out.
    pub(super) fn portal_closed(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        portal: &str,
    ) -> Result<Decision, Refusal> {
        match &self.known()?.room.portal {
            PortalState::Closing { room_id } if room_id == portal => {}
            _ => return Ok(Decision::reply(Reply::Done)),
        }
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        scribe.room.to_mut().portal = PortalState::Unbridged;
        scribe.decision.delete(Space::Portal, portal.as_bytes().to_vec());
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }

    /// Makes a portal again where it was given up.
    pub(super) fn bridge(&mut self, env: &Env, ctx: &RequestContext) -> Result<Decision, Refusal> {
        match &self.known()?.room.portal {
            PortalState::None | PortalState::Unbridged => {}
            PortalState::Closing { .. } => {
                return Err(Refusal::unavailable("the former portal is still being given up"));
            }
            PortalState::Wanted | PortalState::Linked { .. } => return Ok(Decision::reply(Reply::Done)),
        }
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        scribe.room.to_mut().portal = PortalState::None;
        let here: Vec<MimiUri> = scribe
            .everybody()
            .into_iter()
            .filter(|(_, participant)| participant.here)
            .map(|(user, _)| user.clone())
            .collect();
        for user in &here {
            scribe.want_portal(user)?;
        }
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
        if !self.has_portal() && self.room.portal != PortalState::None {
            return Ok(());
        }
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
            Some(user) if self.has_portal() => {
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
        self.portal_event_at(event_type, content, distinct, None)
    }

    /// The same, with the time that it shall show.
    pub(super) fn portal_event_at(
        &mut self,
        event_type: &str,
        content: &impl Serialize,
        distinct: &str,
        at: Option<u64>,
    ) -> Result<(), Refusal> {
        if !self.has_portal() {
            return Ok(());
        }
        let name = format!("{} {event_type} {distinct}", self.room.room.as_str());
        let body = OutboxBody::PortalSend {
            txn_id: hex::encode(Sha256::digest(name.as_bytes())),
            event_type: event_type.to_owned(),
            content: serde_json::to_value(content).map_err(Refusal::internal)?,
            at,
        };
        self.queue(Destination::Homeserver, body, None)
    }

    /// Whether there is a portal, or will be.
    fn has_portal(&self) -> bool {
        matches!(self.room.portal, PortalState::Wanted | PortalState::Linked { .. })
    }

    /// The Matrix user of a user of this provider, where there is a homeserver.
    fn matrix_user(&self, user: &MimiUri) -> Option<String> {
        (user.domain() == self.env.config.provider).then(|| self.env.matrix_id(user))?
    }
}
