//! Attachments: encrypted here, kept by a provider as octets without meaning, named in a message as an external part
//! (draft-ietf-mimi-content-09 section 4.5).

use super::Engine;
use crate::error::ClientError;
use crate::storage::StorageError;
use crate::wire;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use mimi_wire::codec::Opaque;
use mimi_wire::content::{Disposition, ExternalPart, MimiContent, NestedPart, Part};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// `AEAD_AES_128_GCM` (IANA AEAD registry), the one every client has.
const AES_128_GCM: u16 = 1;
/// `AEAD_AES_256_GCM`.
const AES_256_GCM: u16 = 2;
/// `sha-256` (IANA Named Information hash algorithms).
const SHA_256: u8 = 1;

/// A file to be sent.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Media type.
    pub content_type: String,
    /// Suggested file name.
    pub filename: String,
    /// For people.
    pub description: String,
    /// The file.
    pub octets: Vec<u8>,
}

/// An encrypted file, and the part of a message that will name it.
pub(crate) struct Sealed {
    /// What is uploaded.
    pub(crate) octets: Vec<u8>,
    part: ExternalPart,
}

impl Sealed {
    /// The body of the message, once it is known where the octets are.
    pub(crate) fn at(mut self, url: &str) -> NestedPart {
        url.clone_into(&mut self.part.url);
        NestedPart::external(Disposition::ATTACHMENT, self.part)
    }
}

/// Encrypts a file under a key of its own.
pub(crate) fn seal(file: &Attachment) -> Result<Sealed, ClientError> {
    let mut key = Zeroizing::new([0; 16]);
    let mut nonce = [0; 12];
    getrandom::fill(key.as_mut())
        .and_then(|()| getrandom::fill(&mut nonce))
        .map_err(|_| StorageError::Random)?;
    let octets = Aes128Gcm::new(&(*key).into())
        .encrypt(&nonce.into(), file.octets.as_slice())
        .map_err(|_| ClientError::Attachment("it can't be encrypted".into()))?;
    let part = ExternalPart {
        content_type: file.content_type.clone(),
        url: String::new(),
        expires: 0,
        size: u64::try_from(octets.len()).unwrap_or(u64::MAX),
        enc_alg: AES_128_GCM,
        key: Opaque(key.to_vec()),
        nonce: Opaque(nonce.to_vec()),
        aad: Opaque::default(),
        hash_alg: SHA_256,
        content_hash: Opaque(Sha256::digest(&octets).to_vec()),
        description: file.description.clone(),
        filename: file.filename.clone(),
    };
    Ok(Sealed { octets, part })
}

/// Decrypts what was found at an external part's URL, if it is what the message says.
pub(crate) fn open(part: &ExternalPart, octets: &[u8]) -> Result<Attachment, ClientError> {
    let refuse = |why: &str| ClientError::Attachment(why.into());
    match part.hash_alg {
        0 => {}
        SHA_256 => {
            if !bool::from(Sha256::digest(octets).as_slice().ct_eq(&part.content_hash.0)) {
                return Err(refuse("what was found at its address is not what was sent"));
            }
        }
        other => return Err(refuse(&format!("its hash algorithm {other} is unknown here"))),
    }
    let payload = Payload {
        msg: octets,
        aad: &part.aad.0,
    };
    let nonce: Result<[u8; 12], _> = part.nonce.0.as_slice().try_into();
    let plain = match (part.enc_alg, nonce) {
        (0, _) => octets.to_vec(),
        (AES_128_GCM, Ok(nonce)) => Aes128Gcm::new_from_slice(&part.key.0)
            .map_err(|_| refuse("its key has the wrong length"))?
            .decrypt(&nonce.into(), payload)
            .map_err(|_| refuse("it does not decrypt"))?,
        (AES_256_GCM, Ok(nonce)) => Aes256Gcm::new_from_slice(&part.key.0)
            .map_err(|_| refuse("its key has the wrong length"))?
            .decrypt(&nonce.into(), payload)
            .map_err(|_| refuse("it does not decrypt"))?,
        (AES_128_GCM | AES_256_GCM, Err(_)) => return Err(refuse("its nonce has the wrong length")),
        (other, _) => {
            return Err(refuse(&format!(
                "its encryption algorithm {other} is unknown here"
            )));
        }
    };
    Ok(Attachment {
        content_type: part.content_type.clone(),
        filename: part.filename.clone(),
        description: part.description.clone(),
        octets: plain,
    })
}

impl Engine {
    /// The external parts of a message, by its id or the beginning of it.
    pub fn external_parts(&self, uri: &str, id: &str) -> Result<Vec<ExternalPart>, ClientError> {
        let (_, message) = self.find_message(uri, id)?;
        let data = &message.data.0;
        let content = MimiContent::decode(data)
            .or_else(|_| {
                let inner = wire::unframe(data).unwrap_or_default();
                MimiContent::decode(&inner)
            })
            .map_err(ClientError::malformed("content"))?;
        let external = |part: &&NestedPart| match &part.part {
            Part::External(external) => Some(external.as_ref().clone()),
            _ => None,
        };
        Ok(content.parts().iter().filter_map(external).collect())
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

    fn file() -> Attachment {
        Attachment {
            content_type: "text/plain".into(),
            filename: "note.txt".into(),
            description: "a note".into(),
            octets: b"something to keep".to_vec(),
        }
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let sealed = seal(&file()).unwrap();
        let octets = sealed.octets.clone();
        assert!(!octets.windows(9).any(|w| w == b"something"));
        let part = match sealed.at("https://a.example/x").part {
            Part::External(part) => *part,
            other => panic!("{other:?}"),
        };
        let back = open(&part, &octets).unwrap();
        assert_eq!((back.filename, back.octets), ("note.txt".into(), file().octets));

        let mut damaged = octets.clone();
        damaged[0] ^= 1;
        assert!(open(&part, &damaged).is_err());
        let unhashed = ExternalPart {
            hash_alg: 0,
            ..part.clone()
        };
        assert!(open(&unhashed, &damaged).is_err());
        for bad in [
            ExternalPart {
                enc_alg: 99,
                ..part.clone()
            },
            ExternalPart {
                hash_alg: 99,
                ..part.clone()
            },
            ExternalPart {
                key: Opaque(vec![1; 3]),
                ..part.clone()
            },
            ExternalPart {
                nonce: Opaque(vec![1; 3]),
                ..part.clone()
            },
        ] {
            assert!(open(&bad, &octets).is_err(), "{bad:?}");
        }
    }
}
