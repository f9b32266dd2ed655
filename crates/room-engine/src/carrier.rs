//! Carrier events: the `org.causeway.*` contents that hold MIMI in a room's event graph, and in portals.
//!
//! These contents are the wire format between nodes and between a Matrix client and its gateway. Their JSON
//! Schemas are written to `schemas/events/`. The MIMI state of a room is a function of the handshake log alone;
//! state events here are caches for readers.
//!
//! u64 values are decimal strings (canonical JSON ends at 2^53), octets are standard base64 without padding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

/// Event type of a handshake entry (message event, sequenced lane).
pub const HANDSHAKE: &str = "org.causeway.handshake";
/// Event type of an application message (message event, concurrent lane); also a client's submission in a portal.
pub const MESSAGE: &str = "org.causeway.message";
/// State event that says which MIMI room this is (empty state key).
pub const ROOM: &str = "org.causeway.room";
/// State event per participant (state key: URI, or `sha256:hex` of it when longer than 200 octets).
pub const PARTICIPANT: &str = "org.causeway.participant";
/// Portal only: how a submission stands.
pub const STATUS: &str = "org.causeway.status";
/// Portal only: a nonce repeated by a device that signs in.
pub const LOGIN: &str = "org.causeway.login";

/// To-device only: there is something in a room's feed.
pub const WAKE: &str = "org.causeway.wake";

/// The types that a graph's power levels pin to node level from its first event on.
pub const PINNED: [&str; 4] = [HANDSHAKE, MESSAGE, ROOM, PARTICIPANT];

/// Octets up to this size travel inside the event; larger ones by hash. A homeserver takes PDUs of about 65,000
/// bytes, and base64 adds a third.
pub const INLINE_LIMIT: usize = 45_000;

/// Octets, standard base64 without padding in JSON.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Octets(pub Vec<u8>);

impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Octets({})", self.0.len())
    }
}

impl Serialize for Octets {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        STANDARD_NO_PAD
            .decode(text.as_bytes())
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Octets {
    fn schema_name() -> Cow<'static, str> {
        "Base64".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Za-z0-9+/]*$", "contentEncoding": "base64"})
    }
}

/// A u64 as a decimal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(pub u64);

impl Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        // One spelling only: an event that two nodes read differently splits a room.
        let value: u64 = text.parse().map_err(serde::de::Error::custom)?;
        if value.to_string() == text {
            Ok(Self(value))
        } else {
            Err(serde::de::Error::custom("not the shortest decimal"))
        }
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"})
    }
}

/// SHA-256 of octets kept outside the event.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Hash(pub [u8; 32]);

impl Sha256Hash {
    /// Hashes octets.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Debug for Sha256Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Sha256Hash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Sha256Hash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        let mut out = [0; 32];
        hex::decode_to_slice(text.as_bytes(), &mut out).map_err(serde::de::Error::custom)?;
        Ok(Self(out))
    }
}

impl JsonSchema for Sha256Hash {
    fn schema_name() -> Cow<'static, str> {
        "Sha256".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

/// Octets inside the event, or their hash and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Payload {
    /// At most [`INLINE_LIMIT`] octets.
    Inline {
        /// The octets.
        data: Octets,
    },
    /// Content-addressed, fetched from the node's blob store (`/_causeway/node/v1/blob/{sha256}`).
    ByHash {
        /// What the octets must hash to.
        sha256: Sha256Hash,
        /// How many there are.
        size: u32,
    },
}

/// What a handshake entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HandshakeKind {
    /// The group's first GroupInfo and tree.
    Founding,
    /// A commit, with all that belongs to it.
    Commit,
    /// An atomic list of proposals.
    Proposals,
    /// At a follower: a Welcome that the hub sent, the first this provider sees of a room or of a new client.
    Welcome,
}

