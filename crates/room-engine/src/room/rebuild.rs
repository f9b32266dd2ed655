//! Making a room of which this provider is the hub again from its event graph, when the store is lost.
//!
//! A witness holds the graph, and with it the handshake log: entries of this provider's own nodes, each naming the one
//! before it. A new node with the provider's keys takes part in the graph (`join` with history) and makes the room from
//! what it got. What Matrix thinks of an entry (rejected, soft-failed, state) does not matter, only that it is ours, whole,
//! and in its place.
//!
//! What only the store had is gone: accounts, key packages, how submissions stood, and what had not reached the witness.
//! docs/decisions/0050.

use delivery_service::{Group, View};
use mimi_wire::codec::Decode as _;
use mimi_wire::components::{ParticipantListData, component_id};
use mimi_wire::mls::{Content, GroupInfo, MlsMessage, Proposal, ProposalOrRef, PublicMessage, Sender};
use mimi_wire::uri::{Domain, MimiUri};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use store::Space;

use super::RoomState;
use super::face::RoomFace;
use super::scribe::Scribe;
use crate::carrier::{Handshake, HandshakeKind, Octets};
use crate::command::{Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::graphs::{ForeignRecord, graph_index_key};
use crate::owner::UriKey;
use crate::records::{
    Audience, FeedKind, LogRecord, PortalState, ROOM_VERSION, RoomHead, RoomRecord, key, read,
};
use crate::refusal::Refusal;
use crate::views::RebuiltRoom;

mod log;

use log::{Found, Spoken, lacking};

/// What the create event says of the MIMI room.
#[derive(Deserialize)]
pub(crate) struct About {
    pub(crate) room: MimiUri,
}

impl RoomState {
    /// Makes the room from a graph that this node has joined. `dry`: says what would come of it, and writes nothing.
    pub(super) async fn rebuild(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        graph_id: &str,
        dry: bool,
    ) -> Result<Decision, Refusal> {
        if self.records.is_some() {
            return Err(Refusal::Conflict { what: "the room" });
        }
        let from = UriKey::of_text(graph_id);
        let record: ForeignRecord = read(env.store.as_ref(), Space::GraphRoom, &from.0)
            .await?
            .ok_or(Refusal::Unknown { what: "graph" })?;
        if !record.graph.joined || record.graph.member.is_empty() || record.graph.power_levels.is_empty() {
            return Err(lacking("this node is not in it: join it"));
        }
        let found = Found::in_graph(env, from, &record).await?;
        let (begin, newest) = found.chain()?;
        let group = found.group(env, &self.uri, begin, newest).await?;
        let rebuilt = RebuiltRoom {
            room: self.uri.clone(),
            epoch: group.epoch().0,
            entries: newest,
            begins_at: begin,
            messages: found.messages.len(),
            peers: peers(&group, &env.config.provider),
        };
        if dry {
            return Ok(Decision::reply(Reply::Rebuilt(Box::new(rebuilt))));
        }
        let last = found.log.get(&newest).ok_or_else(|| lacking("it has no log"))?;
        let room = RoomRecord {
            v: ROOM_VERSION,
            room: self.uri.clone(),
            name: None,
            group_id: Some(Octets(group.group_id().as_bytes().to_vec())),
            created_at: record.created_at,
            graph: record.graph.clone(),
            portal: if env.config.homeserver.is_some() {
                PortalState::Unbridged
            } else {
                PortalState::None
            },
            face: RoomFace::default(),
        };
        let mut head = RoomHead {
            epoch: group.epoch().0,
            graph: record.head.clone(),
            log: LogRecord {
                term: last.term,
                seq: newest,
                prev: Some(last.event.clone()),
            },
            // Above every position that the lost feed can have had: clients read on from where they were.
            feed_next: env.clock.now_ms(),
            unfenced: env.fence.free(),
            ..RoomHead::default()
        };
        head.graph.newest_ts = head.graph.newest_ts.max(found.newest_ts);
        let mut scribe = Scribe::on_nothing(env, ctx, room, head);
        scribe.at = scribe.at.max(last.at);
        scribe.graph_moves(from, graph_id, &found)?;
        for (seq, entry) in &found.log {
            let place = key(&[&scribe.id().0, &seq.to_be_bytes()]);
            scribe.decision.put(Space::Handshake, place, &entry.event)?;
        }
        for (user, role) in group.participants(View::Effective) {
            scribe.participant_mut(user).role = role.0;
        }
        let first_seen = scribe.told_again(&found).await?;
        let own: Vec<MimiUri> = group
            .participants(View::Effective)
            .map(|(user, _)| user.clone())
            .filter(|user| user.domain() == env.config.provider)
            .collect();
        for user in own {
            // Whose joining is not in the log any more was there before it begins.
            scribe.admit(&user, first_seen.get(&user).copied().unwrap_or_default())?;
        }
        scribe.face_of(&group)?;
        scribe.snapshot(&group)?;
        tracing::warn!(
            request_id = %ctx.request_id, room = self.uri.as_str(), graph = graph_id, epoch = rebuilt.epoch,
            entries = newest, messages = rebuilt.messages, "audit: the room was made again from its graph"
        );
        let (decision, changes) = scribe.finish(Reply::Rebuilt(Box::new(rebuilt)))?;
        self.take(changes);
        self.group = Some(group);
        Ok(decision)
    }
}

/// The other providers that take part, and so know how far the room had come.
fn peers(group: &Group, own: &Domain) -> BTreeSet<Domain> {
    let mut peers = group.providers(View::Committed);
    peers.remove(own);
    peers
}

impl Scribe<'_> {
    /// The graph belongs to the room from now on.
    fn graph_moves(&mut self, from: UriKey, graph_id: &str, found: &Found) -> Result<(), Refusal> {
        let to = self.id();
        for (space, rest, value) in &found.rows {
            self.decision.delete(*space, key(&[&from.0, rest]));
            self.decision
                .put_bytes(*space, key(&[&to.0, rest]), value.clone());
        }
        self.decision.delete(Space::GraphRoom, from.0.to_vec());
        let room = self.room.room.clone();
        self.decision
            .put(Space::RoomIndex, graph_index_key(graph_id), &room)
    }

    /// The feed, from what the graph has. Gives from where on each own user whose joining is in it may read.
    async fn told_again(&mut self, found: &Found) -> Result<BTreeMap<MimiUri, u64>, Refusal> {
        let mut by_entry: BTreeMap<Option<&str>, Vec<&Spoken>> = BTreeMap::new();
        for message in &found.messages {
            by_entry
                .entry(message.after.as_deref())
                .or_default()
                .push(message);
        }
        for messages in by_entry.values_mut() {
            messages.sort_by(|a, b| (a.at, &a.event).cmp(&(b.at, &b.event)));
        }
        let mut first_seen = BTreeMap::new();
        let begin = self.head.feed_next;
        // Those on entries that are not here are older than those that are.
        let known: BTreeSet<&str> = found.log.values().map(|entry| entry.event.as_str()).collect();
        for (after, messages) in &by_entry {
            if after.is_none_or(|after| !known.contains(after)) {
                self.spoken_again(messages)?;
            }
        }
        for place in found.log.values() {
            self.entry_again(&place.event, begin, &mut first_seen).await?;
            if let Some(messages) = by_entry.get(&Some(place.event.as_str())) {
                self.spoken_again(messages)?;
            }
        }
        Ok(first_seen)
    }

    fn spoken_again(&mut self, messages: &[&Spoken]) -> Result<(), Refusal> {
        for message in messages {
            self.feed_at(message.at, Some(&message.event), Audience::All, FeedKind::Message)?;
        }
        Ok(())
    }

    async fn entry_again(
        &mut self,
        event: &str,
        begin: u64,
        first_seen: &mut BTreeMap<MimiUri, u64>,
    ) -> Result<(), Refusal> {
        let entry: Handshake = self.env.carrier(Some(event)).await?;
        let at = entry.accepted_at.0;
        match entry.kind {
            HandshakeKind::Founding => {
                let octets = self.env.octets(&entry.payload).await?;
                if let Some(creator) = creator(&octets) {
                    first_seen.entry(creator).or_insert(begin);
                }
            }
            HandshakeKind::Welcome => {}
            HandshakeKind::Proposals => {
                self.feed_at(at, Some(event), Audience::All, FeedKind::Proposals)?;
            }
            HandshakeKind::Commit => {
                let octets = self.env.octets(&entry.payload).await?;
                let newcomers = MlsMessage::from_bytes(&octets)
                    .ok()
                    .and_then(|commit| commit.public_message())
                    .map(|commit| newcomers(&commit))
                    .unwrap_or_default();
                let pos = self.feed_at(at, Some(event), Audience::All, FeedKind::Commit)?;
                let own = &self.env.config.provider;
                let welcomed: BTreeSet<MimiUri> = newcomers
                    .welcomed
                    .iter()
                    .filter(|user| user.domain() == *own)
                    .cloned()
                    .collect();
                if !welcomed.is_empty() && entry.welcome.is_some() {
                    self.feed_at(at, Some(event), Audience::Users(welcomed), FeedKind::Welcome)?;
                }
                for user in newcomers.welcomed.into_iter().chain(newcomers.joined) {
                    first_seen.entry(user).or_insert(pos.saturating_add(1));
                }
            }
        }
        Ok(())
    }
}

