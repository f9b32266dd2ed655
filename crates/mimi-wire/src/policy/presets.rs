//! The example role sets of draft-ietf-mimi-room-policy-04 appendix A, as presets.
//!
//! `canRevokeVoice` and `canGrantVoice`, which the examples name, are in no registry and left out. Where the
//! moderated example says that a speaker includes a speaker's capabilities, an attendee's are meant, and
//! where a moderator includes those of an ordinary user, a speaker's.

use super::{
    Capability as C, Claim, PreAuthData, PreAuthRoleEntry, Role, RoleData, SingleSourceRoleChangeTargets,
};
use crate::components::RoleIndex;
use crate::uri::{Domain, MimiUri};
use serde::{Deserialize, Serialize};

/// A set of roles that a room can start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Participants run the room together: friends, families, small teams.
    #[default]
    Cooperative,
    /// Admins add and remove participants.
    Strict,
    /// Guests, attendees, speakers, moderators.
    Moderated,
    /// Three organizations with own users and admins.
    MultiOrganization,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 4] = [
        Self::Cooperative,
        Self::Strict,
        Self::Moderated,
        Self::MultiOrganization,
    ];

    fn table(self) -> &'static [PresetRole] {
        match self {
            Self::Cooperative => COOPERATIVE,
            Self::Strict => STRICT,
            Self::Moderated => MODERATED,
            Self::MultiOrganization => MULTI_ORGANIZATION,
        }
    }

    /// The roles.
    pub fn roles(self) -> RoleData {
        RoleData {
            roles: self.table().iter().map(|role| role.build(self.table())).collect(),
        }
    }

    /// The role of the one who makes the room: `super_admin`.
    pub fn creator_role(self) -> RoleIndex {
        self.role_named("super_admin")
    }

    /// The role that added participants get unless said otherwise: the first above banned.
    pub const fn default_role(self) -> RoleIndex {
        RoleIndex(2)
    }

    /// The hub's role: `policy_enforcer`.
    pub fn enforcer_role(self) -> RoleIndex {
        self.role_named("policy_enforcer")
    }

    fn role_named(self, name: &str) -> RoleIndex {
        self.table()
            .iter()
            .find(|r| r.name == name)
            .map_or(RoleIndex::NONE, |r| RoleIndex(r.index))
    }
}

/// A preauthorization that lets the hub act with a role without being a participant: its provider URI as
/// identity of a basic credential. `None` if the room doesn't define the role.
pub fn hub_preauthorization(hub: &Domain, role: RoleIndex, roles: &RoleData) -> Option<PreAuthData> {
    let target_role = roles.get(role)?.clone();
    let claimset = vec![Claim::basic_identity(MimiUri::provider(hub).as_bytes())];
    Some(PreAuthData {
        preauthorized_entries: vec![PreAuthRoleEntry {
            claimset,
            target_role,
        }],
    })
}

/// A row of the appendix.
struct PresetRole {
    index: u32,
    name: &'static str,
    /// Includes the capabilities of this role.
    includes: Option<u32>,
    capabilities: &'static [C],
    min: u32,
    max: Option<u32>,
    min_active: u32,
    max_active: Option<u32>,
    changes: &'static [(u32, &'static [u32])],
}

impl PresetRole {
    fn capabilities(&self, table: &[Self]) -> Vec<C> {
        let mut all = self
            .includes
            .and_then(|index| table.iter().find(|r| r.index == index))
            .map(|r| r.capabilities(table))
            .unwrap_or_default();
        all.extend_from_slice(self.capabilities);
        all.sort_unstable();
        all.dedup();
        all
    }

    fn build(&self, table: &[Self]) -> Role {
        Role {
            role_index: RoleIndex(self.index),
            role_name: self.name.to_owned(),
            role_description: String::new(),
            role_capabilities: self.capabilities(table),
            minimum_participants_constraint: self.min,
            maximum_participants_constraint: self.max,
            minimum_active_participants_constraint: self.min_active,
            maximum_active_participants_constraint: self.max_active,
            authorized_role_changes: self
                .changes
                .iter()
                .map(|(from, targets)| SingleSourceRoleChangeTargets {
                    from_role_index: RoleIndex(*from),
                    target_role_indexes: targets.iter().copied().map(RoleIndex).collect(),
                })
                .collect(),
        }
    }
}

