//! Consent: who may fetch a user's KeyPackages (draft-ietf-mimi-protocol-06 sections 5.7 and 8). Pure.
//!
//! A consent has a scope: requester, target, and one room or any. Each provider keeps what concerns its own users:
//! the target's provider the request and the answer, the requester's provider what became of the request.
//!
//! What one may learn about the other is decided here: nothing but a grant. A refusal is silent unless the user
//! wants it told, and a request of somebody who was refused before is taken and forgotten.

use mimi_wire::protocol::ConsentOperation;
use mimi_wire::uri::MimiUri;
use serde::{Deserialize, Serialize};

use crate::carrier::Octets;

/// Whose requests for KeyPackages need a user's explicit consent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequiredOf {
    /// Those of users of other providers.
    #[default]
    Foreign,
    /// Everybody's, also those of users of the same provider.
    Everybody,
    /// Nobody's: who was not refused may ask.
    Nobody,
}

impl RequiredOf {
    /// Whether a requester needs consent.
    pub(crate) fn asks(self, foreign: bool) -> bool {
        match self {
            Self::Foreign => foreign,
            Self::Everybody => true,
            Self::Nobody => false,
        }
    }
}

/// Whose consent a record is about, seen from the user that keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The user's own consent to somebody else.
    OfMe = 0,
    /// Somebody else's consent to the user.
    OfOthers = 1,
}

/// An answer to a consent request, or one given unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Given, or refused.
    pub granted: bool,
    /// When, Unix ms.
    pub at: u64,
}

/// How far a request of an own user has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Sent {
    /// In the outbox.
    Waiting,
    /// The other provider has it. Whether its user ever sees it, it doesn't say.
    Delivered,
    /// The other provider doesn't take it.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// One scope (space `Consent`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsentRecord {
    pub(crate) v: u8,
    /// Whose record it is.
    pub(crate) user: MimiUri,
    /// The other user.
    pub(crate) other: MimiUri,
    /// For this room only; none: for any.
    pub(crate) room: Option<MimiUri>,
    /// When it was asked for, while there is no answer.
    pub(crate) asked_at: Option<u64>,
    pub(crate) answer: Option<Answer>,
    /// Of others: how far the request has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<Sent>,
    /// Of others: KeyPackages that came with the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_packages: Option<Granted>,
}

/// KeyPackages that came with a grant, one of each client of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Granted {
    /// When they came, Unix ms.
    pub(crate) at: u64,
    /// Those that were not used yet.
    pub(crate) octets: Vec<Octets>,
    /// References of the newest that came, used or not, the newest last: each is taken in once.
    pub(crate) seen: Vec<Octets>,
}

/// References of KeyPackages that are remembered for a scope.
const SEEN: usize = 64;

/// How long KeyPackages of a grant are used, ms: they are meant for adding the target at once, and it may have other
/// clients later.
const GRANTED_FOR: u64 = 24 * 60 * 60 * 1000;

impl ConsentRecord {
    /// Whether it says nothing more.
    fn is_void(&self) -> bool {
        self.asked_at.is_none() && self.answer.is_none()
    }

    fn refused(&self) -> bool {
        self.answer.is_some_and(|answer| !answer.granted)
    }
}

/// Everything between a user and one other, in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    user: MimiUri,
    other: MimiUri,
    records: Vec<ConsentRecord>,
    changed: Vec<Option<MimiUri>>,
}

/// What a request for KeyPackages gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted,
    NoConsent,
    /// The requester holds a grant for another room, so this tells it nothing new.
    NotForThisRoom,
}

impl Pair {
    pub(crate) fn new(user: MimiUri, other: MimiUri, records: Vec<ConsentRecord>) -> Self {
        Self {
            user,
            other,
            records,
            changed: Vec::new(),
        }
    }

    fn find(&self, room: Option<&MimiUri>) -> Option<&ConsentRecord> {
        self.records.iter().find(|record| record.room.as_ref() == room)
    }

    /// What was said about a room: for that room, else for any.
    pub(crate) fn answer(&self, room: Option<&MimiUri>) -> Option<Answer> {
        let own = self.find(room).and_then(|record| record.answer);
        own.or_else(|| self.find(None).and_then(|record| record.answer))
    }

    /// Whether the other may fetch KeyPackages for a room (or for none). Silence counts as no where consent is required.
    pub(crate) fn verdict(&self, room: Option<&MimiUri>, required: bool) -> Verdict {
        match self.answer(room) {
            Some(Answer { granted: true, .. }) => Verdict::Granted,
            None if !required => Verdict::Granted,
            _ if self.records.iter().any(|r| r.answer.is_some_and(|a| a.granted)) => Verdict::NotForThisRoom,
            _ => Verdict::NoConsent,
        }
    }

    /// Whether a request is open in exactly this scope.
    pub(crate) fn is_asked(&self, room: Option<&MimiUri>) -> bool {
        self.find(room).is_some_and(|record| record.asked_at.is_some())
    }

    /// The record of a scope, to be changed.
    fn change(&mut self, room: Option<&MimiUri>) -> Option<&mut ConsentRecord> {
        let at = self
            .records
            .iter()
            .position(|record| record.room.as_ref() == room);
        let at = at.unwrap_or_else(|| {
            self.records.push(ConsentRecord {
                v: 1,
                user: self.user.clone(),
                other: self.other.clone(),
                room: room.cloned(),
                asked_at: None,
                answer: None,
                sent: None,
                key_packages: None,
            });
            self.records.len().saturating_sub(1)
        });
        self.changed.push(room.cloned());
        self.records.get_mut(at)
    }

