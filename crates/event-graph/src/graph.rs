//! The event graph of one room.
//!
//! [`Graph`] takes verified events in any order and says how each fares: the checks on receipt from the fourth
//! on (server-server API, "Checks performed on receipt of a PDU"). It holds an index in memory, not the
//! events: whoever owns the graph keeps their octets in a store, each with its [`Entry`], and gives them back
//! to [`Graph::load`].

mod admit;
mod current;
mod gaps;
mod held;
pub(crate) mod index;
mod query;
mod redactions;
pub(crate) mod resolve;
pub(crate) mod state;
mod stored;
#[cfg(test)]
mod tests;
pub(crate) mod view;
mod walk;

use std::fmt;

use gaps::Gaps;
use held::Held;
use index::{Index, Ix};
use redactions::Redactions;
use resolve::Scratch;
use state::{Group, States};

use crate::{
    EventId,
    auth::AuthRule,
    intern::{Interner, Slot},
    version::{RoomVersion, Rules},
};

pub use admit::Arrival;
pub use held::{HELD_EVENTS, HELD_OCTETS};
pub use query::{ResolvedState, StateEntry};
pub use stored::{Entry, Standing};

/// Which check on receipt an event failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// Check 4: the rules against the event's own auth events.
    AuthEvents,
    /// Check 5: the rules against the state before the event.
    StateBefore,
    /// Check 6: the rules against the room's current state.
    CurrentState,
}

impl Check {
    /// The check's number in the specification.
    pub const fn number(self) -> u8 {
        match self {
            Self::AuthEvents => 4,
            Self::StateBefore => 5,
            Self::CurrentState => 6,
        }
    }
}

/// Why an event is not taken into the graph at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DropReason {
    /// The event is of another room or was read by another room version's rules.
    #[error("event of another room")]
    OtherRoom,
    /// The room's create event isn't there, and nothing counts before it.
    #[error("no create event yet")]
    NoCreate,
    /// A second create event.
    #[error("second create event")]
    SecondCreate,
    /// It cites or follows itself.
    #[error("event refers to itself")]
    SelfReference,
    /// Too many events wait for others already.
    #[error("too many events are waiting for others")]
    HoldFull,
    /// An event it needs will never come.
    #[error("an event it refers to can't be had")]
    Unobtainable,
    /// An event it cites is of another room (rule 3.5).
    #[error("an event it cites is of another room")]
    CitesOtherRoom,
}

/// How an event fared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Passed every check; part of the room.
    Accepted,
    /// Allowed where it was made, forbidden by the room's current state: stored, takes part in state
    /// resolution, not shown and no forward extremity.
    SoftFailed {
        /// The rule it breaks.
        rule: AuthRule,
    },
    /// Forbidden: stored so that nobody asks for it again, changes nothing.
    Rejected {
        /// Where it failed.
        check: Check,
        /// The rule it breaks.
        rule: AuthRule,
    },
    /// Known by its auth events alone, accepted so far.
    Outlier,
    /// The graph had it. Its first verdict stands.
    Duplicate,
    /// Waits for these events.
    Held {
        /// What is missing, of parents and auth events.
        missing: Vec<EventId>,
    },
    /// Not taken.
    Dropped(DropReason),
}

impl Verdict {
    /// True if the event is part of the room and shown.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::SoftFailed { rule } => write!(f, "soft-failed by {rule}"),
            Self::Rejected { check, rule } => write!(f, "rejected in check {} by {rule}", check.number()),
            Self::Outlier => f.write_str("outlier"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Held { missing } => write!(f, "waits for {} events", missing.len()),
            Self::Dropped(reason) => write!(f, "dropped: {reason}"),
        }
    }
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The event.
    pub event_id: EventId,
    /// How it fared.
    pub verdict: Verdict,
    /// Redactions that take effect with it: of the event itself by one that waited, or of another by it.
    pub redactions: Vec<Redaction>,
}

/// A redaction that takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Redaction {
    /// The event to redact.
    pub target: EventId,
    /// The redaction event.
    pub by: EventId,
}

/// The state over several extremities is mostly gone with the next event, so it stays outside the states of
/// events until one of them needs it.
#[derive(Debug, Clone)]
enum Current {
    Group(Group),
    Merged {
        base: Group,
        changes: Vec<(Slot, Option<Ix>)>,
    },
}

/// One room's events and states.
#[derive(Clone)]
pub struct Graph {
    version: RoomVersion,
    rules: Rules,
    /// Set by the first event.
    room_id: Option<Box<str>>,
    interner: Interner,
    index: Index,
    states: States,
    scratch: Scratch,
    /// Forward extremities in order of admission.
    extremities: Vec<Ix>,
    /// The state over the extremities, once it was asked for.
    current: Option<Current>,
    held: Held,
    gaps: Gaps,
    redactions: Redactions,
    /// The member that [`Graph::has_member_of`] found last.
    seen_member: Option<Ix>,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph")
            .field("room_id", &self.room_id)
            .field("version", &self.version)
            .field("events", &self.index.len())
            .field("extremities", &self.extremities.len())
            .finish_non_exhaustive()
    }
}

impl Graph {
    /// An empty room.
    pub fn new(version: RoomVersion) -> Self {
        Self {
            version,
            rules: version.rules(),
            room_id: None,
            interner: Interner::new(),
            index: Index::new(),
            states: States::new(),
            scratch: Scratch::new(),
            extremities: Vec::new(),
            current: None,
            held: Held::default(),
            gaps: Gaps::default(),
            redactions: Redactions::default(),
            seen_member: None,
        }
    }

    /// An empty room of which the id is known, so that no stranger's event decides it.
    pub fn in_room(version: RoomVersion, room_id: &str) -> Self {
        Self {
            room_id: Some(room_id.into()),
            ..Self::new(version)
        }
    }
}
