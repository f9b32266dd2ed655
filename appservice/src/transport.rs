//! Carries a portal's outbox entries to the homeserver, each so that a repeat changes nothing twice.

use crate::homeserver::{Homeserver, HomeserverError};
use crate::portal::{self, Portal};
use async_trait::async_trait;
use room_engine::outbox::{Delivery, OutboxBody, OutboxEntry, Transport};
use serde_json::Value;
use std::sync::Arc;

/// The journal of portals: which homeserver room belongs to which MIMI room.
#[async_trait]
pub trait Portals: Send + Sync + 'static {
    /// The portal of a room.
    async fn portal_of(&self, room: &str) -> Result<Option<String>, String>;
    /// Records the portal of a room, durably. The same again is fine.
    async fn portal_created(&self, request_id: &str, room: &str, portal: &str) -> Result<(), String>;
}

/// The way to the homeserver.
#[derive(Clone)]
pub struct HomeserverTransport {
    homeserver: Homeserver,
    portals: Arc<dyn Portals>,
}

impl HomeserverTransport {
    /// Over this client, with this journal.
    pub fn new(homeserver: Homeserver, portals: Arc<dyn Portals>) -> Self {
        Self { homeserver, portals }
    }

    async fn create(
        &self,
        entry: &OutboxEntry,
        name: Option<&str>,
        invite: &[String],
        info: &Value,
    ) -> Result<(), Failure> {
        let portal = match self
            .portals
            .portal_of(&entry.room)
            .await
            .map_err(Failure::Journal)?
        {
            Some(known) => known,
            None => portal::ensure(
                &self.homeserver,
                Portal {
                    room: &entry.room,
                    name,
                    info,
                },
            )
            .await?
            .into(),
        };
        for user in invite {
            self.invite(entry, &portal, user).await?;
        }
        let recorded = self
            .portals
            .portal_created(&entry.request_id, &entry.room, &portal)
            .await;
        recorded.map_err(Failure::Journal)
    }

    /// One user who can't be invited (deactivated, blocks invitations) keeps nobody else out of the room.
    async fn invite(&self, entry: &OutboxEntry, portal: &str, user: &str) -> Result<(), Failure> {
        match self.homeserver.invite(portal, user).await {
            Err(error) if !error.is_transient() => {
                tracing::warn!(request_id = entry.request_id, portal, user, %error, "invitation refused");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    async fn portal(&self, entry: &OutboxEntry) -> Result<String, Failure> {
        let found = self
            .portals
            .portal_of(&entry.room)
            .await
            .map_err(Failure::Journal)?;
        found.ok_or_else(|| Failure::Journal("the room has no portal yet".to_owned()))
    }

    async fn attempt(&self, entry: &OutboxEntry) -> Result<(), Failure> {
        match &entry.body {
            OutboxBody::PortalCreate { name, invite, info } => {
                self.create(entry, name.as_deref(), invite, info).await?;
            }
            OutboxBody::PortalInvite { user } => {
                let portal = self.portal(entry).await?;
                self.homeserver.invite(&portal, user).await?;
            }
            OutboxBody::PortalRemove { user, reason } => {
                let portal = self.portal(entry).await?;
                self.homeserver.kick(&portal, user, reason.as_deref()).await?;
            }
            OutboxBody::PortalSend {
                txn_id,
                event_type,
                content,
            } => {
                let portal = self.portal(entry).await?;
                let event_id = self.homeserver.send(&portal, event_type, txn_id, content).await?;
                tracing::info!(
                    request_id = entry.request_id,
                    room = entry.room,
                    portal,
                    event_id,
                    event_type,
                    txn_id,
                    "sent into the portal"
                );
            }
            OutboxBody::PortalState {
                event_type,
                state_key,
                content,
            } => {
                let portal = self.portal(entry).await?;
                let event_id = self
                    .homeserver
                    .set_state(&portal, event_type, state_key, content)
                    .await?;
                tracing::info!(
                    request_id = entry.request_id,
                    room = entry.room,
                    portal,
                    event_id,
                    event_type,
                    "state set in the portal"
                );
            }
            OutboxBody::JoinAsBot { room_id } => {
                self.homeserver.join(room_id).await?;
                tracing::info!(request_id = entry.request_id, room_id, "the bot joined");
            }
            OutboxBody::Notify | OutboxBody::Submit { .. } | OutboxBody::Consent { .. } => {
                return Err(Failure::NotOurs);
            }
        }
        Ok(())
    }
}

/// Why an attempt failed.
enum Failure {
    /// At the homeserver.
    Homeserver(HomeserverError),
    /// In our own records, or they are not ready.
    Journal(String),
    /// An entry for another kind of destination.
    NotOurs,
}

impl From<HomeserverError> for Failure {
    fn from(error: HomeserverError) -> Self {
        Self::Homeserver(error)
    }
}

#[async_trait]
impl Transport for HomeserverTransport {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        let failure = match self.attempt(entry).await {
            Ok(()) => return Delivery::Done,
            Err(failure) => failure,
        };
        match failure {
            Failure::Homeserver(HomeserverError::RateLimited { retry_after }) => Delivery::Retry {
                after: retry_after,
                reason: "the homeserver limits our rate".to_owned(),
            },
            Failure::Homeserver(error) if error.is_transient() => Delivery::Retry {
                after: None,
                reason: error.to_string(),
            },
            Failure::Homeserver(error) => Delivery::Refused {
                code: error.errcode().unwrap_or("setup").to_owned(),
                reason: error.to_string(),
            },
            Failure::Journal(reason) => Delivery::Retry { after: None, reason },
            Failure::NotOurs => Delivery::Refused {
                code: "destination".to_owned(),
                reason: "not an entry for a homeserver".to_owned(),
            },
        }
    }
}
