//! Key files and secrets.

use super::{Finding, Probe};
use crate::config::{Config, Secret};
use crate::failure::Failure;
use crate::files::open_to_others;
use crate::keys::{KeyFile, KeyKind, KeyRing, Ring};
use std::path::{Path, PathBuf};

/// Reads a key file as what it has to be.
type Read = fn(&Path) -> Result<(), Failure>;

struct KeyProbe {
    what: &'static str,
    path: PathBuf,
    read: Read,
}

impl Probe for KeyProbe {
    fn run(&self) -> Finding {
        match (self.read)(&self.path) {
            Ok(()) => Finding::ok(format!("{} {}", self.what, self.path.display())),
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
    let mut all: Vec<Box<dyn Probe>> = vec![Box::new(KeyProbe {
        what: "node key",
        path: config.path(&config.keys.node),
        read: |path| KeyFile::load(path, KeyKind::Ed25519).map(drop),
    })];
    for ring in Ring::ALL {
        let what = match ring {
            Ring::Hub => "hub keys",
            Ring::Franking => "franking keys",
            Ring::HubKey => "frank HMAC keys",
        };
        let read: Read = match ring {
            Ring::Hub | Ring::Franking => |path| KeyRing::load(path, KeyKind::Ed25519).map(drop),
            Ring::HubKey => |path| KeyRing::load(path, KeyKind::HmacSha256).map(drop),
        };
        let path = ring.path(config);
        all.push(Box::new(KeyProbe { what, path, read }));
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
