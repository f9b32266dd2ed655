//! The client API of a Causeway provider: what a MIMI client and its own provider say to each other.
//!
//! Served below [`PREFIX`]. Bodies are JSON; octets are base64url without padding ([`B64`]); times are Unix
//! milliseconds. Every request but `GET /provider` and `POST /login` carries
//! `Authorization: Bearer <session token>`. Errors are [`ApiError`] with an HTTP status that fits.
//! A request that changes something may be repeated with the same octets: the first outcome comes back.
//! The OpenAPI description in `schemas/client-api.json` is made from these types.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /provider` | | [`ProviderInfo`] |
//! | `POST /login` | [`LoginRequest`] | [`LoginResponse`] |
//! | `POST /logout` | | 204; the token is void |
//! | `GET /devices` | | array of [`Device`] |
//! | `POST /key_packages` | [`UploadKeyPackages`] | [`KeyPackageStock`] |
//! | `GET /key_packages` | | [`KeyPackageStock`] |
//! | `GET /notices?since=&wait_ms=` | | [`Notices`] |
//! | `GET /consents` | | [`Consents`] |
//! | `POST /consents` | [`ConsentAct`] | [`Consents`] |
//! | `GET /settings` | | [`Settings`] |
//! | `PUT /settings` | [`NewSettings`] | [`Settings`] |
//! | `POST /search` | [`SearchRequest`] | [`SearchAnswer`] |
//! | `POST /rooms` | [`CreateRoom`] | [`RoomSummary`] |
//! | `GET /rooms` | | array of [`RoomSummary`] |
//! | `POST /rooms/{room}/claims` | [`ClaimRequest`] | [`HubAnswer`] |
//! | `POST /rooms/{room}/update` | [`UpdateRequest`] | [`HubAnswer`] |
//! | `POST /rooms/{room}/group_info` | [`GroupInfoQuery`] | [`HubAnswer`] |
//! | `POST /rooms/{room}/messages` | [`SubmitMessage`] | [`SubmissionStatus`] |
//! | `GET /rooms/{room}/log?from=&limit=&wait_ms=` | | [`LogPage`] |
//! | `PUT /rooms/{room}/card` | [`RoomCard`] | 204 |
//! | `PUT /wake` | [`SetWake`] | 204 |
//! | `GET /wishes` | | array of [`Wish`] |
//! | `POST /wishes/{id}` | [`WishOutcome`] | 204 |
//! | `POST /rooms/{room}/reports` | [`ReportAbuse`] | 204 |
//! | `POST /assets` | octets | [`AssetRef`] |
//! | `GET /rooms/{room}/assets?url=` | | octets |
//! | `GET /rooms/{room}/ohttp` | | `application/ohttp-keys` of the hub's gateway |
//! | `POST /rooms/{room}/ohttp` | `message/ohttp-req` | `message/ohttp-res` |
//! | `PUT /blobs` | octets | [`BlobRef`] |
//! | `GET /blobs/{sha256}` | | octets |
//!
//! `{room}` is the room URI, percent-encoded as one path segment. Every 2xx counts as success.
//!
//! MIMI leaves the way between a client and its own provider open (draft-ietf-mimi-arch section 4), so this is
//! Causeway's own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The path below which everything here is served.
pub const PREFIX: &str = "/_causeway/client/v1";

/// Octets, base64url without padding in JSON.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct B64(pub Vec<u8>);

impl std::fmt::Debug for B64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "B64({} octets)", self.0.len())
    }
}

impl From<Vec<u8>> for B64 {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Serialize for B64 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for B64 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        URL_SAFE_NO_PAD
            .decode(text.as_bytes())
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for B64 {
    fn schema_name() -> Cow<'static, str> {
        "Base64Url".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Za-z0-9_-]*$", "contentEncoding": "base64url"})
    }
}

/// `GET /provider`: what a client must know before it makes a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderInfo {
    /// The provider's domain, for example `a.example`.
    pub provider: String,
    /// The hub as MLS external sender (TLS `ExternalSender`), to be put into every group founded here.
    pub external_sender: B64,
    /// The franking agent (TLS `FrankingAgentData`, protocol-06 section 5.4.1) for groups founded here.
    pub franking_agent: B64,
    /// MLS cipher suites this provider judges, best first.
    pub cipher_suites: Vec<u16>,
    /// Ways to sign in that are switched on here.
    pub login: Vec<LoginKind>,
    /// The Matrix homeserver beside this provider, where there is one.
    pub homeserver: Option<String>,
    /// The bot's Matrix user id, where there is a homeserver.
    pub bot: Option<String>,
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
    /// One-time KeyPackages left.
    pub key_packages: u32,
    /// Whether a last-resort KeyPackage is there.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyPackageStock {
    /// One-time KeyPackages left, unexpired.
    pub available: u32,
    /// Whether a last-resort KeyPackage is there.
    pub last_resort: bool,
    /// Whether it has been handed out: then it should be replaced.
    #[serde(default)]
    pub last_resort_used: bool,
    /// Whether the device should upload more one-time KeyPackages now.
    #[serde(default)]
    pub low: bool,
}

