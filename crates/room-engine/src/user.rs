//! A user of this provider: account, devices, sessions and key packages.
//!
//! A KeyPackage is handed out once, crash or race: the batch that deletes it from the stock also remembers the
//! answer it went into.

use delivery_service::keys::Selection;
use mimi_wire::codec::{Decode as _, Encode as _};
use mimi_wire::mls::KeyPackage;
use mimi_wire::protocol::{
    ClientKeyMaterial, ClientMaterial, KeyMaterialRequest, KeyMaterialResponse, KeyMaterialUserCode,
};
use mimi_wire::uri::{Domain, MimiUri};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use store::{Scan, Space};
use subtle::ConstantTimeEq as _;

use crate::carrier::Octets;
use crate::command::{ClientActor, InboxKey, Reply, UserCommand};
use crate::decision::Decision;
use crate::engine::Env;
use crate::owner::UriKey;
use crate::records::{
    KeyPackageRefRecord, OutcomeRecord, device_key, device_session_key, key, local_ref_key, outcome_key,
    parse, read,
};
use crate::refusal::Refusal;
use crate::views::{Device, KeyPackageStock, Session};

mod directory;

/// How long a sign-in nonce is good, ms.
const CHALLENGE_LIFE: u64 = 10 * 60 * 1000;
/// KeyPackages a device may have in stock.
const STOCK_LIMIT: usize = 500;

/// Space `Account`, key: user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    pub(crate) user: MimiUri,
    /// SHA-256 of the sign-in secret, hex; none for users who sign in through Matrix. The secret has 256 random
    /// bits, so a plain hash is enough.
    pub(crate) secret: Option<String>,
    pub(crate) created_at: u64,
}

/// Space `Device`, key: user, client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceRecord {
    pub(crate) client: MimiUri,
    pub(crate) created_at: u64,
}

/// Space `Session`, key: SHA-256 of the token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) user: MimiUri,
    pub(crate) client: MimiUri,
    pub(crate) created_at: u64,
}

/// Space `KeyPackage`, key: user, client, reference.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeyPackageRecord {
    client: MimiUri,
    octets: Octets,
    uploaded_at: u64,
}

/// Space `Challenge`, key: user, client.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ChallengeRecord {
    nonce: String,
    until: u64,
    confirmed: bool,
}

struct Stocked {
    package: KeyPackage,
    key: Vec<u8>,
}

/// What the user's worker keeps in memory.
pub(crate) struct UserState {
    user: MimiUri,
    account: Option<AccountRecord>,
    devices: BTreeMap<MimiUri, DeviceRecord>,
    challenges: BTreeMap<MimiUri, ChallengeRecord>,
    stock: BTreeMap<MimiUri, Vec<Stocked>>,
}

impl UserState {
    pub(crate) async fn load(env: &Env, user: &MimiUri) -> Result<Self, Refusal> {
        let id = UriKey::of(user);
        let store = env.store.as_ref();
        let mut state = Self {
            user: user.clone(),
            account: read(store, Space::Account, &id.0).await?,
            devices: BTreeMap::new(),
            challenges: BTreeMap::new(),
            stock: BTreeMap::new(),
        };
        for (key, value) in store.scan(Scan::prefix(Space::Device, id.0)).await? {
            let device: DeviceRecord = parse(Space::Device, &key, &value)?;
            if let Some(challenge) = read(store, Space::Challenge, &key).await? {
                state.challenges.insert(device.client.clone(), challenge);
            }
            state.devices.insert(device.client.clone(), device);
        }
        for (key, value) in store.scan(Scan::prefix(Space::KeyPackage, id.0)).await? {
            let record: KeyPackageRecord = parse(Space::KeyPackage, &key, &value)?;
            let package = KeyPackage::from_bytes(&record.octets.0).map_err(Refusal::internal)?;
            state.stock.entry(record.client).or_default().push(Stocked {
                package,
                key: key.to_vec(),
            });
        }
        Ok(state)
    }

