//! The room's face: what its portal shows besides messages, and the revision that says when that changed.
//!
//! At the hub it follows from the group. At a follower nobody but a member knows it: a client of this provider hands in
//! its card ([`RoomCommand::Card`](crate::command::RoomCommand)). It is for showing; nothing is judged by it.

use delivery_service::{Group, RoleIndex};
use mimi_wire::codec::Decode as _;
use mimi_wire::components::{RoomMetaData, component_id};
use mimi_wire::policy::{BaseRoomPolicy, Capability, Preset, Role, RoleData};
use mimi_wire::uri::MimiUri;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::RoomState;
use super::scribe::Scribe;
use crate::command::{ClientActor, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::outbox::{Destination, OutboxBody};
use crate::records::PortalState;
use crate::refusal::Refusal;
use crate::views::RoomCard;

/// Participants taken from a card.
const MOST_USERS: usize = 20_000;
/// Octets of a name or subject that are shown.
const LONGEST_TEXT: usize = 4_000;
/// Octets of a picture's address.
const LONGEST_ADDRESS: usize = 2_048;

/// Power level of who may destroy the room or redefine its roles. Below 100, the bot's own level up to room version 11:
/// the bot must be able to put any of them back.
pub(crate) const OWNER: i64 = 90;
/// Power level of who may remove others, ban, or delete others' messages.
pub(crate) const MODERATOR: i64 = 50;
/// Power level of who may not even send.
pub(crate) const SILENT: i64 = -10;
/// What only the bot may do.
pub(crate) const NOBODY: i64 = 100;

/// What a portal shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoomFace {
    /// The room's subject.
    pub(crate) topic: Option<String>,
    /// The `https` address of its picture.
    #[serde(default)]
    pub(crate) picture: Option<String>,
    /// Levels of the roles that there are.
    pub(crate) levels: BTreeMap<u32, i64>,
    /// Levels that actions take.
    pub(crate) thresholds: Thresholds,
    /// Whether it is listed in the homeserver's directory.
    pub(crate) published: bool,
    /// At a follower: the epoch of the newest card of a member.
    pub(crate) card_epoch: Option<u64>,
    /// At the hub: the group's cipher suite.
    pub(crate) suite: Option<u16>,
}

/// Power levels that actions take in the portal. The gateway judges by MIMI's rules all the same; these keep clients
/// from offering what would be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Inviting.
    pub invite: i64,
    /// Removing.
    pub kick: i64,
    /// Banning.
    pub ban: i64,
    /// Changing roles.
    pub roles: i64,
    /// Changing the name.
    pub name: i64,
    /// Changing the topic.
    pub topic: i64,
    /// Changing the picture.
    #[serde(default = "nobody")]
    pub avatar: i64,
    /// Submitting messages.
    pub send: i64,
}

fn nobody() -> i64 {
    NOBODY
}

impl Default for Thresholds {
    /// Of a room whose roles aren't known: everybody may send, only the bot anything else.
    fn default() -> Self {
        Self {
            invite: NOBODY,
            kick: NOBODY,
            ban: NOBODY,
            roles: NOBODY,
            name: NOBODY,
            topic: NOBODY,
            avatar: NOBODY,
            send: 0,
        }
    }
}

/// The level of a role's holders.
fn level(role: &Role) -> i64 {
    let any = |capabilities: &[Capability]| capabilities.iter().any(|one| role.can(*one));
    if any(&[Capability::DESTROY_ROOM, Capability::CHANGE_ROLE_DEFINITIONS]) {
        OWNER
    } else if any(&[
        Capability::BAN,
        Capability::KICK,
        Capability::REMOVE_PARTICIPANT,
        Capability::DELETE_OTHER_MESSAGE,
    ]) {
        MODERATOR
    } else if role.can(Capability::SEND_MESSAGE) {
        0
    } else {
        SILENT
    }
}

impl RoomFace {
    /// The level of a role's holder in the portal. Ghosts do nothing there by themselves, and Matrix lets nobody remove
    /// an equal: so every moderator stands above every ghost, and MIMI's rules judge.
    pub(crate) fn level(&self, role: u32, ghost: bool) -> i64 {
        let level = self.levels.get(&role).copied().unwrap_or_default();
        if ghost { level.min(MODERATOR - 1) } else { level }
    }
}

/// Roles as power levels: lossy, one way.
pub(crate) fn levels(roles: &RoleData) -> (BTreeMap<u32, i64>, Thresholds) {
    let held: Vec<&Role> = roles
        .roles
        .iter()
        .filter(|role| role.role_index != RoleIndex::NONE && role.role_index != RoleIndex::BANNED)
        .collect();
    let lowest = |capabilities: &[Capability]| {
        held.iter()
            .filter(|role| capabilities.iter().any(|one| role.can(*one)))
            .map(|role| level(role))
            .min()
            .unwrap_or(NOBODY)
    };
    let thresholds = Thresholds {
        invite: lowest(&[Capability::ADD_PARTICIPANT]),
        kick: lowest(&[Capability::KICK, Capability::REMOVE_PARTICIPANT]),
        ban: lowest(&[Capability::BAN]),
        roles: lowest(&[Capability::CHANGE_USER_ROLE]),
        name: lowest(&[Capability::CHANGE_ROOM_NAME]),
        topic: lowest(&[
            Capability::CHANGE_ROOM_SUBJECT,
            Capability::CHANGE_ROOM_DESCRIPTION,
        ]),
        avatar: lowest(&[Capability::CHANGE_ROOM_AVATAR]),
        send: lowest(&[Capability::SEND_MESSAGE]).min(0),
    };
    let levels = held.iter().map(|role| (role.role_index.0, level(role))).collect();
    (levels, thresholds)
}

