//! A Matrix user, as far as tests need one: an account, rooms, events.

use crate::{Context as _, Failure, Result};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// An HTTP client for loopback.
pub fn http() -> Result<reqwest::Client> {
    crate::install_tls();
    reqwest::Client::builder()
        .timeout(Duration::from_mins(1))
        .no_proxy()
        .build()
        .context("making an HTTP client")
}

/// A signed-in user.
#[derive(Clone, Debug)]
pub struct User {
    http: reqwest::Client,
    url: String,
    token: String,
    /// The full user id.
    pub id: String,
}

/// One path segment.
fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

impl User {
    /// Makes an account and signs in.
    pub async fn register(url: &str, localpart: &str, password: &str) -> Result<Self> {
        let mut user = Self {
            http: http()?,
            url: url.to_owned(),
            token: String::new(),
            id: String::new(),
        };
        let body = json!({"username": localpart, "password": password, "auth": {"type": "m.login.dummy"}});
        let answer = user
            .call(Method::POST, "/_matrix/client/v3/register", Some(body))
            .await?;
        user.signed_in(&answer)
    }

    /// Signs in.
    pub async fn login(url: &str, localpart: &str, password: &str) -> Result<Self> {
        let mut user = Self {
            http: http()?,
            url: url.to_owned(),
            token: String::new(),
            id: String::new(),
        };
        let body = json!({
            "type": "m.login.password", "password": password,
            "identifier": {"type": "m.id.user", "user": localpart},
        });
        let answer = user
            .call(Method::POST, "/_matrix/client/v3/login", Some(body))
            .await?;
        user.signed_in(&answer)
    }

    fn signed_in(&mut self, answer: &Value) -> Result<Self> {
        let field = |name: &str| answer.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        self.token = field("access_token").context("an access token")?;
        self.id = field("user_id").context("a user id")?;
        Ok(self.clone())
    }

    /// One call; an answer that isn't a success is a failure with its text.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let doing = format!("{method} {path}");
        let answer = request.send().await.context(&doing)?;
        let status = answer.status();
        let text = answer.text().await.context(&doing)?;
        if !status.is_success() {
            return Err(Failure(format!("{doing}: {status} {text}")));
        }
        serde_json::from_str(&text).context(&doing)
    }

    /// Uploads a file; answers with its `mxc:` URI.
    pub async fn upload(&self, octets: &[u8], content_type: &str) -> Result<String> {
        let doing = "uploading a file";
        let url = format!("{}/_matrix/media/v3/upload", self.url);
        let request = self.http.post(url).bearer_auth(&self.token);
        let request = request.header("content-type", content_type).body(octets.to_vec());
        let answer: Value = request.send().await.context(doing)?.json().await.context(doing)?;
        let uri = answer.get("content_uri").and_then(Value::as_str);
        uri.map(ToOwned::to_owned).context("the address of a file")
    }

    /// Gets octets.
    pub async fn octets(&self, path: &str) -> Result<Vec<u8>> {
        let request = self.http.get(format!("{}{path}", self.url));
        let answer = request.bearer_auth(&self.token).send().await.context(path)?;
        let answer = answer.error_for_status().context(path)?;
        Ok(answer.bytes().await.context(path)?.to_vec())
    }

    /// Makes a private room with somebody.
    pub async fn create_room(&self, invite: &[&str]) -> Result<String> {
        let body = json!({"preset": "trusted_private_chat", "is_direct": true, "invite": invite});
        let answer = self
            .call(Method::POST, "/_matrix/client/v3/createRoom", Some(body))
            .await?;
        answer
            .get("room_id")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
            .context("a room id")
    }

    /// Joins a room.
    pub async fn join(&self, room: &str) -> Result<()> {
        let path = format!("/_matrix/client/v3/join/{}", segment(room));
        self.call(Method::POST, &path, Some(json!({}))).await.map(drop)
    }

    /// Sends an event; answers with its id.
    pub async fn send(&self, room: &str, event_type: &str, txn_id: &str, content: Value) -> Result<String> {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/send/{}/{}",
            segment(room),
            segment(event_type),
            segment(txn_id)
        );
        let answer = self.call(Method::PUT, &path, Some(content)).await?;
        answer
            .get("event_id")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
            .context("an event id")
    }

    /// Redacts an event.
    pub async fn redact(&self, room: &str, event: &str) -> Result<()> {
        let (room, event) = (segment(room), segment(event));
        let path = format!("/_matrix/client/v3/rooms/{room}/redact/{event}/redact-{event}");
        self.call(Method::PUT, &path, Some(json!({}))).await.map(drop)
    }

    /// The content of a state event.
    pub async fn state(&self, room: &str, event_type: &str, state_key: &str) -> Result<Value> {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/state/{}/{}",
            segment(room),
            segment(event_type),
            segment(state_key)
        );
        self.call(Method::GET, &path, None).await
    }

    /// Joins a room through a server.
    pub async fn join_via(&self, room: &str, server: &str) -> Result<()> {
        let (room, server) = (segment(room), segment(server));
        let path = format!("/_matrix/client/v3/join/{room}?server_name={server}&via={server}");
        self.call(Method::POST, &path, Some(json!({}))).await.map(drop)
    }

    /// Sets a state event; answers with its id.
    pub async fn set_state(
        &self,
        room: &str,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> Result<String> {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/state/{}/{}",
            segment(room),
            segment(event_type),
            segment(state_key)
        );
        let answer = self.call(Method::PUT, &path, Some(content)).await?;
        answer
            .get("event_id")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
            .context("an event id")
    }

    /// The room's state: type and state key to event id.
    pub async fn room_state(&self, room: &str) -> Result<BTreeMap<(String, String), String>> {
        let path = format!("/_matrix/client/v3/rooms/{}/state", segment(room));
        let answer = self.call(Method::GET, &path, None).await?;
        let text = |e: &Value, name: &str| e.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let entries = answer.as_array().context("a room's state")?;
        Ok(entries
            .iter()
            .map(|e| ((text(e, "type"), text(e, "state_key")), text(e, "event_id")))
            .collect())
    }

    /// The ids of the events that are a room's state at an event.
    pub async fn state_at(&self, room: &str, event: &str) -> Result<BTreeSet<String>> {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/context/{}?limit=0",
            segment(room),
            segment(event)
        );
        let context = self.call(Method::GET, &path, None).await?;
        let state = context.get("state").and_then(Value::as_array);
        Ok(state
            .context("the state at an event")?
            .iter()
            .filter_map(|event| Some(event.get("event_id")?.as_str()?.to_owned()))
            .collect())
    }

    /// The newest events of a room, oldest first.
    pub async fn messages(&self, room: &str, limit: u32) -> Result<Vec<Value>> {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/messages?dir=b&limit={limit}",
            segment(room)
        );
        let answer = self.call(Method::GET, &path, None).await?;
        let mut events = answer
            .get("chunk")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        events.reverse();
        Ok(events)
    }

    /// Ids of the rooms that this user is invited to.
    pub async fn invites(&self) -> Result<Vec<String>> {
        let sync = self
            .call(Method::GET, "/_matrix/client/v3/sync?timeout=0", None)
            .await?;
        let invites = sync
            .get("rooms")
            .and_then(|r| r.get("invite"))
            .and_then(Value::as_object);
        Ok(invites
            .map(|rooms| rooms.keys().cloned().collect())
            .unwrap_or_default())
    }
}

/// Asks again until there is an answer, or the time is over.
pub async fn eventually<T, F>(what: &str, within: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + within;
    loop {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(Failure(format!("{what}: not within {} s", within.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
