//! Reading a room's feed.

use mimi_wire::codec::Reader;
use mimi_wire::mls::MlsMessage;
use mimi_wire::uri::MimiUri;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use store::{Scan, Space, StoreError};

use super::{Engine, Env, LONGEST_POLL};
use crate::carrier::{Handshake, Message, Payload};
use crate::owner::UriKey;
use crate::records::{AccessRecord, Audience, FeedKind, FeedRecord, access_key, feed_key, parse, read};
use crate::refusal::Refusal;
use crate::views::{FeedEntry, FeedItem, FeedPage};

impl Engine {
    /// A page of a room's feed as a user may read it, from position `from` on. Where there is nothing yet, waits up to
    /// `wait` for the first entry.
    pub async fn feed(
        &self,
        room: &MimiUri,
        user: &MimiUri,
        from: u64,
        limit: usize,
        wait: Option<Duration>,
    ) -> Result<FeedPage, Refusal> {
        let deadline = tokio::time::Instant::now() + wait.unwrap_or_default().min(LONGEST_POLL);
        let limit = limit.clamp(1, self.env.config.limits.feed_page);
        let id = UriKey::of(room);
        // Watch first, look second: what comes in between wakes us.
        let mut grown = self.env.watch_feed(room);
        loop {
            let access: AccessRecord =
                read(self.env.store.as_ref(), Space::FeedAccess, &access_key(user, id))
                    .await?
                    .ok_or(Refusal::Unknown { what: "room" })?;
            let page = self.env.page(id, user, &access, from, limit).await?;
            let Some(page) = page else { continue };
            if !page.entries.is_empty() || access.end.is_some_and(|end| page.next >= end) {
                return Ok(page);
            }
            match tokio::time::timeout_at(deadline, grown.changed()).await {
                Ok(Ok(())) => {}
                // Nobody else will tell: the page as it is.
                Ok(Err(_)) | Err(_) => return Ok(page),
            }
        }
    }
}

/// A carrier event, as far as the feed needs it.
#[derive(Deserialize)]
struct Carrier<T> {
    content: T,
}

impl Env {
    /// None where what the user may read changed meanwhile.
    async fn page(
        &self,
        room: UriKey,
        user: &MimiUri,
        access: &AccessRecord,
        from: u64,
        limit: usize,
    ) -> Result<Option<FeedPage>, Refusal> {
        let from = from.max(access.first).max(1);
        let mut page = FeedPage {
            entries: Vec::new(),
            next: from,
        };
        let scan = Scan::prefix(Space::Feed, room.0)
            .after(feed_key(room, from - 1))
            .limit(limit);
        let rows = self.store.scan(scan).await?;
        // Rows that came in after the user had to go are none of its business.
        let now: Option<AccessRecord> =
            read(self.store.as_ref(), Space::FeedAccess, &access_key(user, room)).await?;
        if now.as_ref() != Some(access) {
            return Ok(None);
        }
        for (key, value) in rows {
            let pos = key
                .get(16..24)
                .and_then(|p| p.try_into().ok())
                .map_or(u64::MAX, u64::from_be_bytes);
            if access.end.is_some_and(|end| pos >= end) {
                break;
            }
            let record: FeedRecord = parse(Space::Feed, &key, &value)?;
            page.next = pos.saturating_add(1);
            let theirs = match &record.audience {
                Audience::All => true,
                Audience::Users(users) => users.contains(user),
            };
            if theirs {
                page.entries.push(self.feed_entry(pos, record).await?);
            }
        }
        Ok(Some(page))
    }

    async fn feed_entry(&self, pos: u64, record: FeedRecord) -> Result<FeedEntry, Refusal> {
        let event_id = record.event_id.clone();
        let item = match record.item {
            FeedKind::Status { id, status } => FeedItem::Status { id, state: status },
            FeedKind::Wish { wish } => FeedItem::Wish { wish },
            FeedKind::Message => {
                let content: Message = self.carrier(event_id.as_deref()).await?;
                FeedItem::Message {
                    message: self.octets(&content.payload).await?,
                    frank: content.frank.map(|frank| frank.0),
                }
            }
            FeedKind::Commit => {
                let content: Handshake = self.carrier(event_id.as_deref()).await?;
                FeedItem::Commit {
                    message: self.octets(&content.payload).await?,
                    external_proposals: self.messages(content.external_proposals.as_ref()).await?,
                }
            }
            FeedKind::Proposals => {
                let content: Handshake = self.carrier(event_id.as_deref()).await?;
                FeedItem::Proposals {
                    messages: self.messages(Some(&content.payload)).await?,
                }
            }
            FeedKind::Welcome => {
                let content: Handshake = self.carrier(event_id.as_deref()).await?;
                // At the hub the Welcome is part of the commit's entry, at a follower it is an entry.
                let message = content.welcome.as_ref().unwrap_or(&content.payload);
                FeedItem::Welcome {
                    message: self.octets(message).await?,
                    ratchet_tree: match &content.ratchet_tree {
                        Some(tree) => self.octets(tree).await?,
                        None => Vec::new(),
                    },
                }
            }
        };
        Ok(FeedEntry {
            pos,
            at: record.at,
            event_id: record.event_id,
            item,
        })
    }

    pub(crate) async fn carrier<T: DeserializeOwned>(&self, event_id: Option<&str>) -> Result<T, Refusal> {
        let event_id = event_id.ok_or_else(|| Refusal::internal("a feed entry without its event"))?;
        let event: Option<Carrier<T>> = read(self.store.as_ref(), Space::Event, event_id.as_bytes()).await?;
        let event = event.ok_or_else(|| StoreError::Corrupt {
            space: Some(Space::Event),
            key: event_id.as_bytes().to_vec(),
            why: "a feed entry refers to it and it is gone".to_owned(),
        })?;
        Ok(event.content)
    }

    /// The octets of a payload.
    pub(crate) async fn octets(&self, payload: &Payload) -> Result<Vec<u8>, Refusal> {
        Ok(match payload {
            Payload::Inline { data } => data.0.clone(),
            Payload::ByHash { sha256, .. } => self.blob(sha256).await?.to_vec(),
        })
    }

    /// Concatenated MLSMessages, apart.
    async fn messages(&self, payload: Option<&Payload>) -> Result<Vec<Vec<u8>>, Refusal> {
        let Some(payload) = payload else {
            return Ok(Vec::new());
        };
        let octets = self.octets(payload).await?;
        split_messages(&octets).map(|messages| messages.iter().map(|m| m.as_bytes().to_vec()).collect())
    }
}

/// Takes concatenated MLSMessages apart; each knows its own end.
pub(crate) fn split_messages(octets: &[u8]) -> Result<Vec<MlsMessage>, Refusal> {
    use mimi_wire::codec::Decode as _;
    let mut reader = Reader::new(octets);
    let mut messages = Vec::new();
    while !reader.is_empty() {
        messages.push(MlsMessage::decode(&mut reader).map_err(Refusal::internal)?);
    }
    Ok(messages)
}
