//! The authorisation rules of room versions 6 to 12, in the order and with the numbers of the
//! specification (rooms/v12, "Authorisation rules"; numbers of version 12).
//!
//! Rules 2 and 3 look at the auth events themselves and are in [`super::check_auth_events`]; rule 5.2, the
//! authorising server's signature, is part of signature verification.

use super::{
    AuthRule,
    facts::{Body, Create, Facts, JoinRule, Membership, ThirdPartyClaim, ThirdPartyInvite},
    power::{FIELDS, Field, Malformed, Power, PowerLevels, changes, default_of, required, required_to_send},
};
use crate::{ids::server_of_user, intern::Sym, version::Rules};

/// The room state that rules are checked against: only what they ask for.
pub(crate) trait View {
    fn create(&self) -> Option<&Create>;
    fn power_levels(&self) -> Option<&PowerLevels>;
    fn join_rule(&self) -> JoinRule;
    fn membership(&self, user: Sym) -> Membership;
    fn third_party_invite(&self, token: Sym) -> Option<&ThirdPartyInvite>;
    fn text(&self, sym: Sym) -> &str;
}

/// The event being judged.
pub(crate) struct Candidate<'a> {
    pub(crate) event_type: Sym,
    pub(crate) sender: Sym,
    pub(crate) is_state: bool,
    /// The state key starts with `@` and isn't the sender.
    pub(crate) foreign_state_key: bool,
    pub(crate) body: BodyRef<'a>,
    pub(crate) has_parents: bool,
    /// `prev_events` is the create event alone.
    pub(crate) only_parent_is_create: bool,
}

/// The event's content, wherever it is kept.
#[derive(Clone, Copy)]
pub(crate) enum BodyRef<'a> {
    Other,
    Create(&'a Create),
    Member(MemberRef<'a>),
    PowerLevels(Result<&'a PowerLevels, Malformed>),
}

/// A membership event.
#[derive(Clone, Copy)]
pub(crate) struct MemberRef<'a> {
    pub(crate) target: Option<Sym>,
    pub(crate) target_malformed: bool,
    pub(crate) membership: Membership,
    pub(crate) authorised_via: Option<Sym>,
    pub(crate) authorised_via_malformed: bool,
    pub(crate) third_party: Option<&'a ThirdPartyClaim>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(facts: &'a Facts, has_parents: bool, only_parent_is_create: bool) -> Self {
        let body = match &facts.body {
            Body::Create(create) => BodyRef::Create(create),
            Body::Member(m) => BodyRef::Member(MemberRef {
                target: m.target,
                target_malformed: m.target_malformed,
                membership: m.membership,
                authorised_via: m.authorised_via,
                authorised_via_malformed: m.authorised_via_malformed,
                third_party: m.third_party.as_deref(),
            }),
            Body::PowerLevels(levels) => BodyRef::PowerLevels(levels.as_deref().map_err(|e| *e)),
            Body::Other | Body::JoinRules(_) | Body::ThirdPartyInvite(_) => BodyRef::Other,
        };
        Self {
            event_type: facts.event_type,
            sender: facts.sender,
            is_state: facts.state_key.is_some(),
            foreign_state_key: facts.foreign_state_key,
            body,
            has_parents,
            only_parent_is_create,
        }
    }
}

type Verdict = Result<(), AuthRule>;

fn reject_if(condition: bool, rule: AuthRule) -> Verdict {
    if condition { Err(rule) } else { Ok(()) }
}

/// The power of a user. Without power levels the creator has 100 and everyone else 0.
pub(crate) fn power(user: Sym, create: &Create, levels: Option<&PowerLevels>, rules: &Rules) -> Power {
    if rules.privileged_creators && create.has_creator(user) {
        return Power::Infinite;
    }
    Power::Level(match levels {
        Some(levels) => levels.user(user),
        None if create.creator == Some(user) => 100,
        None => 0,
    })
}

