//! The tokens between us and the homeserver, and their rotation without downtime.
//!
//! A homeserver reads a registration when it starts. While the tokens change there is a time in which it still has the
//! old ones; so both pairs are good then: either `hs_token` is taken, and the `as_token` that the homeserver knows is
//! found by trying. New tokens are noticed by themselves, when a token comes that is unknown or ours is refused.

use crate::registration::Secret;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Between two looks at the files at least: a stranger with a wrong token must not make us read all the time.
const LOOK: Duration = Duration::from_secs(1);

/// What one registration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPair {
    /// What we present to the homeserver.
    pub as_token: Secret,
    /// What the homeserver presents to us.
    pub hs_token: Secret,
}

/// Reads the pairs that are good now, the newest first.
pub type ReadTokens = dyn Fn() -> Result<Vec<TokenPair>, String> + Send + Sync;

/// All tokens that are good now. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing(Arc<Inner>);

struct Inner {
    held: RwLock<Held>,
    read: Option<Box<ReadTokens>>,
}

struct Held {
    /// The newest first; never empty.
    pairs: Vec<TokenPair>,
    /// The pair whose `as_token` the homeserver took last.
    in_use: usize,
    looked: Instant,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing")
            .field("pairs", &self.pairs())
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    /// One pair, for good.
    pub fn fixed(as_token: Secret, hs_token: Secret) -> Self {
        Self::hold(vec![TokenPair { as_token, hs_token }], None)
    }

    /// Pairs that are read again when a token turns out to be unknown. Fails if they can't be read now.
    pub fn reading(read: Box<ReadTokens>) -> Result<Self, String> {
        let pairs = read()?;
        if pairs.is_empty() {
            return Err("no tokens".to_owned());
        }
        Ok(Self::hold(pairs, Some(read)))
    }

    fn hold(pairs: Vec<TokenPair>, read: Option<Box<ReadTokens>>) -> Self {
        Self(Arc::new(Inner {
            held: RwLock::new(Held {
                pairs,
                in_use: 0,
                looked: Instant::now(),
            }),
            read,
        }))
    }

    /// How many pairs are good now; more than one during a rotation.
    pub fn pairs(&self) -> usize {
        self.held().pairs.len()
    }

    fn held(&self) -> std::sync::RwLockReadGuard<'_, Held> {
        self.0.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the homeserver's token is good.
    pub fn accepts(&self, presented: &str) -> bool {
        let known = || {
            // All are compared, so that the time tells nothing.
            self.held()
                .pairs
                .iter()
                .fold(false, |found, pair| pair.hs_token.matches(presented) | found)
        };
        known() || (self.look_again() && known())
    }

    /// What we present.
    pub fn as_token(&self) -> Secret {
        let held = self.held();
        held.pairs
            .get(held.in_use)
            .or_else(|| held.pairs.first())
            .map_or_else(|| Secret::new(""), |pair| pair.as_token.clone())
    }

    /// The homeserver doesn't know `refused`: another token that it may know, if there is one.
    pub fn instead_of(&self, refused: &Secret) -> Option<Secret> {
        let other = || {
            self.held()
                .pairs
                .iter()
                .find(|pair| pair.as_token != *refused)
                .map(|pair| pair.as_token.clone())
        };
        self.look_again();
        other()
    }

    /// The homeserver took this token.
    pub fn taken(&self, token: &Secret) {
        let place = {
            let held = self.held();
            match held.pairs.iter().position(|pair| pair.as_token == *token) {
                Some(place) if place != held.in_use => place,
                _ => return,
            }
        };
        self.0.held.write().unwrap_or_else(PoisonError::into_inner).in_use = place;
        tracing::info!(newest = place == 0, "the homeserver goes by another as_token now");
    }

    /// Reads the pairs again, unless that was a moment ago. Whether something changed.
    fn look_again(&self) -> bool {
        let Some(read) = &self.0.read else {
            return false;
        };
        let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.looked.elapsed() < LOOK {
            return false;
        }
        held.looked = Instant::now();
        match read() {
            Ok(pairs) if pairs.is_empty() || pairs == held.pairs => false,
            Ok(pairs) => {
                tracing::info!(pairs = pairs.len(), "the tokens were read anew");
                let in_use = held.pairs.get(held.in_use).map(|pair| pair.as_token.clone());
                held.in_use = in_use
                    .and_then(|token| pairs.iter().position(|pair| pair.as_token == token))
                    .unwrap_or(0);
                held.pairs = pairs;
                true
            }
            Err(error) => {
                tracing::error!(error, "the tokens can't be read; those of before stay");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;

    fn pair(name: &str) -> TokenPair {
        TokenPair {
            as_token: Secret::new(&format!("as-{name}")),
            hs_token: Secret::new(&format!("hs-{name}")),
        }
    }

    fn ring(files: &Arc<Mutex<Vec<TokenPair>>>) -> KeyRing {
        let files = files.clone();
        KeyRing::reading(Box::new(move || Ok(files.lock().unwrap().clone()))).unwrap()
    }

    fn later(ring: &KeyRing) {
        ring.0.held.write().unwrap().looked = Instant::now().checked_sub(LOOK).unwrap();
    }

    #[test]
    fn during_a_rotation_both_pairs_are_good_and_afterwards_the_new_one_alone() {
        let files = Arc::new(Mutex::new(vec![pair("old")]));
        let ring = ring(&files);
        assert!(ring.accepts("hs-old") && !ring.accepts("hs-new") && !ring.accepts(""));

        *files.lock().unwrap() = vec![pair("new"), pair("old")];
        later(&ring);
        // The first request with the new token makes us look.
        assert!(ring.accepts("hs-new") && ring.accepts("hs-old"));
        // Ours stays the one that the homeserver knows until it refuses it.
        assert_eq!(ring.as_token().expose(), "as-old");
        let other = ring.instead_of(&ring.as_token()).unwrap();
        assert_eq!(other.expose(), "as-new");
        ring.taken(&other);
        assert_eq!(ring.as_token().expose(), "as-new");

        *files.lock().unwrap() = vec![pair("new")];
        later(&ring);
        assert!(!ring.accepts("hs-nonsense"));
        assert!(!ring.accepts("hs-old") && ring.accepts("hs-new"));
        assert_eq!(ring.pairs(), 1);
        assert!(ring.instead_of(&ring.as_token()).is_none());
    }

    #[test]
    fn a_stranger_makes_us_read_no_more_than_once_a_moment() {
        let reads = Arc::new(Mutex::new(0));
        let counted = reads.clone();
        let ring = KeyRing::reading(Box::new(move || {
            *counted.lock().unwrap() += 1;
            Ok(vec![pair("old")])
        }))
        .unwrap();
        for _ in 0..1000 {
            assert!(!ring.accepts("guess"));
        }
        later(&ring);
        for _ in 0..1000 {
            assert!(!ring.accepts("guess"));
        }
        assert!(*reads.lock().unwrap() <= 3);
    }

    #[test]
    fn files_that_are_gone_or_empty_take_nothing_away() {
        let broken = Arc::new(Mutex::new(false));
        let told = broken.clone();
        let ring = KeyRing::reading(Box::new(move || {
            if *told.lock().unwrap() {
                Err("gone".into())
            } else {
                Ok(vec![pair("old")])
            }
        }))
        .unwrap();
        *broken.lock().unwrap() = true;
        later(&ring);
        assert!(!ring.accepts("hs-other") && ring.accepts("hs-old"));
    }
}
