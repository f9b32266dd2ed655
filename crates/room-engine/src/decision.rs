//! Decisions: what a command comes to, before it is written.

use bytes::Bytes;
use mimi_wire::uri::MimiUri;
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};
use store::{Batch, Guard, Space};

use crate::carrier::{INLINE_LIMIT, Octets, Payload, Sha256Hash};
use crate::command::Reply;
use crate::outbox::{Destination, DestinationRecord, OutboxBody};
use crate::owner::UriKey;
use crate::records::{OutboxRecord, outbox_key};
use crate::refusal::Refusal;
use crate::views::UserNotice;

/// All that follows from one command, or from several that are decided together. It is written as one batch; nobody is
/// told anything before that.
#[derive(Debug)]
pub(crate) struct Decision {
    writes: Vec<Write>,
    outbox: Vec<OutboxRecord>,
    /// Octets to be in the blob store before the batch that refers to them.
    pub(crate) blobs: Vec<Bytes>,
    /// What the caller is told.
    pub(crate) reply: Reply,
    /// The caller is told this instead, and what the owner keeps in memory of it stays: it counts when the same comes again.
    pub(crate) turned_away: Option<Refusal>,
    /// Senders to wake.
    pub(crate) wake: BTreeSet<Destination>,
    /// A feed that grew: its readers are woken.
    pub(crate) feed: Option<(MimiUri, u64)>,
    /// Whether the homeserver inbox grew.
    pub(crate) inbox: bool,
    /// What single users are told.
    pub(crate) notices: Vec<UserNotice>,
}

#[derive(Debug)]
enum Write {
    Put(Space, Vec<u8>, Bytes),
    Delete(Space, Vec<u8>),
    Absent(Space, Vec<u8>),
}

impl Decision {
    /// A decision that changes nothing yet.
    pub(crate) fn reply(reply: Reply) -> Self {
        Self {
            writes: Vec::new(),
            outbox: Vec::new(),
            blobs: Vec::new(),
            reply,
            turned_away: None,
            wake: BTreeSet::new(),
            feed: None,
            inbox: false,
            notices: Vec::new(),
        }
    }

    /// Writes a record as JSON.
    pub(crate) fn put<T: Serialize>(&mut self, space: Space, key: Vec<u8>, value: &T) -> Result<(), Refusal> {
        let bytes = serde_json::to_vec(value).map_err(Refusal::internal)?;
        self.put_bytes(space, key, bytes);
        Ok(())
    }

    /// Nothing is decided yet.
    pub(crate) fn turned_away(refusal: Refusal) -> Self {
        Self {
            turned_away: Some(refusal),
            ..Self::reply(Reply::Done)
        }
    }

    /// Writes a record.
    pub(crate) fn put_bytes(&mut self, space: Space, key: Vec<u8>, value: impl Into<Bytes>) {
        self.writes.push(Write::Put(space, key, value.into()));
    }