/// Judges an event by the rules that depend on room state, and a create event by rule 1.
pub(crate) fn check(event: &Candidate<'_>, state: &impl View, rules: &Rules) -> Verdict {
    // 1. m.room.create
    if let BodyRef::Create(create) = event.body {
        return check_create(create, event.has_parents, rules);
    }
    let create = state.create().ok_or(AuthRule::NoCreate)?;
    // 4. m.federate
    if !create.federate {
        let ours = server_of_user(state.text(create.sender));
        reject_if(
            server_of_user(state.text(event.sender)) != ours,
            AuthRule::NotFederated,
        )?;
    }
    // 5. m.room.member
    if let BodyRef::Member(member) = event.body {
        return Membership5 {
            event,
            member,
            create,
            state,
            rules,
        }
        .check();
    }
    // 6. The sender has to be in the room.
    reject_if(
        state.membership(event.sender) != Membership::Join,
        AuthRule::SenderNotJoined,
    )?;
    let levels = state.power_levels();
    let sender_power = power(event.sender, create, levels, rules);
    // 7. m.room.third_party_invite
    if event.event_type == Sym::THIRD_PARTY_INVITE {
        return reject_if(
            sender_power < required(levels, Field::Invite),
            AuthRule::ThirdPartyInviteLevel,
        );
    }
    // 8. The level for the event's type.
    let needed = required_to_send(levels, event.event_type, event.is_state);
    reject_if(sender_power < needed, AuthRule::EventLevel)?;
    // 9. A state key that is someone else's.
    reject_if(event.foreign_state_key, AuthRule::ForeignStateKey)?;
    // 10. m.room.power_levels
    if let BodyRef::PowerLevels(new) = event.body {
        return check_power_levels(event.sender, new, create, levels, sender_power, rules);
    }
    // 11. Otherwise, allow.
    Ok(())
}

/// Rule 1.
fn check_create(create: &Create, has_parents: bool, rules: &Rules) -> Verdict {
    // 1.1
    reject_if(has_parents, AuthRule::CreateHasParents)?;
    // 1.2
    if rules.room_id_is_create_hash {
        reject_if(create.stray_room_id, AuthRule::CreateHasRoomId)?;
    } else {
        reject_if(!create.room_domain_is_senders, AuthRule::CreateRoomDomain)?;
    }
    // 1.3
    reject_if(!create.version_recognised, AuthRule::CreateRoomVersion)?;
    // 1.4 up to version 10
    reject_if(create.creator_missing, AuthRule::CreateNoCreator)?;
    // 1.4 in version 12
    reject_if(create.additional_malformed, AuthRule::CreateAdditionalCreators)
}

/// Rule 5, with what its parts share.
struct Membership5<'a, S> {
    event: &'a Candidate<'a>,
    member: MemberRef<'a>,
    create: &'a Create,
    state: &'a S,
    rules: &'a Rules,
}

