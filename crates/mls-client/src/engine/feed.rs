//! Reading a room's feed: the one order in which things happened.

use super::change::{advanced, diff, snapshot};
use super::dictionary::interpret;
use super::message::Received;
use super::plan::leaving;
use super::{Engine, load};
use crate::api::{B64, FeedEntry, FeedItem, LogPage};
use crate::error::ClientError;
use crate::mls::{Held, client_of};
use crate::state::{Entry, Hash, Membership, Room, What};
use crate::wire;
use mimi_wire::components::component_id;
use openmls::prelude::{
    MlsGroup, MlsMessageBodyIn, ProcessedMessage, ProcessedMessageContent, ProtocolMessage, StagedCommit,
};
use openmls_traits::OpenMlsProvider as _;

/// How many entries of epochs to come are kept.
const FUTURE: usize = 1000;
/// How many entries are kept that come before the Welcome which lets us in: the newest.
const BEFORE_WELCOME: usize = 64;

/// Why an entry wasn't taken in.
enum Trouble {
    /// It is of an epoch to come.
    Future,
    /// We aren't in, or not any more; perhaps a Welcome is still on its way.
    Early,
    /// It can't be shown or followed; the next entries may well be.
    Entry(String),
    /// The accepted commit of our epoch can't be followed.
    Stuck(String),
    /// Ours: nothing of this page is taken in.
    Ours(ClientError),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Storage(_) | ClientError::State(_) | ClientError::NotSignedIn => Self::Ours(error),
            other => Self::Entry(other.to_string()),
        }
    }
}

impl Engine {
    /// Takes in a page of the feed and returns what is new to show, in order. The whole page is saved at once:
    /// nothing leaves this process between its entries, so none can be half taken in.
    pub fn feed(&mut self, uri: &str, page: &LogPage) -> Result<Vec<Entry>, ClientError> {
        if page.entries.is_empty() && self.room(uri)?.next >= page.next {
            return Ok(Vec::new());
        }
        self.saving(|engine| {
            let mut entries: Vec<&FeedEntry> = page.entries.iter().collect();
            entries.sort_by_key(|e| e.pos);
            let mut shown = Vec::new();
            for entry in entries {
                if entry.pos < engine.room(uri)?.next {
                    continue;
                }
                engine.take_in(uri, entry, &mut shown)?;
                engine.room_mut(uri)?.next = entry.pos.saturating_add(1);
                engine.drain_future(uri, &mut shown)?;
            }
            let room = engine.room_mut(uri)?;
            room.next = room.next.max(page.next);
            Ok(shown)
        })
    }

    /// Entries that waited for the epoch we are in now, or come to by them: what is of an epoch before the commit that
    /// ends it, which may be the one that takes us out.
    fn drain_future(&mut self, uri: &str, shown: &mut Vec<Entry>) -> Result<(), ClientError> {
        let mut reached = self.active_epoch(uri)?;
        if reached.is_none() || self.room(uri)?.future.is_empty() {
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut self.room_mut(uri)?.future);
        waiting.sort_by_cached_key(|entry| (epoch_of(&entry.item), is_commit(entry), entry.pos));
        for entry in waiting {
            let ripe = reached.is_some_and(|reached| epoch_of(&entry.item).is_none_or(|of| of <= reached));
            if !ripe {
                self.room_mut(uri)?.future.push(entry);
                continue;
            }
            self.take_in(uri, &entry, shown)?;
            if is_commit(&entry) {
                reached = self.active_epoch(uri)?;
            }
        }
        Ok(())
    }

    /// The epoch we are in, if we are in.
    fn active_epoch(&self, uri: &str) -> Result<Option<u64>, ClientError> {
        let group = self.group(uri)?.filter(|group| group.is_active());
        Ok(group.map(|group| group.epoch().as_u64()))
    }

