//! Reads for operators and faces: straight from the store, past the workers.

use bytes::Bytes;
use mimi_wire::uri::MimiUri;
use std::collections::BTreeMap;
use store::export::{Progress, Summary, export};
use store::{BlobHash, Scan, Space, StoreError};

use super::{Engine, EngineError, Env};
use crate::carrier::Sha256Hash;
use crate::homeserver::InboxRecord;
use crate::outbox::{Destination, DestinationRecord};
use crate::owner::UriKey;
use crate::records::{
    AccessRecord, OutboxRecord, PortalState, RoomRecord, access_key, each, outbox_key, parse, read,
};
use crate::room::{Look, Records};
use crate::user::AccountRecord;
use crate::views::{AccountView, QueueView, RoomLag, RoomView, UserRoom};

/// Rooms, or inbox entries, looked at for their lag.
const LAGGING: usize = 1000;
/// Entries counted of one queue.
const COUNTED: usize = 10_000;

impl Env {
    /// A blob that a record refers to.
    pub(crate) async fn blob(&self, hash: &Sha256Hash) -> Result<Bytes, StoreError> {
        self.store
            .blob_get(&BlobHash::from(hash.0))
            .await?
            .ok_or_else(|| StoreError::Corrupt {
                space: None,
                key: hash.0.to_vec(),
                why: "a blob that a record refers to is gone".to_owned(),
            })
    }

    pub(crate) fn view(&self, records: &Records) -> RoomView {
        let Records {
            room: record,
            head,
            participants,
        } = records;
        let is_hub = record.room.domain() == self.config.provider;
        // A follower knows its own users only, and no roles.
        let participants = participants
            .values()
            .filter(|participant| {
                if is_hub {
                    participant.role != 0
                } else {
                    participant.here
                }
            })
            .map(|participant| (participant.user.clone(), is_hub.then_some(participant.role)))
            .collect();
        RoomView {
            room: record.room.clone(),
            hub: record.room.domain(),
            is_hub,
            name: record.name.clone(),
            group_id: record.group_id.as_ref().map(|id| id.0.clone()),
            suite: record.face.suite,
            epoch: head.epoch,
            graph: record.graph.room_id.clone(),
            room_version: record.graph.room_version.clone(),
            events: head.graph.events,
            heads: head.graph.heads.clone(),
            log_entries: head.log.seq,
            portal: match &record.portal {
                PortalState::Linked { room_id } | PortalState::Closing { room_id } => Some(room_id.clone()),
                PortalState::None | PortalState::Wanted | PortalState::Unbridged => None,
            },
            portal_state: match &record.portal {
                PortalState::None => "none",
                PortalState::Wanted => "wanted",
                PortalState::Linked { .. } => "linked",
                PortalState::Closing { .. } => "closing",
                PortalState::Unbridged => "unbridged",
            },
            participants,
            feed_next: head.feed_next,
            fenced: self.fence.holds(head),
            ahead: head.ahead,
        }
    }
}

impl Engine {
    /// Every room of this provider.
    pub async fn rooms(&self) -> Result<Vec<RoomView>, EngineError> {
        let mut rooms = Vec::new();
        for room in self.room_uris().await? {
            rooms.extend(self.room(&room).await?);
        }
        Ok(rooms)
    }

    pub(crate) async fn room_uris(&self) -> Result<Vec<MimiUri>, EngineError> {
        let mut uris = Vec::new();
        self.each(Space::Room, b"", |key, value| {
            let record: RoomRecord = parse(Space::Room, key, value)?;
            uris.push(record.room);
            Ok(())
        })
        .await?;
        Ok(uris)
    }

    /// Writes the whole store as it is now; it can be in use meanwhile.
    pub async fn export(
        &self,
        out: &mut (impl std::io::Write + Send),
        progress: impl FnMut(Progress) + Send,
    ) -> Result<Summary, StoreError> {
        export(self.env.store.as_ref(), out, progress).await
    }

    /// One room.
    pub async fn room(&self, room: &MimiUri) -> Result<Option<RoomView>, EngineError> {
        let records = Records::load(&self.env, UriKey::of(room)).await?;
        Ok(records.map(|records| self.env.view(&records)))
    }

    /// The rooms a user has ever been in, with what it may read.
    pub async fn rooms_of(&self, user: &MimiUri) -> Result<Vec<UserRoom>, EngineError> {
        let mut access: Vec<AccessRecord> = Vec::new();
        self.each(Space::FeedAccess, &UriKey::of(user).0, |key, value| {
            access.push(parse(Space::FeedAccess, key, value)?);
            Ok(())
        })
        .await?;
        let mut rooms = Vec::with_capacity(access.len());
        for one in access {
            rooms.extend(self.room_of(user, &one.room).await?);
        }
        Ok(rooms)
    }

