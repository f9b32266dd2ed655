//! The system record: number of the last batch and the size of each space, written with every group.

use std::collections::BTreeMap;

use crate::{Space, SpaceStats, StoreError, key};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct System {
    /// Number of the last batch.
    pub(super) commit: u64,
    /// Records and bytes by code of the space.
    sizes: BTreeMap<u8, SpaceStats>,
}

impl System {
    /// Counts the change of one record: bytes of the value before and after.
    pub(super) fn count(&mut self, raw: &[u8], before: Option<usize>, after: Option<usize>) {
        let Some((code, key)) = raw.split_first() else {
            return;
        };
        let stats = self.sizes.entry(*code).or_default();
        if let Some(bytes) = before {
            stats.records = stats.records.saturating_sub(1);
            stats.bytes = stats.bytes.saturating_sub((key.len() + bytes) as u64);
        }
        if let Some(bytes) = after {
            stats.records += 1;
            stats.bytes += (key.len() + bytes) as u64;
        }
        if stats.records == 0 {
            self.sizes.remove(code);
        }
    }

    /// Sizes of all spaces that have records.
    pub(super) fn spaces(&self) -> Vec<(Space, SpaceStats)> {
        self.sizes
            .iter()
            .filter_map(|(code, stats)| Some((key::split(&[*code]).0?, *stats)))
            .collect()
    }

    /// Number of the last batch, then code, records and bytes of each space; numbers big-endian.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.commit.to_be_bytes().to_vec();
        for (code, stats) in &self.sizes {
            out.push(*code);
            out.extend_from_slice(&stats.records.to_be_bytes());
            out.extend_from_slice(&stats.bytes.to_be_bytes());
        }
        out
    }

    pub(super) fn decode(record: &[u8]) -> Result<System, StoreError> {
        parse(record).ok_or_else(|| StoreError::damaged("the system record is malformed"))
    }
}

fn parse(record: &[u8]) -> Option<System> {
    let (commit, mut rest) = record.split_first_chunk::<8>()?;
    let mut system = System {
        commit: u64::from_be_bytes(*commit),
        sizes: BTreeMap::new(),
    };
    while let Some((code, numbers)) = rest.split_first() {
        let (records, numbers) = numbers.split_first_chunk::<8>()?;
        let (bytes, numbers) = numbers.split_first_chunk::<8>()?;
        let stats = SpaceStats {
            records: u64::from_be_bytes(*records),
            bytes: u64::from_be_bytes(*bytes),
        };
        system.sizes.insert(*code, stats);
        rest = numbers;
    }
    Some(system)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::System;

    proptest! {
        #[test]
        fn any_record_is_refused_or_comes_back(record in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(system) = System::decode(&record) {
                prop_assert_eq!(System::decode(&system.encode()).unwrap(), system);
            }
        }
    }

    #[test]
    fn counts_come_back_and_empty_spaces_go() {
        let mut system = System {
            commit: 7,
            ..System::default()
        };
        system.count(b"\x03room", None, Some(10));
        system.count(b"\x04index", None, Some(1));
        system.count(b"\x03room", Some(10), Some(20));
        system.count(b"\x04index", Some(1), None);
        let spaces = system.spaces();
        assert_eq!(spaces.len(), 1);
        assert_eq!((spaces[0].1.records, spaces[0].1.bytes), (1, 24));
        assert_eq!(System::decode(&system.encode()).unwrap(), system);
        assert!(System::decode(&[0; 7]).is_err());
        assert!(System::decode(&[0; 10]).is_err());
    }
}
