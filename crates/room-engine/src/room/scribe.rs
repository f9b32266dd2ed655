//! The scribe: writes what a room decided.
//!
//! It works on a copy of the room's head and on copies of what else changes, so that a decision that fails half-way
//! leaves what is in memory as it was. [`Scribe::finish`] hands the changes over.

use bytes::Bytes;
use event_graph::Pdu;
use mimi_wire::uri::MimiUri;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use store::Space;

use super::{Records, graph};
use crate::carrier::{self, Decimal, Handshake, HandshakeKind, Octets, Payload, SubmissionState};
use crate::command::{Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::graphs::{graph_index_key, queue_event};
use crate::outbox::{Destination, OutboxBody};
use crate::owner::UriKey;
use crate::records::{
    AccessRecord, Audience, FeedKind, FeedRecord, OutboxRecord, ParticipantRecord, RoomHead, RoomRecord,
    SnapshotPlace, access_key, feed_key, key, participant_key,
};
use crate::refusal::Refusal;

/// Snapshots up to this size are records; larger ones are blobs.
const INLINE_SNAPSHOT: usize = 60 * 1024;

pub(crate) struct Scribe<'a> {
    pub(crate) env: &'a Env,
    ctx: &'a RequestContext,
    /// Nothing for a room that is new.
    before: Option<&'a Records>,
    pub(super) room: Cow<'a, RoomRecord>,
    pub(crate) head: RoomHead,
    /// Those who change.
    participants: BTreeMap<MimiUri, ParticipantRecord>,
    pub(super) decision: Decision,
    /// Acceptance time of what is being written: never earlier than anything before it.
    pub(super) at: u64,
}

/// What a decision changes of a room's records.
pub(crate) struct Changes {
    room: Option<RoomRecord>,
    head: RoomHead,
    participants: BTreeMap<MimiUri, ParticipantRecord>,
}

impl Changes {
    /// The records with the changes in them.
    pub(super) fn onto(self, before: Option<Records>) -> Option<Records> {
        let (known, mut participants) = before.map_or((None, BTreeMap::new()), |before| {
            (Some(before.room), before.participants)
        });
        for (user, participant) in self.participants {
            if participant.is_nothing() {
                participants.remove(&user);
            } else {
                participants.insert(user, participant);
            }
        }
        Some(Records {
            room: self.room.or(known)?,
            head: self.head,
            participants,
        })
    }
}

/// What goes into a handshake entry besides the log's own fields.
pub(super) struct Entry {
    pub(super) kind: HandshakeKind,
    pub(super) epoch: u64,
    pub(super) payload: Vec<u8>,
    pub(super) welcome: Option<Vec<u8>>,
    pub(super) group_info: Option<Vec<u8>>,
    pub(super) ratchet_tree: Option<Vec<u8>>,
    pub(super) external_proposals: Option<Vec<u8>>,
}

impl Entry {
    pub(super) fn new(kind: HandshakeKind, epoch: u64, payload: Vec<u8>) -> Self {
        Self {
            kind,
            epoch,
            payload,
            welcome: None,
            group_info: None,
            ratchet_tree: None,
            external_proposals: None,
        }
    }
}

impl<'a> Scribe<'a> {
    /// Writes on in a room.
    pub(crate) fn new(env: &'a Env, ctx: &'a RequestContext, records: &'a Records) -> Self {
        Self::with(
            env,
            ctx,
            Some(records),
            Cow::Borrowed(&records.room),
            records.head.clone(),
        )
    }

    /// Begins a room.
    pub(super) fn on_nothing(
        env: &'a Env,
        ctx: &'a RequestContext,
        room: RoomRecord,
        head: RoomHead,
    ) -> Self {
        Self::with(env, ctx, None, Cow::Owned(room), head)
    }

    fn with(
        env: &'a Env,
        ctx: &'a RequestContext,
        before: Option<&'a Records>,
        room: Cow<'a, RoomRecord>,
        head: RoomHead,
    ) -> Self {
        let at = env.clock.now_ms().max(head.graph.newest_ts);
        Self {
            env,
            ctx,
            before,
            room,
            head,
            participants: BTreeMap::new(),
            decision: Decision::reply(Reply::Done),
            at,
        }
    }

    pub(super) fn id(&self) -> UriKey {
        UriKey::of(&self.room.room)
    }

    fn participant(&self, user: &MimiUri) -> Option<&ParticipantRecord> {
        let before = || self.before.and_then(|before| before.participants.get(user));
        self.participants.get(user).or_else(before)
    }

