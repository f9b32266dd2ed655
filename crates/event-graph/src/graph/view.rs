//! Room state as the auth rules ask for it, over the table of events.

use super::index::{Index, Ix, Kind};
use crate::{
    auth::{
        facts::{Body, Create, JoinRule, Membership, ThirdPartyInvite},
        power::PowerLevels,
        rules::{BodyRef, Candidate, MemberRef, View},
    },
    intern::{Interner, Slot, Sym},
};

/// Room state given by a look-up from slots to events.
pub(crate) struct TableView<'a, F> {
    pub(crate) index: &'a Index,
    pub(crate) interner: &'a Interner,
    pub(crate) event: F,
}

impl<F: Fn(Slot) -> Option<Ix>> View for TableView<'_, F> {
    fn create(&self) -> Option<&Create> {
        match self.index.body((self.event)(Slot::CREATE)?)? {
            Body::Create(create) => Some(create),
            _ => None,
        }
    }

    fn power_levels(&self) -> Option<&PowerLevels> {
        self.index.power_levels((self.event)(Slot::POWER_LEVELS)?)
    }

    fn join_rule(&self) -> JoinRule {
        match (self.event)(Slot::JOIN_RULES).map(|ix| self.index.record(ix).kind) {
            Some(Kind::JoinRules(rule)) => rule,
            _ => JoinRule::Invite,
        }
    }

    fn membership(&self, user: Sym) -> Membership {
        let event = self
            .interner
            .member_slot(user)
            .and_then(|slot| (self.event)(slot));
        match event.map(|ix| self.index.record(ix).kind) {
            Some(Kind::Member(membership)) => membership,
            _ => Membership::Leave,
        }
    }

    fn third_party_invite(&self, token: Sym) -> Option<&ThirdPartyInvite> {
        let slot = self.interner.get_slot(Sym::THIRD_PARTY_INVITE, token)?;
        match self.index.body((self.event)(slot)?)? {
            Body::ThirdPartyInvite(invite) => Some(invite),
            _ => None,
        }
    }

    fn text(&self, sym: Sym) -> &str {
        self.interner.text(sym)
    }
}

/// An admitted state event, to be judged again by the resolver.
pub(crate) fn candidate<'a>(index: &'a Index, interner: &Interner, ix: Ix) -> Candidate<'a> {
    let record = index.record(ix);
    let (event_type, state_key) = record.slot().map_or((Sym::EMPTY, None), |s| {
        (interner.key(s).0, Some(interner.key(s).1))
    });
    let body = match record.kind {
        Kind::Create => match index.body(ix) {
            Some(Body::Create(create)) => BodyRef::Create(create),
            _ => BodyRef::Other,
        },
        Kind::Member(membership) => {
            let rare = index.member(ix);
            BodyRef::Member(MemberRef {
                target: state_key,
                // An accepted membership event's target is a user.
                target_malformed: false,
                membership,
                authorised_via: rare.and_then(|m| m.authorised_via),
                authorised_via_malformed: rare.is_some_and(|m| m.authorised_via_malformed),
                third_party: rare.and_then(|m| m.third_party.as_deref()),
            })
        }
        Kind::PowerLevels => match index.power_levels(ix) {
            Some(levels) => BodyRef::PowerLevels(Ok(levels)),
            None => BodyRef::Other,
        },
        Kind::Other | Kind::JoinRules(_) | Kind::ThirdPartyInvite => BodyRef::Other,
    };
    Candidate {
        event_type,
        sender: record.sender,
        is_state: record.slot().is_some(),
        foreign_state_key: record.foreign_state_key(),
        body,
        has_parents: record.has_parents(),
        only_parent_is_create: record.only_parent_is_create(),
    }
}