    /// Deletes a record.
    pub(crate) fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.writes.push(Write::Delete(space, key));
    }

    /// Demands that a record isn't there, checked in the batch's own transaction.
    pub(crate) fn expect_absent(&mut self, space: Space, key: Vec<u8>) {
        self.writes.push(Write::Absent(space, key));
    }

    /// Writes an outbox entry, and wakes its sender when that is done.
    pub(crate) fn queue(&mut self, record: OutboxRecord) -> Result<(), Refusal> {
        let known = DestinationRecord {
            destination: record.destination.clone(),
        };
        self.put(Space::Cursor, known.destination.key().to_vec(), &known)?;
        self.wake.insert(known.destination);
        self.outbox.push(record);
        Ok(())
    }

    /// Octets as they go into a carrier event or a record: inside it, or by hash with a blob put first.
    pub(crate) fn payload(&mut self, octets: &[u8]) -> Payload {
        self.payload_up_to(INLINE_LIMIT, octets)
    }

    /// The same where the record has less room for them.
    pub(crate) fn payload_up_to(&mut self, inline: usize, octets: &[u8]) -> Payload {
        if octets.len() <= inline {
            return Payload::Inline {
                data: crate::carrier::Octets(octets.to_vec()),
            };
        }
        self.blobs.push(Bytes::copy_from_slice(octets));
        Payload::ByHash {
            sha256: Sha256Hash::of(octets),
            size: u32::try_from(octets.len()).unwrap_or(u32::MAX),
        }
    }

    /// The octets of events that are written.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Bytes> {
        self.writes.iter().filter_map(|write| match write {
            Write::Put(Space::Event, _, octets) => Some(octets),
            _ => None,
        })
    }

    /// The octets of an event as this writes it, if it does.
    pub(crate) fn event(&self, id: &str) -> Option<&Bytes> {
        self.writes.iter().rev().find_map(|write| match write {
            Write::Put(Space::Event, key, octets) if key == id.as_bytes() => Some(octets),
            _ => None,
        })
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_read(&self) -> bool {
        self.writes.is_empty() && self.outbox.is_empty()
    }

    /// About how many octets there are to write.
    pub(crate) fn size(&self) -> usize {
        let written = self.writes.iter().map(|write| match write {
            Write::Put(_, key, value) => key.len().saturating_add(value.len()),
            Write::Delete(_, key) | Write::Absent(_, key) => key.len(),
        });
        // Base64 and the other members of the record.
        let queued = self.outbox.iter().map(|record| match &record.octets {
            Some(Payload::Inline { data }) => data.0.len().saturating_mul(3) / 2,
            _ => 512,
        });
        written.chain(queued).fold(0, usize::saturating_add)
    }

    /// What was decided next by the same owner, to be written with this. The replies are the caller's to give.
    pub(crate) fn absorb(&mut self, next: Self) {
        self.writes.extend(next.writes);
        self.blobs.extend(next.blobs);
        self.wake.extend(next.wake);
        self.feed = next.feed.or(self.feed.take());
        self.inbox |= next.inbox;
        self.notices.extend(next.notices);
        for record in next.outbox {
            if !self.join_notify(&record) {
                self.outbox.push(record);
            }
        }
    }

    /// Puts the messages of a notify body behind those of the one before it: a body holds one or more (protocol-06
    /// section 5.5), and from now on they are one entry that is sent, repeated and forgotten as a whole.
    fn join_notify(&mut self, record: &OutboxRecord) -> bool {
        let before = self
            .outbox
            .iter_mut()
            .rev()
            .find(|before| before.destination == record.destination && before.room == record.room);
        let (Some(before), Some(Payload::Inline { data })) = (before, &record.octets) else {
            return false;
        };
        let Some(Payload::Inline { data: Octets(octets) }) = &mut before.octets else {
            return false;
        };
        let fits = octets.len().saturating_add(data.0.len()) <= INLINE_LIMIT;
        if before.body != OutboxBody::Notify || record.body != OutboxBody::Notify || !fits {
            return false;
        }
        octets.extend_from_slice(&data.0);
        tracing::debug!(
            request_id = %record.request_id, with = %before.request_id, destination = %record.destination,
            "is sent in one body with the one before it"
        );
        true
    }

    /// The batch, under the owner's guard. Of several writes of one record the last one stands.
    pub(crate) fn batch(&mut self, guard: Guard) -> Result<Batch, Refusal> {
        for record in std::mem::take(&mut self.outbox) {
            let place = outbox_key(&record.destination, UriKey::of_text(&record.room), record.seq);
            self.put(Space::Outbox, place, &record)?;
        }
        let mut batch = Batch::guarded(guard);
        let mut written = HashSet::new();
        let writes = std::mem::take(&mut self.writes);
        for write in writes.into_iter().rev() {
            match write {
                Write::Put(space, key, value) => {
                    if written.insert((space, key.clone())) {
                        batch.put(space, key, value);
                    }
                }
                Write::Delete(space, key) => {
                    if written.insert((space, key.clone())) {
                        batch.delete(space, key);
                    }
                }
                Write::Absent(space, key) => {
                    batch.expect_absent(space, key);
                }
            }
        }
        Ok(batch)
    }
}