    /// Whether the feed is open to a user of this provider.
    pub(super) fn is_here(&self, user: &MimiUri) -> bool {
        self.participant(user).is_some_and(|participant| participant.here)
    }

    /// Whether no user of this provider is in the room.
    pub(super) fn nobody_here(&self) -> bool {
        let before = self.before.iter().flat_map(|before| before.participants.values());
        !before
            .chain(self.participants.values())
            .any(|participant| self.is_here(&participant.user))
    }

    /// Users whose leave the hub has accepted.
    pub(super) fn leaving(&self) -> BTreeSet<MimiUri> {
        let before = self.before.iter().flat_map(|before| before.participants.values());
        before
            .chain(self.participants.values())
            .map(|participant| &participant.user)
            .filter(|user| self.participant(user).is_some_and(|user| user.leaving))
            .cloned()
            .collect()
    }

    /// Everybody's record, as it is now.
    pub(super) fn everybody(&self) -> BTreeMap<&MimiUri, &ParticipantRecord> {
        let before = self.before.iter().flat_map(|before| before.participants.iter());
        before.chain(self.participants.iter()).collect()
    }

    /// Whether somebody comes, goes, or is something else than before.
    pub(super) fn people_changed(&self) -> bool {
        let before = |user| self.before.and_then(|before| before.participants.get(user));
        self.participants
            .iter()
            .any(|(user, now)| before(user).map_or(!now.is_nothing(), |before| before != now))
    }

    /// A participant's record, to be changed.
    pub(super) fn participant_mut(&mut self, user: &MimiUri) -> &mut ParticipantRecord {
        let before = self.before.and_then(|before| before.participants.get(user));
        self.participants
            .entry(user.clone())
            .or_insert_with(|| before.cloned().unwrap_or_else(|| ParticipantRecord::new(user)))
    }

    /// Writes an event of the graph.
    pub(super) fn pdu(&mut self, pdu: &Pdu) -> Result<(), Refusal> {
        let event_id = pdu.event_id().to_string();
        self.head.graph.events = self.head.graph.events.saturating_add(1);
        let place = key(&[&self.id().0, &self.head.graph.events.to_be_bytes()]);
        self.decision.put_bytes(
            Space::Event,
            event_id.clone().into_bytes(),
            Bytes::copy_from_slice(pdu.as_bytes()),
        );
        self.decision.put(Space::Timeline, place, &event_id)?;
        if pdu.event_type() == "m.room.create" {
            self.decision
                .put(Space::RoomIndex, graph_index_key(pdu.room_id()), &self.room.room)?;
        }
        if let Some(state_key) = pdu.state_key() {
            let place = key(&[
                &self.id().0,
                pdu.event_type().as_bytes(),
                &[0],
                state_key.as_bytes(),
            ]);
            self.decision.put(Space::StateKey, place, &event_id)?;
        }
        Ok(())
    }

    /// Makes and writes the next event; returns its id.
    pub(super) fn event(
        &mut self,
        event_type: &str,
        state_key: Option<&str>,
        content: &impl Serialize,
    ) -> Result<String, Refusal> {
        let content = serde_json::to_value(content).map_err(Refusal::internal)?;
        let pdu = graph::append(
            self.env,
            &self.room.graph,
            &mut self.head.graph,
            event_type,
            state_key,
            content,
            self.at,
        )?;
        self.pdu(&pdu)?;
        for server in &self.room.graph.servers {
            let next = &mut self.head.outbox_next;
            let room = self.room.room.as_str();
            queue_event(self.env, self.ctx, &mut self.decision, next, room, server, &pdu)?;
        }
        Ok(pdu.event_id().to_string())
    }

    /// Appends an entry to the handshake log; returns its event's id.
    pub(super) fn handshake(&mut self, entry: &Entry) -> Result<String, Refusal> {
        let seq = self.head.log.seq.saturating_add(1);
        self.head.log.term = self.env.sequencer.term()?.max(self.head.log.term);
        let mut place =
            |octets: &Option<Vec<u8>>| octets.as_ref().map(|octets| self.decision.payload(octets));
        let welcome = place(&entry.welcome);
        let group_info = place(&entry.group_info);
        let ratchet_tree = place(&entry.ratchet_tree);
        let external_proposals = place(&entry.external_proposals);
        let payload = self.decision.payload(&entry.payload);
        let mut content = Handshake {
            v: 1,
            term: Decimal(self.head.log.term),
            seq: Decimal(seq),
            prev: self.head.log.prev.clone(),
            certificate: None,
            kind: entry.kind,
            group_id: self.room.group_id.clone().unwrap_or_default(),
            epoch: Decimal(entry.epoch),
            fork_id: None,
            accepted_at: Decimal(self.at),
            payload,
            welcome,
            group_info,
            ratchet_tree,
            external_proposals,
        };
        self.fit(&mut content);
        let event_id = self.event(carrier::HANDSHAKE, None, &content)?;
        self.decision.put(
            Space::Handshake,
            key(&[&self.id().0, &seq.to_be_bytes()]),
            &event_id,
        )?;
        self.head.log.seq = seq;
        self.head.log.prev = Some(event_id.clone());
        Ok(event_id)
    }

