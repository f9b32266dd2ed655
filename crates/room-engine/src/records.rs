//! The records that the engine keeps in the store, and their keys.
//!
//! Values are JSON: a person can read an export. Each has a version in `v` where it is likely to change.

use mimi_wire::mls::KeyPackageRef;
use mimi_wire::uri::MimiUri;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use store::{Scan, Space, Store, StoreError};

use crate::carrier::{Octets, Payload, Sha256Hash, SubmissionState};
use crate::outbox::Destination;
use crate::owner::{UriKey, half_sha256};
use crate::room::RoomFace;

/// Rows read at once.
const PAGE: usize = 500;
/// The version of [`RoomRecord`].
pub(crate) const ROOM_VERSION: u8 = 2;

/// A room as far as it rarely changes (space `Room`, key: [`UriKey`]). What every entry moves is in its
/// [`RoomHead`], so that a message costs the same in a room of two and of two thousand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RoomRecord {
    /// [`ROOM_VERSION`]. Version 1 held head and participants as well: see `migrate`.
    pub(crate) v: u8,
    pub(crate) room: MimiUri,
    pub(crate) name: Option<String>,
    /// Unknown at a follower until the first message or commit: a Welcome hides it.
    pub(crate) group_id: Option<Octets>,
    pub(crate) created_at: u64,
    pub(crate) graph: GraphRecord,
    pub(crate) portal: PortalState,
    /// What the portal shows besides participants.
    #[serde(default)]
    pub(crate) face: RoomFace,
}

/// The room's event graph, as it was founded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GraphRecord {
    pub(crate) room_id: String,
    pub(crate) room_version: String,
    /// Auth events that the node's own events cite.
    pub(crate) create: String,
    pub(crate) power_levels: String,
    pub(crate) member: String,
    /// Other servers with a user in the graph.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) servers: BTreeSet<String>,
    /// Whether this node's user is in it.
    #[serde(default = "yes")]
    pub(crate) joined: bool,
}

fn yes() -> bool {
    true
}

/// How far a room has come (space `RoomHead`, key: [`UriKey`]): written with each batch of the room.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RoomHead {
    pub(crate) epoch: u64,
    pub(crate) graph: GraphHead,
    pub(crate) log: LogRecord,
    pub(crate) feed_next: u64,
    /// By destination: one entry for each provider that takes part, and the homeserver.
    pub(crate) outbox_next: BTreeMap<String, u64>,
    /// The hub's group.
    pub(crate) snapshot: Option<SnapshotPlace>,
    /// Changes with everything that the portal shows.
    #[serde(default)]
    pub(crate) portal_revision: u64,
    /// The newest fence up to which the room is free: see `fence`.
    #[serde(default)]
    pub(crate) unfenced: u64,
    /// While the room is fenced: a later epoch that somebody has shown.
    #[serde(default)]
    pub(crate) ahead: Option<u64>,
}

/// The end of the room's event graph.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GraphHead {
    /// Forward extremities.
    pub(crate) heads: Vec<String>,
    pub(crate) depth: u64,
    /// The newest time of any event, Unix ms: acceptance times never go back.
    pub(crate) newest_ts: u64,
    /// Events so far.
    pub(crate) events: u64,
}

/// The end of the handshake log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    pub(crate) term: u64,
    pub(crate) seq: u64,
    pub(crate) prev: Option<String>,
}

/// Somebody in a room (space `Participant`, key: room, user). Whoever is nothing any more has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParticipantRecord {
    pub(crate) user: MimiUri,
    /// At the hub: the role in the effective view. 0 at a follower, which can't know.
    #[serde(default)]
    pub(crate) role: u32,
    /// A user of this provider to whom the feed is open.
    #[serde(default)]
    pub(crate) here: bool,
    /// At a follower: the hub accepted that the user leaves; gone with the next commit.
    #[serde(default)]
    pub(crate) leaving: bool,
    /// At a follower: the role on a member's card, for the portal to show.
    #[serde(default)]
    pub(crate) shown: Option<u32>,
}

impl ParticipantRecord {
    pub(crate) fn new(user: &MimiUri) -> Self {
        Self {
            user: user.clone(),
            role: 0,
            here: false,
            leaving: false,
            shown: None,
        }
    }

    /// Whether there is anything to remember.
    pub(crate) fn is_nothing(&self) -> bool {
        self.role == 0 && !self.here && !self.leaving && self.shown.is_none()
    }

