//! A hub that has lost its store asks its peers how far a room had come, before it goes on from what a witness gave.

use super::scene::{DORA, Scene, scene, uri};
use super::*;
use event_graph::{Draft, Pdu, RoomVersion};
use room_engine::RequestContext;
use room_engine::graphs::GraphCommand;
use store::Space;

const VERSION: RoomVersion = RoomVersion::V12;

/// The graph's events now.
async fn witnessed(scene: &Scene, graph: &str) -> Vec<Pdu> {
    let engine = scene.a.service.engine();
    let mut events = Vec::new();
    for line in engine.graph_events(graph).await.unwrap() {
        let line: Value = serde_json::from_str(&line).unwrap();
        let id = line["unsigned"]["event_id"].as_str().unwrap();
        let octets = scene
            .a
            .store
            .get(Space::Event, id.as_bytes())
            .await
            .unwrap()
            .unwrap();
        events.push(Pdu::parse_trusted(&octets, VERSION).unwrap());
    }
    events
}

/// The hub anew on an empty store, in the graph as a witness gives it.
async fn burnt(config: &Config, graph: &str, history: &[Pdu]) -> Provider {
    let a = start(config.clone()).await;
    let engine = a.service.engine();
    let ask = async |command| {
        engine
            .graph(RequestContext::default(), graph, command)
            .await
            .unwrap()
    };
    ask(GraphCommand::Establish { version: VERSION }).await;
    let id_of = |kind: &str| {
        history
            .iter()
            .rfind(|e| e.event_type() == kind)
            .unwrap()
            .event_id()
    };
    let last = history.last().unwrap();
    let own = Draft {
        room_id: Some(graph.to_owned()),
        event_type: "m.room.member".to_owned(),
        sender: engine.node_user(),
        state_key: Some(engine.node_user()),
        content: json!({ "membership": "join" }),
        prev_events: vec![last.event_id()],
        auth_events: ["m.room.power_levels", "m.room.join_rules", "m.room.member"]
            .map(id_of)
            .to_vec(),
        depth: last.depth() + 1,
        origin_server_ts: last.origin_server_ts(),
    };
    let own = own
        .sign(&crate::faces::matrix::identity(config).unwrap(), VERSION)
        .unwrap();
    for (pdus, past) in [(history.to_vec(), true), (vec![own], false)] {
        ask(GraphCommand::Admit {
            origin: None,
            pdus,
            past,
        })
        .await;
    }
    a
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_does_not_go_on_behind_its_peers() {
    let mut scene = scene().await;
    let engine = scene.a.service.engine();
    let graph = engine.graph_of(&scene.room).await.unwrap().unwrap();
    let early = witnessed(&scene, &graph).await;
    let dora = super::conversation::Person::new(scene.folder.path(), &scene.a, "dora").await;
    dora.does(&["register-keys"]).await;
    scene.alice.does(&["add", "club", DORA]).await;
    scene.caught_up(&scene.bob, super::scene::BOB).await;
    let late = witnessed(&scene, &graph).await;
    let epoch = engine.room(&scene.room).await.unwrap().unwrap().epoch;

    let path = format!(
        "/graphs/{}/rebuild",
        percent_encoding::utf8_percent_encode(&graph, percent_encoding::NON_ALPHANUMERIC)
    );
    let config = scene.a.config.clone();
    scene.a.service.stop().await;
    let a = burnt(&config, &graph, &early).await;
    let (status, answer) = a.admin(Method::POST, &path, Some(json!({}))).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(answer["code"], "rollback");
    let text = answer["error"].as_str().unwrap();
    assert!(text.contains(&format!("have reached epoch {epoch}")), "{text}");
    assert!(a.service.engine().room(&scene.room).await.unwrap().is_none());
    a.service.stop().await;

    let a = burnt(&config, &graph, &late).await;
    let (status, answer) = a.admin(Method::POST, &path, Some(json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["epoch"], epoch.to_string());
    let here = a
        .service
        .engine()
        .room(&uri(scene.room.as_str()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(here.participants.len(), 4);
    scene.a = a;
    // Members elsewhere notice nothing.
    scene.bob.does(&["send", "club", "still here"]).await;
    scene.stop().await;
}
