//! Room versions and their rules as data.

use std::{fmt, str::FromStr};

/// A room version this crate knows, 6 to 12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum RoomVersion {
    V6,
    V7,
    V8,
    V9,
    V10,
    V11,
    V12,
}

/// What differs between room versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rules {
    /// `knock` is a membership and a join rule (7).
    pub knock: bool,
    /// `restricted` is a join rule (8).
    pub restricted: bool,
    /// A redacted join keeps `join_authorised_via_users_server` (9).
    pub keep_authorised_via: bool,
    /// `knock_restricted` is a join rule (10).
    pub knock_restricted: bool,
    /// Power levels are integers; before, strings that hold one pass too (10).
    pub integer_power_levels: bool,
    /// The redaction algorithm of version 11: whole create content, `invite`, `redacts`, `signed` kept;
    /// `origin`, `membership`, `prev_state` not.
    pub redaction_v11: bool,
    /// `redacts` is in the content of a redaction (11).
    pub redacts_in_content: bool,
    /// A create event needs `content.creator` (up to 10); after that the sender is the creator.
    pub creator_in_content: bool,
    /// The room id is the hash of the create event, which nobody cites (12).
    pub room_id_is_create_hash: bool,
    /// Creators stand above all power levels (12).
    pub privileged_creators: bool,
    /// State resolution 2.1: conflicted subgraph, first pass from an empty map (12).
    pub state_resolution_v2_1: bool,
}

impl RoomVersion {
    /// All versions, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V6,
        Self::V7,
        Self::V8,
        Self::V9,
        Self::V10,
        Self::V11,
        Self::V12,
    ];

    /// The identifier as in `m.room.create`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V6 => "6",
            Self::V7 => "7",
            Self::V8 => "8",
            Self::V9 => "9",
            Self::V10 => "10",
            Self::V11 => "11",
            Self::V12 => "12",
        }
    }

    /// The version's rules.
    pub const fn rules(self) -> Rules {
        let n = self as u8 + 6;
        Rules {
            knock: n >= 7,
            restricted: n >= 8,
            keep_authorised_via: n >= 9,
            knock_restricted: n >= 10,
            integer_power_levels: n >= 10,
            redaction_v11: n >= 11,
            redacts_in_content: n >= 11,
            creator_in_content: n <= 10,
            room_id_is_create_hash: n >= 12,
            privileged_creators: n >= 12,
            state_resolution_v2_1: n >= 12,
        }
    }
}

impl fmt::Display for RoomVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A room version that this crate doesn't know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown room version {0:?}")]
pub struct UnknownRoomVersion(pub String);

impl FromStr for RoomVersion {
    type Err = UnknownRoomVersion;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|v| v.as_str() == s)
            .ok_or_else(|| UnknownRoomVersion(s.to_owned()))
    }
}

/// True for each room version the specification defines; rule 1.3 asks for a "recognised" one.
pub(crate) fn is_recognised(version: &str) -> bool {
    matches!(version, "1" | "2" | "3" | "4" | "5") || version.parse::<RoomVersion>().is_ok()
}
