//! The little of Matrix's client-server API that an opaque room's client needs: signing in, proving to the
//! provider's bot who it is, and putting submissions into a portal.

use crate::state::MatrixSession;
use crate::transport::{Backoff, TransportError, http_client, unreachable};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Event type by which a device repeats the sign-in nonce.
const LOGIN_EVENT: &str = "org.causeway.login";
/// Event type of a submission.
pub(crate) const MESSAGE_EVENT: &str = "org.causeway.message";
/// How long the bot may take to come into the room it is invited to, in polls of half a second.
const BOT_POLLS: u32 = 60;

/// An account on a homeserver.
#[derive(Clone)]
pub struct Matrix {
    client: Client,
    session: MatrixSession,
    backoff: Backoff,
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matrix")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

fn failed(what: &str, why: impl std::fmt::Display) -> TransportError {
    TransportError::Matrix(format!("{what}: {why}"))
}

fn encode(segment: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(segment, SEGMENT)
}

fn text<'a>(answer: &'a Value, key: &str) -> Result<&'a str, TransportError> {
    answer
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| failed("answer", format!("no {key} in it")))
}

impl Matrix {
    /// Takes up a session again.
    pub fn resume(session: MatrixSession, ca_file: Option<&Path>) -> Result<Self, TransportError> {
        let client = http_client(ca_file).map_err(|e| failed("set up", e))?;
        Ok(Self {
            client,
            session,
            backoff: Backoff::default(),
        })
    }

    /// Signs in with a password.
    pub async fn login(
        homeserver: &str,
        user: &str,
        password: &str,
        device: &str,
        ca_file: Option<&Path>,
    ) -> Result<Self, TransportError> {
        let empty = MatrixSession {
            homeserver: homeserver.trim_end_matches('/').into(),
            user_id: String::new(),
            access_token: String::new(),
            ca_file: ca_file.map(|p| p.display().to_string()),
        };
        let mut matrix = Self::resume(empty, ca_file)?;
        let body = json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
            "initial_device_display_name": format!("Causeway client {device}"),
        });
        let answer = matrix.call(Method::POST, "/login", Some(&body)).await?;
        matrix.session.user_id = text(&answer, "user_id")?.into();
        matrix.session.access_token = text(&answer, "access_token")?.into();
        Ok(matrix)
    }

    /// What has to be kept to resume.
    pub fn session(&self) -> &MatrixSession {
        &self.session
    }

    /// An OpenID token, by which the provider learns who we are.
    pub async fn openid_token(&self) -> Result<String, TransportError> {
        let path = format!("/user/{}/openid/request_token", encode(&self.session.user_id));
        let answer = self.call(Method::POST, &path, Some(&json!({}))).await?;
        Ok(text(&answer, "access_token")?.into())
    }

    /// Repeats the provider's nonce in a room with its bot. The bot has to be in the room first: an application
    /// service is not shown what was said before.
    pub async fn prove(&self, bot: &str, nonce: &str) -> Result<(), TransportError> {
        let body = json!({
            "is_direct": true,
            "preset": "trusted_private_chat",
            "invite": [bot],
            "name": "Causeway sign-in",
        });
        let answer = self.call(Method::POST, "/createRoom", Some(&body)).await?;
        let room = text(&answer, "room_id")?;
        let members = format!("/rooms/{}/joined_members", encode(room));
        for poll in 0.. {
            let answer = self.call(Method::GET, &members, None::<&()>).await?;
            if answer
                .get("joined")
                .is_some_and(|joined| joined.get(bot).is_some())
            {
                break;
            }
            if poll >= BOT_POLLS {
                return Err(failed(
                    bot,
                    "did not come into the room; is the application service registered?",
                ));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.send(room, LOGIN_EVENT, nonce, &json!({"nonce": nonce}))
            .await
            .map(drop)
    }

    /// Joins a room this account is invited to.
    pub async fn join(&self, room: &str) -> Result<(), TransportError> {
        let path = format!("/join/{}", encode(room));
        self.call(Method::POST, &path, Some(&json!({}))).await.map(drop)
    }

    /// Sends an event, joining the room where that was the obstacle. The same transaction id never sends twice.
    pub async fn send(
        &self,
        room: &str,
        kind: &str,
        transaction: &str,
        content: &(impl Serialize + Sync),
    ) -> Result<String, TransportError> {
        let path = format!(
            "/rooms/{}/send/{}/{}",
            encode(room),
            encode(kind),
            encode(transaction)
        );
        let answer = match self.call(Method::PUT, &path, Some(content)).await {
            Err(TransportError::Matrix(why)) if why.starts_with("M_FORBIDDEN") => {
                self.join(room).await?;
                self.call(Method::PUT, &path, Some(content)).await?
            }
            other => other?,
        };
        Ok(text(&answer, "event_id")?.into())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Value, TransportError> {
        let url = format!("{}/_matrix/client/v3{path}", self.session.homeserver);
        let mut attempt = 0;
        loop {
            let mut request = self.client.request(method.clone(), &url);
            if !self.session.access_token.is_empty() {
                request = request.bearer_auth(&self.session.access_token);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let (pause, why) = match request.send().await {
                Err(error) => (None, unreachable(error)),
                Ok(response) => {
                    let status = response.status();
                    let answer: Value = response.json().await.unwrap_or(Value::Null);
                    if status.is_success() {
                        return Ok(answer);
                    }
                    let code = answer.get("errcode").and_then(Value::as_str).unwrap_or("no code");
                    let said = answer.get("error").and_then(Value::as_str).unwrap_or_default();
                    let why = TransportError::Matrix(format!("{code}: {said} (HTTP status {status})"));
                    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
                        return Err(why);
                    }
                    let asked = answer.get("retry_after_ms").and_then(Value::as_u64);
                    (asked.map(Duration::from_millis), why)
                }
            };
            if attempt + 1 >= self.backoff.attempts {
                return Err(why);
            }
            tokio::time::sleep(self.backoff.pause(attempt, pause)).await;
            attempt += 1;
        }
    }
}