    /// The role to show in the portal, none for somebody who isn't to be seen: at the hub the effective one; at a
    /// follower that of the card, where for this provider's own users its own records count.
    pub(crate) fn shown_role(&self, is_hub: bool, own: bool) -> Option<u32> {
        if is_hub {
            return (self.role != 0).then_some(self.role);
        }
        if own && (!self.here || self.leaving) {
            return None;
        }
        self.shown
            .or(self.here.then_some(ORDINARY))
            .filter(|role| *role != 0)
    }
}

/// The room's portal on the homeserver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum PortalState {
    /// No Matrix user takes part, or there is no homeserver.
    None,
    /// In the outbox.
    Wanted,
    /// There.
    Linked { room_id: String },
    /// To be given up: everybody is on the way out.
    Closing { room_id: String },
    /// Given up by an operator; it isn't made again by itself.
    Unbridged,
}

/// The role of those whose role isn't known: one that takes part.
const ORDINARY: u32 = 2;

/// Where the group snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SnapshotPlace {
    /// Space `Snapshot`, under the room's key.
    Inline,
    /// The blob store.
    Blob(Sha256Hash),
}

/// One position of a room's feed (space `Feed`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FeedRecord {
    pub(crate) at: u64,
    pub(crate) event_id: Option<String>,
    pub(crate) audience: Audience,
    pub(crate) item: FeedKind,
}

/// Who may read a feed entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Audience {
    /// Every participant of this provider.
    All,
    /// These users only.
    Users(BTreeSet<MimiUri>),
}

/// What a feed entry shows; the octets are in the carrier event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum FeedKind {
    Welcome,
    Commit,
    Proposals,
    Message,
    Status { id: String, status: SubmissionState },
    Wish { wish: Box<crate::wish::Wish> },
}

/// What of a room's feed a user may read (space `FeedAccess`, key: user, room).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessRecord {
    pub(crate) room: MimiUri,
    pub(crate) first: u64,
    /// First position that is no longer theirs.
    pub(crate) end: Option<u64>,
}

/// A submission of a local user (space `Submission`, key: room, user, id).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SubmissionRecord {
    pub(crate) user: MimiUri,
    pub(crate) id: String,
    pub(crate) message: Sha256Hash,
    pub(crate) attempt: u32,
    /// Whether it came as an event of the portal.
    pub(crate) in_portal: bool,
    pub(crate) state: SubmissionState,
}

/// A remembered request (space `Outcome`, key: owner, who, SHA-256 of the request).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OutcomeRecord {
    pub(crate) at: u64,
    pub(crate) response: Octets,
}

/// A commit of an own client that the hub of a room elsewhere has accepted (space `OwnCommit`, key: room, epoch).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OwnCommitRecord {
    /// The hub's acceptance time, Unix ms.
    pub(crate) at: u64,
    pub(crate) commit: Payload,
}

/// An outbox entry as stored: octets inline or by hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OutboxRecord {
    pub(crate) destination: Destination,
    pub(crate) room: String,
    pub(crate) seq: u64,
    pub(crate) request_id: String,
    pub(crate) queued_at: u64,
    pub(crate) octets: Option<Payload>,
    pub(crate) body: crate::outbox::OutboxBody,
}

/// A KeyPackage handed out for a hub room, or in stock for a local client (space `KeyPackageRef`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyPackageRefRecord {
    pub(crate) client: MimiUri,
    pub(crate) provider: String,
    pub(crate) at: u64,
    /// When the KeyPackage expires, Unix ms; 0: unknown.
    #[serde(default)]
    pub(crate) until: u64,
}

/// A report of abuse (space `AbuseReport`, key: time, hash).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AbuseRecord {
    pub(crate) v: u8,
    pub(crate) at: u64,
    pub(crate) room: MimiUri,
    /// The provider that it came from.
    pub(crate) provider: String,
    /// Unknown for an anonymous report.
    pub(crate) reporting_user: Option<MimiUri>,
    pub(crate) accused: MimiUri,
    pub(crate) reason: u8,
    pub(crate) note: String,
    pub(crate) messages: Vec<ReportedMessage>,
    /// The TLS `AbuseReport`, as it came.
    pub(crate) octets: Payload,
}

