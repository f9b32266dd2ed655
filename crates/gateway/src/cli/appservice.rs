//! `causeway appservice`: the registration, its tokens, and what came of the homeserver's events.

use super::admin_link::Link;
use super::{output, runtime};
use crate::config::Config;
use crate::failure::{Code, Failure};
use clap::{Args, Subcommand};
use std::path::PathBuf;

mod registration;
mod rotate;

/// The application service side: registration, tokens, the homeserver's events.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway appservice registration                        what the homeserver should load (tokens hidden)
  causeway appservice registration --diff                 against the file, and what the running homeserver does
  causeway appservice registration --diff /etc/synapse/causeway.yaml
  causeway appservice rotate                              new tokens, without downtime
  causeway appservice status                              does the homeserver push? what was missed?
  causeway appservice set-aside                           events that nothing could be done with")]
pub(super) struct AppserviceArgs {
    #[command(subcommand)]
    command: AppserviceCommand,
}

#[derive(Debug, Subcommand)]
enum AppserviceCommand {
    /// Print the registration that goes with the configuration, or compare it.
    ///
    /// With --diff: exits with 7 if there is a difference.
    Registration {
        /// Compare with a file; without one, with appservice.registration and with what the running homeserver does.
        #[arg(long, value_name = "FILE")]
        #[allow(clippy::option_option)]
        diff: Option<Option<PathBuf>>,
        /// Write it, tokens and all, to a new file that only its owner can read.
        #[arg(long, value_name = "FILE", conflicts_with = "diff")]
        out: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give the homeserver and this provider new tokens, without downtime.
    ///
    /// Makes new tokens and puts them into the registration; those of before stay good. The running service notices by
    /// itself. Then restart the homeserver, so that it loads the registration, and finish with --finish.
    Rotate {
        /// The homeserver has the new registration: the tokens of before are good no more.
        #[arg(long)]
        finish: bool,
        /// Go back to the tokens of before.
        #[arg(long, conflicts_with = "finish")]
        abort: bool,
    },
    /// Whether the homeserver pushes, as the running service sees it.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Events of the homeserver that nothing could be done with, newest first, each with its reason.
    SetAside {
        /// Print JSON, with the events themselves.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: AppserviceArgs, config: &Config) -> Result<(), Failure> {
    if config.appservice.is_none() {
        return Err(Failure::new(
            Code::ConfigValue,
            "this provider has no homeserver",
            "add the sections homeserver and appservice, or run `causeway init --homeserver URL` for a new provider",
        ));
    }
    match args.command {
        AppserviceCommand::Registration {
            diff: Some(file),
            json,
            ..
        } => registration::diff(config, file.as_deref(), json),
        AppserviceCommand::Registration { out, json, .. } => registration::show(config, out.as_deref(), json),
        AppserviceCommand::Rotate { finish, abort } => match (finish, abort) {
            (true, _) => rotate::finish(config),
            (_, true) => rotate::abort(config),
            _ => rotate::begin(config),
        },
        AppserviceCommand::Status { json } => runtime()?.block_on(async {
            let link = Link::open(config).await?;
            let done = status(&link, json).await;
            link.close().await;
            done
        }),
        AppserviceCommand::SetAside { json } => runtime()?.block_on(async {
            let link = Link::open(config).await?;
            let done = set_aside(&link, json).await;
            link.close().await;
            done
        }),
    }
}

async fn status(link: &Link, json: bool) -> Result<(), Failure> {
    let status = link.homeserver().await?.ok_or_else(|| {
        Failure::new(
            Code::Admin,
            "the service doesn't run, so nobody watches the homeserver",
            "start it",
        )
    })?;
    if json {
        return output::json(&status);
    }
    let when = |at: Option<u64>| at.map_or_else(|| "never".to_owned(), output::date);
    for (what, value) in [
        ("last pushed", when(status.last_transaction)),
        (
            "heartbeat",
            match (status.heartbeat_seen, status.heartbeat_took) {
                (Some(at), Some(took)) => format!("{} (took {took} ms)", output::date(at)),
                _ => "none came back yet".to_owned(),
            },
        ),
        (
            "late since",
            status
                .late_since
                .map_or_else(|| "not late".to_owned(), output::date),
        ),
        (
            "unreachable since",
            status
                .unreachable_since
                .map_or_else(|| "reachable".to_owned(), output::date),
        ),
        ("portals compared", when(status.compared)),
        (
            "never pushed",
            format!("{} events, taken from timelines", status.missed),
        ),
        ("went back in time", format!("{} times", status.rewound)),
        ("portals lost", status.portals_lost.len().to_string()),
    ] {
        println!("{what:<20}{value}");
    }
    for warning in &status.warnings {
        println!("warning: {warning}");
    }
    Ok(())
}

async fn set_aside(link: &Link, json: bool) -> Result<(), Failure> {
    let all = link.set_aside().await?;
    if json {
        return output::json(&all);
    }
    let rows: Vec<_> = all
        .into_iter()
        .map(|one| {
            [
                output::date(one.at),
                one.event_id.unwrap_or_else(|| "(no id)".to_owned()),
                one.room_id.unwrap_or_default(),
                one.reason,
            ]
        })
        .collect();
    output::table(["WHEN", "EVENT", "ROOM", "WHY"], &rows);
    Ok(())
}