    fn take_in(&mut self, uri: &str, entry: &FeedEntry, shown: &mut Vec<Entry>) -> Result<(), ClientError> {
        let hash = hash_of(&entry.item);
        let trouble = match self.item(uri, entry) {
            Ok(()) => None,
            Err(Trouble::Ours(error)) => return Err(error),
            Err(Trouble::Future) => {
                let room = self.room_mut(uri)?;
                if room.future.len() < FUTURE && !room.future.contains(entry) {
                    room.future.push(entry.clone());
                }
                None
            }
            Err(Trouble::Early) => {
                let room = self.room_mut(uri)?;
                if !room.future.contains(entry) {
                    room.future.push(entry.clone());
                }
                if room.future.len() > BEFORE_WELCOME {
                    room.future.remove(0);
                }
                None
            }
            Err(Trouble::Entry(reason)) => Some(reason),
            Err(Trouble::Stuck(reason)) => {
                let epoch = self.group(uri)?.map_or(0, |g| g.epoch().as_u64());
                self.room_mut(uri)?.membership = Membership::Broken {
                    epoch,
                    reason: reason.clone(),
                };
                Some(reason)
            }
        };
        let room = self.room_mut(uri)?;
        if let Some(reason) = trouble {
            tracing::warn!(room = uri, pos = entry.pos, reason, "feed entry not taken in");
            let what = What::Problem {
                what: kind_of(&entry.item).into(),
                reason,
            };
            room.history.push(Entry {
                pos: None,
                at: entry.at,
                event_id: None,
                hash,
                what,
            });
        }
        if let Some(line) = room.entry_mut(hash).filter(|line| line.pos.is_none()) {
            line.pos = Some(entry.pos);
            line.at = entry.at;
            line.event_id.clone_from(&entry.event_id);
            shown.push(line.clone());
        }
        Ok(())
    }

    fn item(&mut self, uri: &str, entry: &FeedEntry) -> Result<(), Trouble> {
        match &entry.item {
            FeedItem::Welcome {
                message,
                ratchet_tree,
            } => self.welcomed(uri, entry, message, ratchet_tree),
            FeedItem::Commit {
                message,
                external_proposals,
            } => {
                self.commit(uri, entry.at, message)?;
                self.proposals(uri, external_proposals)
            }
            FeedItem::Proposals { messages } => {
                let ours = self.room(uri)?.pending.as_ref().map(|p| p.hash);
                if messages.first().map(|m| Hash::of(&m.0)) == ours && ours.is_some() {
                    self.accepted(uri, entry.at)?;
                }
                self.proposals(uri, messages)
            }
            FeedItem::Message { message, frank } => self.message(uri, entry, message, frank.as_ref()),
            FeedItem::Status(status) => Ok(self.status(uri, status, false)?),
            // Done or declined by whoever uses this client, never by itself.
            FeedItem::Wish(_) => Ok(()),
        }
    }

    fn welcomed(&mut self, uri: &str, entry: &FeedEntry, message: &B64, tree: &B64) -> Result<(), Trouble> {
        if matches!(
            self.room(uri)?.membership,
            Membership::Member | Membership::Leaving
        ) {
            return Ok(());
        }
        let MlsMessageBodyIn::Welcome(welcome) = wire::message(&message.0)? else {
            return Err(Trouble::Entry("not a Welcome".into()));
        };
        if let Some(change) = self.welcome(uri, welcome, &tree.0)? {
            let hash = Hash::of(&message.0);
            let what = What::Change(change);
            self.room_mut(uri)?.history.push(Entry {
                pos: None,
                at: entry.at,
                event_id: None,
                hash,
                what,
            });
        }
        Ok(())
    }

    /// The group for an entry of this epoch: `None` where the entry is of before our time and passes by.
    fn group_at(
        &self,
        uri: &str,
        message: &ProtocolMessage,
        past: bool,
    ) -> Result<Option<Held<MlsGroup>>, Trouble> {
        let room = self.room(uri)?;
        let Some(group) = load(&self.mls, room)?.filter(|group| group.is_active()) else {
            return match room.membership {
                Membership::Outside | Membership::Left => Err(Trouble::Early),
                _ => Ok(None),
            };
        };
        if message.group_id() != group.group_id() {
            return Err(Trouble::Entry("it belongs to another group".into()));
        }
        let (epoch, ours) = (message.epoch().as_u64(), group.epoch().as_u64());
        if epoch > ours {
            return Err(Trouble::Future);
        }
        let passed = if past {
            epoch < room.joined_epoch
        } else {
            epoch < ours
        };
        // An external commit of ours that isn't accepted yet: the group is ahead of the feed.
        let ahead = room.membership == Membership::Joining;
        Ok((!passed && !ahead).then_some(group))
    }

