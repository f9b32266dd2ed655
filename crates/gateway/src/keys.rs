//! Key files: one line, `ed25519 <version> <seed>` or `hmac-sha256 <version> <key>`, unpadded base64 as in Matrix
//! signing keys.

use crate::failure::{Code, Failure};
use crate::files;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::path::Path;
use zeroize::Zeroizing;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// An Ed25519 seed.
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
        })
    }

    /// Writes a new key file with mode 0600.
    pub fn write(&self, path: &Path, kind: KeyKind) -> Result<(), Failure> {
        let seed = Zeroizing::new(STANDARD_NO_PAD.encode(self.octets.as_ref()));
        let line = Zeroizing::new(format!("{} {} {}\n", kind.name(), self.version, seed.as_str()));
        files::write_secret(path, &line)
    }

    /// Reads a key file. One that others may read is refused: it has to be taken as known to them.
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
        let mut words = text.split_whitespace();
        let parsed = (words.next() == Some(kind.name()))
            .then(|| {
                let version = words.next()?;
                let plain = version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                let octets = Zeroizing::new(STANDARD_NO_PAD.decode(words.next()?).ok()?);
                let octets = Zeroizing::new(<[u8; 32]>::try_from(octets.as_slice()).ok()?);
                (plain && words.next().is_none()).then(|| Self {
                    version: version.to_owned(),
                    octets,
                })
            })
            .flatten();
        parsed.ok_or_else(|| {
            failure(
                path,
                &format!(
                    "not of the form `{} VERSION KEY` with 32 octets in unpadded base64",
                    kind.name()
                ),
                "restore it from your backup",
            )
        })
    }

    /// The version: what follows `ed25519:` in a Matrix key id.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The seed or key.
    pub fn octets(&self) -> &[u8; 32] {
        &self.octets
    }
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
}
