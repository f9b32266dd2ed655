//! What readers of the engine get: copies, no handles into its memory.

use mimi_wire::uri::{Domain, MimiUri};
use serde::Serialize;
use std::collections::BTreeSet;

use crate::carrier::SubmissionState;
use crate::command::ClientActor;
use crate::consent::{Answer, ConsentRecord, RequiredOf, Sent};
use crate::search::{ProfileField, SearchMode};

/// A room as an operator or a face sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomView {
    /// The room URI.
    pub room: MimiUri,
    /// Its hub.
    pub hub: Domain,
    /// Whether this provider is the hub.
    pub is_hub: bool,
    /// Name, where known.
    pub name: Option<String>,
    /// MLS group id, once known.
    pub group_id: Option<Vec<u8>>,
    /// The group's cipher suite, where known: the hub knows it.
    pub suite: Option<u16>,
    /// Newest epoch known here.
    pub epoch: u64,
    /// Matrix room id of the graph.
    pub graph: String,
    /// Room version of the graph.
    pub room_version: String,
    /// Events in the graph.
    pub events: u64,
    /// Its forward extremities.
    pub heads: Vec<String>,
    /// Entries of the handshake log.
    pub log_entries: u64,
    /// Matrix room id of the portal, where there is one.
    pub portal: Option<String>,
    /// How the portal stands: `none`, `wanted`, `linked`, `closing`, `unbridged`.
    pub portal_state: &'static str,
    /// Participants with their roles; at a follower only this provider's own (role unknown: none).
    pub participants: Vec<(MimiUri, Option<u32>)>,
    /// Position after the newest feed entry.
    pub feed_next: u64,
    /// Restored from a backup, and not known yet to be up to date: the room takes no handshakes.
    pub fenced: bool,
    /// While it is fenced: a later epoch that somebody has shown.
    pub ahead: Option<u64>,
}

/// A room as one of its users may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRoom {
    /// The room.
    pub view: RoomView,
    /// First feed position that the user may read.
    pub first: u64,
    /// Position after the last that the user may read.
    pub next: u64,
    /// Whether the user still takes part.
    pub joined: bool,
}

/// What a member's client knows of a room whose hub is elsewhere, for the portal to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomCard {
    /// The epoch it is of.
    pub epoch: u64,
    /// The room's name.
    pub name: Option<String>,
    /// Its subject.
    pub topic: Option<String>,
    /// The `https` address of its picture.
    pub picture: Option<String>,
    /// The `roles_list` component's data.
    pub roles: Option<Vec<u8>>,
    /// Participants with their roles.
    pub participants: Vec<(MimiUri, u32)>,
}

/// What a room's portal has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalWanted {
    /// The room.
    pub room: MimiUri,
    /// Matrix room id of the portal.
    pub portal: String,
    /// Changes with everything below.
    pub revision: u64,
    /// Name.
    pub name: Option<String>,
    /// Topic.
    pub topic: Option<String>,
    /// The `https` address of its picture.
    pub picture: Option<String>,
    /// Content of `org.causeway.room`.
    pub info: serde_json::Value,
    /// Who is to be seen, by Matrix user id.
    pub members: std::collections::BTreeMap<String, PortalMember>,
    /// Levels that actions take.
    pub thresholds: crate::room::Thresholds,
    /// Whether it is listed in the homeserver's directory.
    pub published: bool,
}

/// What became of a picture that a user of this provider set in a portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureKept {
    /// Matrix room id of the portal.
    pub portal: String,
    /// Who set it.
    pub user: MimiUri,
    /// The event that set it.
    pub event_id: String,
    /// Where it is kept, or why it isn't.
    pub address: Result<String, String>,
}

/// One who is to be seen in a portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalMember {
    /// The MIMI user.
    pub user: MimiUri,
    /// Whether it is a user of another provider, shown as a ghost.
    pub ghost: bool,
    /// Whether the room has banned them.
    pub banned: bool,
    /// Power level.
    pub level: i64,
}

/// A page of a room's feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedPage {
    /// Entries in order.
    pub entries: Vec<FeedEntry>,
    /// Where to go on.
    pub next: u64,
}

/// An entry of a room's feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its position.
    pub pos: u64,
    /// The hub's acceptance time, Unix ms.
    pub at: u64,
    /// The carrier event.
    pub event_id: Option<String>,
    /// What it is.
    pub item: FeedItem,
}