/// A row; the pairs are the limits of holders and of those with clients.
const fn role(
    index: u32,
    name: &'static str,
    includes: Option<u32>,
    capabilities: &'static [C],
    (min, max): (u32, Option<u32>),
    (min_active, max_active): (u32, Option<u32>),
    changes: &'static [(u32, &'static [u32])],
) -> PresetRole {
    PresetRole {
        index,
        name,
        includes,
        capabilities,
        min,
        max,
        min_active,
        max_active,
        changes,
    }
}

#[rustfmt::skip]
const COOPERATIVE_ORDINARY_USER: &[C] = &[
    C::ADD_PARTICIPANT, C::REMOVE_PARTICIPANT, C::ADD_OWN_CLIENT, C::REMOVE_OWN_CLIENT,
    C::REMOVE_SELF, C::SEND_MESSAGE, C::RECEIVE_MESSAGE, C::COPY_MESSAGE, C::REPORT_ABUSE,
    C::REPLY_TO_MESSAGE, C::REACT_TO_MESSAGE, C::DELETE_OWN_REACTION, C::EDIT_OWN_MESSAGE,
    C::DELETE_OWN_MESSAGE, C::START_TOPIC, C::REPLY_IN_TOPIC, C::EDIT_OWN_TOPIC, C::UPLOAD_IMAGE,
    C::UPLOAD_VIDEO, C::UPLOAD_AUDIO, C::UPLOAD_ATTACHMENT, C::DOWNLOAD_IMAGE, C::DOWNLOAD_VIDEO,
    C::DOWNLOAD_AUDIO, C::DOWNLOAD_ATTACHMENT, C::SEND_LINK, C::SEND_LINK_PREVIEW, C::FOLLOW_LINK,
    C::COPY_LINK, C::CHANGE_ROOM_NAME, C::CHANGE_ROOM_AVATAR, C::CHANGE_ROOM_SUBJECT,
    C::CHANGE_ROOM_MOOD, C::CHANGE_OWN_NAME, C::CHANGE_OWN_PRESENCE, C::CHANGE_OWN_MOOD,
    C::CHANGE_OWN_AVATAR,
];

#[rustfmt::skip]
const COOPERATIVE_GROUP_ADMIN: &[C] = &[
    C::BAN, C::UNBAN, C::KICK, C::CHANGE_USER_ROLE, C::DELETE_OTHER_MESSAGE, C::EDIT_OTHER_TOPIC,
    C::CHANGE_ROOM_DESCRIPTION,
];

#[rustfmt::skip]
const COOPERATIVE_SUPER_ADMIN: &[C] = &[
    C::CHANGE_ROOM_MEMBERSHIP_STYLE, C::CHANGE_PREAUTHORIZED_USER_LIST, C::DESTROY_ROOM,
];

#[rustfmt::skip]
const ENFORCER: &[C] = &[
    C::REMOVE_PARTICIPANT, C::CHANGE_USER_ROLE, C::BAN, C::UNBAN, C::CHANGE_ROLE_DEFINITIONS,
    C::CHANGE_PREAUTHORIZED_USER_LIST, C::CHANGE_MLS_OPERATIONAL_POLICIES, C::DESTROY_ROOM,
    C::SEND_MLS_REINIT_PROPOSAL,
];

#[rustfmt::skip]
const STRICT_NO_ROLE: &[C] = &[
    C::USE_JOIN_CODE,
];

#[rustfmt::skip]
const STRICT_ORDINARY_USER: &[C] = &[
    C::ADD_OWN_CLIENT, C::JOIN_IF_PREAUTHORIZED, C::REMOVE_OWN_CLIENT, C::REMOVE_SELF,
    C::CHANGE_OWN_ROLE, C::SEND_MESSAGE, C::RECEIVE_MESSAGE, C::COPY_MESSAGE, C::REPORT_ABUSE,
    C::REACT_TO_MESSAGE, C::DELETE_OWN_REACTION, C::EDIT_OWN_MESSAGE, C::DELETE_OWN_MESSAGE,
    C::START_TOPIC, C::REPLY_IN_TOPIC, C::UPLOAD_IMAGE, C::UPLOAD_VIDEO, C::UPLOAD_AUDIO,
    C::UPLOAD_ATTACHMENT, C::DOWNLOAD_IMAGE, C::DOWNLOAD_VIDEO, C::DOWNLOAD_AUDIO,
    C::DOWNLOAD_ATTACHMENT, C::SEND_LINK, C::SEND_LINK_PREVIEW, C::FOLLOW_LINK, C::COPY_LINK,
    C::CHANGE_OWN_NAME, C::CHANGE_OWN_PRESENCE, C::CHANGE_OWN_MOOD, C::CHANGE_OWN_AVATAR,
];

