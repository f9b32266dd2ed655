//! A device: the command-line client with a profile of its own.

use crate::provider::{Provider, binary};
use crate::synapse::Synapse;
use crate::{Context as _, Failure, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A device of a user.
#[derive(Clone, Debug)]
pub struct Client {
    /// Who, for people.
    pub name: String,
    /// `mimi://provider/u/name`.
    pub user: String,
    profile: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code; none if it was killed.
    pub code: Option<i32>,
    /// What it printed, where that is JSON.
    pub json: Value,
    /// What it complained about.
    pub errors: String,
}

/// The exit code of "saved, not accepted yet".
const PENDING: i32 = 9;
/// The exit code of "can't be reached".
const UNREACHABLE: i32 = 6;

impl Client {
    /// A device of a homeserver's user.
    pub async fn login_matrix(
        place: &Path,
        name: &str,
        provider: &Provider,
        synapse: &Synapse,
        (user, password): (&str, &str),
        device: &str,
    ) -> Result<Self> {
        let client = Self::new(place, name, provider, user, device);
        let (url, homeserver) = (provider.client_url(), synapse.url());
        let args = [
            "login",
            "--provider-url",
            &url,
            "--homeserver",
            homeserver,
            "--user",
            user,
            "--device",
            device,
        ];
        client
            .done(client.command(&args)?.env("CAUSEWAY_PASSWORD", password))
            .await?;
        Ok(client)
    }

    /// A device of a local account.
    pub async fn login_token(
        place: &Path,
        name: &str,
        provider: &Provider,
        (user, token): (&str, &str),
        device: &str,
    ) -> Result<Self> {
        let client = Self::new(place, name, provider, user, device);
        let url = provider.client_url();
        let args = [
            "login",
            "--provider-url",
            &url,
            "--user",
            user,
            "--device",
            device,
        ];
        client
            .done(client.command(&args)?.env("CAUSEWAY_TOKEN", token))
            .await?;
        Ok(client)
    }

    fn new(place: &Path, name: &str, provider: &Provider, user: &str, device: &str) -> Self {
        Self {
            name: name.to_owned(),
            user: format!("mimi://{}/u/{user}", provider.domain()),
            profile: place.join(format!("{user}-{device}")),
        }
    }

    /// Where its state is.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// A command of this device.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command
            .args(["client", "--json", "--profile"])
            .arg(&self.profile)
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs a command to its end, whatever that is.
    pub async fn answer(&self, command: &mut Command) -> Result<Answer> {
        let output = command
            .output()
            .await
            .context(&format!("running {}'s client", self.name))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(Answer {
            code: output.status.code(),
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            errors: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        })
    }

    async fn done(&self, command: &mut Command) -> Result<Value> {
        let shown: Vec<String> = command
            .as_std()
            .get_args()
            .skip(4)
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        let answer = self.answer(command).await?;
        if answer.code == Some(0) {
            return Ok(answer.json);
        }
        let code = answer.code.unwrap_or(-1);
        Err(Failure(format!(
            "{}: causeway client {}: exit {code}\n{}",
            self.name,
            shown.join(" "),
            answer.errors
        )))
    }

    /// Runs a command that has to succeed.
    pub async fn run(&self, args: &[&str]) -> Result<Value> {
        self.done(&mut self.command(args)?).await
    }

    /// Sends a message and waits for its acceptance; goes on with `sync` while the provider is away, as the client
    /// itself says one should.
    pub async fn send(&self, room: &str, text: &str, within: Duration) -> Result<()> {
        let end = std::time::Instant::now() + within;
        let first = self.answer(&mut self.command(&["send", room, text])?).await?;
        let mut answer = first;
        while answer.code != Some(0) {
            let again = matches!(answer.code, Some(PENDING | UNREACHABLE));
            if !again || std::time::Instant::now() > end {
                return Err(Failure(format!("{} can't send: {}", self.name, answer.errors)));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            if self
                .messages(room)
                .await
                .is_ok_and(|all| all.iter().any(|m| m.text == text && m.pos.is_some()))
            {
                return Ok(());
            }
            answer = self.answer(&mut self.command(&["sync"])?).await?;
            if answer.code == Some(0) && !self.holds(room, text).await? {
                // It never came as far as the profile: the command ended before it composed anything.
                answer = self.answer(&mut self.command(&["send", room, text])?).await?;
            }
        }
        Ok(())
    }

    async fn holds(&self, room: &str, text: &str) -> Result<bool> {
        Ok(self.messages(room).await?.iter().any(|m| m.text == text))
    }

    /// The messages of a room as this device has them, in the feed's order.
    pub async fn messages(&self, room: &str) -> Result<Vec<Message>> {
        let answer = self.run(&["read", room, "--messages"]).await?;
        let list = answer.as_array().context("reading messages")?;
        list.iter().map(Message::read).collect()
    }

    /// Every private key and secret of this device, by label.
    pub async fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let answer = self.run(&["secrets", "--for-audit"]).await?;
        let list = answer.as_array().context("reading secrets")?;
        list.iter()
            .map(|secret| {
                let field = |name: &str| secret.get(name).and_then(Value::as_str);
                let octets = hex::decode(field("hex").context("a secret")?).context("a secret")?;
                Ok((field("label").context("a secret")?.to_owned(), octets))
            })
            .collect()
    }
}

/// A message as a device shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Position in the feed; none while it has none.
    pub pos: Option<u64>,
    /// Who wrote it.
    pub sender: String,
    /// What.
    pub text: String,
    /// The carrier event of the provider's graph.
    pub event_id: Option<String>,
    /// SHA-256 of the MLSMessage, hex.
    pub mls_message: String,
}

impl Message {
    fn read(entry: &Value) -> Result<Self> {
        let field = |name: &str| entry.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        Ok(Self {
            pos: entry.get("pos").and_then(Value::as_u64),
            sender: field("sender").context("a message's sender")?,
            text: field("text").context("a message's text")?,
            event_id: field("event_id"),
            mls_message: field("mls_message").context("a message's hash")?,
        })
    }
}
