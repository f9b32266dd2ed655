//! Between people, whatever the room: consent, what others may find, and what waits for whom.

use super::account::KeyPackageStock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