/// `GET /notices?since=&wait_ms=`: what waits for this user or device, whatever the room. With `since` it answers as soon
/// as `version` is another than that, after `wait_ms` at the latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notices {
    /// Another number whenever what follows is something else. Below 2^53, without order.
    pub version: u64,
    /// Consent requests that wait for the user's answer.
    pub consent_requests: Vec<Consent>,
    /// The user's own requests, and what others have said.
    pub consents_of_others: Vec<Consent>,
    /// This device's KeyPackages.
    pub key_packages: KeyPackageStock,
}

/// Where a consent stands (protocol-06 sections 5.7 and 8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Consent {
    /// The other user.
    pub user: String,
    /// For this room only; absent: for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// How it stands.
    pub state: ConsentState,
    /// Since when, Unix ms.
    pub at: u64,
    /// Why the other provider doesn't take the request, with [`ConsentState::Failed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a consent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsentState {
    /// Asked for; of others: not yet with the other provider.
    Asked,
    /// Of others: the other provider has the request. It doesn't say whether there is such a user, or whether it looked.
    Delivered,
    /// Of others: the other provider doesn't take it.
    Failed,
    /// Given.
    Granted,
    /// Refused or taken back.
    Refused,
}

/// `GET /consents`, and what `POST /consents` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Consents {
    /// Whether others may add this user to rooms.
    pub of_me: Vec<Consent>,
    /// Whether this user may add others.
    pub of_others: Vec<Consent>,
}

/// `POST /consents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsentAct {
    /// What is done.
    pub act: ConsentVerb,
    /// The other user's URI.
    pub user: String,
    /// For this room only; absent: for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// With [`ConsentVerb::Refuse`]: whether the other is told. Usually it should not be.
    #[serde(default)]
    pub tell: bool,
}

/// What is done to a consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsentVerb {
    /// Ask the other for consent.
    Request,
    /// Take the request back.
    Cancel,
    /// Let the other add this user, asked or not.
    Grant,
    /// Don't, or not any more.
    Refuse,
    /// Forget what was asked and answered about the other's adding this user.
    Forget,
}

/// Whose requests for KeyPackages need the user's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsentRequiredOf {
    /// Those of users of other providers.
    Foreign,
    /// Everybody's.
    Everybody,
    /// Nobody's: who was not refused may add the user.
    Nobody,
}

/// How others may search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMode {
    /// Not at all.
    Off,
    /// By whole values.
    Exact,
    /// Also by parts of values.
    Partial,
}

/// `GET /settings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// The user's choice; absent: as the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_required_of: Option<ConsentRequiredOf>,
    /// What the provider says.
    pub provider_requires_of: ConsentRequiredOf,
    /// How the provider lets others search.
    pub provider_search: SearchMode,
    /// The profile.
    pub profile: Vec<ProfileField>,
}

/// `PUT /settings`: replaces all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewSettings {
    /// The user's choice; absent: as the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_required_of: Option<ConsentRequiredOf>,
    /// The profile.
    pub profile: Vec<ProfileField>,
}

/// A field of the user's profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileField {
    /// Vocabulary of the name.
    pub vocabulary: Vocabulary,
    /// A standard claim of OpenID Connect, or a vCard property in capitals.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether others find the user by it.
    #[serde(default)]
    pub search: Searchable,
    /// Whether others see it once they have found the user.
    #[serde(default)]
    pub shown: bool,
}

/// Vocabulary of a field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vocabulary {
    /// OpenID Connect Core section 5.1.
    Oidc,
    /// RFC 6350.
    Vcard,
}

/// How a field may be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Searchable {
    /// Not at all.
    #[default]
    No,
    /// By its whole value.
    Exact,
    /// Also by part of it, where the provider lets others search so.
    Partial,
}

/// `POST /search`: looks for users at a provider (protocol-06 section 5.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchRequest {
    /// The provider's domain.
    pub provider: String,
    /// All have to match.
    pub elements: Vec<SearchElement>,
}

