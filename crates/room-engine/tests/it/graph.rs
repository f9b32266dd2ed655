//! The graph that a room leaves behind: verifiable by anybody, and whole.

use crate::follower::texts;
use crate::mallory::{Mallory, witness};
use crate::world::{A, B, World, ctx, keys, uri};
use event_graph::auth::auth_keys;
use event_graph::{Draft, EventId, KeyRing, Pdu, RoomVersion, SigningIdentity};
use room_engine::graphs::{Fate, GraphCommand, GraphReply};
use room_engine::{Engine, carrier};
use serde_json::{Value, json};
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

/// An event of the node user behind `parents`, or at the end of the graph.
async fn event(
    engine: &Engine,
    graph: &str,
    (kind, key): (&str, Option<&str>),
    content: Value,
    parents: Option<EventId>,
) -> Pdu {
    let (heads, state) = engine.graph_state(ctx(), graph).await.unwrap();
    let user = engine.node_user();
    let auth_events = auth_keys(RoomVersion::V12, kind, &user, key, &content)
        .unwrap()
        .iter()
        .filter_map(|of| {
            let is_it = |e: &&(String, String, EventId)| e.0 == of.event_type && e.1 == of.state_key;
            state.iter().find(is_it).map(|(.., id)| *id)
        })
        .collect();
    let draft = Draft {
        room_id: Some(graph.to_owned()),
        event_type: kind.to_owned(),
        sender: user,
        state_key: key.map(str::to_owned),
        content,
        prev_events: parents.map_or(heads.heads, |parent| vec![parent]),
        auth_events,
        depth: 1_000,
        origin_server_ts: 1_900_000_000_000,
    };
    draft.sign(&keys(A).node, RoomVersion::V12).unwrap()
}

async fn admit(engine: &Engine, graph: &str, pdus: &[Pdu]) -> Vec<Fate> {
    let admit = GraphCommand::Admit {
        origin: None,
        pdus: pdus.to_vec(),
        past: false,
    };
    match engine.graph(ctx(), graph, admit).await.unwrap() {
        GraphReply::Admitted(admitted) => admitted.fates.into_iter().map(|(_, fate)| fate).collect(),
        other => panic!("{other:?}"),
    }
}

/// Events of one transaction may be about each other.
#[tokio::test]
async fn an_event_that_comes_with_its_redaction_is_redacted() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let room = alice.client.create("Graph").await.unwrap();
    let engine = world.engine(A);
    let graph = engine.graph_of(&uri(&room)).await.unwrap().unwrap();
    let message = ("m.room.message", None);
    let said = event(&engine, &graph, message, json!({ "body": "said" }), None).await;
    let id = said.event_id();
    let redaction = ("m.room.redaction", None);
    let redacts = event(&engine, &graph, redaction, json!({ "redacts": id }), Some(id)).await;
    let fates = admit(&engine, &graph, &[said, redacts]).await;
    assert_eq!(fates, [Fate::Accepted, Fate::Accepted]);
    let key = id.to_string();
    let stored = world.store(A).get(Space::Event, key.as_bytes()).await.unwrap();
    let stored = Pdu::parse_trusted(&stored.unwrap(), RoomVersion::V12).unwrap();
    assert!(stored.is_redacted());
}

#[tokio::test]
async fn an_event_that_comes_with_a_policy_is_judged_by_it() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let room = alice.client.create("Graph").await.unwrap();
    let engine = world.engine(A);
    let graph = engine.graph_of(&uri(&room)).await.unwrap().unwrap();
    let node = keys(A).node;
    let content = json!({
        "via": node.server_name(),
        "public_keys": { "ed25519": node.verify_key().to_base64() },
    });
    let policy = event(&engine, &graph, ("m.room.policy", Some("")), content, None).await;
    let message = ("m.room.message", None);
    let unsigned = json!({ "body": "unsigned" });
    let unsigned = event(&engine, &graph, message, unsigned, Some(policy.event_id())).await;
    let fates = admit(&engine, &graph, &[policy, unsigned]).await;
    assert_eq!(fates[0], Fate::Accepted);
    assert!(matches!(fates[1], Fate::SoftFailed(_)), "{fates:?}");
}
