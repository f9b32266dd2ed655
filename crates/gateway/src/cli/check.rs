//! `causeway check`: what can be found out without the network.

use super::output;
use crate::config::{Config, Environment, load};
use crate::failure::{Code, Failure};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;

mod certificates;
mod files;
mod registration;
mod store;

/// Look for what is wrong, without the network: configuration, keys, certificates, registration, store.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway check              what is wrong, and how to mend it
  causeway check --all        what is right, too
  causeway check --json       for programs: a list of findings
Exits with 7 if there is an error; warnings alone exit with 0.")]
pub(super) struct CheckArgs {
    /// Print what is in order, too.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// In order.
    Ok,
    /// Works, but not for long or not well.
    Warning,
    /// Doesn't work.
    Error,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) level: Level,
    /// What was looked at, and what is wrong with it.
    pub(crate) cause: String,
    /// What to do about it; empty if nothing.
    pub(crate) remedy: String,
}

impl Finding {
    pub(super) fn ok(cause: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            cause: cause.into(),
            remedy: String::new(),
        }
    }

    pub(super) fn warning(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn error(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn of(failure: &Failure) -> Self {
        Self::error(failure.cause(), failure.remedy())
    }
}

/// One thing to look at.
pub(crate) trait Probe {
    /// Looks.
    fn run(&self) -> Finding;
}

pub(super) fn run(args: &CheckArgs, path: &Path) -> Result<(), Failure> {
    let findings = findings(path);
    if args.json {
        output::json(&findings)?;
    } else {
        print(&findings, args.all);
    }
    let errors = findings.iter().filter(|f| f.level == Level::Error).count();
    if errors == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Code::CheckFailed,
        format!("{errors} errors found"),
        "mend what is listed above, then check again",
    ))
}

fn print(findings: &[Finding], all: bool) {
    for finding in findings.iter().filter(|f| all || f.level != Level::Ok) {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        println!("{level}: {}", finding.cause);
        if !finding.remedy.is_empty() {
            println!("  remedy: {}", finding.remedy);
        }
    }
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    println!(
        "{} in order, {} warnings, {} errors",
        count(Level::Ok),
        count(Level::Warning),
        count(Level::Error)
    );
}

/// Everything. Without a readable configuration there is nothing else to look at.
pub(crate) fn findings(path: &Path) -> Vec<Finding> {
    match load(path, &Environment::process()) {
        Ok(config) => {
            let mut found = vec![Finding::ok(format!("configuration {}", path.display()))];
            found.extend(probes(&config).iter().map(|probe| probe.run()));
            found
        }
        Err(failure) => vec![Finding::of(&failure)],
    }
}

fn probes(config: &Config) -> Vec<Box<dyn Probe + '_>> {
    let mut all = files::probes(config);
    all.extend(certificates::probes(config));
    all.extend(registration::probes(config));
    all.push(Box::new(store::StoreProbe(config)));
    all
}