    /// Each part may be small enough for an event and all of them together too large: then the largest go by hash.
    fn fit(&mut self, content: &mut Handshake) {
        let mut parts: Vec<&mut Payload> = [
            Some(&mut content.payload),
            content.welcome.as_mut(),
            content.group_info.as_mut(),
            content.ratchet_tree.as_mut(),
            content.external_proposals.as_mut(),
        ]
        .into_iter()
        .flatten()
        .collect();
        parts.sort_by_key(|part| std::cmp::Reverse(inline_size(part)));
        let mut total: usize = parts.iter().map(|part| inline_size(part)).sum();
        for part in parts {
            if total <= carrier::INLINE_LIMIT {
                return;
            }
            if let Payload::Inline { data: Octets(octets) } = part {
                let octets = std::mem::take(octets);
                total = total.saturating_sub(octets.len());
                let size = u32::try_from(octets.len()).unwrap_or(u32::MAX);
                *part = Payload::ByHash {
                    sha256: carrier::Sha256Hash::of(&octets),
                    size,
                };
                self.decision.blobs.push(octets.into());
            }
        }
    }

    /// Appends to the feed of this provider's users; returns the position.
    pub(super) fn feed(
        &mut self,
        event_id: Option<&str>,
        audience: Audience,
        item: FeedKind,
    ) -> Result<u64, Refusal> {
        self.feed_at(self.at, event_id, audience, item)
    }

    /// The same with the time of the entry.
    pub(super) fn feed_at(
        &mut self,
        at: u64,
        event_id: Option<&str>,
        audience: Audience,
        item: FeedKind,
    ) -> Result<u64, Refusal> {
        let pos = self.head.feed_next;
        // A Welcome wakes in its own way, and nobody is woken for what they were just told.
        let wakes = !matches!(item, FeedKind::Status { .. } | FeedKind::Welcome);
        if wakes {
            self.wake(pos, &audience, None)?;
        }
        let record = FeedRecord {
            at,
            event_id: event_id.map(str::to_owned),
            audience,
            item,
        };
        self.decision
            .put(Space::Feed, feed_key(self.id(), pos), &record)?;
        self.head.feed_next = pos.saturating_add(1);
        self.decision.feed = Some((self.room.room.clone(), self.head.feed_next));
        Ok(pos)
    }

    /// Wakes those of this provider's users who want it and whom a feed entry is for.
    pub(super) fn wake(
        &mut self,
        pos: u64,
        audience: &Audience,
        welcome: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        if self.env.wakes.is_empty() {
            return Ok(());
        }
        let users: Vec<MimiUri> = match audience {
            Audience::All => {
                let here = self
                    .everybody()
                    .into_iter()
                    .filter(|(_, participant)| participant.here);
                here.map(|(user, _)| user.clone()).collect()
            }
            Audience::Users(users) => users.iter().cloned().collect(),
        };
        for user in users {
            let devices =
                self.env
                    .wakes
                    .devices(&user, self.id(), self.env.clock.now_ms(), welcome.is_some());
            let Some(mxid) = self.env.matrix_id(&user).filter(|_| !devices.is_empty()) else {
                continue;
            };
            let content = carrier::Wake {
                room: self.room.room.as_str().to_owned(),
                pos: carrier::Decimal(pos),
                welcome: welcome
                    .filter(|octets| octets.len() <= carrier::INLINE_LIMIT)
                    .map(|octets| Octets(octets.to_vec())),
            };
            let content = serde_json::to_value(&content).map_err(Refusal::internal)?;
            for device in devices {
                let body = OutboxBody::ToDevice {
                    user: mxid.clone(),
                    txn_id: hex::encode(crate::owner::half_sha256(
                        format!("{} {pos} {device}", self.room.room.as_str()).as_bytes(),
                    )),
                    device: Some(device),
                    event_type: carrier::WAKE.to_owned(),
                    content: content.clone(),
                };
                let lane = format!("{} (wake)", self.room.room.as_str());
                self.queue_in(lane, Destination::Homeserver, body, None)?;
            }
        }
        Ok(())
    }

