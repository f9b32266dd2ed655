//! Clients that nobody here wrote take part: matrix-nio (Python) and matrix-js-sdk (Node) put opaque events into a portal
//! of a real Synapse and read the answers there, and are woken by to-device events.

use crate::faults::Side;
use crate::support::homeserver_there;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use mls_client::transport::{Http, Transport as _};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A file of the repository, or a visible skip; never a skip in CI.
fn there(path: &str, what: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{what} isn't installed; scripts/test does that"
    );
    println!("SKIPPED: {what} isn't installed; scripts/test does that");
    None
}

/// Lets a client send messages of these sizes, and answers with the states that it saw, by id.
async fn converse(mut client: Command, sizes: &[usize]) {
    if !homeserver_there() {
        return;
    }
    let side = Side::start().await;
    let portal = side.portal.clone();
    let mut wanted = Vec::new();
    let (mut messages, mut contents) = (Vec::new(), Vec::new());
    {
        let mut engine =
            mls_client::Engine::open(side.alice.profile(), None, Duration::from_secs(10)).unwrap();
        for size in sizes {
            // No compression anywhere, so that the size of the text is the size of the event.
            let text = format!("{size} octets: {}", "x".repeat(*size));
            let id = engine
                .compose(&side.room, &text, "text/plain;charset=utf-8")
                .unwrap();
            let (submission, _) = engine.submission(&side.room, &id).unwrap();
            messages.push((submission.id, submission.message.0));
            wanted.push(text);
        }
    }
    let http = {
        let engine = mls_client::Engine::open(side.alice.profile(), None, Duration::from_secs(10)).unwrap();
        let account = engine.account().unwrap();
        let http = Http::new(&account.provider_url, None).unwrap();
        http.with_token(&account.session.token)
    };
    for (id, octets) in messages {
        contents.push(if octets.len() > LARGEST {
            let blob = http.put_blob(&octets).await.unwrap();
            json!({"id": id, "sha256": blob.sha256, "size": blob.size})
        } else {
            json!({"id": id, "message": URL_SAFE_NO_PAD.encode(&octets)})
        });
    }
    let largest = contents.iter().map(|c| c.to_string().len()).max().unwrap();
    println!("the largest content has {largest} octets");
    let task = json!({
        "homeserver": side.synapse.url(), "user": "@alice:a.example", "password": "password", "room": portal,
        "type": "org.causeway.message", "contents": contents,
    });
    let mut child = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(task.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{errors}");
    let lines: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    for content in &contents {
        let accepted = lines
            .iter()
            .any(|line| line["id"] == content["id"] && line["state"] == "accepted");
        assert!(accepted, "{} is not accepted: {said}", content["id"]);
    }
    // And the feed, which decides, has each once.
    side.alice.run(&["sync"]).await.unwrap();
    let texts: Vec<String> = side
        .alice
        .messages(&side.room)
        .await
        .unwrap()
        .into_iter()
        .filter(|m| m.pos.is_some())
        .map(|m| m.text)
        .collect();
    for text in wanted {
        assert_eq!(texts.iter().filter(|t| **t == text).count(), 1);
    }
    side.stop().await;
}

/// What a client that listens has said so far, line by line.
struct Heard {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Heard {
    async fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let wait = tokio::time::timeout(Duration::from_mins(2), async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("the client ended");
                if let Some(value) = serde_json::from_str(&line).ok().filter(&fits) {
                    return value;
                }
            }
        });
        wait.await.unwrap_or_else(|_| panic!("{what}: nothing heard"))
    }
}