/// One thing that has to match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchElement {
    /// What is compared.
    pub by: SearchBy,
    /// Name of the claim or property, with [`SearchBy::OidcClaim`] and [`SearchBy::VcardField`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// With what.
    pub value: String,
}

/// What a search compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchBy {
    /// A whole handle URI, such as `im:alice@a.example`.
    Handle,
    /// A nickname, or the user part of a handle.
    Nick,
    /// A mail address.
    Email,
    /// A telephone number with `+`.
    Phone,
    /// Part of a name.
    PartialName,
    /// Part of any field.
    WholeProfile,
    /// A claim of OpenID Connect.
    OidcClaim,
    /// A vCard property.
    VcardField,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchAnswer {
    /// How the provider answered.
    pub result: SearchResult,
    /// Whom it found.
    pub found: Vec<FoundUser>,
}

/// How a search was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchResult {
    /// Somebody was found.
    Success,
    /// Nobody, or nobody who wants to be found so.
    NotFound,
    /// Too many match, or only whole values are compared there.
    Ambiguous,
    /// The provider doesn't answer such a search.
    Forbidden,
    /// It has no such field.
    UnsupportedField,
}

/// A user that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundUser {
    /// The user's URI.
    pub user: String,
    /// What it shows.
    pub fields: Vec<FoundField>,
}

/// A field that a found user shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundField {
    /// Vocabulary of the name.
    pub vocabulary: Vocabulary,
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// `POST /rooms`: founds a room of which this provider is the hub.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateRoom {
    /// `mimi://provider/r/...`, chosen by the client (random), the same as in the group's room metadata.
    pub room: String,
    /// The group's first signed GroupInfo, without the tree.
    pub group_info: B64,
    /// The ratchet tree (TLS body of the `ratchet_tree` extension).
    pub ratchet_tree: B64,
}

/// A room as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoomSummary {
    /// The room URI.
    pub room: String,
    /// The hub's domain.
    pub hub: String,
    /// Its name, where known.
    pub name: Option<String>,
    /// MLS group id.
    pub group_id: B64,
    /// Newest epoch this provider knows.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub epoch: u64,
    /// The portal's Matrix room id, where there is one.
    pub portal: Option<String>,
    /// First position of the feed this user may read.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub first: u64,
    /// Position after the newest entry.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub next: u64,
    /// Whether this user still takes part.
    pub joined: bool,
}

/// `POST /rooms/{room}/claims`: fetch KeyPackages of a user to add to the room, through the room's hub.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClaimRequest {
    /// TLS `KeyMaterialRequest`, signed by the client (protocol-06 section 5.2).
    pub request: B64,
}

/// A TLS response struct of the hub, passed through: `KeyMaterialResponse`, `UpdateRoomResponse`,
/// `GroupInfoResponse`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HubAnswer {
    /// The TLS struct.
    pub response: B64,
}

/// `POST /rooms/{room}/update`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UpdateRequest {
    /// TLS `HandshakeBundle` (protocol-06 section 5.3).
    pub bundle: B64,
}

/// `POST /rooms/{room}/group_info`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GroupInfoQuery {
    /// TLS `GroupInfoRequest` (protocol-06 section 5.6).
    pub request: B64,
}

/// `POST /rooms/{room}/messages`: submits an application message. A Matrix user's client may instead put the
/// same JSON, as content of an `org.causeway.message` event, into the portal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SubmitMessage {
    /// The client's own id for it, 1 to 64 characters of `[A-Za-z0-9._-]`. A message that was refused for its epoch
    /// is encrypted anew under the same id.
    pub id: String,
    /// TLS MLSMessage holding a PrivateMessage.
    pub message: B64,
}

/// How a submission stands: answer of `POST /rooms/{room}/messages`, content of `org.causeway.status` events in the
/// portal, and a feed entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubmissionStatus {
    /// The client's id of the message.
    pub id: String,
    /// Where it stands.
    #[serde(flatten)]
    pub state: SubmissionState,
}

/// State of a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SubmissionState {
    /// Durable here, not yet with the hub.
    Queued,
    /// Accepted by the hub.
    Accepted {
        /// Acceptance time, Unix ms. In a feed it stands beside the entry's own `at`.
        #[serde(rename = "accepted_at", with = "decimal")]
        #[schemars(with = "String")]
        at: u64,
        /// TLS `Frank` (protocol-06 section 5.4.1), where the room has a franking agent.
        frank: Option<B64>,
    },
    /// Refused for good; nothing was distributed.
    Refused {
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        reason: String,
        /// The epoch to encrypt for, when the epoch was the reason.
        #[serde(default, with = "decimal_opt", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        current_epoch: Option<u64>,
    },
}

