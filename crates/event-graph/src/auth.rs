//! Authorisation: which events an event must cite, and whether they and the room's state allow it.
//!
//! The rules proper are in `rules.rs`, beside the numbers of the specification. This module has what they
//! are called with, and an entry for callers that hold state as PDUs.

pub(crate) mod facts;
pub(crate) mod power;
pub(crate) mod rules;
#[cfg(test)]
mod tests;

use std::fmt;

use facts::{Body, Create, Facts, JoinRule, Membership, Source, ThirdPartyInvite};
use power::PowerLevels;
use rules::{Candidate, View};

use crate::{
    EventId, Pdu,
    intern::{Interner, Slot, Sym},
    json::{JsonError, Raw, to_canonical},
    version::RoomVersion,
};

/// A (type, state key).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    /// The event type.
    pub event_type: String,
    /// The state key.
    pub state_key: String,
}

macro_rules! auth_rules {
    ($(#[doc = $doc:literal] $name:ident = $v12:literal, $v8:literal;)*) => {
        /// The rule that an event breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        pub enum AuthRule {
            $(#[doc = $doc] $name,)*
        }

        impl AuthRule {
            /// Every rule there is.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The rule's number in the specification of the room version. For versions before 8, which lack
            /// the rule on authorising servers, the numbers of version 8 are given.
            pub const fn number(self, version: RoomVersion) -> &'static str {
                match self {
                    $(Self::$name => if version.rules().room_id_is_create_hash { $v12 } else { $v8 },)*
                }
            }

            /// What is wrong with an event that breaks the rule.
            pub fn describe(self) -> &'static str {
                match self { $(Self::$name => $doc.trim(),)* }
            }

            /// The rule's name, for programs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

auth_rules! {
    /// A create event has parents.
    CreateHasParents = "1.1", "1.1";
    /// A create event of version 12 has a room id.
    CreateHasRoomId = "1.2", "1.2";
    /// The room id's domain isn't the sender's.
    CreateRoomDomain = "1.2", "1.2";
    /// The room version is none that the specification knows.
    CreateRoomVersion = "1.3", "1.3";
    /// No `creator` (up to version 10).
    CreateNoCreator = "1.4", "1.4";
    /// `additional_creators` is not a list of user ids.
    CreateAdditionalCreators = "1.4", "1.4";
    /// The room id names no accepted create event.
    RoomIdNamesNoCreate = "2", "2";
    /// Two auth events for one state key.
    AuthEventsDuplicate = "3.1", "2.1";
    /// An auth event that the selection algorithm does not select.
    AuthEventsUnexpected = "3.2", "2.2";
    /// An auth event that was rejected.
    AuthEventsRejected = "3.3", "2.3";
    /// No create event among the auth events, or in the state.
    NoCreate = "2", "2.4";
    /// An auth event of another room.
    AuthEventsOtherRoom = "3.5", "2.5";
    /// The room is not federated and the sender is from elsewhere.
    NotFederated = "4", "3";
    /// A membership event without a state key.
    MemberNoStateKey = "5.1", "4.1";
    /// A membership event without a membership.
    MemberNoMembership = "5.1", "4.1";
    /// The state key of a membership event is no user id.
    MemberBadStateKey = "5.1", "4.1";
    /// `join_authorised_via_users_server` is no user id.
    MemberBadAuthoriser = "5.2", "4.2";
    /// A join for someone else.
    JoinOtherUser = "5.3.2", "4.3.2";
    /// A join of a banned user.
    JoinBanned = "5.3.3", "4.3.3";
    /// A join without the invitation the room wants.
    JoinNotInvited = "5.3.7", "4.3.7";
    /// A restricted join that nobody with the power to invite vouches for.
    RestrictedJoinUnauthorised = "5.3.5.2", "4.3.5.2";
    /// The join rule lets nobody in.
    JoinRuleForbids = "5.3.7", "4.3.7";
    /// A third-party invite of a banned user.
    ThirdPartyBanned = "5.4.1.1", "4.4.1.1";
    /// A third-party invite without `signed`.
    ThirdPartyUnsigned = "5.4.1.2", "4.4.1.2";
    /// `signed` lacks `mxid` or `token`.
    ThirdPartyIncomplete = "5.4.1.3", "4.4.1.3";
    /// `mxid` is not the invited user.
    ThirdPartyOtherUser = "5.4.1.4", "4.4.1.4";
    /// No third-party invite with this token.
    ThirdPartyUnknownToken = "5.4.1.5", "4.4.1.5";
    /// The third-party invite was someone else's.
    ThirdPartyOtherSender = "5.4.1.6", "4.4.1.6";
    /// No signature by a key of the third-party invite.
    ThirdPartyWrongSignature = "5.4.1.8", "4.4.1.8";
    /// The inviter isn't in the room.
    InviteSenderNotJoined = "5.4.2", "4.4.2";
    /// The invited user is in the room or banned.
    InviteTargetInOrBanned = "5.4.3", "4.4.3";
    /// The inviter lacks power.
    InviteLevel = "5.4.5", "4.4.5";
    /// A user leaves who isn't in.
    LeaveNotIn = "5.5.1", "4.5.1";
    /// The kicker isn't in the room.
    KickSenderNotJoined = "5.5.2", "4.5.2";
    /// Lifting a ban without the power to ban.
    UnbanLevel = "5.5.3", "4.5.3";
    /// The kicker lacks power.
    KickLevel = "5.5.5", "4.5.5";
    /// The banner isn't in the room.
    BanSenderNotJoined = "5.6.1", "4.6.1";
    /// The banner lacks power.
    BanLevel = "5.6.3", "4.6.3";
    /// The join rule doesn't allow knocks.
    KnockRuleForbids = "5.7.1", "4.7.1";
    /// A knock for someone else.
    KnockOtherUser = "5.7.2", "4.7.2";
    /// A knock of someone who is in, invited or banned.
    KnockAlreadyIn = "5.7.4", "4.7.4";
    /// A membership that the room version doesn't know.
    MemberUnknownMembership = "5.8", "4.8";
    /// The sender isn't in the room.
    SenderNotJoined = "6", "5";
    /// A third-party invite by someone without the power to invite.
    ThirdPartyInviteLevel = "7.1", "6.1";
    /// The sender lacks the power for this type of event.
    EventLevel = "8", "7";
    /// The state key is someone else's user id.
    ForeignStateKey = "9", "8";
    /// A power level that is no integer.
    PowerLevelsField = "10.1", "9.1";
    /// `events` or `notifications` is not a map to integers.
    PowerLevelsMap = "10.2", "9.2";
    /// `users` is not a map of user ids to integers.
    PowerLevelsUsers = "10.3", "9.3";
    /// `users` lists a creator (version 12).
    PowerLevelsListCreator = "10.4", "10.4";
    /// A single level changed from or to above the sender's.
    PowerLevelsFieldChange = "10.6", "9.5";
    /// An entry changed or removed that is above the sender.
    PowerLevelsEntryRemoved = "10.7", "9.6";
    /// An entry added or changed to above the sender.
    PowerLevelsEntryAdded = "10.8", "9.7";
    /// Another user's level changed that isn't below the sender's.
    PowerLevelsOtherUser = "10.9", "9.8";
    /// A user's level raised above the sender's.
    PowerLevelsUserAdded = "10.10", "9.9";
    /// The room's policy server did not sign the event: no rule, but check 7 on receipt.
    PolicyServer = "check 7", "check 7";
}

impl fmt::Display for AuthRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (rule {} of room version 12)",
            self.name(),
            self.number(RoomVersion::V12)
        )
    }
}

