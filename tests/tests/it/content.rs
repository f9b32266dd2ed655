//! `causeway content` on the official examples, through the binary.

use causeway_tests::provider::binary;
use serde_json::Value;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// What the program makes of this input.
fn content(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(binary().unwrap())
        .arg("content")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A refused command line is an end before the input was read.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn done(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = content(arguments, input);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    output.stdout
}

/// The exit code, and the error's name.
fn refused(arguments: &[&str], input: &[u8]) -> (i32, String) {
    let output = content(arguments, input);
    let errors = String::from_utf8(output.stderr).unwrap();
    let name = errors
        .strip_prefix("error[")
        .and_then(|rest| rest.split_once(']'))
        .map_or("", |(name, _)| name);
    (output.status.code().unwrap(), name.to_owned())
}

/// A file of the shared data; none, with a note, where it isn't there.
fn data(name: &str) -> Option<PathBuf> {
    let path = causeway_tests::shared_data().join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
    println!("SKIPPED: {} is missing", path.display());
    None
}

#[test]
fn the_official_examples_come_back_and_have_the_published_ids() {
    let Some(file) = data("mimi/derived/mimi-content-message-ids.json") else {
        return;
    };
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for case in &cases {
        let text = |field: &str| case[field].as_str().unwrap();
        let Some(example) = data(&format!(
            "mimi/ietf-wg-mimi__draft-ietf-mimi-content/examples/{}.cbor",
            text("name")
        )) else {
            return;
        };
        let octets = std::fs::read(&example).unwrap();
        let json = done(&["decode", example.to_str().unwrap()], b"");
        assert_eq!(done(&["encode", "-"], &json), octets, "{}", text("name"));
        let line = [hex::encode(&octets), "\n".to_owned()].concat().into_bytes();
        assert_eq!(done(&["decode", "--hex", "-"], &line), json);
        assert_eq!(done(&["encode", "--hex", "-"], &json), line);
        assert_eq!(hex::encode(&octets), text("cbor_hex"));
        let who = ["id", "--sender", text("sender_uri"), "--room", text("room_uri")];
        let id = done(&[&who[..], &["-"]].concat(), &octets);
        assert_eq!(
            String::from_utf8(id).unwrap().trim_end(),
            text("message_id_published"),
            "{}",
            text("name")
        );
    }
    assert_eq!(cases.len(), 14);
}

#[test]
fn message_status_reports_too() {
    let Some(file) = data("mimi/rohanmahy__mimi-message-status/status.cbor") else {
        return;
    };
    let octets = std::fs::read(&file).unwrap();
    let json = done(&["decode", file.to_str().unwrap()], b"");
    let report: Vec<Value> = serde_json::from_slice(&json).unwrap();
    assert!(
        report.iter().all(|entry| entry["message_id"].is_string()),
        "{report:?}"
    );
    assert_eq!(done(&["encode", "-"], &json), octets);
}

#[test]
fn what_is_no_content_is_refused_with_a_reason() {
    let content = |code: i32, name: &str| (code, name.to_owned());
    assert_eq!(refused(&["decode", "-"], b""), content(1, "content"));
    assert_eq!(refused(&["decode", "-"], &[0x9f; 4096]), content(1, "content"));
    assert_eq!(refused(&["decode", "--hex", "-"], b"8x"), content(1, "content"));
    assert_eq!(refused(&["encode", "-"], b"{"), content(1, "content"));
    assert_eq!(
        refused(&["encode", "-"], b"{\"salt\":\"00\"}"),
        content(1, "content")
    );
    assert_eq!(refused(&["encode", "-"], b"[7]"), content(1, "content"));
    assert_eq!(refused(&["decode", "/nowhere"], b""), content(2, "usage"));
    let half = ["id", "--sender", "mimi://a.example/u/alice", "-"];
    assert_eq!(refused(&half, b"").0, 2);
    let wrong = ["id", "--sender", "alice", "--room", "mimi://a.example/r/x", "-"];
    assert_eq!(refused(&wrong, b"").0, 2);
    for command in ["decode", "encode", "id"] {
        assert!(!done(&[command, "--help"], b"").is_empty());
    }
}
