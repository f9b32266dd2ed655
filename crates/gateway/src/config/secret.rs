//! A secret that no log and no error shows.

use crate::failure::{Code, Failure};
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;
use std::path::Path;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// A token. Zeroized on drop, compared in constant time, not shown by `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a token over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// 32 random octets in hex.
    pub fn random() -> Result<Self, Failure> {
        let mut octets = Zeroizing::new([0_u8; 32]);
        getrandom::fill(octets.as_mut()).map_err(|e| {
            Failure::new(
                Code::Internal,
                format!("the system gives no random numbers: {e}"),
                "try again",
            )
        })?;
        Ok(Self::new(hex::encode(&octets[..])))
    }

    /// Reads a token from a file; white space around it is dropped.
    pub fn from_file(path: &Path) -> Result<Self, Failure> {
        let mut text = std::fs::read_to_string(path).map_err(|e| {
            Failure::new(
                Code::ConfigSecret,
                format!("the secret in {} can't be read", path.display()),
                "make the file readable for the service's user, or give the secret in the environment",
            )
            .with_source(e)
        })?;
        let token = Self::new(text.trim().to_owned());
        text.zeroize();
        if token.0.is_empty() {
            return Err(Failure::new(
                Code::ConfigSecret,
                format!("{} is empty", path.display()),
                "write the secret into it, nothing else",
            ));
        }
        Ok(token)
    }

    /// The token. Only for the place that has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same token, in constant time for equal lengths.
    pub fn matches(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for Secret {}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self::new)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string"})
    }
}
