//! The stock of KeyPackages: uploads, and what is handed out (draft-ietf-mimi-protocol-06 section 5.2).
//!
//! A KeyPackage is handed out once, crash or race: the batch that deletes it from the stock also remembers the
//! answer it went into. Only one of last resort is handed out again, and its client is told to replace it.

use delivery_service::CIPHER_SUITES;
use delivery_service::keys::Selection;
use mimi_wire::codec::{Decode as _, Encode as _};
use mimi_wire::mls::{CipherSuite, KeyPackage};
use mimi_wire::protocol::{
    ClientKeyMaterial, ClientMaterial, KeyMaterialRequest, KeyMaterialResponse, KeyMaterialUserCode,
};
use mimi_wire::uri::{Domain, MimiUri};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use store::{Scan, Space};

use super::{UserState, directory};
use crate::carrier::Octets;
use crate::command::Reply;
use crate::consent::Verdict;
use crate::decision::Decision;
use crate::engine::Env;
use crate::owner::UriKey;
use crate::records::{
    KeyPackageRefRecord, OutcomeRecord, key, local_ref_key, outcome_key, parse, read, welcomed_ref_key,
};
use crate::refusal::Refusal;
use crate::views::{KeyPackageStock, Notice, SuiteStock, UserNotice};

/// KeyPackages a device may have in stock.
const STOCK_LIMIT: usize = 500;
/// With fewer one-time KeyPackages than this a device should upload more.
pub(crate) const LOW_STOCK: u32 = 10;
/// How long the octets of a KeyMaterialRequest are taken for the same request, ms. There is nothing fresh in one, so
/// that later the same octets are a new request (docs/decisions/0020).
const SAME_REQUEST: u64 = 10 * 60 * 1000;

/// Space `KeyPackage`, key: user, client, reference.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyPackageRecord {
    pub(super) client: MimiUri,
    octets: Octets,
    uploaded_at: u64,
    /// Of last resort, and handed out at least once.
    #[serde(default)]
    handed_out: bool,
}

impl KeyPackageRecord {
    /// Whether it has expired, and of which suite it is if it is for a single use. What can't be read is not ours to judge.
    pub(crate) fn judge(&self, now: u64) -> (bool, Option<CipherSuite>) {
        match KeyPackage::from_bytes(&self.octets.0) {
            Ok(package) => {
                let one_time = !package.is_last_resort();
                (
                    directory::expired(&package, now),
                    one_time.then(|| package.cipher_suite()),
                )
            }
            Err(_) => (false, None),
        }
    }
}

pub(super) struct Stocked {
    package: KeyPackage,
    key: Vec<u8>,
    record: KeyPackageRecord,
}

/// Reads a user's stock.
pub(super) async fn load(env: &Env, user: UriKey) -> Result<Vec<Stocked>, Refusal> {
    let mut stock = Vec::new();
    for (key, value) in env.store.scan(Scan::prefix(Space::KeyPackage, user.0)).await? {
        let record: KeyPackageRecord = parse(Space::KeyPackage, &key, &value)?;
        let package = KeyPackage::from_bytes(&record.octets.0).map_err(Refusal::internal)?;
        if env.fence.may_be_spent(record.uploaded_at) && !package.is_last_resort() {
            continue;
        }
        stock.push(Stocked {
            package,
            key: key.to_vec(),
            record,
        });
    }
    Ok(stock)
}

impl UserState {
    pub(super) fn stock_of(&self, client: &MimiUri, now: u64) -> KeyPackageStock {
        let suites: Vec<SuiteStock> = CIPHER_SUITES
            .iter()
            .map(|suite| self.stock_of_suite(client, *suite, now))
            .collect();
        let used = || suites.iter().filter(|of| of.is_used());
        KeyPackageStock {
            available: suites.iter().map(|of| of.available).sum(),
            last_resort: used().next().is_some() && used().all(|of| of.last_resort),
            last_resort_used: used().any(|of| of.last_resort_used),
            low: used().next().is_none() || used().any(|of| of.available < LOW_STOCK),
            suites,
        }
    }

