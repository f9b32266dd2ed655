//! Ordered keys over all spaces, and the ranges scans ask for.

use std::ops::Bound;

use crate::{Scan, Space};

/// Key over all spaces: code of the space, then the key.
pub(crate) fn raw(space: Space, key: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(key.len() + 1);
    raw.push(space.code());
    raw.extend_from_slice(key);
    raw
}

/// Takes [`raw`] apart; the first byte may be a code nobody knows.
pub(crate) fn split(raw: &[u8]) -> (Option<Space>, &[u8]) {
    match raw.split_first() {
        Some((code, key)) => (Space::from_code(*code), key),
        None => (None, raw),
    }
}

/// The smallest key above all that begin with `prefix`; none if every greater key begins with it.
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// A non-empty-looking range: lower bound is never above the upper one.
pub(crate) type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The range of raw keys a scan covers; none if it can't contain anything.
pub(crate) fn range(scan: &Scan) -> Option<Range> {
    if scan.limit == 0 {
        return None;
    }
    let start = raw(scan.space, &scan.prefix);
    // A code is at most 254, so there is always a successor.
    let end = successor(&start)?;
    let Some(after) = scan.after.as_deref().map(|after| raw(scan.space, after)) else {
        return Some((Bound::Included(start), Bound::Excluded(end)));
    };
    if scan.reverse {
        match after {
            after if after <= start => None,
            after if after >= end => Some((Bound::Included(start), Bound::Excluded(end))),
            after => Some((Bound::Included(start), Bound::Excluded(after))),
        }
    } else {
        match after {
            after if after < start => Some((Bound::Included(start), Bound::Excluded(end))),
            after if after >= end => None,
            after => Some((Bound::Excluded(after), Bound::Excluded(end))),
        }
    }
}

/// What is left of a range behind this key, in the direction of the scan.
pub(crate) fn behind(range: Range, raw: Vec<u8>, reverse: bool) -> Range {
    if reverse {
        (range.0, Bound::Excluded(raw))
    } else {
        (Bound::Excluded(raw), range.1)
    }
}

/// The range of all records.
pub(crate) fn everything() -> Range {
    (Bound::Included(Vec::new()), Bound::Excluded(vec![u8::MAX]))
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::{range, successor};
    use crate::{Scan, Space};

    #[test]
    fn successors() {
        assert_eq!(successor(b"a"), Some(b"b".to_vec()));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff"), None);
        assert_eq!(successor(b""), None);
    }

    #[test]
    fn a_start_outside_the_prefix_is_an_end_or_nothing() {
        let scan = |after: &str| Scan::prefix(Space::Meta, "m").after(after);
        assert_eq!(range(&scan("a")).unwrap().0, Bound::Included(b"\x01m".to_vec()));
        assert_eq!(range(&scan("m")).unwrap().0, Bound::Excluded(b"\x01m".to_vec()));
        assert_eq!(range(&scan("n")), None);
        assert_eq!(range(&scan("a").reverse()), None);
        assert_eq!(range(&scan("m").reverse()), None);
        assert_eq!(
            range(&scan("mm").reverse()).unwrap().1,
            Bound::Excluded(b"\x01mm".to_vec())
        );
        assert_eq!(
            range(&scan("z").reverse()).unwrap().1,
            Bound::Excluded(b"\x01n".to_vec())
        );
        assert_eq!(range(&Scan::all(Space::Meta).limit(0)), None);
    }
}
