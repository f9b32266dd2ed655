//! A provider: the real `causeway` with its own folder, configuration and store.

use crate::process::{Process, free_addresses};
use crate::{Context as _, Failure, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// How long a start may take, on a machine that does other things too.
const START: Duration = Duration::from_mins(1);
/// How long draining may take.
const STOP: Duration = Duration::from_secs(30);

/// Where a provider listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Other providers.
    pub mimi: SocketAddr,
    /// Its own clients.
    pub client: SocketAddr,
    /// Health, metrics, administration.
    pub admin: SocketAddr,
    /// The homeserver.
    pub appservice: SocketAddr,
    /// Matrix servers.
    pub federation: SocketAddr,
}

impl Addresses {
    /// Some that are free.
    pub fn free() -> Result<Self> {
        let [mimi, client, admin, appservice, federation] = free_addresses()?;
        Ok(Self {
            mimi,
            client,
            admin,
            appservice,
            federation,
        })
    }
}

/// A provider, running or not.
pub struct Provider {
    domain: String,
    dir: PathBuf,
    addresses: Addresses,
    namespace: Option<String>,
    process: Option<Process>,
}

/// The binary: `CAUSEWAY_BIN`, else the one that was built together with this program.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CAUSEWAY_BIN") {
        return Ok(path.into());
    }
    let here = std::env::current_exe().context("looking for the causeway binary")?;
    here.ancestors()
        .skip(1)
        .map(|dir| dir.join("causeway"))
        .find(|path| path.is_file())
        .context("looking for the causeway binary (build it, or set CAUSEWAY_BIN)")
}

/// Runs a command of the binary to its end and answers with what it printed.
pub async fn run(command: &mut Command) -> Result<String> {
    let shown: Vec<String> = command
        .as_std()
        .get_args()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let doing = format!("causeway {}", shown.join(" "));
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .context(&doing)?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!(
            "{doing}: {}\n{}",
            output.status,
            errors.trim_end()
        )));
    }
    String::from_utf8(output.stdout).context(&doing)
}

