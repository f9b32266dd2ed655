//! Portals: the homeserver's own rooms in which its users meet a MIMI room.
//!
//! A portal's alias is derived from the room's URI, so that whoever made the portal and died before writing it
//! down finds it again instead of making a second one.

use crate::NAMESPACE;
use crate::homeserver::{Homeserver, HomeserverError};
use crate::matrix::client::create_room::v3 as create_room;
use crate::matrix::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, Raw, RoomVersionId};
use room_engine::ghost::hashed;
use serde_json::{Value, json};
use std::time::Duration;

mod apply;
mod plan;
pub use apply::{close, dressed, fits, sync};
pub use plan::{Step, plan};

/// How often and after which pauses an alias's room is looked at that is not yet, or never will be, complete.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// Type of the state event that says which MIMI room a portal belongs to.
const ROOM: &str = room_engine::carrier::ROOM;

/// A portal to be made.
#[derive(Clone, Copy, Debug)]
pub struct Portal<'a> {
    /// URI of the MIMI room.
    pub room: &'a str,
    /// Name to show.
    pub name: Option<&'a str>,
    /// Content of its `org.causeway.room`.
    pub info: &'a Value,
    /// Room version; none for the homeserver's default.
    pub room_version: Option<&'a str>,
    /// The room whose place it takes.
    pub predecessor: Option<&'a str>,
}

/// Local part of the alias of a room's portal.
pub fn alias_localpart(room: &str) -> String {
    format!("{NAMESPACE}r_{}", hashed(room.as_bytes()))
}

/// The alias of a room's portal on a homeserver.
pub fn alias(room: &str, server_name: &str) -> String {
    format!("#{}:{server_name}", alias_localpart(room))
}

/// Takes the alias of a room's portal away from these rooms.
pub async fn release_alias(
    homeserver: &Homeserver,
    room: &str,
    from: &[&str],
) -> Result<(), HomeserverError> {
    let alias = OwnedRoomAliasId::try_from(alias(room, homeserver.server_name()))
        .map_err(|e| HomeserverError::Setup(format!("portal alias: {e}")))?;
    match homeserver.resolve(&alias).await? {
        Some(found) if from.contains(&found.as_str()) => homeserver.delete_alias(&alias).await,
        _ => Ok(()),
    }
}

/// Makes the portal, or finds the one that was made before.
pub async fn ensure(homeserver: &Homeserver, portal: Portal<'_>) -> Result<OwnedRoomId, HomeserverError> {
    let alias = OwnedRoomAliasId::try_from(alias(portal.room, homeserver.server_name()))
        .map_err(|e| HomeserverError::Setup(format!("portal alias: {e}")))?;
    if let Some(found) = homeserver.resolve(&alias).await? {
        return adopt(homeserver, &alias, found, portal).await;
    }
    match homeserver.create_room(request(portal)?).await {
        Ok(made) => {
            tracing::info!(room = portal.room, portal = %made, "portal made");
            Ok(made)
        }
        // Somebody was faster, which can only be our own request of before: the namespace is exclusive.
        Err(error) if error.errcode() == Some("M_ROOM_IN_USE") => match homeserver.resolve(&alias).await? {
            Some(found) => adopt(homeserver, &alias, found, portal).await,
            None => Err(HomeserverError::Answer(
                "an alias in use that leads nowhere".to_owned(),
            )),
        },
        Err(error) => Err(error),
    }
}

/// Makes a conversation of the bot's with a user, or finds the one that was made before, by its alias.
pub async fn ensure_conversation(
    homeserver: &Homeserver,
    user: &str,
) -> Result<OwnedRoomId, HomeserverError> {
    let localpart = format!("{NAMESPACE}d_{}", hashed(user.as_bytes()));
    let alias = OwnedRoomAliasId::try_from(format!("#{localpart}:{}", homeserver.server_name()))
        .map_err(|e| HomeserverError::Setup(format!("alias of a conversation: {e}")))?;
    if let Some(found) = homeserver.resolve(&alias).await? {
        homeserver.invite(found.as_str(), user).await?;
        return Ok(found);
    }
    let mut request = create_room::Request::new();
    request.room_alias_name = Some(localpart);
    request.preset = Some(create_room::RoomPreset::TrustedPrivateChat);
    request.is_direct = true;
    request.invite = vec![
        OwnedUserId::try_from(user).map_err(|e| HomeserverError::Setup(format!("user id {user:?}: {e}")))?,
    ];
    homeserver.create_room(request).await
}

/// Takes a room over that the alias leads to. The homeserver sets the alias first and the rest event by event, so
/// the room may still be growing; or it stopped there and then, with the homeserver. That room is given up.
async fn adopt(
    homeserver: &Homeserver,
    alias: &OwnedRoomAliasId,
    found: OwnedRoomId,
    portal: Portal<'_>,
) -> Result<OwnedRoomId, HomeserverError> {
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match homeserver.state(found.as_str(), ROOM, "").await {
            Ok(Some(info)) if info.get("room").and_then(Value::as_str) == Some(portal.room) => {
                tracing::info!(room = portal.room, portal = %found, "portal found again");
                return Ok(found);
            }
            Ok(Some(_)) => break,
            Ok(None) => {}
            // Not in the room yet.
            Err(error) if error.status() == Some(403) => {}
            Err(error) => return Err(error),
        }
    }
    tracing::warn!(room = portal.room, portal = %found, "a half-made portal is given up");
    homeserver.delete_alias(alias).await?;
    Err(HomeserverError::Answer(
        "the portal was half-made; the next attempt makes it anew".to_owned(),
    ))
}

fn request(portal: Portal<'_>) -> Result<create_room::Request, HomeserverError> {
    let mut request = create_room::Request::new();
    request.room_alias_name = Some(alias_localpart(portal.room));
    request.name = portal.name.map(ToOwned::to_owned);
    request.preset = Some(create_room::RoomPreset::PrivateChat);
    // A provider's users are this homeserver's: nobody else has any business here.
    let mut creation = json!({"m.federate": false});
    if let (Some(predecessor), Some(content)) = (portal.predecessor, creation.as_object_mut()) {
        content.insert("predecessor".to_owned(), json!({ "room_id": predecessor }));
    }
    request.creation_content = Some(raw(&creation)?);
    request.room_version = portal
        .room_version
        .map(RoomVersionId::try_from)
        .transpose()
        .map_err(|e| HomeserverError::Setup(format!("room version: {e}")))?;
    request.power_level_content_override = Some(raw(&power_levels())?);
    request.initial_state = vec![
        raw(&json!({"type": ROOM, "state_key": "", "content": portal.info}))?,
        raw(
            &json!({"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": "forbidden"}}),
        )?,
    ];
    Ok(request)
}

/// As long as nothing is known about roles: users may submit messages and nothing else.
fn power_levels() -> Value {
    let mut levels = plan::base_levels(0, &serde_json::Map::new(), [100; 3], [100, 100, 100, 100, 0]);
    // Who is named depends on the room version; the homeserver knows.
    if let Some(levels) = levels.as_object_mut() {
        levels.remove("users");
    }
    levels
}

fn raw<T>(value: &Value) -> Result<Raw<T>, HomeserverError> {
    serde_json::value::to_raw_value(value)
        .map(Raw::from_json)
        .map_err(|e| HomeserverError::Setup(e.to_string()))
}
