//! Everything of a profile besides openmls's own records. Saved with them as one, see [`crate::storage`].

use crate::api::{B64, CreateRoom, FeedEntry, ProviderInfo, Session};
use crate::error::ClientError;
use openmls::prelude::Ciphersuite;
use openmls_basic_credential::SignatureKeyPair;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The state of one device of one user.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Who we are; none before the first sign-in.
    pub account: Option<Account>,
    /// Rooms by URI.
    pub rooms: BTreeMap<String, Room>,
    /// KeyPackages made but not known to have reached the provider.
    pub upload: Vec<B64>,
}

/// A signed-in device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    /// Where the client API is.
    pub provider_url: String,
    /// PEM file of an own certificate authority to trust there.
    pub ca_file: Option<String>,
    /// What the provider said about itself.
    pub provider: ProviderInfo,
    /// Session token and our URIs.
    pub session: Session,
    /// The device's MLS signature key for suites with Ed25519.
    pub signer: SignatureKeyPair,
    /// The one for suites with ECDSA on P-256; made when it is first needed.
    #[serde(default)]
    pub p256: Option<SignatureKeyPair>,
    /// The Matrix account, for users of a homeserver.
    pub matrix: Option<MatrixSession>,
}

impl Account {
    /// The device's key that signs in groups of this suite.
    pub(crate) fn signer(&self, suite: Ciphersuite) -> Result<&SignatureKeyPair, ClientError> {
        [Some(&self.signer), self.p256.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.signature_scheme() == suite.signature_algorithm())
            .ok_or_else(|| ClientError::Mls {
                what: "sign",
                why: format!("this device has no key for {suite:?}"),
            })
    }
}

/// A Matrix account on the homeserver beside the provider.
#[derive(Clone, Serialize, Deserialize)]
pub struct MatrixSession {
    /// Base URL of the client-server API.
    pub homeserver: String,
    /// `@user:server`.
    pub user_id: String,
    /// Access token.
    pub access_token: String,
    /// PEM file of certificate authorities to trust there, instead of the public ones.
    pub ca_file: Option<String>,
}

impl std::fmt::Debug for MatrixSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MatrixSession")
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

/// A room as this device knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Room {
    /// Its URI.
    pub uri: String,
    /// The hub's domain.
    pub hub: String,
    /// Its name, where known.
    pub name: Option<String>,
    /// The Matrix room that mirrors it, where there is one.
    pub portal: Option<String>,
    /// MLS group id.
    pub group_id: B64,
    /// How this device stands in it.
    pub membership: Membership,
    /// The next position of the feed to read.
    pub next: u64,
    /// The epoch in which this device came in: what is older isn't for it.
    pub joined_epoch: u64,
    /// Users who are out, as the hub sees it, but still in the list, with no proposal that says so: the next
    /// commit has to take them out.
    #[serde(default)]
    pub departing: BTreeSet<String>,
    /// What is to be changed in the group until it has been.
    pub intent: Option<Intent>,
    /// The request under way, saved before it was sent, kept until its outcome is known.
    pub pending: Option<Pending>,
    /// The newest epoch whose card the provider has.
    #[serde(default)]
    pub card_epoch: Option<u64>,
    /// Reply key of a GroupInfo request.
    pub group_info_key: Option<GroupInfoKey>,
    /// Hashes of our own handshakes that were accepted, newest last, to know them again in the feed.
    pub own_handshakes: Vec<Hash>,
    /// Messages to be sent or not known to have been accepted.
    pub outgoing: Vec<Outgoing>,
    /// Former encryptions of own messages, newest last: a node of the hub that was cut off may have accepted one that
    /// another node refused later.
    #[serde(default)]
    pub former: Vec<Former>,
    /// What was read from the feed, and our own messages.
    pub history: Vec<Entry>,
    /// Entries of epochs we haven't reached.
    pub future: Vec<FeedEntry>,
}

/// How this device stands in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Membership {
    /// The user takes part, this device does not yet.
    Outside,
    /// The provider hasn't confirmed the founding.
    Founding(Founding),
    /// An own external commit waits for its outcome.
    Joining,
    /// A member.
    Member,
    /// Our leave was accepted; another member's commit will take us out.
    Leaving,
    /// No member any more.
    Left,
    /// An accepted commit can't be processed here; `join` comes back in by external commit.
    Broken {
        /// The epoch we are stuck in.
        epoch: u64,
        /// Why.
        reason: String,
    },
}

/// The request that founds a room, kept until the provider has confirmed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The room URI.
    pub room: String,
    /// The first GroupInfo.
    pub group_info: B64,
    /// The tree.
    pub ratchet_tree: B64,
}

impl From<&Founding> for CreateRoom {
    fn from(f: &Founding) -> Self {
        Self {
            room: f.room.clone(),
            group_info: f.group_info.clone(),
            ratchet_tree: f.ratchet_tree.clone(),
        }
    }
}

