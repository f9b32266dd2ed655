//! Key files: one key a line, `ed25519 <version> <seed>` or `hmac-sha256 <version> <key>`, unpadded base64 as in
//! Matrix signing keys. A ring has several, oldest first; `since=<Unix ms>` at the end of a line is when the key
//! comes into use.
//!
//! Every key of the provider lies in a file that the section `[keys]` names: `node` (one key), `hub`, `franking` and
//! `hub_key` (rings, each in one file). A copy of these four files is a copy of all keys.

use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::files;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use delivery_service::{HubIdentity, HubSeeds};
use event_graph::SigningIdentity;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// An Ed25519 seed. In a hub's ring it is the seed of a P-256 key as well (docs/decisions/0004).
    Ed25519,
    /// A key of HMAC-SHA256.
    HmacSha256,
}

impl KeyKind {
    fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::HmacSha256 => "hmac-sha256",
        }
    }
}

/// A key as it lies in its file. Never shown by `Debug`.
#[derive(Clone)]
pub struct KeyFile {
    version: String,
    octets: Zeroizing<[u8; 32]>,
    since_ms: u64,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

fn failure(path: &Path, cause: &str, remedy: &str) -> Failure {
    Failure::new(Code::KeyFile, format!("{}: {cause}", path.display()), remedy)
}

impl KeyFile {
    /// Draws a new key. The version names it for ever: a server's key id must never come back with another key.
    pub fn generate() -> Result<Self, Failure> {
        let mut octets = Zeroizing::new([0_u8; 32]);
        let mut version = [0_u8; 4];
        getrandom::fill(octets.as_mut())
            .and_then(|()| getrandom::fill(&mut version))
            .map_err(|e| {
                Failure::new(
                    Code::Internal,
                    format!("the system gives no random numbers: {e}"),
                    "try again",
                )
            })?;
        Ok(Self {
            version: hex::encode(version),
            octets,
            since_ms: 0,
        })
    }

    /// The same, to come into use at this time (Unix ms).
    #[must_use]
    pub fn since(self, since_ms: u64) -> Self {
        Self { since_ms, ..self }
    }

    fn line(&self, kind: KeyKind) -> Zeroizing<String> {
        let key = Zeroizing::new(STANDARD_NO_PAD.encode(self.octets.as_ref()));
        let since = match self.since_ms {
            0 => String::new(),
            since => format!(" since={since}"),
        };
        Zeroizing::new(format!(
            "{} {} {}{since}\n",
            kind.name(),
            self.version,
            key.as_str()
        ))
    }

    fn parse(line: &str, kind: KeyKind) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next() != Some(kind.name()) {
            return None;
        }
        let version = words.next()?;
        let plain = version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let octets = Zeroizing::new(STANDARD_NO_PAD.decode(words.next()?).ok()?);
        let octets = Zeroizing::new(<[u8; 32]>::try_from(octets.as_slice()).ok()?);
        let since_ms = match words.next() {
            None => 0,
            Some(word) => word.strip_prefix("since=")?.parse().ok()?,
        };
        (plain && words.next().is_none()).then(|| Self {
            version: version.to_owned(),
            octets,
            since_ms,
        })
    }

    /// Writes a new key file with mode 0600.
    pub fn write(&self, path: &Path, kind: KeyKind) -> Result<(), Failure> {
        files::write_secret(path, &self.line(kind))
    }

    /// Reads the file of a single key. One that others may read is refused: it has to be taken as known to them.
    pub fn load(path: &Path, kind: KeyKind) -> Result<Self, Failure> {
        let mut ring = KeyRing::load(path, kind)?;
        match (ring.keys.pop(), ring.keys.is_empty()) {
            (Some(key), true) => Ok(key),
            _ => Err(failure(
                path,
                "holds more than one key",
                "this key has no ring: keep the line that is in use",
            )),
        }
    }

    /// The version: what follows `ed25519:` in a Matrix key id.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The seed or key.
    pub fn octets(&self) -> &[u8; 32] {
        &self.octets
    }

    /// When it comes into use, Unix ms; 0: from the beginning.
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }
}

/// The keys that a file holds, oldest first, at least one.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<KeyFile>,
}

impl KeyRing {
    /// Reads a ring. A file that others may read is refused: its keys have to be taken as known to them.
    pub fn load(path: &Path, kind: KeyKind) -> Result<Self, Failure> {
        if files::open_to_others(path) == Some(true) {
            return Err(failure(
                path,
                "others may read or write this key",
                "chmod 0600 it; if anybody untrusted has access to this machine, make a new key",
            ));
        }
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|e| {
            failure(
                path,
                "the key can't be read",
                "restore it from your backup, or correct [keys] in the configuration",
            )
            .with_source(e)
        })?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let keys: Option<Vec<_>> = lines.map(|line| KeyFile::parse(line, kind)).collect();
        keys.filter(|keys| !keys.is_empty())
            .map(|keys| Self { keys })
            .ok_or_else(|| {
                failure(
                    path,
                    &format!(
                        "not of the form `{} VERSION KEY`, one a line, with 32 octets in unpadded base64",
                        kind.name()
                    ),
                    "restore it from your backup",
                )
            })
    }

    /// Oldest first.
    pub fn keys(&self) -> &[KeyFile] {
        &self.keys
    }

    /// Adds a key, which is the newest from then on. The file is replaced as a whole.
    pub fn add(mut self, key: KeyFile, path: &Path, kind: KeyKind) -> Result<Self, Failure> {
        self.keys.push(key);
        let mut text = Zeroizing::new(String::new());
        for key in &self.keys {
            text.push_str(&key.line(kind));
        }
        files::replace_secret(path, &text)?;
        Ok(self)
    }
}

