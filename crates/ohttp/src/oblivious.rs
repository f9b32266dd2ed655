//! Encapsulation (RFC 9458 sections 3 and 4).

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _};
use hmac::{Hmac, Mac as _};
use hpke_rs::{Hpke, HpkePrivateKey, HpkePublicKey, Mode};
use hpke_rs_crypto::types::{AeadAlgorithm, KdfAlgorithm, KemAlgorithm};
use hpke_rs_rust_crypto::HpkeRustCrypto;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Media type of an encapsulated request.
pub const REQUEST_TYPE: &str = "message/ohttp-req";
/// Media type of an encapsulated response.
pub const RESPONSE_TYPE: &str = "message/ohttp-res";
/// Media type of a list of key configurations.
pub const KEYS_TYPE: &str = "application/ohttp-keys";

const KEM: u16 = 0x0020;
const KDF: u16 = 0x0001;
const AEAD: u16 = 0x0001;
/// Octets of an X25519 public key and of an encapsulated one.
const PUBLIC: usize = 32;
/// Octets of `key_id, kem_id, kdf_id, aead_id`.
const HEADER: usize = 7;
/// max(Nn, Nk) of AES-128-GCM.
const RESPONSE_NONCE: usize = 16;

/// Why a message can't be encapsulated or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OhttpError {
    /// Too short, or lengths that contradict each other.
    #[error("malformed")]
    Malformed,
    /// For a key that the gateway doesn't have, any more or at all.
    #[error("encrypted for another key")]
    UnknownKey,
    /// Another suite than the one spoken here.
    #[error("another suite")]
    Suite,
    /// It does not decrypt.
    #[error("it does not decrypt")]
    Decrypt,
    /// Encrypting failed: an invalid public key.
    #[error("it can't be encrypted for this key")]
    Encrypt,
}

fn hpke() -> Hpke<HpkeRustCrypto> {
    Hpke::new(
        Mode::Base,
        KemAlgorithm::DhKem25519,
        KdfAlgorithm::HkdfSha256,
        AeadAlgorithm::Aes128Gcm,
    )
}

fn header(key_id: u8) -> [u8; HEADER] {
    let [kem, kdf, aead] = [KEM, KDF, AEAD].map(u16::to_be_bytes);
    [key_id, kem[0], kem[1], kdf[0], kdf[1], aead[0], aead[1]]
}

fn info(header: &[u8]) -> Vec<u8> {
    [b"message/bhttp request\0", header].concat()
}

fn split_u16(octets: &[u8]) -> Option<(u16, &[u8])> {
    let (high, rest) = octets.split_first()?;
    let (low, rest) = rest.split_first()?;
    Some((u16::from_be_bytes([*high, *low]), rest))
}

/// The gateway's key.
pub struct Gateway {
    key_id: u8,
    private: HpkePrivateKey,
    public: Vec<u8>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A key derived from 32 random octets (RFC 9180 section 7.1.3).
    pub fn derive(key_id: u8, seed: &[u8; 32]) -> Result<Self, OhttpError> {
        let pair = hpke().derive_key_pair(seed).map_err(|_| OhttpError::Encrypt)?;
        let (private, public) = pair.into_keys();
        Ok(Self {
            key_id,
            private,
            public: public.as_slice().to_vec(),
        })
    }

    /// What clients need to know: a list of one key configuration (`application/ohttp-keys`).
    pub fn keys(&self) -> Vec<u8> {
        let mut config = vec![self.key_id];
        config.extend(KEM.to_be_bytes());
        config.extend(&self.public);
        config.extend([0, 4]);
        config.extend(KDF.to_be_bytes());
        config.extend(AEAD.to_be_bytes());
        let length = u16::try_from(config.len()).unwrap_or(u16::MAX);
        [&length.to_be_bytes(), config.as_slice()].concat()
    }

