//! What is written together, under which conditions; and what a scan asks for.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::Space;

/// Name of an owner: whoever is the only writer of some state. Its bytes mean nothing to the store.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerKey(Bytes);

impl OwnerKey {
    /// At most [`crate::MAX_KEY`] bytes, else [`Store::acquire`](crate::Store::acquire) refuses it.
    pub fn new(bytes: impl Into<Bytes>) -> OwnerKey {
        OwnerKey(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnerKey({self})")
    }
}

/// The right to write the next batch of an owner.
///
/// Comes from [`Store::acquire`](crate::Store::acquire) and, advanced by one version, from each commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The owner.
    pub owner: OwnerKey,
    /// Lease under which the owner was acquired.
    pub lease: u64,
    /// How many guarded batches the owner has written.
    pub version: u64,
}

/// By which right a batch is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Right {
    /// None: state without an owner.
    #[default]
    None,
    /// The owner's guard.
    Guard(Guard),
    /// Claims the owner, as [`Store::acquire`](crate::Store::acquire) does.
    Claim(OwnerKey),
}

/// A condition on a record, judged in the same step as the write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// There is no record under the key.
    Absent(Space, Bytes),
    /// There is a record and its value has this SHA-256.
    ValueSha256(Space, Bytes, [u8; 32]),
}

/// One put (`Some`) or delete (`None`).
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) space: Space,
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
}

/// Records written together or not at all.
///
/// Expectations look at the store before the batch. Where a batch names a key twice, the later call counts.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) right: Right,
    pub(crate) expect: Vec<Expect>,
    pub(crate) writes: Vec<Write>,
    /// May write the store's own records: an import, or what another node has.
    pub(crate) restoring: bool,
}

impl Batch {
    /// A batch without an owner, for state that has none.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// The next batch of an owner.
    pub fn guarded(guard: Guard) -> Batch {
        Batch {
            right: Right::Guard(guard),
            ..Batch::default()
        }
    }

    /// A batch that claims an owner in the same step as it writes; [`Committed::guard`] is the new guard.
    pub fn claiming(owner: OwnerKey) -> Batch {
        Batch {
            right: Right::Claim(owner),
            ..Batch::default()
        }
    }

    /// A batch that writes records as another node's store has them, leases included.
    pub fn replica() -> Batch {
        Batch::restoring()
    }

    pub(crate) fn restoring() -> Batch {
        Batch {
            restoring: true,
            ..Batch::default()
        }
    }

    /// Writes a record, over an older one if there is one.
    pub fn put(&mut self, space: Space, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> &mut Batch {
        let key = Bytes::copy_from_slice(key.as_ref());
        self.writes.push(Write {
            space,
            key,
            value: Some(value.into()),
        });
        self
    }

    /// Deletes a record, if there is one.
    pub fn delete(&mut self, space: Space, key: impl AsRef<[u8]>) -> &mut Batch {
        self.writes.push(Write {
            space,
            key: Bytes::copy_from_slice(key.as_ref()),
            value: None,
        });
        self
    }

    /// Demands that there is no record under the key.
    pub fn expect_absent(&mut self, space: Space, key: impl AsRef<[u8]>) -> &mut Batch {
        self.expect
            .push(Expect::Absent(space, Bytes::copy_from_slice(key.as_ref())));
        self
    }

    /// Demands that the record's value has this SHA-256.
    pub fn expect_value_sha256(
        &mut self,
        space: Space,
        key: impl AsRef<[u8]>,
        sha256: [u8; 32],
    ) -> &mut Batch {
        self.expect.push(Expect::ValueSha256(
            space,
            Bytes::copy_from_slice(key.as_ref()),
            sha256,
        ));
        self
    }

    /// Demands that the record's value is this one.
    pub fn expect_value(&mut self, space: Space, key: impl AsRef<[u8]>, value: &[u8]) -> &mut Batch {
        self.expect_value_sha256(space, key, Sha256::digest(value).into())
    }

    /// The guard, if the batch has an owner.
    pub fn guard(&self) -> Option<&Guard> {
        match &self.right {
            Right::Guard(guard) => Some(guard),
            Right::None | Right::Claim(_) => None,
        }
    }

    /// Whose batch it is, by a guard or a claim.
    pub fn owner(&self) -> Option<&OwnerKey> {
        match &self.right {
            Right::Guard(guard) => Some(&guard.owner),
            Right::Claim(owner) => Some(owner),
            Right::None => None,
        }
    }

    /// Judges what can be judged without the store: sizes, and records only the store may write.
    pub fn check(&self) -> Result<(), crate::StoreError> {
        crate::judge::check_limits(self)
    }

    /// How many puts and deletes it holds.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// True if it holds no put and no delete. Such a batch still checks and advances its guard.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of all keys and values, as counted against [`crate::MAX_BATCH_BYTES`].
    pub fn bytes(&self) -> usize {
        self.writes
            .iter()
            .map(|write| write.key.len() + write.value.as_ref().map_or(0, Bytes::len))
            .sum()
    }

    /// The puts and deletes in order (a delete has no value), for logs and tests.
    pub fn writes(&self) -> impl Iterator<Item = (Space, &[u8], Option<&[u8]>)> {
        self.writes
            .iter()
            .map(|write| (write.space, &write.key[..], write.value.as_deref()))
    }
}

/// What a commit returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The guard for the owner's next batch; none if the batch had none.
    pub guard: Option<Guard>,
    /// Number of the batch in the order of this store: a later one is greater.
    pub commit: u64,
}

/// Which records to read, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Kind of records.
    pub space: Space,
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Only keys behind this one (exclusive): greater, or smaller when `reverse`. A whole key, prefix included.
    pub after: Option<Bytes>,
    /// Most records to return.
    pub limit: usize,
    /// Greatest key first.
    pub reverse: bool,
}

impl Scan {
    /// All records of a space whose key begins with `prefix`, smallest key first, without limit.
    pub fn prefix(space: Space, prefix: impl AsRef<[u8]>) -> Scan {
        let prefix = Bytes::copy_from_slice(prefix.as_ref());
        Scan {
            space,
            prefix,
            after: None,
            limit: usize::MAX,
            reverse: false,
        }
    }

    /// All records of a space, smallest key first, without limit.
    pub fn all(space: Space) -> Scan {
        Scan::prefix(space, [])
    }

    /// Starts behind this key.
    #[must_use]
    pub fn after(mut self, key: impl AsRef<[u8]>) -> Scan {
        self.after = Some(Bytes::copy_from_slice(key.as_ref()));
        self
    }

    /// Returns at most this many records.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Scan {
        self.limit = limit;
        self
    }

    /// Returns the greatest key first.
    #[must_use]
    pub fn reverse(mut self) -> Scan {
        self.reverse = true;
        self
    }
}
