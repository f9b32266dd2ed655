#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;
use crate::failure::Code;

const SMALL: &str = r#"
[provider]
domain = "a.example"
node_name = "cw1.a.example"

[mimi]
listen = "127.0.0.1:8443"
certificate = "mimi.pem"
key = "mimi.key"
trusted_ca = ["ca.pem"]
"#;

fn env(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn read(text: &str, pairs: &[(&str, &str)]) -> Result<Config, crate::failure::Failure> {
    parse(text, "causeway.toml", "/etc/causeway".into(), &env(pairs))
}

#[test]
fn a_small_configuration_has_defaults_everywhere_else() {
    let config = read(SMALL, &[]).unwrap();
    assert_eq!(config.problems(), []);
    assert_eq!(config.advertised(), "a.example");
    assert_eq!(
        config.path(&config.store.path),
        PathBuf::from("/etc/causeway/data")
    );
    assert_eq!(config.limits, LimitsConfig::default());
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    let text = SMALL.replace("listen =", "listn =");
    let failure = read(&text, &[]).unwrap_err();
    assert_eq!(failure.code(), Code::ConfigUnknownKey);
    assert_eq!(failure.cause(), "causeway.toml:7: [mimi] has no key `listn`");
    assert_eq!(failure.remedy(), "did you mean `listen`?");

    let failure = read(&format!("{SMALL}\n[homserver]\nurl = \"\"\n"), &[]).unwrap_err();
    assert!(
        failure.cause().contains("the top level has no key `homserver`"),
        "{}",
        failure.cause()
    );
    assert_eq!(failure.remedy(), "did you mean `homeserver`?");

    let failure = read(
        &format!("{SMALL}\n[peers.\"b.example\"]\nadress = \"127.0.0.1:1\"\n"),
        &[],
    )
    .unwrap_err();
    assert!(
        failure.cause().contains("[peers.b.example] has no key `adress`"),
        "{}",
        failure.cause()
    );
    assert_eq!(failure.remedy(), "did you mean `address`?");

    let failure = read(&format!("{SMALL}\n[homeserver]\nzzz = 1\n"), &[]).unwrap_err();
    assert_eq!(
        failure.remedy(),
        "remove it; known here: openid_url, server_name, url"
    );
}

#[test]
fn a_wrong_type_names_its_line() {
    let failure = read(&SMALL.replace("\"127.0.0.1:8443\"", "8443"), &[]).unwrap_err();
    assert_eq!(failure.code(), Code::ConfigSyntax);
    assert!(
        failure.cause().starts_with("causeway.toml:7: "),
        "{}",
        failure.cause()
    );
    let failure = read("[provider\n", &[]).unwrap_err();
    assert_eq!(failure.code(), Code::ConfigSyntax);
}

#[test]
fn the_environment_overrides_and_adds() {
    let config = read(
        SMALL,
        &[
            ("CAUSEWAY__LOG__FORMAT", "json"),
            ("CAUSEWAY__LIMITS__CONNECTIONS", "7"),
            ("CAUSEWAY__MIMI__LISTEN", "127.0.0.1:1"),
            ("CAUSEWAY__MIMI__TRUSTED_CA", "[\"x.pem\", \"y.pem\"]"),
            ("CAUSEWAY__ADMIN__TOKEN", "s3cret"),
            ("CAUSEWAY__PEERS__b.example__ADDRESS", "127.0.0.1:2"),
            ("CAUSEWAY__HOMESERVER__URL", "http://127.0.0.1:8008"),
            ("CAUSEWAY__HOMESERVER__SERVER_NAME", "a.example"),
            ("CAUSEWAY_CONFIG", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.limits.connections, 7);
    assert_eq!(config.mimi.listen.port(), 1);
    assert_eq!(config.mimi.trusted_ca.len(), 2);
    assert!(config.admin.token.as_ref().unwrap().matches("s3cret"));
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(config.peers.len(), 1);
    assert_eq!(
        config.homeserver.as_ref().unwrap().openid_url(),
        "http://127.0.0.1:8008"
    );
    assert_eq!(
        config.problems().iter().map(|p| p.key).collect::<Vec<_>>(),
        ["appservice"]
    );
}

#[test]
fn an_unknown_variable_is_refused_by_name() {
    let failure = read(SMALL, &[("CAUSEWAY__LOG__FORMT", "json")]).unwrap_err();
    assert_eq!(failure.code(), Code::ConfigUnknownKey);
    assert_eq!(failure.cause(), "CAUSEWAY__LOG__FORMT: [log] has no key `formt`");
    assert_eq!(failure.remedy(), "did you mean `format`?");
    let failure = read(SMALL, &[("CAUSEWAY__LIMITS__CONNECTIONS", "many")]).unwrap_err();
    assert_eq!(failure.code(), Code::ConfigSyntax);
    assert!(failure.cause().contains("CAUSEWAY__LIMITS__CONNECTIONS"));
    let failure = read(SMALL, &[("CAUSEWAY__LOG__FORMAT", "xml")]).unwrap_err();
    assert!(
        failure.cause().starts_with("CAUSEWAY__LOG__FORMAT: "),
        "{}",
        failure.cause()
    );
}

#[test]
fn a_secret_in_the_file_is_refused() {
    let failure = read(&format!("{SMALL}\n[admin]\ntoken = \"s3cret\"\n"), &[]).unwrap_err();
    assert_eq!(failure.code(), Code::ConfigSecret);
    assert!(!failure.report().contains("s3cret"));
    assert!(failure.remedy().contains("CAUSEWAY__ADMIN__TOKEN"));
}

#[test]
fn problems_are_all_named() {
    let mut config = example::sample().unwrap();
    assert_eq!(config.problems(), []);
    config.provider.node_name = "a.example".into();
    config.mimi.host = Some("https://mimi.a.example".into());
    config.mimi.trusted_ca.clear();
    config.limits.connections = 0;
    config.homeserver.as_mut().unwrap().url = "localhost".into();
    let keys: Vec<_> = config.problems().iter().map(|p| p.key).collect();
    assert_eq!(
        keys,
        [
            "mimi.host",
            "mimi.trusted_ca",
            "provider.node_name",
            "homeserver.url",
            "limits.connections"
        ]
    );
}

#[test]
fn the_annotated_example_is_valid_with_and_without_its_options() {
    let text = example::annotated().unwrap();
    let bare = read(&text, &[]).unwrap();
    assert_eq!(bare.problems(), []);
    assert!(bare.homeserver.is_none());
    let mut full = read(&example::uncommented(&text), &[]).unwrap();
    full.base = PathBuf::new();
    assert_eq!(full, example::sample().unwrap());
    for (at, line) in text.lines().enumerate() {
        if line.contains(" = ") {
            let before = text.lines().nth(at - 1).unwrap();
            assert!(before.starts_with("# "), "no description above {line}");
        }
    }
}
