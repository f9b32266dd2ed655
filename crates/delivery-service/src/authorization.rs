//! Who may do what: roles, their capabilities, and the role changes they may make.
//!
//! The algorithm is that of draft-ietf-mimi-room-policy-03 section 6: an action needs a capability of the
//! actor's role, and where it gives somebody another role, that change must be listed in the actor's role.
//! Constraints on the number of holders of a role are not looked at yet.

use mimi_wire::components::RoleIndex;
use mimi_wire::{DecodeError, Reader};
use std::collections::{BTreeMap, BTreeSet};

/// The role people are added with in the default preset.
pub const ORDINARY_USER: RoleIndex = RoleIndex(2);
/// The role of a room's creator in the default preset.
pub const SUPER_ADMIN: RoleIndex = RoleIndex(4);

/// Whether the role is one of somebody who takes part: in the list and not banned.
pub fn takes_part(role: RoleIndex) -> bool {
    role != RoleIndex::NONE && role != RoleIndex::BANNED
}

/// A role capability (room-policy section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(pub u16);

#[allow(missing_docs, reason = "the names are the registry's")]
impl Capability {
    pub const ADD_PARTICIPANT: Self = Self(0x0000);
    pub const REMOVE_PARTICIPANT: Self = Self(0x0001);
    pub const ADD_OWN_CLIENT: Self = Self(0x0002);
    pub const REMOVE_OWN_CLIENT: Self = Self(0x0003);
    pub const REMOVE_SELF: Self = Self(0x0006);
    pub const BAN: Self = Self(0x000a);
    pub const UNBAN: Self = Self(0x000b);
    pub const KICK: Self = Self(0x000c);
    pub const CHANGE_USER_ROLE: Self = Self(0x000f);
    pub const SEND_MESSAGE: Self = Self(0x0100);
    pub const RECEIVE_MESSAGE: Self = Self(0x0101);
    pub const CHANGE_ROOM_NAME: Self = Self(0x0300);
    pub const CHANGE_ROOM_DESCRIPTION: Self = Self(0x0301);
    pub const CHANGE_ROOM_AVATAR: Self = Self(0x0302);
    pub const CHANGE_ROOM_SUBJECT: Self = Self(0x0303);
    pub const CHANGE_ROOM_MOOD: Self = Self(0x0304);
    pub const CHANGE_ROOM_MEMBERSHIP_STYLE: Self = Self(0x0502);
    pub const CHANGE_ROLE_DEFINITIONS: Self = Self(0x0503);
    pub const CHANGE_PREAUTHORIZED_USER_LIST: Self = Self(0x0504);
    pub const CHANGE_OTHER_POLICY_ATTRIBUTE: Self = Self(0x0505);
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Put another user into the list with this role.
    AddParticipant(RoleIndex),
    /// Add clients of another user who is in the list.
    AddClientOfParticipant,
    /// Take another user, who has this role, out of the list.
    RemoveParticipant(RoleIndex),
    /// Add an own client.
    AddOwnClient,
    /// Remove an own client and stay.
    RemoveOwnClient,
    /// Take oneself out of the list.
    Leave,
    /// Remove clients of another user who stays in the list.
    Kick,
    /// Give another user another role; neither is "none".
    ChangeRole {
        /// What the user has.
        from: RoleIndex,
        /// What the user gets.
        to: RoleIndex,
    },
    /// Give oneself another role. That needs a preauthorization, and those are not supported: nobody may.
    ChangeOwnRole,
    /// Anything that needs one capability and nothing else.
    Use(Capability),
}

/// The decision on actions, so that a richer policy can take its place.
pub trait Authorization {
    /// Whether somebody with this role may do that.
    fn allows(&self, actor: RoleIndex, action: Action) -> bool;
}

/// One role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct RoleDefinition {
    capabilities: BTreeSet<Capability>,
    changes: BTreeMap<RoleIndex, BTreeSet<RoleIndex>>,
}

/// The roles of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeMap<RoleIndex, RoleDefinition>);

