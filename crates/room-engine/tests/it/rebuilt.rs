//! A hub whose store is lost: its rooms are made again from their graphs, as a witness gives them.

use event_graph::{Draft, EventId, Pdu, RoomVersion};
use room_engine::graphs::GraphCommand;
use room_engine::{Engine, Refusal};
use serde_json::json;
use std::sync::Arc;
use store::{MemoryStore, Space};

use crate::follower::texts;
use crate::world::{A, B, World, ctx, keys, uri};

const VERSION: RoomVersion = RoomVersion::V12;

/// Every event of a room's graph, as a witness would give them.
async fn witnessed(world: &World, room: &str) -> (String, Vec<Pdu>) {
    let engine = world.engine(A);
    let graph = engine.graph_of(&uri(room)).await.unwrap().unwrap();
    let mut events = Vec::new();
    for line in engine.graph_events(&graph).await.unwrap() {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let id = line["unsigned"]["event_id"].as_str().unwrap();
        let octets = world
            .store(A)
            .get(Space::Event, id.as_bytes())
            .await
            .unwrap()
            .unwrap();
        events.push(Pdu::parse_trusted(&octets, VERSION).unwrap());
    }
    (graph, events)
}

/// The hub's new store, which knows that a graph is.
async fn burnt(world: &Arc<World>, graph: &str) -> Engine {
    world.stop(A).await;
    world.start(A, Arc::new(MemoryStore::new())).await;
    let engine = world.engine(A);
    let establish = GraphCommand::Establish { version: VERSION };
    engine.graph(ctx(), graph, establish).await.unwrap();
    engine
}

/// The hub's next event in a graph with this history, on top of `parent`.
fn own_event(
    engine: &Engine,
    history: &[Pdu],
    kind: &str,
    state_key: Option<String>,
    parent: EventId,
) -> Pdu {
    let id_of = |kind: &str| {
        history
            .iter()
            .rfind(|e| e.event_type() == kind)
            .unwrap()
            .event_id()
    };
    let last = history.last().unwrap();
    let draft = Draft {
        room_id: Some(last.room_id().to_owned()),
        event_type: kind.to_owned(),
        sender: engine.node_user(),
        state_key,
        content: json!({ "membership": "join" }),
        prev_events: vec![parent],
        auth_events: ["m.room.power_levels", "m.room.join_rules", "m.room.member"]
            .map(id_of)
            .to_vec(),
        depth: last.depth() + 1,
        origin_server_ts: last.origin_server_ts(),
    };
    draft.sign(&keys(A).node, VERSION).unwrap()
}

async fn admit(engine: &Engine, graph: &str, pdus: Vec<Pdu>, past: bool) {
    let admit = GraphCommand::Admit {
        origin: None,
        pdus,
        past,
    };
    engine.graph(ctx(), graph, admit).await.unwrap();
}

/// Takes part in the graph again: its history, and this node's own join on top of it.
async fn joined(engine: &Engine, graph: &str, history: Vec<Pdu>) {
    let last = history.last().unwrap().event_id();
    let own = own_event(engine, &history, "m.room.member", Some(engine.node_user()), last);
    admit(engine, graph, history, true).await;
    admit(engine, graph, vec![own], false).await;
}

