//! As follower: what became of an own update whose answer was lost.
//!
//! The hub sends what it accepted to every follower, also to the one it came from. So an update that may or may not have
//! been accepted is looked for in the room's log before anybody is told that it failed.

use mimi_wire::codec::Decode as _;
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{BundleBody, HandshakeBundle};
use mimi_wire::uri::MimiUri;
use std::time::Duration;
use store::{Scan, Space};

use super::feed::split_messages;
use super::{Engine, Env};
use crate::carrier::{Handshake, HandshakeKind};
use crate::owner::UriKey;
use crate::records::parse;
use crate::refusal::Refusal;

/// Entries of the log looked at, newest first.
const ENTRIES: usize = 128;

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateFate {
    /// It is in the log.
    Accepted {
        /// The hub's acceptance time, Unix ms.
        at: u64,
    },
    /// Another commit is there for its epoch: it was not accepted, and won't be.
    Overtaken {
        /// The epoch after that.
        current_epoch: u64,
    },
    /// Neither is there (yet).
    Unknown,
}

impl Engine {
    /// Looks for an own bundle in what the hub has sent, for `wait` at most.
    pub async fn update_fate(
        &self,
        room: &MimiUri,
        bundle: &[u8],
        wait: Duration,
    ) -> Result<UpdateFate, Refusal> {
        let bundle =
            HandshakeBundle::from_bytes(bundle).map_err(|e| Refusal::malformed("handshake bundle", e))?;
        let deadline = tokio::time::Instant::now() + wait;
        // Watched before looking: what comes in between wakes us.
        let mut grown = self.env.watch_feed(room);
        loop {
            let fate = self.env.fate_of(room, &bundle).await?;
            if fate != UpdateFate::Unknown {
                return Ok(fate);
            }
            match tokio::time::timeout_at(deadline, grown.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(fate),
            }
        }
    }
}

impl Env {
    async fn fate_of(&self, room: &MimiUri, bundle: &HandshakeBundle) -> Result<UpdateFate, Refusal> {
        let message = bundle.proposal_or_commit();
        let Some(epoch) = message.epoch().map(|epoch| epoch.0) else {
            return Ok(UpdateFate::Unknown);
        };
        let is_commit = matches!(bundle.body(), BundleBody::Commit { .. });
        let mut overtaken = None;
        for entry in self.newest_entries(room, epoch).await? {
            match entry.kind {
                HandshakeKind::Commit => {
                    if is_commit && self.octets(&entry.payload).await? == message.as_bytes() {
                        return Ok(UpdateFate::Accepted {
                            at: entry.accepted_at.0,
                        });
                    }
                    overtaken = Some(epoch.saturating_add(1));
                }
                HandshakeKind::Proposals if !is_commit => {
                    let there = split_messages(&self.octets(&entry.payload).await?)?;
                    if bundle.messages().all(|one| there.contains(one)) {
                        return Ok(UpdateFate::Accepted {
                            at: entry.accepted_at.0,
                        });
                    }
                }
                _ => {}
            }
        }
        Ok(
            overtaken.map_or(UpdateFate::Unknown, |current_epoch| UpdateFate::Overtaken {
                current_epoch,
            }),
        )
    }

    /// Whether the log has exactly this commit.
    pub(crate) async fn has_commit(&self, room: &MimiUri, commit: &MlsMessage) -> Result<bool, Refusal> {
        let Some(epoch) = commit.epoch() else {
            return Ok(false);
        };
        for entry in self.newest_entries(room, epoch.0).await? {
            if entry.kind == HandshakeKind::Commit && self.octets(&entry.payload).await? == commit.as_bytes()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The newest entries of the log that are of an epoch, newest first.
    async fn newest_entries(&self, room: &MimiUri, epoch: u64) -> Result<Vec<Handshake>, Refusal> {
        let scan = Scan::prefix(Space::Handshake, UriKey::of(room).0)
            .reverse()
            .limit(ENTRIES);
        let mut entries = Vec::new();
        for (key, value) in self.store.scan(scan).await? {
            let event_id: String = parse(Space::Handshake, &key, &value)?;
            let entry: Handshake = self.carrier(Some(&event_id)).await?;
            if entry.kind == HandshakeKind::Commit && entry.epoch.0 < epoch {
                break;
            }
            if entry.epoch.0 == epoch {
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}
