//! Groups as they were loaded last: openmls reads a whole group, its tree and its secrets, each time one asks for it.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Groups by id that are as the records have them.
#[derive(Debug)]
pub(crate) struct Groups<T>(Arc<Mutex<Kept<T>>>);

#[derive(Debug)]
struct Kept<T> {
    /// Counts the groups that were changed.
    changes: u64,
    /// Groups that are being changed now.
    changing: usize,
    groups: HashMap<Vec<u8>, T>,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Kept {
            changes: 0,
            changing: 0,
            groups: HashMap::new(),
        })))
    }
}

fn lock<T>(kept: &Mutex<Kept<T>>) -> MutexGuard<'_, Kept<T>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Groups<T> {
    /// The group of this id: the one that is kept, or else what `load` finds in the records.
    pub(crate) fn get<E>(
        &self,
        id: &[u8],
        load: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Option<Held<T>>, E> {
        let (kept, changes) = {
            let mut kept = lock(&self.0);
            (kept.groups.remove(id), kept.changes)
        };
        let group = match kept {
            Some(group) => Some(group),
            None => load()?,
        };
        Ok(group.map(|group| Held {
            group: Some(group),
            id: id.to_vec(),
            changes,
            changing: false,
            from: self.0.clone(),
        }))
    }
}

/// A group in use. If it was only read it is kept for the next one who asks; if it, or any other, was changed meanwhile
/// the next one loads it from the records.
#[derive(Debug)]
pub(crate) struct Held<T> {
    /// There until it is dropped.
    group: Option<T>,
    id: Vec<u8>,
    changes: u64,
    /// Whether it is being changed.
    changing: bool,
    from: Arc<Mutex<Kept<T>>>,
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        #[allow(clippy::expect_used, reason = "only `drop` takes it")]
        self.group.as_ref().expect("a group in use")
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        if !std::mem::replace(&mut self.changing, true) {
            let mut kept = lock(&self.from);
            kept.changing = kept.changing.saturating_add(1);
            kept.groups.remove(&self.id);
        }
        #[allow(clippy::expect_used, reason = "only `drop` takes it")]
        self.group.as_mut().expect("a group in use")
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let mut kept = lock(&self.from);
        if self.changing {
            kept.changing = kept.changing.saturating_sub(1);
            kept.changes = kept.changes.wrapping_add(1);
        } else if let Some(group) = self.group.take()
            && (kept.changing, kept.changes) == (0, self.changes)
        {
            kept.groups.insert(std::mem::take(&mut self.id), group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Groups, Held};
    use std::cell::Cell;

    fn get(groups: &Groups<u32>, record: &Cell<u32>, loads: &Cell<u32>) -> Held<u32> {
        let load = || {
            loads.set(loads.get() + 1);
            Ok::<_, ()>(Some(record.get()))
        };
        groups.get(b"id", load).unwrap().unwrap()
    }

    #[test]
    fn what_was_only_read_is_not_loaded_again() {
        let (groups, record, loads) = (Groups::default(), Cell::new(1), Cell::new(0));
        for _ in 0..3 {
            assert_eq!(*get(&groups, &record, &loads), 1);
        }
        assert_eq!(loads.get(), 1);
    }

    #[test]
    fn what_was_changed_is_loaded_again() {
        let (groups, record, loads) = (Groups::default(), Cell::new(1), Cell::new(0));
        // Who changes a group and fails leaves the records as they were.
        *get(&groups, &record, &loads) = 2;
        assert_eq!(*get(&groups, &record, &loads), 1);
        // Changed by somebody else while one reads it.
        let reads = get(&groups, &record, &loads);
        *get(&groups, &record, &loads) = 3;
        record.set(3);
        drop(reads);
        assert_eq!(*get(&groups, &record, &loads), 3);
        // The same the other way round.
        let mut changes = get(&groups, &record, &loads);
        drop(get(&groups, &record, &loads));
        *changes = 4;
        record.set(4);
        // And while it is being changed.
        drop(get(&groups, &record, &loads));
        record.set(5);
        drop(changes);
        assert_eq!(*get(&groups, &record, &loads), 5);
    }
}
