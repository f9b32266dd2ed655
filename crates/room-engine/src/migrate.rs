//! Brings records that an older version wrote up to date, once, when the engine opens.
//!
//! The store's own format says which program may open it; this says how far the records in it have come, because an
//! export of an older version may be imported into a newer store. Each step can be run again from its start.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use store::{Batch, Scan, Space, Store, StoreError};

use crate::carrier::Octets;
use crate::owner::UriKey;
use crate::records::{
    GraphHead, GraphRecord, LogRecord, ParticipantRecord, PortalState, ROOM_VERSION, RoomHead, RoomRecord,
    SnapshotPlace, device_key, device_session_key, parse, participant_key, read,
};
use crate::room::RoomFace;
use crate::user::SessionRecord;
use mimi_wire::uri::MimiUri;

/// Where the version of the records is kept (space `Meta`).
const PLACE: &[u8] = b"engine.records";
/// Version 2 split the rooms' records and made an index of sessions.
const VERSION: u32 = 2;
/// Records read at once.
const PAGE: usize = 100;

pub(crate) async fn migrate(store: &dyn Store) -> Result<(), StoreError> {
    let found = read(store, Space::Meta, PLACE).await?.unwrap_or(1);
    if found > VERSION {
        return Err(StoreError::NewerFormat {
            found,
            supported: VERSION,
        });
    }
    if found == VERSION {
        return Ok(());
    }
    each(store, Space::Room, split_room).await?;
    each(store, Space::Session, index_session).await?;
    let mut done = Batch::new();
    put(&mut done, Space::Meta, PLACE, &VERSION)?;
    store.commit(done).await.map(drop)
}

/// Takes a record's key and value to its batch.
type Step = fn(&[u8], &[u8], &mut Batch) -> Result<(), StoreError>;

/// Has a batch made of each record of a space.
async fn each(store: &dyn Store, space: Space, step: Step) -> Result<(), StoreError> {
    let mut scan = Scan::all(space).limit(PAGE);
    loop {
        let page = store.scan(scan.clone()).await?;
        for (key, value) in &page {
            let mut batch = Batch::new();
            step(key, value, &mut batch)?;
            if !batch.is_empty() {
                store.commit(batch).await?;
            }
        }
        match page.last() {
            Some((last, _)) => scan = scan.after(last),
            None => return Ok(()),
        }
    }
}

fn put<T: Serialize>(batch: &mut Batch, space: Space, key: &[u8], value: &T) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(|e| StoreError::Corrupt {
        space: Some(space),
        key: key.to_vec(),
        why: e.to_string(),
    })?;
    batch.put(space, key, bytes);
    Ok(())
}

/// A room's record of version 1: everything in one, rewritten with each message.
#[derive(Deserialize)]
struct OldRoom {
    room: MimiUri,
    name: Option<String>,
    group_id: Option<Octets>,
    epoch: u64,
    created_at: u64,
    graph: OldGraph,
    log: LogRecord,
    feed_next: u64,
    outbox_next: BTreeMap<String, u64>,
    portal: PortalState,
    participants: Vec<(MimiUri, u32)>,
    local_users: BTreeSet<MimiUri>,
    leaving: BTreeSet<MimiUri>,
    snapshot: Option<SnapshotPlace>,
}

#[derive(Deserialize)]
struct OldGraph {
    #[serde(flatten)]
    founded: GraphRecord,
    #[serde(flatten)]
    head: GraphHead,
}

#[derive(Deserialize)]
struct Versioned {
    v: u8,
}

fn split_room(key: &[u8], value: &[u8], batch: &mut Batch) -> Result<(), StoreError> {
    let Versioned { v } = parse(Space::Room, key, value)?;
    if v == ROOM_VERSION {
        return Ok(());
    }
    let old: OldRoom = parse(Space::Room, key, value)?;
    let mut participants: BTreeMap<MimiUri, ParticipantRecord> = BTreeMap::new();
    let mut of = |user: &MimiUri, change: &dyn Fn(&mut ParticipantRecord)| {
        change(
            participants
                .entry(user.clone())
                .or_insert_with(|| ParticipantRecord::new(user)),
        );
    };
    for (user, role) in &old.participants {
        of(user, &|participant| participant.role = *role);
    }
    for user in &old.local_users {
        of(user, &|participant| participant.here = true);
    }
    for user in &old.leaving {
        of(user, &|participant| participant.leaving = true);
    }
    let id = UriKey::of(&old.room);
    for participant in participants.values() {
        let place = participant_key(id, &participant.user);
        put(batch, Space::Participant, &place, participant)?;
    }
    let head = RoomHead {
        epoch: old.epoch,
        graph: old.graph.head,
        log: old.log,
        feed_next: old.feed_next,
        outbox_next: old.outbox_next,
        snapshot: old.snapshot,
        ..RoomHead::default()
    };
    put(batch, Space::RoomHead, key, &head)?;
    let room = RoomRecord {
        v: ROOM_VERSION,
        room: old.room,
        name: old.name,
        group_id: old.group_id,
        created_at: old.created_at,
        graph: old.graph.founded,
        portal: old.portal,
        face: RoomFace::default(),
    };
    batch.expect_value(Space::Room, key, value);
    put(batch, Space::Room, key, &room)
}

fn index_session(key: &[u8], value: &[u8], batch: &mut Batch) -> Result<(), StoreError> {
    let session: SessionRecord = parse(Space::Session, key, value)?;
    let device = device_key(&session.user, &session.client);
    batch.put(Space::DeviceSession, device_session_key(&device, key), Vec::new());
    Ok(())
}
