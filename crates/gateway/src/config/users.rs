//! `[users]`

use room_engine::{RequiredOf, SearchMode, SearchPolicy, UserPolicies};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What users of this provider are open to, unless they decide otherwise themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UsersConfig {
    /// Who has to ask a user for consent before adding it to a room: users of other providers (`foreign`), `everybody`,
    /// or `nobody`. A user can choose for itself.
    pub consent_required_of: ConsentRequiredOf,
    /// How other providers may search for users who want to be found: not at all (`off`), by whole values (`exact`), or
    /// also by parts of them (`partial`).
    pub search: Search,
    /// Matches that a search is answered with at most; where there are more, none is told.
    pub search_results: SearchResults,
}

/// Whose requests need consent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ConsentRequiredOf {
    /// Those of users of other providers.
    #[default]
    Foreign,
    /// Everybody's.
    Everybody,
    /// Nobody's.
    Nobody,
}

/// How others may search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Search {
    /// Not at all.
    Off,
    /// By whole values.
    #[default]
    Exact,
    /// Also by parts of them.
    Partial,
}

/// A number of matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct SearchResults(#[schemars(range(min = 1, max = 100))] pub u8);

impl Default for SearchResults {
    fn default() -> Self {
        Self(10)
    }
}

impl UsersConfig {
    /// The same for the engine.
    pub fn policies(&self) -> UserPolicies {
        UserPolicies {
            consent_required_of: match self.consent_required_of {
                ConsentRequiredOf::Foreign => RequiredOf::Foreign,
                ConsentRequiredOf::Everybody => RequiredOf::Everybody,
                ConsentRequiredOf::Nobody => RequiredOf::Nobody,
            },
            search: SearchPolicy {
                mode: match self.search {
                    Search::Off => SearchMode::Off,
                    Search::Exact => SearchMode::Exact,
                    Search::Partial => SearchMode::Partial,
                },
                results: usize::from(self.search_results.0.clamp(1, 100)),
            },
        }
    }
}
