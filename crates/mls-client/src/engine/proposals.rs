//! Proposals that were accepted and wait for a commit.

use super::Engine;
use super::plan::on_our_way_out;
use crate::error::ClientError;
use crate::mls;
use crate::state::{Intent, Membership};
use openmls::prelude::{MlsGroup, QueuedProposal, Sender};
use openmls_traits::OpenMlsProvider as _;

impl Engine {
    /// Whether there are proposals of others that this client may commit, and nothing else is under way.
    pub fn can_commit(&self, uri: &str) -> Result<bool, ClientError> {
        let room = self.room(uri)?;
        if room.membership != Membership::Member || room.intent.is_some() || room.pending.is_some() {
            return Ok(false);
        }
        let departing = !room.departing.is_empty();
        let open =
            |g: &MlsGroup| g.is_active() && (departing || g.has_pending_proposals()) && !on_our_way_out(g);
        Ok(self.group(uri)?.is_some_and(|g| open(&g)))
    }

    /// Wants the proposals of others committed, if there are some that we may commit.
    pub fn commit_proposals(&mut self, uri: &str) -> Result<bool, ClientError> {
        let can = self.can_commit(uri)?;
        if can {
            self.intend(uri, Intent::Commit)?;
        }
        Ok(can)
    }

    /// References of the proposals that the next commit has to contain.
    pub fn open_proposals(&self, uri: &str) -> Result<Vec<Vec<u8>>, ClientError> {
        let Some(group) = self.group(uri)? else {
            return Ok(Vec::new());
        };
        let open = group.pending_proposals();
        Ok(open
            .map(|p| p.proposal_reference_ref().as_slice().to_vec())
            .collect())
    }

    /// Wants what was refused once more, if other proposals are open now than those (`proposals`) that the refused commit
    /// contained.
    pub fn want_again(
        &mut self,
        uri: &str,
        intent: Option<Intent>,
        proposals: &[Vec<u8>],
    ) -> Result<bool, ClientError> {
        let room = self.room(uri)?;
        let free = room.membership == Membership::Member && room.intent.is_none() && room.pending.is_none();
        let intent = intent.filter(|intent| !matches!(intent, Intent::Join | Intent::Leave));
        match intent {
            Some(intent) if free && self.open_proposals(uri)? != proposals => {
                self.intend(uri, intent)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Drops the proposals with these references; true if there were some.
    pub(super) fn forget_proposals(&mut self, uri: &str, refs: &[Vec<u8>]) -> Result<bool, ClientError> {
        let Some(mut group) = self.group(uri)? else {
            return Ok(false);
        };
        forget(&self.mls, &mut group, |proposal| {
            let reference = proposal.proposal_reference_ref().as_slice();
            refs.iter().any(|named| named == reference)
        })
    }
}

/// Drops what this client has proposed itself.
pub(super) fn forget_own_proposals(mls: &mls::Provider, group: &mut MlsGroup) -> Result<(), ClientError> {
    let own = Sender::Member(group.own_leaf_index());
    forget(mls, group, |proposal| *proposal.sender() == own).map(drop)
}

/// Drops the proposals that are meant; true if there were some.
fn forget(
    mls: &mls::Provider,
    group: &mut MlsGroup,
    meant: impl Fn(&QueuedProposal) -> bool,
) -> Result<bool, ClientError> {
    let refs: Vec<_> = group
        .pending_proposals()
        .filter(|proposal| meant(proposal))
        .map(|proposal| proposal.proposal_reference_ref().clone())
        .collect();
    for reference in &refs {
        group
            .remove_pending_proposal(mls.storage(), reference)
            .map_err(ClientError::mls("forget proposal"))?;
    }
    Ok(!refs.is_empty())
}
