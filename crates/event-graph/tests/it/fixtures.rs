use event_graph::replay::{check, read};

use crate::data;

#[test]
fn every_recorded_room_agrees() {
    let Some(data) = data() else { return };
    let mut files: Vec<_> = std::fs::read_dir(data.join("synapse"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let (mut rooms, mut resolutions, mut views, mut soft) = (0, 0, 0, (0, 0));
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let recorded = name.starts_with("v1") || name.starts_with("synthetic-");
        if !recorded || file.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let report = check(&read(&std::fs::read(&file).unwrap(), None).unwrap(), &name);
        assert!(report.passed(), "{name}: {:#?}", report.differences);
        rooms += 1;
        resolutions += report.resolutions;
        views += report.views;
        soft = (soft.0 + report.soft_failures.0, soft.1 + report.soft_failures.1);
    }
    println!(
        "{rooms} files, {resolutions} resolutions, {views} views, soft failures {} of {}",
        soft.0, soft.1
    );
    assert!(rooms >= 50 && resolutions > 800 && views > 100);
}

/// Rooms recorded from Synapse 1.163.2 for what the others lack: third-party invites, restricted and knocking joins,
/// string power levels, redactions on both sides of a cut, upgrades, and forks of up to five parents with rejected
/// events, made by hand and sent as a server would. `idle-branch` files are random forks of which the graph rejects an
/// event that their maker took.
#[test]
fn every_room_of_our_own_agrees() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut rooms = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let report = check(&read(&std::fs::read(&file).unwrap(), None).unwrap(), &name);
        assert!(report.passed(), "{name}: {:#?}", report.differences);
        assert!(report.resolutions > 0, "{name}");
        rooms += 1;
    }
    assert!(rooms >= 10, "{rooms}");
}

#[test]
fn a_changed_fixture_does_not_pass() {
    let Some(data) = data() else { return };
    let text = std::fs::read_to_string(data.join("synapse/v12-ban_vs_activity.json")).unwrap();
    let passes = |text: &str| check(&read(text.as_bytes(), None).unwrap(), "changed").passed();
    assert!(passes(&text));
    assert!(!passes(&text.replacen(
        "\"membership\":\"ban\"",
        "\"membership\":\"leave\"",
        1
    )));
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Another outcome of the first recorded resolution, and another current state of a view.
    let resolved = value["resolutions"][0]["resolved"].as_str().unwrap().to_owned();
    value["state_maps"][&resolved].as_array_mut().unwrap().pop();
    assert!(!passes(&value.to_string()));
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let view = value["views"]
        .as_object_mut()
        .unwrap()
        .values_mut()
        .next()
        .unwrap();
    view["current_state"].as_array_mut().unwrap().pop();
    assert!(!passes(&value.to_string()));
}

#[test]
fn rooms_can_be_shown_and_explained() {
    let Some(data) = data() else { return };
    let document = read(
        &std::fs::read(data.join("synapse/v11-ban_vs_activity.json")).unwrap(),
        None,
    )
    .unwrap();
    let mut room = event_graph::replay::LoadedRoom::of(&document, 0).unwrap();
    let timeline = event_graph::replay::timeline(&mut room);
    assert_eq!(
        timeline.lines().filter(|l| l.contains(" <")).count(),
        room.pdus.len()
    );
    assert!(event_graph::replay::dot(&room).starts_with("digraph"));
    let svg = event_graph::replay::svg(&room);
    assert_eq!(svg.matches("<text").count(), room.pdus.len());
    let ids: Vec<_> = room.pdus.keys().copied().collect();
    for id in ids {
        let explanation = event_graph::replay::explain(&room, &id.to_string()).unwrap();
        assert_eq!(explanation.check_4, None, "{explanation}");
        let text = explanation.to_string();
        assert_eq!(
            text.contains("soft-failed on arrival at"),
            room.soft_failed.contains_key(&id)
        );
    }
    assert!(!room.soft_failed.is_empty());
    assert!(timeline.contains("** soft-failed by"));
    assert!(event_graph::replay::explain(&room, "$nothing").is_none());
    let shown = event_graph::replay::overview(&mut room);
    assert_eq!(shown.events.len(), room.pdus.len());
}