#[rustfmt::skip]
const STRICT_GROUP_ADMIN: &[C] = &[
    C::ADD_PARTICIPANT, C::REMOVE_PARTICIPANT, C::BAN, C::UNBAN, C::KICK, C::CHANGE_USER_ROLE,
    C::CREATE_JOIN_CODE, C::DELETE_JOIN_CODE, C::DELETE_OTHER_REACTION, C::DELETE_OTHER_MESSAGE,
    C::EDIT_OWN_TOPIC, C::EDIT_OTHER_TOPIC, C::CHANGE_ROOM_DESCRIPTION, C::CHANGE_ROOM_NAME,
    C::CHANGE_ROOM_AVATAR, C::CHANGE_ROOM_SUBJECT, C::CHANGE_ROOM_MOOD,
];

#[rustfmt::skip]
const STRICT_SUPER_ADMIN: &[C] = &[
    C::CHANGE_ROOM_MEMBERSHIP_STYLE, C::CHANGE_ROLE_DEFINITIONS, C::CHANGE_PREAUTHORIZED_USER_LIST,
    C::DESTROY_ROOM, C::SEND_MLS_REINIT_PROPOSAL,
];

#[rustfmt::skip]
const MODERATED_NO_ROLE: &[C] = &[
    C::USE_JOIN_CODE,
];

#[rustfmt::skip]
const MODERATED_GUEST: &[C] = &[
    C::REMOVE_SELF, C::RECEIVE_MESSAGE, C::COPY_MESSAGE, C::REACT_TO_MESSAGE,
    C::DELETE_OWN_REACTION, C::FOLLOW_LINK, C::COPY_LINK, C::DOWNLOAD_IMAGE, C::DOWNLOAD_VIDEO,
    C::DOWNLOAD_AUDIO,
];

#[rustfmt::skip]
const MODERATED_ATTENDEE: &[C] = &[
    C::ADD_OWN_CLIENT, C::JOIN_IF_PREAUTHORIZED, C::REMOVE_OWN_CLIENT, C::CHANGE_OWN_ROLE,
    C::REPORT_ABUSE, C::REPLY_IN_TOPIC, C::DOWNLOAD_ATTACHMENT, C::CHANGE_OWN_NAME,
    C::CHANGE_OWN_PRESENCE, C::CHANGE_OWN_AVATAR,
];

#[rustfmt::skip]
const MODERATED_SPEAKER: &[C] = &[
    C::SEND_MESSAGE, C::EDIT_OWN_MESSAGE, C::DELETE_OWN_MESSAGE, C::START_TOPIC, C::UPLOAD_IMAGE,
    C::UPLOAD_VIDEO, C::UPLOAD_AUDIO, C::UPLOAD_ATTACHMENT, C::SEND_LINK, C::SEND_LINK_PREVIEW,
];

#[rustfmt::skip]
const MODERATED_MODERATOR: &[C] = &[
    C::ADD_PARTICIPANT, C::REMOVE_PARTICIPANT, C::BAN, C::UNBAN, C::KICK, C::CHANGE_USER_ROLE,
    C::CREATE_JOIN_CODE, C::DELETE_JOIN_CODE, C::DELETE_OTHER_REACTION, C::DELETE_OTHER_MESSAGE,
    C::EDIT_OWN_TOPIC, C::EDIT_OTHER_TOPIC, C::CHANGE_ROOM_NAME, C::CHANGE_ROOM_AVATAR,
    C::CHANGE_ROOM_SUBJECT, C::CHANGE_ROOM_MOOD,
];

#[rustfmt::skip]
const MODERATED_SUPER_ADMIN: &[C] = &[
    C::CHANGE_ROOM_DESCRIPTION, C::CHANGE_ROOM_MEMBERSHIP_STYLE, C::CHANGE_ROLE_DEFINITIONS,
    C::CHANGE_PREAUTHORIZED_USER_LIST, C::DESTROY_ROOM, C::SEND_MLS_REINIT_PROPOSAL,
];

#[rustfmt::skip]
const MULTI_ORGANIZATION_ORG_A_USER: &[C] = &[
    C::CHANGE_OWN_ROLE, C::JOIN_IF_PREAUTHORIZED,
];

