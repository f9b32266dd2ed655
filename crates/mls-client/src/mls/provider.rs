//! The openmls provider: its records are kept in memory and saved by the profile as a whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use openmls::prelude::{GroupId, MlsGroup};
use openmls_memory_storage::MemoryStorage;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::sync::PoisonError;
use zeroize::Zeroize;

use super::groups::{Groups, Held};
use crate::error::ClientError;

/// Cryptography, randomness and records of openmls. The records are wiped when it is dropped.
#[derive(Default)]
pub(crate) struct Provider {
    crypto: RustCrypto,
    records: MemoryStorage,
    groups: Groups<MlsGroup>,
}

impl Provider {
    /// A group by its id, where there is one.
    pub(crate) fn group(&self, id: &[u8]) -> Result<Option<Held<MlsGroup>>, ClientError> {
        self.groups.get(id, || {
            MlsGroup::load(&self.records, &GroupId::from_slice(id)).map_err(ClientError::mls("load group"))
        })
    }

    /// The raw records, for the list of secrets.
    pub(crate) fn each_record(&self, mut f: impl FnMut(&[u8], &[u8])) {
        let records = self.records.values.read().unwrap_or_else(PoisonError::into_inner);
        records.iter().for_each(|(key, value)| f(key, value));
    }
}

impl Clone for Provider {
    fn clone(&self) -> Self {
        let records = self.records.values.read().unwrap_or_else(PoisonError::into_inner);
        let clone = Self::default();
        clone
            .records
            .values
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&records);
        clone
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Provider(…)")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let mut records = self
            .records
            .values
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        records.values_mut().for_each(Zeroize::zeroize);
    }
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        &self.records
    }

    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }

    fn rand(&self) -> &RustCrypto {
        &self.crypto
    }
}

impl Serialize for Provider {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let records = self.records.values.read().unwrap_or_else(PoisonError::into_inner);
        let mut map = s.serialize_map(Some(records.len()))?;
        for (key, value) in records.iter() {
            let mut text = STANDARD_NO_PAD.encode(value);
            map.serialize_entry(&STANDARD_NO_PAD.encode(key), &text)?;
            text.zeroize();
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Provider {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let texts = HashMap::<String, String>::deserialize(d)?;
        let mut records = HashMap::with_capacity(texts.len());
        for (key, mut value) in texts {
            let decode = |t: &str| STANDARD_NO_PAD.decode(t).map_err(serde::de::Error::custom);
            records.insert(decode(&key)?, decode(&value)?);
            value.zeroize();
        }
        let provider = Self::default();
        *provider
            .records
            .values
            .write()
            .unwrap_or_else(PoisonError::into_inner) = records;
        Ok(provider)
    }
}