    /// One room as its user may see it.
    pub async fn room_of(&self, user: &MimiUri, room: &MimiUri) -> Result<Option<UserRoom>, EngineError> {
        let (env, id) = (self.env.as_ref(), UriKey::of(room));
        let place = access_key(user, id);
        let mut look = Look::at(env, id).await?;
        let (access, records) = loop {
            let access: Option<AccessRecord> = read(env.store.as_ref(), Space::FeedAccess, &place).await?;
            let records = match access {
                Some(_) => Records::read(env, id).await,
                None => Ok(None),
            };
            if look.was_whole(env).await? {
                break (access, records?);
            }
        };
        Ok(access.zip(records).map(|(access, records)| {
            let view = env.view(&records);
            UserRoom {
                first: access.first,
                next: access.end.unwrap_or(view.feed_next),
                joined: access.end.is_none(),
                view,
            }
        }))
    }

    /// The portal of a room, where there is one.
    pub async fn portal_room(&self, room: &MimiUri) -> Result<Option<String>, EngineError> {
        Ok(self.room(room).await?.and_then(|view| view.portal))
    }

    /// All accounts.
    pub async fn accounts(&self) -> Result<Vec<AccountView>, EngineError> {
        let mut records: Vec<AccountRecord> = Vec::new();
        self.each(Space::Account, b"", |key, value| {
            records.push(parse(Space::Account, key, value)?);
            Ok(())
        })
        .await?;
        let mut accounts = Vec::with_capacity(records.len());
        for record in records {
            let mut devices = 0;
            self.each(Space::Device, &UriKey::of(&record.user).0, |_, _| {
                devices += 1;
                Ok(())
            })
            .await?;
            accounts.push(AccountView {
                local: record.secret.is_some(),
                created_at: record.created_at,
                devices,
                user: record.user,
            });
        }
        Ok(accounts)
    }

    /// Every destination that ever had an entry.
    pub async fn destinations(&self) -> Result<Vec<Destination>, EngineError> {
        let mut found = Vec::new();
        self.each(Space::Cursor, b"", |key, value| {
            // Other records of this space have keys of other lengths.
            if key.len() == 16 {
                let record: DestinationRecord = parse(Space::Cursor, key, value)?;
                found.push(record.destination);
            }
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// What waits for each destination.
    pub async fn queues(&self) -> Result<Vec<QueueView>, EngineError> {
        let mut queues = Vec::new();
        for destination in self.destinations().await? {
            let rows = self
                .env
                .store
                .scan(Scan::prefix(Space::Outbox, destination.key()).limit(COUNTED))
                .await?;
            let mut oldest = None;
            for (key, value) in &rows {
                let record: OutboxRecord = parse(Space::Outbox, key, value)?;
                oldest = Some(oldest.map_or(record.queued_at, |o: u64| o.min(record.queued_at)));
            }
            queues.push(QueueView {
                destination,
                waiting: rows.len(),
                oldest,
            });
        }
        Ok(queues)
    }

    /// Rooms in which something waits, by direction: how old the oldest entry is. Looks at a bounded number of entries
    /// of each queue.
    pub async fn lags(&self) -> Result<Vec<RoomLag>, EngineError> {
        let mut oldest: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
        let mut waits = |room: String, direction, since: u64| {
            let entry = oldest.entry((room, direction)).or_insert(since);
            *entry = since.min(*entry);
        };
        let store = self.env.store.as_ref();
        for (key, value) in store.scan(Scan::all(Space::HsInbox).limit(LAGGING)).await? {
            let record: InboxRecord = parse(Space::HsInbox, &key, &value)?;
            waits(record.event.room_id, "from_homeserver", record.at);
        }
        for destination in self.destinations().await? {
            let direction = match destination {
                Destination::Provider(_) => "to_peer",
                Destination::Homeserver => "to_homeserver",
                Destination::Server(_) => "to_server",
            };
            // The first entry of a room is its oldest; from there to the next room.
            let mut after: Option<Vec<u8>> = None;
            for _ in 0..LAGGING {
                let mut scan = Scan::prefix(Space::Outbox, destination.key()).limit(1);
                if let Some(after) = &after {
                    scan = scan.after(after);
                }
                let rows = store.scan(scan).await?;
                let Some((key, value)) = rows.first() else { break };
                let record: OutboxRecord = parse(Space::Outbox, key, value)?;
                after = Some(outbox_key(&destination, UriKey::of_text(&record.room), u64::MAX));
                waits(record.room, direction, record.queued_at);
            }
        }
        let now = self.env.clock.now_ms();
        let mut lags = Vec::with_capacity(oldest.len());
        for ((room, direction), since) in oldest {
            // A portal is shown under the name of its room.
            let named: Option<MimiUri> = read(store, Space::Portal, room.as_bytes()).await?;
            lags.push(RoomLag {
                room: named.map_or(room, |uri| uri.to_string()),
                direction,
                waiting_ms: now.saturating_sub(since),
            });
        }
        Ok(lags)
    }

    pub(super) async fn each(
        &self,
        space: Space,
        prefix: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        each(self.env.store.as_ref(), space, prefix, visit).await
    }
}
