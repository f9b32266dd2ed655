//! Room policy (draft-ietf-mimi-room-policy-04): roles and what they may do, preauthorization, the other
//! policy components, and the judgement of each action.
//!
//! [`RoomState::authorize`] is a pure function of the room's state, the actor and the action. It judges one
//! action; a commit holds several, each with its own author, and each is judged in the state that the ones
//! before it left ([`RoomState::apply`]). What one commit may hold together is [`check_isolation`].

mod authorize;
mod capability;
mod components;
mod operational;
mod presets;
mod roles;
mod state;

pub use authorize::{Action, Actor, CommitShape, Denial, MetadataField, check_isolation};
pub use capability::Capability;
pub use components::{
    AssetPolicy, AssetUploadLocation, BaseRoomPolicy, Bot, BotPolicy, DownloadPrivacy, DownloadPrivacyType,
    HistoryPolicy, HistoryRules, JoinLinkPolicy, JoinLinks, JoinLinksUpdate, LinkPreviewPolicy,
    LoggingPolicy, LoggingRules, MessageExpiration, MessageExpirationRules, Optionality,
    ProviderAssetUploadDomains, StatusNotificationPolicy,
};
pub use operational::{
    AppMessagePolicy, ExtendedCapabilities, MinDefaultMaxTime, OperationalParameters, PendingProposalPolicy,
};
pub use presets::{Preset, hub_preauthorization};
pub use roles::{
    Claim, ClaimId, PreAuthData, PreAuthRoleEntry, Role, RoleData, RoleDataError,
    SingleSourceRoleChangeTargets,
};
pub use state::{Member, RoomState, StateError};

#[cfg(test)]
mod tests;