    pub(crate) async fn decide(&mut self, env: &Env, command: &UserCommand) -> Result<Decision, Refusal> {
        let now = env.clock.now_ms();
        match command {
            UserCommand::AddAccount { token_hash } => self.add_account(now, *token_hash),
            UserCommand::RemoveAccount => self.remove_account(env).await,
            UserCommand::SignInLocal { device, secret } => {
                let known = self.account.as_ref().and_then(|a| a.secret.as_deref());
                let given = hex::encode(Sha256::digest(secret.as_bytes()));
                // Compared also where there is nothing to compare with, so that time tells nothing about accounts.
                let same = given.as_bytes().ct_eq(known.unwrap_or(NO_SECRET).as_bytes());
                if known.is_none() || !bool::from(same) {
                    return Err(Refusal::Unauthorized);
                }
                let client = self.client(device)?;
                self.open_session(now, client)
            }
            UserCommand::SignInMatrix { device } => {
                let client = self.client(device)?;
                self.sign_in_matrix(now, client)
            }
            UserCommand::Confirm { nonce, from_portal } => self.confirm(now, nonce, *from_portal),
            UserCommand::SignOut { session } => self.sign_out(env, session).await,
            UserCommand::Devices => Ok(Decision::reply(Reply::Devices(
                self.devices
                    .values()
                    .filter(|d| self.signed_in_once(&d.client))
                    .map(|d| Device {
                        client: d.client.clone(),
                        created_at: d.created_at,
                        stock: self.stock_of(&d.client, now),
                    })
                    .collect(),
            ))),
            UserCommand::RemoveDevice { client } => self.remove_device(env, client).await,
            UserCommand::UploadKeyPackages { client, packages } => self.upload(now, client, packages),
            UserCommand::Stock { client } => Ok(Decision::reply(Reply::Stock(self.stock_of(client, now)))),
            UserCommand::ServeKeyMaterial { peer, request } => self.serve(env, now, peer, request).await,
        }
    }

    /// Whether there is no such user.
    pub(crate) fn is_vacant(&self) -> bool {
        self.account.is_none() && self.devices.is_empty()
    }

    fn id(&self) -> UriKey {
        UriKey::of(&self.user)
    }

    fn client(&self, device: &str) -> Result<MimiUri, Refusal> {
        let fits = (1..=64).contains(&device.len())
            && device
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !fits {
            return Err(Refusal::malformed(
                "device name",
                "1 to 64 characters of A-Z a-z 0-9 . _ -",
            ));
        }
        let localpart = self
            .user
            .local_id()
            .ok_or_else(|| Refusal::internal("a user URI without a local part"))?;
        MimiUri::client(&self.user.domain(), &localpart, device)
            .map_err(|e| Refusal::malformed("device name", e))
    }

    fn device_key(&self, client: &MimiUri) -> Vec<u8> {
        device_key(&self.user, client)
    }

    fn add_account(&mut self, now: u64, token_hash: [u8; 32]) -> Result<Decision, Refusal> {
        if self.account.is_some() {
            return Err(Refusal::Conflict { what: "the account" });
        }
        let account = AccountRecord {
            user: self.user.clone(),
            secret: Some(hex::encode(token_hash)),
            created_at: now,
        };
        let mut decision = Decision::reply(Reply::Done);
        decision.put(Space::Account, self.id().0.to_vec(), &account)?;
        self.account = Some(account);
        Ok(decision)
    }

    async fn remove_account(&mut self, env: &Env) -> Result<Decision, Refusal> {
        if self.account.take().is_none() {
            return Err(Refusal::Unknown { what: "account" });
        }
        let mut decision = Decision::reply(Reply::Done);
        decision.delete(Space::Account, self.id().0.to_vec());
        for client in self.devices.keys().cloned().collect::<Vec<_>>() {
            self.forget_device(env, &client, &mut decision).await?;
        }
        Ok(decision)
    }

    fn signed_in_once(&self, client: &MimiUri) -> bool {
        self.challenges
            .get(client)
            .is_none_or(|challenge| challenge.confirmed)
    }

    fn open_session(&mut self, now: u64, client: MimiUri) -> Result<Decision, Refusal> {
        let token = random_token()?;
        let record = SessionRecord {
            user: self.user.clone(),
            client: client.clone(),
            created_at: now,
        };
        let who = ClientActor {
            user: self.user.clone(),
            client: client.clone(),
        };
        let mut decision = Decision::reply(Reply::Session(Session {
            token: token.clone(),
            who,
        }));
        let session = session_key(&token);
        decision.put(Space::Session, session.to_vec(), &record)?;
        let place = device_session_key(&self.device_key(&client), &session);
        decision.put_bytes(Space::DeviceSession, place, Vec::new());
        if !self.devices.contains_key(&client) {
            let device = DeviceRecord {
                client: client.clone(),
                created_at: now,
            };
            decision.put(Space::Device, self.device_key(&client), &device)?;
            self.devices.insert(client, device);
        }
        if self.account.is_none() {
            let account = AccountRecord {
                user: self.user.clone(),
                secret: None,
                created_at: now,
            };
            decision.put(Space::Account, self.id().0.to_vec(), &account)?;
            self.account = Some(account);
        }
        Ok(decision)
    }

