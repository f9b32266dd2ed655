//! Judges a batch: limits, guard, expectations. The same code for every store.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    Batch, Expect, Expected, Guard, MAX_BATCH_BYTES, MAX_KEY, MAX_VALUE, OwnerKey, Space, StoreError,
    batch::{Right, Write},
};

/// Keys of [`Space::Meta`] that begin with this are the store's own.
pub(crate) const OWN_META: &[u8] = b"store.";

/// The state a batch is judged against.
pub(crate) trait View {
    fn value(&mut self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
}

/// What an accepted batch writes.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) writes: Vec<Write>,
    pub(crate) guard: Option<Guard>,
}

/// What can be judged without the state.
pub(crate) fn check_limits(batch: &Batch) -> Result<(), StoreError> {
    if let Right::Claim(owner) = &batch.right {
        limit("an owner", owner.as_bytes().len(), MAX_KEY)?;
    }
    for write in &batch.writes {
        limit("a key", write.key.len(), MAX_KEY)?;
        limit("a value", write.value.as_ref().map_or(0, Bytes::len), MAX_VALUE)?;
        let own =
            write.space == Space::Lease || (write.space == Space::Meta && write.key.starts_with(OWN_META));
        if own && !batch.restoring {
            return Err(StoreError::Reserved { space: write.space });
        }
    }
    limit("a batch", batch.bytes(), MAX_BATCH_BYTES)
}

/// Judges a batch whose limits were checked.
pub(crate) fn judge(view: &mut impl View, batch: Batch) -> Result<Judged, StoreError> {
    let Batch {
        right,
        expect,
        mut writes,
        restoring: _,
    } = batch;
    let guard = match right {
        Right::None => None,
        Right::Claim(owner) => Some(claimed(view, &owner)?),
        Right::Guard(guard) => {
            let found = lease(view, &guard.owner)?;
            if found.lease != guard.lease {
                return Err(StoreError::Fenced {
                    owner: guard.owner,
                    held: guard.lease,
                    found: found.lease,
                });
            }
            if found.version != guard.version {
                let (expected, found) = (guard.version, found.version);
                return Err(StoreError::VersionConflict {
                    owner: guard.owner,
                    expected,
                    found,
                });
            }
            Some(Guard {
                version: guard.version.saturating_add(1),
                ..guard
            })
        }
    };
    for expect in expect {
        let (space, key, expected, met) = match expect {
            Expect::Absent(space, key) => {
                let met = view.value(space, &key)?.is_none();
                (space, key, Expected::Absent, met)
            }
            Expect::ValueSha256(space, key, sha256) => {
                let met = view
                    .value(space, &key)?
                    .is_some_and(|value| Sha256::digest(&value)[..] == sha256);
                (space, key, Expected::ValueSha256, met)
            }
        };
        if !met {
            return Err(StoreError::ExpectationFailed {
                space,
                key: key.to_vec(),
                expected,
            });
        }
    }
    writes.extend(guard.as_ref().map(lease_record));
    Ok(Judged { writes, guard })
}

/// The owner's guard under its next lease.
fn claimed(view: &mut impl View, owner: &OwnerKey) -> Result<Guard, StoreError> {
    let found = lease(view, owner)?;
    Ok(Guard {
        lease: found.lease.saturating_add(1),
        ..found
    })
}

fn limit(what: &'static str, bytes: usize, limit: usize) -> Result<(), StoreError> {
    if bytes > limit {
        Err(StoreError::TooLarge { what, bytes, limit })
    } else {
        Ok(())
    }
}

fn lease(view: &mut impl View, owner: &OwnerKey) -> Result<Guard, StoreError> {
    let (lease, version) = match view.value(Space::Lease, owner.as_bytes())? {
        None => (0, 0),
        Some(value) => parse_lease(&value).ok_or_else(|| StoreError::Corrupt {
            space: Some(Space::Lease),
            key: owner.as_bytes().to_vec(),
            why: "a lease record has 16 bytes".to_owned(),
        })?,
    };
    Ok(Guard {
        owner: owner.clone(),
        lease,
        version,
    })
}

/// Lease number and version, each 8 bytes, big-endian.
fn parse_lease(value: &[u8]) -> Option<(u64, u64)> {
    let (lease, version) = value.split_at_checked(8)?;
    Some((
        u64::from_be_bytes(lease.try_into().ok()?),
        u64::from_be_bytes(version.try_into().ok()?),
    ))
}

fn lease_record(guard: &Guard) -> Write {
    let value = [guard.lease.to_be_bytes(), guard.version.to_be_bytes()].concat();
    Write {
        space: Space::Lease,
        key: Bytes::copy_from_slice(guard.owner.as_bytes()),
        value: Some(value.into()),
    }
}
