//! `causeway doctor`: everything between an operator and a peer, over the network.

use super::check::{self, Finding, Level, Probe};
use super::{output, runtime};
use crate::config::{Config, Environment, load};
use crate::failure::{Code, Failure};
use clap::Args;
use futures_util::future::LocalBoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;
use tokio::runtime::Runtime;

mod clock;
pub(super) mod homeserver;
mod peers;
mod service;

/// Look for what is wrong between the homeserver, this provider and its peers. Changes nothing.
///
/// Does what `causeway check` does, then asks the running service, the homeserver, and every configured peer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway doctor             one line for each thing looked at; what to do about it where something is wrong
  causeway doctor --brief     only what is wrong
  causeway doctor --json      for programs; `causeway schema doctor` prints the JSON Schema
Run it as the service's user, while the service runs. Exits with 7 if there is an error; warnings alone exit with 0.")]
pub(super) struct DoctorArgs {
    /// Print only what is not in order.
    #[arg(long)]
    brief: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What `causeway doctor --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// Whether there is no error.
    pub(crate) ok: bool,
    /// Everything that was looked at, in order.
    pub(crate) lines: Vec<Line>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Line {
    /// Which probe it was: a stable name, for example `homeserver.ping`.
    pub(crate) probe: String,
    /// What it found.
    #[serde(flatten)]
    pub(crate) finding: Finding,
}

/// A probe that waits for the network.
pub(super) struct NetProbe<'a> {
    name: String,
    runtime: &'a Runtime,
    look: Box<dyn Fn() -> LocalBoxFuture<'a, Finding> + 'a>,
}

impl<'a> NetProbe<'a> {
    pub(super) fn new<F>(runtime: &'a Runtime, name: impl Into<String>, look: impl Fn() -> F + 'a) -> Self
    where
        F: Future<Output = Finding> + 'a,
    {
        Self {
            name: name.into(),
            runtime,
            look: Box::new(move || Box::pin(look())),
        }
    }
}

impl Probe for NetProbe<'_> {
    fn run(&self) -> Finding {
        self.runtime.block_on((self.look)())
    }
}

pub(super) fn run(args: &DoctorArgs, path: &Path) -> Result<(), Failure> {
    let show = |line: &Line| {
        if !(args.json || args.brief && line.finding.level == Level::Ok) {
            print(line);
        }
    };
    let lines = examine(path, show)?;
    let count = |level| lines.iter().filter(|l| l.finding.level == level).count();
    let errors = count(Level::Error);
    if args.json {
        output::json(&Report {
            ok: errors == 0,
            lines,
        })?;
    } else {
        println!(
            "{} in order, {} warnings, {errors} errors",
            count(Level::Ok),
            count(Level::Warning)
        );
    }
    if errors == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Code::CheckFailed,
        format!("{errors} errors found"),
        "mend what is listed above, from top to bottom: later errors often follow from earlier ones",
    ))
}

fn print(line: &Line) {
    let level = match line.finding.level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    println!("{level:<8}{:<26}{}", line.probe, line.finding.cause);
    if !line.finding.remedy.is_empty() {
        println!("{:<8}{:<26}remedy: {}", "", "", line.finding.remedy);
    }
}

/// Looks at everything; `seen` is told each line as soon as it is known.
pub(crate) fn examine(path: &Path, mut seen: impl FnMut(&Line)) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    let mut add = |probe: &str, finding: Finding| {
        let line = Line {
            probe: probe.to_owned(),
            finding,
        };
        seen(&line);
        lines.push(line);
    };
    for finding in check::findings(path) {
        add("check", finding);
    }
    // Without a readable configuration there is nobody to ask; the line above says what is wrong with it.
    let Ok(config) = load(path, &Environment::process()) else {
        return Ok(lines);
    };
    let runtime = runtime()?;
    for probe in probes(&config, &runtime) {
        let finding = probe.run();
        add(&probe.name, finding);
    }
    Ok(lines)
}

fn probes<'a>(config: &'a Config, runtime: &'a Runtime) -> Vec<NetProbe<'a>> {
    let mut all = service::probes(config, runtime);
    all.extend(homeserver::probes(config, runtime));
    all.extend(peers::probes(config, runtime));
    all
}
