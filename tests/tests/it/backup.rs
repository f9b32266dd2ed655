//! Backups of running providers, and what a restored one does before it knows what it missed.

use crate::support::Place;
use causeway_tests::client::Client;
use causeway_tests::provider::{Addresses, Provider, run};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for something to come about.
const PATIENCE: Duration = Duration::from_mins(1);

struct Scene {
    place: Place,
    a: Provider,
    b: Provider,
    alice: Client,
    bob: Client,
    alices_token: String,
    room: String,
}

async fn user(place: &Place, provider: &Provider, name: &str) -> (Client, String) {
    let token = provider.add_user(name).await.unwrap();
    let profiles = place.path("profiles");
    let client = Client::login_token(&profiles, name, provider, (name, &token), "d1")
        .await
        .unwrap();
    (client, token)
}

/// Alice of a.example, the hub, and Bob of b.example in a room; both have said something.
async fn scene() -> Scene {
    let place = Place::new();
    std::fs::create_dir_all(place.path("profiles")).unwrap();
    let (at, bt) = (Addresses::free().unwrap(), Addresses::free().unwrap());
    let ca = place.path("ca");
    let init = async |dir: &str, domain: &str, addresses: Addresses, peer: (&str, SocketAddr)| {
        Provider::init(&place.path(dir), domain, addresses, &ca, &[peer], None)
            .await
            .unwrap()
    };
    let mut a = init("a", "a.example", at, ("b.example", bt.mimi)).await;
    let mut b = init("b", "b.example", bt, ("a.example", at.mimi)).await;
    a.start(None).await.unwrap();
    b.start(None).await.unwrap();
    let (alice, alices_token) = user(&place, &a, "alice").await;
    let (bob, _) = user(&place, &b, "bob").await;
    let made = alice.run(&["create", "Kept"]).await.unwrap();
    let room = made["room"].as_str().unwrap().to_owned();
    alice.run(&["add", &room, &bob.user]).await.unwrap();
    alice.send(&room, "from Alice", PATIENCE).await.unwrap();
    // Bob's provider has it once Bob can read it.
    arrived(&bob, &room, "from Alice").await;
    bob.send(&room, "from Bob", PATIENCE).await.unwrap();
    arrived(&alice, &room, "from Bob").await;
    Scene {
        place,
        a,
        b,
        alice,
        bob,
        alices_token,
        room,
    }
}