    /// The target's provider is asked (or the requester's notes that it asks). Says whether this is news: an answer
    /// that was given stays, and a repeat changes nothing.
    pub(crate) fn ask(&mut self, room: Option<&MimiUri>, now: u64) -> bool {
        if self.answer(room).is_some() || self.is_asked(room) {
            return false;
        }
        if let Some(record) = self.change(room) {
            record.asked_at = Some(now);
        }
        true
    }

    /// A request is taken back; says whether there was one.
    pub(crate) fn cancel(&mut self, room: Option<&MimiUri>) -> bool {
        if !self.is_asked(room) {
            return false;
        }
        if let Some(record) = self.change(room) {
            record.asked_at = None;
            record.sent = None;
        }
        true
    }

    /// An answer. One for any room settles the requests for single rooms as well, and a refusal for any room ends
    /// what was granted for single ones; a single room that was refused stays so. Says whether anything changed.
    pub(crate) fn settle(&mut self, room: Option<&MimiUri>, granted: bool, now: u64) -> bool {
        let before = self.records.clone();
        if room.is_none() {
            for scope in before.iter().filter_map(|record| record.room.as_ref()) {
                if let Some(record) = self.change(Some(scope)) {
                    record.asked_at = None;
                    if !granted && !record.refused() {
                        record.answer = None;
                        record.key_packages = None;
                    }
                }
            }
        }
        if let Some(record) = self.change(room) {
            record.asked_at = None;
            if record.answer.is_none_or(|answer| answer.granted != granted) {
                record.answer = Some(Answer { granted, at: now });
                record.key_packages = None;
            }
        }
        if self.records == before {
            self.changed.clear();
            return false;
        }
        true
    }

    /// Back to how it was before anybody said anything about this scope. Says whether anything changed.
    pub(crate) fn forget(&mut self, room: Option<&MimiUri>) -> bool {
        if self.find(room).is_none() {
            return false;
        }
        if let Some(record) = self.change(room) {
            record.asked_at = None;
            record.answer = None;
            record.sent = None;
            record.key_packages = None;
        }
        true
    }

    /// As requester: keeps the KeyPackages of a grant, given with their references, unless one of them came before: then it
    /// is the same grant once more, and they may have been used meanwhile. Those of a grant before it are forgotten.
    pub(crate) fn keep_key_packages(
        &mut self,
        room: Option<&MimiUri>,
        packages: Vec<(Octets, Octets)>,
        now: u64,
    ) {
        let before = self.find(room).and_then(|record| record.key_packages.as_ref());
        let mut seen = before.map(|granted| granted.seen.clone()).unwrap_or_default();
        let (references, octets): (Vec<_>, Vec<_>) = packages.into_iter().unzip();
        if references.iter().any(|reference| seen.contains(reference)) {
            return;
        }
        seen.extend(references);
        seen.drain(..seen.len().saturating_sub(SEEN));
        if let Some(record) = self.change(room) {
            record.key_packages = Some(Granted {
                at: now,
                octets,
                seen,
            });
        }
    }

    /// As requester: KeyPackages that may be used for a room, and the scope they were given in.
    pub(crate) fn key_packages(&self, room: &MimiUri, now: u64) -> Option<(Option<MimiUri>, &[Octets])> {
        if !self.answer(Some(room))?.granted {
            return None;
        }
        [Some(room), None].into_iter().find_map(|scope| {
            let granted = self.find(scope)?.key_packages.as_ref()?;
            let good = !granted.octets.is_empty() && now < granted.at.saturating_add(GRANTED_FOR);
            good.then(|| (scope.cloned(), granted.octets.as_slice()))
        })
    }

    /// As requester: the KeyPackages of a scope are used.
    pub(crate) fn key_packages_used(&mut self, scope: Option<&MimiUri>) {
        if let Some(granted) = self.change(scope).and_then(|record| record.key_packages.as_mut()) {
            granted.octets.clear();
        }
    }

    /// As requester: how far the request has come. Says whether anything changed.
    pub(crate) fn sent(&mut self, room: Option<&MimiUri>, sent: Sent) -> bool {
        if !self.is_asked(room) || self.find(room).is_some_and(|r| r.sent.as_ref() == Some(&sent)) {
            return false;
        }
        if let Some(record) = self.change(room) {
            record.sent = Some(sent);
        }
        true
    }

    /// When it was asked in this scope, and how far that has come.
    pub(crate) fn standing(&self, room: Option<&MimiUri>) -> Option<(u64, Option<&Sent>)> {
        let record = self.find(room)?;
        Some((record.asked_at?, record.sent.as_ref()))
    }

    /// Scopes that changed: what to write, and what to delete.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&ConsentRecord, bool)> {
        self.records
            .iter()
            .filter(|record| self.changed.contains(&record.room))
            .map(|record| (record, record.is_void()))
    }
}

/// Which endpoint an operation goes to.
pub(crate) fn is_request(operation: ConsentOperation) -> bool {
    matches!(operation, ConsentOperation::Request | ConsentOperation::Cancel)
}

#[cfg(test)]
mod tests;
