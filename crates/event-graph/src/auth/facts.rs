//! What the auth rules need to know of an event, read from its content once.

use base64::Engine as _;
use smallvec::SmallVec;

use super::power::{Malformed, PowerLevels};
use crate::{
    EventId,
    ids::{is_user_id, server_of_room, server_of_user},
    intern::{Interner, Slot, Sym},
    json::Raw,
    keys::{LENIENT, VerifyKey, decode_signature, write_signable},
    version::{RoomVersion, Rules, is_recognised},
};

/// A user's membership. Who has no membership event has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    Leave,
    Invite,
    Join,
    Ban,
    Knock,
    /// A word that the specification doesn't know.
    Unknown,
    /// No `membership`, or not a string.
    Missing,
}

/// A room's join rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinRule {
    Public,
    Invite,
    Knock,
    Restricted,
    KnockRestricted,
    Other,
}

/// A create event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) id: EventId,
    pub(crate) sender: Sym,
    /// Up to version 10 `content.creator`, after that the sender.
    pub(crate) creator: Option<Sym>,
    /// `additional_creators` (12).
    pub(crate) additional: Box<[Sym]>,
    pub(crate) additional_malformed: bool,
    pub(crate) federate: bool,
    pub(crate) version_recognised: bool,
    pub(crate) creator_missing: bool,
    pub(crate) room_domain_is_senders: bool,
    pub(crate) stray_room_id: bool,
}

impl Create {
    /// True for a creator in the sense of room version 12.
    pub(crate) fn has_creator(&self, user: Sym) -> bool {
        self.sender == user || self.additional.contains(&user)
    }
}

/// A membership event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) target: Option<Sym>,
    /// The state key is there and no user id.
    pub(crate) target_malformed: bool,
    pub(crate) membership: Membership,
    pub(crate) authorised_via: Option<Sym>,
    /// `authorised_via` is there and no user id.
    pub(crate) authorised_via_malformed: bool,
    pub(crate) third_party: Option<Box<ThirdPartyClaim>>,
}

/// `content.third_party_invite` of an invite.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ThirdPartyClaim {
    pub(crate) has_signed: bool,
    pub(crate) mxid: Option<Sym>,
    pub(crate) token: Option<Sym>,
    message: String,
    signatures: Vec<[u8; 64]>,
}

impl ThirdPartyClaim {
    pub(crate) fn signed_by_any(&self, keys: &[VerifyKey]) -> bool {
        self.signatures
            .iter()
            .any(|s| keys.iter().any(|k| k.verifies(self.message.as_bytes(), s)))
    }
}

/// An `m.room.third_party_invite` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThirdPartyInvite {
    pub(crate) sender: Sym,
    pub(crate) keys: Vec<VerifyKey>,
}

/// What an event's type makes of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Other,
    Create(Box<Create>),
    Member(Member),
    PowerLevels(Result<Box<PowerLevels>, Malformed>),
    JoinRules(JoinRule),
    ThirdPartyInvite(Box<ThirdPartyInvite>),
}

/// An event as the auth rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) event_type: Sym,
    pub(crate) sender: Sym,
    /// The state key's symbol and slot; none for a message.
    pub(crate) state_key: Option<(Sym, Slot)>,
    /// The state key starts with `@` and isn't the sender.
    pub(crate) foreign_state_key: bool,
    pub(crate) body: Body,
}

/// The fields facts are made from.
pub(crate) struct Source<'a> {
    pub(crate) event_id: EventId,
    pub(crate) room_id: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) sender: &'a str,
    pub(crate) state_key: Option<&'a str>,
    pub(crate) content: Raw<'a>,
    pub(crate) stray_room_id: bool,
}

impl<'a> From<&'a crate::Pdu> for Source<'a> {
    fn from(pdu: &'a crate::Pdu) -> Self {
        Self {
            event_id: pdu.event_id(),
            room_id: pdu.room_id(),
            event_type: pdu.event_type(),
            sender: pdu.sender(),
            state_key: pdu.state_key(),
            content: pdu.content(),
            stray_room_id: pdu.has_stray_room_id(),
        }
    }
}

