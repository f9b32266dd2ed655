//! Whether the committer may do what a commit does beyond the accepted proposals it carries.

use super::commit::{Draft, Origin};
use super::{Group, View};
use crate::authorization::{Action, Authorization as _, takes_part};
use crate::identity::Client;
use crate::refusal::{NotAllowed, UpdateRefusal};
use mimi_wire::MimiUri;
use mimi_wire::components::RoleIndex;
use std::collections::BTreeSet;

impl Group {
    /// Whether `user` may do that, by the role in the effective view.
    pub(super) fn check_right(&self, user: &MimiUri, action: Action) -> Result<(), NotAllowed> {
        let role = self.role(user, View::Effective);
        if self.roles.allows(role, action) {
            Ok(())
        } else {
            Err(NotAllowed::Forbidden { role, action })
        }
    }

    /// Checks each change of a commit that the committer is the author of.
    pub(super) fn check_rights(&self, draft: &Draft) -> Result<(), UpdateRefusal> {
        let committer = draft.committer.user();
        let mut needed: Vec<Action> = Vec::new();
        if draft.is_external() {
            needed.push(Action::AddOwnClient);
            check_external(draft)?;
        }
        for change in &draft.components.list_changes {
            // The departure of somebody whose departure was accepted needs no right any more.
            let is_departure = self.departing.contains(&change.user) && !takes_part(change.to);
            if change.author == Origin::Committer && !is_departure {
                needed.push(list_action(change.from, change.to, change.user == *committer));
            }
        }
        let coming = changed(draft, |from, to| from == RoleIndex::NONE && takes_part(to));
        let going = changed(draft, |from, to| takes_part(from) && !takes_part(to));
        for added in &draft.adds {
            let user = added.client.user();
            if user == committer {
                needed.push(Action::AddOwnClient);
            } else if !coming.contains(user) {
                needed.push(Action::AddClientOfParticipant);
            }
        }
        for removal in &draft.removals {
            let user = removal.client.user();
            if removal.origin == Origin::Accepted
                || draft.is_external()
                || going.contains(user)
                || self.is_leaving(removal.leaf, user)
            {
                continue;
            }
            needed.push(if user == committer {
                Action::RemoveOwnClient
            } else {
                Action::Kick
            });
        }
        let rights = draft.components.rights.iter();
        needed.extend(
            rights
                .filter(|(origin, _)| *origin == Origin::Committer)
                .map(|(_, action)| *action),
        );
        for action in needed {
            self.check_right(committer, action)?;
        }
        Ok(())
    }
}

/// The users whose change of role is of a certain kind.
fn changed(draft: &Draft, wanted: impl Fn(RoleIndex, RoleIndex) -> bool) -> BTreeSet<&MimiUri> {
    let changes = draft.components.list_changes.iter();
    changes
        .filter(|change| wanted(change.from, change.to))
        .map(|change| &change.user)
        .collect()
}

fn list_action(from: RoleIndex, to: RoleIndex, own: bool) -> Action {
    match (from, to) {
        (RoleIndex::NONE, to) => Action::AddParticipant(to),
        (_, RoleIndex::NONE) if own => Action::Leave,
        (RoleIndex::BANNED, to) => Action::ChangeRole { from, to },
        (from, RoleIndex::NONE) => Action::RemoveParticipant(from),
        _ if own => Action::ChangeOwnRole,
        (from, to) => Action::ChangeRole { from, to },
    }
}

/// An external commit may take out its committer's own former leaf, and leaves that are going anyway.
fn check_external(draft: &Draft) -> Result<(), NotAllowed> {
    let foreign = draft
        .removals
        .iter()
        .find(|removal| removal.origin == Origin::Committer && removal.client.uri() != draft.committer.uri());
    match foreign.map(|removal| &removal.client).map(Client::uri) {
        Some(_) => Err(NotAllowed::RemovesAnother),
        None => Ok(()),
    }
}
