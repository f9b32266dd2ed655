//! KeyPackages in a grant of consent (draft-ietf-mimi-protocol-06 section 5.7): as the target's provider they are taken out
//! of the stock for it, as the requester's they are kept for the next claim. See docs/decisions/0021.

use mimi_wire::codec::Decode as _;
use mimi_wire::mls::KeyPackage;
use mimi_wire::protocol::{
    ClientKeyMaterial, ClientMaterial, KeyMaterialRequest, KeyMaterialResponse, KeyMaterialUserCode,
};
use mimi_wire::uri::MimiUri;
use std::collections::BTreeSet;

use super::{UserState, directory};
use crate::carrier::Octets;
use crate::command::Reply;
use crate::consent::{Direction, Pair};
use crate::decision::Decision;
use crate::engine::Env;
use crate::refusal::Refusal;
use delivery_service::keys::Selection;

/// KeyPackages that one grant may carry; of one that carries more none is kept.
pub(super) const PER_GRANT: usize = 16;
/// Octets that they may have together: they are in one record.
const OCTETS_PER_GRANT: usize = 32 * 1024;

impl UserState {
    /// As requester: keeps the KeyPackages of a grant, if all of them are good, none of them came before, and there is no
    /// more than one of each client. What isn't kept is fetched through the hub when it is needed.
    pub(super) fn keep_granted(
        pair: &mut Pair,
        (target, room): (&MimiUri, Option<&MimiUri>),
        packages: &[KeyPackage],
        now: u64,
    ) {
        if packages.is_empty() {
            return;
        }
        match checked(target, packages, now) {
            Some(packages) => pair.keep_key_packages(room, packages, now),
            None => {
                metrics::counter!("causeway_consent_dropped_total", "reason" => "key_packages").increment(1);
            }
        }
    }

    /// As requester: an answer to a request for KeyPackages out of what a grant brought. The batch that forgets them
    /// comes before the answer, so that they are handed out once.
    pub(super) async fn take_granted(
        &self,
        env: &Env,
        request: &KeyMaterialRequest,
    ) -> Result<Decision, Refusal> {
        let now = env.clock.now_ms();
        let nothing = || Ok(Decision::reply(Reply::Done));
        let Some(room) = &request.room_id else {
            return nothing();
        };
        directory::check_request(request)?;
        let mut pair = self.pair(env, Direction::OfOthers, &request.target_user).await?;
        let Some((scope, octets)) = pair.key_packages(room, now) else {
            return nothing();
        };
        let packages: Vec<KeyPackage> = octets
            .iter()
            .map(|octets| KeyPackage::from_bytes(&octets.0))
            .collect::<Result<_, _>>()
            .map_err(Refusal::internal)?;
        let mut clients = Vec::with_capacity(packages.len());
        for package in packages {
            let fits = directory::pick(request, std::iter::once((0, &package)), now);
            let (Selection::Found(_), Some(client_uri)) = (fits, client_of(&package)) else {
                // Not these: then one of each client is fetched through the hub.
                return nothing();
            };
            let material = ClientMaterial::Success(Box::new(package));
            clients.push(ClientKeyMaterial { client_uri, material });
        }
        pair.key_packages_used(scope.as_ref());
        let response = KeyMaterialResponse {
            user_status: KeyMaterialUserCode::Success,
            user_uri: request.target_user.clone(),
            clients,
        };
        let mut decision = Decision::reply(Reply::KeyMaterial(Box::new(response)));
        self.write(&mut decision, Direction::OfOthers, &pair)?;
        metrics::counter!("causeway_consent_key_packages_used_total").increment(1);
        Ok(decision)
    }
}

/// The client that a KeyPackage says it is of.
fn client_of(package: &KeyPackage) -> Option<MimiUri> {
    MimiUri::try_from(package.content().leaf_node.credential.identity()?).ok()
}

/// All of them with their references, if each could have been uploaded by a client of the target of its own.
fn checked(target: &MimiUri, packages: &[KeyPackage], now: u64) -> Option<Vec<(Octets, Octets)>> {
    let octets: usize = packages.iter().map(|package| package.as_bytes().len()).sum();
    if packages.len() > PER_GRANT || octets > OCTETS_PER_GRANT {
        return None;
    }
    let mut clients = BTreeSet::new();
    let mut checked = Vec::with_capacity(packages.len());
    for package in packages {
        let client = client_of(package)?;
        let octets = package.as_bytes();
        let (_, reference) = directory::check_upload(octets, &client, now).ok()?;
        if client.client_user().as_ref() != Some(target) || !clients.insert(client) {
            return None;
        }
        checked.push((Octets(reference.as_bytes().to_vec()), Octets(octets.to_vec())));
    }
    Some(checked)
}