/// The roles that a room's component holds; without one, those of the default preset.
pub(crate) fn roles_of(component: Option<&[u8]>) -> RoleData {
    component
        .and_then(|data| RoleData::from_bytes(data).ok())
        .unwrap_or_else(|| Preset::Cooperative.roles())
}

fn shown(text: &str) -> Option<String> {
    let mut text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
    while text.len() > LONGEST_TEXT {
        text.pop();
    }
    (!text.trim().is_empty()).then_some(text)
}

/// A picture's address, if it may be one.
fn address(text: &str) -> Option<String> {
    let plain = text.starts_with("https://") && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    (plain && text.len() <= LONGEST_ADDRESS).then(|| text.to_owned())
}

impl RoomState {
    /// A member's card of a room whose hub is elsewhere. An older one than is known changes nothing.
    pub(super) fn card(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        who: &ClientActor,
        card: &RoomCard,
    ) -> Result<Decision, Refusal> {
        let records = self.known()?;
        if self.group.is_some() {
            return Err(Refusal::forbidden("the hub knows the room itself"));
        }
        if !records.participants.get(&who.user).is_some_and(|user| user.here) {
            return Err(Refusal::Unknown { what: "room" });
        }
        if card.participants.len() > MOST_USERS {
            return Err(Refusal::TooLarge {
                what: "card",
                limit: MOST_USERS,
            });
        }
        if records
            .room
            .face
            .card_epoch
            .is_some_and(|known| known > card.epoch)
        {
            return Ok(Decision::reply(Reply::Done));
        }
        let mut scribe = Scribe::new(env, ctx, records);
        let on_card: BTreeMap<&MimiUri, u32> = card
            .participants
            .iter()
            .map(|(user, role)| (user, *role))
            .collect();
        for user in records
            .participants
            .keys()
            .filter(|user| !on_card.contains_key(user))
        {
            scribe.participant_mut(user).shown = None;
        }
        for (user, role) in on_card {
            scribe.participant_mut(user).shown = Some(role);
        }
        let (levels, thresholds) = levels(&roles_of(card.roles.as_deref()));
        let face = RoomFace {
            topic: card.topic.as_deref().and_then(shown),
            picture: card.picture.as_deref().and_then(address),
            levels,
            thresholds,
            card_epoch: Some(card.epoch),
            ..scribe.room.face.clone()
        };
        scribe.show(card.name.as_deref().and_then(shown), face)?;
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }
}

impl Scribe<'_> {
    /// Brings the face up to the group, at the hub.
    pub(super) fn face_of(&mut self, group: &Group) -> Result<(), Refusal> {
        let metadata = group
            .component(component_id::ROOM_METADATA)
            .and_then(|data| RoomMetaData::from_bytes(data).ok())
            .unwrap_or_default();
        let (levels, thresholds) = levels(&roles_of(group.component(component_id::ROLES_LIST)));
        let base = group
            .component(component_id::BASE_ROOM_POLICY)
            .and_then(|data| BaseRoomPolicy::from_bytes(data).ok())
            .unwrap_or_default();
        let face = RoomFace {
            topic: shown(&metadata.room_subject),
            picture: address(&metadata.room_avatar),
            levels,
            thresholds,
            published: base.discoverable,
            suite: Some(group.cipher_suite().0),
            ..self.room.face.clone()
        };
        self.show(shown(&metadata.room_name), face)
    }

    /// Takes a face over; the portal follows where it differs.
    fn show(&mut self, name: Option<String>, face: RoomFace) -> Result<(), Refusal> {
        if name != self.room.name || face != self.room.face {
            let room = self.room.to_mut();
            room.name = name;
            room.face = face;
        } else if !self.people_changed() {
            return Ok(());
        }
        self.sync_portal()
    }

    /// Has the portal brought to what the room is now, in a queue of its own: a thousand ghosts on their way into the
    /// room hold up no message.
    pub(super) fn sync_portal(&mut self) -> Result<(), Refusal> {
        self.look_at_portal(false)
    }

    /// The same; `audit`: though nothing has changed that we know of.
    pub(super) fn look_at_portal(&mut self, audit: bool) -> Result<(), Refusal> {
        self.head.portal_revision = self.head.portal_revision.saturating_add(1);
        if !matches!(self.room.portal, PortalState::Linked { .. }) {
            // It is brought up to date when it is made.
            return Ok(());
        }
        let body = OutboxBody::PortalSync {
            room: self.room.room.as_str().to_owned(),
            revision: self.head.portal_revision,
            audit,
        };
        let lane = format!("{} (portal)", self.room.room.as_str());
        self.queue_in(lane, Destination::Homeserver, body, None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_preset_leaves_the_bot_above_everybody() {
        for preset in Preset::ALL {
            let (levels, thresholds) = levels(&preset.roles());
            assert!(!levels.is_empty(), "{preset:?}");
            assert!(levels.values().all(|level| *level < NOBODY), "{preset:?}");
            assert!(thresholds.send <= 0);
            assert!(
                levels.values().any(|level| *level >= thresholds.send),
                "{preset:?}"
            );
        }
    }

    #[test]
    fn an_address_is_https_and_bounded() {
        assert!(address("https://b.example/v1/asset/x").is_some());
        for bad in [
            "",
            "http://b.example/x",
            "https://b.example/a b",
            &format!("https://b.example/{}", "x".repeat(3000)),
        ] {
            assert_eq!(address(bad), None);
        }
    }

    #[test]
    fn a_text_is_shown_without_controls_and_not_without_end() {
        assert_eq!(shown("a\u{0}b\n"), Some("ab\n".to_owned()));
        assert_eq!(shown(" "), None);
        assert!(shown(&"ä".repeat(10_000)).unwrap().len() <= LONGEST_TEXT);
    }
}