#[rustfmt::skip]
const MULTI_ORGANIZATION_ORG_B_USER: &[C] = &[
    C::REMOVE_SELF, C::ADD_OWN_CLIENT, C::REMOVE_OWN_CLIENT, C::SEND_MESSAGE, C::RECEIVE_MESSAGE,
    C::COPY_MESSAGE, C::REPORT_ABUSE, C::REPLY_IN_TOPIC, C::REACT_TO_MESSAGE,
    C::DELETE_OWN_REACTION, C::EDIT_OWN_MESSAGE, C::SEND_LINK, C::SEND_LINK_PREVIEW, C::FOLLOW_LINK,
    C::COPY_LINK, C::DOWNLOAD_IMAGE, C::DOWNLOAD_VIDEO, C::DOWNLOAD_AUDIO, C::DOWNLOAD_ATTACHMENT,
    C::CHANGE_OWN_NAME, C::CHANGE_OWN_PRESENCE, C::CHANGE_OWN_AVATAR,
];

#[rustfmt::skip]
const MULTI_ORGANIZATION_ORG_A_ADMIN: &[C] = &[
    C::CHANGE_OWN_ROLE, C::JOIN_IF_PREAUTHORIZED,
];

#[rustfmt::skip]
const MULTI_ORGANIZATION_ORG_B_ADMIN: &[C] = &[
    C::DELETE_OWN_MESSAGE, C::START_TOPIC, C::UPLOAD_IMAGE, C::UPLOAD_VIDEO, C::UPLOAD_AUDIO,
    C::UPLOAD_ATTACHMENT, C::ADD_PARTICIPANT, C::REMOVE_PARTICIPANT, C::BAN, C::KICK,
    C::CHANGE_USER_ROLE,
];

#[rustfmt::skip]
const MULTI_ORGANIZATION_SUPER_ADMIN: &[C] = &[
    C::UNBAN, C::DELETE_OTHER_REACTION, C::DELETE_OTHER_MESSAGE, C::EDIT_OWN_TOPIC,
    C::EDIT_OTHER_TOPIC, C::CHANGE_ROOM_DESCRIPTION, C::CHANGE_ROOM_NAME, C::CHANGE_ROOM_AVATAR,
    C::CHANGE_ROOM_SUBJECT, C::CHANGE_ROOM_MOOD, C::CHANGE_ROOM_MEMBERSHIP_STYLE,
    C::CHANGE_ROLE_DEFINITIONS, C::CHANGE_PREAUTHORIZED_USER_LIST, C::DESTROY_ROOM,
    C::SEND_MLS_REINIT_PROPOSAL,
];

#[rustfmt::skip]
const COOPERATIVE: &[PresetRole] = &[
    role(0, "no_role", None, &[], (0, None), (0, Some(0)), &[]),
    role(1, "banned", None, &[], (0, None), (0, Some(0)), &[]),
    role(2, "ordinary_user", None, COOPERATIVE_ORDINARY_USER, (0, None), (0, None),
        &[(0, &[2]), (2, &[0])]),
    role(3, "group_admin", Some(2), COOPERATIVE_GROUP_ADMIN, (1, None), (0, None),
        &[(0, &[1, 2, 3]), (1, &[0, 2, 3]), (2, &[0, 1, 3]), (3, &[0, 1, 2])]),
    role(4, "super_admin", Some(3), COOPERATIVE_SUPER_ADMIN, (0, None), (0, None),
        &[(0, &[1, 2, 3, 4]), (1, &[0, 2, 3, 4]), (2, &[0, 1, 3, 4]), (3, &[0, 1, 2, 4]), (4, &[0, 1, 2, 3])]),
    role(5, "policy_enforcer", None, ENFORCER, (1, Some(2)), (0, Some(0)),
        &[(0, &[1]), (1, &[0]), (2, &[0, 1]), (3, &[0, 1]), (4, &[0, 1])]),
];

#[rustfmt::skip]
const STRICT: &[PresetRole] = &[
    role(0, "no_role", None, STRICT_NO_ROLE, (0, None), (0, Some(0)), &[(0, &[2])]),
    role(1, "banned", None, &[], (0, None), (0, Some(0)), &[]),
    role(2, "ordinary_user", None, STRICT_ORDINARY_USER, (0, None), (0, None), &[(0, &[2]), (2, &[0])]),
    role(3, "group_admin", Some(2), STRICT_GROUP_ADMIN, (1, None), (0, None),
        &[(0, &[1, 2, 3]), (1, &[0, 2, 3]), (2, &[0, 1, 3]), (3, &[0, 1, 2])]),
    role(4, "super_admin", Some(3), STRICT_SUPER_ADMIN, (0, None), (0, None),
        &[(0, &[1, 2, 3, 4]), (1, &[0, 2, 3, 4]), (2, &[0, 1, 3, 4]), (3, &[0, 1, 2, 4]), (4, &[0, 1, 2, 3])]),
    role(5, "policy_enforcer", None, ENFORCER, (1, Some(2)), (0, Some(0)),
        &[(0, &[1]), (1, &[0]), (2, &[0, 1]), (3, &[0, 1]), (4, &[0, 1])]),
];

