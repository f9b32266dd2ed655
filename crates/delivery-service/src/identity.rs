//! From MLS credentials to MIMI identifiers.
//!
//! The identity of an MLS client is a basic credential whose identity is its client URI,
//! `mimi://PROVIDER/d/LOCALPART/DEVICE`; its user is `mimi://PROVIDER/u/LOCALPART`.

use mimi_wire::MimiUri;
use openmls::prelude::{Credential, CredentialType};
use serde::{Deserialize, Serialize};

/// An MLS client: its own URI and its user's, which follows from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Client {
    uri: MimiUri,
    user: MimiUri,
}

/// A credential names no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not a basic credential.
    #[error("the credential is not a basic one")]
    NotBasic,
    /// The identity is not a `mimi://PROVIDER/d/LOCALPART/DEVICE` URI.
    #[error("the credential's identity is not a client URI")]
    NotAClientUri,
}

impl Client {
    /// Takes a client URI.
    pub fn new(uri: MimiUri) -> Result<Self, IdentityError> {
        let user = uri.client_user().ok_or(IdentityError::NotAClientUri)?;
        Ok(Self { uri, user })
    }

    pub(crate) fn of_credential(credential: &Credential) -> Result<Self, IdentityError> {
        Self::new(uri_of_credential(credential)?)
    }

    /// `mimi://PROVIDER/d/LOCALPART/DEVICE`.
    pub fn uri(&self) -> &MimiUri {
        &self.uri
    }

    /// `mimi://PROVIDER/u/LOCALPART`.
    pub fn user(&self) -> &MimiUri {
        &self.user
    }
}

/// The URI in a basic credential, whatever it names.
pub(crate) fn uri_of_credential(credential: &Credential) -> Result<MimiUri, IdentityError> {
    if credential.credential_type() != CredentialType::Basic {
        return Err(IdentityError::NotBasic);
    }
    // A basic credential's content is its identity.
    MimiUri::try_from(credential.serialized_content()).map_err(|_| IdentityError::NotAClientUri)
}
