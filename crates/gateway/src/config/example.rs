//! The annotated example, made from the doc comments of the sections.

use super::{
    AdminConfig, AppserviceConfig, ClientApiConfig, ClusterConfig, Config, FederationConfig,
    HomeserverConfig, KeysConfig, LimitsConfig, LogConfig, MimiConfig, PeerConfig, PeerDomain, PeerPolicy,
    ProviderConfig, StoreConfig, UsersConfig,
};
use crate::failure::{Code, Failure};
use mimi_wire::Domain;
use serde_json::Value as Json;
use std::fmt::Write as _;

const HEAD: &str = "\
# Configuration of Causeway.
#
# Every key is shown. Lines that start with `#` directly followed by a key or a section are optional: what they show
# is the default, or an example where there is no default. Relative paths start at the folder of this file.
# Any key can be set in the environment, too: CAUSEWAY__SECTION__KEY, for example CAUSEWAY__LOG__FILTER=debug.
# Secrets never stand in this file, but in files of their own (`..._file`) or in the environment.
";

/// A configuration in which every key has a value.
pub fn sample() -> Result<Config, Failure> {
    let domain = |name: &str| {
        Domain::parse(name).map(PeerDomain).map_err(|e| {
            Failure::new(
                Code::Internal,
                format!("the example's domain {name}: {e}"),
                "report this",
            )
        })
    };
    Ok(Config {
        provider: ProviderConfig {
            domain: domain("a.example")?,
            node_name: "cw1.a.example".into(),
        },
        keys: KeysConfig::default(),
        store: StoreConfig::default(),
        mimi: MimiConfig {
            listen: ([0, 0, 0, 0], 8443).into(),
            host: Some("mimi.a.example:8443".into()),
            certificate: "tls/mimi.pem".into(),
            key: "tls/mimi.key".into(),
            trusted_ca: vec!["tls/ca.pem".into()],
            peers: PeerPolicy::default(),
            web_pki_roots: Some("/etc/ssl/certs/ca-certificates.crt".into()),
            private_networks: Vec::new(),
            asset_url: Some("https://assets.a.example".into()),
        },
        peers: [(
            domain("b.example")?,
            PeerConfig {
                address: Some(([192, 0, 2, 7], 8443).into()),
                ca: Some("tls/b.example-ca.pem".into()),
                key_sha256: Vec::new(),
                web_pki: false,
                asset_hosts: Vec::new(),
                allow: true,
            },
        )]
        .into(),
        client_api: ClientApiConfig {
            certificate: Some("tls/client-api.pem".into()),
            key: Some("tls/client-api.key".into()),
            ..ClientApiConfig::default()
        },
        homeserver: Some(HomeserverConfig {
            server_name: "a.example".into(),
            url: "http://127.0.0.1:8008".into(),
            openid_url: Some("http://127.0.0.1:8009".into()),
        }),
        appservice: Some(AppserviceConfig {
            admins: vec!["@admin:a.example".into()],
            room_version: Some("12".into()),
            as_token_file: Some("keys/as.token".into()),
            hs_token_file: Some("keys/hs.token".into()),
            ..AppserviceConfig::new(([127, 0, 0, 1], 8481).into(), "registration.yaml".into())
        }),
        users: UsersConfig::default(),
        cluster: Some(ClusterConfig {
            name: "cw1".into(),
            key: "keys/cluster.key".into(),
            listen: ([192, 0, 2, 1], 8484).into(),
            address: Some("cw1.internal.a.example:8484".into()),
            join: false,
            nodes: Vec::new(),
            election_ms: 1000,
        }),
        federation: Some(FederationConfig::new(
            ([0, 0, 0, 0], 8448).into(),
            "tls/node.pem".into(),
            "tls/node.key".into(),
        )),
        admin: AdminConfig::default(),
        log: LogConfig::default(),
        limits: LimitsConfig::default(),
        file: None,
        base: std::path::PathBuf::new(),
    })
}

/// The text of `docs/causeway.example.toml`.
pub fn annotated() -> Result<String, Failure> {
    let schema = super::schema().to_value();
    let plain = plain(&sample()?)?;
    let mut out = HEAD.to_owned();
    let mut section = &schema;
    let mut optional_section = false;
    for line in plain.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let top = name.split('.').next().unwrap_or(name);
            optional_section = matches!(
                top,
                "peers" | "homeserver" | "appservice" | "cluster" | "federation"
            );
            section = schema
                .pointer(&format!("/properties/{top}"))
                .unwrap_or(&Json::Null);
            out.push('\n');
            comment(&mut out, section);
            section = section
                .get("additionalProperties")
                .filter(|s| s.is_object())
                .unwrap_or(section);
            let mark = if optional_section { "#" } else { "" };
            let _ = writeln!(out, "{mark}{line}");
        } else if let Some((key, _)) = line.split_once(" = ") {
            out.push('\n');
            comment(
                &mut out,
                section
                    .pointer(&format!("/properties/{key}"))
                    .unwrap_or(&Json::Null),
            );
            let required = section
                .get("required")
                .and_then(Json::as_array)
                .is_some_and(|all| all.iter().any(|k| k == key));
            let mark = if required && !optional_section { "" } else { "#" };
            let _ = writeln!(out, "{mark}{line}");
        }
    }
    Ok(out)
}

/// A configuration as TOML, without comments.
pub fn plain(config: &Config) -> Result<String, Failure> {
    toml::to_string(config).map_err(|e| {
        Failure::new(
            Code::Internal,
            "a configuration can't be written as TOML",
            "report this",
        )
        .with_source(e)
    })
}

fn comment(out: &mut String, schema: &Json) {
    let text = schema
        .get("description")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() + 3 > 110 {
            let _ = writeln!(out, "# {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(out, "# {line}");
    }
}

/// Turns the commented keys of [`annotated`] on.
pub fn uncommented(annotated: &str) -> String {
    let keep = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    annotated.lines().map(keep).collect::<Vec<_>>().join("\n")
}
