//! The registration: the file that tells a homeserver about this application service
//! (Application Service API, "Registration").
//!
//! Keys of unstable proposals are written next to the stable ones, because the homeservers in use read them:
//! `de.sorunome.msc2409.push_ephemeral`, `org.matrix.msc3202` (device lists and key counts in transactions) and
//! `io.element.msc4190` (devices without `/login`, which OAuth-only deployments no longer have).

use crate::matrix::{Namespace, ServerName};
use crate::tokens::{KeyRing, TokenPair};
use crate::{BOT_LOCALPART, NAMESPACE};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The id under which the homeserver knows us. It must never change, so it is the same everywhere.
pub const DEFAULT_ID: &str = "causeway";

/// A registration larger than this is not read.
pub const MAX_FILE: usize = 64 * 1024;

/// Octets of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// A bearer token. Never printed, compared in constant time, wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a token over. Whitespace around it (a file's last line break) is not part of it.
    pub fn new(token: &str) -> Self {
        Self(Zeroizing::new(token.trim().to_owned()))
    }

    /// The token itself, to be put into a header.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a presented token is this one, in time that depends on lengths only. An empty secret equals
    /// nothing.
    pub fn matches(&self, presented: &str) -> bool {
        !self.0.is_empty() && bool::from(self.0.as_bytes().ct_eq(presented.as_bytes()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(|text| Self::new(&Zeroizing::new(text)))
    }
}

/// The three namespaces. All of them are written even when empty: some homeservers insist.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Namespaces {
    /// User ids that are ours.
    #[serde(default)]
    pub users: Vec<Namespace>,
    /// Aliases that are ours.
    #[serde(default)]
    pub aliases: Vec<Namespace>,
    /// Room ids that are ours: none, since they are opaque.
    #[serde(default)]
    pub rooms: Vec<Namespace>,
}

/// A registration. Made by [`Registration::generate`], written with [`Registration::to_yaml`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registration {
    /// How the homeserver names this application service.
    pub id: String,
    /// Where the homeserver reaches us. `null` means "never call"; the key itself must be there.
    #[serde(deserialize_with = "Option::deserialize")]
    pub url: Option<String>,
    /// What we present to the homeserver.
    pub as_token: Secret,
    /// What the homeserver presents to us.
    pub hs_token: Secret,
    /// Local part of the bot.
    pub sender_localpart: String,
    /// Users and aliases that belong to us alone.
    pub namespaces: Namespaces,
    /// Whether the homeserver limits the rate of ghosts. Ours are limited by what peers send already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limited: Option<bool>,
    /// Third-party protocols we answer for.
    #[serde(default)]
    pub protocols: Vec<String>,
    /// Whether we want typing, receipts and to-device messages (stable key, v1.13).
    #[serde(default)]
    pub receive_ephemeral: bool,
    /// The same, under the key that Synapse reads.
    #[serde(default, rename = "de.sorunome.msc2409.push_ephemeral")]
    pub push_ephemeral: bool,
    /// Device lists and one-time key counts in transactions.
    #[serde(default, rename = "org.matrix.msc3202")]
    pub msc3202: bool,
    /// Devices without `/login`.
    #[serde(default, rename = "io.element.msc4190")]
    pub msc4190: bool,
    /// Keys we don't know, kept so that a difference in them is seen.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Why a registration can't be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The homeserver's name is none.
    #[error("{0:?} is not a Matrix server name")]
    ServerName(String),
    /// The URL is none that a homeserver could call.
    #[error("{0:?} is not an http or https URL")]
    Url(String),
    /// The system gave no random octets.
    #[error("no randomness for the tokens: {0}")]
    Random(String),
    /// The file is larger than [`MAX_FILE`].
    #[error("the registration is larger than {MAX_FILE} octets")]
    TooLarge,
    /// The file is not a registration.
    #[error("not a registration: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
}

/// One difference between two registrations, fit to be shown: tokens never appear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key, dotted.
    pub key: String,
    /// What the other file says.
    pub running: String,
    /// What it should say.
    pub wanted: String,
}

