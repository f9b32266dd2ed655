//! A user of this provider: account, devices, sessions; key packages, consents and what it lets others find.

use mimi_wire::uri::MimiUri;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use store::{Scan, Space};
use subtle::ConstantTimeEq as _;

use crate::command::{ClientActor, InboxKey, Reply, RequestContext, UserCommand};
use crate::decision::Decision;
use crate::engine::Env;
use crate::owner::UriKey;
use crate::records::{device_key, device_session_key, parse, read};
use crate::refusal::Refusal;
use crate::views::{Device, Session};

mod consent;
mod directory;
mod granted;
mod settings;
mod stock;
mod wishes;

pub use consent::ConsentAnswer;
use settings::Deleted;
pub(crate) use settings::SettingsRecord;
use stock::Stocked;
pub(crate) use stock::{KeyPackageRecord, LOW_STOCK};

/// How long a sign-in nonce is good, ms.
const CHALLENGE_LIFE: u64 = 10 * 60 * 1000;

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

/// Space `Challenge`, key: user, client.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ChallengeRecord {
    nonce: String,
    until: u64,
    confirmed: bool,
}

/// What the user's worker keeps in memory.
pub(crate) struct UserState {
    user: MimiUri,
    account: Option<AccountRecord>,
    devices: BTreeMap<MimiUri, DeviceRecord>,
    challenges: BTreeMap<MimiUri, ChallengeRecord>,
    stock: Vec<Stocked>,
    settings: SettingsRecord,
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
            stock: stock::load(env, id).await?,
            settings: read(store, Space::UserSettings, &id.0).await?.unwrap_or_default(),
        };
        for (key, value) in store.scan(Scan::prefix(Space::Device, id.0)).await? {
            let device: DeviceRecord = parse(Space::Device, &key, &value)?;
            if let Some(challenge) = read(store, Space::Challenge, &key).await? {
                state.challenges.insert(device.client.clone(), challenge);
            }
            state.devices.insert(device.client.clone(), device);
        }
        Ok(state)
    }

    pub(crate) async fn decide(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &UserCommand,
    ) -> Result<Decision, Refusal> {
        let now = env.clock.now_ms();
        match command {
            UserCommand::AddAccount { token_hash } => self.add_account(now, *token_hash),
            UserCommand::RemoveAccount => self.remove_account(env, now).await,
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
            UserCommand::UploadKeyPackages { client, packages } => self.upload(env, client, packages).await,
            UserCommand::Stock { client } => Ok(Decision::reply(Reply::Stock(self.stock_of(client, now)))),
            UserCommand::AddAsset { key, record } => {
                let mut decision = Decision::reply(Reply::Done);
                decision.expect_absent(Space::Asset, key.to_vec());
                decision.put(Space::Asset, key.to_vec(), record)?;
                Ok(decision)
            }
            UserCommand::ServeKeyMaterial { peer, request } => self.serve(env, peer, request).await,
            UserCommand::TakeGranted(request) => self.take_granted(env, request).await,
            UserCommand::ConsentEntry(entry) => self.consent_entry(env, ctx, entry).await,
            UserCommand::AskConsent { target, room } => {
                self.ask_consent(env, ctx, target, room.as_ref()).await
            }
            UserCommand::CancelConsent { target, room } => {
                self.cancel_consent(env, ctx, target, room.as_ref()).await
            }
            UserCommand::AnswerConsent {
                requester,
                room,
                answer,
            } => {
                self.answer_consent(env, ctx, requester, room.as_ref(), *answer)
                    .await
            }
            UserCommand::ConsentSent { target, room, sent } => {
                self.consent_sent(env, target, room.as_ref(), sent).await
            }
            UserCommand::Consents => self.consents(env).await,
            UserCommand::Settings => {
                let view = self.settings_view(env);
                Ok(Decision::reply(Reply::Settings(Box::new(view))))
            }
            UserCommand::SetSettings {
                consent_required_of,
                profile,
            } => self.set_settings(env, *consent_required_of, profile),
            UserCommand::AddWish {
                wish,
                answer,
                lane,
                entry,
                request_id,
            } => self.add_wish(env, wish, (lane, answer), *entry, request_id).await,
            UserCommand::SetWake { client, device } => self.set_wake(client, device.as_deref()),
            UserCommand::SettleWish {
                id,
                outcome,
                request_id,
            } => self.settle_wish(env, id, outcome, request_id).await,
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
        self.enter(account, &mut decision)?;
        Ok(decision)
    }

    /// The account is there (again).
    fn enter(&mut self, account: AccountRecord, decision: &mut Decision) -> Result<(), Refusal> {
        decision.put(Space::Account, self.id().0.to_vec(), &account)?;
        self.account = Some(account);
        if self.settings.deleted.take().is_some() {
            self.write_settings(decision)?;
        }
        Ok(())
    }

    async fn remove_account(&mut self, env: &Env, now: u64) -> Result<Decision, Refusal> {
        if self.account.take().is_none() {
            return Err(Refusal::Unknown { what: "account" });
        }
        let mut decision = Decision::reply(Reply::Done);
        decision.delete(Space::Account, self.id().0.to_vec());
        for client in self.devices.keys().cloned().collect::<Vec<_>>() {
            self.forget_device(env, &client, &mut decision).await?;
        }
        let deleted = Deleted {
            at: now,
            known_to: self.granted_to(env).await?,
        };
        self.forget_settings(&mut decision, deleted)?;
        self.forget_consents(env, &mut decision).await?;
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
            self.enter(account, &mut decision)?;
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
        self.discard(decision, |record, _| record.client == *client);
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