/// Content of [`HANDSHAKE`]: one entry of a room's handshake log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handshake {
    /// Format of this content: 1.
    pub v: u8,
    /// Term of the sequencer that wrote it.
    pub term: Decimal,
    /// Position in the log, from 1 on.
    pub seq: Decimal,
    /// Event id of the entry before it; none for the first.
    pub prev: Option<String>,
    /// Proof of the sequencing set's majority; none while the set is one node, whose event signature is the proof.
    pub certificate: Option<Octets>,
    /// What it is.
    pub kind: HandshakeKind,
    /// MLS group id.
    pub group_id: Octets,
    /// The epoch that the entry belongs to (a commit's: the one it ends).
    pub epoch: Decimal,
    /// Reserved for group protocols whose epochs can fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork_id: Option<Octets>,
    /// The hub's acceptance time, Unix ms; never earlier than that of any ancestor.
    pub accepted_at: Decimal,
    /// Commit: the MLSMessage. Proposals: the MLSMessages, concatenated. Founding: the GroupInfo. Welcome: the
    /// MLSMessage.
    pub payload: Payload,
    /// Commit: the MLSMessage with the Welcome for the clients it adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub welcome: Option<Payload>,
    /// Commit at the hub: the GroupInfo of the new epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_info: Option<Payload>,
    /// TLS RatchetTreeOption that goes with the Welcome; founding: the ratchet tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratchet_tree: Option<Payload>,
    /// Commit: proposals of the hub made anew for the new epoch (MLSMessages, concatenated).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_proposals: Option<Payload>,
}

/// Content of [`MESSAGE`] in a graph, and in a portal when the gateway's bot sends it. It never names the sender:
/// that is known to those who decrypt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Format of this content: 1.
    pub v: u8,
    /// MLS group id.
    pub group_id: Octets,
    /// The epoch it was encrypted in.
    pub epoch: Decimal,
    /// Event id of the newest handshake entry that its acceptor had applied.
    pub after: Option<String>,
    /// The hub's acceptance time, Unix ms.
    pub accepted_at: Decimal,
    /// TLS Frank, where the hub franked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frank: Option<Octets>,
    /// The MLSMessage.
    pub payload: Payload,
}

/// Content of [`ROOM`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// The room URI.
    pub room: String,
    /// The hub's domain.
    pub hub: String,
    /// MLS group id.
    pub group_id: Octets,
    /// Whether the gateway can read it.
    pub mode: Mode,
}

/// Whether a room's content is open to the gateway (DESIGN: opaque and bridged rooms).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No key that opens the room's messages exists in the gateway.
    Opaque,
    /// The gateway is a listed MLS member and converts content.
    Bridged,
}

/// Content of [`PARTICIPANT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Participant {
    /// The user URI.
    pub user: String,
    /// The role (room-policy section 4); 0 after removal.
    pub role: u32,
}

/// The state key of a participant's [`PARTICIPANT`] event.
pub fn participant_state_key(user: &str) -> String {
    if user.len() <= 200 {
        user.to_owned()
    } else {
        format!("sha256:{}", hex::encode(Sha256::digest(user.as_bytes())))
    }
}

/// Content of [`STATUS`]: how a submission stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
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
        /// Acceptance time, Unix ms.
        #[serde(rename = "accepted_at")]
        at: Decimal,
        /// TLS Frank, where the hub franked it.
        frank: Option<Octets>,
    },
    /// Refused for good; nothing was distributed.
    Refused {
        /// Why, for programs.
        code: SubmissionRefusal,
        /// Why, for people.
        reason: String,
        /// The epoch to encrypt for, when the epoch was the reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        current_epoch: Option<Decimal>,
    },
}

/// Why a submission was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubmissionRefusal {
    /// The message's epoch has passed: encrypt again.
    EpochTooOld,
    /// Not permitted: no participant, no capability, an epoch the hub doesn't know.
    NotAllowed,
    /// Not an application message of this room's group.
    Malformed,
    /// There is no such room.
    UnknownRoom,
}

/// Content of a [`MESSAGE`] event that a Matrix client puts into a portal: a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortalSubmission {
    /// The client's id of the message, 1 to 64 characters of `[A-Za-z0-9._-]`.
    pub id: String,
    /// The message, or where it is.
    #[serde(flatten)]
    pub message: SubmittedMessage,
}

/// A submission's message. What a homeserver takes no event for (about 65,000 octets) goes to the client API first
/// (`PUT /blobs`), and into the portal by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SubmittedMessage {
    /// In the event.
    Inline {
        /// The MLSMessage, base64url without padding.
        message: String,
    },
    /// In the provider's blob store.
    ByHash {
        /// What the MLSMessage hashes to.
        sha256: Sha256Hash,
        /// How many octets it has.
        size: u32,
    },
}

/// Content of [`WAKE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wake {
    /// The room's URI.
    pub room: String,
    /// The position in the feed.
    pub pos: Decimal,
    /// The MLSMessage with the Welcome, where it is one and fits; its ratchet tree is in the feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub welcome: Option<Octets>,
}

/// Content of [`LOGIN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// The nonce that the gateway gave to the device.
    pub nonce: String,
}