    /// A feed entry that tells a user how a submission stands.
    pub(super) fn status(
        &mut self,
        user: &MimiUri,
        id: &str,
        status: SubmissionState,
    ) -> Result<(), Refusal> {
        let audience = Audience::Users(BTreeSet::from([user.clone()]));
        self.feed(
            None,
            audience,
            FeedKind::Status {
                id: id.to_owned(),
                status,
            },
        )
        .map(drop)
    }

    /// Opens the feed to a user from a position on.
    pub(super) fn admit(&mut self, user: &MimiUri, first: u64) -> Result<(), Refusal> {
        self.participant_mut(user).here = true;
        self.access(user, first, None)
    }

    /// Closes the feed to a user at a position.
    pub(super) fn dismiss(
        &mut self,
        user: &MimiUri,
        access: Option<AccessRecord>,
        end: u64,
    ) -> Result<(), Refusal> {
        let participant = self.participant_mut(user);
        participant.here = false;
        participant.leaving = false;
        self.access(user, access.map_or(1, |access| access.first), Some(end))
    }

    fn access(&mut self, user: &MimiUri, first: u64, end: Option<u64>) -> Result<(), Refusal> {
        let access = AccessRecord {
            room: self.room.room.clone(),
            first,
            end,
        };
        self.decision
            .put(Space::FeedAccess, access_key(user, self.id()), &access)
    }

    /// Queues an outbox entry.
    pub(super) fn queue(
        &mut self,
        destination: Destination,
        body: OutboxBody,
        octets: Option<Payload>,
    ) -> Result<(), Refusal> {
        self.queue_in(self.room.room.as_str().to_owned(), destination, body, octets)
    }

    /// Queues an outbox entry in a queue of that name, which goes on beside the room's own.
    pub(super) fn queue_in(
        &mut self,
        lane: String,
        destination: Destination,
        body: OutboxBody,
        octets: Option<Payload>,
    ) -> Result<(), Refusal> {
        let seq = self.head.outbox_next.entry(destination.to_string()).or_insert(1);
        let record = OutboxRecord {
            destination,
            room: lane,
            seq: *seq,
            request_id: self.ctx.request_id.clone(),
            queued_at: self.at,
            octets,
            body,
        };
        *seq = seq.saturating_add(1);
        self.decision.queue(record)
    }

    /// Takes the group's snapshot into the batch.
    pub(super) fn snapshot(&mut self, group: &delivery_service::Group) -> Result<(), Refusal> {
        let bytes = group.snapshot().map_err(Refusal::internal)?;
        self.head.epoch = group.epoch().0;
        if bytes.len() <= INLINE_SNAPSHOT {
            self.head.snapshot = Some(SnapshotPlace::Inline);
            self.decision
                .put_bytes(Space::Snapshot, self.id().0.to_vec(), bytes);
        } else {
            self.head.snapshot = Some(SnapshotPlace::Blob(carrier::Sha256Hash::of(&bytes)));
            self.decision.blobs.push(bytes.into());
        }
        Ok(())
    }

    /// The decision with the changed records in it, and the changes.
    pub(crate) fn finish(mut self, reply: Reply) -> Result<(Decision, Changes), Refusal> {
        let id = self.id();
        self.decision.put(Space::RoomHead, id.0.to_vec(), &self.head)?;
        let room = match self.room {
            Cow::Borrowed(_) => None,
            Cow::Owned(room) => {
                self.decision.put(Space::Room, id.0.to_vec(), &room)?;
                Some(room)
            }
        };
        let before = self.before;
        self.participants
            .retain(|user, now| before.and_then(|before| before.participants.get(user)) != Some(now));
        for (user, participant) in &self.participants {
            let place = participant_key(id, user);
            if participant.is_nothing() {
                self.decision.delete(Space::Participant, place);
            } else {
                self.decision.put(Space::Participant, place, participant)?;
            }
        }
        self.decision.reply = reply;
        let changes = Changes {
            room,
            head: self.head,
            participants: self.participants,
        };
        Ok((self.decision, changes))
    }
}

fn inline_size(payload: &Payload) -> usize {
    match payload {
        Payload::Inline { data } => data.0.len(),
        Payload::ByHash { .. } => 0,
    }
}