impl<S: View> Membership5<'_, S> {
    fn sender(&self) -> Sym {
        self.event.sender
    }

    fn power(&self, user: Sym) -> Power {
        power(user, self.create, self.state.power_levels(), self.rules)
    }

    fn required(&self, field: Field) -> Power {
        required(self.state.power_levels(), field)
    }

    fn check(&self) -> Verdict {
        // 5.1
        let target = self.member.target.ok_or(AuthRule::MemberNoStateKey)?;
        reject_if(self.member.target_malformed, AuthRule::MemberBadStateKey)?;
        match self.member.membership {
            Membership::Missing => Err(AuthRule::MemberNoMembership),
            // 5.3
            Membership::Join => self.join(target),
            // 5.4
            Membership::Invite => self.invite(target),
            // 5.5
            Membership::Leave => self.leave(target),
            // 5.6
            Membership::Ban => self.ban(target),
            // 5.7
            Membership::Knock if self.rules.knock => self.knock(target),
            // 5.8
            Membership::Knock | Membership::Unknown => Err(AuthRule::MemberUnknownMembership),
        }
    }

    fn join(&self, target: Sym) -> Verdict {
        // 5.2, as far as it isn't the signature
        let authoriser_counts = self.rules.restricted;
        reject_if(
            authoriser_counts && self.member.authorised_via_malformed,
            AuthRule::MemberBadAuthoriser,
        )?;
        // 5.3.1
        if self.event.only_parent_is_create && self.create.creator == Some(target) {
            return Ok(());
        }
        // 5.3.2
        reject_if(self.sender() != target, AuthRule::JoinOtherUser)?;
        let current = self.state.membership(target);
        // 5.3.3
        reject_if(current == Membership::Ban, AuthRule::JoinBanned)?;
        let inside = matches!(current, Membership::Invite | Membership::Join);
        match self.state.join_rule() {
            // 5.3.4
            JoinRule::Invite if inside => Ok(()),
            JoinRule::Knock if inside && self.rules.knock => Ok(()),
            JoinRule::Invite | JoinRule::Knock => Err(AuthRule::JoinNotInvited),
            // 5.3.5
            JoinRule::Restricted if self.rules.restricted => self.restricted_join(inside),
            JoinRule::KnockRestricted if self.rules.knock_restricted => self.restricted_join(inside),
            // 5.3.6
            JoinRule::Public => Ok(()),
            // 5.3.7
            JoinRule::Restricted | JoinRule::KnockRestricted | JoinRule::Other => {
                Err(AuthRule::JoinRuleForbids)
            }
        }
    }

    fn restricted_join(&self, inside: bool) -> Verdict {
        // 5.3.5.1
        if inside {
            return Ok(());
        }
        // 5.3.5.2
        let authoriser = self
            .member
            .authorised_via
            .ok_or(AuthRule::RestrictedJoinUnauthorised)?;
        let may_invite = self.state.membership(authoriser) == Membership::Join
            && self.power(authoriser) >= self.required(Field::Invite);
        reject_if(!may_invite, AuthRule::RestrictedJoinUnauthorised)
        // 5.3.5.3
    }

    fn invite(&self, target: Sym) -> Verdict {
        let current = self.state.membership(target);
        // 5.4.1
        if let Some(claim) = self.member.third_party {
            // 5.4.1.1
            reject_if(current == Membership::Ban, AuthRule::ThirdPartyBanned)?;
            // 5.4.1.2
            reject_if(!claim.has_signed, AuthRule::ThirdPartyUnsigned)?;
            // 5.4.1.3
            let (Some(mxid), Some(token)) = (claim.mxid, claim.token) else {
                return Err(AuthRule::ThirdPartyIncomplete);
            };
            // 5.4.1.4
            reject_if(mxid != target, AuthRule::ThirdPartyOtherUser)?;
            // 5.4.1.5
            let invite = self
                .state
                .third_party_invite(token)
                .ok_or(AuthRule::ThirdPartyUnknownToken)?;
            // 5.4.1.6
            reject_if(invite.sender != self.sender(), AuthRule::ThirdPartyOtherSender)?;
            // 5.4.1.7, 5.4.1.8
            return reject_if(
                !claim.signed_by_any(&invite.keys),
                AuthRule::ThirdPartyWrongSignature,
            );
        }
        // 5.4.2
        reject_if(
            self.state.membership(self.sender()) != Membership::Join,
            AuthRule::InviteSenderNotJoined,
        )?;
        // 5.4.3
        reject_if(
            matches!(current, Membership::Join | Membership::Ban),
            AuthRule::InviteTargetInOrBanned,
        )?;
        // 5.4.4, 5.4.5
        reject_if(
            self.power(self.sender()) < self.required(Field::Invite),
            AuthRule::InviteLevel,
        )
    }

    fn leave(&self, target: Sym) -> Verdict {
        let own = self.state.membership(self.sender());
        // 5.5.1
        if self.sender() == target {
            let may = matches!(own, Membership::Invite | Membership::Join)
                || (own == Membership::Knock && self.rules.knock);
            return reject_if(!may, AuthRule::LeaveNotIn);
        }
        // 5.5.2
        reject_if(own != Membership::Join, AuthRule::KickSenderNotJoined)?;
        let power = self.power(self.sender());
        // 5.5.3
        let banned = self.state.membership(target) == Membership::Ban;
        reject_if(banned && power < self.required(Field::Ban), AuthRule::UnbanLevel)?;
        // 5.5.4, 5.5.5
        let may = power >= self.required(Field::Kick) && self.power(target) < power;
        reject_if(!may, AuthRule::KickLevel)
    }

    fn ban(&self, target: Sym) -> Verdict {
        // 5.6.1
        let own = self.state.membership(self.sender());
        reject_if(own != Membership::Join, AuthRule::BanSenderNotJoined)?;
        // 5.6.2, 5.6.3
        let power = self.power(self.sender());
        let may = power >= self.required(Field::Ban) && self.power(target) < power;
        reject_if(!may, AuthRule::BanLevel)
    }

    fn knock(&self, target: Sym) -> Verdict {
        // 5.7.1
        let open = match self.state.join_rule() {
            JoinRule::Knock => true,
            JoinRule::KnockRestricted => self.rules.knock_restricted,
            _ => false,
        };
        reject_if(!open, AuthRule::KnockRuleForbids)?;
        // 5.7.2
        reject_if(self.sender() != target, AuthRule::KnockOtherUser)?;
        // 5.7.3, 5.7.4
        let current = self.state.membership(target);
        let may = !matches!(current, Membership::Ban | Membership::Invite | Membership::Join);
        reject_if(!may, AuthRule::KnockAlreadyIn)
    }
}

