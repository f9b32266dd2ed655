//! Graphs of the running service: rooms that other Matrix servers have to do with.

use clap::Subcommand;
use std::path::PathBuf;

use crate::cli::admin_link::Link;
use crate::cli::{output, runtime};
use crate::config::Config;
use crate::faces::admin::api::{InviteToGraph, JoinGraph, RebuildRoom, SendToGraph};
use crate::failure::{Code, Failure};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum OnlineCommand {
    /// Lists graphs that other Matrix servers take part in, made, or invite to.
    Ls {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints a graph's end and its current state.
    State {
        /// The graph's room id, or the URI of its MIMI room.
        room: String,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Joins a room of another server with the node user.
    Join {
        /// The room id.
        room: String,
        /// A server in the room [default: the one that invited, else the one that the room id names]. May be repeated.
        #[arg(long, value_name = "SERVER")]
        via: Vec<String>,
        /// Fetches and judges all that was in the room before.
        #[arg(long)]
        history: bool,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Leaves a room, or rejects an invitation to it.
    Leave {
        /// The graph's room id.
        room: String,
    },
    /// Invites a user of another Matrix server, which then stores and serves the graph.
    Invite {
        /// The graph's room id, or the URI of its MIMI room.
        room: String,
        /// The Matrix user id.
        user: String,
    },
    /// Sends an event of the node user.
    Send {
        /// The graph's room id, or the URI of its MIMI room.
        room: String,
        /// The event's type.
        event_type: String,
        /// The content, JSON.
        content: String,
        /// The state key, for a state event.
        #[arg(long)]
        state_key: Option<String>,
    },
    /// Makes a room of this provider again from its graph, when the store is lost.
    #[command(after_help = "\
A homeserver that was invited into a room's graph (`causeway graph invite`) holds the room's handshake log and messages.
With the keys of before and an empty store:
  causeway graph join '!graph' --via matrix.example --history
  causeway graph rebuild '!graph'
Members go on where they were; accounts are made anew, and clients sign in again under the names of their devices.
Other providers are asked whether the room had come further. Where they have, members who are ahead have to join again: say
--accept-rollback only when no backup and no other witness has more.")]
    Rebuild {
        /// The graph's room id.
        room: String,
        /// Say that what happened behind the end of the graph may be lost.
        #[arg(long)]
        accept_rollback: bool,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Writes every event of a graph as JSON lines, which `check` reads.
    Pull {
        /// The graph's room id, or the URI of its MIMI room.
        room: String,
        /// Where to [default: standard output].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Runs a command on the running service.
pub(in crate::cli) fn run(command: OnlineCommand, config: &Config) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let link = Link::open(config).await?;
        let done = act(command, &link).await;
        link.close().await;
        done
    })
}

async fn act(command: OnlineCommand, link: &Link) -> Result<(), Failure> {
    match command {
        OnlineCommand::Ls { json } => {
            let graphs = link.graphs().await?;
            if json {
                return output::json(&graphs);
            }
            let rows: Vec<_> = graphs
                .into_iter()
                .map(|g| {
                    let room = g.room.unwrap_or_default();
                    [
                        g.graph,
                        g.membership,
                        g.events.to_string(),
                        g.servers.join(" "),
                        room,
                    ]
                })
                .collect();
            output::table(["GRAPH", "MEMBERSHIP", "EVENTS", "SERVERS", "ROOM"], &rows);
        }
        OnlineCommand::State { room, json } => {
            let state = link.graph_state(&link.graph_id(&room).await?).await?;
            if json {
                return output::json(&state);
            }
            println!(
                "graph   {}{}",
                state.graph,
                if state.joined { "" } else { " (left)" }
            );
            println!("servers {}", state.servers.join(" "));
            println!("heads   {}", state.heads.join(" "));
            println!(
                "events  {}, {} waiting, {} missing",
                state.events,
                state.held,
                state.missing.len()
            );
            let rows: Vec<_> = state
                .state
                .into_iter()
                .map(|e| [e.event_type, e.state_key, e.event_id])
                .collect();
            output::table(["TYPE", "STATE KEY", "EVENT"], &rows);
        }
        OnlineCommand::Join {
            room,
            via,
            history,
            json,
        } => {
            let joined = link.join_graph(&room, &JoinGraph { via, history }).await?;
            if json {
                return output::json(&joined);
            }
            println!(
                "joined through {}: room version {}, {} state events, {} events of history",
                joined.via, joined.room_version, joined.state, joined.history
            );
        }
        OnlineCommand::Leave { room } => {
            let event = link.leave_graph(&link.graph_id(&room).await?).await?;
            println!("{}", event.event_id);
        }
        OnlineCommand::Invite { room, user } => {
            let graph = link.graph_id(&room).await?;
            let event = link.invite_to_graph(&graph, &InviteToGraph { user }).await?;
            println!("{}", event.event_id);
        }
        OnlineCommand::Send {
            room,
            event_type,
            content,
            state_key,
        } => {
            let content = serde_json::from_str(&content).map_err(|e| {
                Failure::new(
                    Code::Usage,
                    "the content is not JSON",
                    "write for example '{\"topic\": \"x\"}'",
                )
                .with_source(e)
            })?;
            let graph = link.graph_id(&room).await?;
            let wanted = SendToGraph {
                event_type,
                state_key,
                content,
            };
            println!("{}", link.send_to_graph(&graph, &wanted).await?.event_id);
        }
        OnlineCommand::Rebuild {
            room,
            accept_rollback,
            json,
        } => {
            let rebuilt = link.rebuild_room(&room, &RebuildRoom { accept_rollback }).await?;
            if json {
                return output::json(&rebuilt);
            }
            println!(
                "{} is here again: epoch {}, {} handshakes, {} messages",
                rebuilt.room, rebuilt.epoch, rebuilt.log_entries, rebuilt.messages
            );
        }
        OnlineCommand::Pull { room, out } => {
            let lines = link.graph_events(&link.graph_id(&room).await?).await?;
            let Some(path) = out else {
                super::print(&lines);
                return Ok(());
            };
            std::fs::write(&path, lines).map_err(|e| {
                Failure::new(
                    Code::Usage,
                    format!("{} can't be written", path.display()),
                    "name another file",
                )
                .with_source(e)
            })?;
        }
    }
    Ok(())
}