#[rustfmt::skip]
const MODERATED: &[PresetRole] = &[
    role(0, "no_role", None, MODERATED_NO_ROLE, (0, None), (0, None), &[(0, &[2, 3])]),
    role(1, "banned", None, &[], (0, None), (0, Some(0)), &[]),
    role(2, "guest", None, MODERATED_GUEST, (0, None), (0, None), &[(0, &[2]), (2, &[0])]),
    role(3, "attendee", Some(2), MODERATED_ATTENDEE, (0, None), (0, None), &[(0, &[3]), (3, &[0])]),
    role(4, "speaker", Some(3), MODERATED_SPEAKER, (0, None), (0, None), &[(0, &[4]), (4, &[0])]),
    role(5, "moderator", Some(4), MODERATED_MODERATOR, (1, None), (0, None),
        &[(0, &[1, 2, 3, 4, 5]), (1, &[0, 2, 3, 4, 5]), (2, &[0, 1, 3, 4, 5]), (3, &[0, 1, 2, 4, 5]), (4, &[0, 1, 2, 3, 5]), (5, &[0, 1, 2, 3, 4])]),
    role(6, "super_admin", Some(5), MODERATED_SUPER_ADMIN, (0, None), (0, None),
        &[(0, &[1, 2, 3, 4, 5, 6]), (1, &[0, 2, 3, 4, 5, 6]), (2, &[0, 1, 3, 4, 5, 6]), (3, &[0, 1, 2, 4, 5, 6]), (4, &[0, 1, 2, 3, 5, 6]), (5, &[0, 1, 2, 3, 4, 6]), (6, &[0, 1, 2, 3, 4, 5])]),
    role(7, "policy_enforcer", None, ENFORCER, (1, Some(2)), (0, Some(0)),
        &[(0, &[1]), (1, &[0]), (2, &[0, 1]), (3, &[0, 1]), (4, &[0, 1]), (5, &[0, 1]), (6, &[0, 1])]),
];

#[rustfmt::skip]
const MULTI_ORGANIZATION: &[PresetRole] = &[
    role(0, "no_role", None, &[], (0, None), (0, Some(0)), &[]),
    role(1, "banned", None, &[], (0, None), (0, Some(0)), &[]),
    role(2, "org_a_user", Some(3), MULTI_ORGANIZATION_ORG_A_USER, (0, None), (0, None),
        &[(0, &[2]), (2, &[0])]),
    role(3, "org_b_user", None, MULTI_ORGANIZATION_ORG_B_USER, (0, None), (0, None),
        &[(0, &[3]), (3, &[0])]),
    role(4, "org_c_user", Some(3), &[], (0, None), (0, None), &[(0, &[4]), (4, &[0])]),
    role(5, "org_a_admin", Some(6), MULTI_ORGANIZATION_ORG_A_ADMIN, (0, None), (0, None),
        &[(0, &[2, 5]), (2, &[0, 1, 5]), (5, &[0, 1, 2])]),
    role(6, "org_b_admin", Some(3), MULTI_ORGANIZATION_ORG_B_ADMIN, (1, Some(3)), (1, None),
        &[(0, &[3, 6]), (3, &[0, 1, 6]), (6, &[0, 1, 3])]),
    role(7, "org_c_admin", Some(6), &[], (1, Some(3)), (1, None),
        &[(0, &[4, 7]), (4, &[0, 1, 7]), (7, &[0, 1, 4])]),
    role(8, "super_admin", Some(5), MULTI_ORGANIZATION_SUPER_ADMIN, (1, None), (1, None),
        &[(0, &[1, 2, 3, 4, 5, 6, 7, 8]), (1, &[0, 2, 3, 4, 5, 6, 7, 8]), (2, &[0, 1, 5, 8]), (3, &[0, 1, 6]), (4, &[0, 1, 7]), (5, &[0, 1, 2, 8]), (6, &[0, 1, 3]), (7, &[0, 1, 4]), (8, &[0, 1, 2, 5])]),
    role(9, "policy_enforcer", None, ENFORCER, (1, Some(2)), (0, Some(0)),
        &[(0, &[1]), (1, &[0]), (3, &[0, 1]), (4, &[0, 1]), (5, &[0, 1]), (6, &[0, 1]), (7, &[0, 1]), (8, &[0, 1])]),
];
