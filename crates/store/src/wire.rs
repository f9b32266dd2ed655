//! A batch as octets, so that another node can write the same one.
//!
//! Version 1: a version octet; the right (0 none, 1 guard: owner, lease, version, 2 claim: owner); the expectations
//! (0 absent: space, key, 1 value: space, key, SHA-256); the writes (0 delete: space, key, 1 put: space, key, value).
//! Numbers are big-endian; lengths and counts have 4 octets, lease and version 8. Nothing may follow.

use bytes::Bytes;

use crate::{
    Batch, Expect, Guard, MAX_BATCH_BYTES, OwnerKey, Space,
    batch::{Right, Write},
};

const VERSION: u8 = 1;

/// Octets that are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A version this program doesn't know.
    #[error("a batch of version {0}; this program knows version {VERSION}")]
    Version(u8),
    /// Cut short, too long, or with a tag or space that doesn't exist.
    #[error("malformed batch at octet {0}")]
    Malformed(usize),
}

impl Batch {
    /// The batch as octets.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.bytes().saturating_add(64 + 16 * self.len()));
        out.push(VERSION);
        match &self.right {
            Right::None => out.push(0),
            Right::Guard(guard) => {
                out.push(1);
                field(&mut out, guard.owner.as_bytes());
                out.extend_from_slice(&guard.lease.to_be_bytes());
                out.extend_from_slice(&guard.version.to_be_bytes());
            }
            Right::Claim(owner) => {
                out.push(2);
                field(&mut out, owner.as_bytes());
            }
        }
        count(&mut out, self.expect.len());
        for expect in &self.expect {
            match expect {
                Expect::Absent(space, key) => {
                    out.extend_from_slice(&[0, space.code()]);
                    field(&mut out, key);
                }
                Expect::ValueSha256(space, key, sha256) => {
                    out.extend_from_slice(&[1, space.code()]);
                    field(&mut out, key);
                    out.extend_from_slice(sha256);
                }
            }
        }
        count(&mut out, self.writes.len());
        for write in &self.writes {
            out.extend_from_slice(&[u8::from(write.value.is_some()), write.space.code()]);
            field(&mut out, &write.key);
            if let Some(value) = &write.value {
                field(&mut out, value);
            }
        }
        out.into()
    }

    /// Reads [`Batch::to_bytes`]. What a batch may hold is judged when it is committed.
    pub fn from_bytes(octets: &Bytes) -> Result<Batch, BatchError> {
        let mut reader = Reader { octets, at: 0 };
        match reader.octet()? {
            VERSION => {}
            other => return Err(BatchError::Version(other)),
        }
        let right = match reader.octet()? {
            0 => Right::None,
            1 => Right::Guard(Guard {
                owner: OwnerKey::new(reader.field()?),
                lease: reader.long()?,
                version: reader.long()?,
            }),
            2 => Right::Claim(OwnerKey::new(reader.field()?)),
            _ => return Err(reader.malformed()),
        };
        let mut batch = Batch {
            right,
            ..Batch::default()
        };
        for _ in 0..reader.length()? {
            let tag = reader.octet()?;
            let (space, key) = (reader.space()?, reader.field()?);
            batch.expect.push(match tag {
                0 => Expect::Absent(space, key),
                1 => Expect::ValueSha256(space, key, reader.array()?),
                _ => return Err(reader.malformed()),
            });
        }
        for _ in 0..reader.length()? {
            let tag = reader.octet()?;
            let (space, key) = (reader.space()?, reader.field()?);
            let value = match tag {
                0 => None,
                1 => Some(reader.field()?),
                _ => return Err(reader.malformed()),
            };
            batch.writes.push(Write { space, key, value });
        }
        if reader.at == octets.len() {
            Ok(batch)
        } else {
            Err(reader.malformed())
        }
    }
}

fn count(out: &mut Vec<u8>, count: usize) {
    // Far above any limit on a batch; the reader refuses what doesn't match.
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn field(out: &mut Vec<u8>, octets: &[u8]) {
    count(out, octets.len());
    out.extend_from_slice(octets);
}

struct Reader<'a> {
    octets: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn malformed(&self) -> BatchError {
        BatchError::Malformed(self.at)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, BatchError> {
        let end = self
            .at
            .checked_add(length)
            .filter(|end| *end <= self.octets.len());
        let end = end.ok_or(self.malformed())?;
        let taken = self.octets.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BatchError> {
        let taken = self.take(N)?;
        taken.as_ref().try_into().map_err(|_| self.malformed())
    }

    fn octet(&mut self) -> Result<u8, BatchError> {
        self.array::<1>().map(|[octet]| octet)
    }

    fn long(&mut self) -> Result<u64, BatchError> {
        self.array().map(u64::from_be_bytes)
    }

    fn length(&mut self) -> Result<usize, BatchError> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX);
        if length > MAX_BATCH_BYTES {
            return Err(self.malformed());
        }
        Ok(length)
    }

    fn field(&mut self) -> Result<Bytes, BatchError> {
        let length = self.length()?;
        self.take(length)
    }

    fn space(&mut self) -> Result<Space, BatchError> {
        let code = self.octet()?;
        Space::from_code(code).ok_or(self.malformed())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::BatchError;
    use crate::{Batch, Guard, OwnerKey, Space};

    fn batches() -> impl Strategy<Value = Batch> {
        let octets = || proptest::collection::vec(any::<u8>(), 0..40);
        let space = || proptest::sample::select(Space::ALL.to_vec());
        let right = (0..3_u8, octets(), any::<u64>(), any::<u64>());
        let expects =
            proptest::collection::vec((space(), octets(), proptest::option::of(any::<[u8; 32]>())), 0..4);
        let writes = proptest::collection::vec((space(), octets(), proptest::option::of(octets())), 0..6);
        (right, expects, writes).prop_map(|((right, owner, lease, version), expects, writes)| {
            let owner = OwnerKey::new(owner);
            let mut batch = match right {
                0 => Batch::new(),
                1 => Batch::guarded(Guard {
                    owner,
                    lease,
                    version,
                }),
                _ => Batch::claiming(owner),
            };
            for (space, key, sha256) in expects {
                match sha256 {
                    None => batch.expect_absent(space, key),
                    Some(sha256) => batch.expect_value_sha256(space, key, sha256),
                };
            }
            for (space, key, value) in writes {
                match value {
                    None => batch.delete(space, key),
                    Some(value) => batch.put(space, key, value),
                };
            }
            batch
        })
    }

    proptest! {
        #[test]
        fn a_batch_survives_the_wire(batch in batches()) {
            let octets = batch.to_bytes();
            let back = Batch::from_bytes(&octets).unwrap();
            prop_assert_eq!(back.to_bytes(), octets.clone());
            prop_assert_eq!(format!("{back:?}"), format!("{batch:?}"));
            for cut in 0..octets.len() {
                prop_assert!(Batch::from_bytes(&octets.slice(..cut)).is_err());
            }
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let octets = Bytes::from(octets);
            if let Ok(batch) = Batch::from_bytes(&octets) {
                prop_assert_eq!(batch.to_bytes(), octets);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_end_takes_no_memory() {
        let octets = Bytes::from_static(&[1, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(Batch::from_bytes(&octets).unwrap_err(), BatchError::Malformed(6));
        assert_eq!(
            Batch::from_bytes(&Bytes::from_static(&[9])).unwrap_err(),
            BatchError::Version(9)
        );
    }
}