/// What a feed entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedItem {
    /// A Welcome for one of the reader's clients.
    Welcome {
        /// MLSMessage.
        message: Vec<u8>,
        /// TLS RatchetTreeOption.
        ratchet_tree: Vec<u8>,
    },
    /// An accepted commit.
    Commit {
        /// MLSMessage.
        message: Vec<u8>,
        /// The hub's proposals for the new epoch (MLSMessages).
        external_proposals: Vec<Vec<u8>>,
    },
    /// Accepted proposals (MLSMessages).
    Proposals {
        /// An atomic list.
        messages: Vec<Vec<u8>>,
    },
    /// An application message.
    Message {
        /// MLSMessage.
        message: Vec<u8>,
        /// TLS Frank.
        frank: Option<Vec<u8>>,
    },
    /// How a submission of the reader's stands.
    Status {
        /// The client's id of it.
        id: String,
        /// Where it stands.
        state: SubmissionState,
    },
    /// Somebody asked in the portal for what only a client of the reader's can do.
    Wish {
        /// What.
        wish: Box<crate::wish::Wish>,
    },
}

/// A new session. Debug hides the token.
#[derive(Clone)]
pub struct Session {
    /// The bearer token; only its hash is stored.
    pub token: String,
    /// Whose it is.
    pub who: ClientActor,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}

/// How a sign-in ended.
#[derive(Clone, Debug)]
pub enum SignIn {
    /// Signed in.
    Session(Session),
    /// The device has to repeat this nonce to the bot first.
    Challenge {
        /// What to repeat.
        nonce: String,
    },
}

/// An account of this provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountView {
    /// The user URI.
    pub user: MimiUri,
    /// Whether it signs in with a local token (otherwise through Matrix).
    pub local: bool,
    /// Unix ms.
    pub created_at: u64,
    /// Devices it has signed in with.
    pub devices: usize,
}

/// A device of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// The client URI.
    pub client: MimiUri,
    /// First sign-in, Unix ms.
    pub created_at: u64,
    /// Its KeyPackages.
    pub stock: KeyPackageStock,
}

/// KeyPackages in stock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyPackageStock {
    /// One-time, unexpired, of all suites.
    pub available: u32,
    /// Whether a last-resort KeyPackage is there, of each suite of which there is any.
    pub last_resort: bool,
    /// Whether a last-resort KeyPackage has been handed out: it should be replaced.
    pub last_resort_used: bool,
    /// Whether the client should upload more now, of any of the suites of which there is any.
    pub low: bool,
    /// By suite: each of which KeyPackages are taken, best first.
    pub suites: Vec<SuiteStock>,
}

impl KeyPackageStock {
    /// One-time ones of the suite that has fewest, of those of which there is any.
    pub(crate) fn fewest(&self) -> u32 {
        let used = self.suites.iter().filter(|of| of.is_used());
        used.map(|of| of.available).min().unwrap_or_default()
    }
}

impl SuiteStock {
    pub(crate) fn is_used(self) -> bool {
        self.available > 0 || self.last_resort
    }
}

/// KeyPackages of one cipher suite in stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SuiteStock {
    /// The suite.
    pub suite: u16,
    /// One-time, unexpired.
    pub available: u32,
    /// Whether a last-resort KeyPackage is there.
    pub last_resort: bool,
    /// Whether it has been handed out.
    pub last_resort_used: bool,
}

/// Where a consent stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsentView {
    /// The other user.
    pub other: MimiUri,
    /// For this room only; none: for any.
    pub room: Option<MimiUri>,
    /// When it was asked for, while there is no answer; Unix ms.
    pub asked_at: Option<u64>,
    /// The answer.
    pub answer: Option<Answer>,
    /// Of others: how far the request has come.
    pub sent: Option<Sent>,
}

impl From<ConsentRecord> for ConsentView {
    fn from(record: ConsentRecord) -> Self {
        Self {
            other: record.other,
            room: record.room,
            asked_at: record.asked_at,
            answer: record.answer,
            sent: record.sent,
        }
    }
}

/// A user's consents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConsentBook {
    /// What others may do to the user.
    pub of_me: Vec<ConsentView>,
    /// What the user may do to others.
    pub of_others: Vec<ConsentView>,
}

/// What a user has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSettings {
    /// Whose requests for KeyPackages need the user's consent; none: as the provider says.
    pub consent_required_of: Option<RequiredOf>,
    /// What the provider says.
    pub provider_requires_of: RequiredOf,
    /// How the provider lets others search.
    pub search: SearchMode,
    /// The profile.
    pub profile: Vec<ProfileField>,
}

