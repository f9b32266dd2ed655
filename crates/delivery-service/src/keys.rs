//! Decisions of a provider's key directory: what may be uploaded, who may ask, what fits.
//!
//! Pure: the directory itself, its consent and its limits are the gateway's.

use crate::crypto;
use crate::identity::{Client, IdentityError};
use mimi_wire::components::{ComponentsList, component_id};
use mimi_wire::mls::{Extension, KeyPackage, KeyPackageRef, RequiredCapabilities};
use mimi_wire::protocol::KeyMaterialRequest;
use mimi_wire::{MimiUri, UriKind, labels};
use openmls::key_packages::KeyPackageIn;
use openmls::versions::ProtocolVersion;
use tls_codec::DeserializeBytes as _;

/// Why a request for KeyPackages is not genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestRefusal {
    /// The signature fits none of the acceptable suites.
    #[error("the signature is not one of the requester's key")]
    Signature,
    /// The credential is not one of the requesting user or a client of theirs.
    #[error("the credential is not the requesting user's")]
    Credential,
}

/// Checks that a request was made by the user it names.
///
/// The draft doesn't say of which scheme the key is; it has to be that of one of the acceptable suites.
pub fn verify_request(request: &KeyMaterialRequest) -> Result<(), RequestRefusal> {
    let identity = request
        .requester_credential
        .identity()
        .ok_or(RequestRefusal::Credential)?;
    let uri = MimiUri::try_from(identity).map_err(|_| RequestRefusal::Credential)?;
    let user = match uri.kind() {
        UriKind::Client => uri.client_user().ok_or(RequestRefusal::Credential)?,
        _ => uri,
    };
    if user != request.requesting_user {
        return Err(RequestRefusal::Credential);
    }
    let tbs = request.tbs();
    let mut schemes: Vec<_> = request
        .acceptable_ciphersuites
        .iter()
        .filter_map(|suite| crypto::supported(suite.0))
        .map(|suite| suite.signature_algorithm())
        .collect();
    schemes.sort_unstable_by_key(|scheme| *scheme as u16);
    schemes.dedup();
    let verified = schemes.into_iter().any(|scheme| {
        crypto::verify_with_label(
            scheme,
            &request.requester_signature_key,
            labels::KEY_MATERIAL_REQUEST,
            &tbs,
            &request.key_material_request_signature,
        )
    });
    if verified {
        Ok(())
    } else {
        Err(RequestRefusal::Signature)
    }
}

/// What a client's stock of KeyPackages has for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection<T> {
    /// This one.
    Found(T),
    /// There are some, but none that fits.
    NothingCompatible,
    /// There are none that could be used any more.
    Exhausted,
}

/// Picks the KeyPackage of one client for a request: valid at `now_ms`, of an acceptable suite (the requester's
/// order decides), with the required capabilities; one for a single use before a last resort, then the one
/// that expires first.
pub fn select<'a, T>(
    request: &KeyMaterialRequest,
    stock: impl IntoIterator<Item = (T, &'a KeyPackage)>,
    now_ms: u64,
) -> Selection<T> {
    let now = now_ms / 1000;
    let mut any = false;
    let mut best = None;
    for (id, key_package) in stock {
        let lifetime = key_package.lifetime();
        if now < lifetime.not_before || now >= lifetime.not_after {
            continue;
        }
        any = true;
        let suites = &request.acceptable_ciphersuites;
        let Some(rank) = suites
            .iter()
            .position(|suite| *suite == key_package.cipher_suite())
        else {
            continue;
        };
        if !request
            .required_capabilities
            .are_met_by(key_package.capabilities())
        {
            continue;
        }
        let key = (rank, key_package.is_last_resort(), lifetime.not_after);
        if best.as_ref().is_none_or(|(other, _)| key < *other) {
            best = Some((key, id));
        }
    }
    match best {
        Some((_, id)) => Selection::Found(id),
        None if any => Selection::NothingCompatible,
        None => Selection::Exhausted,
    }
}

