//! `causeway appservice registration`

use crate::cli::{doctor, output, runtime};
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::{files, matrix};
use appservice::{Difference, Registration};
use serde::Serialize;
use std::path::Path;

/// The registration that goes with the configuration.
pub(super) fn wanted(config: &Config) -> Result<Registration, Failure> {
    let name = config.homeserver.as_ref().map_or("", |h| h.server_name.as_str());
    let tokens = matrix::tokens(config)?;
    let listen = config.appservice.as_ref().map(|a| a.listen);
    // How the homeserver reaches us only the file that is there can say.
    let url = matrix::registration(config)
        .ok()
        .and_then(|there| there.url)
        .or_else(|| listen.map(|l| format!("http://{l}")))
        .unwrap_or_default();
    Registration::with_tokens(name, &url, tokens.as_token, tokens.hs_token).map_err(|e| {
        Failure::new(
            Code::Registration,
            "the registration can't be made",
            "check homeserver.server_name and url in the registration",
        )
        .with_source(e)
    })
}

fn text(registration: &Registration) -> Result<zeroize::Zeroizing<String>, Failure> {
    registration.to_yaml().map_err(|e| {
        Failure::new(Code::Internal, "the registration can't be written", "report this").with_source(e)
    })
}

pub(super) fn show(config: &Config, out: Option<&Path>, json: bool) -> Result<(), Failure> {
    let mut registration = wanted(config)?;
    if let Some(out) = out {
        files::write_secret(out, &text(&registration)?)?;
        println!("written to {}; give it to the homeserver's user", out.display());
        return Ok(());
    }
    registration.as_token = appservice::Secret::new("hidden");
    registration.hs_token = appservice::Secret::new("hidden");
    if json {
        output::json(&registration)
    } else {
        print!("{}", text(&registration)?.as_str());
        Ok(())
    }
}

/// What `--diff --json` prints.
#[derive(Serialize)]
struct Compared {
    /// Differences to the file.
    differences: Vec<Difference>,
    /// What the running homeserver does otherwise; absent if only a file was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Vec<Running>>,
}

#[derive(Serialize)]
struct Running {
    probe: String,
    cause: String,
    remedy: String,
}

pub(super) fn diff(config: &Config, file: Option<&Path>, json: bool) -> Result<(), Failure> {
    let path = file.map_or_else(|| matrix::registration_path(config), Path::to_owned);
    let there = matrix::read(&path)?;
    let differences = wanted(config)?.diff(&there);
    let running = match file {
        Some(_) => None,
        None => Some(
            doctor::homeserver::differences(config, &runtime()?)?
                .into_iter()
                .map(|(probe, finding)| Running {
                    probe,
                    cause: finding.cause,
                    remedy: finding.remedy,
                })
                .collect::<Vec<_>>(),
        ),
    };
    let count = differences.len() + running.as_ref().map_or(0, Vec::len);
    let compared = Compared { differences, running };
    if json {
        output::json(&compared)?;
    } else {
        print(&compared, &path.display().to_string());
    }
    if count == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Code::CheckFailed,
        format!("{count} differences"),
        "give the homeserver the registration that goes with the configuration, and restart it",
    ))
}

fn print(compared: &Compared, path: &str) {
    if compared.differences.is_empty() {
        println!("{path} is as it should be");
    }
    for difference in &compared.differences {
        println!("{}", difference.key);
        println!("  - {}", difference.running);
        println!("  + {}", difference.wanted);
    }
    let Some(running) = &compared.running else { return };
    if running.is_empty() {
        println!("the running homeserver behaves as this registration demands");
    }
    for one in running {
        println!("{}: {}\n  remedy: {}", one.probe, one.cause, one.remedy);
    }
}