/// Why a submission was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The message's epoch has passed: encrypt again.
    EpochTooOld,
    /// Not permitted: no participant, no capability, an epoch the hub doesn't know.
    NotAllowed,
    /// Not an application message of this room's group.
    Malformed,
    /// There is no such room.
    UnknownRoom,
}

/// `GET /rooms/{room}/log?from=&limit=&wait_ms=`: one page of a room's feed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogPage {
    /// Entries from `from` on, in the hub's order.
    pub entries: Vec<FeedEntry>,
    /// Where to go on.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub next: u64,
}

/// One entry of a room's feed. The feed decides order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedEntry {
    /// Position in the feed, from 1 on, without gaps.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub pos: u64,
    /// The hub's acceptance time, Unix ms.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub at: u64,
    /// The carrier event of this provider's graph that holds it, where it is one.
    pub event_id: Option<String>,
    /// What it is.
    #[serde(flatten)]
    pub item: FeedItem,
}

/// What a feed entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FeedItem {
    /// A Welcome; shown only to users whose clients it is for.
    Welcome {
        /// MLSMessage holding the Welcome.
        message: B64,
        /// TLS `RatchetTreeOption` that goes with it.
        ratchet_tree: B64,
    },
    /// A commit that the hub accepted.
    Commit {
        /// MLSMessage holding the PublicMessage.
        message: B64,
        /// Proposals of the hub to be cached for the new epoch (MLSMessages).
        external_proposals: Vec<B64>,
    },
    /// Proposals that the hub accepted; the next commit has to contain them.
    Proposals {
        /// MLSMessages holding PublicMessages, an atomic list.
        messages: Vec<B64>,
    },
    /// An application message.
    Message {
        /// MLSMessage holding the PrivateMessage.
        message: B64,
        /// TLS `Frank`, where the hub franked it.
        frank: Option<B64>,
    },
    /// A submission of one of this user's own clients; shown only to that user.
    Status(SubmissionStatus),
    /// Somebody asked in the portal for what only a client of this user's can do. Also in `GET /wishes`, as long as it
    /// is open.
    Wish(Wish),
}

/// Something that was asked for on the Matrix side and that only an MLS client can do (`GET /wishes`). A request, never
/// an order: whoever controls a homeserver can make one up. A client shows it to its user before it lets anybody in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wish {
    /// Its id.
    pub id: String,
    /// When it was made, Unix ms.
    #[serde(rename = "made_at", with = "decimal")]
    #[schemars(with = "String")]
    pub at: u64,
    /// The room it is about; none for a new one.
    pub room: Option<String>,
    /// The Matrix room in which it was asked for; empty where there is none to answer in.
    pub asked_in: String,
    /// What is wished for.
    #[serde(flatten)]
    pub want: Want,
}

/// What is wished for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "want", rename_all = "snake_case")]
pub enum Want {
    /// Found a room and add these users.
    Start {
        /// User URIs.
        users: Vec<String>,
        /// The room's name.
        name: Option<String>,
    },
    /// Add a user to the room.
    Add {
        /// The user's URI.
        user: String,
    },
    /// Take a user out of the room.
    Remove {
        /// The user's URI.
        user: String,
    },
    /// Take a user out and keep them out.
    Ban {
        /// The user's URI.
        user: String,
    },
    /// Let a banned user in again.
    Unban {
        /// The user's URI.
        user: String,
    },
    /// Give a user another role.
    SetRole {
        /// The user's URI.
        user: String,
        /// The role's index.
        role: u32,
    },
    /// Change the room's name.
    Rename {
        /// The name.
        name: String,
    },
    /// Change the room's subject.
    SetTopic {
        /// The subject.
        topic: String,
    },
    /// Change the room's picture.
    SetPicture {
        /// Its `https` address; empty: none.
        address: String,
    },
    /// Leave the room.
    Leave,
}

impl Want {
    /// In words, for people: "add mimi://b.example/u/bob".
    pub fn words(&self) -> String {
        match self {
            Self::Start { users, .. } => format!("start a chat with {}", users.join(", ")),
            Self::Add { user } => format!("add {user}"),
            Self::Remove { user } => format!("remove {user}"),
            Self::Ban { user } => format!("ban {user}"),
            Self::Unban { user } => format!("unban {user}"),
            Self::SetRole { user, role } => format!("give {user} role {role}"),
            Self::Rename { name } => format!("rename the room to {name:?}"),
            Self::SetTopic { topic } => format!("set the topic to {topic:?}"),
            Self::SetPicture { address } if address.is_empty() => "take the room's picture away".to_owned(),
            Self::SetPicture { address } => format!("set the room's picture to {address}"),
            Self::Leave => "leave the room".to_owned(),
        }
    }
}