/// Why a KeyPackage is not taken into the directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UploadRefusal {
    /// openmls finds it invalid: signatures, version, lifetime, extensions.
    #[error("invalid KeyPackage: {0}")]
    Mls(String),
    /// Its suite is not supported.
    #[error("cipher suite {0:#06x} is not supported")]
    CipherSuite(u16),
    /// Its credential names no client.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its credential names another client than the one that uploads it.
    #[error("the KeyPackage is one of {0}")]
    AnotherClient(MimiUri),
    /// Not valid now, or for longer than a KeyPackage should be.
    #[error("the lifetime is not acceptable")]
    Lifetime,
    /// Its leaf can't be in a MIMI room.
    #[error("the client lacks {0}")]
    Capability(&'static str),
}

/// The longest lifetime taken, in seconds: what MLS clients commonly allow at most (three months and a margin).
pub const MAX_LIFETIME_SECONDS: u64 = 100 * 24 * 60 * 60;

/// Checks a KeyPackage that a client uploads, and names it.
///
/// openmls checks the lifetime against the system's clock; it is checked against `now_ms` as well.
pub fn validate_upload(
    client: &MimiUri,
    key_package: &KeyPackage,
    now_ms: u64,
) -> Result<KeyPackageRef, UploadRefusal> {
    let leaf = &key_package.content().leaf_node;
    let identity = leaf.credential.identity().ok_or(IdentityError::NotBasic)?;
    let owner = MimiUri::try_from(identity).map_err(|_| IdentityError::NotAClientUri)?;
    let owner = Client::new(owner)?;
    if owner.uri() != client {
        return Err(UploadRefusal::AnotherClient(owner.uri().clone()));
    }
    let suite = key_package.cipher_suite();
    let (Some(_), Some(reference)) = (crypto::supported(suite.0), key_package.reference()) else {
        return Err(UploadRefusal::CipherSuite(suite.0));
    };
    let lifetime = key_package.lifetime();
    let now = now_ms / 1000;
    if now < lifetime.not_before
        || now >= lifetime.not_after
        || lifetime.not_after.saturating_sub(lifetime.not_before) > MAX_LIFETIME_SECONDS
    {
        return Err(UploadRefusal::Lifetime);
    }
    let parsed = KeyPackageIn::tls_deserialize_exact_bytes(key_package.as_bytes())
        .map_err(|error| UploadRefusal::Mls(error.to_string()))?;
    parsed
        .validate(crypto::provider(), ProtocolVersion::Mls10)
        .map_err(|error| UploadRefusal::Mls(error.to_string()))?;
    check_room_capabilities(key_package)?;
    Ok(reference)
}

/// What a MIMI room requires of every member.
pub fn room_capabilities() -> RequiredCapabilities {
    use mimi_wire::components::{credential_type, extension_type, proposal_type};
    RequiredCapabilities {
        extension_types: vec![extension_type::APP_DATA_DICTIONARY],
        proposal_types: vec![proposal_type::APP_DATA_UPDATE, proposal_type::SELF_REMOVE],
        credential_types: vec![credential_type::BASIC],
    }
}

/// The components that every member has to understand.
pub const ROOM_COMPONENTS: [u16; 2] = [component_id::PARTICIPANT_LIST, component_id::ROOM_METADATA];

fn check_room_capabilities(key_package: &KeyPackage) -> Result<(), UploadRefusal> {
    if !room_capabilities().are_met_by(key_package.capabilities()) {
        return Err(UploadRefusal::Capability(
            "a capability that every room requires (app_data_dictionary, app_data_update, self_remove, basic)",
        ));
    }
    let extensions = &key_package.content().leaf_node.extensions;
    let supported = match Extension::app_data_dictionary(extensions) {
        Some(Ok(dictionary)) => dictionary.get_as::<ComponentsList>(component_id::APP_COMPONENTS),
        _ => None,
    };
    match supported {
        Some(Ok(list)) if ROOM_COMPONENTS.iter().all(|id| list.component_ids.contains(id)) => Ok(()),
        _ => Err(UploadRefusal::Capability(
            "app_components with the participant list and the room metadata",
        )),
    }
}
