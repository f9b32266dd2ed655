//! `causeway graph` on recorded rooms and on files that are none, through the binary.

use causeway_tests::provider::binary;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code, standard output, standard error.
fn graph(arguments: &[&str], file: &Path, rest: &[&str]) -> (i32, String, String) {
    let output = Command::new(binary().unwrap())
        .arg("graph")
        .args(arguments)
        .arg(file)
        .args(rest)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// A recorded room; none, with a note, where the data isn't there.
fn recorded(name: &str) -> Option<PathBuf> {
    let path = causeway_tests::shared_data().join("synapse").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
    println!("SKIPPED: {} is missing", path.display());
    None
}

#[test]
fn check_tells_pass_fail_and_unreadable_apart() {
    let Some(room) = recorded("v12-ban_vs_activity.json") else {
        return;
    };
    let (code, out, _) = graph(&["check"], &room, &[]);
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("PASS v12-ban_vs_activity.json: "), "{out}");
    let (_, out, _) = graph(&["check", "--json"], &room, &[]);
    let reports: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(reports[0]["passed"], true);

    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(&room).unwrap();
    let changed = folder.path().join("changed.json");
    std::fs::write(
        &changed,
        text.replacen("\"membership\":\"ban\"", "\"membership\":\"leave\"", 1),
    )
    .unwrap();
    let (code, out, _) = graph(&["check"], &changed, &[]);
    assert_eq!(code, 1);
    assert!(out.starts_with("FAIL changed.json: "), "{out}");

    let cut = folder.path().join("cut.json");
    std::fs::write(&cut, &text[..text.len() / 2]).unwrap();
    // What can be read is checked all the same.
    let (code, out, errors) = graph(&["check"], &cut, &[room.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(out.starts_with("PASS "), "{out}");
    assert!(
        errors.starts_with("error[graph-file]: ") && errors.contains("cut.json"),
        "{errors}"
    );
    assert_eq!(graph(&["check"], &folder.path().join("nowhere"), &[]).0, 2);
}

#[test]
fn resolve_prints_the_state_and_what_it_took() {
    let Some(room) = recorded("v11-mutual_demotion.json") else {
        return;
    };
    let (code, out, errors) = graph(&["resolve", "--json", "--runs", "3"], &room, &[]);
    assert_eq!(code, 0, "{errors}");
    let measured: Value = serde_json::from_str(&out).unwrap();
    for key in [
        "events",
        "contested",
        "load_ms",
        "load_us_per_event",
        "index_bytes_per_event",
        "resolve_ms",
        "resolve_ms_median",
    ] {
        assert!(measured[key].is_number(), "{key}");
    }
    let state: Vec<(String, String, String)> = serde_json::from_value(measured["state"].clone()).unwrap();
    assert!(state.len() > 5 && state.is_sorted());
}

#[test]
fn show_and_explain_mark_what_fared_badly() {
    let Some(room) = recorded("v11-ban_vs_activity.json") else {
        return;
    };
    let (code, timeline, _) = graph(&["show"], &room, &[]);
    assert_eq!(code, 0);
    assert!(timeline.contains("** soft-failed by"), "{timeline}");
    assert!(graph(&["show", "--dot"], &room, &[]).1.starts_with("digraph"));
    assert!(graph(&["show", "--svg"], &room, &[]).1.starts_with("<svg"));
    let (_, out, _) = graph(&["show", "--json"], &room, &[]);
    let shown: Value = serde_json::from_str(&out).unwrap();
    let events = shown["events"].as_array().unwrap();
    let fared = |how: &str| {
        let event = events
            .iter()
            .find(|e| e["verdict"].as_str().unwrap().starts_with(how))
            .unwrap();
        event["event_id"].as_str().unwrap()
    };
    let (code, text, _) = graph(&["explain"], &room, &[fared("accepted")]);
    assert_eq!(code, 0);
    assert!(
        text.contains("check 5, against the state before it: allowed"),
        "{text}"
    );
    let (_, text, _) = graph(&["explain"], &room, &[fared("soft-failed")]);
    assert!(
        text.contains("soft-failed on arrival at ") && text.contains("forbidden by rule "),
        "{text}"
    );
    let (_, out, _) = graph(&["explain", "--json"], &room, &[fared("soft-failed")]);
    let explained: Value = serde_json::from_str(&out).unwrap();
    assert!(explained["broken"]["number"].is_string());
    assert_eq!(graph(&["explain"], &room, &["$nothing"]).0, 1);
}