#[tokio::test]
async fn a_room_goes_on_from_what_a_witness_holds() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut amy, _) = world.user(A, "amy").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let (mut carol, _) = world.user(B, "carol").await;
    let room = alice.client.create("club").await.unwrap();
    let users = [
        "mimi://a.example/u/amy",
        "mimi://b.example/u/bob",
        "mimi://b.example/u/carol",
    ];
    alice.client.add(&room, &users.map(uri)).await.unwrap();
    world.quiet().await;
    for (person, text) in [(&mut alice, "one"), (&mut bob, "two"), (&mut amy, "three")] {
        person.client.sync().await.unwrap();
        person.say(&room, text).await;
    }
    // Behind the newest tree: keys renewed, somebody who left and was committed out, messages.
    amy.client.sync().await.unwrap();
    amy.client.renew_keys(&room).await.unwrap();
    world.quiet().await;
    carol.client.sync().await.unwrap();
    carol.client.leave(&room).await.unwrap();
    world.quiet().await;
    alice.client.sync().await.unwrap();
    world.quiet().await;
    bob.client.sync().await.unwrap();
    bob.say(&room, "four").await;
    world.quiet().await;
    let before = world.engine(A).room(&uri(&room)).await.unwrap().unwrap();
    let told = alice.texts(&room).await;
    amy.client.sync().await.unwrap();

    let (graph, events) = witnessed(&world, &room).await;
    let engine = burnt(&world, &graph).await;
    assert!(matches!(
        engine.rebuild_room(ctx(), &graph, true).await,
        Err(Refusal::Malformed { .. })
    ));
    joined(&engine, &graph, events.clone()).await;
    // Something stands on what has not come yet.
    let missing: EventId = format!("${}", "A".repeat(43)).parse().unwrap();
    let waits = own_event(&engine, &events, "m.room.message", None, missing);
    admit(&engine, &graph, vec![waits.clone()], false).await;
    let planned = engine.rebuild_room(ctx(), &graph, true).await.unwrap();
    assert_eq!(planned.epoch, before.epoch);
    assert_eq!((planned.entries, planned.messages), (before.log_entries, 4));
    assert!(planned.begins_at < planned.entries);
    assert_eq!(planned.peers, [crate::world::domain(B)].into());
    assert!(
        engine.room(&uri(&room)).await.unwrap().is_none(),
        "that was a trial"
    );
    assert_eq!(engine.rebuild_room(ctx(), &graph, false).await.unwrap(), planned);
    assert!(matches!(
        engine.rebuild_room(ctx(), &graph, false).await,
        Err(Refusal::Conflict { .. } | Refusal::Unknown { .. })
    ));
    // It waits on, with the room now.
    let (heads, _) = engine.graph_state(ctx(), &graph).await.unwrap();
    assert_eq!(
        (heads.held, heads.missing),
        (vec![waits.event_id()], vec![missing])
    );
    let after = engine.room(&uri(&room)).await.unwrap().unwrap();
    assert_eq!(
        (
            &after.participants,
            after.epoch,
            after.log_entries,
            after.events,
            &after.name
        ),
        (
            &before.participants,
            before.epoch,
            before.log_entries,
            before.events + 1,
            &before.name
        )
    );

    // Who knew the room reads on, has nothing twice, and goes on in it; a restart changes nothing.
    let mut alice = world.user_again(A, "alice", alice).await;
    let mut amy = world.user_again(A, "amy", amy).await;
    assert_eq!(texts(&alice.texts(&room).await), texts(&told));
    alice.say(&room, "after the fire").await;
    world.restart(A).await;
    bob.client.sync().await.unwrap();
    bob.say(&room, "still here").await;
    world.quiet().await;
    let (mut dora, _) = world.user(B, "dora").await;
    amy.client.sync().await.unwrap();
    amy.client
        .add(&room, &[uri("mimi://b.example/u/dora")])
        .await
        .unwrap();
    world.quiet().await;
    dora.client.sync().await.unwrap();
    dora.say(&room, "new").await;
    world.quiet().await;
    let all = [
        "one",
        "two",
        "three",
        "four",
        "after the fire",
        "still here",
        "new",
    ];
    for person in [&mut alice, &mut amy, &mut bob] {
        assert_eq!(texts(&person.texts(&room).await), all);
    }
}

#[tokio::test]
async fn what_a_witness_lacks_is_named() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let room = alice.client.create("club").await.unwrap();
    alice
        .client
        .add(&room, &[uri("mimi://b.example/u/bob")])
        .await
        .unwrap();
    world.quiet().await;
    for _ in 0..3 {
        alice.client.renew_keys(&room).await.unwrap();
    }
    world.quiet().await;
    bob.client.sync().await.unwrap();
    bob.say(&room, "after all of them").await;
    let (graph, events) = witnessed(&world, &room).await;
    let entries: Vec<usize> = (0..events.len())
        .filter(|at| events[*at].event_type() == "org.causeway.handshake")
        .collect();
    assert_eq!(entries.len(), 5);
    let mut reasons = Vec::new();
    for lacks in [&entries[3..4], &entries[4..5], &entries[..2], &entries[..]] {
        let engine = burnt(&world, &graph).await;
        // What stands on what is missing came for the sake of others.
        let behind: Vec<Pdu> = (lacks[0]..events.len())
            .filter(|at| !lacks.contains(at))
            .map(|at| events[at].clone())
            .collect();
        joined(&engine, &graph, events[..lacks[0]].to_vec()).await;
        let outliers = GraphCommand::Outliers { pdus: behind };
        engine.graph(ctx(), &graph, outliers).await.unwrap();
        let refused = engine.rebuild_room(ctx(), &graph, false).await.unwrap_err();
        reasons.push(refused.to_string());
        assert!(engine.room(&uri(&room)).await.unwrap().is_none());
    }
    // Nothing is missing, and one place is taken twice: what the node signed before, and what it signed when it was not
    // sure of that.
    let last = &events[entries[4]];
    let draft = Draft {
        room_id: Some(graph.clone()),
        event_type: last.event_type().to_owned(),
        sender: last.sender().to_owned(),
        state_key: None,
        content: last.content_value(),
        prev_events: last.prev_events().to_vec(),
        auth_events: last.auth_events().to_vec(),
        depth: last.depth(),
        origin_server_ts: last.origin_server_ts() + 1,
    };
    let second = draft.sign(&keys(A).node, VERSION).unwrap();
    let engine = burnt(&world, &graph).await;
    joined(&engine, &graph, events.clone()).await;
    assert!(engine.rebuild_room(ctx(), &graph, true).await.is_ok());
    admit(&engine, &graph, vec![second], false).await;
    let refused = engine.rebuild_room(ctx(), &graph, false).await.unwrap_err();
    reasons.push(refused.to_string());
    assert!(engine.room(&uri(&room)).await.unwrap().is_none());
    assert!(
        reasons[0].contains("does not follow") || reasons[0].contains("begins at"),
        "{reasons:?}"
    );
    assert!(reasons[1].contains("a message stands on entry"), "{reasons:?}");
    assert!(reasons[2].contains("a group can't begin there"), "{reasons:?}");
    assert!(reasons[3].contains("no entry"), "{reasons:?}");
    assert!(reasons[4].contains("two entries for place 5"), "{reasons:?}");
}
