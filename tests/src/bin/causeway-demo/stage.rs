//! What the demo runs: starting, killing, restarting and stopping it, and nothing else.

use causeway_tests::client::Client;
use causeway_tests::matrix::{User, eventually};
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider};
use causeway_tests::synapse::Synapse;
use causeway_tests::{Context as _, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Names of the providers.
const A: &str = "a.example";
const B: &str = "b.example";
/// Alice's password. Everything here is for one run on loopback.
const PASSWORD: &str = "demo password of alice";

/// Announces a part of the story.
pub(crate) fn step(title: &str) {
    println!("\n== {title}");
}

/// One line below it.
pub(crate) fn say(text: &str) {
    println!("   {text}");
}

/// Everything that runs.
pub(crate) struct Stage {
    place: PathBuf,
    synapse: Option<Synapse>,
    a: Option<Provider>,
    b: Option<Provider>,
    alice: Option<User>,
    tokens: HashMap<String, String>,
}

impl Stage {
    /// An empty folder, below `CAUSEWAY_DEMO_DIR` where that is set.
    pub(crate) fn new() -> Result<Self> {
        let base = std::env::var_os("CAUSEWAY_DEMO_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        std::fs::create_dir_all(&base).context("making a folder")?;
        let place = tempfile::Builder::new()
            .prefix("causeway-demo-")
            .tempdir_in(base)
            .context("making a folder")?
            .keep();
        Ok(Self {
            place,
            synapse: None,
            a: None,
            b: None,
            alice: None,
            tokens: HashMap::new(),
        })
    }

    fn profiles(&self) -> PathBuf {
        self.place.join("profiles")
    }

    /// Where exports go.
    pub(crate) fn exports(&self) -> PathBuf {
        self.place.join("exports")
    }

    pub(crate) fn synapse(&self) -> Result<&Synapse> {
        self.synapse.as_ref().context("the homeserver")
    }

    pub(crate) fn a(&self) -> Result<&Provider> {
        self.a.as_ref().context("provider a")
    }

    pub(crate) fn b(&self) -> Result<&Provider> {
        self.b.as_ref().context("provider b")
    }

    /// Alice's own Matrix session, apart from her MLS client.
    pub(crate) fn alice_matrix(&self) -> Result<&User> {
        self.alice.as_ref().context("alice")
    }

    pub(crate) async fn start(&mut self) -> Result<()> {
        say(&format!("everything is below {}", self.place.display()));
        let ca = self.place.join("ca");
        let [homeserver] = free_addresses()?;
        let (for_a, for_b) = (Addresses::free()?, Addresses::free()?);
        let url = format!("http://{homeserver}");
        let a = Provider::init(
            &self.place.join("a"),
            A,
            for_a,
            &ca,
            &[(B, for_b.mimi)],
            Some(&url),
        )
        .await?;
        let b = Provider::init(&self.place.join("b"), B, for_b, &ca, &[(A, for_a.mimi)], None).await?;
        let synapse = Synapse::configure(&self.place.join("synapse"), A, homeserver, &[a.registration()])?;
        let started = Instant::now();
        let (synapse, a, b) = (self.synapse.insert(synapse), self.a.insert(a), self.b.insert(b));
        // Each waits for itself; the gateway pings the homeserver as soon as it can.
        let (s, ga, gb) = tokio::join!(synapse.start(), a.start(None), b.start(None));
        s?;
        ga?;
        gb?;
        let running = |name: &str, id: Option<u32>, text: String| {
            say(&format!(
                "{name:<22} process {:<8} {text}",
                id.unwrap_or_default()
            ));
        };
        running("Synapse of a.example", synapse.id(), synapse.url().to_owned());
        for provider in [&*a, &*b] {
            let addresses = provider.addresses();
            running(
                &format!("causeway of {}", provider.domain()),
                provider.id(),
                format!("MIMI {}, clients {}", addresses.mimi, addresses.client),
            );
        }
        say(&format!("up after {:.1} s", started.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Alice's account and device.
    pub(crate) async fn alice(&mut self, device: &str) -> Result<Client> {
        let synapse = self.synapse.as_ref().context("the homeserver")?;
        let user = synapse.register("alice", PASSWORD).await?;
        say(&format!("{} on the homeserver is mimi://{A}/u/alice", user.id));
        self.alice = Some(user);
        let profiles = self.profiles();
        let client = Client::login_matrix(
            &profiles,
            "Alice",
            self.a()?,
            synapse,
            ("alice", PASSWORD),
            device,
        )
        .await?;
        say("her device repeated the provider's nonce to the bot");
        Ok(client)
    }

    /// A device of an account of b.example, which is made if need be.
    pub(crate) async fn local(&mut self, name: &str, user: &str, device: &str) -> Result<Client> {
        if !self.tokens.contains_key(user) {
            let token = self.b()?.add_user(user).await?;
            self.tokens.insert(user.to_owned(), token);
        }
        let token = self.tokens.get(user).context("a token")?;
        let client = Client::login_token(&self.profiles(), name, self.b()?, (user, token), device).await?;
        say(&format!("{name}: {}, device {device}", client.user));
        Ok(client)
    }

    /// The room's portal, once it is there.
    pub(crate) async fn portal(&self, client: &Client, room: &str) -> Result<String> {
        eventually("the portal", Duration::from_mins(1), || async {
            let rooms = client.run(&["rooms"]).await?;
            let of = |r: &&Value| r.get("room").and_then(Value::as_str) == Some(room);
            let found = rooms.as_array().and_then(|rooms| rooms.iter().find(of).cloned());
            Ok(found.and_then(|r| r.get("portal").and_then(Value::as_str).map(ToOwned::to_owned)))
        })
        .await
    }

    /// SIGKILL in the middle of things, a moment of silence, a new start.
    pub(crate) async fn kill_and_restart_a(&mut self) -> Result<()> {
        let a = self.a.as_mut().context("provider a")?;
        tokio::time::sleep(Duration::from_millis(120)).await;
        let id = a.id().unwrap_or_default();
        a.kill().await?;
        say(&format!("killed process {id}"));
        tokio::time::sleep(Duration::from_millis(700)).await;
        a.start(None).await?;
        say(&format!(
            "started again as process {}",
            a.id().unwrap_or_default()
        ));
        Ok(())
    }

    /// Stops both gateways, writes everything in their stores into files.
    pub(crate) async fn stop_and_export(&mut self) -> Result<Vec<PathBuf>> {
        let exports = self.exports();
        std::fs::create_dir_all(&exports).context("making a folder")?;
        let mut files = Vec::new();
        for provider in [&mut self.a, &mut self.b].into_iter().flatten() {
            provider.stop().await?;
            let file = exports.join(format!("{}.jsonl", provider.domain()));
            let mut command = provider.command()?;
            causeway_tests::provider::run(command.args(["store", "export"]).arg(&file)).await?;
            files.push(file);
        }
        Ok(files)
    }

    /// Says how to join what keeps running.
    pub(crate) async fn invite(&mut self, room: &str) -> Result<()> {
        for provider in [&mut self.a, &mut self.b].into_iter().flatten() {
            provider.start(None).await?;
        }
        let dora = self.b()?.add_user("dora").await?;
        let binary = causeway_tests::provider::binary()?;
        let (binary, profiles) = (binary.display(), self.profiles());
        let profile = |name: &str| profiles.join(name).display().to_string();
        step("It keeps running. In another terminal:");
        println!(
            "Talk as Alice:\n  {binary} client --profile {} chat {ROOM}",
            profile("alice-phone"),
            ROOM = super::ROOM
        );
        println!(
            "Join as Dora, a new user of {B}:\n  \
             CAUSEWAY_TOKEN={dora} {binary} client --profile {dora_profile} login --provider-url {url} --user dora\n  \
             {binary} client --profile {carol} add {room} mimi://{B}/u/dora\n  \
             {binary} client --profile {dora_profile} chat {ROOM}",
            dora_profile = profile("dora"),
            carol = profile("carol-phone"),
            url = self.b()?.client_url(),
            ROOM = super::ROOM,
        );
        println!(
            "Logs: {}/*/causeway.log. Stop everything with Ctrl-C.",
            self.place.display()
        );
        Ok(())
    }

    /// Stops what runs. The folder goes when all went well, and stays to be looked at when not.
    pub(crate) async fn clear(&mut self, well: bool) {
        for provider in [&mut self.a, &mut self.b].into_iter().flatten() {
            if let Err(failure) = provider.stop().await {
                eprintln!("{failure}");
            }
        }
        if let Some(synapse) = &mut self.synapse
            && let Err(failure) = synapse.stop().await
        {
            eprintln!("{failure}");
        }
        if well {
            let _ = std::fs::remove_dir_all(&self.place);
        } else {
            eprintln!("logs and stores are kept in {}", self.place.display());
        }
    }

    /// The folder of everything.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }
}
