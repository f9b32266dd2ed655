//! `causeway room`

use super::admin_link::{Link, PortalAct};
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
  causeway room show mimi://a.example/r/club --json
  causeway room unbridge mimi://a.example/r/club
  causeway room upgrade mimi://a.example/r/club 12
  causeway room unfence mimi://a.example/r/club --accept-rollback")]
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
    /// Give a room's portal up: ghosts leave, their devices and the alias go, Matrix users are shown out. The MIMI room
    /// stays as it is. Whatever interrupts it, it goes on from there.
    Unbridge {
        /// The room URI.
        room: String,
        /// Do not wait until it is done.
        #[arg(long)]
        no_wait: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let rooms that were restored from a backup take handshakes again although peers may have gone on since.
    ///
    /// Where they have, the room goes back to the epoch of the backup: members who are ahead have to join again, and
    /// what was changed in between is lost. Rooms whose peers could be asked and are not ahead need no such step.
    Unfence {
        /// The room URI.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        room: Option<String>,
        /// All fenced rooms.
        #[arg(long)]
        all: bool,
        /// Say that what happened since the backup may be lost.
        #[arg(long, required = true)]
        accept_rollback: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a portal again where it was given up.
    Bridge {
        /// The room URI.
        room: String,
    },
    /// Compare a room's portal with the room and put it right.
    Sync {
        /// The room URI.
        room: String,
    },
    /// Replace a room's portal by one of another Matrix room version. Matrix clients follow the tombstone in the old one;
    /// the MIMI room stays as it is. A version that the homeserver doesn't know changes nothing and is a dead letter.
    Upgrade {
        /// The room URI.
        room: String,
        /// The Matrix room version.
        version: String,
    },
}

pub(super) fn run(args: RoomArgs, config: &Config) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let link = Link::open(config).await?;
        let done = act(args.command, &link, config.cluster.is_some()).await;
        link.close().await;
        done
    })
}

async fn act(command: RoomCommand, link: &Link, several_nodes: bool) -> Result<(), Failure> {
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
                    let state = if r.fenced { "fenced" } else { "" };
                    [
                        r.room,
                        hub,
                        r.epoch,
                        r.participants.len().to_string(),
                        state.to_owned(),
                        name,
                    ]
                })
                .collect();
            output::table(["ROOM", "HUB", "EPOCH", "PARTICIPANTS", "STATE", "NAME"], &rows);
            Ok(())
        }
        RoomCommand::Show { room, json } => {
            let room = link.room(&uri_of(&room)?).await?;
            if json {
                output::json(&room)
            } else {
                show(&room, several_nodes);
                Ok(())
            }
        }
        RoomCommand::Unbridge { room, no_wait, json } => {
            let uri = uri_of(&room)?;
            link.portal(&uri, PortalAct::Unbridge).await?;
            let room = closed(link, &uri, no_wait || json).await?;
            if json { output::json(&room) } else { Ok(()) }
        }
        RoomCommand::Bridge { room } => link.portal(&uri_of(&room)?, PortalAct::Bridge).await,
        RoomCommand::Sync { room } => link.portal(&uri_of(&room)?, PortalAct::Sync).await,
        RoomCommand::Upgrade { room, version } => {
            link.portal(&uri_of(&room)?, PortalAct::Upgrade { version }).await
        }
        RoomCommand::Unfence { room, json, .. } => {
            let room = room.as_deref().map(uri_of).transpose()?;
            let freed = link.unfence(room.as_ref()).await?;
            if json {
                return output::json(&freed);
            }
            for room in &freed.rooms {
                println!("{room}");
            }
            eprintln!("{} rooms take handshakes again", freed.rooms.len());
            Ok(())
        }
    }
}

fn uri_of(room: &str) -> Result<MimiUri, Failure> {
    MimiUri::parse(room).map_err(|e| {
        Failure::new(
            Code::Usage,
            format!("{room}: {e}"),
            "give a URI like mimi://a.example/r/club",
        )
    })
}

/// Waits until a portal is given up, saying so from time to time. Breaking off breaks nothing off.
async fn closed(link: &Link, uri: &MimiUri, quiet: bool) -> Result<Room, Failure> {
    let mut looks = 0_u32;
    loop {
        let room = link.room(uri).await?;
        if room.portal_state != "closing" {
            if !quiet {
                println!("{}: the portal is given up", room.room);
            }
            return Ok(room);
        }
        if quiet {
            return Ok(room);
        }
        if !link.is_running() {
            println!("the portal is given up as soon as the service runs");
            return Ok(room);
        }
        if looks.is_multiple_of(10) {
            println!(
                "{}: members are on their way out of {}",
                room.room,
                room.portal.as_deref().unwrap_or("the portal")
            );
        }
        looks = looks.saturating_add(1);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

fn fence(room: &Room) -> String {
    match (room.fenced, &room.ahead) {
        (false, _) => "no".to_owned(),
        (true, None) => "yes: restored from a backup, its peers' heads are not compared yet".to_owned(),
        (true, Some(epoch)) => format!("yes: restored from a backup, and peers have reached epoch {epoch}"),
    }
}

/// Which of several nodes orders what happens in a room.
fn leader(room: &Room, several_nodes: bool) -> String {
    match &room.leader {
        Some(node) => format!("node {node}"),
        None if several_nodes => "none that can be reached; see `causeway node ls`".to_owned(),
        None => "this node, the only one".to_owned(),
    }
}

fn show(room: &Room, several_nodes: bool) {
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
        ("leader", leader(room, several_nodes)),
        ("group id", room.group_id.clone().unwrap_or_else(none)),
        (
            "cipher suite",
            room.cipher_suite
                .map_or_else(|| "not known here".to_owned(), |suite| suite.to_string()),
        ),
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
        (
            "portal",
            format!(
                "{} ({})",
                room.portal.clone().unwrap_or_else(none),
                room.portal_state
            ),
        ),
        (
            "mode",
            "opaque: no key that opens its messages is in this gateway".to_owned(),
        ),
        ("next in feed", room.feed_next.to_string()),
        ("fenced", fence(room)),
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
