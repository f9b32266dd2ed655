//! The list of secrets is complete enough to search with, and holds nothing public.

use crate::hub::Hub;
use crate::person::Person;
use crate::story::uri;
use mls_client::engine::Secret;

fn labels(secrets: &[Secret]) -> Vec<&str> {
    let mut labels: Vec<_> = secrets.iter().map(|s| s.label.as_str()).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

#[tokio::test]
async fn every_kind_of_secret_is_listed_and_none_was_sent() {
    let hub = Hub::new();
    let mut alice = Person::new(&hub, "alice@a.example", "laptop");
    let mut bob = Person::new(&hub, "bob@b.example", "phone");
    bob.sync().await;
    let room = alice.client().create("Tea").await.unwrap();
    alice.client().add(&room, &[uri("bob@b.example")]).await.unwrap();
    bob.sync().await;
    alice.say(&room, "first").await.unwrap();
    bob.sync().await;
    let mut engine = bob.engine();
    engine.leave(&room).unwrap();
    let proposal = engine.prepare(&room).unwrap().unwrap().bundle.0;
    let secrets = engine.secrets().unwrap();
    bob.put_back(engine);

    let labels = labels(&secrets);
    for wanted in [
        "device signature key.private",
        "KeyPackage.private_init_key.vec",
        "KeyPackage.private_encryption_key.key.vec",
        "EpochKeyPairs.private_key.key.vec",
        "EpochSecrets.init_secret.secret.value.vec",
        "EpochSecrets.exporter_secret.secret.value.vec",
        "MessageSecrets.message_secrets.membership_key.secret.value.vec",
        "ApplicationExportTree.nodes",
    ] {
        assert!(labels.contains(&wanted), "{wanted} is not in {labels:?}");
    }
    assert!(
        labels
            .iter()
            .any(|l| l.starts_with("MessageSecrets.message_secrets.secret_tree."))
    );
    assert!(secrets.iter().any(|s| s.octets.len() == 32));

    let mut sent = proposal;
    let world = hub.world();
    for (entry, _) in &world.rooms[&room].log {
        sent.extend(serde_json::to_vec(entry).unwrap());
        if let mls_client::api::FeedItem::Message { message, .. } = &entry.item {
            sent.extend(&message.0);
        }
    }
    let found = secrets
        .iter()
        .find(|s| sent.windows(s.octets.len()).any(|w| w == s.octets));
    assert!(found.is_none(), "{:?} was sent", found.map(|s| &s.label));
}
