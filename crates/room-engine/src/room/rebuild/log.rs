//! The handshake log of a MIMI room as it stands in an event graph.

use bytes::Bytes;
use delivery_service::Group;
use event_graph::{Pdu, RoomVersion};
use mimi_wire::codec::{Decode as _, Encode as _};
use mimi_wire::mls::{GroupInfo, MlsMessage};
use mimi_wire::protocol::{GroupInfoOption, HandshakeBundle, RatchetTreeOption};
use mimi_wire::uri::MimiUri;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;
use store::Space;

use super::super::graph;
use crate::carrier::{self, Handshake, HandshakeKind, Message, Payload};
use crate::engine::{Env, split_messages};
use crate::graphs::{ForeignRecord, place};
use crate::owner::UriKey;
use crate::records::each;
use crate::refusal::Refusal;

/// What of a graph makes a MIMI room.
#[derive(Default)]
pub(super) struct Found {
    /// By place in the log.
    pub(super) log: BTreeMap<u64, Place>,
    /// Application messages.
    pub(super) messages: Vec<Spoken>,
    /// Rows that are kept under their owner: what stands behind that in the key, and the value.
    pub(super) rows: Vec<(Space, Vec<u8>, Bytes)>,
    /// The newest time of any event, Unix ms.
    pub(super) newest_ts: u64,
}

/// An entry of the log, as far as it has to be in memory.
pub(super) struct Place {
    pub(super) event: String,
    pub(super) prev: Option<String>,
    pub(super) term: u64,
    pub(super) at: u64,
    /// Whether it has GroupInfo and tree.
    pub(super) begins: bool,
}

/// A message.
pub(super) struct Spoken {
    pub(super) after: Option<String>,
    pub(super) at: u64,
    pub(super) event: String,
}

pub(super) fn lacking(what: impl std::fmt::Display) -> Refusal {
    Refusal::malformed("graph", what)
}

/// A stored event of this node, whole, of this type.
fn ours<T: DeserializeOwned>(env: &Env, pdu: &Pdu, event_type: &str) -> Option<T> {
    let is_ours =
        pdu.sender() == graph::node_user(env) && pdu.event_type() == event_type && !pdu.is_redacted();
    is_ours
        .then(|| serde_json::from_value(pdu.content().to_value()).ok())
        .flatten()
}

impl Found {
    pub(super) async fn in_graph(env: &Env, graph: UriKey, record: &ForeignRecord) -> Result<Self, Refusal> {
        let version = RoomVersion::from_str(&record.graph.room_version).map_err(Refusal::internal)?;
        let store = env.store.as_ref();
        let mut found = Self::default();
        let mut events = Vec::new();
        for space in [Space::Timeline, Space::HeldEvent] {
            each(store, space, &graph.0, |key, value| {
                if space == Space::Timeline {
                    events.push(place(key, value)?.0);
                }
                let rest = key.get(graph.0.len()..).unwrap_or_default();
                found
                    .rows
                    .push((space, rest.to_vec(), Bytes::copy_from_slice(value)));
                Ok(())
            })
            .await?;
        }
        for event in events {
            let octets = store.get(Space::Event, event.to_string().as_bytes()).await?;
            if let Some(pdu) = octets.and_then(|o| Pdu::parse_trusted(&o, version).ok()) {
                found.note(env, &pdu)?;
            }
        }
        Ok(found)
    }

    fn note(&mut self, env: &Env, pdu: &Pdu) -> Result<(), Refusal> {
        self.newest_ts = self
            .newest_ts
            .max(u64::try_from(pdu.origin_server_ts()).unwrap_or(0));
        let event = pdu.event_id().to_string();
        if let Some(message) = ours::<Message>(env, pdu, carrier::MESSAGE) {
            self.messages.push(Spoken {
                after: message.after,
                at: message.accepted_at.0,
                event,
            });
        } else if let Some(entry) = ours::<Handshake>(env, pdu, carrier::HANDSHAKE) {
            let begins = matches!(entry.kind, HandshakeKind::Founding | HandshakeKind::Commit)
                && (entry.group_info.is_some() || entry.kind == HandshakeKind::Founding)
                && entry.ratchet_tree.is_some();
            let place = Place {
                event,
                prev: entry.prev,
                term: entry.term.0,
                at: entry.accepted_at.0,
                begins,
            };
            if self.log.insert(entry.seq.0, place).is_some() {
                return Err(lacking(format!(
                    "there are two entries for place {} of the log",
                    entry.seq.0
                )));
            }
        }
        Ok(())
    }

