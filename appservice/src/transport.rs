//! Carries a portal's outbox entries to the homeserver, each so that a repeat changes nothing twice.

use crate::homeserver::{Homeserver, HomeserverError};
use crate::pictures::{Gallery, PictureError};
use crate::portal::{self, Portal};
use async_trait::async_trait;
use futures_util::future::join_all;
use mimi_wire::MimiUri;
use room_engine::outbox::{Delivery, OutboxBody, OutboxEntry, Transport};
use room_engine::{PictureKept, PortalWanted, ghost};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

mod doubts;
use doubts::{Doubts, Event};

/// The journal of portals: which homeserver room belongs to which MIMI room.
#[async_trait]
pub trait Portals: Send + Sync + 'static {
    /// The portal of a room.
    async fn portal_of(&self, room: &str) -> Result<Option<String>, String>;
    /// Records the portal of a room, durably. The same again is fine.
    async fn portal_created(&self, request_id: &str, room: &str, portal: &str) -> Result<(), String>;
    /// What a room's portal has to show; `None` where it has none.
    async fn wanted(&self, _room: &str) -> Result<Option<PortalWanted>, String> {
        Ok(None)
    }
    /// Records that another room took the place of the portal, durably. The same again is fine.
    async fn portal_moved(
        &self,
        _request_id: &str,
        _room: &str,
        _old: &str,
        _new: &str,
    ) -> Result<(), String> {
        Ok(())
    }
    /// A picture that a user set in a portal is kept at this address, or isn't, and why. The same again is fine.
    async fn picture_kept(&self, _request_id: &str, _room: &str, _kept: PictureKept) -> Result<(), String> {
        Ok(())
    }
    /// The conversation that a user has with the bot.
    async fn conversation(&self, _user: &str) -> Result<Option<String>, String> {
        Ok(None)
    }
    /// Records a conversation that the bot made, durably. The same again is fine.
    async fn conversation_made(&self, _request_id: &str, _user: &str, _room_id: &str) -> Result<(), String> {
        Ok(())
    }
    /// Records that a portal was given up, durably. The same again is fine.
    async fn portal_closed(&self, _request_id: &str, _room: &str, _portal: &str) -> Result<(), String> {
        Ok(())
    }
}

/// The way to the homeserver.
#[derive(Clone)]
pub struct HomeserverTransport {
    homeserver: Homeserver,
    portals: Arc<dyn Portals>,
    room_version: Option<String>,
    gallery: Gallery,
    doubts: Doubts,
    /// The newest revision that each portal was brought to: many entries are one piece of work.
    synced: Arc<Mutex<HashMap<String, u64>>>,
}

impl HomeserverTransport {
    /// Over this client, with this journal.
    pub fn new(homeserver: Homeserver, portals: Arc<dyn Portals>) -> Self {
        Self {
            homeserver,
            portals,
            room_version: None,
            gallery: Gallery::default(),
            doubts: Doubts::from_now(),
            synced: Arc::default(),
        }
    }

    /// Pictures of users and rooms come from there.
    #[must_use]
    pub fn with_gallery(mut self, gallery: Gallery) -> Self {
        self.gallery = gallery;
        self
    }

    /// Other nodes of this provider send to the same homeserver when it is their turn.
    #[must_use]
    pub fn beside_others(mut self) -> Self {
        self.doubts = self.doubts.always();
        self
    }

