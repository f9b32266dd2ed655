//! A user's devices: what the provider is, signing in, KeyPackages in stock.

use super::encoding::B64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /provider`: what a client must know before it makes a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderInfo {
    /// The provider's domain, for example `a.example`.
    pub provider: String,
    /// The hub as MLS external sender (TLS `ExternalSender`), to be put into every group founded here whose suite signs
    /// with Ed25519.
    pub external_sender: B64,
    /// The franking agent (TLS `FrankingAgentData`, protocol-06 section 5.4.1) for the same groups.
    pub franking_agent: B64,
    /// Both for groups whose suite signs with ECDSA on P-256; none: no such groups can be founded here.
    #[serde(default)]
    pub p256: Option<HubKeys>,
    /// MLS cipher suites this provider judges, best first.
    pub cipher_suites: Vec<u16>,
    /// Ways to sign in that are switched on here.
    pub login: Vec<LoginKind>,
    /// The Matrix homeserver beside this provider, where there is one.
    pub homeserver: Option<String>,
    /// The bot's Matrix user id, where there is a homeserver.
    pub bot: Option<String>,
}

/// What a group that is founded at a provider has to name of its hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HubKeys {
    /// The hub as MLS external sender (TLS `ExternalSender`).
    pub external_sender: B64,
    /// The franking agent (TLS `FrankingAgentData`).
    pub franking_agent: B64,
}

/// A way to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoginKind {
    /// A Matrix OpenID token of the homeserver beside this provider.
    MatrixOpenid,
    /// A token that `causeway user add` printed.
    LocalToken,
}

/// `POST /login`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LoginRequest {
    /// Answered by [`LoginResponse::Challenge`] the first time a device signs in: an OpenID token names no
    /// audience, so the device also has to repeat a nonce to the bot in a room of its own.
    MatrixOpenid {
        /// `access_token` of Matrix's `POST /user/{userId}/openid/request_token`.
        access_token: String,
        /// The device's name, `[A-Za-z0-9._-]`, 1 to 64 characters.
        device: String,
    },
    /// An account of a provider without a homeserver.
    LocalToken {
        /// Local part of the account's user URI.
        user: String,
        /// The secret that `causeway user add` printed.
        token: String,
        /// The device's name, `[A-Za-z0-9._-]`, 1 to 64 characters.
        device: String,
    },
}

/// What `POST /login` answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum LoginResponse {
    /// Signed in.
    Session(Session),
    /// Send `nonce` to `bot` as an event of type `org.causeway.login` with content `{"nonce": ...}` in a room
    /// with the bot, then repeat the same request.
    Challenge {
        /// What to repeat. Valid for ten minutes.
        nonce: String,
        /// Whom to send it to.
        bot: String,
    },
}

/// A signed-in device.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Bearer token of everything that follows.
    pub token: String,
    /// `mimi://provider/u/localpart`.
    pub user: String,
    /// `mimi://provider/d/localpart/device`: the identity of the client's MLS credential.
    pub client: String,
}

/// One device of the signed-in user (`GET /devices`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// The client URI.
    pub client: String,
    /// One-time KeyPackages left, of all suites.
    pub key_packages: u32,
    /// Whether a last-resort KeyPackage is there, of each suite that the device has any of.
    pub last_resort: bool,
    /// First sign-in, Unix ms.
    pub created_at: u64,
}

/// `POST /key_packages`: adds to the signed-in device's stock.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadKeyPackages {
    /// TLS `KeyPackage` structs (not wrapped in an MLSMessage).
    pub key_packages: Vec<B64>,
}

/// What `POST` and `GET /key_packages` answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyPackageStock {
    /// One-time KeyPackages left, unexpired, of all suites.
    pub available: u32,
    /// Whether a last-resort KeyPackage is there, of each suite that the device has any of.
    pub last_resort: bool,
    /// Whether one of them has been handed out: then it should be replaced.
    #[serde(default)]
    pub last_resort_used: bool,
    /// Whether the device should upload more one-time KeyPackages now, of any of these suites.
    #[serde(default)]
    pub low: bool,
    /// The same for each suite of which KeyPackages are taken, best first.
    #[serde(default)]
    pub suites: Vec<SuiteStock>,
}

/// The stock of KeyPackages of one cipher suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteStock {
    /// The MLS cipher suite.
    pub suite: u16,
    /// One-time KeyPackages left, unexpired.
    pub available: u32,
    /// Whether a last-resort KeyPackage is there.
    pub last_resort: bool,
    /// Whether it has been handed out.
    pub last_resort_used: bool,
}