    fn commit(&mut self, uri: &str, at: u64, message: &B64) -> Result<(), Trouble> {
        let hash = Hash::of(&message.0);
        let room = self.room(uri)?;
        if room.own_handshakes.contains(&hash) {
            return Ok(());
        }
        if room.pending.as_ref().is_some_and(|p| p.hash == hash) {
            return Ok(self.accepted(uri, at)?);
        }
        let message = wire::protocol_message(&message.0)?;
        self.overtaken(uri, message.epoch().as_u64())?;
        let Some(mut group) = self.group_at(uri, &message, false)? else {
            return Ok(());
        };
        let before = snapshot(&group)?;
        let leaving = leaving(&group)?;
        let (staged, by) = self.stage(&mut group, message)?;
        group
            .merge_staged_commit(&self.mls, staged)
            .map_err(|e| Trouble::Stuck(format!("the commit can't be merged: {e}")))?;
        let mut change = diff(&by, &before, &group)?;
        // The hub accepted it, so there is no way back: people have to know.
        change.strangers = strangers(&group)?;
        let room = self.room_mut(uri)?;
        if matches!(room.membership, Membership::Broken { .. }) {
            room.membership = Membership::Member;
        }
        room.departing.extend(leaving);
        advanced(room, &group)?;
        let what = What::Change(change);
        room.history.push(Entry {
            pos: None,
            at,
            event_id: None,
            hash,
            what,
        });
        Ok(())
    }

    /// A commit of this epoch that isn't ours was accepted: ours of the same epoch will not be.
    fn overtaken(&mut self, uri: &str, epoch: u64) -> Result<(), ClientError> {
        if self.room(uri)?.pending.as_ref().is_some_and(|p| p.epoch == epoch) {
            self.dropped(uri)?;
        }
        Ok(())
    }

    fn stage(
        &self,
        group: &mut MlsGroup,
        message: ProtocolMessage,
    ) -> Result<(StagedCommit, String), Trouble> {
        let fail = |e: &dyn std::fmt::Display| Trouble::Stuck(format!("the commit is not valid here: {e}"));
        let processed = group.process_message(&self.mls, message).map_err(|e| fail(&e))?;
        let by = client_of(processed.credential())?;
        let staged = match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => *staged,
            ProcessedMessageContent::UnresolvedAppDataCommit(unresolved) => {
                let proposals: Vec<_> = unresolved.app_data_update_proposals().cloned().collect();
                let mut updater = group.app_data_dictionary_updater();
                interpret(&mut updater, proposals).map_err(|e| fail(&e))?;
                let changes = updater.changes();
                group
                    .stage_app_data_commit(&self.mls, *unresolved, changes)
                    .map_err(|e| fail(&e))?
            }
            _ => return Err(Trouble::Entry("not a commit".into())),
        };
        Ok((staged, by))
    }

    fn proposals(&mut self, uri: &str, messages: &[B64]) -> Result<(), Trouble> {
        for message in messages {
            let message = wire::protocol_message(&message.0)?;
            let Some(mut group) = self.group_at(uri, &message, false)? else {
                continue;
            };
            let processed: ProcessedMessage = group
                .process_message(&self.mls, message)
                .map_err(|e| Trouble::Entry(format!("the proposal is not valid here: {e}")))?;
            let (ProcessedMessageContent::ProposalMessage(proposal)
            | ProcessedMessageContent::ExternalJoinProposalMessage(proposal)) = processed.into_content()
            else {
                return Err(Trouble::Entry("not a proposal".into()));
            };
            let known = group
                .pending_proposals()
                .any(|p| p.proposal_reference_ref() == proposal.proposal_reference_ref());
            if !known {
                group
                    .store_pending_proposal(self.mls.storage(), *proposal)
                    .map_err(|e| Trouble::Ours(ClientError::mls("store proposal")(e)))?;
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        uri: &str,
        entry: &FeedEntry,
        message: &B64,
        frank: Option<&B64>,
    ) -> Result<(), Trouble> {
        let hash = Hash::of(&message.0);
        if self.room_mut(uri)?.entry_mut(hash).is_some()
            || self.echoed(uri, hash, entry.at, frank.cloned())?
        {
            return Ok(());
        }
        let message = wire::protocol_message(&message.0)?;
        let Some(mut group) = self.group_at(uri, &message, true)? else {
            return Ok(());
        };
        let processed = group
            .process_message(&self.mls, message)
            .map_err(|e| Trouble::Entry(format!("it can't be decrypted: {e}")))?;
        let client = client_of(processed.credential())?;
        let epoch = processed.epoch().as_u64();
        let tag = processed
            .safe_aad_item(component_id::FRANK_AAD)
            .map(<[u8]>::to_vec);
        let data = match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(data) => data.into_bytes(),
            ProcessedMessageContent::OwnPrivateMessage => {
                return Err(Trouble::Entry(
                    "it is this device's own, and the device doesn't know it any more".into(),
                ));
            }
            _ => return Err(Trouble::Entry("not an application message".into())),
        };
        let received = Received {
            room: uri,
            client: &client,
            at: entry.at,
            epoch,
            data,
            tag: tag.as_deref(),
            frank,
        };
        let message = received
            .check(&group, self.mls.crypto())
            .map_err(Trouble::Entry)?;
        let room = self.room_mut(uri)?;
        if known(room, &message.message_id) {
            tracing::warn!(
                room = uri,
                pos = entry.pos,
                "a message came a second time and was left out"
            );
            return Ok(());
        }
        let what = What::Message(Box::new(message));
        room.history.push(Entry {
            pos: None,
            at: entry.at,
            event_id: None,
            hash,
            what,
        });
        Ok(())
    }
}