async fn arrived(client: &Client, room: &str, text: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let _ = client.run(&["sync"]).await;
        let messages = client.messages(room).await.unwrap_or_default();
        if messages.iter().any(|message| message.text == text) {
            return;
        }
        assert!(Instant::now() < end, "{} never read {text}", client.name);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Scene {
    async fn backup(&self, name: &str) -> PathBuf {
        let folder = self.place.path(name);
        run(self.a.command().unwrap().arg("backup").arg(&folder))
            .await
            .unwrap();
        folder
    }

    /// Provider A is lost with its machine; a new one is made from a backup.
    async fn lose_and_restore(&mut self, backup: &Path, name: &str) {
        self.a.kill().await.unwrap();
        std::fs::rename(self.a.dir(), self.place.path(name)).unwrap();
        std::fs::create_dir(self.a.dir()).unwrap();
        let mut restore = self.a.command().unwrap();
        run(restore.arg("restore").arg(backup).arg("--json"))
            .await
            .unwrap();
        self.a.start(None).await.unwrap();
    }

    async fn shown(&self) -> Value {
        let mut show = self.a.command().unwrap();
        let text = run(show.args(["room", "show", &self.room, "--json"]))
            .await
            .unwrap();
        serde_json::from_str(&text).unwrap()
    }

    async fn wait_until(&self, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let room = self.shown().await;
            if reached(&room) {
                return room;
            }
            assert!(Instant::now() < end, "never {what}: {room}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn readiness(&self) -> Value {
        let url = format!("http://{}/readyz", self.a.addresses().admin);
        let http = causeway_tests::matrix::http().unwrap();
        let text = http.get(url).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// The error's name and the exit code of a command that fails.
async fn failure(command: &mut tokio::process::Command) -> (String, i32) {
    let output = command.stdin(std::process::Stdio::null()).output().await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let name = errors
        .lines()
        .find_map(|line| line.strip_prefix("error[")?.split_once(']'))
        .map_or(String::new(), |(name, _)| name.to_owned());
    (name, output.status.code().unwrap())
}

#[tokio::test]
async fn a_backup_brings_everything_back_and_peers_lift_the_fence() {
    let mut scene = scene().await;
    let backup = scene.backup("backup").await;

    // It is whole, for its owner alone, and nothing is overwritten.
    run(scene
        .a
        .command()
        .unwrap()
        .args(["restore", "--check"])
        .arg(&backup))
    .await
    .unwrap();
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&backup), 0o700);
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(backup.join("manifest.json")).unwrap()).unwrap();
    let saved = |setting: &str| {
        let files = manifest["files"].as_array().unwrap();
        files
            .iter()
            .any(|file| file["source"]["setting"]["setting"] == setting)
    };
    for setting in [
        "/keys/node",
        "/keys/hub",
        "/keys/franking",
        "/keys/hub_key",
        "/mimi/key",
        "/admin/token_file",
    ] {
        assert!(saved(setting), "{setting}: {manifest}");
    }
    let again = failure(scene.a.command().unwrap().arg("backup").arg(&backup)).await;
    assert_eq!(again, ("exists".to_owned(), 8));
    let over = failure(scene.a.command().unwrap().arg("restore").arg(&backup)).await;
    assert_eq!(over, ("exists".to_owned(), 8));

    // While the follower is away nobody can tell what was missed.
    scene.b.stop().await.unwrap();
    scene.lose_and_restore(&backup, "a.lost").await;
    let room = scene.shown().await;
    assert_eq!(room["fenced"], true, "{room}");
    assert!(
        scene.readiness().await["warnings"][0]
            .as_str()
            .unwrap()
            .contains("fenced")
    );
    let (carol, _) = user(&scene.place, &scene.a, "carol").await;
    let mut add = scene.alice.command(&["add", &scene.room, &carol.user]).unwrap();
    assert_ne!(scene.alice.answer(&mut add).await.unwrap().code, Some(0));
    assert_eq!(scene.shown().await["epoch"], room["epoch"]);
    // Messages go on.
    scene
        .alice
        .send(&scene.room, "meanwhile", PATIENCE)
        .await
        .unwrap();

    // The follower is back and knows no more than the backup does: handshakes go on.
    scene.b.start(None).await.unwrap();
    scene.wait_until("free", |room| room["fenced"] == false).await;
    assert_eq!(scene.readiness().await["warnings"].as_array().unwrap().len(), 0);
    arrived(&scene.bob, &scene.room, "meanwhile").await;
    scene.alice.run(&["sync"]).await.unwrap();
    scene.alice.run(&["add", &scene.room, &carol.user]).await.unwrap();
    carol.run(&["sync"]).await.unwrap();
    carol.send(&scene.room, "from Carol", PATIENCE).await.unwrap();
    arrived(&scene.bob, &scene.room, "from Carol").await;

    // One altered octet anywhere is found.
    for name in ["store.jsonl", "files/0", "causeway.toml", "manifest.json"] {
        let path = backup.join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let found = failure(
            scene
                .a
                .command()
                .unwrap()
                .args(["restore", "--check"])
                .arg(&backup),
        )
        .await;
        assert_eq!(found, ("backup-damaged".to_owned(), 5), "{name}");
        std::fs::write(&path, &good).unwrap();
    }
    scene.a.stop().await.unwrap();
    scene.b.stop().await.unwrap();
}

#[tokio::test]
async fn an_old_backup_stays_fenced_until_somebody_accepts_the_loss() {
    let mut scene = scene().await;
    let old = scene.backup("old").await;
    let before = scene.shown().await;
    // The room goes on: one commit more.
    let (carol, _) = user(&scene.place, &scene.a, "carol").await;
    scene.alice.run(&["add", &scene.room, &carol.user]).await.unwrap();
    scene
        .alice
        .send(&scene.room, "after the backup", PATIENCE)
        .await
        .unwrap();
    arrived(&scene.bob, &scene.room, "after the backup").await;
    let after = scene.shown().await;

    scene.lose_and_restore(&old, "a.lost").await;
    let room = scene
        .wait_until("told of the later epoch", |room| room["ahead"].is_string())
        .await;
    assert_eq!(
        (&room["fenced"], &room["epoch"]),
        (&Value::Bool(true), &before["epoch"])
    );
    assert_eq!(room["ahead"], after["epoch"]);
    // Neither a message of the later epoch nor a handshake is refused for good: 503, so it stays pending.
    let mut send = scene
        .bob
        .command(&["send", &scene.room, "too early", "--timeout", "1"])
        .unwrap();
    let pending = scene.bob.answer(&mut send).await.unwrap();
    assert_ne!(pending.code, Some(0), "{}", pending.errors);

    // Without the word nothing happens.
    let mut unfence = scene.a.command().unwrap();
    assert_eq!(failure(unfence.args(["room", "unfence", &scene.room])).await.1, 2);
    let mut unfence = scene.a.command().unwrap();
    let text = run(unfence.args(["room", "unfence", &scene.room, "--accept-rollback", "--json"]))
        .await
        .unwrap();
    assert!(text.contains(&scene.room), "{text}");
    let room = scene.shown().await;
    assert_eq!(
        (&room["fenced"], &room["ahead"]),
        (&Value::Bool(false), &Value::Null)
    );
    // A device that has never been in the room comes in by external commit, in the epoch of the backup.
    let profiles = scene.place.path("profiles");
    let account = ("alice", scene.alices_token.as_str());
    let second = Client::login_token(&profiles, "Alice's second", &scene.a, account, "d2")
        .await
        .unwrap();
    second.run(&["join", &scene.room]).await.unwrap();
    let epoch = |room: &Value| room["epoch"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(epoch(&scene.shown().await), epoch(&before) + 1);
    scene.a.stop().await.unwrap();
    scene.b.stop().await.unwrap();
}