/// A client that nobody here wrote gets a Welcome, and is told of a message, by to-device events.
async fn be_woken(mut client: Command) {
    if !homeserver_there() {
        return;
    }
    let side = Side::start().await;
    let task = json!({
        "homeserver": side.synapse.url(), "user": "@alice:a.example", "password": "password",
        "to_device": "org.causeway.wake",
    });
    let mut child = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(task.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let mut heard = Heard {
        lines: BufReader::new(child.stdout.take().unwrap()).lines(),
        _child: child,
    };
    let device = heard.until("the device", |line| line["device"].is_string()).await;
    side.alice
        .run(&["wake", device["device"].as_str().unwrap()])
        .await
        .unwrap();

    side.alice.run(&["register-keys"]).await.unwrap();
    let dora = side.another_user("dora").await;
    let made = dora.run(&["create", "Wake up"]).await.unwrap();
    let room = made["room"].as_str().unwrap();
    dora.run(&["add", room, "mimi://a.example/u/alice"])
        .await
        .unwrap();
    let woken = heard
        .until("the Welcome", |line| {
            line["content"]["room"] == room && line["content"]["welcome"].is_string()
        })
        .await;
    assert_eq!(woken["sender"], "@_mimi:a.example");
    let welcome = woken["content"]["welcome"].as_str().unwrap();
    let octets = STANDARD_NO_PAD.decode(welcome).unwrap();
    // RFC 9420 section 6: an MLSMessage of version mls10 and wire format mls_welcome.
    assert_eq!(octets[..4], [0, 1, 0, 3]);
    let place: u64 = woken["content"]["pos"].as_str().unwrap().parse().unwrap();

    side.alice.run(&["sync"]).await.unwrap();
    dora.run(&["sync"]).await.unwrap();
    // Whoever was woken follows the feed for a while, and isn't woken again within that time.
    tokio::time::sleep(2 * room_engine::wake::PAUSE).await;
    dora.send(room, "wake up", Duration::from_mins(1)).await.unwrap();
    heard
        .until("the message", |line| {
            let pos = line["content"]["pos"]
                .as_str()
                .and_then(|pos| pos.parse::<u64>().ok());
            line["content"]["room"] == room && pos.is_some_and(|pos| pos > place)
        })
        .await;
    side.alice.run(&["sync"]).await.unwrap();
    let texts = side.alice.messages(room).await.unwrap();
    assert!(texts.iter().any(|message| message.text == "wake up"));
    side.stop().await;
}

/// matrix-nio, or nothing to test with.
fn nio() -> Option<Command> {
    let python = there(".venv-clients/bin/python", "matrix-nio")?;
    let mut client = Command::new(python);
    client.arg(there("tests/clients/nio_client.py", "the script")?);
    Some(client)
}

/// matrix-js-sdk, or nothing to test with.
fn js_sdk() -> Option<Command> {
    there("tests/clients/node_modules/matrix-js-sdk", "matrix-js-sdk")?;
    let mut client = Command::new("node");
    client.arg(there("tests/clients/js_sdk_client.mjs", "the script")?);
    Some(client)
}

/// Octets of text that make the event about as large as a homeserver takes one.
const LARGE: usize = 47_800;
/// Octets of a message that doesn't fit into an event.
const LARGEST: usize = 48_500;
/// Octets of text that go by reference.
const BY_REFERENCE: usize = 150_000;

/// "No size-limit signalling" (complement#228 and others): events up to the homeserver's limit, and larger ones by
/// reference.
#[tokio::test(flavor = "multi_thread")]
async fn matrix_nio_sends_opaque_events_and_reads_the_answers() {
    let Some(client) = nio() else { return };
    converse(client, &[10, 1000, LARGE, BY_REFERENCE]).await;
}

/// The same with a client of another family.
#[tokio::test(flavor = "multi_thread")]
async fn matrix_js_sdk_sends_opaque_events_and_reads_the_answers() {
    let Some(client) = js_sdk() else { return };
    converse(client, &[10, 1000, LARGE, BY_REFERENCE]).await;
}

/// "Encrypted rooms: can't decrypt, device churn" (hookshot#594, mautrix whatsapp#593): Welcome and feed wake-ups reach a
/// Matrix device as plain to-device events, without Olm.
#[tokio::test(flavor = "multi_thread")]
async fn matrix_nio_gets_a_welcome_and_wake_ups_by_to_device() {
    let Some(client) = nio() else { return };
    be_woken(client).await;
}

/// The same with a client of another family.
#[tokio::test(flavor = "multi_thread")]
async fn matrix_js_sdk_gets_a_welcome_and_wake_ups_by_to_device() {
    let Some(client) = js_sdk() else { return };
    be_woken(client).await;
}