    /// The homeserver said who it is; the device also has to show that it can speak as that user.
    fn sign_in_matrix(&mut self, now: u64, client: MimiUri) -> Result<Decision, Refusal> {
        match self.challenges.get(&client) {
            Some(challenge) if challenge.confirmed => self.open_session(now, client),
            Some(challenge) if challenge.until > now => Ok(Decision::reply(Reply::Challenge {
                nonce: challenge.nonce.clone(),
            })),
            _ => {
                let nonce = random_token()?;
                let challenge = ChallengeRecord {
                    nonce: nonce.clone(),
                    until: now.saturating_add(CHALLENGE_LIFE),
                    confirmed: false,
                };
                let device = DeviceRecord {
                    client: client.clone(),
                    created_at: now,
                };
                let mut decision = Decision::reply(Reply::Challenge { nonce });
                decision.put(Space::Challenge, self.device_key(&client), &challenge)?;
                decision.put(Space::Device, self.device_key(&client), &device)?;
                self.challenges.insert(client.clone(), challenge);
                self.devices.insert(client, device);
                Ok(decision)
            }
        }
    }

    fn confirm(&mut self, now: u64, nonce: &str, from_portal: InboxKey) -> Result<Decision, Refusal> {
        let mut decision = Decision::reply(Reply::Done);
        decision.delete(Space::HsInbox, from_portal.0.to_be_bytes().to_vec());
        let found = self.challenges.iter_mut().find(|(_, challenge)| {
            challenge.until > now && bool::from(challenge.nonce.as_bytes().ct_eq(nonce.as_bytes()))
        });
        if let Some((client, challenge)) = found {
            challenge.confirmed = true;
            let (client, challenge) = (client.clone(), challenge.clone());
            decision.put(Space::Challenge, self.device_key(&client), &challenge)?;
        } else {
            metrics::counter!("causeway_signin_refused_total", "reason" => "nonce").increment(1);
        }
        Ok(decision)
    }

    async fn sign_out(&self, env: &Env, session: &[u8; 32]) -> Result<Decision, Refusal> {
        let mut decision = Decision::reply(Reply::Done);
        let known: Option<SessionRecord> = read(env.store.as_ref(), Space::Session, session).await?;
        if let Some(known) = known {
            decision.delete(Space::Session, session.to_vec());
            let place = device_session_key(&self.device_key(&known.client), session);
            decision.delete(Space::DeviceSession, place);
        }
        Ok(decision)
    }

    async fn remove_device(&mut self, env: &Env, client: &MimiUri) -> Result<Decision, Refusal> {
        if !self.devices.contains_key(client) {
            return Err(Refusal::Unknown { what: "device" });
        }
        let mut decision = Decision::reply(Reply::Done);
        self.forget_device(env, client, &mut decision).await?;
        Ok(decision)
    }

    async fn forget_device(
        &mut self,
        env: &Env,
        client: &MimiUri,
        decision: &mut Decision,
    ) -> Result<(), Refusal> {
        self.devices.remove(client);
        self.challenges.remove(client);
        decision.delete(Space::Device, self.device_key(client));
        decision.delete(Space::Challenge, self.device_key(client));
        for stocked in self.stock.remove(client).unwrap_or_default() {
            decision.delete(Space::KeyPackage, stocked.key);
        }
        let device = self.device_key(client);
        for (key, _) in env
            .store
            .scan(Scan::prefix(Space::DeviceSession, &device))
            .await?
        {
            let session = key.strip_prefix(device.as_slice()).unwrap_or_default();
            decision.delete(Space::Session, session.to_vec());
            decision.delete(Space::DeviceSession, key.to_vec());
        }
        Ok(())
    }

    fn stock_of(&self, client: &MimiUri, now: u64) -> KeyPackageStock {
        let mut stock = KeyPackageStock::default();
        for stocked in self.stock.get(client).into_iter().flatten() {
            if directory::expired(&stocked.package, now) {
            } else if stocked.package.is_last_resort() {
                stock.last_resort = true;
            } else {
                stock.available = stock.available.saturating_add(1);
            }
        }
        stock
    }