impl Facts {
    pub(crate) fn read(source: &Source<'_>, version: RoomVersion, interner: &mut Interner) -> Self {
        let rules = version.rules();
        let event_type = interner.sym(source.event_type);
        let sender = interner.sym(source.sender);
        let state_key = source.state_key.map(|key| {
            let key = interner.sym(key);
            (key, interner.slot(event_type, key))
        });
        let foreign_state_key = source
            .state_key
            .is_some_and(|k| k.starts_with('@') && k != source.sender);
        let content = source.content;
        let body = match event_type {
            Sym::CREATE => Body::Create(Box::new(create(source, sender, &rules, interner))),
            Sym::MEMBER => {
                let malformed = source.state_key.is_some_and(|k| !is_user_id(k));
                Body::Member(member(content, state_key.map(|(s, _)| s), malformed, interner))
            }
            // Whatever its state key: only the one with the empty key ever becomes the room's levels.
            Sym::POWER_LEVELS => {
                Body::PowerLevels(PowerLevels::parse(content, &rules, interner).map(Box::new))
            }
            Sym::JOIN_RULES => Body::JoinRules(join_rule(content)),
            Sym::THIRD_PARTY_INVITE => Body::ThirdPartyInvite(Box::new(ThirdPartyInvite {
                sender,
                keys: public_keys(content),
            })),
            _ => Body::Other,
        };
        Self {
            event_type,
            sender,
            state_key,
            foreign_state_key,
            body,
        }
    }

    /// The state keys that `auth_events` may name (server-server API, "Auth events selection").
    pub(crate) fn auth_slots(&self, rules: &Rules, interner: &mut Interner) -> SmallVec<[Slot; 6]> {
        let mut slots: SmallVec<[Slot; 6]> = SmallVec::new();
        if self.event_type == Sym::CREATE {
            return slots;
        }
        if !rules.room_id_is_create_hash {
            slots.push(Slot::CREATE);
        }
        slots.push(Slot::POWER_LEVELS);
        slots.push(interner.slot(Sym::MEMBER, self.sender));
        let Body::Member(member) = &self.body else {
            return slots;
        };
        if let Some(target) = member.target {
            push_new(&mut slots, interner.slot(Sym::MEMBER, target));
        }
        match member.membership {
            Membership::Join | Membership::Invite | Membership::Knock => slots.push(Slot::JOIN_RULES),
            _ => {}
        }
        if member.membership == Membership::Invite
            && let Some(token) = member.third_party.as_ref().and_then(|t| t.token)
        {
            slots.push(interner.slot(Sym::THIRD_PARTY_INVITE, token));
        }
        if member.membership == Membership::Join
            && rules.restricted
            && let Some(user) = member.authorised_via
        {
            push_new(&mut slots, interner.slot(Sym::MEMBER, user));
        }
        slots
    }
}

fn push_new(slots: &mut SmallVec<[Slot; 6]>, slot: Slot) {
    if !slots.contains(&slot) {
        slots.push(slot);
    }
}

fn create(source: &Source<'_>, sender: Sym, rules: &Rules, interner: &mut Interner) -> Create {
    let content = source.content;
    let creator = if rules.creator_in_content {
        content
            .get("creator")
            .and_then(Raw::as_str)
            .map(|c| interner.sym(&c))
    } else {
        Some(sender)
    };
    let mut additional = Vec::new();
    let mut additional_malformed = false;
    if rules.privileged_creators
        && let Some(list) = content.get("additional_creators")
    {
        additional_malformed = !list.is_array();
        for element in list.elements().into_iter().flatten() {
            match element.as_str().filter(|c| is_user_id(c)) {
                Some(user) => additional.push(interner.sym(&user)),
                None => additional_malformed = true,
            }
        }
    }
    let version_recognised = content
        .get("room_version")
        .is_none_or(|v| v.as_str().is_some_and(|v| is_recognised(&v)));
    Create {
        id: source.event_id,
        sender,
        creator,
        additional: additional.into(),
        additional_malformed,
        federate: content.get("m.federate").and_then(Raw::as_bool) != Some(false),
        version_recognised,
        creator_missing: rules.creator_in_content && content.get("creator").is_none(),
        room_domain_is_senders: server_of_room(source.room_id) == server_of_user(source.sender),
        stray_room_id: source.stray_room_id,
    }
}

