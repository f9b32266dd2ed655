//! What clients and providers saw in a story, and what must be true of it.

use super::people::Read;
use mimi_wire::codec::{Decode as _, Encode};
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{
    BundleBody, FanoutMessage, HandshakeBundle, KeyMaterialResponse, SubmitMessageRequest, UpdateOutcome,
    UpdateRoomResponse,
};
use mls_client::state::Hash;
use room_engine::FeedItem;
use room_engine::outbox::{OutboxBody, OutboxEntry};
use std::collections::{BTreeMap, BTreeSet};

type Octets = Vec<u8>;

/// Past epochs that clients keep; who commits is ahead of the feed by one.
const KEPT: u64 = 3;

/// See the module.
#[derive(Default)]
pub(super) struct History {
    /// What clients handed in as updates.
    pub(super) bundles: Vec<Octets>,
    /// What the follower handed in as messages.
    pub(super) submitted: Vec<Octets>,
    /// What the hub sent to the follower.
    pub(super) notified: Vec<Octets>,
    /// Commits that the hub answered with success, by the epoch they were made in.
    accepted: BTreeMap<u64, BTreeSet<Octets>>,
    /// KeyPackages, and the requests that got them.
    given: BTreeMap<Octets, BTreeSet<Octets>>,
    /// What arrived at the follower, by its place in the outbox.
    arrived: BTreeMap<u64, BTreeSet<Octets>>,
    /// Welcomes that somebody was given.
    welcomes: BTreeSet<Octets>,
    /// Texts whose acceptance their writer was told.
    pub(super) acknowledged: BTreeSet<String>,
    /// What everybody did, when, and whether it was done.
    pub(super) trace: Vec<String>,
}

/// The commit and the Welcome of a bundle.
fn commit_of(bundle: &[u8]) -> Option<(HandshakeBundle, Option<Octets>)> {
    let bundle = HandshakeBundle::from_bytes(bundle).ok()?;
    let welcome = match bundle.body() {
        BundleBody::Commit { welcome, .. } => welcome.as_ref().map(Encode::to_bytes),
        BundleBody::Proposal { .. } => return None,
    };
    Some((bundle, welcome))
}

impl History {
    pub(super) fn updated(&mut self, bundle: &[u8], response: &UpdateRoomResponse) {
        if let (UpdateOutcome::Success { .. }, Some((bundle, _))) = (&response.outcome, commit_of(bundle)) {
            let commit = bundle.proposal_or_commit();
            let epoch = commit.epoch().unwrap().0;
            self.accepted
                .entry(epoch)
                .or_default()
                .insert(commit.as_bytes().to_vec());
        }
    }

    pub(super) fn claimed(&mut self, request: &[u8], response: &KeyMaterialResponse) {
        for (_, package) in response.key_packages().filter(|(_, p)| !p.is_last_resort()) {
            let package = package.as_bytes().to_vec();
            self.given.entry(package).or_default().insert(request.to_vec());
        }
    }

    pub(super) fn arrives(&mut self, entry: &OutboxEntry) {
        let octets = entry.octets.0.clone();
        match entry.body {
            OutboxBody::Notify => {
                self.arrived.entry(entry.seq).or_default().insert(octets.clone());
                for message in FanoutMessage::decode_all(&octets).unwrap() {
                    let welcome = message.message().welcome();
                    self.welcomes.extend(welcome.map(|welcome| welcome.to_bytes()));
                }
                self.notified.push(octets);
            }
            _ => self.submitted.push(octets),
        }
    }

