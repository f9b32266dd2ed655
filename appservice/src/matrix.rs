//! The types of the Matrix specification that this crate uses, all from ruma and all named here.
//!
//! ruma's releases break; this is the one place to mend. Its typed requests are used for what we send, because
//! they carry the paths and field names of the specification. For what we receive in transactions we use types
//! of our own ([`crate::events`], [`crate::routes`]): there, one event that isn't to a strict parser's taste
//! must not take ninety-nine others with it. The registration is ours too, because it holds keys of several
//! unstable proposals.

pub use ruma::api::appservice::Namespace;
pub use ruma::api::auth_scheme::{AuthScheme, SendAccessToken};
pub use ruma::api::client::account::register::LoginType;
pub use ruma::api::error::RetryAfter;
pub use ruma::api::path_builder::PathBuilder;
pub use ruma::api::{
    AppserviceUserIdentity, IncomingResponseExt, MatrixVersion, OutgoingRequest,
    OutgoingRequestAppserviceExt, OutgoingRequestExt, SupportedVersions,
};
pub use ruma::profile::ProfileFieldValue;
pub use ruma::serde::Raw;
pub use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedDeviceId, OwnedEventId, OwnedMxcUri, OwnedRoomAliasId, OwnedRoomId,
    OwnedUserId, RoomVersionId, ServerName, UInt, uint,
};

/// Requests of the client-server API.
pub mod client {
    pub use ruma::api::client::account::register;
    pub use ruma::api::client::account::whoami;
    pub use ruma::api::client::alias::{create_alias, delete_alias, get_alias};
    pub use ruma::api::client::appservice::request_ping;
    pub use ruma::api::client::authenticated_media::get_content;
    pub use ruma::api::client::context::get_context;
    pub use ruma::api::client::device::{delete_device, get_devices, update_device};
    pub use ruma::api::client::directory::{get_room_visibility, set_room_visibility};
    pub use ruma::api::client::filter::RoomEventFilter;
    pub use ruma::api::client::media::create_content;
    pub use ruma::api::client::membership::{
        ban_user, forget_room, invite_user, join_room_by_id, joined_rooms, kick_user, leave_room, unban_user,
    };
    pub use ruma::api::client::message::{get_message_events, send_message_event};
    pub use ruma::api::client::profile::{get_profile, set_profile_field};
    pub use ruma::api::client::room::{Visibility, create_room, upgrade_room};
    pub use ruma::api::client::state::{get_state_event_for_key, get_state_events, send_state_event};
    pub use ruma::api::client::to_device::send_event_to_device;
}