impl std::error::Error for AuthRule {}

/// The state keys whose current events an event must cite in `auth_events`, where the state has them.
pub fn auth_keys(
    version: RoomVersion,
    event_type: &str,
    sender: &str,
    state_key: Option<&str>,
    content: &serde_json::Value,
) -> Result<Vec<StateKey>, JsonError> {
    let content = to_canonical(content)?;
    let mut interner = Interner::new();
    let source = Source {
        event_id: EventId::from_hash([0; 32]),
        room_id: "",
        event_type,
        sender,
        state_key,
        content: Raw::new(&content),
        stray_room_id: false,
    };
    let facts = Facts::read(&source, version, &mut interner);
    let slots = facts.auth_slots(&version.rules(), &mut interner);
    let key = |slot: &Slot| {
        let (event_type, state_key) = interner.key_text(*slot);
        StateKey {
            event_type: event_type.to_owned(),
            state_key: state_key.to_owned(),
        }
    };
    Ok(slots.iter().map(key).collect())
}

/// Judges `event` against room state. `state` gives the event that is the state for a (type, state key); of
/// room version 12 too it has to give the create event.
pub fn check_state(event: &Pdu, state: impl Fn(&str, &str) -> Option<Pdu>) -> Result<(), AuthRule> {
    let version = event.room_version();
    let rules = version.rules();
    let mut interner = Interner::new();
    let facts = Facts::read(&event.into(), version, &mut interner);
    let mut slots = facts.auth_slots(&rules, &mut interner);
    if !slots.contains(&Slot::CREATE) && facts.event_type != Sym::CREATE {
        slots.push(Slot::CREATE);
    }
    let mut held = Vec::with_capacity(slots.len());
    for slot in slots {
        let pdu = {
            let (event_type, state_key) = interner.key_text(slot);
            state(event_type, state_key)
        };
        if let Some(pdu) = pdu {
            held.push((slot, Facts::read(&(&pdu).into(), version, &mut interner)));
        }
    }
    let view = HeldState {
        held: &held,
        interner: &interner,
    };
    check_rules(event, &facts, &view)
}

