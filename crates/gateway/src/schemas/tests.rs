#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

//! The files in the repository are what the program says. To renew them: `CAUSEWAY_BLESS=1 cargo test -p causeway`.

use super::*;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn current(file: &str, text: &str) {
    let path = root().join(file);
    if std::env::var_os("CAUSEWAY_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "{file} is out of date: renew it with CAUSEWAY_BLESS=1 cargo test -p causeway"
    );
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

#[test]
fn the_files_are_current() {
    current("schemas/config.json", &pretty(&config()));
    current("schemas/client-api.json", &pretty(&client_api()));
    current("schemas/admin-api.json", &pretty(&admin_api()));
    current("schemas/events.json", &pretty(&events()));
    current("schemas/doctor.json", &pretty(&doctor()));
    current(
        "docs/causeway.example.toml",
        &crate::config::example::annotated().unwrap(),
    );
}

#[test]
fn references_lead_somewhere() {
    for document in [config(), client_api(), admin_api(), events(), doctor()] {
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(to)) = object.get("$ref") {
                        let pointer = to.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{to}");
                    }
                    open.extend(object.values());
                }
                Value::Array(all) => open.extend(all),
                _ => {}
            }
        }
    }
}

#[test]
fn the_example_configuration_fits_its_schema() {
    let validator = jsonschema::validator_for(&config()).unwrap();
    let text = crate::config::example::annotated().unwrap();
    for text in [crate::config::example::uncommented(&text), text] {
        let value: Value = toml::from_str(&text).unwrap();
        assert_eq!(
            validator
                .iter_errors(&value)
                .map(|e| e.to_string())
                .collect::<Vec<_>>(),
            Vec::<String>::new()
        );
    }
    assert!(!validator.is_valid(&json!({"provider": {"domain": "a.example", "node": "x"}})));
}

#[test]
fn every_failure_has_its_page() {
    for code in crate::failure::Code::ALL {
        let path = root().join(format!("docs/errors/{}.md", code.name()));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for section in [
            format!("# {}", code.name()),
            "## Cause".to_owned(),
            "## Remedy".to_owned(),
        ] {
            assert!(page.contains(&section), "{} lacks {section}", path.display());
        }
    }
}
