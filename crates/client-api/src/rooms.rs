//! Rooms: founding, changing, speaking, reading; and what is too large for it, or against the rules.

use super::encoding::{B64, decimal, decimal_opt};
use super::portal::Wish;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /rooms`: founds a room of which this provider is the hub.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateRoom {
    /// `mimi://provider/r/...`, chosen by the client (random), the same as in the group's room metadata.
    pub room: String,
    /// The group's first signed GroupInfo, without the tree.
    pub group_info: B64,
    /// The ratchet tree (TLS body of the `ratchet_tree` extension).
    pub ratchet_tree: B64,
}

/// A room as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoomSummary {
    /// The room URI.
    pub room: String,
    /// The hub's domain.
    pub hub: String,
    /// Its name, where known.
    pub name: Option<String>,
    /// MLS group id.
    pub group_id: B64,
    /// Newest epoch this provider knows.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub epoch: u64,
    /// The portal's Matrix room id, where there is one.
    pub portal: Option<String>,
    /// First position of the feed this user may read.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub first: u64,
    /// Position after the newest entry.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub next: u64,
    /// Whether this user still takes part.
    pub joined: bool,
}

/// `POST /rooms/{room}/claims`: fetch KeyPackages of a user to add to the room, through the room's hub.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClaimRequest {
    /// TLS `KeyMaterialRequest`, signed by the client (protocol-06 section 5.2).
    pub request: B64,
}

/// A TLS response struct of the hub, passed through: `KeyMaterialResponse`, `UpdateRoomResponse`,
/// `GroupInfoResponse`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HubAnswer {
    /// The TLS struct.
    pub response: B64,
}

/// `POST /rooms/{room}/update`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UpdateRequest {
    /// TLS `HandshakeBundle` (protocol-06 section 5.3).
    pub bundle: B64,
}

/// `POST /rooms/{room}/group_info`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GroupInfoQuery {
    /// TLS `GroupInfoRequest` (protocol-06 section 5.6).
    pub request: B64,
}

/// `POST /rooms/{room}/messages`: submits an application message. A Matrix user's client may instead put the
/// same JSON, as content of an `org.causeway.message` event, into the portal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SubmitMessage {
    /// The client's own id for it, 1 to 64 characters of `[A-Za-z0-9._-]`. A message that was refused for its epoch
    /// is encrypted anew under the same id.
    pub id: String,
    /// TLS MLSMessage holding a PrivateMessage.
    pub message: B64,
}

/// How a submission stands: answer of `POST /rooms/{room}/messages`, content of `org.causeway.status` events in the
/// portal, and a feed entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubmissionStatus {
    /// The client's id of the message.
    pub id: String,
    /// Where it stands.
    #[serde(flatten)]
    pub state: SubmissionState,
}

/// State of a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SubmissionState {
    /// Durable here, not yet with the hub.
    Queued,
    /// Accepted by the hub.
    Accepted {
        /// Acceptance time, Unix ms. In a feed it stands beside the entry's own `at`.
        #[serde(rename = "accepted_at", with = "decimal")]
        #[schemars(with = "String")]
        at: u64,
        /// TLS `Frank` (protocol-06 section 5.4.1), where the room has a franking agent.
        frank: Option<B64>,
    },
    /// Refused for good; nothing was distributed.
    Refused {
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        reason: String,
        /// The epoch to encrypt for, when the epoch was the reason.
        #[serde(default, with = "decimal_opt", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        current_epoch: Option<u64>,
    },
}

/// Why a submission was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The message's epoch has passed: encrypt again.
    EpochTooOld,
    /// Not permitted: no participant, no capability, an epoch the hub doesn't know.
    NotAllowed,
    /// Not an application message of this room's group.
    Malformed,
    /// There is no such room.
    UnknownRoom,
}

/// `GET /rooms/{room}/log?from=&limit=&wait_ms=`: one page of a room's feed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogPage {
    /// Entries from `from` on, in the hub's order.
    pub entries: Vec<FeedEntry>,
    /// Where to go on.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub next: u64,
}

/// One entry of a room's feed. The feed decides order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedEntry {
    /// Position in the feed, from 1 on, without gaps.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub pos: u64,
    /// The hub's acceptance time, Unix ms.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub at: u64,
    /// The carrier event of this provider's graph that holds it, where it is one.
    pub event_id: Option<String>,
    /// What it is.
    #[serde(flatten)]
    pub item: FeedItem,
}

/// What a feed entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FeedItem {
    /// A Welcome; shown only to users whose clients it is for.
    Welcome {
        /// MLSMessage holding the Welcome.
        message: B64,
        /// TLS `RatchetTreeOption` that goes with it.
        ratchet_tree: B64,
    },
    /// A commit that the hub accepted.
    Commit {
        /// MLSMessage holding the PublicMessage.
        message: B64,
        /// Proposals of the hub to be cached for the new epoch (MLSMessages).
        external_proposals: Vec<B64>,
    },
    /// Proposals that the hub accepted; the next commit has to contain them.
    Proposals {
        /// MLSMessages holding PublicMessages, an atomic list.
        messages: Vec<B64>,
    },
    /// An application message.
    Message {
        /// MLSMessage holding the PrivateMessage.
        message: B64,
        /// TLS `Frank`, where the hub franked it.
        frank: Option<B64>,
    },
    /// A submission of one of this user's own clients; shown only to that user.
    Status(SubmissionStatus),
    /// Somebody asked in the portal for what only a client of this user's can do. Also in `GET /wishes`, as long as it
    /// is open.
    Wish(Wish),
}

/// `POST /rooms/{room}/reports`: reports abuse to the room's hub.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReportAbuse {
    /// TLS `AbuseReport` (protocol-06 section 5.9); `reportingUser` is the caller or empty.
    pub report: B64,
}

/// `POST /assets`: keeps what the client has encrypted, for a message that names its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetRef {
    /// Where it is, for the external part of the message.
    pub url: String,
    /// Octets.
    pub size: u64,
}

/// `PUT /blobs`: stores octets too large for a portal event, answered with their hash. `GET /blobs/{sha256}` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobRef {
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Octets.
    pub size: u64,
}
