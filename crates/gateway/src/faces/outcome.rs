//! Refusals inside answers, as metric labels: the protocol answers them with 200.

use mimi_wire::protocol::{
    GroupInfoCode, IdentifierQueryCode, KeyMaterialUserCode, SubmitResponseCode, UpdateResponseCode,
};

/// `None`: not a refusal.
pub(super) fn update(code: UpdateResponseCode) -> Option<&'static str> {
    match code {
        UpdateResponseCode::Success => None,
        UpdateResponseCode::WrongEpoch => Some("wrong_epoch"),
        UpdateResponseCode::NotAllowed => Some("not_allowed"),
        UpdateResponseCode::InvalidProposal => Some("invalid_proposal"),
    }
}

/// `None`: not a refusal.
pub(super) fn submit(code: SubmitResponseCode) -> Option<&'static str> {
    match code {
        SubmitResponseCode::Accepted => None,
        SubmitResponseCode::NotAllowed => Some("not_allowed"),
        SubmitResponseCode::EpochTooOld => Some("epoch_too_old"),
    }
}

/// `None`: not a refusal.
pub(super) fn group_info(code: GroupInfoCode) -> Option<&'static str> {
    match code {
        GroupInfoCode::Success => None,
        GroupInfoCode::NotAuthorized => Some("not_authorized"),
        GroupInfoCode::NoSuchRoom => Some("no_such_room"),
    }
}

/// `None`: not a refusal.
pub(super) fn key_material(code: KeyMaterialUserCode) -> Option<&'static str> {
    match code {
        KeyMaterialUserCode::Success => None,
        KeyMaterialUserCode::PartialSuccess => Some("partial"),
        KeyMaterialUserCode::IncompatibleProtocol => Some("incompatible_protocol"),
        KeyMaterialUserCode::NoCompatibleMaterial => Some("no_compatible_material"),
        KeyMaterialUserCode::UserUnknown => Some("user_unknown"),
        KeyMaterialUserCode::NoConsent => Some("no_consent"),
        KeyMaterialUserCode::NoConsentForThisRoom => Some("no_consent_for_this_room"),
        KeyMaterialUserCode::UserDeleted => Some("user_deleted"),
    }
}

/// `None`: not a refusal.
pub(super) fn identifier_query(code: IdentifierQueryCode) -> Option<&'static str> {
    match code {
        IdentifierQueryCode::Success => None,
        IdentifierQueryCode::NotFound => Some("not_found"),
        IdentifierQueryCode::Ambiguous => Some("ambiguous"),
        IdentifierQueryCode::Forbidden => Some("forbidden"),
        IdentifierQueryCode::UnsupportedField => Some("unsupported_field"),
    }
}