    fn stock_of_suite(&self, client: &MimiUri, suite: CipherSuite, now: u64) -> SuiteStock {
        let mut stock = SuiteStock {
            suite: suite.0,
            available: 0,
            last_resort: false,
            last_resort_used: false,
        };
        for stocked in self.stock_of_client(client) {
            let package = &stocked.package;
            if package.cipher_suite() != suite || directory::expired(package, now) {
                continue;
            }
            if package.is_last_resort() {
                stock.last_resort = true;
                stock.last_resort_used = stocked.record.handed_out;
            } else {
                stock.available = stock.available.saturating_add(1);
            }
        }
        stock
    }

    fn stock_of_client(&self, client: &MimiUri) -> impl Iterator<Item = &Stocked> {
        self.stock
            .iter()
            .filter(move |stocked| stocked.record.client == *client)
    }

    /// Takes out of the stock, and out of the store.
    pub(super) fn discard(
        &mut self,
        decision: &mut Decision,
        mut gone: impl FnMut(&KeyPackageRecord, &KeyPackage) -> bool,
    ) {
        self.stock.retain(|stocked| {
            let gone = gone(&stocked.record, &stocked.package);
            if gone {
                decision.delete(Space::KeyPackage, stocked.key.clone());
            }
            !gone
        });
    }

    fn discard_expired(&mut self, decision: &mut Decision, now: u64) {
        self.discard(decision, |_, package| directory::expired(package, now));
    }

    /// `POST /key_packages`. What is there already, or was handed out already, is passed over: a repeat of an upload
    /// of which some were taken meanwhile has to succeed and must not bring them back.
    pub(super) async fn upload(
        &mut self,
        env: &Env,
        client: &MimiUri,
        packages: &[Vec<u8>],
    ) -> Result<Decision, Refusal> {
        let now = env.clock.now_ms();
        if !self.devices.contains_key(client) {
            return Err(Refusal::Unknown { what: "device" });
        }
        let mut added = Vec::new();
        let mut decision = Decision::reply(Reply::Done);
        for octets in packages {
            let (package, reference) = directory::check_upload(octets, client, now)?;
            let known: Option<KeyPackageRefRecord> = read(
                env.store.as_ref(),
                Space::KeyPackageRef,
                &local_ref_key(&reference),
            )
            .await?;
            let place = key(&[&self.device_key(client), reference.as_bytes()]);
            if known.is_some() || added.iter().any(|s: &Stocked| s.key == place) {
                continue;
            }
            let record = KeyPackageRecord {
                client: client.clone(),
                octets: Octets(octets.clone()),
                uploaded_at: now,
                handed_out: false,
            };
            let known = KeyPackageRefRecord {
                client: client.clone(),
                provider: client.domain().as_str().to_owned(),
                at: now,
                until: package.lifetime().not_after.saturating_mul(1000),
            };
            decision.expect_absent(Space::KeyPackageRef, local_ref_key(&reference));
            decision.put(Space::KeyPackage, place.clone(), &record)?;
            decision.put(Space::KeyPackageRef, local_ref_key(&reference), &known)?;
            added.push(Stocked {
                package,
                key: place,
                record,
            });
        }
        let valid = self
            .stock_of_client(client)
            .filter(|s| !directory::expired(&s.package, now))
            .count();
        if valid.saturating_add(added.len()) > STOCK_LIMIT {
            return Err(Refusal::forbidden(format!(
                "a device may have {STOCK_LIMIT} KeyPackages in stock"
            )));
        }
        self.discard_expired(&mut decision, now);
        // A new last-resort KeyPackage takes the place of the old one of its suite.
        let new_last_resort: BTreeSet<CipherSuite> = added
            .iter()
            .filter(|s| s.package.is_last_resort())
            .map(|s| s.package.cipher_suite())
            .collect();
        if !new_last_resort.is_empty() {
            self.discard(&mut decision, |record, package| {
                record.client == *client
                    && package.is_last_resort()
                    && new_last_resort.contains(&package.cipher_suite())
            });
        }
        self.stock.extend(added);
        decision.reply = Reply::Stock(self.stock_of(client, now));
        Ok(decision)
    }