/// A ring of the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// The hub as external sender.
    Hub,
    /// The franking agent.
    Franking,
    /// The HMAC key of franks.
    HubKey,
}

impl Ring {
    /// All rings.
    pub const ALL: [Self; 3] = [Self::Hub, Self::Franking, Self::HubKey];

    /// Its name in `[keys]`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Franking => "franking",
            Self::HubKey => "hub_key",
        }
    }

    /// What its keys are.
    pub fn kind(self) -> KeyKind {
        match self {
            Self::Hub | Self::Franking => KeyKind::Ed25519,
            Self::HubKey => KeyKind::HmacSha256,
        }
    }

    /// Its file.
    pub fn path(self, config: &Config) -> PathBuf {
        config.path(match self {
            Self::Hub => &config.keys.hub,
            Self::Franking => &config.keys.franking,
            Self::HubKey => &config.keys.hub_key,
        })
    }

    /// Reads it.
    pub fn load(self, config: &Config) -> Result<KeyRing, Failure> {
        KeyRing::load(&self.path(config), self.kind())
    }
}

/// A server's name and the key it signs with, from the key's file; refused if other servers would refuse it.
pub fn signing(server_name: &str, path: &Path) -> Result<SigningIdentity, Failure> {
    let key = KeyFile::load(path, KeyKind::Ed25519)?;
    let identity =
        SigningIdentity::from_seed(server_name, &format!("ed25519:{}", key.version()), key.octets());
    identity.check().map_err(|error| {
        Failure::new(
            Code::KeyFile,
            format!("{}: {error}", path.display()),
            "remove the file and make a new one: `causeway init` in an empty folder makes one to copy",
        )
    })?;
    Ok(identity)
}

/// The hub's keys, from their three files.
pub fn hub(config: &Config) -> Result<HubIdentity, Failure> {
    let seeds = |ring: Ring| -> Result<Vec<_>, Failure> {
        let keys = ring.load(config)?.keys;
        Ok(keys.into_iter().map(|key| (key.since_ms, key.octets)).collect())
    };
    let without_time = |ring| -> Result<Vec<_>, Failure> {
        Ok(seeds(ring)?.into_iter().map(|(_, octets)| octets).collect())
    };
    let seeds = HubSeeds {
        signing: without_time(Ring::Hub)?,
        franking: without_time(Ring::Franking)?,
        hub_keys: seeds(Ring::HubKey)?,
    };
    HubIdentity::from_rings(config.provider.domain.0.clone(), seeds).ok_or_else(|| {
        Failure::new(
            Code::KeyFile,
            "a key ring is empty",
            "restore it from your backup",
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_survives_its_file_and_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/node.key");
        let key = KeyFile::generate().unwrap();
        key.write(&path, KeyKind::Ed25519).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let back = KeyFile::load(&path, KeyKind::Ed25519).unwrap();
        assert_eq!((back.version(), back.octets()), (key.version(), key.octets()));
        assert!(!format!("{back:?}").contains(&STANDARD_NO_PAD.encode(key.octets())));

        assert_eq!(
            key.write(&path, KeyKind::Ed25519).unwrap_err().code(),
            Code::Exists
        );
        assert_eq!(
            KeyFile::load(&path, KeyKind::HmacSha256).unwrap_err().code(),
            Code::KeyFile
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            KeyFile::load(&path, KeyKind::Ed25519)
                .unwrap_err()
                .cause()
                .contains("others may read")
        );
    }

    #[test]
    fn a_ring_grows_and_keeps_what_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub-key.key");
        let kind = KeyKind::HmacSha256;
        let first = KeyFile::generate().unwrap();
        first.write(&path, kind).unwrap();
        let second = KeyFile::generate().unwrap().since(1_790_000_000_000);
        let ring = KeyRing::load(&path, kind)
            .unwrap()
            .add(second.clone(), &path, kind)
            .unwrap();
        let back = KeyRing::load(&path, kind).unwrap();
        for ring in [&ring, &back] {
            let all: Vec<_> = ring
                .keys()
                .iter()
                .map(|k| (k.version(), k.octets(), k.since_ms()))
                .collect();
            assert_eq!(
                all,
                [
                    (first.version(), first.octets(), 0),
                    (second.version(), second.octets(), 1_790_000_000_000)
                ]
            );
        }
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(KeyFile::load(&path, kind).is_err());
        for bad in [
            "",
            "hmac-sha256 x",
            "hmac-sha256 v1 AAAA",
            "ed25519 v1 AAAA since=x",
        ] {
            assert!(KeyFile::parse(bad, kind).is_none(), "{bad}");
        }
    }
}
