//! The key directory's decisions: what may be stored, and what is handed out.

use delivery_service::keys::{self, Selection};
use mimi_wire::codec::Decode as _;
use mimi_wire::mls::{KeyPackage, KeyPackageRef};
use mimi_wire::protocol::KeyMaterialRequest;
use mimi_wire::uri::MimiUri;

use crate::refusal::Refusal;

/// Whether a KeyPackage may no longer be used.
pub(super) fn expired(package: &KeyPackage, now_ms: u64) -> bool {
    package.lifetime().not_after <= now_ms / 1000
}

/// A KeyPackage that a client uploads: valid, its own, fit for the rooms of this provider.
pub(super) fn check_upload(
    octets: &[u8],
    client: &MimiUri,
    now_ms: u64,
) -> Result<(KeyPackage, KeyPackageRef), Refusal> {
    let package = KeyPackage::from_bytes(octets).map_err(|e| Refusal::malformed("KeyPackage", e))?;
    let reference =
        keys::validate_upload(client, &package, now_ms).map_err(|e| Refusal::malformed("KeyPackage", e))?;
    Ok((package, reference))
}

/// A request for KeyPackages: signed with the requester's key.
pub(super) fn check_request(request: &KeyMaterialRequest) -> Result<(), Refusal> {
    keys::verify_request(request).map_err(|e| Refusal::forbidden(e.to_string()))
}

/// The KeyPackage of a client that fits a request best, by its place.
pub(super) fn pick<'a>(
    request: &KeyMaterialRequest,
    stock: impl Iterator<Item = (usize, &'a KeyPackage)>,
    now_ms: u64,
) -> Selection<usize> {
    keys::select(request, stock, now_ms)
}