fn member(content: Raw<'_>, target: Option<Sym>, target_malformed: bool, interner: &mut Interner) -> Member {
    let (mut membership, mut via, mut third_party) = (Membership::Missing, None, None);
    for entry in content.entries().into_iter().flatten() {
        match entry.key.escaped() {
            "membership" => membership = membership_of(entry.value),
            "join_authorised_via_users_server" => via = Some(entry.value),
            "third_party_invite" => third_party = Some(entry.value),
            _ => {}
        }
    }
    let via = via.map(|v| v.as_str().filter(|u| is_user_id(u)).map(|u| interner.sym(&u)));
    Member {
        target,
        target_malformed,
        membership,
        authorised_via: via.flatten(),
        authorised_via_malformed: via == Some(None),
        third_party: third_party.map(|t| Box::new(third_party_claim(t, interner))),
    }
}

fn membership_of(value: Raw<'_>) -> Membership {
    match value.as_escaped_str() {
        Some("join") => Membership::Join,
        Some("leave") => Membership::Leave,
        Some("invite") => Membership::Invite,
        Some("ban") => Membership::Ban,
        Some("knock") => Membership::Knock,
        Some(_) => Membership::Unknown,
        None => Membership::Missing,
    }
}

fn third_party_claim(claim: Raw<'_>, interner: &mut Interner) -> ThirdPartyClaim {
    let Some(signed) = claim.get("signed").filter(|s| s.is_object()) else {
        return ThirdPartyClaim::default();
    };
    let text = |key: &str, interner: &mut Interner| {
        signed
            .get(key)
            .and_then(Raw::as_str)
            .map(|text| interner.sym(&text))
    };
    let mut message = String::new();
    write_signable(signed, &mut message);
    let servers = signed
        .get("signatures")
        .and_then(Raw::entries)
        .into_iter()
        .flatten();
    let signatures = servers
        .filter_map(|server| server.value.entries())
        .flatten()
        .filter(|key| key.key.escaped().starts_with("ed25519:"))
        .filter_map(|key| key.value.as_escaped_str().and_then(decode_signature))
        .collect();
    ThirdPartyClaim {
        has_signed: true,
        mxid: text("mxid", interner),
        token: text("token", interner),
        message,
        signatures,
    }
}

fn public_keys(content: Raw<'_>) -> Vec<VerifyKey> {
    let single = content.get("public_key");
    let list = content
        .get("public_keys")
        .and_then(Raw::elements)
        .into_iter()
        .flatten();
    single
        .into_iter()
        .chain(list.filter_map(|key| key.get("public_key")))
        .filter_map(|key| {
            // Identity servers publish these keys in either alphabet.
            let text = key.as_escaped_str()?.replace('-', "+").replace('_', "/");
            let octets: [u8; 32] = LENIENT.decode(text).ok()?.try_into().ok()?;
            VerifyKey::from_bytes(&octets).ok()
        })
        .collect()
}

fn join_rule(content: Raw<'_>) -> JoinRule {
    let Some(rule) = content.get("join_rule") else {
        return JoinRule::Invite;
    };
    match rule.as_escaped_str() {
        Some("public") => JoinRule::Public,
        Some("invite") => JoinRule::Invite,
        Some("knock") => JoinRule::Knock,
        Some("restricted") => JoinRule::Restricted,
        Some("knock_restricted") => JoinRule::KnockRestricted,
        _ => JoinRule::Other,
    }
}
