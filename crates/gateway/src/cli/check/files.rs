//! Key files and secrets.

use super::{Finding, Probe};
use crate::config::{Config, Secret};
use crate::files::open_to_others;
use crate::keys::{KeyFile, KeyKind};
use std::path::PathBuf;

struct KeyProbe {
    what: &'static str,
    path: PathBuf,
    kind: KeyKind,
}

impl Probe for KeyProbe {
    fn run(&self) -> Finding {
        match KeyFile::load(&self.path, self.kind) {
            Ok(_) => Finding::ok(format!("{} {}", self.what, self.path.display())),
            Err(failure) => Finding::of(&failure),
        }
    }
}

struct SecretProbe {
    what: &'static str,
    path: PathBuf,
}

impl Probe for SecretProbe {
    fn run(&self) -> Finding {
        if open_to_others(&self.path) == Some(true) {
            return Finding::warning(
                format!("{} {} is readable by others", self.what, self.path.display()),
                "chmod 0600 it; if anybody untrusted has access to this machine, replace it",
            );
        }
        match Secret::from_file(&self.path) {
            Ok(_) => Finding::ok(format!("{} {}", self.what, self.path.display())),
            Err(failure) => Finding::of(&failure),
        }
    }
}

pub(super) fn probes(config: &Config) -> Vec<Box<dyn Probe>> {
    let keys = &config.keys;
    let mut all: Vec<Box<dyn Probe>> = Vec::new();
    for (what, path, kind) in [
        ("node key", &keys.node, KeyKind::Ed25519),
        ("hub key", &keys.hub, KeyKind::Ed25519),
        ("franking key", &keys.franking, KeyKind::Ed25519),
        ("frank HMAC key", &keys.hub_key, KeyKind::HmacSha256),
    ] {
        all.push(Box::new(KeyProbe {
            what,
            path: config.path(path),
            kind,
        }));
    }
    let appservice = config.appservice.as_ref();
    for (what, path) in [
        (
            "admin token",
            config
                .admin
                .token_file
                .as_ref()
                .filter(|_| config.admin.token.is_none()),
        ),
        ("as_token", appservice.and_then(|a| a.as_token_file.as_ref())),
        ("hs_token", appservice.and_then(|a| a.hs_token_file.as_ref())),
    ] {
        if let Some(path) = path {
            all.push(Box::new(SecretProbe {
                what,
                path: config.path(path),
            }));
        }
    }
    all
}
