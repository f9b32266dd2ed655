//! A room whose hub is elsewhere: what the hub sends is taken in as it comes, in its order, once.

use mimi_wire::codec::{Decode as _, Encode as _};
use mimi_wire::mls::{Content, KeyPackageRef, MlsMessage, Proposal, Sender, Welcome};
use mimi_wire::protocol::{BundleBody, FanoutBody, FanoutMessage, HandshakeBundle, RatchetTreeOption};
use mimi_wire::uri::{Domain, MimiUri};
use std::collections::{BTreeMap, BTreeSet};
use store::Space;

use super::RoomState;
use super::message::Origin;
use super::order;
use super::scribe::{Entry, Scribe};
use crate::carrier::{self, Decimal, HandshakeKind, Octets};
use crate::command::{ClientActor, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::owner::UriKey;
use crate::records::{
    AccessRecord, Audience, FeedKind, KeyPackageRefRecord, OwnCommitRecord, access_key, local_ref_key,
    notify_seen_key, own_commit_key, read,
};
use crate::refusal::Refusal;

/// Feed positions before a join that the newcomer may read: its own external commit may come back from the hub before
/// this provider has noted that it joined, and commits may overtake the Welcome.
const OVERLAP: u64 = 64;

impl RoomState {
    /// `POST notify` (protocol-06 section 5.5). Everything in the body is durable when this is done.
    pub(super) async fn notified(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        peer: &Domain,
        body: &[u8],
    ) -> Result<Decision, Refusal> {
        let seen = notify_seen_key(self.id(), peer.as_str(), body);
        if env.store.get(Space::NotifySeen, &seen).await?.is_some() {
            metrics::counter!("causeway_notify_repeated_total").increment(1);
            return Ok(Decision::reply(Reply::Done));
        }
        let messages = FanoutMessage::decode_all(body).map_err(|e| Refusal::malformed("notify body", e))?;
        let welcomes = welcomed_clients(env, &messages).await?;
        let access = self.access_of_leaving_here(env).await?;
        let mut scribe = match &self.records {
            Some(records) => Scribe::new(env, ctx, records),
            None if welcomes.values().any(|welcomed| !welcomed.clients.is_empty()) => {
                Scribe::found(env, ctx, &self.uri, None, None)?
            }
            None => return Err(Refusal::Unknown { what: "room" }),
        };
        for (index, message) in messages.into_iter().enumerate() {
            let (timestamp, message, rest) = message.into_parts();
            if scribe.is_ahead(&message)
                && let Some(own) = self.own_commit(env, scribe.head.epoch).await?
            {
                scribe.at = own.at;
                scribe.commit_taken_in(&own.message, &[], &access)?;
            }
            if scribe.is_ahead(&message) {
                if order::turned_away(&mut self.ahead_since, env.clock.now_ms()) {
                    metrics::counter!("causeway_notify_ahead_total").increment(1);
                    let refusal = Refusal::unavailable("what comes before it has not come yet");
                    return Ok(Decision::turned_away(refusal));
                }
                tracing::warn!(
                    room = %self.uri.as_str(), reached = scribe.head.epoch,
                    "what comes before a message of the hub never came; going on without it"
                );
            }
            // The hub's time is what clients verify franks with: it is conveyed unchanged.
            scribe.at = timestamp.0;
            match rest {
                FanoutBody::Application { frank } => {
                    let frank = frank.map(|frank| Octets(frank.to_bytes()));
                    scribe.taken_in(&message, frank)?;
                }
                FanoutBody::Commit { external_proposals }
                    if scribe.is_past(&message) && env.has_commit(&self.uri, &message).await? =>
                {
                    // Sent back after the own copy was taken in; what was stapled to it is new.
                    if let Some((first, rest)) = external_proposals.split_first() {
                        scribe.proposals_taken_in(first, rest)?;
                    }
                }
                FanoutBody::Commit { external_proposals } => {
                    scribe.commit_taken_in(&message, &external_proposals, &access)?;
                }
                FanoutBody::Proposal { more_proposals } => {
                    scribe.proposals_taken_in(&message, &more_proposals)?;
                }
                FanoutBody::Welcome { ratchet_tree_option } => {
                    let welcomed = welcomes.get(&index).cloned().unwrap_or_default();
                    scribe.welcome_taken_in(&message, &ratchet_tree_option, &welcomed)?;
                }
            }
        }
        let now = env.clock.now_ms();
        scribe.decision.put(Space::NotifySeen, seen, &now)?;
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        self.ahead_since = None;
        Ok(decision)
    }

    async fn access_of_leaving_here(&self, env: &Env) -> Result<BTreeMap<MimiUri, AccessRecord>, Refusal> {
        let mut access = BTreeMap::new();
        let participants = self
            .records
            .iter()
            .flat_map(|records| records.participants.values());
        for user in participants
            .filter(|user| user.leaving)
            .map(|leaving| &leaving.user)
        {
            let place = access_key(user, self.id());
            if let Some(record) = read(env.store.as_ref(), Space::FeedAccess, &place).await? {
                access.insert(user.clone(), record);
            }
        }
        Ok(access)
    }

    /// The hub accepted a bundle of an own client: who joined from outside, and who leaves, this provider can tell
    /// only from here.
    pub(super) fn follower_updated(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        who: &ClientActor,
        octets: &[u8],
        accepted_at: u64,
    ) -> Result<Decision, Refusal> {
        let bundle =
            HandshakeBundle::from_bytes(octets).map_err(|e| Refusal::malformed("handshake bundle", e))?;
        let message = bundle.proposal_or_commit();
        let joins = matches!(message.sender(), Some(Sender::NewMemberCommit));
        let leaves =
            matches!(bundle.body(), BundleBody::Proposal { .. }) && bundle.messages().any(is_self_remove);
        let known = self
            .records
            .as_ref()
            .and_then(|records| records.participants.get(&who.user))
            .is_some_and(|user| user.here);
        let epoch = message.epoch().map_or(0, |epoch| epoch.0);
        let reached = self.records.as_ref().map_or(0, |records| records.head.epoch);
        // Not sent back yet, perhaps never.
        let owed = matches!(bundle.body(), BundleBody::Commit { .. }) && reached != 0 && reached <= epoch;
        let changes = (joins && !known) || (leaves && known) || owed;
        if !changes {
            return Ok(Decision::reply(Reply::Done));
        }
        let mut scribe = if let Some(records) = &self.records {
            Scribe::new(env, ctx, records)
        } else {
            let group_id = message.group_id().map(|id| id.as_bytes().to_vec());
            Scribe::found(env, ctx, &self.uri, group_id, None)?
        };
        if owed {
            let record = OwnCommitRecord {
                at: accepted_at,
                commit: scribe.decision.payload(message.as_bytes()),
            };
            let place = own_commit_key(self.id(), epoch);
            scribe.decision.put(Space::OwnCommit, place, &record)?;
        }
        if joins && !known {
            if scribe.nobody_here() {
                // Its providers before were sent the commit, and this one was none of them.
                scribe.head.epoch = epoch.saturating_add(1);
            }
            let first = scribe.head.feed_next.saturating_sub(OVERLAP).max(1);
            scribe.admit(&who.user, first)?;
            scribe.want_portal(&who.user)?;
        }
        if leaves && known {
            scribe.participant_mut(&who.user).leaving = true;
        }
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }
}

impl Scribe<'_> {
    /// A Welcome hides the group's id; the first message shows it. Later ones must agree.
    fn learn_group(&mut self, message: &MlsMessage) -> Result<(), Refusal> {
        let Some(group_id) = message.group_id() else {
            return Ok(());
        };
        match &self.room.group_id {
            Some(known) if known.0 != group_id.as_bytes() => {
                Err(Refusal::malformed("notify body", "a message of another group"))
            }
            Some(_) => Ok(()),
            None => {
                self.room.to_mut().group_id = Some(Octets(group_id.as_bytes().to_vec()));
                self.write_room_state()
            }
        }
    }

    /// Whether the room has left the epoch of a message behind.
    fn is_past(&self, message: &MlsMessage) -> bool {
        message.epoch().is_some_and(|epoch| epoch.0 < self.head.epoch)
    }

    fn proposals_taken_in(&mut self, first: &MlsMessage, rest: &[MlsMessage]) -> Result<(), Refusal> {
        self.learn_group(first)?;
        self.reach(first);
        let epoch = first.epoch().map_or(0, |epoch| epoch.0);
        let octets = std::iter::once(first)
            .chain(rest)
            .flat_map(|m| m.as_bytes().iter().copied())
            .collect();
        let event_id = self.handshake(&Entry::new(HandshakeKind::Proposals, epoch, octets))?;
        self.feed(Some(&event_id), Audience::All, FeedKind::Proposals)
            .map(drop)
    }

    fn taken_in(&mut self, message: &MlsMessage, frank: Option<Octets>) -> Result<(), Refusal> {
        self.learn_group(message)?;
        self.reach(message);
        let content = carrier::Message {
            v: 1,
            group_id: self.room.group_id.clone().unwrap_or_default(),
            epoch: Decimal(message.epoch().map_or(0, |epoch| epoch.0)),
            after: self.head.log.prev.clone(),
            accepted_at: self.accepted_at(),
            frank,
            payload: self.decision.payload(message.as_bytes()),
        };
        self.message(&content, Origin::Elsewhere)?;
        metrics::counter!("causeway_messages_total", "lane" => "follower").increment(1);
        Ok(())
    }

    fn commit_taken_in(
        &mut self,
        message: &MlsMessage,
        external_proposals: &[MlsMessage],
        access: &BTreeMap<MimiUri, AccessRecord>,
    ) -> Result<(), Refusal> {
        self.learn_group(message)?;
        let epoch = message.epoch().map_or(0, |epoch| epoch.0);
        let mut entry = Entry::new(HandshakeKind::Commit, epoch, message.as_bytes().to_vec());
        if !external_proposals.is_empty() {
            entry.external_proposals = Some(
                external_proposals
                    .iter()
                    .flat_map(|m| m.as_bytes().iter().copied())
                    .collect(),
            );
        }
        let event_id = self.handshake(&entry)?;
        let pos = self.feed(Some(&event_id), Audience::All, FeedKind::Commit)?;
        self.head.epoch = self.head.epoch.max(epoch.saturating_add(1));
        let place = own_commit_key(UriKey::of(&self.room.room), epoch);
        self.decision.delete(Space::OwnCommit, place);
        // Nobody knows the room's head better than its hub, who has just told it.
        self.unfence();
        // The hub takes no commit that leaves out an accepted leave, so those who were leaving are gone now.
        for user in self.leaving() {
            self.dismiss(&user, access.get(&user).cloned(), pos.saturating_add(1))?;
            self.leave_portal(&user)?;
        }
        Ok(())
    }

    fn welcome_taken_in(
        &mut self,
        message: &MlsMessage,
        tree: &RatchetTreeOption,
        welcomed: &Welcomed,
    ) -> Result<(), Refusal> {
        let users: BTreeSet<MimiUri> = welcomed.clients.iter().filter_map(MimiUri::client_user).collect();
        if users.is_empty() {
            // For nobody here: taken, so that the hub doesn't try for ever, and not kept.
            metrics::counter!("causeway_welcomes_unknown_total").increment(1);
            tracing::warn!(room = %self.room.room.as_str(), "a Welcome for no KeyPackage of this provider");
            return Ok(());
        }
        if self.nobody_here() {
            // What the room was like before nobody here was in it says nothing about now.
            self.head.epoch = 0;
        }
        for reference in &welcomed.references {
            self.welcomed(Some(reference))?;
        }
        let mut entry = Entry::new(
            HandshakeKind::Welcome,
            self.head.epoch,
            message.as_bytes().to_vec(),
        );
        entry.ratchet_tree = Some(tree.to_bytes());
        let event_id = self.handshake(&entry)?;
        let audience = Audience::Users(users.clone());
        let pos = self.feed(Some(&event_id), audience.clone(), FeedKind::Welcome)?;
        self.wake(pos, &audience, Some(message.as_bytes()))?;
        for user in users {
            if !self.is_here(&user) {
                // What overtook the Welcome on its way is theirs too.
                self.admit(&user, pos.saturating_sub(OVERLAP).max(1))?;
                self.want_portal(&user)?;
            }
        }
        Ok(())
    }
}

