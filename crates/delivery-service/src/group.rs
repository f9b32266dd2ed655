//! One room's MLS group as its hub sees it.

mod commit;
mod components;
mod context;
mod found;
mod group_info;
mod judge;
mod message;
mod pending;
mod policy;
mod proposals;
mod rebuild;
mod removal;
mod serve;
mod snapshot;
mod storage;
mod tree_hash;
mod verdict;

pub use message::MessageSettings;
pub use pending::PendingProposal;
pub use snapshot::SnapshotError;
pub use verdict::{AddedClient, ApplyError, Judged, JudgedCommit, JudgedProposals, ParticipantChange};

use crate::identity::Client;
use crate::roster::{Leaves, Participants};
use mimi_wire::components::{FrankingAgentData, RoleIndex, component_id};
use mimi_wire::mls::{CipherSuite, Epoch, GroupId};
use mimi_wire::policy::{Capability, RoomState};
use mimi_wire::{Decode as _, Domain, MimiUri};
use openmls::group::PublicGroup;
use std::collections::BTreeSet;

/// Which state of a room is asked for (draft-ietf-mimi-protocol-06 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// What the last commit left: what MLS goes by.
    Committed,
    /// That, and the proposals accepted since: what admission goes by. Who leaves or is removed is out at once.
    Effective,
}

/// A room's MLS group: the public part that a hub can follow, what the room's components say, and the accepted
/// proposals that the next commit has to carry.
///
/// It changes only through [`Group::apply`], with what [`Group::judge`] or [`Group::propose_removal`] returned.
/// Whatever is refused changes nothing.
#[derive(Debug)]
pub struct Group {
    room: MimiUri,
    mls: PublicGroup,
    participants: Participants,
    leaves: Leaves,
    /// Over the effective participants.
    policy: RoomState,
    /// Accepted, not yet committed, in the order of acceptance.
    pending: Vec<PendingProposal>,
    /// In the committed list, out of the effective one.
    departing: BTreeSet<MimiUri>,
    /// The GroupInfo of this epoch, without ratchet tree.
    served_group_info: Vec<u8>,
}

impl Group {
    /// The room.
    pub fn room_uri(&self) -> &MimiUri {
        &self.room
    }

    /// The group's identifier.
    pub fn group_id(&self) -> GroupId {
        GroupId::from(self.mls.group_id().as_slice().to_vec())
    }

    /// The current epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.mls.group_context().epoch().as_u64())
    }

    /// The group's cipher suite.
    pub fn cipher_suite(&self) -> CipherSuite {
        CipherSuite(self.mls.ciphersuite().into())
    }

    /// The participant list in its order, banned users included.
    pub fn participants(&self, view: View) -> impl Iterator<Item = (&MimiUri, RoleIndex)> {
        self.participants
            .iter()
            .filter(move |(user, _)| !self.is_out(user, view))
    }

    /// A user's role; [`RoleIndex::NONE`] for one who is not in the list.
    pub fn role(&self, user: &MimiUri, view: View) -> RoleIndex {
        if self.is_out(user, view) {
            RoleIndex::NONE
        } else {
            self.participants.role(user)
        }
    }

    /// Whether a user takes part: is in the list and not banned.
    pub fn is_participant(&self, user: &MimiUri, view: View) -> bool {
        policy::takes_part(self.role(user, view))
    }

    /// The clients of a user in the committed tree.
    pub fn clients_of(&self, user: &MimiUri) -> impl Iterator<Item = &Client> {
        self.leaves.of_user(user).map(|(_, client)| client)
    }

    /// All clients in the committed tree.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.leaves.iter().map(|(_, client)| client)
    }

    /// Whether a client is in the committed tree.
    pub fn has_client(&self, client: &MimiUri) -> bool {
        self.leaves.leaf_of(client).is_some()
    }

    /// The providers of participants who have clients: where commits, proposals and messages go.
    pub fn providers(&self, view: View) -> BTreeSet<Domain> {
        match view {
            View::Committed => self.leaves.providers_without([]),
            View::Effective => self.leaves.providers_without(&self.departing),
        }
    }

    /// The providers that may be sent application messages: those of users whose role may receive them.
    pub fn receivers(&self) -> BTreeSet<Domain> {
        self.leaves
            .providers_of(|user| self.has_capability(user, Capability::RECEIVE_MESSAGE))
    }

    /// The accepted proposals that wait for a commit, in the order of acceptance.
    pub fn pending_proposals(&self) -> &[PendingProposal] {
        &self.pending
    }

    /// Who is out of the effective participant list but still in the committed one: the next member's commit has
    /// to take them out.
    pub fn departing(&self) -> impl Iterator<Item = &MimiUri> {
        self.departing.iter()
    }

    /// Whether a user takes part and may report abuse, in the effective view.
    pub fn may_report(&self, user: &MimiUri) -> bool {
        self.is_participant(user, View::Effective) && self.has_capability(user, Capability::REPORT_ABUSE)
    }

    /// Who franks application messages in this room; nobody without a franking agent.
    pub fn franking_agent(&self) -> Option<FrankingAgentData> {
        let octets = self.component(component_id::FRANKING_AGENT)?;
        FrankingAgentData::from_bytes(octets).ok()
    }

    /// The GroupInfo of this epoch, without ratchet tree.
    pub fn group_info(&self) -> &[u8] {
        &self.served_group_info
    }

    fn is_out(&self, user: &MimiUri, view: View) -> bool {
        view == View::Effective && self.departing.contains(user)
    }
}
