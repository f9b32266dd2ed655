//! The graph that a room leaves behind: verifiable by anybody, and whole.

use crate::follower::texts;
use crate::mallory::{Mallory, witness};
use crate::world::{A, B, World, ctx, keys, uri};
use event_graph::{KeyRing, Pdu, RoomVersion, SigningIdentity};
use room_engine::carrier;
use room_engine::graphs::Fate;
use serde_json::json;
use std::collections::BTreeSet;
use store::{Scan, Space};

#[tokio::test]
async fn every_event_verifies_and_the_log_is_a_chain() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let room = alice.client.create("Graph").await.unwrap();
    alice
        .client
        .add(&room, &[uri("mimi://b.example/u/bob")])
        .await
        .unwrap();
    alice.say(&room, "one").await;
    world.quiet().await;
    bob.client.sync().await.unwrap();
    bob.say(&room, "two").await;
    world.quiet().await;

    for provider in [A, B] {
        let node = keys(provider).node;
        let mut ring = KeyRing::new();
        ring.insert(node.server_name(), node.key_id(), node.verify_key(), None);
        let mut seen = BTreeSet::new();
        let mut log = Vec::new();
        let mut previous: Option<String> = None;
        for (_, id) in world
            .store(provider)
            .scan(Scan::all(Space::Timeline))
            .await
            .unwrap()
        {
            let id: String = serde_json::from_slice(&id).unwrap();
            let bytes = world
                .store(provider)
                .get(Space::Event, id.as_bytes())
                .await
                .unwrap()
                .unwrap();
            let pdu = Pdu::parse(&bytes, RoomVersion::V12).unwrap();
            assert!(pdu.content_hash_matches());
            let pdu = pdu.verify(&ring).unwrap();
            assert_eq!(pdu.event_id().to_string(), id);
            assert!(
                pdu.prev_events()
                    .iter()
                    .all(|parent| seen.contains(&parent.to_string()))
            );
            assert!(
                pdu.auth_events()
                    .iter()
                    .all(|parent| seen.contains(&parent.to_string()))
            );
            assert_eq!(pdu.prev_events().first().map(ToString::to_string), previous);
            if pdu.event_type() == carrier::HANDSHAKE {
                let entry: carrier::Handshake = serde_json::from_value(pdu.content_value()).unwrap();
                log.push((entry.seq.0, entry.prev.clone(), id.clone()));
            }
            previous = Some(id.clone());
            seen.insert(id);
        }
        assert!(!log.is_empty());
        for (index, (seq, prev, _)) in log.iter().enumerate() {
            assert_eq!(*seq, u64::try_from(index).unwrap() + 1);
            assert_eq!(*prev, index.checked_sub(1).map(|before| log[before].2.clone()));
        }
    }
}

/// What the carriers look like is fixed by their schemas.
#[tokio::test]
async fn carriers_fit_their_schemas() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let room = alice.client.create("Schemas").await.unwrap();
    alice.say(&room, "one").await;
    let handshake = jsonschema::validator_for(schemars::schema_for!(carrier::Handshake).as_value()).unwrap();
    let message = jsonschema::validator_for(schemars::schema_for!(carrier::Message).as_value()).unwrap();
    let mut checked = BTreeSet::new();
    for (_, bytes) in world.store(A).scan(Scan::all(Space::Event)).await.unwrap() {
        let pdu = Pdu::parse_trusted(&bytes, RoomVersion::V12).unwrap();
        let schema = match pdu.event_type() {
            carrier::HANDSHAKE => &handshake,
            carrier::MESSAGE => &message,
            _ => continue,
        };
        schema.validate(&pdu.content_value()).unwrap();
        checked.insert(pdu.event_type().to_owned());
    }
    assert_eq!(checked.len(), 2);
}

/// Check 7: where a policy server is in force and in the room, what it has not signed is there and not shown; history is,
/// and the room's own business goes on.
#[tokio::test]
async fn what_the_policy_server_has_not_signed_is_not_shown() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let room = alice.client.create("Policy").await.unwrap();
    let mut mallory = witness(&world, &room, 1).await;
    let engine = world.engine(A);
    let policy = SigningIdentity::from_seed("matrix.example", "ed25519:policy_server", &[7; 32]);
    let other = SigningIdentity::from_seed("matrix.example", "ed25519:policy_server", &[8; 32]);
    let names =
        |via: &str| json!({ "via": via, "public_keys": { "ed25519": policy.verify_key().to_base64() } });
    let graph = mallory.graph.clone();
    let in_force = async |via: &str| {
        let (kind, key) = ("m.room.policy".to_owned(), Some(String::new()));
        engine
            .graph_send(ctx(), &graph, kind, key, names(via))
            .await
            .unwrap();
    };
    // One that has nobody in the room is not asked.
    in_force("elsewhere.example").await;
    let says = async |mallory: &mut Mallory, body: &str| {
        mallory
            .event(&engine, "m.room.message", None, json!({ "body": body }))
            .await
    };
    let unsigned = says(&mut mallory, "before").await;
    assert_eq!(
        mallory.give(&engine, vec![unsigned], false).await,
        [Fate::Accepted]
    );

    in_force("matrix.example").await;
    for (body, signed_by, past) in [
        ("bare", None, false),
        ("forged", Some(&other), false),
        ("signed", Some(&policy), false),
        ("old", None, true),
    ] {
        let mut pdu = says(&mut mallory, body).await;
        if let Some(identity) = signed_by {
            pdu = pdu.countersign(identity).unwrap();
        }
        let id = pdu.event_id();
        let fate = mallory.give(&engine, vec![pdu], past).await.remove(0);
        let (heads, _) = engine.graph_state(ctx(), &mallory.graph).await.unwrap();
        if body == "bare" || body == "forged" {
            assert!(matches!(fate, Fate::SoftFailed(_)), "{body}: {fate:?}");
            assert!(!heads.heads.contains(&id), "{body}");
        } else {
            assert_eq!(fate, Fate::Accepted, "{body}");
        }
    }
    alice.say(&room, "still here").await;
    world.restart(A).await;
    alice.client.renew_keys(&room).await.unwrap();
    assert_eq!(texts(&alice.texts(&room).await), ["still here"]);
}