/// A sender that never heard of the acceptance sends again under the same message id.
fn known(room: &Room, message_id: &B64) -> bool {
    room.history
        .iter()
        .any(|e| matches!(&e.what, What::Message(m) if m.message_id == *message_id))
}

fn strangers(group: &MlsGroup) -> Result<Vec<String>, ClientError> {
    let list = super::dictionary::participants(group)?;
    let fits = |client: &String| super::change::user_of(client).is_some_and(|u| list.find(&u).is_some());
    Ok(group
        .members()
        .map(|m| client_of(&m.credential).unwrap_or_else(|_| "(unreadable)".into()))
        .filter(|c| !fits(c))
        .collect())
}

fn hash_of(item: &FeedItem) -> Hash {
    match item {
        FeedItem::Welcome { message, .. }
        | FeedItem::Commit { message, .. }
        | FeedItem::Message { message, .. } => Hash::of(&message.0),
        FeedItem::Proposals { messages } => messages.first().map_or(Hash([0; 32]), |m| Hash::of(&m.0)),
        FeedItem::Status(status) => Hash::of(status.id.as_bytes()),
        FeedItem::Wish(wish) => Hash::of(wish.id.as_bytes()),
    }
}

fn kind_of(item: &FeedItem) -> &'static str {
    match item {
        FeedItem::Welcome { .. } => "Welcome",
        FeedItem::Commit { .. } => "commit",
        FeedItem::Proposals { .. } => "proposals",
        FeedItem::Message { .. } => "message",
        FeedItem::Status(_) => "status",
        FeedItem::Wish(_) => "wish",
    }
}

fn is_commit(entry: &FeedEntry) -> bool {
    matches!(entry.item, FeedItem::Commit { .. })
}

/// The epoch a framed item is of.
fn epoch_of(item: &FeedItem) -> Option<u64> {
    let message = match item {
        FeedItem::Commit { message, .. } | FeedItem::Message { message, .. } => message,
        FeedItem::Proposals { messages } => messages.first()?,
        FeedItem::Welcome { .. } | FeedItem::Status(_) | FeedItem::Wish(_) => return None,
    };
    wire::protocol_message(&message.0)
        .ok()
        .map(|m| m.epoch().as_u64())
}
