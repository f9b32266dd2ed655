//! The data key of a profile and what it seals.

use super::{StorageError, io_at, write_atomically};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use std::fs;
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const BARE: &str = "key";
const WRAPPED: &str = "key.sealed";

const MAGIC: &[u8; 8] = b"CWCLIENT";
const FORMAT: u16 = 1;
const HEADER: usize = MAGIC.len() + 2;
const NONCE: usize = 12;
const SALT: usize = 16;

/// Argon2id memory in KiB, passes, lanes: 64 MiB, three passes (RFC 9106 section 4, second recommendation, one
/// lane as nothing here runs in parallel). Stored with the key, so that they can be raised later.
const COST: [u32; 3] = [64 * 1024, 3, 1];
/// The costliest parameters that are believed when read: a damaged file must not take all memory.
const COST_LIMIT: [u32; 3] = [1024 * 1024, 16, 16];

/// What a person types to unlock a profile.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Passphrase(String);

impl Passphrase {
    /// Takes a passphrase as typed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// The random key everything of a profile is sealed under.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct DataKey([u8; 32]);

impl DataKey {
    pub(super) fn generate() -> Result<Self, StorageError> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0).map_err(|_| StorageError::Random)?;
        Ok(key)
    }

    pub(super) fn store(&self, dir: &Path, passphrase: Option<&Passphrase>) -> Result<(), StorageError> {
        let Some(passphrase) = passphrase else {
            return write_atomically(dir, BARE, &self.0);
        };
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|_| StorageError::Random)?;
        let mut file = header();
        for cost in COST {
            file.extend_from_slice(&cost.to_be_bytes());
        }
        file.extend_from_slice(&salt);
        let wrapping = derive(passphrase, &salt, COST).ok_or(StorageError::Random)?;
        let sealed = seal(&wrapping.0, &file, &self.0)?;
        file.extend_from_slice(&sealed);
        write_atomically(dir, WRAPPED, &file)
    }

    pub(super) fn load(dir: &Path, passphrase: Option<&Passphrase>) -> Result<Self, StorageError> {
        let (bare, wrapped) = (dir.join(BARE), dir.join(WRAPPED));
        if !wrapped.exists() {
            let octets = Zeroizing::new(fs::read(&bare).map_err(io_at(&bare))?);
            return octets
                .as_slice()
                .try_into()
                .map(Self)
                .map_err(|_| corrupt(&bare, "not 32 octets"));
        }
        let passphrase = passphrase.ok_or(StorageError::PassphraseNeeded)?;
        let file = fs::read(&wrapped).map_err(io_at(&wrapped))?;
        check_header(&wrapped, &file)?;
        let fixed = HEADER + 12 + SALT;
        let (Some(head), Some(costs), Some(salt), Some(sealed)) = (
            file.get(..fixed),
            file.get(HEADER..HEADER + 12),
            file.get(HEADER + 12..fixed),
            file.get(fixed..),
        ) else {
            return Err(corrupt(&wrapped, "too short"));
        };
        let mut cost = [0; 3];
        for (value, octets) in cost.iter_mut().zip(costs.as_chunks::<4>().0) {
            *value = u32::from_be_bytes(*octets);
        }
        if cost.iter().zip(COST_LIMIT).any(|(cost, limit)| *cost > limit) {
            return Err(corrupt(&wrapped, "unbelievable Argon2 parameters"));
        }
        let wrapping =
            derive(passphrase, salt, cost).ok_or_else(|| corrupt(&wrapped, "bad Argon2 parameters"))?;
        let key = open(&wrapping.0, head, sealed).ok_or(StorageError::WrongPassphrase)?;
        key.as_slice()
            .try_into()
            .map(Self)
            .map_err(|_| corrupt(&wrapped, "not 32 octets"))
    }

    pub(super) fn seal_state(&self, content: &[u8]) -> Result<Vec<u8>, StorageError> {
        let mut file = header();
        let sealed = seal(&self.0, &file, content)?;
        file.extend_from_slice(&sealed);
        Ok(file)
    }

    pub(super) fn open_state(&self, path: &Path, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, StorageError> {
        check_header(path, file)?;
        let (head, sealed) = file
            .split_at_checked(HEADER)
            .ok_or_else(|| corrupt(path, "too short"))?;
        open(&self.0, head, sealed)
            .ok_or_else(|| corrupt(path, "its seal doesn't open under the profile's key"))
    }
}

fn header() -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&FORMAT.to_be_bytes());
    file
}

fn check_header(path: &Path, file: &[u8]) -> Result<(), StorageError> {
    let (Some(magic), Some([high, low])) = (file.get(..MAGIC.len()), file.get(MAGIC.len()..HEADER)) else {
        return Err(corrupt(path, "too short"));
    };
    if magic != MAGIC {
        return Err(corrupt(path, "not a file of this program"));
    }
    match u16::from_be_bytes([*high, *low]) {
        FORMAT => Ok(()),
        0 => Err(corrupt(path, "format 0 never existed")),
        found => Err(StorageError::NewerFormat {
            file: path.to_owned(),
            found,
            known: FORMAT,
        }),
    }
}

fn corrupt(file: &Path, what: &'static str) -> StorageError {
    StorageError::Corrupt {
        file: file.to_owned(),
        what,
    }
}

fn derive(passphrase: &Passphrase, salt: &[u8], [memory, passes, lanes]: [u32; 3]) -> Option<DataKey> {
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let mut key = DataKey([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.0.as_bytes(), salt, &mut key.0)
        .ok()?;
    Some(key)
}

/// A random nonce each time: with one write per request, far from the 2^32 a key may see.
fn seal(key: &[u8; 32], aad: &[u8], content: &[u8]) -> Result<Vec<u8>, StorageError> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|_| StorageError::Random)?;
    let sealed = Aes256Gcm::new(key.into())
        .encrypt(&Nonce::from(nonce), Payload { msg: content, aad })
        .map_err(|_| StorageError::Random)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
    Aes256Gcm::new(key.into())
        .decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad })
        .ok()
        .map(Zeroizing::new)
}