impl Provider {
    /// Makes a provider with `causeway init`. Providers with the same development authority trust each other.
    /// `homeserver`: base URL of the one beside it.
    pub async fn init(
        dir: &Path,
        domain: &str,
        addresses: Addresses,
        dev_ca: &Path,
        peers: &[(&str, SocketAddr)],
        homeserver: Option<&str>,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir).context("making the provider's folder")?;
        let provider = Self {
            domain: domain.to_owned(),
            dir: dir.to_owned(),
            addresses,
            namespace: None,
            process: None,
        };
        let mut command = provider.command()?;
        command
            .args(["init", "--yes", "--domain", domain])
            .arg("--dev-ca")
            .arg(dev_ca);
        for (option, address) in [
            ("--mimi-listen", addresses.mimi),
            ("--client-listen", addresses.client),
            ("--admin-listen", addresses.admin),
        ] {
            command.args([option, &address.to_string()]);
        }
        for (peer, address) in peers {
            command.args(["--peer", &format!("{peer}={address}")]);
        }
        if let Some(url) = homeserver {
            command.args([
                "--homeserver",
                url,
                "--appservice-listen",
                &addresses.appservice.to_string(),
            ]);
        }
        run(&mut command).await?;
        Ok(provider)
    }

    /// Makes it one of several nodes, `cw1`, from its next start on; `listen`: where the others come in.
    pub fn cluster(&self, listen: SocketAddr) -> Result<()> {
        let path = self.dir.join("causeway.toml");
        let text = std::fs::read_to_string(&path).context("reading the configuration")?;
        std::fs::write(
            &path,
            format!("{text}\n[cluster]\nname = \"cw1\"\nlisten = \"{listen}\"\n"),
        )
        .context("writing the configuration")
    }

    /// Makes a further node with `causeway node join`; answers with it and the line with which it is added.
    pub async fn join(
        &self,
        dir: &Path,
        name: &str,
        addresses: Addresses,
        listen: SocketAddr,
    ) -> Result<(Self, String)> {
        std::fs::create_dir_all(dir).context("making the node's folder")?;
        let node = Self {
            domain: self.domain.clone(),
            dir: dir.to_owned(),
            addresses,
            namespace: None,
            process: None,
        };
        let mut command = node.command()?;
        command.args(["node", "join", "--name", name, "--like"]);
        command.arg(self.dir.join("causeway.toml"));
        for (option, address) in [
            ("--listen", listen),
            ("--mimi-listen", addresses.mimi),
            ("--client-listen", addresses.client),
            ("--admin-listen", addresses.admin),
            ("--appservice-listen", addresses.appservice),
            ("--federation-listen", addresses.federation),
        ] {
            command.args([option, &address.to_string()]);
        }
        run(&mut command).await?;
        let line = run(node.command()?.args(["node", "self"])).await?;
        Ok((node, line.trim().to_owned()))
    }

    /// From now on it runs in a network namespace.
    pub fn inside(&mut self, namespace: &str) {
        self.namespace = Some(namespace.to_owned());
    }

    /// Starts a node that waits to be added: it runs, but isn't ready.
    pub async fn start_waiting(&mut self) -> Result<()> {
        self.start_until(None, "healthz").await
    }

    /// Makes a provider without a homeserver whose node is a Matrix server named `localhost:PORT`, which listens at
    /// `federation`.
    pub async fn init_node(
        dir: &Path,
        domain: &str,
        addresses: Addresses,
        dev_ca: &Path,
        node_name: &str,
        federation: SocketAddr,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir).context("making the provider's folder")?;
        let provider = Self {
            domain: domain.to_owned(),
            dir: dir.to_owned(),
            addresses,
            namespace: None,
            process: None,
        };
        let mut command = provider.command()?;
        command
            .args(["init", "--yes", "--domain", domain, "--node-name", node_name])
            .args(["--federation-listen", &federation.to_string()])
            .arg("--dev-ca")
            .arg(dev_ca);
        for (option, address) in [
            ("--mimi-listen", addresses.mimi),
            ("--client-listen", addresses.client),
            ("--admin-listen", addresses.admin),
        ] {
            command.args([option, &address.to_string()]);
        }
        run(&mut command).await?;
        Ok(provider)
    }

    /// Runs `causeway graph ...`; answers with what it printed.
    pub async fn graph(&self, args: &[&str]) -> Result<String> {
        run(self.command()?.arg("graph").args(args)).await
    }

    /// The same, as JSON.
    pub async fn graph_json(&self, args: &[&str]) -> Result<Value> {
        let text = run(self.command()?.arg("graph").args(args).arg("--json")).await?;
        serde_json::from_str(&text).context("reading what causeway graph printed")
    }

    /// A command of this provider's binary, with its configuration.
    pub fn command(&self) -> Result<Command> {
        let mut command = match &self.namespace {
            None => Command::new(binary()?),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(binary()?);
                command
            }
        };
        command
            .arg("--config")
            .arg(self.dir.join("causeway.toml"))
            .current_dir(&self.dir);
        command.env("CAUSEWAY__LOG__FORMAT", "json").kill_on_drop(true);
        Ok(command)
    }

    /// Starts the service and waits until it is ready. `failpoint`: where it is to die, `name:N`.
    pub async fn start(&mut self, failpoint: Option<&str>) -> Result<()> {
        self.start_until(failpoint, "readyz").await
    }

    async fn start_until(&mut self, failpoint: Option<&str>, page: &str) -> Result<()> {
        let mut command = self.command()?;
        command.arg("serve");
        if let Some(point) = failpoint {
            command.env("CAUSEWAY_FAILPOINT", point);
        }
        let name = format!("causeway of {}", self.domain);
        let mut process = Process::start(&name, &mut command, &self.log())?;
        let http = crate::matrix::http()?;
        let url = format!("http://{}/{page}", self.addresses.admin);
        let ready = || async {
            http.get(&url)
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
        };
        let started = process.wait_until(START, ready).await;
        self.process = Some(process);
        started
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// SIGTERM; it drains and ends with success.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        let status = process.stop(STOP).await?;
        if status.success() {
            return Ok(());
        }
        Err(Failure(format!(
            "causeway of {} ended with {status} on SIGTERM",
            self.domain
        )))
    }

    /// Whether it runs no more, though nobody stopped it: its failpoint.
    pub fn died(&mut self) -> Result<bool> {
        match &mut self.process {
            Some(process) => Ok(process.ended()?.is_some()),
            None => Ok(true),
        }
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::id)
    }

    /// Changes its configuration (the file's text) before it is started.
    pub fn configure(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        Self::rewrite(&self.dir.join("causeway.toml"), change)
    }

    /// Changes its registration (the file's text) before anybody has read it.
    pub fn register(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        Self::rewrite(&self.registration(), change)
    }

    fn rewrite(file: &Path, change: impl FnOnce(String) -> String) -> Result<()> {
        let text = std::fs::read_to_string(file).context("reading a provider's file")?;
        std::fs::write(file, change(text)).context("writing a provider's file")
    }

    /// What its `/readyz` says.
    pub async fn readiness(&self) -> Result<Value> {
        let url = format!("http://{}/readyz", self.addresses.admin);
        let answer = crate::matrix::http()?.get(url).send().await.context("/readyz")?;
        answer.json().await.context("/readyz")
    }

    /// Its domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its log, JSON lines.
    pub fn log(&self) -> PathBuf {
        self.dir.join("causeway.log")
    }

    /// The registration for the homeserver.
    pub fn registration(&self) -> PathBuf {
        self.dir.join("registration.yaml")
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Base of its client API.
    pub fn client_url(&self) -> String {
        format!("http://{}", self.addresses.client)
    }

    /// Makes a local account; answers with its sign-in token.
    pub async fn add_user(&self, name: &str) -> Result<String> {
        let text = run(self.command()?.args(["user", "add", name, "--json"])).await?;
        let answer: Value = serde_json::from_str(&text).context("reading the new account")?;
        answer
            .get("token")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
            .context("the account's token")
    }

    /// Its metrics, one value per line of the exposition, by name with labels.
    pub async fn metrics(&self) -> Result<HashMap<String, f64>> {
        let url = format!("http://{}/metrics", self.addresses.admin);
        let text = crate::matrix::http()?
            .get(url)
            .send()
            .await
            .context("asking for metrics")?;
        let text = text.text().await.context("asking for metrics")?;
        Ok(text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// The lines of its log.
    pub fn log_lines(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.log()).context("reading the log")?;
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }
}
