//! A group as octets.
//!
//! The format is our own: a header with a version, then sections, each with its length. The parts that are
//! openmls's are what openmls serialises for a storage, in postcard; they go back through
//! [`PublicGroup::load`], which judges nothing. That is wanted: what was accepted once stays accepted, also when the
//! key packages in the tree have expired since. A snapshot is trusted like the store it comes from.

use super::found::read_leaves;
use super::storage::{PartError, Parts};
use super::{Group, PendingProposal};
use crate::crypto;
use crate::roster::{Leaves, LeavesError, Participants};
use mimi_wire::components::ParticipantListData;
use mimi_wire::policy::RoomState;
use mimi_wire::{MimiUri, Reader};
use openmls::group::{GroupId, InterimTranscriptHash, PublicGroup, QueuedProposal};
use openmls::prelude::hash_ref::ProposalRef;
use openmls_traits::crypto::OpenMlsCrypto as _;
use serde::Serialize;
use std::collections::BTreeSet;
use tls_codec::Serialize as _;

/// What a snapshot starts with.
const MAGIC: &[u8; 4] = b"CwGs";
/// Version 1 holds the types of openmls 0.9.
const VERSION: u16 = 1;

/// A snapshot can't be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Not a snapshot at all, or cut off.
    #[error("not a group's snapshot, or cut off")]
    Format,
    /// Written by another version of this program.
    #[error("snapshot version {found}, this program reads {VERSION}")]
    Version {
        /// The version found.
        found: u16,
    },
    /// A section doesn't decode.
    #[error(transparent)]
    Part(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// The leaves are no clients.
    #[error(transparent)]
    Leaves(#[from] LeavesError),
    /// A section is there but not what it should be.
    #[error("the snapshot's {0} is not valid")]
    Invalid(&'static str),
}

impl From<PartError> for SnapshotError {
    fn from(error: PartError) -> Self {
        Self::Part(Box::new(error))
    }
}

impl From<postcard::Error> for SnapshotError {
    fn from(error: postcard::Error) -> Self {
        PartError::from(error).into()
    }
}

fn write_section(out: &mut Vec<u8>, section: &[u8]) -> Result<(), SnapshotError> {
    let length = u32::try_from(section.len()).map_err(|_| SnapshotError::Format)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(section);
    Ok(())
}

/// A value as a section, written where it belongs: the tree is too large to be copied about.
fn write_value(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), SnapshotError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    postcard::serialize_with_flavor(value, Append(out))?;
    let length = out.len().saturating_sub(start).saturating_sub(4);
    let length = u32::try_from(length).map_err(|_| SnapshotError::Format)?;
    if let Some(place) = out.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
        *place = length.to_be_bytes();
    }
    Ok(())
}

/// postcard's output at the end of octets that are there already.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, octet: u8) -> postcard::Result<()> {
        self.0.push(octet);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, octets: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(octets);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

fn read_section<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], SnapshotError> {
    let length = r.u32().map_err(|_| SnapshotError::Format)?;
    let length = usize::try_from(length).map_err(|_| SnapshotError::Format)?;
    r.take(length).map_err(|_| SnapshotError::Format)
}

/// Writes what openmls has of a group: six sections.
fn write_mls(
    out: &mut Vec<u8>,
    mls: &PublicGroup,
    queued: &[(&ProposalRef, &QueuedProposal)],
) -> Result<(), SnapshotError> {
    let context = mls.group_context();
    write_section(out, context.group_id().as_slice())?;
    write_value(out, mls.treesync())?;
    write_value(out, context)?;
    write_value(out, &interim_transcript_hash(mls)?)?;
    write_value(out, mls.confirmation_tag())?;
    write_value(out, &queued)
}

/// Reads what [`write_mls`] wrote.
fn read_mls(r: &mut Reader<'_>) -> Result<(PublicGroup, Vec<QueuedProposal>), SnapshotError> {
    let group_id = GroupId::from_slice(read_section(r)?);
    let parts = Parts {
        tree: read_section(r)?,
        context: read_section(r)?,
        interim_transcript_hash: read_section(r)?,
        confirmation_tag: read_section(r)?,
        proposals: read_section(r)?,
    };
    let mls = PublicGroup::load(&parts, &group_id)?.ok_or(SnapshotError::Invalid("group"))?;
    let queued: Vec<(ProposalRef, QueuedProposal)> = postcard::from_bytes(parts.proposals)?;
    Ok((mls, queued.into_iter().map(|(_, queued)| queued).collect()))
}

