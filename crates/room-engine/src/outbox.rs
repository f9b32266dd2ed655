//! The outbox: everything that leaves, in order, until it is done.
//!
//! Entries are written in the batch of the decision they follow from. A sender per destination reads them, one
//! request in flight for each room, and deletes an entry in a batch of its own once the destination has it. What is sent is a
//! pure function of the entry, so a repeat after a crash is byte-identical and the other side can drop it.

use async_trait::async_trait;
use mimi_wire::uri::{Domain, MimiUri};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::carrier::{self, Octets};
use crate::owner::half_sha256;

mod sender;
pub use sender::{Sender, SenderSettings};

/// Whom an entry is for. Each destination has one sender.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Another MIMI provider.
    Provider(Domain),
    /// The homeserver beside this provider.
    Homeserver,
    /// A Matrix server that takes part in a graph, by its server name.
    Server(String),
}

impl Destination {
    /// Rooms that are served beside each other, each with one request in flight: order matters within a room only. What
    /// waits at another provider is its disk, and it writes several rooms at once; a homeserver has work of very
    /// different lengths, and its rate limits are kept per endpoint.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Provider(_) | Self::Homeserver => 8,
            // One transaction at a time, says the server-server API.
            Self::Server(_) => 1,
        }
    }

    /// The destination as part of a record's key.
    pub(crate) fn key(&self) -> [u8; 16] {
        half_sha256(self.to_string().as_bytes())
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Provider(domain) => write!(f, "provider {}", domain.as_str()),
            Self::Homeserver => f.write_str("homeserver"),
            Self::Server(name) => write!(f, "server {name}"),
        }
    }
}

/// A destination that ever had an entry (space `Cursor`), so that a restart finds them all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DestinationRecord {
    pub(crate) destination: Destination,
}

/// An entry that its destination refused for good (space `DeadLetter`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeadLetterRecord {
    pub(crate) entry: OutboxEntry,
    pub(crate) refused_at: u64,
    pub(crate) code: String,
    pub(crate) reason: String,
}

/// One thing to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// Whom for.
    pub destination: Destination,
    /// The room it belongs to; entries of one room go in order of `seq`.
    pub room: String,
    /// Position in the room's queue for this destination, from 1 on.
    pub seq: u64,
    /// The request id of the command that caused it, for logs.
    pub request_id: String,
    /// When it was written, Unix ms.
    pub queued_at: u64,
    /// What to send.
    pub body: OutboxBody,
    /// The octets that go with it, empty where the body says all.
    #[serde(default)]
    pub octets: Octets,
}