/// `POST /wishes/{id}`: what became of a wish. Whoever wished is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum WishOutcome {
    /// Done.
    Done {
        /// The room, where one was founded.
        #[serde(default)]
        room: Option<String>,
    },
    /// Not done, for good.
    Declined {
        /// Why, for people.
        reason: String,
    },
}

/// `PUT /rooms/{room}/card`: what a member knows of a room whose hub is elsewhere, for the portal to show. A provider
/// that follows a room can't read this itself. It tells the own provider the participants, their roles, the name, the
/// subject and the picture's address, which the hub knows anyway; nothing is judged by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoomCard {
    /// The epoch it is of.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub epoch: u64,
    /// The room's name.
    pub name: Option<String>,
    /// Its subject.
    pub topic: Option<String>,
    /// The `https` address of its picture.
    #[serde(default)]
    pub picture: Option<String>,
    /// The data of the component `roles_list`.
    pub roles: Option<B64>,
    /// User URIs with role indices.
    pub participants: Vec<CardParticipant>,
}

/// `PUT /wake`: have this client woken over the homeserver. There is something in a feed: it gets a to-device event
/// `org.causeway.wake` with `room` and `pos`, for a Welcome also with the Welcome, at most every five seconds for a room.
/// It is a hint: after one, follow the feed for ten seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetWake {
    /// The Matrix device of this user that is to get the events; none to get no more.
    pub matrix_device: Option<String>,
}

/// A participant on a [`RoomCard`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CardParticipant {
    /// The user's URI.
    pub user: String,
    /// The role's index.
    pub role: u32,
}

/// `POST /rooms/{room}/reports`: reports abuse to the room's hub.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReportAbuse {
    /// TLS `AbuseReport` (protocol-06 section 5.9); `reportingUser` is the caller or empty.
    pub report: B64,
}

/// `POST /assets`: keeps what the client has encrypted, for a message that names its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetRef {
    /// Where it is, for the external part of the message.
    pub url: String,
    /// Octets.
    pub size: u64,
}

/// `PUT /blobs`: stores octets too large for a portal event, answered with their hash. `GET /blobs/{sha256}` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobRef {
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Octets.
    pub size: u64,
}

/// Every error of the client API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiError {
    /// For programs.
    pub code: ApiErrorCode,
    /// For people: cause and remedy.
    pub error: String,
    /// Milliseconds after which a repeat makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Codes of [`ApiError`], with the HTTP status each goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiErrorCode {
    /// 400: the body is not what this endpoint takes.
    Malformed,
    /// 401: no or an unknown session token, or a wrong sign-in secret.
    Unauthorized,
    /// 403: known, but not permitted.
    Forbidden,
    /// 404: no such thing, or nothing that this user may see.
    NotFound,
    /// 409: exists already with other content.
    Conflict,
    /// 413: larger than the limit.
    TooLarge,
    /// 429: too many requests; `retry_after_ms` says when.
    RateLimited,
    /// 503: the hub or the store can't answer now; repeat the same request after `retry_after_ms`.
    Unavailable,
    /// 500: a fault of this provider.
    Internal,
}

impl ApiErrorCode {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

/// u64 as a decimal string: JSON numbers end at 2^53.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer};
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    pub(super) fn serialize<S: Serializer>(v: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(v)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The same, optional.
mod decimal_opt {
    use serde::{Deserialize, Deserializer, Serializer};
    #[allow(clippy::ref_option)] // serde's signature
    pub(super) fn serialize<S: Serializer>(v: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match v {
            Some(v) => s.collect_str(v),
            None => s.serialize_none(),
        }
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        Option::<String>::deserialize(d)?
            .map(|v| v.parse().map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_status_in_a_feed_reads_back() {
        let states = [
            SubmissionState::Queued,
            SubmissionState::Accepted {
                at: 7,
                frank: Some(B64(vec![1])),
            },
            SubmissionState::Refused {
                code: RefusalCode::EpochTooOld,
                reason: "old".into(),
                current_epoch: Some(u64::MAX),
            },
        ];
        for state in states {
            let item = FeedItem::Status(SubmissionStatus {
                id: "1".into(),
                state,
            });
            let entry = FeedEntry {
                pos: 3,
                at: 9,
                event_id: None,
                item,
            };
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<FeedEntry>(&text).unwrap(), entry);
        }
    }
}
