//! What clients and providers saw in a story, and what must be true of it.

use super::finality::Finality;
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
    /// What clients handed in as updates, with the room.
    pub(super) bundles: Vec<(String, Octets)>,
    /// What the follower handed in as messages, with the room.
    pub(super) submitted: Vec<(String, Octets)>,
    /// What the hub sent to the follower, with the room.
    pub(super) notified: Vec<(String, Octets)>,
    /// Commits that the hub answered with success, by room and the epoch they were made in.
    accepted: BTreeMap<(String, u64), BTreeSet<Octets>>,
    /// KeyPackages, and the requests that got them.
    given: BTreeMap<Octets, BTreeSet<Octets>>,
    /// What arrived at the follower, by its room and place there.
    arrived: BTreeMap<(String, u64), BTreeSet<Octets>>,
    /// Texts whose acceptance their writer was told, with the room.
    pub(super) acknowledged: BTreeSet<(String, String)>,
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
    /// An update was answered; what the answer speaks of must be final by now.
    pub(super) fn updated(
        &mut self,
        room: &str,
        bundle: &[u8],
        response: &UpdateRoomResponse,
        finality: &Finality,
    ) {
        let Some((bundle, _)) = commit_of(bundle) else {
            return;
        };
        let commit = bundle.proposal_or_commit();
        match response.outcome {
            UpdateOutcome::Success { .. } => {
                assert!(
                    finality.of(commit.as_bytes()),
                    "a commit was acknowledged that is not final"
                );
                self.accepted
                    .entry((room.to_owned(), commit.epoch().unwrap().0))
                    .or_default()
                    .insert(commit.as_bytes().to_vec());
            }
            UpdateOutcome::WrongEpoch { current_epoch } => {
                let began = self
                    .commits(room)
                    .any(|commit| epoch(&commit) + 1 == current_epoch.0 && finality.of(&commit));
                assert!(
                    current_epoch.0 == 0 || began,
                    "somebody was told of epoch {}, which is not final",
                    current_epoch.0
                );
            }
            _ => {}
        }
    }

    /// The commits that clients handed in for a room.
    fn commits(&self, room: &str) -> impl Iterator<Item = Octets> {
        let bundles = self.bundles.iter().filter(move |(of, _)| of == room);
        let bundles = bundles.filter_map(|(_, bundle)| commit_of(bundle));
        bundles.map(|(bundle, _)| bundle.proposal_or_commit().as_bytes().to_vec())
    }

    /// A Welcome is given to somebody; its commit must be final by now.
    pub(super) fn welcomed(&self, message: &MlsMessage, finality: &Finality) {
        let Some(welcome) = message.welcome().map(|welcome| welcome.to_bytes()) else {
            return;
        };
        let mut known = self.bundles.iter().filter_map(|(_, bundle)| commit_of(bundle));
        let of = known.find(|(_, known)| known.as_ref() == Some(&welcome));
        let (bundle, _) = of.expect("a Welcome of a bundle that nobody handed in");
        assert!(
            finality.of(bundle.proposal_or_commit().as_bytes()),
            "a Welcome was given out before its commit was final"
        );
    }

    pub(super) fn claimed(&mut self, request: &[u8], response: &KeyMaterialResponse) {
        for (_, package) in response.key_packages().filter(|(_, p)| !p.is_last_resort()) {
            let package = package.as_bytes().to_vec();
            self.given.entry(package).or_default().insert(request.to_vec());
        }
    }

    pub(super) fn arrives(&mut self, entry: &OutboxEntry, finality: &Finality) {
        let (room, octets) = (entry.room.clone(), entry.octets.0.clone());
        match entry.body {
            OutboxBody::Notify => {
                let place = (room.clone(), entry.seq);
                self.arrived.entry(place).or_default().insert(octets.clone());
                for message in FanoutMessage::decode_all(&octets).unwrap() {
                    self.welcomed(message.message(), finality);
                }
                self.notified.push((room, octets));
            }
            _ => self.submitted.push((room, octets)),
        }
    }

    /// What must be true of a room, whatever happened: `feed` is the hub's order at the end.
    pub(super) fn check(&self, room: &str, feed: &[FeedItem], finality: &Finality) {
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
        for ((_, epoch), ids) in self.accepted.iter().filter(|((of, _), _)| of == room) {
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
        for (place, bodies) in &self.arrived {
            assert_eq!(bodies.len(), 1, "entry {place:?} arrived in two versions");
        }
        for known in self.commits(room).filter(|commit| finality.knew(commit)) {
            assert!(commits.contains(&&known), "a commit that was final is lost");
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
        for (_, submitted) in &self.submitted {
            assert!(SubmitMessageRequest::from_bytes(submitted).is_ok());
        }
    }

    /// What each of those who were there from the beginning got, in order.
    pub(super) fn check_reading(&self, room: &str, feed: &[FeedItem], read: &[(&str, Vec<Read>)]) {
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
        for (_, text) in self.acknowledged.iter().filter(|(of, _)| of == room) {
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
