//! Finding users (draft-ietf-mimi-protocol-06 section 5.8): what a profile says, and what matches. Pure.
//!
//! Nothing can be found unless its user says so, field by field. An element that asks for a whole value is answered
//! from terms, which also make the index; parts of values are compared one profile after the other, and only where
//! provider and user allow it.

use mimi_wire::protocol::{FieldSource, IdentifierQueryCode, QueryElement, SearchIdentifierType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::owner::half_sha256;

/// Fields of a profile.
pub const PROFILE_FIELDS: usize = 32;
/// Octets of a field's value.
pub const FIELD_VALUE: usize = 512;
/// Elements of a query.
const ELEMENTS: usize = 16;
/// Characters that part of a value needs to be searched for: fewer would list everybody.
const SHORTEST_PART: usize = 3;

/// What of its users a provider lets others search, whatever they allow themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchPolicy {
    /// How.
    pub mode: SearchMode,
    /// Matches that are told at most; where there are more, none is.
    pub results: usize,
}

impl Default for SearchPolicy {
    fn default() -> Self {
        Self {
            mode: SearchMode::Exact,
            results: 10,
        }
    }
}

/// How others may search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchMode {
    /// Not at all.
    Off,
    /// For whole values.
    #[default]
    Exact,
    /// Also for parts of values.
    Partial,
}

/// A field's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vocabulary {
    /// OpenID Connect Core section 5.1.
    Oidc,
    /// vCard properties.
    Vcard,
}

impl Vocabulary {
    /// Its number on the wire.
    pub fn source(self) -> FieldSource {
        match self {
            Self::Oidc => FieldSource::OidcStdClaim,
            Self::Vcard => FieldSource::VcardField,
        }
    }
}

/// How a field may be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Searchable {
    /// Not at all.
    #[default]
    No,
    /// By its whole value.
    Exact,
    /// Also by part of it.
    Partial,
}

/// A field of a user's profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileField {
    /// Vocabulary of the name.
    pub vocabulary: Vocabulary,
    /// A claim of [`OIDC_CLAIMS`] or a property of [`VCARD_PROPERTIES`].
    pub name: String,
    /// UTF-8, 1 to [`FIELD_VALUE`] octets.
    pub value: String,
    /// Whether others find the user by it.
    pub search: Searchable,
    /// Whether others see it once they have found the user.
    pub shown: bool,
}

/// The standard claims of OpenID Connect that hold text.
pub const OIDC_CLAIMS: [&str; 15] = [
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "email",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
];

/// The properties of vCard (RFC 6350 and the registry) that say something about a person.
pub const VCARD_PROPERTIES: [&str; 24] = [
    "FN",
    "N",
    "NICKNAME",
    "PHOTO",
    "BDAY",
    "ANNIVERSARY",
    "GENDER",
    "ADR",
    "TEL",
    "EMAIL",
    "IMPP",
    "LANG",
    "TZ",
    "GEO",
    "TITLE",
    "ROLE",
    "ORG",
    "NOTE",
    "URL",
    "EXPERTISE",
    "HOBBY",
    "INTEREST",
    "PRONOUNS",
    "SOCIALPROFILE",
];

/// Fields that hold a person's name.
const NAMES: [&str; 9] = [
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "FN",
    "N",
    "NICKNAME",
];

/// Whether a vocabulary has a name.
pub(crate) fn is_known(vocabulary: Vocabulary, name: &str) -> bool {
    match vocabulary {
        Vocabulary::Oidc => OIDC_CLAIMS.contains(&name),
        Vocabulary::Vcard => VCARD_PROPERTIES.contains(&name),
    }
}

/// What a whole value is found under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Term(Vec<u8>);

impl Term {
    fn new(search_type: SearchIdentifierType, name: &str, value: &str) -> Self {
        let octets = [&[search_type as u8], name.as_bytes(), &[0], value.as_bytes()].concat();
        Self(octets)
    }

    /// Fixed-length part of the index's key.
    pub(crate) fn key(&self) -> [u8; 16] {
        half_sha256(&self.0)
    }
}

