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
        let report = check(&read(&std::fs::read(&file).unwrap()).unwrap(), &name);
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

#[test]
fn a_changed_fixture_does_not_pass() {
    let Some(data) = data() else { return };
    let text = std::fs::read_to_string(data.join("synapse/v12-ban_vs_activity.json")).unwrap();
    let passes = |text: &str| check(&read(text.as_bytes()).unwrap(), "changed").passed();
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
