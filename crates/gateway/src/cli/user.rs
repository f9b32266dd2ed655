//! `causeway user`

use super::admin_link::Link;
use super::{output, runtime};
use crate::config::Config;
use crate::failure::{Code, Failure};
use clap::{Args, Subcommand};

/// Accounts of a provider without a homeserver. Works on the running service, or on its store when it is stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway user add bob       prints the token Bob's devices sign in with, once
  causeway user ls --json
  causeway user remove bob")]
pub(super) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make an account and print its sign-in token.
    Add {
        /// Local part of the user URI.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List accounts.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an account with its devices, sessions and key packages.
    Remove {
        /// Local part of the user URI.
        name: String,
    },
}

pub(super) fn run(args: UserArgs, config: &Config) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let link = Link::open(config).await?;
        let done = act(args.command, config, &link).await;
        link.close().await;
        done
    })
}

async fn act(command: UserCommand, config: &Config, link: &Link) -> Result<(), Failure> {
    match command {
        UserCommand::Add { name, json } => {
            if config.homeserver.is_some() {
                return Err(Failure::new(
                    Code::Usage,
                    "beside a homeserver its accounts are the users",
                    "make the account on the homeserver",
                ));
            }
            let added = link.add_account(&name).await?;
            if json {
                return output::json(&added);
            }
            println!(
                "{}\ntoken: {}\nIt is shown this once; only its hash is kept.",
                added.user, added.token
            );
        }
        UserCommand::Ls { json } => {
            let accounts = link.accounts().await?;
            if json {
                return output::json(&accounts);
            }
            let rows: Vec<_> = accounts
                .into_iter()
                .map(|a| {
                    let kind = if a.local { "local" } else { "matrix" };
                    [
                        a.user,
                        kind.to_owned(),
                        a.devices.to_string(),
                        output::date(a.created_at),
                    ]
                })
                .collect();
            output::table(["USER", "SIGN-IN", "DEVICES", "SINCE"], &rows);
        }
        UserCommand::Remove { name } => {
            link.remove_account(&name).await?;
            println!("removed {name}");
        }
    }
    Ok(())
}