/// What an entry sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OutboxBody {
    /// POST the entry's octets (one or more TLS FanoutMessages) to the follower's notify endpoint.
    Notify,
    /// POST the entry's octets (TLS SubmitMessageRequest) to the hub's submitMessage endpoint; the answer comes back
    /// as [`Engine::submission_outcome`](crate::Engine::submission_outcome).
    Submit {
        /// Key of the submission.
        submission: String,
    },
    /// POST the entry's octets (one TLS ConsentEntry) to the other user's provider; `room` is the own user. What becomes
    /// of a request comes back as [`Engine::consent_sent`](crate::Engine::consent_sent).
    Consent {
        /// The other user.
        other: MimiUri,
        /// For this room only; none: for any.
        room_id: Option<MimiUri>,
        /// To requestConsent; else to updateConsent.
        request: bool,
        /// Whether it is a request (and not a cancellation, whose fate nobody asks about).
        ask: bool,
    },
    /// Send an event of a graph, as it is stored.
    Event {
        /// The graph's room id.
        graph: String,
        /// The event.
        event: event_graph::EventId,
    },
    /// Make the portal of the room, with a directory alias derived from the room so that a repeat finds it; the
    /// outcome comes back as [`Engine::portal_created`](crate::Engine::portal_created).
    PortalCreate {
        /// Name to show.
        name: Option<String>,
        /// Matrix user ids to invite.
        invite: Vec<String>,
        /// Content of the portal's `org.causeway.room` state event.
        info: serde_json::Value,
    },
    /// Bring a room's portal to what the room is: members, roles, name, topic. What that is, is asked of
    /// [`Engine::portal_wanted`](crate::Engine::portal_wanted) when the entry is sent, so that many entries are one
    /// piece of work; a repeat finds nothing left to do.
    PortalSync {
        /// The room's URI.
        room: String,
        /// The revision that has to be reached.
        revision: u64,
        /// Nothing has changed that we know of: whatever there is to do, the homeserver has lost.
        #[serde(default)]
        audit: bool,
    },
    /// The portal was replaced by another room: follow it there, or put one of our own in its place. The outcome comes
    /// back as [`Engine::portal_moved`](crate::Engine::portal_moved).
    PortalFollow {
        /// Matrix room id.
        old: String,
        /// Matrix room id.
        new: String,
    },
    /// Replace the portal by a room of another version, with a tombstone in the old one. The outcome comes back as
    /// [`Engine::portal_moved`](crate::Engine::portal_moved).
    PortalUpgrade {
        /// Matrix room id of the old one.
        portal: String,
        /// The room version.
        version: String,
    },
    /// A user set a picture in the portal: keep it for the MIMI side. The outcome comes back as
    /// [`Engine::picture_kept`](crate::Engine::picture_kept).
    PortalPicture {
        /// Matrix room id.
        portal: String,
        /// The MIMI user who set it.
        user: String,
        /// The event that set it.
        event_id: String,
        /// The homeserver's media.
        mxc: String,
    },
    /// Take everybody out of the portal, aliases and ghosts' devices with them, and leave. The outcome comes back as
    /// [`Engine::portal_closed`](crate::Engine::portal_closed).
    PortalClose {
        /// Matrix room id.
        portal: String,
    },
    /// Send an event as the bot into a room that is no portal.
    BotSend {
        /// Matrix room id.
        room_id: String,
        /// Matrix transaction id: the same for every attempt.
        txn_id: String,
        /// Event type.
        event_type: String,
        /// Content.
        content: serde_json::Value,
    },
    /// Tell a local user something, in the conversation with the bot; one is made where there is none.
    BotTell {
        /// Matrix user id.
        user: String,
        /// Matrix transaction id: the same for every attempt.
        txn_id: String,
        /// Content of an `m.room.message`.
        content: serde_json::Value,
    },
    /// A ghost declines an invitation or leaves.
    GhostLeave {
        /// Matrix room id.
        room_id: String,
        /// The ghost's MIMI user.
        user: String,
        /// Shown to the room.
        reason: String,
    },
    /// Send an event to the devices of a local user.
    ToDevice {
        /// Matrix user id.
        user: String,
        /// Matrix device id; none for all of them.
        device: Option<String>,
        /// Matrix transaction id: the same for every attempt.
        txn_id: String,
        /// Event type.
        event_type: String,
        /// Content.
        content: serde_json::Value,
    },
    /// Invite a local user to the portal (already there: done).
    PortalInvite {
        /// Matrix user id.
        user: String,
    },
    /// Remove a local user from the portal (not there: done).
    PortalRemove {
        /// Matrix user id.
        user: String,
        /// Shown to the room.
        reason: Option<String>,
    },
    /// Accept an invite to the bot.
    JoinAsBot {
        /// Matrix room id.
        room_id: String,
    },
    /// Send an event into the portal as the bot.
    PortalSend {
        /// Matrix transaction id: the same for every attempt.
        txn_id: String,
        /// Event type.
        event_type: String,
        /// Content.
        content: serde_json::Value,
        /// The time it shall show, Unix ms; none for that of its sending.
        #[serde(default)]
        at: Option<u64>,
    },
    /// Set a state event in the portal as the bot.
    PortalState {
        /// Event type.
        event_type: String,
        /// State key.
        state_key: String,
        /// Content.
        content: serde_json::Value,
    },
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The destination has it for good.
    Done,
    /// Not now. `after` is the destination's own wish (Retry-After); without one the sender backs off.
    Retry {
        /// How long to wait at least.
        after: Option<Duration>,
        /// Why, for logs and `room show`.
        reason: String,
    },
    /// Never: the entry is set aside as a dead letter, counted and shown to operators.
    Refused {
        /// For programs and metrics.
        code: String,
        /// For people.
        reason: String,
    },
}

/// Carries entries to one kind of destination. Implementations do not retry; the sender does.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// One attempt. Must be idempotent towards the destination.
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery;

    /// Most entries of one room that go in one request.
    fn batch(&self) -> usize {
        1
    }

    /// One attempt with several entries of one room, in order. What is not named in the answer is as the last one
    /// named.
    async fn deliver_all(&self, entries: &[OutboxEntry]) -> Vec<Delivery> {
        let mut done = Vec::with_capacity(entries.len());
        for entry in entries {
            let delivery = self.deliver(entry).await;
            let stop = matches!(delivery, Delivery::Retry { .. });
            done.push(delivery);
            if stop {
                break;
            }
        }
        done
    }
}

impl OutboxBody {
    /// What a copy in a portal is of, if this is one: such may pass each other, unless they are of the same thing. The
    /// feed decides the order; the status of a message is its sender's.
    pub fn copy_of(&self) -> Option<&str> {
        let Self::PortalSend {
            txn_id,
            event_type,
            content,
            ..
        } = self
        else {
            return None;
        };
        match event_type.as_str() {
            carrier::MESSAGE => Some(txn_id),
            carrier::STATUS => content.get("id")?.as_str(),
            _ => None,
        }
    }

    /// A stable name for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Submit { .. } => "submit",
            Self::Consent { .. } => "consent",
            Self::Event { .. } => "event",
            Self::PortalCreate { .. } => "portal_create",
            Self::PortalInvite { .. } => "portal_invite",
            Self::PortalRemove { .. } => "portal_remove",
            Self::JoinAsBot { .. } => "join_as_bot",
            Self::PortalSend { .. } => "portal_send",
            Self::PortalState { .. } => "portal_state",
            Self::PortalSync { .. } => "portal_sync",
            Self::PortalFollow { .. } => "portal_follow",
            Self::PortalUpgrade { .. } => "portal_upgrade",
            Self::PortalPicture { .. } => "portal_picture",
            Self::PortalClose { .. } => "portal_close",
            Self::BotSend { .. } => "bot_send",
            Self::BotTell { .. } => "bot_tell",
            Self::GhostLeave { .. } => "ghost_leave",
            Self::ToDevice { .. } => "to_device",
        }
    }
}