/// The terms that lead to a profile.
pub(crate) fn terms(fields: &[ProfileField]) -> BTreeSet<Term> {
    use SearchIdentifierType as By;
    let mut terms = BTreeSet::new();
    for field in fields.iter().filter(|field| field.search != Searchable::No) {
        let (name, value) = (field.name.as_str(), field.value.as_str());
        let mut add = |by, value| terms.insert(Term::new(by, "", value));
        match (field.vocabulary, name) {
            (Vocabulary::Vcard, "IMPP") => {
                add(By::Handle, value);
                if let Some(user) = user_part(value) {
                    add(By::Nick, user);
                }
            }
            (Vocabulary::Oidc, "nickname" | "preferred_username") | (Vocabulary::Vcard, "NICKNAME") => {
                add(By::Nick, value);
            }
            (Vocabulary::Oidc, "email") | (Vocabulary::Vcard, "EMAIL") => {
                add(By::Email, value);
            }
            (Vocabulary::Oidc, "phone_number") | (Vocabulary::Vcard, "TEL") => {
                add(By::Phone, value.strip_prefix("tel:").unwrap_or(value));
            }
            _ => {}
        }
        let own = match field.vocabulary {
            Vocabulary::Oidc => By::OidcStdClaim,
            Vocabulary::Vcard => By::VcardField,
        };
        terms.insert(Term::new(own, name, value));
    }
    terms
}

/// `alice.smith` of `im:alice.smith@a.example`.
fn user_part(handle: &str) -> Option<&str> {
    let (_, rest) = handle.split_once(':')?;
    rest.split_once('@')
        .map(|(user, _)| user)
        .filter(|user| !user.is_empty())
}

/// A query that may be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    whole: Vec<Term>,
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
struct Part {
    text: String,
    names_only: bool,
}

impl Query {
    /// Reads a query under the provider's policy, or says what is answered instead.
    pub(crate) fn new(elements: &[QueryElement], policy: &SearchPolicy) -> Result<Self, IdentifierQueryCode> {
        use SearchIdentifierType as By;
        if policy.mode == SearchMode::Off || elements.is_empty() || elements.len() > ELEMENTS {
            return Err(IdentifierQueryCode::Forbidden);
        }
        let mut query = Self {
            whole: Vec::new(),
            parts: Vec::new(),
        };
        for element in elements {
            let value = element.search_value.as_str();
            match element.search_type {
                by @ (By::Handle | By::Nick | By::Email | By::Phone) => {
                    query.whole.push(Term::new(by, "", value));
                }
                By::OidcStdClaim if is_known(Vocabulary::Oidc, &element.field_name) => {
                    query
                        .whole
                        .push(Term::new(By::OidcStdClaim, &element.field_name, value));
                }
                By::VcardField => {
                    // Names of properties have no case (RFC 6350 section 3.3).
                    let name = element.field_name.to_ascii_uppercase();
                    if !is_known(Vocabulary::Vcard, &name) {
                        return Err(IdentifierQueryCode::UnsupportedField);
                    }
                    query.whole.push(Term::new(By::VcardField, &name, value));
                }
                By::OidcStdClaim => return Err(IdentifierQueryCode::UnsupportedField),
                by @ (By::PartialName | By::WholeProfile) => {
                    // The draft's word for "this field needs to match exactly for any answer".
                    if policy.mode != SearchMode::Partial || value.chars().count() < SHORTEST_PART {
                        return Err(IdentifierQueryCode::Ambiguous);
                    }
                    query.parts.push(Part {
                        text: value.to_lowercase(),
                        names_only: by == By::PartialName,
                    });
                }
            }
        }
        Ok(query)
    }

    /// The term by which the index finds the candidates; none: every profile is one.
    pub(crate) fn indexed(&self) -> Option<&Term> {
        self.whole.first()
    }

    /// Whether all elements match.
    pub(crate) fn matches(&self, fields: &[ProfileField]) -> bool {
        let terms = terms(fields);
        self.whole.iter().all(|term| terms.contains(term))
            && self.parts.iter().all(|part| {
                fields.iter().any(|field| {
                    field.search == Searchable::Partial
                        && (!part.names_only || NAMES.contains(&field.name.as_str()))
                        && field.value.to_lowercase().contains(&part.text)
                })
            })
    }
}

#[cfg(test)]
mod tests;
