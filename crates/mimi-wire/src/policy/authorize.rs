//! Who may do what (draft-ietf-mimi-room-policy-04 section 8).

use super::{Capability, Claim, Role, RoomState};
use crate::components::{RoleIndex, component_id};
use crate::uri::MimiUri;

/// Who acts: a participant, someone who is none, or an external sender such as the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor<'a> {
    /// The user, or the provider for an external sender.
    pub uri: &'a MimiUri,
    /// What the actor's credential claims, for preauthorization.
    pub claims: &'a [Claim],
}

impl<'a> Actor<'a> {
    /// An actor whose credential claims nothing that counts.
    pub fn user(uri: &'a MimiUri) -> Self {
        Self { uri, claims: &[] }
    }
}

/// A thing to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Adds another user with a role, and that many of the user's clients.
    AddParticipant {
        /// The user.
        user: &'a MimiUri,
        /// The role.
        role: RoleIndex,
        /// Clients added with the user; 0 adds an inactive participant.
        clients: u32,
    },
    /// Adds clients of one's own, by Add or external commit.
    AddOwnClient {
        /// How many.
        clients: u32,
    },
    /// Joins a room that is open.
    OpenJoin {
        /// The role taken.
        role: RoleIndex,
        /// How many clients.
        clients: u32,
    },
    /// Joins by preauthorization.
    JoinPreauthorized {
        /// The role taken: that of the first entry that matches.
        role: RoleIndex,
        /// How many clients.
        clients: u32,
    },
    /// Joins by a code, which the caller has found valid.
    JoinByCode {
        /// The role that the code gives.
        role: RoleIndex,
        /// How many clients.
        clients: u32,
    },
    /// Removes another user with all clients.
    RemoveParticipant {
        /// The user.
        user: &'a MimiUri,
    },
    /// Removes clients of one's own and stays a participant.
    RemoveOwnClient {
        /// How many.
        clients: u32,
    },
    /// Leaves with all clients.
    Leave,
    /// Removes all clients of another user, who stays a participant.
    Kick {
        /// The user.
        user: &'a MimiUri,
    },
    /// Changes another user's role.
    ChangeRole {
        /// The user.
        user: &'a MimiUri,
        /// The new role.
        role: RoleIndex,
    },
    /// Changes one's own role to that of the first preauthorization entry that matches.
    ChangeOwnRole {
        /// The new role.
        role: RoleIndex,
    },
    /// Gives another user the banned role and removes the clients.
    Ban {
        /// The user; need not be a participant.
        user: &'a MimiUri,
    },
    /// Gives a banned user another role.
    Unban {
        /// The user.
        user: &'a MimiUri,
        /// The new role.
        role: RoleIndex,
    },
    /// Changes a field of the room's metadata.
    ChangeMetadata(MetadataField),
    /// Replaces a policy component.
    ChangePolicy {
        /// Which.
        component_id: u16,
    },
    /// Destroys the room.
    DestroyRoom,
    /// Anything that needs nothing but a capability: sending, reporting, calls, ReInit.
    Use(Capability),
}

/// A field of the room's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataField {
    /// Name.
    Name,
    /// Descriptions.
    Description,
    /// Avatar.
    Avatar,
    /// Subject.
    Subject,
    /// Mood.
    Mood,
}

impl MetadataField {
    /// All fields.
    pub const ALL: [Self; 5] = [
        Self::Name,
        Self::Description,
        Self::Avatar,
        Self::Subject,
        Self::Mood,
    ];

    /// What one needs to change it.
    pub const fn capability(self) -> Capability {
        match self {
            Self::Name => Capability::CHANGE_ROOM_NAME,
            Self::Description => Capability::CHANGE_ROOM_DESCRIPTION,
            Self::Avatar => Capability::CHANGE_ROOM_AVATAR,
            Self::Subject => Capability::CHANGE_ROOM_SUBJECT,
            Self::Mood => Capability::CHANGE_ROOM_MOOD,
        }
    }
}