    /// Opens an encapsulated request. The other value encapsulates the response to it.
    pub fn open(&self, encapsulated: &[u8]) -> Result<(Vec<u8>, Sealer), OhttpError> {
        let (head, rest) = encapsulated
            .split_at_checked(HEADER)
            .ok_or(OhttpError::Malformed)?;
        if head.first() != Some(&self.key_id) {
            return Err(OhttpError::UnknownKey);
        }
        if head != header(self.key_id) {
            return Err(OhttpError::Suite);
        }
        let (enc, ciphertext) = rest.split_at_checked(PUBLIC).ok_or(OhttpError::Malformed)?;
        let mut context = hpke()
            .setup_receiver(enc, &self.private, &info(head), None, None, None)
            .map_err(|_| OhttpError::Decrypt)?;
        let request = context.open(b"", ciphertext).map_err(|_| OhttpError::Decrypt)?;
        let secret = context
            .export(b"message/bhttp response", RESPONSE_NONCE)
            .map_err(|_| OhttpError::Decrypt)?;
        let sealer = Sealer {
            enc: enc.to_vec(),
            secret: Zeroizing::new(secret),
        };
        Ok((request, sealer))
    }
}

/// Encapsulates the response to one request.
pub struct Sealer {
    enc: Vec<u8>,
    secret: Zeroizing<Vec<u8>>,
}

impl Sealer {
    /// Encapsulates a response. `nonce` is random.
    pub fn seal(self, nonce: [u8; RESPONSE_NONCE], response: &[u8]) -> Result<Vec<u8>, OhttpError> {
        let (cipher, aead_nonce) = response_keys(&self.enc, &self.secret, &nonce);
        let ciphertext = cipher
            .encrypt(&aead_nonce.into(), response)
            .map_err(|_| OhttpError::Encrypt)?;
        Ok([&nonce[..], &ciphertext].concat())
    }
}

/// Section 4.4.
fn response_keys(enc: &[u8], secret: &[u8], nonce: &[u8]) -> (Aes128Gcm, [u8; 12]) {
    let salt = [enc, nonce].concat();
    let prk = Zeroizing::new(hmac_sha256(&salt, &[secret]));
    // HKDF-Expand: one block is more than either needs.
    let expand = |label: &[u8]| Zeroizing::new(hmac_sha256(&*prk, &[label, &[1]]));
    let (key, nonce) = (expand(b"key"), expand(b"nonce"));
    let mut aead_key = Zeroizing::new([0; 16]);
    aead_key.copy_from_slice(key.split_at(16).0);
    let mut aead_nonce = [0; 12];
    aead_nonce.copy_from_slice(nonce.split_at(12).0);
    (Aes128Gcm::new(&(*aead_key).into()), aead_nonce)
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    use hmac::KeyInit as _;
    // HMAC takes keys of any length; only the type says that it might not.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A gateway's key as its clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    key_id: u8,
    public: [u8; PUBLIC],
}

impl Sender {
    /// The first usable key of a list (`application/ohttp-keys`). Keys of other suites are passed over.
    pub fn from_keys(mut list: &[u8]) -> Result<Self, OhttpError> {
        while !list.is_empty() {
            let (length, rest) = split_u16(list).ok_or(OhttpError::Malformed)?;
            let (config, rest) = rest
                .split_at_checked(usize::from(length))
                .ok_or(OhttpError::Malformed)?;
            list = rest;
            match Self::from_config(config) {
                Err(OhttpError::Suite) => {}
                other => return other,
            }
        }
        Err(OhttpError::Suite)
    }

    fn from_config(config: &[u8]) -> Result<Self, OhttpError> {
        let (key_id, rest) = config.split_first().ok_or(OhttpError::Malformed)?;
        let (kem, rest) = split_u16(rest).ok_or(OhttpError::Malformed)?;
        if kem != KEM {
            return Err(OhttpError::Suite);
        }
        let (public, rest) = rest.split_at_checked(PUBLIC).ok_or(OhttpError::Malformed)?;
        let (length, algorithms) = split_u16(rest).ok_or(OhttpError::Malformed)?;
        if usize::from(length) != algorithms.len() || algorithms.len() % 4 != 0 {
            return Err(OhttpError::Malformed);
        }
        let ours = header(*key_id);
        let spoken = ours.split_at(3).1;
        if !algorithms.chunks_exact(4).any(|one| one == spoken) {
            return Err(OhttpError::Suite);
        }
        let public = public.try_into().map_err(|_| OhttpError::Malformed)?;
        Ok(Self {
            key_id: *key_id,
            public,
        })
    }