/// Whom a commit brings in.
#[derive(Default)]
struct Newcomers {
    /// With a KeyPackage.
    welcomed: BTreeSet<MimiUri>,
    /// By external commit.
    joined: BTreeSet<MimiUri>,
}

fn user_of(identity: Option<&[u8]>) -> Option<MimiUri> {
    MimiUri::try_from(identity?).ok()?.client_user()
}

fn newcomers(commit: &PublicMessage) -> Newcomers {
    let mut found = Newcomers::default();
    let Content::Commit(content) = &commit.content else {
        return found;
    };
    for item in &content.proposals {
        if let ProposalOrRef::Proposal(Proposal::Add(key_package)) = item {
            found
                .welcomed
                .extend(user_of(key_package.content().leaf_node.credential.identity()));
        }
    }
    if matches!(commit.sender, Sender::NewMemberCommit)
        && let Some(path) = &content.path
    {
        found.joined.extend(user_of(path.leaf_node.credential.identity()));
    }
    found
}

/// The only participant of a founding GroupInfo.
fn creator(group_info: &[u8]) -> Option<MimiUri> {
    let list: ParticipantListData = GroupInfo::from_bytes(group_info)
        .ok()?
        .app_data()?
        .ok()?
        .get_as(component_id::PARTICIPANT_LIST)?
        .ok()?;
    list.participants.into_iter().next().map(|one| one.user)
}