/// Rule 10.
fn check_power_levels(
    sender: Sym,
    new: Result<&PowerLevels, Malformed>,
    create: &Create,
    current: Option<&PowerLevels>,
    sender_power: Power,
    rules: &Rules,
) -> Verdict {
    let new = match new {
        Ok(new) => new,
        // 10.1 to 10.3; before version 10 only `users` is named, but a level that is none can't be compared.
        Err(Malformed::Field) => return Err(AuthRule::PowerLevelsField),
        Err(Malformed::Map) => return Err(AuthRule::PowerLevelsMap),
        Err(Malformed::Users) => return Err(AuthRule::PowerLevelsUsers),
    };
    // 10.4
    if rules.privileged_creators {
        let lists_creator = new.users.iter().any(|(user, _)| create.has_creator(*user));
        reject_if(lists_creator, AuthRule::PowerLevelsListCreator)?;
    }
    // 10.5
    let Some(current) = current else { return Ok(()) };
    let above = |level: Option<i64>| level.is_some_and(|l| Power::Level(l) > sender_power);
    // 10.6
    for (field, ..) in FIELDS {
        let (old, new) = (current.written(field), new.written(field));
        if old != new {
            let default = default_of(field);
            let too_high = above(Some(old.unwrap_or(default))) || above(Some(new.unwrap_or(default)));
            reject_if(too_high, AuthRule::PowerLevelsFieldChange)?;
        }
    }
    // 10.7, 10.8
    for (_, old, new) in
        changes(&current.events, &new.events).chain(changes(&current.notifications, &new.notifications))
    {
        reject_if(above(old), AuthRule::PowerLevelsEntryRemoved)?;
        reject_if(above(new), AuthRule::PowerLevelsEntryAdded)?;
    }
    // 10.9, 10.10
    for (user, old, new) in changes(&current.users, &new.users) {
        let untouchable = old.is_some_and(|l| Power::Level(l) >= sender_power);
        reject_if(user != sender && untouchable, AuthRule::PowerLevelsOtherUser)?;
        reject_if(above(new), AuthRule::PowerLevelsUserAdded)?;
    }
    // 10.11
    Ok(())
}