    /// What must be true, whatever happened: `feed` is the hub's order at the end.
    pub(super) fn check(&self, feed: &[FeedItem]) {
        let commits: Vec<&Octets> = feed
            .iter()
            .filter_map(|item| match item {
                FeedItem::Commit { message, .. } => Some(message),
                _ => None,
            })
            .collect();
        for pair in commits.windows(2) {
            assert_eq!(
                epoch(pair[0]) + 1,
                epoch(pair[1]),
                "an epoch has two commits or none"
            );
        }
        for (epoch, ids) in &self.accepted {
            assert_eq!(ids.len(), 1, "two commits were accepted for epoch {epoch}");
            let commit = ids.first().unwrap();
            assert!(
                commits.contains(&commit),
                "the accepted commit of epoch {epoch} is lost"
            );
        }
        for requests in self.given.values() {
            assert_eq!(requests.len(), 1, "a KeyPackage was given twice");
        }
        for (seq, bodies) in &self.arrived {
            assert_eq!(bodies.len(), 1, "entry {seq} arrived in two versions");
        }
        // Whatever was handed out before it was final would be missing where the handing node lost it.
        let known: Vec<(HandshakeBundle, Option<Octets>)> = self
            .bundles
            .iter()
            .filter_map(|bundle| commit_of(bundle))
            .collect();
        for welcome in &self.welcomes {
            let of = known.iter().find(|(_, known)| known.as_ref() == Some(welcome));
            let (bundle, _) = of.expect("a Welcome of a bundle that nobody handed in");
            let commit = bundle.proposal_or_commit().as_bytes();
            assert!(
                commits.iter().any(|there| there.as_slice() == commit),
                "a Welcome was given out whose commit is not final"
            );
        }
        // A message that the follower handed in is in the room once, however often it came.
        let messages: Vec<&Octets> = feed
            .iter()
            .filter_map(|item| match item {
                FeedItem::Message { message, .. } => Some(message),
                _ => None,
            })
            .collect();
        let once: BTreeSet<&Octets> = messages.iter().copied().collect();
        assert_eq!(once.len(), messages.len(), "a message is in the feed twice");
        for submitted in &self.submitted {
            assert!(SubmitMessageRequest::from_bytes(submitted).is_ok());
        }
    }

    /// What each of those who were there from the beginning got, in order.
    pub(super) fn check_reading(&self, feed: &[FeedItem], read: &[(&str, Vec<Read>)]) {
        let stale = stale(feed);
        for (who, messages) in read {
            // What one can't read may be the second encryption of what another one shows.
            let shown = |messages: &[Read], by: &[Read]| -> Vec<Hash> {
                let both = messages.iter().filter(|m| by.iter().any(|b| b.hash == m.hash));
                both.map(|message| message.hash).collect()
            };
            let first = &read[0];
            assert!(
                shown(messages, &first.1) == shown(&first.1, messages),
                "{who} and {} read in another order",
                first.0
            );
            for other in first
                .1
                .iter()
                .filter(|other| other.said.is_ok() && !stale.contains(&other.hash))
            {
                assert!(
                    messages.iter().any(|message| message.said == other.said),
                    "{who} lacks {:?}, which {} has",
                    other.said,
                    first.0
                );
            }
            let mut once = BTreeSet::new();
            for message in messages {
                match &message.said {
                    Ok(text) => assert!(once.insert(text), "{who} read {text} twice"),
                    Err(why) => assert!(stale.contains(&message.hash), "{who} can't read something: {why}"),
                }
            }
        }
        // Everybody got the same messages, and who wrote one can read it.
        let texts: BTreeSet<&String> = read
            .iter()
            .flat_map(|(_, messages)| messages.iter().filter_map(|message| message.said.as_ref().ok()))
            .collect();
        for text in &self.acknowledged {
            assert!(texts.contains(text), "{text} was accepted, and is lost");
        }
    }
}

/// Messages of epochs that their readers don't keep any more: accepted at a node that was cut off for longer than that.
/// Everybody gets them, and only who wrote them can read them.
fn stale(feed: &[FeedItem]) -> BTreeSet<Hash> {
    let mut now = 0;
    let mut stale = BTreeSet::new();
    for item in feed {
        match item {
            FeedItem::Commit { message, .. } => now = epoch(message) + 1,
            FeedItem::Message { message, .. } if epoch(message) + KEPT <= now => {
                stale.insert(Hash::of(message));
            }
            _ => {}
        }
    }
    stale
}

fn epoch(message: &[u8]) -> u64 {
    MlsMessage::from_bytes(message).unwrap().epoch().unwrap().0
}
