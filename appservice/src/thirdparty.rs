//! Third-party look-ups (Application Service API, "Third-party networks"): clients ask their homeserver for users and
//! rooms of the network `mimi`, by MIMI URI or by the Matrix name of its ghost or portal.
//!
//! Answered from names alone: whether a user exists at another provider is asked when somebody starts a chat, never here.

use crate::ghost::{self, Ghost};
use crate::routes::MatrixError;
use axum::http::StatusCode;
use mimi_wire::uri::MimiUri;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The protocol's name.
pub const PROTOCOL: &str = "mimi";

/// What a look-up may ask for.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Fields {
    /// A MIMI URI.
    pub uri: Option<String>,
    /// A Matrix user id.
    pub userid: Option<String>,
    /// A room alias.
    pub alias: Option<String>,
}

/// Which portals are wanted: all, or the one that fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// With this MIMI URI.
    pub uri: Option<String>,
    /// With this alias.
    pub alias: Option<String>,
}

/// The network, for clients that show one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Protocol {
    user_fields: Vec<&'static str>,
    location_fields: Vec<&'static str>,
    icon: &'static str,
    field_types: Value,
    instances: Vec<Value>,
}

/// A user of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The ghost.
    pub userid: String,
    /// The network.
    pub protocol: &'static str,
    /// The MIMI URI.
    pub fields: BTreeMap<&'static str, String>,
}

/// A room of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The portal's alias.
    pub alias: String,
    /// The network.
    pub protocol: &'static str,
    /// The MIMI URI.
    pub fields: BTreeMap<&'static str, String>,
}

impl Place {
    /// The portal of a room.
    pub fn new(alias: String, room: &str) -> Self {
        Self {
            alias,
            protocol: PROTOCOL,
            fields: BTreeMap::from([("uri", room.to_owned())]),
        }
    }
}

/// Refuses every protocol but ours.
pub(crate) fn known(protocol: &str) -> Result<(), MatrixError> {
    if protocol == PROTOCOL {
        return Ok(());
    }
    let text = "no such third-party network here";
    Err(MatrixError::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", text))
}

pub(crate) fn protocol() -> Protocol {
    Protocol {
        user_fields: vec!["uri"],
        location_fields: vec!["uri"],
        icon: "",
        field_types: json!({
            "uri": {"regexp": "mimi://[^/]+/.+", "placeholder": "mimi://b.example/u/bob"},
        }),
        instances: vec![json!({"desc": "MIMI", "network_id": PROTOCOL, "fields": {}})],
    }
}

/// The ghost of a MIMI user. Users of this provider are users of the homeserver and no ghosts.
pub(crate) fn users(fields: &Fields, server_name: &str) -> Vec<User> {
    let uri = fields.uri.as_deref().and_then(|uri| MimiUri::parse(uri).ok());
    uri.map(|uri| User {
        userid: match uri.path().strip_prefix("/u/") {
            Some(localpart) if uri.authority() == server_name && !localpart.contains('/') => {
                format!("@{localpart}:{server_name}")
            }
            _ => ghost::user_id(&uri, server_name),
        },
        protocol: PROTOCOL,
        fields: BTreeMap::from([("uri", uri.to_string())]),
    })
    .into_iter()
    .collect()
}

/// The MIMI user of a ghost, where its id says it.
pub(crate) fn user_by_id(user: &str, server_name: &str) -> Vec<User> {
    let localpart = user
        .strip_prefix('@')
        .and_then(|rest| rest.strip_suffix(server_name))
        .and_then(|rest| rest.strip_suffix(':'));
    match localpart.and_then(|localpart| ghost::parse(localpart, server_name)) {
        Some(Ghost::User(uri)) => vec![User {
            userid: user.to_owned(),
            protocol: PROTOCOL,
            fields: BTreeMap::from([("uri", uri.to_string())]),
        }],
        _ => Vec::new(),
    }
}
