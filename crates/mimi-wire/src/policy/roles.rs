//! Roles and preauthorization (draft-ietf-mimi-room-policy-04 sections 3 and 4).

use super::Capability;
use crate::codec::{Opaque, wire_fields};
use crate::components::{RoleIndex, credential_type};
use serde::Serialize;

/// `SingleSourceRoleChangeTargets`: from one role to which others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SingleSourceRoleChangeTargets {
    /// Role before; 0: not a participant.
    pub from_role_index: RoleIndex,
    /// Roles after; 0: no longer a participant.
    pub target_role_indexes: Vec<RoleIndex>,
}

wire_fields!(SingleSourceRoleChangeTargets {
    from_role_index,
    target_role_indexes
});

/// `Role`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Role {
    /// Its number; numbers need not be contiguous.
    pub role_index: RoleIndex,
    /// Name.
    pub role_name: String,
    /// Description; may be empty.
    pub role_description: String,
    /// What holders may do.
    pub role_capabilities: Vec<Capability>,
    /// Least number of holders, 0 for no limit.
    pub minimum_participants_constraint: u32,
    /// Greatest number of holders.
    pub maximum_participants_constraint: Option<u32>,
    /// Least number of holders with clients.
    pub minimum_active_participants_constraint: u32,
    /// Greatest number of holders with clients; 0 means that holders have no clients.
    pub maximum_active_participants_constraint: Option<u32>,
    /// Changes of role that holders may make for others, and leaving for themselves.
    pub authorized_role_changes: Vec<SingleSourceRoleChangeTargets>,
}

wire_fields!(Role {
    role_index,
    role_name,
    role_description,
    role_capabilities,
    minimum_participants_constraint,
    maximum_participants_constraint,
    minimum_active_participants_constraint,
    maximum_active_participants_constraint,
    authorized_role_changes,
});

impl Role {
    /// Whether holders have a capability.
    pub fn can(&self, capability: Capability) -> bool {
        self.role_capabilities.contains(&capability)
    }

    /// Whether holders may change a role from one to another.
    pub fn may_change(&self, from: RoleIndex, to: RoleIndex) -> bool {
        self.authorized_role_changes
            .iter()
            .any(|c| c.from_role_index == from && c.target_role_indexes.contains(&to))
    }
}

/// `RoleData`, the data of `roles_list` and of its update, which replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct RoleData {
    /// The roles.
    pub roles: Vec<Role>,
}

wire_fields!(RoleData { roles });

/// Why role definitions make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoleDataError {
    /// Two roles with one number.
    #[error("role {0} is defined twice")]
    Duplicate(RoleIndex),
    /// `canOpenJoin` in a role other than 0.
    #[error("canOpenJoin is in role {0}, it may only be in role 0")]
    OpenJoin(RoleIndex),
    /// A least number above the greatest.
    #[error("the limits of role {0} exclude each other")]
    Limits(RoleIndex),
    /// `canAddParticipant` in a room whose participants are fixed.
    #[error("role {0} may add participants in a room whose participants are fixed")]
    FixedMembership(RoleIndex),
}

impl RoleData {
    /// The role with a number.
    pub fn get(&self, role_index: RoleIndex) -> Option<&Role> {
        self.roles.iter().find(|r| r.role_index == role_index)
    }

    /// Whether role 1 is the banned role, without which nobody can be banned.
    pub fn has_banned_role(&self) -> bool {
        self.get(RoleIndex::BANNED)
            .is_some_and(|r| r.role_name == "banned")
    }

    /// Checks that the definitions make sense.
    pub fn check(&self) -> Result<(), RoleDataError> {
        let mut seen = std::collections::HashSet::new();
        for role in &self.roles {
            let index = role.role_index;
            if !seen.insert(index) {
                return Err(RoleDataError::Duplicate(index));
            }
            if index != RoleIndex::NONE && role.can(Capability::OPEN_JOIN) {
                return Err(RoleDataError::OpenJoin(index));
            }
            let exclude = |min: u32, max: Option<u32>| max.is_some_and(|max| min > max);
            if exclude(
                role.minimum_participants_constraint,
                role.maximum_participants_constraint,
            ) || exclude(
                role.minimum_active_participants_constraint,
                role.maximum_active_participants_constraint,
            ) {
                return Err(RoleDataError::Limits(index));
            }
        }
        Ok(())
    }
}

/// `ClaimId`: which claim of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ClaimId {
    /// Type of the credential.
    pub credential_type: u16,
    /// X.509 object identifier, JWT claim name, or CWT key.
    pub id: Opaque,
}

wire_fields!(ClaimId { credential_type, id });

/// `Claim`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Claim {
    /// Which.
    pub claim_id: ClaimId,
    /// Its value, octet for octet.
    pub claim_value: Opaque,
}

wire_fields!(Claim {
    claim_id,
    claim_value
});

impl Claim {
    /// The identity of a basic credential as a claim. The draft names no claims for basic credentials; ours
    /// has an empty name.
    pub fn basic_identity(identity: impl Into<Vec<u8>>) -> Self {
        Self {
            claim_id: ClaimId {
                credential_type: credential_type::BASIC,
                id: Opaque::default(),
            },
            claim_value: Opaque(identity.into()),
        }
    }
}

/// `PreAuthRoleEntry`: who has all the claims may take the role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct PreAuthRoleEntry {
    /// All of these.
    pub claimset: Vec<Claim>,
    /// The draft types this as a whole `Role`; only its number counts.
    pub target_role: Role,
}

wire_fields!(PreAuthRoleEntry {
    claimset,
    target_role
});

/// `PreAuthData`, the data of `preauth_list` and of its update, which replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct PreAuthData {
    /// Consulted in this order; the first that matches counts.
    pub preauthorized_entries: Vec<PreAuthRoleEntry>,
}

wire_fields!(PreAuthData {
    preauthorized_entries
});

impl PreAuthData {
    /// The role of the first entry whose claims are all among `claims`. An entry without claims matches nobody.
    pub fn first_match(&self, claims: &[Claim]) -> Option<RoleIndex> {
        self.preauthorized_entries
            .iter()
            .find(|e| !e.claimset.is_empty() && e.claimset.iter().all(|c| claims.contains(c)))
            .map(|e| e.target_role.role_index)
    }
}