/// Why an action is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// The actor's role lacks a capability.
    #[error("role {role} lacks {capability}")]
    MissingCapability {
        /// The role.
        role: RoleIndex,
        /// The capability.
        capability: Capability,
    },
    /// The actor's role may not make this change of role.
    #[error("role {role} may not change a role from {from} to {to}")]
    RoleChange {
        /// The actor's role.
        role: RoleIndex,
        /// Role before.
        from: RoleIndex,
        /// Role after.
        to: RoleIndex,
    },
    /// A role that the room doesn't define, or 0 where a role is to be given.
    #[error("role {0} is not defined")]
    UndefinedRole(RoleIndex),
    /// Too many would hold a role.
    #[error("role {0} may have no more participants")]
    TooMany(RoleIndex),
    /// Too few would hold a role.
    #[error("role {0} may have no fewer participants")]
    TooFew(RoleIndex),
    /// Too many with clients would hold a role.
    #[error("role {0} may have no more active participants")]
    TooManyActive(RoleIndex),
    /// Too few with clients would hold a role.
    #[error("role {0} may have no fewer active participants")]
    TooFewActive(RoleIndex),
    /// Whom the action concerns is no participant.
    #[error("not a participant")]
    NotParticipant,
    /// Who is to be added is a participant.
    #[error("already a participant")]
    AlreadyParticipant,
    /// The action is for others, and the actor aimed it at itself.
    #[error("not to be done to oneself")]
    Oneself,
    /// No preauthorization entry gives the actor this role.
    #[error("not preauthorized for this role")]
    NotPreauthorized,
    /// The room has no role 1 named "banned".
    #[error("the room has no banned role")]
    NoBannedRole,
    /// The user to unban is not banned, or the one to ban is.
    #[error("the user's ban is not what the action supposes")]
    BanState,
    /// The room's participants are fixed.
    #[error("the room's participants are fixed")]
    FixedMembership,
    /// The room takes one client per user.
    #[error("the room takes one client per user")]
    SingleDevice,
    /// The room has as many users as it may.
    #[error("the room has as many users as it may")]
    RoomFull,
    /// The room has as many clients as it may.
    #[error("the room has as many clients as it may")]
    TooManyClients,
    /// Roles are changed together with participants.
    #[error("roles and participants may not change in one commit")]
    RolesWithParticipants,
    /// Preauthorization is changed together with additions or changes of role.
    #[error("preauthorization and participants may not change in one commit")]
    PreauthWithParticipants,
    /// Room metadata is replaced twice.
    #[error("room metadata may be replaced once per commit")]
    MetadataTwice,
}

/// What a commit holds, as far as it matters what stands together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitShape {
    /// It replaces the roles.
    pub changes_roles: bool,
    /// It replaces the preauthorization.
    pub changes_preauth: bool,
    /// It removes participants.
    pub removes_participants: bool,
    /// It adds participants or changes their roles.
    pub adds_or_changes_participants: bool,
    /// How often it replaces the room metadata.
    pub metadata_updates: usize,
}

/// Checks that a commit does not mix what must not be mixed.
pub fn check_isolation(shape: CommitShape) -> Result<(), Denial> {
    if shape.changes_roles && (shape.removes_participants || shape.adds_or_changes_participants) {
        return Err(Denial::RolesWithParticipants);
    }
    if shape.changes_preauth && shape.adds_or_changes_participants {
        return Err(Denial::PreauthWithParticipants);
    }
    if shape.metadata_updates > 1 {
        return Err(Denial::MetadataTwice);
    }
    Ok(())
}

impl RoomState {
    /// The role in which an actor acts: its own in the list; if it is in none, the first that it is
    /// preauthorized for, otherwise 0.
    pub fn acting_role(&self, actor: Actor<'_>) -> RoleIndex {
        match self.member(actor.uri) {
            Some(member) => member.role,
            None => self.preauth.first_match(actor.claims).unwrap_or(RoleIndex::NONE),
        }
    }

