//! `causeway room`

use super::admin_link::Link;
use super::{output, runtime};
use crate::config::Config;
use crate::faces::admin::api::Room;
use crate::failure::{Code, Failure};
use clap::{Args, Subcommand};
use mimi_wire::MimiUri;

/// Rooms of this provider. Works on the running service, or on its store when it is stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway room ls
  causeway room show mimi://a.example/r/club --json")]
pub(super) struct RoomArgs {
    #[command(subcommand)]
    command: RoomCommand,
}

#[derive(Debug, Subcommand)]
enum RoomCommand {
    /// List rooms.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Everything about one room.
    Show {
        /// The room URI.
        room: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: RoomArgs, config: &Config) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let link = Link::open(config).await?;
        let done = act(args.command, &link).await;
        link.close().await;
        done
    })
}

async fn act(command: RoomCommand, link: &Link) -> Result<(), Failure> {
    match command {
        RoomCommand::Ls { json } => {
            let rooms = link.rooms().await?;
            if json {
                return output::json(&rooms);
            }
            let rows: Vec<_> = rooms
                .into_iter()
                .map(|r| {
                    let hub = if r.is_hub { "(here)".to_owned() } else { r.hub };
                    let name = r.name.unwrap_or_default();
                    [r.room, hub, r.epoch, r.participants.len().to_string(), name]
                })
                .collect();
            output::table(["ROOM", "HUB", "EPOCH", "PARTICIPANTS", "NAME"], &rows);
            Ok(())
        }
        RoomCommand::Show { room, json } => {
            let uri = MimiUri::parse(&room).map_err(|e| {
                Failure::new(
                    Code::Usage,
                    format!("{room}: {e}"),
                    "give a URI like mimi://a.example/r/club",
                )
            })?;
            let room = link.room(&uri).await?;
            if json {
                output::json(&room)
            } else {
                show(&room);
                Ok(())
            }
        }
    }
}

fn show(room: &Room) {
    let none = || "none".to_owned();
    for (what, value) in [
        ("room", room.room.clone()),
        ("name", room.name.clone().unwrap_or_else(none)),
        (
            "hub",
            if room.is_hub {
                format!("{} (this provider)", room.hub)
            } else {
                room.hub.clone()
            },
        ),
        ("group id", room.group_id.clone().unwrap_or_else(none)),
        ("epoch", room.epoch.clone()),
        (
            "graph",
            format!(
                "{} (room version {}, {} events)",
                room.graph, room.room_version, room.events
            ),
        ),
        ("heads", room.heads.join(", ")),
        ("handshake log", format!("{} entries", room.log_entries)),
        ("portal", room.portal.clone().unwrap_or_else(none)),
        ("next in feed", room.feed_next.to_string()),
    ] {
        println!("{what:<14} {value}");
    }
    println!("participants   {}", room.participants.len());
    for participant in &room.participants {
        match participant.role {
            Some(role) => println!("  {} (role {role})", participant.user),
            None => println!("  {}", participant.user),
        }
    }
}
