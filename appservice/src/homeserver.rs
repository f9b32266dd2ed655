//! The homeserver's client-server API, as the application service uses it: as the bot, and as ghosts.

use crate::matrix::client::{
    create_room, delete_alias, get_alias, get_state_event_for_key, invite_user, join_room_by_id, kick_user,
    leave_room, register, request_ping, send_message_event, send_state_event, update_device, whoami,
};
use crate::matrix::{
    AppserviceUserIdentity, AuthScheme, IncomingResponseExt, LoginType, MatrixVersion,
    MilliSecondsSinceUnixEpoch, OutgoingRequest, OutgoingRequestAppserviceExt, OutgoingRequestExt,
    OwnedDeviceId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, PathBuilder, Raw, SendAccessToken,
    SupportedVersions, UInt,
};
use crate::registration::Secret;
use crate::tokens::KeyRing;
use crate::{BOT_LOCALPART, bot_user_id};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

mod budget;
mod error;
mod ghosts;
mod media;
pub mod probe;
mod rooms;
pub mod timeline;
pub use budget::Endpoint;
pub use error::HomeserverError;
pub use ghosts::{GhostProfile, URI_FIELD};
pub use rooms::StateEvent;

use budget::Budgets;

/// Largest answer that is read.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Ghosts remembered at most; beyond that all are asked for anew.
const MOST_GHOSTS: usize = 100_000;

/// The bot's device. A homeserver remembers a transaction id only in memory for an application service, but in
/// its database for a device, so sending as a device keeps a repeat from doubling an event when both sides were
/// restarted.
const BOT_DEVICE: &str = "CAUSEWAY";

/// Where the homeserver is and who we are there.
#[derive(Clone, Debug)]
pub struct HomeserverSettings {
    /// Base of the client-server API, for example `http://127.0.0.1:8008`.
    pub url: String,
    /// Base of a listener with the resource `openid`; often the same.
    pub openid_url: String,
    /// The homeserver's name: what follows the colon in its users' ids.
    pub server_name: String,
    /// Id of our registration.
    pub appservice_id: String,
    /// What we present.
    pub tokens: KeyRing,
    /// For one request, from connecting to the last octet.
    pub timeout: Duration,
}

/// The homeserver. Cheap to clone.
#[derive(Clone)]
pub struct Homeserver(Arc<Inner>);

struct Inner {
    settings: HomeserverSettings,
    http: reqwest::Client,
    versions: SupportedVersions,
    bot: OwnedUserId,
    device: OwnedDeviceId,
    /// Whether the homeserver lets the bot act as its device.
    has_device: AtomicBool,
    budgets: Budgets,
    /// Ghosts that this process has seen to, with their profiles.
    ghosts: Mutex<HashMap<String, GhostProfile>>,
}

impl std::fmt::Debug for Homeserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Homeserver").field(&self.0.settings.url).finish()
    }
}

/// A user's membership in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// In the room.
    Join,
    /// Invited.
    Invite,
    /// Banned.
    Ban,
    /// Anything else, also never there.
    Out,
}