    fn upload(&mut self, now: u64, client: &MimiUri, packages: &[Vec<u8>]) -> Result<Decision, Refusal> {
        if !self.devices.contains_key(client) {
            return Err(Refusal::Unknown { what: "device" });
        }
        let held = self.stock.get(client).map_or(0, Vec::len);
        if held.saturating_add(packages.len()) > STOCK_LIMIT {
            return Err(Refusal::forbidden(format!(
                "a device may have {STOCK_LIMIT} KeyPackages in stock"
            )));
        }
        let mut decision = Decision::reply(Reply::Done);
        let mut added = Vec::new();
        for octets in packages {
            let (package, reference) = directory::check_upload(octets, client, now)?;
            let place = key(&[&self.device_key(client), reference.as_bytes()]);
            if self
                .stock
                .get(client)
                .is_some_and(|stock| stock.iter().any(|s| s.key == place))
            {
                continue;
            }
            let record = KeyPackageRecord {
                client: client.clone(),
                octets: Octets(octets.clone()),
                uploaded_at: now,
            };
            let known = KeyPackageRefRecord {
                client: client.clone(),
                provider: client.domain().as_str().to_owned(),
                at: now,
            };
            // One that was handed out before must not come back into the stock.
            decision.expect_absent(Space::KeyPackageRef, local_ref_key(&reference));
            decision.put(Space::KeyPackage, place.clone(), &record)?;
            decision.put(Space::KeyPackageRef, local_ref_key(&reference), &known)?;
            added.push(Stocked { package, key: place });
        }
        let stock = self.stock.entry(client.clone()).or_default();
        let (gone, mut kept): (Vec<_>, Vec<_>) = std::mem::take(stock)
            .into_iter()
            .partition(|s| directory::expired(&s.package, now));
        for stocked in gone {
            decision.delete(Space::KeyPackage, stocked.key);
        }
        // A new last-resort KeyPackage takes the place of the old one.
        if added.iter().any(|s| s.package.is_last_resort()) {
            let (old, rest): (Vec<_>, Vec<_>) = kept.into_iter().partition(|s| s.package.is_last_resort());
            for stocked in old {
                decision.delete(Space::KeyPackage, stocked.key);
            }
            kept = rest;
        }
        kept.extend(added);
        *stock = kept;
        decision.reply = Reply::Stock(self.stock_of(client, now));
        Ok(decision)
    }

    /// keyMaterial for this user (protocol-06 section 5.2).
    async fn serve(
        &mut self,
        env: &Env,
        now: u64,
        peer: &Domain,
        octets: &[u8],
    ) -> Result<Decision, Refusal> {
        let remembered = outcome_key(self.id(), &format!("peer:{}", peer.as_str()), octets);
        if let Some(outcome) = read::<OutcomeRecord>(env.store.as_ref(), Space::Outcome, &remembered).await? {
            let response = KeyMaterialResponse::from_bytes(&outcome.response.0).map_err(Refusal::internal)?;
            return Ok(Decision::reply(Reply::KeyMaterial(Box::new(response))));
        }
        let request = KeyMaterialRequest::from_bytes(octets)
            .map_err(|e| Refusal::malformed("KeyMaterialRequest", e))?;
        directory::check_request(&request)?;
        let mut decision = Decision::reply(Reply::Done);
        let (status, clients) = if self.account.is_none() {
            (KeyMaterialUserCode::UserUnknown, Vec::new())
        } else {
            self.choose(&request, now, &mut decision)
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

    fn choose(
        &mut self,
        request: &KeyMaterialRequest,
        now: u64,
        decision: &mut Decision,
    ) -> (KeyMaterialUserCode, Vec<ClientKeyMaterial>) {
        let clients: Vec<MimiUri> = self
            .devices
            .keys()
            .filter(|client| self.signed_in_once(client))
            .cloned()
            .collect();
        let mut answers = Vec::with_capacity(clients.len());
        let mut given = 0_usize;
        for client in clients {
            let stock = self.stock.entry(client.clone()).or_default();
            let material = match directory::pick(request, stock.iter().map(|s| &s.package), now) {
                Selection::Found(index) => match stock.get(index) {
                    Some(stocked) => {
                        let package = stocked.package.clone();
                        given = given.saturating_add(1);
                        if !package.is_last_resort() {
                            let taken = stock.swap_remove(index);
                            decision.delete(Space::KeyPackage, taken.key);
                        }
                        ClientMaterial::Success(Box::new(package))
                    }
                    None => ClientMaterial::KeyMaterialExhausted,
                },
                Selection::Exhausted => ClientMaterial::KeyMaterialExhausted,
                Selection::NothingCompatible => ClientMaterial::NothingCompatible(None),
            };
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
        (status, answers)
    }
}

/// As long as the hash of a secret, and the hash of none.
const NO_SECRET: &str = "----------------------------------------------------------------";

/// 256 random bits, base64url.
pub(crate) fn random_token() -> Result<String, Refusal> {
    use base64::Engine as _;
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|e| Refusal::internal(format!("no randomness: {e}")))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(*bytes))
}

/// Where a session is kept: the store never sees its token.
pub(crate) fn session_key(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
