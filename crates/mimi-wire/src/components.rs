//! Component identifiers, and the data of the components that MIMI rooms keep in the application data
//! dictionary of their group (draft-ietf-mimi-protocol-06 section 7, draft-ietf-mls-extensions-10).
//!
//! The room policy components are in [`crate::policy`].

mod dictionary;
mod ids;
mod media;
mod metadata;
mod participants;

pub use dictionary::{AppDataDictionary, ComponentData, ComponentsList, SafeAad, SafeAadItem};
pub use ids::{component_id, credential_type, extension_type, proposal_type, wire_format};
pub use media::{ApplicationFraming, MediaType, MediaTypeList, Parameter, media_type};
pub use metadata::{FrankingAgentData, RichDescription, RoomMetaData};
pub use participants::{
    ParticipantListData, ParticipantListError, ParticipantListUpdate, RoleIndex, UserIndexRolePair,
    UserRolePair,
};

#[cfg(test)]
mod tests;
