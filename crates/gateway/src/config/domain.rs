//! A provider's domain as a configuration value.

use mimi_wire::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// [`Domain`] with a JSON Schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerDomain(pub Domain);

impl std::ops::Deref for PeerDomain {
    type Target = Domain;
    fn deref(&self) -> &Domain {
        &self.0
    }
}

impl std::fmt::Display for PeerDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for PeerDomain {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Domain".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "hostname", "maxLength": 253})
    }
}