/// An asset of a local user (space `Asset`, key: SHA-256 of its id).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AssetRecord {
    pub(crate) v: u8,
    pub(crate) user: MimiUri,
    pub(crate) at: u64,
    pub(crate) size: u64,
    /// SHA-256 of the blobs it consists of, in their order.
    pub(crate) pieces: Vec<String>,
}

/// What was found out about a message of a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReportedMessage {
    pub(crate) accepted_at: u64,
    /// Of a message that this hub franked.
    pub(crate) message_id: Option<Octets>,
    /// Why the message proves nothing.
    pub(crate) fault: Option<String>,
}

/// Reads one JSON record.
pub(crate) async fn read<T: DeserializeOwned>(
    store: &dyn Store,
    space: Space,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    match store.get(space, key).await? {
        None => Ok(None),
        Some(bytes) => parse(space, key, &bytes).map(Some),
    }
}

/// Shows every row of a space whose key begins so, in order, a page at a time.
pub(crate) async fn each(
    store: &dyn Store,
    space: Space,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut scan = Scan::prefix(space, prefix).limit(PAGE);
    loop {
        let rows = store.scan(scan.clone()).await?;
        for (key, value) in &rows {
            visit(key, value)?;
        }
        match rows.last() {
            Some((last, _)) if rows.len() == PAGE => scan = scan.after(last),
            _ => return Ok(()),
        }
    }
}

/// Parses one JSON record.
pub(crate) fn parse<T: DeserializeOwned>(space: Space, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Corrupt {
        space: Some(space),
        key: key.to_vec(),
        why: e.to_string(),
    })
}

/// Joins the parts of a key.
pub(crate) fn key(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(crate) fn participant_key(room: UriKey, user: &MimiUri) -> Vec<u8> {
    key(&[&room.0, &UriKey::of(user).0])
}

pub(crate) fn own_commit_key(room: UriKey, epoch: u64) -> Vec<u8> {
    key(&[&room.0, &epoch.to_be_bytes()])
}

pub(crate) fn feed_key(room: UriKey, pos: u64) -> Vec<u8> {
    key(&[&room.0, &pos.to_be_bytes()])
}

pub(crate) fn access_key(user: &MimiUri, room: UriKey) -> Vec<u8> {
    key(&[&UriKey::of(user).0, &room.0])
}

pub(crate) fn submission_key(room: UriKey, user: &MimiUri, id: &str) -> Vec<u8> {
    key(&[&room.0, &UriKey::of(user).0, &half_sha256(id.as_bytes())])
}

pub(crate) fn outcome_key(owner: UriKey, who: &str, request: &[u8]) -> Vec<u8> {
    let digest: [u8; 32] = Sha256::digest(request).into();
    key(&[&owner.0, &half_sha256(who.as_bytes()), &digest])
}

pub(crate) fn notify_seen_key(room: UriKey, hub: &str, body: &[u8]) -> Vec<u8> {
    outcome_key(room, hub, body)
}

/// A device (space `Device` and others).
pub(crate) fn device_key(user: &MimiUri, client: &MimiUri) -> Vec<u8> {
    key(&[&UriKey::of(user).0, &UriKey::of(client).0])
}

/// A session, found by its device (space `DeviceSession`, key: user, client, SHA-256 of the token; no value).
pub(crate) fn device_session_key(device_key: &[u8], session: &[u8]) -> Vec<u8> {
    key(&[device_key, session])
}

/// A KeyPackage of a local client.
pub(crate) fn local_ref_key(reference: &KeyPackageRef) -> Vec<u8> {
    key(&[&[0], reference.as_bytes()])
}

/// A KeyPackage handed out through this hub for one of its rooms.
pub(crate) fn room_ref_key(room: UriKey, reference: &KeyPackageRef) -> Vec<u8> {
    key(&[&[1], &room.0, reference.as_bytes()])
}

/// A KeyPackage with which a local client was added to a group: the time.
pub(crate) fn welcomed_ref_key(reference: &KeyPackageRef) -> Vec<u8> {
    key(&[&[2], reference.as_bytes()])
}

/// By time, then by what was reported.
pub(crate) fn abuse_key(at: u64, outcome: &[u8]) -> Vec<u8> {
    key(&[&at.to_be_bytes(), &half_sha256(outcome)])
}

pub(crate) fn outbox_key(destination: &Destination, room: UriKey, seq: u64) -> Vec<u8> {
    key(&[&destination.key(), &room.0, &seq.to_be_bytes()])
}