    /// Where the log can begin, and its newest place. Between them nothing is missing, and nothing is known of what
    /// would come after it.
    pub(super) fn chain(&self) -> Result<(u64, u64), Refusal> {
        let (newest, last) = self
            .log
            .last_key_value()
            .ok_or_else(|| lacking("no entry of a handshake log of this provider is in it"))?;
        let known: BTreeSet<&str> = self.log.values().map(|entry| entry.event.as_str()).collect();
        // What stands on an entry older than all that is here is from before the witness came.
        let beyond = self.messages.iter().find(|message| {
            let after = message.after.as_deref();
            message.at > last.at && after.is_some_and(|after| !known.contains(after))
        });
        if let Some(Spoken {
            after: Some(after), ..
        }) = beyond
        {
            return Err(lacking(format!(
                "a message stands on entry {after}, which is not here"
            )));
        }
        let (mut at, mut entry) = (*newest, last);
        while !entry.begins {
            let before = at.checked_sub(1).and_then(|at| Some((at, self.log.get(&at)?)));
            let Some((place, before)) = before else {
                return Err(lacking(format!(
                    "the log of it begins at place {at}, and a group can't begin there: let the witness fetch older \
                     history (scroll back in it), and join again"
                )));
            };
            if entry.prev.as_deref() != Some(before.event.as_str()) {
                return Err(lacking(format!(
                    "entry {at} of the log does not follow entry {place}"
                )));
            }
            (at, entry) = (place, before);
        }
        Ok((at, *newest))
    }

    /// The group after the newest entry.
    pub(super) async fn group(
        &self,
        env: &Env,
        room: &MimiUri,
        begin: u64,
        newest: u64,
    ) -> Result<Group, Refusal> {
        let mut group: Option<Group> = None;
        for (seq, place) in self.log.range(begin..=newest) {
            let entry: Handshake = env.carrier(Some(&place.event)).await?;
            let failed = |why: &dyn std::fmt::Display| lacking(format!("entry {seq} of the log: {why}"));
            match &mut group {
                None => {
                    let (group_info, tree) = beginning(env, &entry).await.map_err(|e| failed(&e))?;
                    let begun = Group::rebuild(&env.hub(), room, &group_info, &tree);
                    group = Some(begun.map_err(|e| failed(&e))?);
                }
                Some(group) => {
                    let (bundle, stapled) = again(env, &entry).await.map_err(|e| failed(&e))?;
                    let judged = group
                        .judge_again(&env.hub(), &bundle, stapled, place.at)
                        .map_err(|e| failed(&e))?;
                    group.apply(judged).map_err(|e| failed(&e))?;
                }
            }
        }
        group.ok_or_else(|| lacking("its log is empty"))
    }
}

/// GroupInfo and ratchet tree of an entry at which a group can begin.
async fn beginning(env: &Env, entry: &Handshake) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let tree = entry
        .ratchet_tree
        .as_ref()
        .ok_or_else(|| lacking("it has no tree"))?;
    let tree = env.octets(tree).await?;
    if entry.kind == HandshakeKind::Founding {
        return Ok((env.octets(&entry.payload).await?, tree));
    }
    let group_info = entry
        .group_info
        .as_ref()
        .ok_or_else(|| lacking("it has no GroupInfo"))?;
    match RatchetTreeOption::from_bytes(&tree).map_err(Refusal::internal)? {
        RatchetTreeOption::Full(tree) => Ok((env.octets(group_info).await?, tree.to_bytes())),
        _ => Err(lacking("its tree is elsewhere")),
    }
}

/// An entry as the bundle that it was accepted as, with the hub's own proposals that were stapled to it.
async fn again(env: &Env, entry: &Handshake) -> Result<(HandshakeBundle, Vec<MlsMessage>), Refusal> {
    let octets = env.octets(&entry.payload).await?;
    if entry.kind == HandshakeKind::Proposals {
        let mut messages = split_messages(&octets)?.into_iter();
        let first = messages.next().ok_or_else(|| lacking("it is empty"))?;
        let bundle = HandshakeBundle::proposals(first, messages.collect()).map_err(Refusal::internal)?;
        return Ok((bundle, Vec::new()));
    }
    let optional = async |payload: &Option<Payload>| match payload {
        None => Ok(None),
        Some(payload) => env.octets(payload).await.map(Some),
    };
    let commit = MlsMessage::from_bytes(&octets).map_err(Refusal::internal)?;
    let welcome = optional(&entry.welcome).await?;
    let welcome = welcome
        .map(|octets| MlsMessage::from_bytes(&octets))
        .transpose()
        .map_err(Refusal::internal)?
        .and_then(|message| message.welcome());
    let group_info = optional(&entry.group_info).await?;
    let group_info = group_info.ok_or_else(|| lacking("it has no GroupInfo"))?;
    let group_info = GroupInfo::from_bytes(&group_info).map_err(Refusal::internal)?;
    let stapled = optional(&entry.external_proposals).await?.unwrap_or_default();
    let bundle = HandshakeBundle::commit(
        commit,
        welcome,
        GroupInfoOption::Full(Box::new(group_info)),
        RatchetTreeOption::DistributionService,
    );
    Ok((bundle.map_err(Refusal::internal)?, split_messages(&stapled)?))
}
