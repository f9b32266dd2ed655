//! The name of a provider.

use super::UriError;
use serde::{Deserialize, Serialize};

/// A provider's domain: a DNS name in lower case, without port and trailing dot. Not an IP address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

impl Domain {
    /// Checks and lower-cases a DNS name (RFC 1123 labels, at most 253 octets).
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.is_empty() || text.len() > 253 {
            return Err(UriError::Domain);
        }
        let label_is_valid = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A name whose last label is a number is an IPv4 address to most resolvers.
        let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        if !text.split('.').all(label_is_valid) || text.rsplit('.').next().is_none_or(numeric) {
            return Err(UriError::Domain);
        }
        Ok(Self::from_checked(text))
    }

    /// Lower-cases a name that was checked before.
    pub(super) fn from_checked(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Domain {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Domain {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0
    }
}

impl AsRef<str> for Domain {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