/// What is to be changed in the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Intent {
    /// Users and their clients' KeyPackages to be added.
    Add {
        /// Whom.
        users: Vec<Addition>,
    },
    /// Users to be removed with all their clients.
    Remove {
        /// User URIs.
        users: Vec<String>,
    },
    /// Users to be given other roles; who is banned loses all clients.
    Roles {
        /// User URIs with role indices.
        changes: Vec<(String, u32)>,
    },
    /// The room's name, subject or picture to be changed.
    Describe {
        /// The new name.
        name: Option<String>,
        /// The new subject.
        topic: Option<String>,
        /// The `https` address of the new picture; empty: none.
        #[serde(default)]
        picture: Option<String>,
    },
    /// This device's keys in the group to be replaced.
    RenewKeys,
    /// Proposals of others to be committed.
    Commit,
    /// This device to be taken in by external commit.
    Join,
    /// This user to be taken out.
    Leave,
}

/// A user to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addition {
    /// The user URI.
    pub user: String,
    /// Bare KeyPackages, one for each client.
    pub key_packages: Vec<B64>,
}

/// A request that changes the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// TLS `HandshakeBundle`.
    pub bundle: B64,
    /// Of the first message in it.
    pub hash: Hash,
    /// The epoch it was made in.
    pub epoch: u64,
    /// Whether it is a commit that is merged once accepted (an external commit is merged already).
    pub merge: bool,
}

/// The HPKE key a GroupInfo answer is sealed to.
#[derive(Clone, Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct GroupInfoKey {
    /// Private part.
    pub private: Vec<u8>,
    /// The request itself, TLS.
    #[zeroize(skip)]
    pub request: B64,
}

impl std::fmt::Debug for GroupInfoKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupInfoKey(…)")
    }
}

/// SHA-256 of an MLSMessage's octets, as hex in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of `octets`.
    pub fn of(octets: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(octets).into())
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(&text, &mut hash).map_err(serde::de::Error::custom)?;
        Ok(Self(hash))
    }
}

/// A message of ours on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Our id for it, the same through all attempts.
    pub id: String,
    /// The encoded content. Content, and with it the MIMI message id, stays the same through all attempts.
    pub content: B64,
    /// MIMI message id.
    pub message_id: B64,
    /// Encrypted and saved, so perhaps sent.
    pub attempt: Option<Attempt>,
    /// How many attempts there were.
    pub attempts: u32,
}

/// An encryption of an own message that another one took the place of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Our id for the message.
    pub id: String,
    /// Of the MLSMessage.
    pub hash: Hash,
    /// The encryption, as long as no other one is known to be accepted.
    pub attempt: Option<Attempt>,
}

/// One encryption of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// TLS MLSMessage.
    pub message: B64,
    /// The application data in it.
    pub data: B64,
    /// Its epoch.
    pub epoch: u64,
    /// Whether the provider is known to hold it.
    pub queued: bool,
}

/// One line of a room's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the feed; none yet for what we know only from an answer.
    pub pos: Option<u64>,
    /// Acceptance time, Unix ms.
    pub at: u64,
    /// The event that carries it.
    pub event_id: Option<String>,
    /// Of the MLSMessage.
    pub hash: Hash,
    /// What happened.
    pub what: What,
}

/// What a line of the history says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum What {
    /// A message, checked: decrypted, its sender's leaf, room and frank agree.
    Message(Box<Message>),
    /// The group went on by a commit.
    Change(Change),
    /// Something that could not be shown, and why.
    Problem {
        /// What it was.
        what: String,
        /// Why not.
        reason: String,
    },
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// User URI of the sender.
    pub sender: String,
    /// Client URI of the sender.
    pub client: String,
    /// Whether this device sent it.
    pub own: bool,
    /// This device's id for it, for own ones.
    pub id: Option<String>,
    /// MIMI message id (draft-ietf-mimi-content section 3.3).
    pub message_id: B64,
    /// Media type of the text.
    pub content_type: String,
    /// The text; for what isn't text a description in brackets.
    pub text: String,
    /// Epoch it was encrypted in.
    pub epoch: u64,
    /// The application data as decrypted, for a report.
    pub data: B64,
    /// The hub's frank, for a report.
    pub frank: Option<B64>,
}

/// What a commit changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Client URI of the committer.
    pub by: String,
    /// The new epoch.
    pub epoch: u64,
    /// Users that came.
    pub added_users: Vec<String>,
    /// Users that went.
    pub removed_users: Vec<String>,
    /// Clients that came.
    pub added_clients: Vec<String>,
    /// Clients that went.
    pub removed_clients: Vec<String>,
    /// Clients in the group that belong to no participant: the hub let something through that it should not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strangers: Vec<String>,
}

impl Room {
    /// The history in the feed's order; what has no position yet last.
    pub fn ordered(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.history.iter().collect();
        entries.sort_by_key(|e| e.pos.unwrap_or(u64::MAX));
        entries
    }

    /// Name, or the URI where there is none.
    pub fn title(&self) -> &str {
        self.name
            .as_deref()
            .filter(|n| !n.is_empty())
            .unwrap_or(&self.uri)
    }
}
