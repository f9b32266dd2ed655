//! Ghosts on the homeserver: made, named, brought into rooms and out of them.

use super::{As, Homeserver, HomeserverError, Membership, absent, room_id, user_id};
use crate::matrix::client::{
    delete_device, forget_room, get_devices, get_profile, join_room_by_id, joined_rooms, leave_room,
    register, set_profile_field,
};
use crate::matrix::{LoginType, ProfileFieldValue};
use crate::pictures::SOURCE_FIELD;
use serde_json::Value;

/// Profile field that holds a ghost's MIMI URI.
pub const URI_FIELD: &str = "org.causeway.uri";

/// What a ghost shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GhostProfile {
    /// Its MIMI URI.
    pub uri: String,
    /// Display name.
    pub name: String,
    /// `mxc:` URI of its picture, and where that came from.
    pub avatar: Option<(String, String)>,
}

impl Homeserver {
    /// Makes sure that a ghost is there, with its profile. Asks the homeserver once in the life of this process.
    pub async fn ensure_ghost(&self, user: &str, profile: &GhostProfile) -> Result<(), HomeserverError> {
        if self.knows_ghost(user, profile) {
            return Ok(());
        }
        let ghost = user_id(user)?;
        let mut request = register::v3::Request::new();
        request.username = Some(ghost.localpart().to_owned());
        request.login_type = Some(LoginType::ApplicationService);
        request.inhibit_login = true;
        match self.call(request, As::Service).await {
            Ok(_) => metrics::counter!("causeway_ghosts_made_total").increment(1),
            Err(error) if error.errcode() == Some("M_USER_IN_USE") => {}
            Err(error) => return Err(error),
        }
        let mut fields = vec![
            ("displayname", profile.name.as_str()),
            (URI_FIELD, profile.uri.as_str()),
        ];
        if let Some((mxc, source)) = &profile.avatar {
            fields.extend([("avatar_url", mxc.as_str()), (SOURCE_FIELD, source.as_str())]);
        }
        for (name, value) in fields {
            let value = ProfileFieldValue::new(name, Value::from(value))
                .map_err(|e| HomeserverError::Setup(format!("profile field {name}: {e}")))?;
            let request = set_profile_field::v3::Request::new(ghost.clone(), value);
            match self.call(request, As::User(&ghost)).await {
                Ok(_) => {}
                Err(error) if error.is_transient() && error.errcode() != Some("M_UNRECOGNIZED") => {
                    return Err(error);
                }
                // A homeserver without free profile fields, or one whose operator forbids names: the ghost is there.
                Err(error) => tracing::debug!(user, name, %error, "a ghost's profile field was not taken"),
            }
        }
        self.ghost_known(user, profile);
        Ok(())
    }

    /// Where the picture came from that a ghost shows.
    pub async fn picture_of(&self, user: &str) -> Result<Option<String>, HomeserverError> {
        // The whole profile: Synapse 1.136 fails when asked for a single field of a user who has none.
        let request = get_profile::v3::Request::new(user_id(user)?);
        match self.call(request, As::Service).await {
            Ok(profile) => Ok(profile
                .get(SOURCE_FIELD)
                .and_then(Value::as_str)
                .map(ToOwned::to_owned)),
            Err(error) if error.is_transient() => Err(error),
            // No such ghost yet.
            Err(_) => Ok(None),
        }
    }

    /// A ghost joins a room that it is invited to; one that is there stays.
    pub async fn join_as(&self, room: &str, user: &str) -> Result<(), HomeserverError> {
        let ghost = user_id(user)?;
        self.call(
            join_room_by_id::v3::Request::new(room_id(room)?),
            As::User(&ghost),
        )
        .await
        .map(drop)
    }

    /// A ghost leaves a room or declines an invitation, and forgets the room. One that isn't there has left already.
    pub async fn leave_as(
        &self,
        room: &str,
        user: &str,
        reason: Option<&str>,
    ) -> Result<(), HomeserverError> {
        let ghost = user_id(user)?;
        let mut request = leave_room::v3::Request::new(room_id(room)?);
        request.reason = reason.map(ToOwned::to_owned);
        match self.call(request, As::User(&ghost)).await {
            Ok(_) => {}
            Err(error) if matches!(error.status(), Some(403 | 404)) => {
                if matches!(
                    self.membership(room, user).await,
                    Ok(Membership::Join | Membership::Invite)
                ) {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        let forget = forget_room::v3::Request::new(room_id(room)?);
        match self.call(forget, As::User(&ghost)).await {
            Err(error) if error.is_transient() => Err(error),
            _ => Ok(()),
        }
    }

    /// The rooms that one of our users is in; none for a user that isn't registered.
    pub async fn rooms_of(&self, user: &str) -> Result<Vec<String>, HomeserverError> {
        let ghost = user_id(user)?;
        match self
            .call(joined_rooms::v3::Request::new(), As::User(&ghost))
            .await
        {
            Ok(answer) => Ok(answer.joined_rooms.into_iter().map(String::from).collect()),
            Err(error) if error.status() == Some(403) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Deletes every device of a ghost.
    pub async fn delete_devices(&self, user: &str) -> Result<usize, HomeserverError> {
        let ghost = user_id(user)?;
        let answer = match self.call(get_devices::v3::Request::new(), As::User(&ghost)).await {
            Ok(answer) => answer,
            Err(error) if matches!(error.status(), Some(403 | 404)) => return Ok(0),
            Err(error) => return Err(error),
        };
        let count = answer.devices.len();
        for device in answer.devices {
            let request = delete_device::v3::Request::new(device.device_id);
            absent(self.call(request, As::User(&ghost)).await)?;
        }
        Ok(count)
    }
}