/// Whom of this provider a Welcome is for.
#[derive(Clone, Debug, Default)]
struct Welcomed {
    clients: BTreeSet<MimiUri>,
    references: Vec<KeyPackageRef>,
}

/// The same for each Welcome, by its place in the body.
async fn welcomed_clients(
    env: &Env,
    messages: &[FanoutMessage],
) -> Result<BTreeMap<usize, Welcomed>, Refusal> {
    let mut found = BTreeMap::new();
    for (index, message) in messages.iter().enumerate() {
        let Some(welcome) = message.message().welcome() else {
            continue;
        };
        found.insert(index, clients_of(env, &welcome).await?);
    }
    Ok(found)
}

async fn clients_of(env: &Env, welcome: &Welcome) -> Result<Welcomed, Refusal> {
    let mut welcomed = Welcomed::default();
    for reference in welcome.key_package_refs() {
        let known: Option<KeyPackageRefRecord> = read(
            env.store.as_ref(),
            Space::KeyPackageRef,
            &local_ref_key(reference),
        )
        .await?;
        if let Some(known) = known {
            welcomed.clients.insert(known.client);
            welcomed.references.push(reference.clone());
        }
    }
    Ok(welcomed)
}

fn is_self_remove(message: &MlsMessage) -> bool {
    message.public_message().is_some_and(
        |public| matches!(public.content, Content::Proposal(p) if matches!(*p, Proposal::SelfRemove)),
    )
}
