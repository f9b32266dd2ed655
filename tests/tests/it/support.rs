//! What the tests share.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_tests::client::Client;
use causeway_tests::synapse::{Synapse, python};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// A folder for a test's processes. It stays, and is named, when the test fails.
pub(crate) struct Place(Option<tempfile::TempDir>);

impl Place {
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::tempdir().unwrap()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.as_ref().unwrap().path().join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.0.take()
        {
            println!("logs are kept in {}", dir.keep().display());
        }
    }
}

/// Whether there is a homeserver to test with. Without one the test is skipped, visibly, but never in CI.
pub(crate) fn homeserver_there() -> bool {
    if python().is_some() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "the homeserver isn't installed; scripts/test does that"
    );
    println!("SKIPPED: the homeserver isn't installed; scripts/test does that");
    false
}

/// A homeserver for `a.example` with one registration and a changed configuration, running.
pub(crate) async fn homeserver_with(
    place: &Place,
    registration: &appservice::Registration,
    change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
) -> Synapse {
    let file = place.path("registration.yaml");
    std::fs::write(&file, registration.to_yaml().unwrap().as_bytes()).unwrap();
    let [address] = causeway_tests::process::free_addresses().unwrap();
    let mut synapse = Synapse::configure(&place.path("synapse"), "a.example", address, &[file]).unwrap();
    synapse.change(change).unwrap();
    synapse.start().await.unwrap();
    synapse
}

/// A message as a client puts it into a portal: its id and the content of the event.
pub(crate) fn submission(client: &Client, room: &str, text: &str) -> (String, Value) {
    let mut engine = mls_client::Engine::open(client.profile(), None, Duration::from_secs(30)).unwrap();
    let id = engine.compose(room, text, "text/plain;charset=utf-8").unwrap();
    let (submission, _) = engine.submission(room, &id).unwrap();
    let content = json!({"id": id, "message": URL_SAFE_NO_PAD.encode(&submission.message.0)});
    (id, content)
}