impl TokenPair {
    /// Fresh tokens. `random` fills a buffer with secure random octets.
    pub fn generate<E: std::fmt::Display>(
        mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, RegistrationError> {
        let mut token = || {
            let mut bytes = Zeroizing::new([0_u8; TOKEN_BYTES]);
            random(bytes.as_mut_slice()).map_err(|e| RegistrationError::Random(e.to_string()))?;
            Ok::<_, RegistrationError>(Secret(Zeroizing::new(encode_token(bytes.as_slice()))))
        };
        Ok(Self {
            as_token: token()?,
            hs_token: token()?,
        })
    }
}

impl Registration {
    /// Makes a registration with fresh tokens. `random` fills a buffer with secure random octets.
    pub fn generate<E: std::fmt::Display>(
        server_name: &str,
        url: &str,
        random: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, RegistrationError> {
        let TokenPair { as_token, hs_token } = TokenPair::generate(random)?;
        Self::with_tokens(server_name, url, as_token, hs_token)
    }

    /// The registration that goes with these tokens: what a running one is compared with.
    pub fn with_tokens(
        server_name: &str,
        url: &str,
        as_token: Secret,
        hs_token: Secret,
    ) -> Result<Self, RegistrationError> {
        if ServerName::parse(server_name).is_err() {
            return Err(RegistrationError::ServerName(server_name.to_owned()));
        }
        let reachable =
            reqwest::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        if !reachable {
            return Err(RegistrationError::Url(url.to_owned()));
        }
        let server = escape_regex(server_name);
        Ok(Self {
            id: DEFAULT_ID.to_owned(),
            url: Some(url.trim_end_matches('/').to_owned()),
            as_token,
            hs_token,
            sender_localpart: BOT_LOCALPART.to_owned(),
            namespaces: Namespaces {
                users: vec![Namespace::new(true, format!("@{NAMESPACE}.*:{server}"))],
                aliases: vec![Namespace::new(true, format!("#{NAMESPACE}.*:{server}"))],
                rooms: Vec::new(),
            },
            rate_limited: Some(false),
            protocols: vec!["mimi".to_owned()],
            receive_ephemeral: true,
            push_ephemeral: true,
            msc3202: true,
            msc4190: true,
            other: BTreeMap::new(),
        })
    }

    /// Reads a registration file.
    pub fn from_yaml(text: &str) -> Result<Self, RegistrationError> {
        if text.len() > MAX_FILE {
            return Err(RegistrationError::TooLarge);
        }
        Ok(serde_yaml_ng::from_str(text)?)
    }

    /// The file as the homeserver wants it. Holds both tokens.
    pub fn to_yaml(&self) -> Result<Zeroizing<String>, RegistrationError> {
        Ok(Zeroizing::new(serde_yaml_ng::to_string(self)?))
    }

    /// Its tokens.
    pub fn pair(&self) -> TokenPair {
        TokenPair {
            as_token: self.as_token.clone(),
            hs_token: self.hs_token.clone(),
        }
    }

    /// Its tokens, as the only ones that are good.
    pub fn tokens(&self) -> KeyRing {
        let pair = self.pair();
        KeyRing::fixed(pair.as_token, pair.hs_token)
    }

    /// What differs between the registration that is in use (`running`) and this one. Empty: nothing to do.
    pub fn diff(&self, running: &Self) -> Vec<Difference> {
        let (wanted, there) = (self.shown(), running.shown());
        let keys: std::collections::BTreeSet<&String> = wanted.keys().chain(there.keys()).collect();
        let absent = || "absent".to_owned();
        let mut out: Vec<Difference> = keys
            .into_iter()
            .filter(|key| wanted.get(*key) != there.get(*key))
            .map(|key| Difference {
                key: key.clone(),
                running: there.get(key).cloned().unwrap_or_else(absent),
                wanted: wanted.get(key).cloned().unwrap_or_else(absent),
            })
            .collect();
        for (key, same) in [
            ("as_token", self.as_token == running.as_token),
            ("hs_token", self.hs_token == running.hs_token),
        ] {
            if !same {
                out.push(Difference {
                    key: key.to_owned(),
                    running: "another token".to_owned(),
                    wanted: "the token in our configuration".to_owned(),
                });
            }
        }
        out
    }

    /// Everything but the tokens, key by key as JSON text.
    fn shown(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::from([
            ("id".to_owned(), quoted(&self.id)),
            (
                "url".to_owned(),
                self.url.as_deref().map_or_else(|| "null".to_owned(), quoted),
            ),
            ("sender_localpart".to_owned(), quoted(&self.sender_localpart)),
            ("namespaces.users".to_owned(), listed(&self.namespaces.users)),
            ("namespaces.aliases".to_owned(), listed(&self.namespaces.aliases)),
            ("namespaces.rooms".to_owned(), listed(&self.namespaces.rooms)),
            // Synapse's default, so that absent and true are no difference.
            (
                "rate_limited".to_owned(),
                self.rate_limited.unwrap_or(true).to_string(),
            ),
            ("protocols".to_owned(), self.protocols.join(", ")),
            ("receive_ephemeral".to_owned(), self.receive_ephemeral.to_string()),
            (
                "de.sorunome.msc2409.push_ephemeral".to_owned(),
                self.push_ephemeral.to_string(),
            ),
            ("org.matrix.msc3202".to_owned(), self.msc3202.to_string()),
            ("io.element.msc4190".to_owned(), self.msc4190.to_string()),
        ]);
        out.extend(
            self.other
                .iter()
                .map(|(key, value)| (key.clone(), value.to_string())),
        );
        out
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn listed(namespaces: &[Namespace]) -> String {
    let entries: Vec<String> = namespaces
        .iter()
        .map(|n| {
            format!(
                "{}{}",
                n.regex,
                if n.exclusive { " (exclusive)" } else { " (shared)" }
            )
        })
        .collect();
    format!("[{}]", entries.join(", "))
}

/// Letters and digits only, so that a token survives every shell, YAML and header.
fn encode_token(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

/// A server name in a regular expression: without this, `a.example` would also claim `aXexample`.
fn escape_regex(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len() * 2), |mut out, c| {
            if !(c.is_ascii_alphanumeric() || c == '-' || c == ':') {
                out.push('\\');
            }
            out.push(c);
            out
        })
}

#[cfg(test)]
mod tests;