    /// Encapsulates a request. The other value opens the response to it.
    pub fn seal(&self, request: &[u8]) -> Result<(Vec<u8>, Opener), OhttpError> {
        let head = header(self.key_id);
        let public = HpkePublicKey::new(self.public.to_vec());
        let (enc, mut context) = hpke()
            .setup_sender(&public, &info(&head), None, None, None)
            .map_err(|_| OhttpError::Encrypt)?;
        let ciphertext = context.seal(b"", request).map_err(|_| OhttpError::Encrypt)?;
        let secret = context
            .export(b"message/bhttp response", RESPONSE_NONCE)
            .map_err(|_| OhttpError::Encrypt)?;
        let sealed = [&head[..], &enc, &ciphertext].concat();
        let opener = Opener {
            enc,
            secret: Zeroizing::new(secret),
        };
        Ok((sealed, opener))
    }
}

/// Opens the response to one request.
pub struct Opener {
    enc: Vec<u8>,
    secret: Zeroizing<Vec<u8>>,
}

impl Opener {
    /// Opens an encapsulated response.
    pub fn open(self, encapsulated: &[u8]) -> Result<Vec<u8>, OhttpError> {
        let (nonce, ciphertext) = encapsulated
            .split_at_checked(RESPONSE_NONCE)
            .ok_or(OhttpError::Malformed)?;
        let (cipher, aead_nonce) = response_keys(&self.enc, &self.secret, nonce);
        cipher
            .decrypt(&aead_nonce.into(), ciphertext)
            .map_err(|_| OhttpError::Decrypt)
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
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    /// RFC 9458 appendix A.
    fn of_the_rfc() -> Gateway {
        Gateway {
            key_id: 1,
            private: HpkePrivateKey::new(hex(
                "3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a",
            )),
            public: hex("31e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e798155"),
        }
    }

    #[test]
    fn the_example_of_the_rfc() {
        let gateway = of_the_rfc();
        let config =
            "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003";
        let list = [&[0, 45][..], &hex(config)].concat();
        let sender = Sender::from_keys(&list).unwrap();
        assert_eq!(sender.public.as_slice(), gateway.public);

        let encapsulated = hex(
            "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472\
             6374e469135906992e1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525",
        );
        let (request, sealer) = gateway.open(&encapsulated).unwrap();
        assert_eq!(request, hex("00034745540568747470730b6578616d706c652e636f6d012f"));
        let nonce = hex("c789e7151fcba46158ca84b04464910d").try_into().unwrap();
        assert_eq!(
            sealer.seal(nonce, &hex("0140c8")).unwrap(),
            hex("c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd")
        );
    }

    #[test]
    fn there_and_back_and_nothing_else() {
        let gateway = Gateway::derive(7, &[3; 32]).unwrap();
        let sender = Sender::from_keys(&gateway.keys()).unwrap();
        let (sealed, opener) = sender.seal(b"request").unwrap();
        let (request, sealer) = gateway.open(&sealed).unwrap();
        assert_eq!(request, b"request");
        let answer = sealer.seal([9; 16], b"response").unwrap();
        assert_eq!(opener.open(&answer).unwrap(), b"response");

        let (again, other) = sender.seal(b"request").unwrap();
        assert_ne!(again, sealed);
        assert_eq!(other.open(&answer), Err(OhttpError::Decrypt));
        let another = Gateway::derive(8, &[3; 32]).unwrap();
        assert_eq!(another.open(&sealed).err(), Some(OhttpError::UnknownKey));
        let changed_key = Gateway::derive(7, &[4; 32]).unwrap();
        assert_eq!(changed_key.open(&sealed).err(), Some(OhttpError::Decrypt));
        let mut suite = sealed.clone();
        suite[6] = 2;
        assert_eq!(gateway.open(&suite).err(), Some(OhttpError::Suite));
        for at in 0..sealed.len() {
            assert!(gateway.open(&sealed[..at]).is_err());
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_opened_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let gateway = Gateway::derive(1, &[3; 32]).unwrap();
            prop_assert!(gateway.open(&octets).is_err());
            let _ = Sender::from_keys(&octets);
        }
    }
}
