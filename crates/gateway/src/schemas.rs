//! The descriptions in the folder `schemas/`, made from the program's own types.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

mod admin;
mod client;
mod operation;

/// `schemas/config.json`
pub fn config() -> Value {
    crate::config::schema().to_value()
}

/// `schemas/client-api.json`
pub fn client_api() -> Value {
    client::describe()
}

/// `schemas/admin-api.json`
pub fn admin_api() -> Value {
    admin::describe()
}

/// `schemas/doctor.json`: what `causeway doctor --json` prints.
pub fn doctor() -> Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<crate::cli::doctor::Report>()
        .to_value()
}

/// `schemas/events.json`: content of each carrier event, by event type.
pub fn events() -> Value {
    use room_engine::carrier;
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut types = Map::new();
    for (name, schema) in [
        (
            carrier::HANDSHAKE,
            generator.subschema_for::<carrier::Handshake>(),
        ),
        (carrier::MESSAGE, generator.subschema_for::<carrier::Message>()),
        (carrier::ROOM, generator.subschema_for::<carrier::Room>()),
        (
            carrier::PARTICIPANT,
            generator.subschema_for::<carrier::Participant>(),
        ),
        (carrier::STATUS, generator.subschema_for::<carrier::Status>()),
        (carrier::LOGIN, generator.subschema_for::<carrier::Login>()),
    ] {
        types.insert(name.to_owned(), schema.to_value());
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Content of org.causeway.* events, by event type",
        "description": "An org.causeway.message that a client puts into a portal is a PortalSubmission instead.",
        "type": "object",
        "properties": types,
        "additionalProperties": false,
        "$defs": with(generator, |g| { g.subschema_for::<carrier::PortalSubmission>(); }),
    })
}

/// The definitions that a generator has gathered.
fn with(mut generator: SchemaGenerator, more: impl FnOnce(&mut SchemaGenerator)) -> Value {
    more(&mut generator);
    Value::Object(generator.take_definitions(true))
}

#[cfg(test)]
mod tests;