    /// keyMaterial for this user.
    pub(super) async fn serve(
        &mut self,
        env: &Env,
        peer: &Domain,
        octets: &[u8],
    ) -> Result<Decision, Refusal> {
        let now = env.clock.now_ms();
        let remembered = outcome_key(self.id(), &format!("peer:{}", peer.as_str()), octets);
        if let Some(response) = self.same_request(env, &remembered, now).await? {
            return Ok(Decision::reply(Reply::KeyMaterial(Box::new(response))));
        }
        let request = KeyMaterialRequest::from_bytes(octets)
            .map_err(|e| Refusal::malformed("KeyMaterialRequest", e))?;
        directory::check_request(&request)?;
        let mut decision = Decision::reply(Reply::Done);
        let verdict = self
            .permits(env, &request.requesting_user, request.room_id.as_ref())
            .await?;
        // To others a user who doesn't exist is one who has not consented: no answer tells them apart.
        let own = *peer == env.config.provider && request.requesting_user.domain() == *peer;
        let (status, clients) = match verdict {
            _ if self.account.is_none() => (self.absent(&request.requesting_user, own), Vec::new()),
            Verdict::NoConsent => (KeyMaterialUserCode::NoConsent, Vec::new()),
            Verdict::NotForThisRoom => (KeyMaterialUserCode::NoConsentForThisRoom, Vec::new()),
            Verdict::Granted => self.choose(&request, now, &mut decision)?,
        };
        let response = KeyMaterialResponse {
            user_status: status,
            user_uri: request.target_user.clone(),
            clients,
        };
        // A stock that was not touched changes nothing, and a later upload may serve the same request better.
        if !decision.is_read() {
            let outcome = OutcomeRecord {
                at: now,
                response: Octets(response.to_bytes()),
            };
            decision.put(Space::Outcome, remembered, &outcome)?;
        }
        decision.reply = Reply::KeyMaterial(Box::new(response));
        Ok(decision)
    }

    /// What a requester may know of a user who isn't there (any more).
    fn absent(&self, requester: &MimiUri, own: bool) -> KeyMaterialUserCode {
        match &self.settings.deleted {
            Some(deleted) if own || deleted.known_to.contains(requester) => KeyMaterialUserCode::UserDeleted,
            _ if own => KeyMaterialUserCode::UserUnknown,
            _ => KeyMaterialUserCode::NoConsent,
        }
    }

    /// The answer that the same octets got a moment ago, unless somebody was added with it meanwhile: who asks then
    /// wants to add the user once more.
    async fn same_request(
        &self,
        env: &Env,
        remembered: &[u8],
        now: u64,
    ) -> Result<Option<KeyMaterialResponse>, Refusal> {
        let store = env.store.as_ref();
        let Some(outcome) = read::<OutcomeRecord>(store, Space::Outcome, remembered)
            .await?
            .filter(|outcome| now < outcome.at.saturating_add(SAME_REQUEST))
        else {
            return Ok(None);
        };
        let response = KeyMaterialResponse::from_bytes(&outcome.response.0).map_err(Refusal::internal)?;
        for (_, package) in response.key_packages() {
            let reference = package
                .reference()
                .ok_or_else(|| Refusal::internal("a KeyPackage without reference was handed out"))?;
            if store
                .get(Space::KeyPackageRef, &welcomed_ref_key(&reference))
                .await?
                .is_some()
            {
                return Ok(None);
            }
        }
        Ok(Some(response))
    }

    fn choose(
        &mut self,
        request: &KeyMaterialRequest,
        now: u64,
        decision: &mut Decision,
    ) -> Result<(KeyMaterialUserCode, Vec<ClientKeyMaterial>), Refusal> {
        self.discard_expired(decision, now);
        let clients: Vec<MimiUri> = self
            .devices
            .keys()
            .filter(|client| self.signed_in_once(client))
            .cloned()
            .collect();
        let mut answers = Vec::with_capacity(clients.len());
        let mut given = 0_usize;
        for client in clients {
            let material = self.take(&client, request, now, decision)?;
            if matches!(material, ClientMaterial::Success(_)) {
                given = given.saturating_add(1);
            }
            answers.push(ClientKeyMaterial {
                client_uri: client,
                material,
            });
        }
        let status = match given {
            0 => KeyMaterialUserCode::NoCompatibleMaterial,
            n if n == answers.len() => KeyMaterialUserCode::Success,
            _ => KeyMaterialUserCode::PartialSuccess,
        };
        Ok((status, answers))
    }