    /// Judges an action.
    pub fn authorize(&self, actor: Actor<'_>, action: &Action<'_>) -> Result<(), Denial> {
        match *action {
            Action::AddParticipant { user, role, clients } => {
                if user == actor.uri {
                    return Err(Denial::Oneself);
                }
                let acting = self.holding(actor, Capability::ADD_PARTICIPANT)?;
                check_change(acting, RoleIndex::NONE, role)?;
                self.check_entry(user, role, clients)
            }
            Action::OpenJoin { role, clients } => {
                self.check_not_participant(actor.uri)?;
                let none = self.role_holding(RoleIndex::NONE, Capability::OPEN_JOIN)?;
                check_change(none, RoleIndex::NONE, role)?;
                self.check_entry(actor.uri, role, clients)
            }
            Action::JoinPreauthorized { role, clients } => {
                self.check_not_participant(actor.uri)?;
                if self.preauth.first_match(actor.claims) != Some(role) {
                    return Err(Denial::NotPreauthorized);
                }
                self.role_holding(role, Capability::JOIN_IF_PREAUTHORIZED)?;
                self.check_entry(actor.uri, role, clients)
            }
            Action::JoinByCode { role, clients } => {
                self.check_not_participant(actor.uri)?;
                self.holding(actor, Capability::USE_JOIN_CODE)?;
                if role == RoleIndex::BANNED {
                    return Err(Denial::UndefinedRole(role));
                }
                self.check_entry(actor.uri, role, clients)
            }
            Action::AddOwnClient { clients } => {
                let member = self.member(actor.uri).ok_or(Denial::NotParticipant)?;
                let acting = self.holding(actor, Capability::ADD_OWN_CLIENT)?;
                if member.clients == 0 && clients > 0 {
                    self.check_one_more_active(acting)?;
                }
                self.check_clients(member.clients, clients)
            }
            Action::RemoveParticipant { user } => {
                let acting = self.holding(actor, Capability::REMOVE_PARTICIPANT)?;
                let target = self.other_member(actor, user)?;
                self.check_fixed()?;
                check_change(acting, target.role, RoleIndex::NONE)?;
                self.check_one_fewer(target.role, target.clients > 0)
            }
            Action::RemoveOwnClient { clients } => {
                let member = self.member(actor.uri).ok_or(Denial::NotParticipant)?;
                self.holding(actor, Capability::REMOVE_OWN_CLIENT)?;
                if member.clients > 0 && clients >= member.clients {
                    self.check_one_fewer_active(member.role)?;
                }
                Ok(())
            }
            Action::Leave => {
                let member = self.member(actor.uri).ok_or(Denial::NotParticipant)?;
                let acting = self.holding(actor, Capability::REMOVE_SELF)?;
                self.check_fixed()?;
                check_change(acting, member.role, RoleIndex::NONE)?;
                self.check_one_fewer(member.role, member.clients > 0)
            }
            Action::Kick { user } => {
                self.holding(actor, Capability::KICK)?;
                let target = self.other_member(actor, user)?;
                if target.clients > 0 {
                    self.check_one_fewer_active(target.role)
                } else {
                    Ok(())
                }
            }
            Action::ChangeRole { user, role } => {
                let acting = self.holding(actor, Capability::CHANGE_USER_ROLE)?;
                let target = self.other_member(actor, user)?;
                check_change(acting, target.role, role)?;
                self.check_move(target.role, role, target.clients > 0)
            }
            Action::ChangeOwnRole { role } => {
                let member = self.member(actor.uri).ok_or(Denial::NotParticipant)?;
                self.holding(actor, Capability::CHANGE_OWN_ROLE)?;
                if self.preauth.first_match(actor.claims) != Some(role) {
                    return Err(Denial::NotPreauthorized);
                }
                self.defined(role)?;
                self.check_move(member.role, role, member.clients > 0)
            }
            Action::Ban { user } => self.authorize_ban(actor, user),
            Action::Unban { user, role } => {
                let acting = self.holding(actor, Capability::UNBAN)?;
                let target = self.other_member(actor, user)?;
                if !self.roles.has_banned_role() {
                    return Err(Denial::NoBannedRole);
                }
                if target.role != RoleIndex::BANNED || role == RoleIndex::BANNED {
                    return Err(Denial::BanState);
                }
                check_change(acting, RoleIndex::BANNED, role)?;
                self.check_room_for_user()?;
                self.check_move(RoleIndex::BANNED, role, target.clients > 0)
            }
            Action::ChangeMetadata(field) => self.holding(actor, field.capability()).map(drop),
            Action::ChangePolicy { component_id } => {
                self.holding(actor, policy_capability(component_id)).map(drop)
            }
            Action::DestroyRoom => self.holding(actor, Capability::DESTROY_ROOM).map(drop),
            Action::Use(capability) => self.holding(actor, capability).map(drop),
        }
    }

    fn authorize_ban(&self, actor: Actor<'_>, user: &MimiUri) -> Result<(), Denial> {
        if user == actor.uri {
            return Err(Denial::Oneself);
        }
        let acting = self.holding(actor, Capability::BAN)?;
        if !self.roles.has_banned_role() {
            return Err(Denial::NoBannedRole);
        }
        let target = self.member(user);
        let from = target.map_or(RoleIndex::NONE, |t| t.role);
        if from == RoleIndex::BANNED {
            return Err(Denial::BanState);
        }
        check_change(acting, from, RoleIndex::BANNED)?;
        if let Some(target) = target {
            self.check_one_fewer(target.role, target.clients > 0)?;
        }
        self.check_one_more(self.defined(RoleIndex::BANNED)?, false)
    }

    /// The actor's role, if it has the capability.
    fn holding(&self, actor: Actor<'_>, capability: Capability) -> Result<&Role, Denial> {
        self.role_holding(self.acting_role(actor), capability)
    }

    fn role_holding(&self, role: RoleIndex, capability: Capability) -> Result<&Role, Denial> {
        self.roles
            .get(role)
            .filter(|r| r.can(capability))
            .ok_or(Denial::MissingCapability { role, capability })
    }

    /// A role that can be given to someone.
    fn defined(&self, role: RoleIndex) -> Result<&Role, Denial> {
        if role == RoleIndex::NONE {
            return Err(Denial::UndefinedRole(role));
        }
        self.roles.get(role).ok_or(Denial::UndefinedRole(role))
    }

