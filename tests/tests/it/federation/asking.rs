//! The homeserver's name and key, to ask the node as the homeserver would.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use causeway_tests::synapse::Synapse;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// A homeserver's request to a node.
pub(super) struct Asking {
    http: reqwest::Client,
    origin: String,
    destination: String,
    key_id: String,
    key: SigningKey,
}

impl Asking {
    /// As this homeserver, which trusts the authority in `ca`.
    pub(super) fn new(synapse: &Synapse, destination: &str, ca: &Path) -> Self {
        let text = std::fs::read_to_string(synapse.dir().join("signing.key")).unwrap();
        let mut words = text.split_whitespace();
        let key_id = format!("{}:{}", words.next().unwrap(), words.next().unwrap());
        let seed = STANDARD_NO_PAD.decode(words.next().unwrap()).unwrap();
        let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
        Self {
            http: reqwest::Client::builder().tls_certs_only([ca]).build().unwrap(),
            origin: synapse.server_name().to_owned(),
            destination: destination.to_owned(),
            key_id,
            key: SigningKey::from_bytes(&seed.try_into().unwrap()),
        }
    }

    /// The state before an event, by `/state_ids`.
    pub(super) async fn state_before(&self, room: &str, event: &str) -> BTreeSet<String> {
        let uri = format!("/_matrix/federation/v1/state_ids/{room}?event_id={event}");
        let signed = json!({
            "destination": self.destination, "method": "GET", "origin": self.origin, "uri": uri,
        });
        // serde_json's maps are sorted: for this, canonical JSON.
        let signature = STANDARD_NO_PAD.encode(self.key.sign(signed.to_string().as_bytes()).to_bytes());
        let header = format!(
            "X-Matrix origin=\"{}\",destination=\"{}\",key=\"{}\",sig=\"{signature}\"",
            self.origin, self.destination, self.key_id
        );
        let answer = self
            .http
            .get(format!("https://{}{uri}", self.destination))
            .header("authorization", header)
            .send()
            .await
            .unwrap();
        let (status, answer): (_, Value) = (answer.status(), answer.json().await.unwrap());
        assert!(status.is_success(), "{status}: {answer}");
        let ids = answer["pdu_ids"].as_array().unwrap().iter();
        ids.map(|id| id.as_str().unwrap().to_owned()).collect()
    }
}
