//! KeyPackages in a grant of consent (draft-ietf-mimi-protocol-06 section 5.7): as the target's provider they are taken out
//! of the stock for it, as the requester's they are kept for the next claim. See docs/decisions/0021.

use mimi_wire::codec::Decode as _;
use mimi_wire::mls::{KeyPackage, KeyPackageRef};
use mimi_wire::protocol::{
    ClientKeyMaterial, ClientMaterial, KeyMaterialRequest, KeyMaterialResponse, KeyMaterialUserCode,
};
use mimi_wire::uri::MimiUri;
use std::collections::BTreeMap;
use store::Space;

use super::{UserState, directory};
use crate::carrier::Octets;
use crate::command::Reply;
use crate::consent::{Direction, Pair};
use crate::decision::Decision;
use crate::engine::Env;
use crate::records::{KeyPackageRefRecord, granted_ref_key, read};
use crate::refusal::Refusal;
use delivery_service::keys::Selection;

/// KeyPackages that one grant may carry; of one that carries more none is kept.
pub(super) const PER_GRANT: usize = 16;

impl UserState {
    /// As requester: keeps the KeyPackages of a grant, if all of them are good, none of them came before, and there is no
    /// more than one of each client. What isn't kept is fetched through the hub when it is needed.
    pub(super) async fn keep_granted(
        &self,
        env: &Env,
        pair: &mut Pair,
        (target, room): (&MimiUri, Option<&MimiUri>),
        packages: &[KeyPackage],
        decision: &mut Decision,
    ) -> Result<(), Refusal> {
        let now = env.clock.now_ms();
        if packages.is_empty() {
            return Ok(());
        }
        let Some(checked) = checked(target, packages, now) else {
            metrics::counter!("causeway_consent_dropped_total", "reason" => "key_packages").increment(1);
            return Ok(());
        };
        for (reference, client, package) in &checked {
            let place = granted_ref_key(reference);
            let known: Option<KeyPackageRefRecord> =
                read(env.store.as_ref(), Space::KeyPackageRef, &place).await?;
            if known.is_some() {
                // The same grant once more: they may have been used meanwhile.
                return Ok(());
            }
            let record = KeyPackageRefRecord {
                client: client.clone(),
                provider: target.domain().as_str().to_owned(),
                at: now,
                until: package.lifetime().not_after.saturating_mul(1000),
            };
            decision.put(Space::KeyPackageRef, place, &record)?;
        }
        let octets = packages.iter().map(|package| Octets(package.as_bytes().to_vec()));
        pair.keep_key_packages(room, octets.collect(), now);
        Ok(())
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

/// All of them, with reference and client, if each could have been uploaded by a client of the target of its own.
fn checked<'a>(
    target: &MimiUri,
    packages: &'a [KeyPackage],
    now: u64,
) -> Option<Vec<(KeyPackageRef, MimiUri, &'a KeyPackage)>> {
    if packages.len() > PER_GRANT {
        return None;
    }
    let mut checked = BTreeMap::new();
    for package in packages {
        let client = client_of(package)?;
        if client.client_user().as_ref() != Some(target) {
            return None;
        }
        let (_, reference) = directory::check_upload(package.as_bytes(), &client, now).ok()?;
        if checked.insert(client, (reference, package)).is_some() {
            return None;
        }
    }
    let listed = checked.into_iter();
    Some(
        listed
            .map(|(client, (reference, package))| (reference, client, package))
            .collect(),
    )
}