    fn other_member(&self, actor: Actor<'_>, user: &MimiUri) -> Result<super::Member, Denial> {
        if user == actor.uri {
            return Err(Denial::Oneself);
        }
        self.member(user).ok_or(Denial::NotParticipant)
    }

    fn check_not_participant(&self, user: &MimiUri) -> Result<(), Denial> {
        if self.member(user).is_some() {
            Err(Denial::AlreadyParticipant)
        } else {
            Ok(())
        }
    }

    fn check_fixed(&self) -> Result<(), Denial> {
        if self.base.fixed_membership {
            Err(Denial::FixedMembership)
        } else {
            Ok(())
        }
    }

    /// A user enters the list with a role and clients.
    fn check_entry(&self, user: &MimiUri, role: RoleIndex, clients: u32) -> Result<(), Denial> {
        self.check_not_participant(user)?;
        self.check_fixed()?;
        let target = self.defined(role)?;
        if role != RoleIndex::BANNED {
            self.check_room_for_user()?;
        }
        self.check_one_more(target, clients > 0)?;
        self.check_clients(0, clients)
    }

    fn check_room_for_user(&self) -> Result<(), Denial> {
        if self.base.max_users.is_some_and(|max| self.users() >= max) {
            Err(Denial::RoomFull)
        } else {
            Ok(())
        }
    }

    /// A user who has `present` clients gets `added` more.
    fn check_clients(&self, present: u32, added: u32) -> Result<(), Denial> {
        if !self.base.multi_device && present.saturating_add(added) > 1 {
            return Err(Denial::SingleDevice);
        }
        if self
            .base
            .max_clients
            .is_some_and(|max| self.clients().saturating_add(added) > max)
        {
            return Err(Denial::TooManyClients);
        }
        Ok(())
    }

    fn check_move(&self, from: RoleIndex, to: RoleIndex, active: bool) -> Result<(), Denial> {
        let target = self.defined(to)?;
        if from == to {
            return Ok(());
        }
        self.check_one_fewer(from, active)?;
        self.check_one_more(target, active)
    }

    fn check_one_more(&self, role: &Role, active: bool) -> Result<(), Denial> {
        let (holders, _) = self.count(role.role_index);
        if role
            .maximum_participants_constraint
            .is_some_and(|max| holders >= max)
        {
            return Err(Denial::TooMany(role.role_index));
        }
        if active {
            self.check_one_more_active(role)
        } else {
            Ok(())
        }
    }

    fn check_one_more_active(&self, role: &Role) -> Result<(), Denial> {
        let (_, active) = self.count(role.role_index);
        if role
            .maximum_active_participants_constraint
            .is_some_and(|max| active >= max)
        {
            return Err(Denial::TooManyActive(role.role_index));
        }
        Ok(())
    }

    fn check_one_fewer(&self, role: RoleIndex, active: bool) -> Result<(), Denial> {
        // Someone with a role that the room no longer defines may always lose it.
        let Some(definition) = self.roles.get(role) else {
            return Ok(());
        };
        let (holders, _) = self.count(role);
        if holders.saturating_sub(1) < definition.minimum_participants_constraint {
            return Err(Denial::TooFew(role));
        }
        if active {
            self.check_one_fewer_active(role)
        } else {
            Ok(())
        }
    }

    fn check_one_fewer_active(&self, role: RoleIndex) -> Result<(), Denial> {
        let Some(definition) = self.roles.get(role) else {
            return Ok(());
        };
        let (_, active) = self.count(role);
        if active.saturating_sub(1) < definition.minimum_active_participants_constraint {
            return Err(Denial::TooFewActive(role));
        }
        Ok(())
    }
}

/// What one needs to replace a policy component. For those that the draft gives no capability of their own,
/// the reserved `canChangeOtherPolicyAttribute` and `canChangeMlsOperationalPolicies` are taken.
fn policy_capability(component: u16) -> Capability {
    match component {
        component_id::ROLES_LIST => Capability::CHANGE_ROLE_DEFINITIONS,
        component_id::PREAUTH_LIST => Capability::CHANGE_PREAUTHORIZED_USER_LIST,
        component_id::BASE_ROOM_POLICY => Capability::CHANGE_ROOM_MEMBERSHIP_STYLE,
        component_id::MLS_OPERATIONAL_POLICY => Capability::CHANGE_MLS_OPERATIONAL_POLICIES,
        _ => Capability::CHANGE_OTHER_POLICY_ATTRIBUTE,
    }
}

fn check_change(acting: &Role, from: RoleIndex, to: RoleIndex) -> Result<(), Denial> {
    if acting.may_change(from, to) {
        Ok(())
    } else {
        Err(Denial::RoleChange {
            role: acting.role_index,
            from,
            to,
        })
    }
}