    /// New portals are of this room version instead of the homeserver's default.
    #[must_use]
    pub fn with_room_version(mut self, room_version: Option<String>) -> Self {
        self.room_version = room_version;
        self
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
                    room_version: self.room_version.as_deref(),
                    predecessor: None,
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

    /// Brings a portal to what the room is now.
    async fn sync(&self, room: &str, revision: u64, audit: bool) -> Result<(), Failure> {
        let done = |at: u64| {
            let synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
            synced.get(room).is_some_and(|known| *known >= at)
        };
        if done(revision) {
            return Ok(());
        }
        let Some(wanted) = self.portals.wanted(room).await.map_err(Failure::Journal)? else {
            return Ok(());
        };
        let steps = portal::sync(&self.homeserver, &self.gallery, &wanted).await?;
        tracing::info!(
            room,
            portal = wanted.portal,
            revision = wanted.revision,
            steps,
            "portal is up to date"
        );
        if audit && steps > 0 && wanted.revision == revision {
            metrics::counter!("causeway_portal_repaired_total").increment(1);
            tracing::error!(
                room,
                portal = wanted.portal,
                steps,
                "the homeserver had lost members or state of a portal; that is put right. Was its database restored, or the \
                 room's state reset?"
            );
        }
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.insert(room.to_owned(), wanted.revision);
        Ok(())
    }

    /// The bot's conversation with a user; made where there is none.
    async fn conversation(&self, entry: &OutboxEntry, user: &str) -> Result<String, Failure> {
        let known = self.portals.conversation(user).await.map_err(Failure::Journal)?;
        if let Some(room) = known {
            return Ok(room);
        }
        let room: String = portal::ensure_conversation(&self.homeserver, user).await?.into();
        let recorded = self
            .portals
            .conversation_made(&entry.request_id, user, &room)
            .await;
        recorded.map_err(Failure::Journal)?;
        Ok(room)
    }

    /// Follows the portal to the room that took its place, where the bot can do its work there; otherwise puts a room of
    /// our own in its place and says so in the old one.
    async fn follow(&self, entry: &OutboxEntry, old: &str, new: &str) -> Result<(), Failure> {
        let Some(wanted) = self.portals.wanted(&entry.room).await.map_err(Failure::Journal)? else {
            return Ok(());
        };
        if wanted.portal != old {
            return Ok(());
        }
        let new = if portal::fits(&self.homeserver, new).await? {
            new.to_owned()
        } else {
            // The alias leads to the old room or, moved there by the upgrade, to the one that doesn't fit. If it leads
            // anywhere else, that is the room we made before we could write it down.
            portal::release_alias(&self.homeserver, &entry.room, &[old, new]).await?;
            let made = portal::ensure(
                &self.homeserver,
                Portal {
                    room: &entry.room,
                    name: wanted.name.as_deref(),
                    info: &wanted.info,
                    room_version: self.room_version.as_deref(),
                    predecessor: Some(old),
                },
            )
            .await?;
            let text = format!(
                "This room was replaced by one in which I can't do my work (I am not in it, or not above its members). \
                 The conversation goes on in {made}, to which all participants are invited."
            );
            let content = serde_json::json!({"msgtype": "m.notice", "body": text});
            let txn_id = format!("follow-{}", entry.seq);
            // The old room may be closed to us by now; the new one stands all the same.
            let told = self
                .homeserver
                .send(old, "m.room.message", &txn_id, &content, None)
                .await;
            if let Err(error) = told.map(drop)
                && error.is_transient()
            {
                return Err(error.into());
            }
            made.into()
        };
        self.moved(entry, old, &new).await
    }

    /// Replaces the portal by a room of another version. A crash in between finds the tombstone.
    async fn upgrade(&self, entry: &OutboxEntry, old: &str, version: &str) -> Result<(), Failure> {
        let wanted = self.portals.wanted(&entry.room).await.map_err(Failure::Journal)?;
        if wanted.is_none_or(|wanted| wanted.portal != old) {
            return Ok(());
        }
        let new = self.homeserver.upgrade(old, version).await?;
        self.moved(entry, old, &new).await
    }

    /// Writes down that another room is the portal now.
    async fn moved(&self, entry: &OutboxEntry, old: &str, new: &str) -> Result<(), Failure> {
        let (request_id, room) = (&entry.request_id, &entry.room);
        let moved = self.portals.portal_moved(request_id, room, old, new).await;
        moved.map_err(Failure::Journal)?;
        tracing::info!(request_id, room, old, new, "another room is the portal now");
        Ok(())
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
                at,
            } => {
                let portal = self.portal(entry).await?;
                let event = Event {
                    room: &portal,
                    kind: event_type,
                    txn_id,
                    content,
                    at: *at,
                };
                let event_id = self.doubts.send(&self.homeserver, entry, event).await?;
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
            OutboxBody::PortalSync {
                room,
                revision,
                audit,
            } => self.sync(room, *revision, *audit).await?,
            OutboxBody::PortalFollow { old, new } => self.follow(entry, old, new).await?,
            OutboxBody::PortalUpgrade { portal, version } => self.upgrade(entry, portal, version).await?,
            OutboxBody::PortalPicture {
                portal,
                user,
                event_id,
                mxc,
            } => {
                let owner =
                    MimiUri::parse(user).map_err(|e| HomeserverError::Setup(format!("{user}: {e}")))?;
                let address = match self.gallery.keep(&self.homeserver, &owner, mxc).await? {
                    Err(PictureError::Unavailable(why)) => return Err(Failure::Journal(why)),
                    kept => kept.map_err(|refused| refused.to_string()),
                };
                let kept = PictureKept {
                    portal: portal.clone(),
                    user: owner,
                    event_id: event_id.clone(),
                    address,
                };
                let told = self
                    .portals
                    .picture_kept(&entry.request_id, &entry.room, kept)
                    .await;
                told.map_err(Failure::Journal)?;
            }
            OutboxBody::PortalClose { portal } => {
                portal::close(&self.homeserver, &entry.room, portal).await?;
                let closed = self
                    .portals
                    .portal_closed(&entry.request_id, &entry.room, portal)
                    .await;
                closed.map_err(Failure::Journal)?;
                tracing::info!(
                    request_id = entry.request_id,
                    room = entry.room,
                    portal,
                    "portal given up"
                );
            }
            OutboxBody::BotSend {
                room_id,
                txn_id,
                event_type,
                content,
            } => {
                let event = Event {
                    room: room_id,
                    kind: event_type,
                    txn_id,
                    content,
                    at: None,
                };
                self.doubts.send(&self.homeserver, entry, event).await?;
            }
            OutboxBody::BotTell {
                user,
                txn_id,
                content,
            } => {
                let room = self.conversation(entry, user).await?;
                let event = Event {
                    room: &room,
                    kind: "m.room.message",
                    txn_id,
                    content,
                    at: None,
                };
                self.doubts.send(&self.homeserver, entry, event).await?;
            }
            OutboxBody::GhostLeave {
                room_id,
                user,
                reason,
            } => {
                let uri = MimiUri::parse(user).map_err(|e| HomeserverError::Setup(format!("{user}: {e}")))?;
                let mxid = ghost::user_id(&uri, self.homeserver.server_name());
                let profile = portal::dressed(&self.homeserver, &self.gallery, &uri, (&uri, &mxid)).await?;
                self.homeserver.ensure_ghost(&mxid, &profile).await?;
                self.homeserver.leave_as(room_id, &mxid, Some(reason)).await?;
            }
            OutboxBody::ToDevice {
                user,
                device,
                txn_id,
                event_type,
                content,
            } => {
                self.homeserver
                    .send_to_device(user, device.as_deref(), event_type, txn_id, content)
                    .await?;
            }
            OutboxBody::Notify
            | OutboxBody::Submit { .. }
            | OutboxBody::Consent { .. }
            | OutboxBody::Event { .. } => {
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

/// Copies for one portal that are under way at once when several wait. A homeserver writes events of a room that come
/// together in one transaction of its database, so this is what lets it catch up.
const ABREAST: usize = 8;

/// How many of the oldest entries go together: one, but for copies that may pass each other.
fn abreast(entries: &[OutboxEntry]) -> usize {
    let mut seen = HashSet::new();
    let copies = entries
        .iter()
        .map_while(|entry| entry.body.copy_of())
        .take_while(|copy| seen.insert(*copy));
    copies.count().max(1)
}

#[async_trait]
impl Transport for HomeserverTransport {
    fn batch(&self) -> usize {
        ABREAST
    }

    async fn deliver_all(&self, entries: &[OutboxEntry]) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() && !matches!(deliveries.last(), Some(Delivery::Retry { .. })) {
            let (together, after) = rest.split_at(abreast(rest));
            for delivery in join_all(together.iter().map(|entry| self.deliver(entry))).await {
                if !matches!(deliveries.last(), Some(Delivery::Retry { .. })) {
                    deliveries.push(delivery);
                }
            }
            rest = after;
        }
        deliveries
    }

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