impl Homeserver {
    /// Sets the client up. Makes no request.
    pub fn new(settings: HomeserverSettings) -> Result<Self, HomeserverError> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5).min(settings.timeout))
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("causeway/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| HomeserverError::Setup(e.to_string()))?;
        let bot = OwnedUserId::try_from(bot_user_id(&settings.server_name))
            .map_err(|e| HomeserverError::Setup(format!("the homeserver's name: {e}")))?;
        // Every endpoint used here is in v3, which v1.1 brought; asking would cost a request and tell nothing.
        let versions = SupportedVersions {
            versions: [MatrixVersion::V1_1, MatrixVersion::V1_7, MatrixVersion::V1_16].into(),
            features: [].into(),
        };
        Ok(Self(Arc::new(Inner {
            settings,
            http,
            versions,
            bot,
            device: BOT_DEVICE.into(),
            has_device: AtomicBool::new(false),
            budgets: Budgets::new(),
            ghosts: Mutex::default(),
        })))
    }

    /// The homeserver's name.
    pub fn server_name(&self) -> &str {
        &self.0.settings.server_name
    }

    /// The bot's user id.
    pub fn bot(&self) -> &str {
        self.0.bot.as_str()
    }

    /// Makes sure that the bot and its device exist and that the token is the bot's. Repeatable.
    pub async fn ensure_bot(&self) -> Result<(), HomeserverError> {
        let mut request = register::v3::Request::new();
        request.username = Some(BOT_LOCALPART.to_owned());
        request.login_type = Some(LoginType::ApplicationService);
        // Without this an OAuth-only homeserver refuses; we never need an access token of the bot's own.
        request.inhibit_login = true;
        match self.call(request, As::Service).await {
            Ok(_) => tracing::info!(bot = self.bot(), "the bot is registered"),
            Err(error) if error.errcode() == Some("M_USER_IN_USE") => {}
            Err(error) => return Err(error),
        }
        let me = self.whose_token().await?;
        if me != self.bot() {
            return Err(HomeserverError::Setup(format!(
                "the homeserver says this token is {me}'s, not {}'s",
                self.bot()
            )));
        }
        self.ensure_device().await
    }

    async fn ensure_device(&self) -> Result<(), HomeserverError> {
        let mut device = update_device::v3::Request::new(self.0.device.clone());
        device.display_name = Some("Causeway".to_owned());
        match self.call(device, As::Service).await {
            Ok(_) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the homeserver gives the bot no device (MSC4190)");
                return Ok(());
            }
        }
        // Older homeservers take the parameter for none of theirs and say nothing.
        self.0.has_device.store(true, Ordering::Relaxed);
        let me = self.call(whoami::v3::Request::new(), As::Device).await;
        let taken = matches!(&me, Ok(answer) if answer.device_id.as_ref() == Some(&self.0.device));
        self.0.has_device.store(taken, Ordering::Relaxed);
        match me {
            Err(error) if error.is_transient() => return Err(error),
            _ if taken => {}
            _ => tracing::info!(
                "the homeserver doesn't let the bot act as its device (MSC4326), so it forgets transaction ids when it is \
                 restarted; the timeline is looked into before anything is repeated"
            ),
        }
        Ok(())
    }

    /// Whether the homeserver forgets transaction ids when it is restarted: it keeps them in its database for devices only.
    pub fn forgets(&self) -> bool {
        !self.0.has_device.load(Ordering::Relaxed)
    }

    /// Whose the homeserver takes our `as_token` to be.
    pub async fn whose_token(&self) -> Result<String, HomeserverError> {
        Ok(self
            .call(whoami::v3::Request::new(), As::Service)
            .await?
            .user_id
            .into())
    }

    /// Asks the homeserver to call our ping endpoint. Ends its back-off after an outage of ours. Answers with
    /// the time that its request to us took.
    pub async fn ping(&self) -> Result<Duration, HomeserverError> {
        let mut request = request_ping::v1::Request::new(self.0.settings.appservice_id.clone());
        request.transaction_id = Some("causeway-start".into());
        Ok(self.call(request, As::Service).await?.duration)
    }

    /// Makes a room.
    pub async fn create_room(
        &self,
        request: create_room::v3::Request,
    ) -> Result<OwnedRoomId, HomeserverError> {
        Ok(self.call(request, As::Service).await?.room_id)
    }

    /// The room behind an alias, if there is one.
    pub async fn resolve(&self, alias: &OwnedRoomAliasId) -> Result<Option<OwnedRoomId>, HomeserverError> {
        let request = get_alias::v3::Request::new(alias.clone());
        absent(self.call(request, As::Service).await.map(|answer| answer.room_id))
    }

    /// Removes an alias; one that isn't there is removed already.
    pub async fn delete_alias(&self, alias: &OwnedRoomAliasId) -> Result<(), HomeserverError> {
        absent(
            self.call(delete_alias::v3::Request::new(alias.clone()), As::Service)
                .await,
        )
        .map(|_| ())
    }

    /// The content of a state event, if it is there.
    pub async fn state(
        &self,
        room: &str,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Value>, HomeserverError> {
        let request = get_state_event_for_key::v3::Request::new(
            room_id(room)?,
            event_type.into(),
            state_key.to_owned(),
        );
        let answer = absent(self.call(request, As::Service).await)?;
        answer
            .map(|answer| serde_json::from_str(answer.event_or_content.get()))
            .transpose()
            .map_err(|e| HomeserverError::Answer(e.to_string()))
    }

    /// A user's membership in a room that the bot is in.
    pub async fn membership(&self, room: &str, user: &str) -> Result<Membership, HomeserverError> {
        let content = self.state(room, "m.room.member", user).await?;
        Ok(
            match content
                .as_ref()
                .and_then(|c| c.get("membership"))
                .and_then(Value::as_str)
            {
                Some("join") => Membership::Join,
                Some("invite") => Membership::Invite,
                Some("ban") => Membership::Ban,
                _ => Membership::Out,
            },
        )
    }

    /// Invites a user; one who is there or invited stays so.
    pub async fn invite(&self, room: &str, user: &str) -> Result<(), HomeserverError> {
        let recipient = invite_user::v3::InviteUserId::new(user_id(user)?);
        let request = invite_user::v3::Request::new(room_id(room)?, recipient.into());
        let Err(error) = self.call(request, As::Service).await else {
            return Ok(());
        };
        if error.status() != Some(403) {
            return Err(error);
        }
        // "Already in the room" has no error code of its own.
        match self.membership(room, user).await? {
            Membership::Join | Membership::Invite => Ok(()),
            _ => Err(error),
        }
    }

    /// Removes a user or takes the invitation back; one who isn't there is removed already.
    pub async fn kick(&self, room: &str, user: &str, reason: Option<&str>) -> Result<(), HomeserverError> {
        let mut request = kick_user::v3::Request::new(room_id(room)?, user_id(user)?);
        request.reason = reason.map(ToOwned::to_owned);
        let Err(error) = self.call(request, As::Service).await else {
            return Ok(());
        };
        if !matches!(error.status(), Some(403 | 404)) {
            return Err(error);
        }
        match self.membership(room, user).await? {
            Membership::Out | Membership::Ban => Ok(()),
            _ => Err(error),
        }
    }

    /// Sends an event as the bot. The same transaction id never makes two events. `at` becomes its
    /// `origin_server_ts` (Application Service API, "Timestamp massaging"). Answers with the event id.
    pub async fn send(
        &self,
        room: &str,
        event_type: &str,
        txn_id: &str,
        content: &Value,
        at: Option<u64>,
    ) -> Result<String, HomeserverError> {
        let content = Raw::from_json(to_raw(content)?);
        let mut request = send_message_event::v3::Request::new_raw(
            room_id(room)?,
            txn_id.into(),
            event_type.into(),
            content,
        );
        request.timestamp = at.and_then(UInt::new).map(MilliSecondsSinceUnixEpoch);
        match self.call(request.clone(), As::Device).await {
            // A homeserver that was restored from a backup knows nothing of a younger device.
            Err(error) if error.errcode() == Some("M_UNKNOWN_DEVICE") => {
                tracing::warn!("the homeserver has lost the bot's device; it is made again");
                self.0.has_device.store(false, Ordering::Relaxed);
                self.ensure_device().await?;
                Ok(self.call(request, As::Device).await?.event_id.into())
            }
            other => Ok(other?.event_id.into()),
        }
    }

    /// Sets a state event as the bot. The homeserver makes no new event where the content is there already.
    pub async fn set_state(
        &self,
        room: &str,
        event_type: &str,
        state_key: &str,
        content: &Value,
    ) -> Result<String, HomeserverError> {
        let content = Raw::from_json(to_raw(content)?);
        let request = send_state_event::v3::Request::new_raw(
            room_id(room)?,
            event_type.into(),
            state_key.to_owned(),
            content,
        );
        Ok(self.call(request, As::Service).await?.event_id.into())
    }

    /// The bot joins a room that it is invited to.
    pub async fn join(&self, room: &str) -> Result<(), HomeserverError> {
        self.call(join_room_by_id::v3::Request::new(room_id(room)?), As::Service)
            .await
            .map(|_| ())
    }

    /// The bot leaves a room or declines an invitation.
    pub async fn leave(&self, room: &str) -> Result<(), HomeserverError> {
        self.call(leave_room::v3::Request::new(room_id(room)?), As::Service)
            .await
            .map(|_| ())
    }

    /// Whose OpenID token this is (`sub`), asked of this homeserver alone; `None` if it knows no such token.
    pub async fn openid_subject(&self, token: &str) -> Result<Option<String>, HomeserverError> {
        #[derive(Deserialize)]
        struct UserInfo {
            sub: String,
        }
        let url = self.0.settings.openid_url.trim_end_matches('/');
        let url = format!("{url}/_matrix/federation/v1/openid/userinfo");
        let request = self
            .0
            .http
            .get(url)
            .query(&[("access_token", token)])
            .build()
            .map_err(|e| HomeserverError::Setup(e.to_string()))?;
        let answer = self.exchange(request).await?;
        match answer.status().as_u16() {
            200 => serde_json::from_slice::<UserInfo>(answer.body())
                .map(|info| Some(info.sub))
                .map_err(|e| HomeserverError::Answer(e.to_string())),
            401 => Ok(None),
            _ => Err(HomeserverError::from_answer(&answer)),
        }
    }

    async fn call<R>(&self, request: R, who: As<'_>) -> Result<R::IncomingResponse, HomeserverError>
    where
        R: OutgoingRequest + Clone,
        for<'a> R::Authentication: AuthScheme<Input<'a> = SendAccessToken<'a>>,
        for<'a> R::PathBuilder: PathBuilder<Input<'a> = Cow<'a, SupportedVersions>>,
    {
        let tokens = &self.0.settings.tokens;
        let token = tokens.as_token();
        let answer = self.ask(request.clone(), who, &token).await;
        // Its registration may be another than the one we read last.
        if let Err(error) = &answer
            && error.errcode() == Some("M_UNKNOWN_TOKEN")
            && let Some(other) = tokens.instead_of(&token)
        {
            let again = self.ask(request, who, &other).await;
            if !matches!(&again, Err(error) if error.errcode() == Some("M_UNKNOWN_TOKEN")) {
                tokens.taken(&other);
            }
            return again;
        }
        answer
    }

    async fn ask<R>(
        &self,
        request: R,
        who: As<'_>,
        token: &Secret,
    ) -> Result<R::IncomingResponse, HomeserverError>
    where
        R: OutgoingRequest,
        for<'a> R::Authentication: AuthScheme<Input<'a> = SendAccessToken<'a>>,
        for<'a> R::PathBuilder: PathBuilder<Input<'a> = Cow<'a, SupportedVersions>>,
    {
        let inner = &self.0;
        let (url, token) = (&inner.settings.url, SendAccessToken::Appservice(token.expose()));
        let versions = Cow::Borrowed(&inner.versions);
        let http_request = match who {
            As::Device if inner.has_device.load(Ordering::Relaxed) => {
                let mut identity = AppserviceUserIdentity::new(&inner.bot);
                identity.device_id = Some(&inner.device);
                request.try_into_http_request_with_identity::<Vec<u8>>(url, token, identity, versions)
            }
            As::User(user) => {
                let identity = AppserviceUserIdentity::new(user);
                request.try_into_http_request_with_identity::<Vec<u8>>(url, token, identity, versions)
            }
            As::Device | As::Service => request.try_into_http_request::<Vec<u8>>(url, token, versions),
        }
        .map_err(|e| HomeserverError::Setup(e.to_string()))?;
        let http_request =
            reqwest::Request::try_from(http_request).map_err(|e| HomeserverError::Setup(e.to_string()))?;
        let endpoint = Endpoint::of(http_request.method(), http_request.url().path());
        let answer = {
            let _permit = inner.budgets.enter(endpoint).await?;
            self.exchange(http_request).await?
        };
        if answer.status().as_u16() >= 300 {
            let error = HomeserverError::from_answer(&answer);
            if let HomeserverError::RateLimited { retry_after } = &error {
                inner.budgets.limited(endpoint, *retry_after);
            }
            return Err(error);
        }
        let (parts, body) = answer.into_parts();
        R::IncomingResponse::try_from_http_response(http::Response::from_parts(parts, body.as_slice()))
            .map_err(|e| HomeserverError::Answer(e.to_string()))
    }

    fn knows_ghost(&self, user: &str, profile: &GhostProfile) -> bool {
        let ghosts = self.0.ghosts.lock().unwrap_or_else(PoisonError::into_inner);
        ghosts.get(user) == Some(profile)
    }

    fn ghost_known(&self, user: &str, profile: &GhostProfile) {
        let mut ghosts = self.0.ghosts.lock().unwrap_or_else(PoisonError::into_inner);
        if ghosts.len() >= MOST_GHOSTS {
            ghosts.clear();
        }
        ghosts.insert(user.to_owned(), profile.clone());
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<http::Response<Vec<u8>>, HomeserverError> {
        // `without_url`: the URL of an OpenID look-up holds a token.
        let network = |e: reqwest::Error| HomeserverError::Network(chain(&e.without_url()));
        let mut response = self.0.http.execute(request).await.map_err(network)?;
        let mut answer = http::Response::new(Vec::new());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            if answer.body().len().saturating_add(chunk.len()) > MAX_ANSWER {
                return Err(HomeserverError::Answer(format!("more than {MAX_ANSWER} octets")));
            }
            answer.body_mut().extend_from_slice(&chunk);
        }
        Ok(answer)
    }
}

/// In which role a request is made.
#[derive(Clone, Copy)]
enum As<'a> {
    /// The application service, which is the bot.
    Service,
    /// The bot's device.
    Device,
    /// One of its ghosts.
    User(&'a OwnedUserId),
}

fn absent<T>(result: Result<T, HomeserverError>) -> Result<Option<T>, HomeserverError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.errcode() == Some("M_NOT_FOUND") => Ok(None),
        Err(error) => Err(error),
    }
}

fn room_id(room: &str) -> Result<OwnedRoomId, HomeserverError> {
    OwnedRoomId::try_from(room).map_err(|e| HomeserverError::Setup(format!("room id {room:?}: {e}")))
}

fn user_id(user: &str) -> Result<OwnedUserId, HomeserverError> {
    OwnedUserId::try_from(user).map_err(|e| HomeserverError::Setup(format!("user id {user:?}: {e}")))
}

fn to_raw(content: &Value) -> Result<Box<serde_json::value::RawValue>, HomeserverError> {
    serde_json::value::to_raw_value(content).map_err(|e| HomeserverError::Setup(e.to_string()))
}

/// An error with its causes: reqwest's own text says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