    /// One KeyPackage for a single use of each client, to go with a grant of consent. None at all if a client has few:
    /// whoever asks for consent must not use them up.
    pub(super) fn take_for_grant(&mut self, now: u64, decision: &mut Decision) -> Vec<KeyPackage> {
        let clients: Vec<MimiUri> = self
            .devices
            .keys()
            .filter(|client| self.signed_in_once(client))
            .cloned()
            .collect();
        // Nobody has said what it needs: the suite that everybody knows, then the KeyPackage that expires first.
        let first_suite = |client| {
            let suites = self.stock_of(client, now).suites.into_iter();
            suites.filter(|of| of.available > 0).min_by_key(|of| of.suite)
        };
        let plenty = |client| first_suite(client).is_some_and(|of| of.available > LOW_STOCK);
        if clients.len() > super::granted::PER_GRANT || !clients.iter().all(plenty) {
            return Vec::new();
        }
        let mut taken = Vec::with_capacity(clients.len());
        for client in clients {
            let of_client = self.stock.iter().enumerate().filter(|(_, stocked)| {
                stocked.record.client == client
                    && !stocked.package.is_last_resort()
                    && !directory::expired(&stocked.package, now)
            });
            let best = of_client.min_by_key(|(_, stocked)| {
                let package = &stocked.package;
                (package.cipher_suite().0, package.lifetime().not_after)
            });
            let Some((at, _)) = best else { continue };
            let stocked = self.stock.swap_remove(at);
            decision.delete(Space::KeyPackage, stocked.key);
            metrics::counter!("causeway_key_packages_handed_out_total", "kind" => "one_time").increment(1);
            taken.push(stocked.package);
        }
        taken
    }

    /// One client's KeyPackage for a request.
    fn take(
        &mut self,
        client: &MimiUri,
        request: &KeyMaterialRequest,
        now: u64,
        decision: &mut Decision,
    ) -> Result<ClientMaterial, Refusal> {
        let candidates = self
            .stock
            .iter()
            .enumerate()
            .filter(|(_, stocked)| stocked.record.client == *client)
            .map(|(at, stocked)| (at, &stocked.package));
        let selection = directory::pick(request, candidates, now);
        let material = match selection {
            Selection::Found(at) => {
                let Some(stocked) = self.stock.get_mut(at) else {
                    return Err(Refusal::internal("a KeyPackage was picked that is not there"));
                };
                let package = stocked.package.clone();
                let kind = if package.is_last_resort() {
                    if !stocked.record.handed_out {
                        stocked.record.handed_out = true;
                        decision.put(Space::KeyPackage, stocked.key.clone(), &stocked.record)?;
                    }
                    "last_resort"
                } else {
                    let taken = self.stock.swap_remove(at);
                    decision.delete(Space::KeyPackage, taken.key);
                    "one_time"
                };
                metrics::counter!("causeway_key_packages_handed_out_total", "kind" => kind).increment(1);
                ClientMaterial::Success(Box::new(package))
            }
            Selection::Exhausted => ClientMaterial::KeyMaterialExhausted,
            Selection::NothingCompatible => ClientMaterial::NothingCompatible(None),
        };
        let stock = self.stock_of(client, now);
        if stock.low {
            let available = stock.fewest();
            let state = match (&material, available) {
                (ClientMaterial::KeyMaterialExhausted, _) => "exhausted",
                (_, 0) => "empty",
                _ => "low",
            };
            metrics::counter!("causeway_key_packages_low_total", "state" => state).increment(1);
            decision.notices.push(UserNotice {
                user: self.user.clone(),
                what: Notice::KeyPackagesLow {
                    client: client.clone(),
                    available,
                },
            });
        }
        Ok(material)
    }
}