/// Judges `event` by its own auth events (rules 2 and 3, and the rest against them). `fetch` gives an
/// accepted event or says that it was rejected or is unknown.
pub fn check_auth_events(event: &Pdu, fetch: impl Fn(EventId) -> Cited) -> Result<(), AuthRule> {
    let version = event.room_version();
    let rules = version.rules();
    let mut interner = Interner::new();
    let facts = Facts::read(&event.into(), version, &mut interner);
    if facts.event_type == Sym::CREATE {
        return check_rules(
            event,
            &facts,
            &HeldState {
                held: &[],
                interner: &interner,
            },
        );
    }
    let mut held: Vec<(Slot, Facts)> = Vec::with_capacity(event.auth_events().len() + 1);
    // 2.
    if rules.room_id_is_create_hash {
        let create = EventId::from_room_id(event.room_id()).map(&fetch);
        let Some(Cited::Accepted(create)) = create else {
            return Err(AuthRule::RoomIdNamesNoCreate);
        };
        if create.event_type() != "m.room.create" {
            return Err(AuthRule::RoomIdNamesNoCreate);
        }
        held.push((
            Slot::CREATE,
            Facts::read(&(&create).into(), version, &mut interner),
        ));
    }
    let expected = facts.auth_slots(&rules, &mut interner);
    for id in event.auth_events() {
        let cited = match fetch(*id) {
            Cited::Accepted(cited) => cited,
            // 3.3
            Cited::Rejected | Cited::Unknown => return Err(AuthRule::AuthEventsRejected),
        };
        let cited_facts = Facts::read(&(&cited).into(), version, &mut interner);
        // 3.2
        let slot = cited_facts
            .state_key
            .map(|(_, slot)| slot)
            .filter(|s| expected.contains(s));
        let slot = slot.ok_or(AuthRule::AuthEventsUnexpected)?;
        // 3.1
        if held.iter().any(|(s, _)| *s == slot) {
            return Err(AuthRule::AuthEventsDuplicate);
        }
        // 3.5
        if cited.room_id() != event.room_id() {
            return Err(AuthRule::AuthEventsOtherRoom);
        }
        held.push((slot, cited_facts));
    }
    // 2.4 up to version 11 is judged by the rules as they look for the create event.
    check_rules(
        event,
        &facts,
        &HeldState {
            held: &held,
            interner: &interner,
        },
    )
}

/// What is known of an event that another one cites.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)]
pub enum Cited {
    /// Known and not rejected.
    Accepted(Pdu),
    /// Known and rejected.
    Rejected,
    /// Not known; fetch it before judging.
    Unknown,
}

fn check_rules(event: &Pdu, facts: &Facts, view: &HeldState<'_>) -> Result<(), AuthRule> {
    let create = view.create().map(|c| c.id);
    let only_parent_is_create = matches!(event.prev_events(), [only] if Some(*only) == create);
    let candidate = Candidate::new(facts, !event.prev_events().is_empty(), only_parent_is_create);
    rules::check(&candidate, view, &event.room_version().rules())
}

/// A handful of state events, searched in line.
struct HeldState<'a> {
    held: &'a [(Slot, Facts)],
    interner: &'a Interner,
}

impl HeldState<'_> {
    fn body(&self, slot: Slot) -> Option<&Body> {
        self.held.iter().find(|(s, _)| *s == slot).map(|(_, f)| &f.body)
    }
}

impl View for HeldState<'_> {
    fn create(&self) -> Option<&Create> {
        match self.body(Slot::CREATE)? {
            Body::Create(create) => Some(create),
            _ => None,
        }
    }

    fn power_levels(&self) -> Option<&PowerLevels> {
        match self.body(Slot::POWER_LEVELS)? {
            Body::PowerLevels(Ok(levels)) => Some(levels),
            _ => None,
        }
    }

    fn join_rule(&self) -> JoinRule {
        match self.body(Slot::JOIN_RULES) {
            Some(Body::JoinRules(rule)) => *rule,
            _ => JoinRule::Invite,
        }
    }

    fn membership(&self, user: Sym) -> Membership {
        match self.interner.member_slot(user).and_then(|slot| self.body(slot)) {
            Some(Body::Member(member)) => member.membership,
            _ => Membership::Leave,
        }
    }

    fn third_party_invite(&self, token: Sym) -> Option<&ThirdPartyInvite> {
        let slot = self.interner.get_slot(Sym::THIRD_PARTY_INVITE, token)?;
        match self.body(slot)? {
            Body::ThirdPartyInvite(invite) => Some(invite),
            _ => None,
        }
    }

    fn text(&self, sym: Sym) -> &str {
        self.interner.text(sym)
    }
}