/// openmls doesn't give it out, but it follows from what it does (RFC 9420 section 8.2).
fn interim_transcript_hash(mls: &PublicGroup) -> Result<InterimTranscriptHash, SnapshotError> {
    let context = mls.group_context();
    let mut input = context.confirmed_transcript_hash().to_vec();
    mls.confirmation_tag()
        .tls_serialize(&mut input)
        .map_err(|_| SnapshotError::Invalid("confirmation tag"))?;
    crypto::provider()
        .hash(context.ciphersuite().hash_algorithm(), &input)
        .map(InterimTranscriptHash)
        .map_err(|_| SnapshotError::Invalid("transcript hash"))
}

impl Group {
    /// The whole group as octets, for [`Group::restore`]. Equal groups give equal octets.
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        let queued: Vec<(&ProposalRef, &QueuedProposal)> = self
            .pending
            .iter()
            .map(|pending| (pending.queued.proposal_reference_ref(), &pending.queued))
            .collect();
        let messages: Vec<(&[u8], u64)> = self
            .pending
            .iter()
            .map(|pending| (pending.message.as_bytes(), pending.accepted_ms))
            .collect();
        let mut out = Vec::with_capacity(self.snapshot_size());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        write_section(&mut out, self.room.as_bytes())?;
        write_mls(&mut out, &self.mls, &queued)?;
        write_value(&mut out, &messages)?;
        write_value(&mut out, &self.departing)?;
        write_section(&mut out, &self.served_group_info)?;
        Ok(out)
    }

    /// About as many octets as the snapshot will have: a leaf takes some 300.
    fn snapshot_size(&self) -> usize {
        let leaves = self.leaves.iter().count().saturating_mul(384);
        leaves
            .saturating_add(self.served_group_info.len())
            .saturating_add(4096)
    }

    /// Takes a group up again. Nothing is judged again and no clock is read.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut r = Reader::new(bytes);
        let magic: [u8; 4] = r.array().map_err(|_| SnapshotError::Format)?;
        let found = r.u16().map_err(|_| SnapshotError::Format)?;
        if magic != *MAGIC {
            return Err(SnapshotError::Format);
        }
        if found != VERSION {
            return Err(SnapshotError::Version { found });
        }
        let room = MimiUri::try_from(read_section(&mut r)?).map_err(|_| SnapshotError::Invalid("room"))?;
        let (mls, queued) = read_mls(&mut r)?;
        let messages: Vec<(Vec<u8>, u64)> = postcard::from_bytes(read_section(&mut r)?)?;
        let departing: BTreeSet<MimiUri> = postcard::from_bytes(read_section(&mut r)?)?;
        let group_info = read_section(&mut r)?.to_vec();
        r.finish().map_err(|_| SnapshotError::Format)?;

        if queued.len() != messages.len() {
            return Err(SnapshotError::Invalid("pending proposals"));
        }
        let pending = queued
            .into_iter()
            .zip(messages)
            .map(|(queued, (message, accepted_ms))| {
                PendingProposal::from_parts(&message, accepted_ms, queued)
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(SnapshotError::Invalid("pending proposals"))?;
        let leaves: Leaves = read_leaves(&mls)?;
        let nobody = Participants::new(ParticipantListData::default())
            .map_err(|_| SnapshotError::Invalid("participant list"))?;
        let mut group = Self {
            room,
            mls,
            participants: nobody,
            leaves,
            policy: RoomState::default(),
            pending,
            departing,
            served_group_info: group_info,
        };
        group
            .reload_components()
            .map_err(|_| SnapshotError::Invalid("components"))?;
        group
            .reload_policy()
            .map_err(|_| SnapshotError::Invalid("components"))?;
        Ok(group)
    }
}

#[cfg(test)]
mod passive_clients;
