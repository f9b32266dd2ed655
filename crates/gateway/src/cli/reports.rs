//! `causeway reports`

use super::admin_link::Link;
use super::{output, runtime};
use crate::config::Config;
use crate::faces::admin::api::Report;
use crate::failure::Failure;
use clap::{Args, Subcommand};

/// Reports of abuse in rooms of this hub. Works on the running service, or on its store when it is stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway reports ls
  causeway reports show ID --json    with the contents of the reported messages

A message is proved if this hub's frank shows that the reported user sent it, in this room, at this time. Franks made
before a rotation of keys count: the rings keep the old keys.")]
pub(super) struct ReportsArgs {
    #[command(subcommand)]
    command: ReportsCommand,
}

#[derive(Debug, Subcommand)]
enum ReportsCommand {
    /// List reports, newest first.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a report with the messages in it.
    Show {
        /// Its id, as `ls` prints it.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: ReportsArgs, config: &Config) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let link = Link::open(config).await?;
        let done = act(args.command, &link).await;
        link.close().await;
        done
    })
}

fn proved(report: &Report) -> String {
    let proved = report.messages.iter().filter(|m| m.proved).count();
    format!("{proved}/{}", report.messages.len())
}

async fn act(command: ReportsCommand, link: &Link) -> Result<(), Failure> {
    match command {
        ReportsCommand::Ls { json } => {
            let reports = link.reports().await?;
            if json {
                return output::json(&reports);
            }
            let rows: Vec<_> = reports
                .iter()
                .map(|r| {
                    [
                        r.id.clone(),
                        output::date(r.at),
                        r.room.clone(),
                        r.accused.clone(),
                        proved(r),
                    ]
                })
                .collect();
            output::table(["ID", "CAME", "ROOM", "ACCUSED", "PROVED"], &rows);
            Ok(())
        }
        ReportsCommand::Show { id, json } => {
            let report = link.report(&id).await?;
            if json {
                return output::json(&report);
            }
            show(&report);
            Ok(())
        }
    }
}

fn show(report: &Report) {
    let reporter = report.reporting_user.as_deref().unwrap_or("(anonymous)");
    for (what, value) in [
        ("report", report.id.as_str()),
        ("came", &output::date(report.at)),
        ("room", &report.room),
        ("accused", &report.accused),
        ("reporter", reporter),
        ("from", &report.provider),
        ("note", &printable(&report.note)),
    ] {
        println!("{what:<10} {value}");
    }
    for message in &report.messages {
        let id = message.message_id.as_deref().unwrap_or("-");
        let verdict = match &message.fault {
            None => "proved".to_owned(),
            Some(fault) => format!("NOT PROVED ({fault})"),
        };
        println!(
            "message    {id} accepted {}: {verdict}",
            output::date(message.accepted_at)
        );
        if let Some(text) = &message.text {
            println!("           {}", printable(text));
        }
    }
}

/// What others wrote, without what would move the terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