impl Roles {
    /// The default preset, after room-policy appendix A.1: 0 none, 1 banned, 2 ordinary user, 3 group admin,
    /// 4 super admin. An ordinary user may add and remove participants.
    pub fn cooperative() -> Self {
        use Capability as C;
        let ordinary: &[C] = &[
            C::ADD_PARTICIPANT,
            C::REMOVE_PARTICIPANT,
            C::ADD_OWN_CLIENT,
            C::REMOVE_OWN_CLIENT,
            C::REMOVE_SELF,
            C::SEND_MESSAGE,
            C::RECEIVE_MESSAGE,
        ];
        let admin: &[C] = &[
            C::BAN,
            C::UNBAN,
            C::KICK,
            C::CHANGE_USER_ROLE,
            C::CHANGE_ROOM_NAME,
            C::CHANGE_ROOM_DESCRIPTION,
            C::CHANGE_ROOM_AVATAR,
            C::CHANGE_ROOM_SUBJECT,
            C::CHANGE_ROOM_MOOD,
        ];
        let super_admin: &[C] = &[
            C::CHANGE_ROOM_MEMBERSHIP_STYLE,
            C::CHANGE_ROLE_DEFINITIONS,
            C::CHANGE_PREAUTHORIZED_USER_LIST,
            C::CHANGE_OTHER_POLICY_ATTRIBUTE,
        ];
        let role = |capabilities: &[&[C]], changes: &[(u32, &[u32])]| RoleDefinition {
            capabilities: capabilities.iter().flat_map(|set| set.iter().copied()).collect(),
            changes: changes
                .iter()
                .map(|(from, to)| (RoleIndex(*from), to.iter().copied().map(RoleIndex).collect()))
                .collect(),
        };
        Self(BTreeMap::from([
            (RoleIndex(0), role(&[], &[])),
            (RoleIndex(1), role(&[], &[])),
            (RoleIndex(2), role(&[ordinary], &[(0, &[2]), (2, &[0])])),
            (
                RoleIndex(3),
                role(
                    &[ordinary, admin],
                    &[(0, &[1, 2, 3]), (1, &[0, 2, 3]), (2, &[0, 1, 3]), (3, &[0, 1, 2])],
                ),
            ),
            (
                RoleIndex(4),
                role(
                    &[ordinary, admin, super_admin],
                    &[
                        (0, &[1, 2, 3, 4]),
                        (1, &[0, 2, 3, 4]),
                        (2, &[0, 1, 3, 4]),
                        (3, &[0, 1, 2, 4]),
                        (4, &[0, 1, 2, 3]),
                    ],
                ),
            ),
        ]))
    }

    /// Reads the data of component `roles_list` (room-policy section 7.1).
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut outer = Reader::new(data);
        let mut window = outer.field("roles").window()?;
        outer.finish()?;
        let mut roles = BTreeMap::new();
        while !window.is_empty() {
            let at = window.clone();
            let index = RoleIndex(window.field("role_index").u32()?);
            let _name = window.field("role_name").opaque()?;
            let _description = window.field("role_description").opaque()?;
            let mut definition = RoleDefinition::default();
            let mut capabilities = window.field("role_capabilities").window()?;
            while !capabilities.is_empty() {
                definition.capabilities.insert(Capability(capabilities.u16()?));
            }
            for _ in 0..2 {
                let _minimum = window.field("minimum_participants_constraint").u32()?;
                if window.field("maximum_participants_constraint").presence()? {
                    let _maximum = window.u32()?;
                }
            }
            let mut changes = window.field("authorized_role_changes").window()?;
            while !changes.is_empty() {
                let targets: &mut BTreeSet<RoleIndex> =
                    definition.changes.entry(RoleIndex(changes.u32()?)).or_default();
                let mut listed = changes.window()?;
                while !listed.is_empty() {
                    targets.insert(RoleIndex(listed.u32()?));
                }
            }
            if roles.insert(index, definition).is_some() {
                return Err(at.invalid("one role_index twice"));
            }
        }
        Ok(Self(roles))
    }

    /// Whether a role of this index is defined.
    pub fn defines(&self, role: RoleIndex) -> bool {
        self.0.contains_key(&role)
    }
}

impl Authorization for Roles {
    fn allows(&self, actor: RoleIndex, action: Action) -> bool {
        let Some(role) = self.0.get(&actor) else {
            return false;
        };
        let can = |capability| role.capabilities.contains(&capability);
        let may_change = |from, to| {
            role.changes
                .get(&from)
                .is_some_and(|targets| targets.contains(&to))
        };
        match action {
            Action::AddParticipant(to) => can(Capability::ADD_PARTICIPANT) && may_change(RoleIndex::NONE, to),
            Action::AddClientOfParticipant => can(Capability::ADD_PARTICIPANT),
            Action::RemoveParticipant(from) => {
                can(Capability::REMOVE_PARTICIPANT) && may_change(from, RoleIndex::NONE)
            }
            Action::AddOwnClient => can(Capability::ADD_OWN_CLIENT),
            Action::RemoveOwnClient => can(Capability::REMOVE_OWN_CLIENT),
            Action::Leave => can(Capability::REMOVE_SELF) && may_change(actor, RoleIndex::NONE),
            Action::Kick => can(Capability::KICK),
            Action::ChangeRole {
                from,
                to: RoleIndex::BANNED,
            } => can(Capability::BAN) && may_change(from, RoleIndex::BANNED),
            Action::ChangeRole {
                from: RoleIndex::BANNED,
                to,
            } => can(Capability::UNBAN) && may_change(RoleIndex::BANNED, to),
            Action::ChangeRole { from, to } => can(Capability::CHANGE_USER_ROLE) && may_change(from, to),
            Action::ChangeOwnRole => false,
            Action::Use(capability) => can(capability),
        }
    }
}

#[cfg(test)]
mod tests;
