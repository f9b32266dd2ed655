//! Decisions: what a command comes to, before it is written.

use bytes::Bytes;
use mimi_wire::uri::MimiUri;
use serde::Serialize;
use std::collections::BTreeSet;
use store::{Batch, Guard, Space};

use crate::carrier::{INLINE_LIMIT, Payload, Sha256Hash};
use crate::command::Reply;
use crate::outbox::Destination;
use crate::refusal::Refusal;
use crate::views::UserNotice;

/// All that follows from one command. It is written as one batch; nobody is told anything before that.
#[derive(Debug)]
pub(crate) struct Decision {
    writes: Vec<Write>,
    /// Octets to be in the blob store before the batch that refers to them.
    pub(crate) blobs: Vec<Bytes>,
    /// What the caller is told.
    pub(crate) reply: Reply,
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
            blobs: Vec::new(),
            reply,
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

    /// Whether there is nothing to write.
    pub(crate) fn is_read(&self) -> bool {
        self.writes.is_empty()
    }

    /// The batch, under the owner's guard.
    pub(crate) fn batch(&mut self, guard: Guard) -> Batch {
        let mut batch = Batch::guarded(guard);
        for write in self.writes.drain(..) {
            match write {
                Write::Put(space, key, value) => batch.put(space, key, value),
                Write::Delete(space, key) => batch.delete(space, key),
                Write::Absent(space, key) => batch.expect_absent(space, key),
            };
        }
        batch
    }
}
