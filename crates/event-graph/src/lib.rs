//! Matrix event graphs, room versions 6 to 12: events, hashes, signatures, auth rules, state resolution.
//!
//! Pure: no I/O, no async, no clock, no randomness that a result depends on.

// Events, strings and state keys of one room are counted with 32 bits; memory ends long before they do.
#![allow(clippy::cast_possible_truncation)]

pub mod auth;
pub mod graph;
mod head;
pub mod ids;
mod intern;
pub mod json;
pub mod keys;
pub mod limits;
mod pdu;
pub mod receipt;
mod redact;
pub mod replay;
mod version;

pub use auth::{AuthRule, StateKey};
pub use graph::{Arrival, Check, DropReason, Entry, Graph, Outcome, Redaction, Standing, Verdict};
pub use head::GraphHead;
pub use ids::EventId;
pub use keys::{KeyLookup, KeyRing, SigningIdentity, VerifyKey};
pub use pdu::{BuildError, Draft, FormatError, ParseError, Pdu, UnverifiedPdu, VerifyError};
pub use version::{RoomVersion, Rules, UnknownRoomVersion};
