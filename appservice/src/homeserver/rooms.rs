//! What the bot does to a portal besides sending: its whole state, bans, aliases, the directory, devices of users.

use super::{As, Homeserver, HomeserverError, absent, room_id, to_raw, user_id};
use crate::matrix::client::{
    Visibility, ban_user, create_alias, get_room_visibility, get_state_events, send_event_to_device,
    set_room_visibility, unban_user, upgrade_room,
};
use crate::matrix::{OwnedRoomAliasId, Raw, RoomVersionId};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A state event of a room.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StateEvent {
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its key.
    pub state_key: String,
    /// Who set it.
    pub sender: String,
    /// Its content.
    pub content: Value,
}

impl Homeserver {
    /// The whole state of a room that the bot is in. What isn't a state event is left out.
    pub async fn full_state(&self, room: &str) -> Result<Vec<StateEvent>, HomeserverError> {
        let request = get_state_events::v3::Request::new(room_id(room)?);
        let answer = self.call(request, As::Service).await?;
        Ok(answer
            .room_state
            .iter()
            .filter_map(|event| serde_json::from_str(event.json().get()).ok())
            .collect())
    }

    /// Bans a user from a room.
    pub async fn ban(&self, room: &str, user: &str, reason: Option<&str>) -> Result<(), HomeserverError> {
        let mut request = ban_user::v3::Request::new(room_id(room)?, user_id(user)?);
        request.reason = reason.map(ToOwned::to_owned);
        self.call(request, As::Service).await.map(drop)
    }

    /// Lifts a ban.
    pub async fn unban(&self, room: &str, user: &str) -> Result<(), HomeserverError> {
        let request = unban_user::v3::Request::new(room_id(room)?, user_id(user)?);
        self.call(request, As::Service).await.map(drop)
    }

    /// Points an alias at a room; one that points there already stays.
    pub async fn set_alias(&self, alias: &OwnedRoomAliasId, room: &str) -> Result<(), HomeserverError> {
        let target = room_id(room)?;
        if let Some(found) = self.resolve(alias).await? {
            if found == target {
                return Ok(());
            }
            self.delete_alias(alias).await?;
        }
        let request = create_alias::v3::Request::new(alias.clone(), target);
        self.call(request, As::Service).await.map(drop)
    }

    /// Lists a room in the homeserver's public directory, or takes it out. One that is as it should be stays.
    pub async fn set_published(&self, room: &str, published: bool) -> Result<(), HomeserverError> {
        let wanted = if published {
            Visibility::Public
        } else {
            Visibility::Private
        };
        let now = get_room_visibility::v3::Request::new(room_id(room)?);
        let now = absent(self.call(now, As::Service).await)?;
        if now.is_some_and(|now| now.visibility == wanted) {
            return Ok(());
        }
        let request = set_room_visibility::v3::Request::new(room_id(room)?, wanted);
        absent(self.call(request, As::Service).await).map(drop)
    }

    /// Replaces a room by one of another version; answers with the replacement. One that was replaced already stays so.
    pub async fn upgrade(&self, room: &str, version: &str) -> Result<String, HomeserverError> {
        let tombstone = self.state(room, "m.room.tombstone", "").await?;
        let replacement = tombstone
            .as_ref()
            .and_then(|content| content.get("replacement_room"));
        if let Some(known) = replacement.and_then(Value::as_str) {
            return Ok(known.to_owned());
        }
        let version = RoomVersionId::try_from(version)
            .map_err(|e| HomeserverError::Setup(format!("room version {version:?}: {e}")))?;
        let request = upgrade_room::v3::Request::new(room_id(room)?, version);
        Ok(self.call(request, As::Service).await?.replacement_room.into())
    }

    /// Sends an event to one device of a user, or to all of them.
    pub async fn send_to_device(
        &self,
        user: &str,
        device: Option<&str>,
        event_type: &str,
        txn_id: &str,
        content: &Value,
    ) -> Result<(), HomeserverError> {
        let device = device.unwrap_or("*");
        let device = device
            .try_into()
            .map_err(|_| HomeserverError::Setup(format!("device id {device:?}")))?;
        let content = Raw::from_json(to_raw(content)?);
        let messages = BTreeMap::from([(user_id(user)?, BTreeMap::from([(device, content)]))]);
        let request = send_event_to_device::v3::Request::new_raw(event_type.into(), txn_id.into(), messages);
        self.call(request, As::Device).await.map(drop)
    }
}