/// Something that concerns one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNotice {
    /// A user of this provider.
    pub user: MimiUri,
    /// What.
    pub what: Notice,
}

/// What concerns a user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Somebody asks for the user's consent.
    ConsentAsked {
        /// Who.
        requester: MimiUri,
        /// For this room only; none: for any.
        room: Option<MimiUri>,
    },
    /// Somebody takes its request back.
    ConsentCancelled {
        /// Who.
        requester: MimiUri,
        /// For this room only; none: for any.
        room: Option<MimiUri>,
    },
    /// The user has answered, on this device or another.
    ConsentSettled {
        /// Whom.
        requester: MimiUri,
        /// For this room only; none: for any.
        room: Option<MimiUri>,
    },
    /// Another user has answered.
    ConsentAnswered {
        /// Who.
        target: MimiUri,
        /// For this room only; none: for any.
        room: Option<MimiUri>,
        /// The answer.
        granted: bool,
    },
    /// A request of the user's has reached the other provider, or never will.
    ConsentSent {
        /// Whom it is for.
        target: MimiUri,
        /// For this room only; none: for any.
        room: Option<MimiUri>,
    },
    /// A device has few KeyPackages left.
    KeyPackagesLow {
        /// Which.
        client: MimiUri,
        /// One-time ones left of the suite that has fewest.
        available: u32,
    },
}

/// A destination's queue, for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueView {
    /// Whom for.
    pub destination: crate::outbox::Destination,
    /// Entries waiting (counted up to a bound).
    pub waiting: usize,
    /// Time of the oldest, Unix ms.
    pub oldest: Option<u64>,
}

/// How far a room lags in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomLag {
    /// The room URI; for a room of the homeserver that is no portal, its Matrix id.
    pub room: String,
    /// `from_homeserver`, `to_homeserver` or `to_peer`.
    pub direction: &'static str,
    /// Age of the oldest entry that waits, ms.
    pub waiting_ms: u64,
}

/// A report of abuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbuseReportView {
    /// Names it.
    pub id: String,
    /// When it came, Unix ms.
    pub at: u64,
    /// The room.
    pub room: MimiUri,
    /// The provider that it came from.
    pub provider: String,
    /// Who reported, unless anonymously.
    pub reporting_user: Option<MimiUri>,
    /// Who is reported.
    pub accused: MimiUri,
    /// The reason's code (the draft has no taxonomy yet).
    pub reason: u8,
    /// What the reporter wrote.
    pub note: String,
    /// The evidence.
    pub messages: Vec<ReportedMessageView>,
}

/// A message of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedMessageView {
    /// When the hub accepted it, as reported, Unix ms.
    pub accepted_at: u64,
    /// Its MIMI message id, if this hub franked it.
    pub message_id: Option<Vec<u8>>,
    /// Why it proves nothing; `None`: this hub franked it as it is reported.
    pub fault: Option<String>,
    /// The message as reported, where it was asked for.
    pub content: Option<Vec<u8>>,
}

/// An asset of a local user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetView {
    /// The blobs it consists of, in their order.
    pub pieces: Vec<store::BlobHash>,
    /// Octets of them together.
    pub size: u64,
}

/// A room that was, or would be, made again from its graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuiltRoom {
    /// The room.
    pub room: MimiUri,
    /// Its newest epoch, as far as the graph knows.
    pub epoch: u64,
    /// The newest place of the handshake log.
    pub entries: u64,
    /// The place at which the group begins: the newest that came with a tree.
    pub begins_at: u64,
    /// Application messages in the graph.
    pub messages: usize,
    /// The other providers that take part. They know whether the room had come further.
    pub peers: BTreeSet<Domain>,
}

/// A graph that other servers take part in or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphView {
    /// The room id.
    pub room_id: String,
    /// Its version.
    pub room_version: String,
    /// The MIMI room that it is the graph of.
    pub room: Option<MimiUri>,
    /// Whether this node's user is in it.
    pub joined: bool,
    /// Other servers in it.
    pub servers: Vec<String>,
    /// Forward extremities.
    pub heads: Vec<String>,
    /// Events, outliers included.
    pub events: u64,
}

impl GraphView {
    pub(crate) fn of(
        record: &crate::records::GraphRecord,
        head: &crate::records::GraphHead,
        room: Option<MimiUri>,
    ) -> Self {
        Self {
            room_id: record.room_id.clone(),
            room_version: record.room_version.clone(),
            room,
            joined: record.joined,
            servers: record.servers.iter().cloned().collect(),
            heads: head.heads.clone(),
            events: head.events,
        }
    }
}
