//! Power levels, parsed once.

use crate::{
    ids::is_user_id,
    intern::{Interner, Sym},
    json::Raw,
    limits::MAX_INTEGER,
    version::Rules,
};

/// A user's power: creators of room version 12 rooms stand above every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Power {
    Level(i64),
    Infinite,
}

/// The single-valued levels, in the order of [`FIELDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    UsersDefault,
    EventsDefault,
    StateDefault,
    Ban,
    Redact,
    Kick,
    Invite,
}

/// Name and default of each [`Field`]. The defaults hold with and without a power levels event.
pub(crate) const FIELDS: [(Field, &str, i64); 7] = [
    (Field::UsersDefault, "users_default", 0),
    (Field::EventsDefault, "events_default", 0),
    (Field::StateDefault, "state_default", 50),
    (Field::Ban, "ban", 50),
    (Field::Redact, "redact", 50),
    (Field::Kick, "kick", 50),
    (Field::Invite, "invite", 0),
];

/// The content of an `m.room.power_levels` event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PowerLevels {
    fields: [Option<i64>; 7],
    /// Sorted by symbol, as the two that follow.
    pub(crate) users: Box<[(Sym, i64)]>,
    pub(crate) events: Box<[(Sym, i64)]>,
    pub(crate) notifications: Box<[(Sym, i64)]>,
}

/// Which part of power levels is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    Field,
    Map,
    Users,
}

impl PowerLevels {
    pub(crate) fn parse(content: Raw<'_>, rules: &Rules, interner: &mut Interner) -> Result<Self, Malformed> {
        let mut levels = Self::default();
        for entry in content.entries().into_iter().flatten() {
            match entry.key.escaped() {
                "users" => {
                    levels.users = map(entry.value, rules, interner, is_user_id).ok_or(Malformed::Users)?;
                }
                "events" => {
                    levels.events = map(entry.value, rules, interner, |_| true).ok_or(Malformed::Map)?;
                }
                "notifications" => {
                    levels.notifications =
                        map(entry.value, rules, interner, |_| true).ok_or(Malformed::Map)?;
                }
                key => {
                    let known = FIELDS
                        .iter()
                        .zip(&mut levels.fields)
                        .find(|((_, name, _), _)| *name == key);
                    if let Some((_, value)) = known {
                        *value = Some(level(entry.value, rules).ok_or(Malformed::Field)?);
                    }
                }
            }
        }
        Ok(levels)
    }

    /// The value as written, if it is.
    pub(crate) fn written(&self, field: Field) -> Option<i64> {
        self.fields.get(field as usize).copied().flatten()
    }

    /// The level of a user who is no creator.
    pub(crate) fn user(&self, user: Sym) -> i64 {
        find(&self.users, user).unwrap_or_else(|| self.value(Field::UsersDefault))
    }

    fn value(&self, field: Field) -> i64 {
        self.written(field).unwrap_or_else(|| default_of(field))
    }

    /// Octets of memory held.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + (self.users.len() + self.events.len() + self.notifications.len()) * 16
    }
}

/// A field's default.
pub(crate) fn default_of(field: Field) -> i64 {
    FIELDS.get(field as usize).map_or(0, |(_, _, default)| *default)
}

/// The level a field demands, with or without a power levels event.
pub(crate) fn required(levels: Option<&PowerLevels>, field: Field) -> Power {
    Power::Level(levels.map_or_else(|| default_of(field), |l| l.value(field)))
}

/// The level that sending an event of this type demands.
pub(crate) fn required_to_send(levels: Option<&PowerLevels>, event_type: Sym, is_state: bool) -> Power {
    let field = if is_state {
        Field::StateDefault
    } else {
        Field::EventsDefault
    };
    match levels.and_then(|l| find(&l.events, event_type)) {
        Some(level) => Power::Level(level),
        None => required(levels, field),
    }
}

fn find(map: &[(Sym, i64)], key: Sym) -> Option<i64> {
    let i = map.binary_search_by_key(&key, |(k, _)| *k).ok()?;
    map.get(i).map(|(_, v)| *v)
}

fn map(
    value: Raw<'_>,
    rules: &Rules,
    interner: &mut Interner,
    key_ok: impl Fn(&str) -> bool,
) -> Option<Box<[(Sym, i64)]>> {
    let mut out = Vec::new();
    for entry in value.entries()? {
        let key = entry.key.unescaped();
        if !key_ok(&key) {
            return None;
        }
        out.push((interner.sym(&key), level(entry.value, rules)?));
    }
    out.sort_unstable_by_key(|(k, _)| *k);
    Some(out.into())
}

/// An integer, or before room version 10 a string that holds one.
fn level(value: Raw<'_>, rules: &Rules) -> Option<i64> {
    if let Some(int) = value.as_i64() {
        return Some(int);
    }
    if rules.integer_power_levels {
        return None;
    }
    let text = value.as_str()?;
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|v: &i64| v.abs() <= MAX_INTEGER)
}

/// The entries that differ between two sorted maps: key, old value, new value.
pub(crate) fn changes<'a>(
    old: &'a [(Sym, i64)],
    new: &'a [(Sym, i64)],
) -> impl Iterator<Item = (Sym, Option<i64>, Option<i64>)> + 'a {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let (a, b) = (old.peek().copied(), new.peek().copied());
            let change = match (a, b) {
                (None, None) => return None,
                (Some(&(k, v)), None) => {
                    old.next();
                    (k, Some(v), None)
                }
                (None, Some(&(k, v))) => {
                    new.next();
                    (k, None, Some(v))
                }
                (Some(&(ka, va)), Some(&(kb, vb))) => {
                    if ka <= kb {
                        old.next();
                    }
                    if kb <= ka {
                        new.next();
                    }
                    match ka.cmp(&kb) {
                        std::cmp::Ordering::Less => (ka, Some(va), None),
                        std::cmp::Ordering::Greater => (kb, None, Some(vb)),
                        std::cmp::Ordering::Equal if va == vb => continue,
                        std::cmp::Ordering::Equal => (ka, Some(va), Some(vb)),
                    }
                }
            };
            return Some(change);
        }
    })
}
