//! `causeway node`

use super::admin_link::Link;
use super::{output, runtime};
use crate::cluster::{NodeLine, own_line, section};
use crate::config::{ClusterConfig, Config, Environment, example, load};
use crate::failure::{Code, Failure};
use crate::files;
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::iter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The nodes of this provider, where it has several.
#[derive(Debug, Args)]
#[command(after_help = "\
A provider on three nodes:
  1. At the first node write the section [cluster] (`name`, `listen`) and restart it.
  2. Copy its folder (configuration, keys, tls; not the store) to the second machine, and there:
       causeway --config causeway.toml node join --like first/causeway.toml --name cw2 --listen 10.0.0.2:8484
       causeway serve
  3. At the first node: causeway node add \"cw2 10.0.0.2:8484 ed25519:...\" (join prints this line).
  4. The same for the third. With three nodes one may be lost; with two, none.

Examples:
  causeway node ls
  causeway node lead cw2
  causeway node remove cw3")]
pub(super) struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// List the nodes, and say who orders.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add a node that waits to be added: brings it up to date, then lets it count for the majority.
    Add {
        /// Name, address and key, as `causeway node self` prints them at the new node.
        node: String,
    },
    /// Remove a node. It takes no part from then on; its store may be deleted.
    Remove {
        /// Its name.
        name: String,
    },
    /// Let another node order.
    Lead {
        /// Its name.
        name: String,
    },
    /// Let this node go on alone when the majority of the nodes is lost for good.
    #[command(after_help = "\
It goes on behind the newest decision that it holds. What the lost nodes decided behind that is lost: handshakes, accounts
and acknowledged messages among it. All other nodes are given up, also those that answer: their stores are to be deleted, and
they join anew. The statement is recorded in the provider's log. If a lost node comes back with decisions of its own behind
that place, both are kept as evidence and nothing is ordered until `causeway node release`.

Example:
  causeway node force-sequencer --lost cw2 --lost cw3 --reason 'fire in the second hall'")]
    ForceSequencer {
        /// A node that is lost; once for each that does not answer.
        #[arg(long = "lost", value_name = "NAME", required = true)]
        lost: Vec<String>,
        /// Why; recorded for good.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let a frozen order go on with what this side holds. The evidence stays.
    Release {
        /// Why this side counts; in the log of the service.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Print this node's name, address and key in one line.
    #[command(name = "self")]
    Own,
    /// Make the configuration of a further node, from that of a node there is.
    Join(Box<JoinArgs>),
}

#[derive(Debug, Args)]
struct JoinArgs {
    /// The configuration of a node there is, with its keys and certificates in their places beside it.
    #[arg(long, value_name = "FILE")]
    like: PathBuf,
    /// The new node's name among the nodes, for example cw2.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where it listens for the other nodes.
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Host and port under which they reach it [default: the one of --listen].
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Where it listens for other providers [default: as the other node].
    #[arg(long, value_name = "ADDRESS")]
    mimi_listen: Option<SocketAddr>,
    /// Where it listens for clients [default: as the other node].
    #[arg(long, value_name = "ADDRESS")]
    client_listen: Option<SocketAddr>,
    /// Where it listens for administration [default: as the other node].
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Where it listens for the homeserver's transactions [default: as the other node].
    #[arg(long, value_name = "ADDRESS")]
    appservice_listen: Option<SocketAddr>,
    /// Where it listens for Matrix servers [default: as the other node].
    #[arg(long, value_name = "ADDRESS")]
    federation_listen: Option<SocketAddr>,
}

pub(super) fn run(
    args: NodeArgs,
    config: impl FnOnce() -> Result<Config, Failure>,
    path: &Path,
) -> Result<(), Failure> {
    match args.command {
        NodeCommand::Join(args) => join(&args, path),
        NodeCommand::Own => {
            println!("{}", own_line(&config()?)?);
            Ok(())
        }
        command => {
            let config = config()?;
            section(&config)?;
            runtime()?.block_on(async {
                let link = Link::open(&config).await?;
                act(command, &link).await
            })
        }
    }
}

async fn act(command: NodeCommand, link: &Link) -> Result<(), Failure> {
    match command {
        NodeCommand::Ls { json } => {
            let nodes = link.nodes().await?;
            if json {
                return output::json(&nodes);
            }
            let rows: Vec<_> = nodes
                .nodes
                .iter()
                .map(|node| {
                    let role = if Some(&node.name) == nodes.leader.as_ref() {
                        "orders"
                    } else if node.voter {
                        "follows"
                    } else {
                        "catches up"
                    };
                    let lag = node.lag.map_or_else(String::new, |lag| lag.to_string());
                    [node.name.clone(), node.address.clone(), role.to_owned(), lag]
                })
                .collect();
            output::table(["NODE", "ADDRESS", "ROLE", "LACKS"], &rows);
            if let Some(taken) = &nodes.taken_over {
                println!(
                    "\nNode {} took over without {} behind entry {}: {}",
                    taken.node,
                    taken.lost.join(", "),
                    taken.after,
                    taken.reason
                );
            }
            if nodes.frozen {
                println!(
                    "\nFROZEN: nodes hold two entries for one place of the order. See the records `evidence` of \
                     `causeway store export`, then `causeway node release --reason ...` at the side that counts."
                );
            }
            if let Some(by) = &nodes.given_up {
                println!(
                    "\nThis node was given up when node {} took over: delete its store and join it anew.",
                    by.node
                );
            } else if nodes.leader.is_none() {
                println!("\nNo node orders: the majority can't be reached.");
            }
            Ok(())
        }
        NodeCommand::Add { node } => {
            let line: NodeLine = node.parse().map_err(|e: String| {
                Failure::new(
                    Code::Usage,
                    e,
                    "give the line that `causeway node self` prints at the new node",
                )
            })?;
            println!("Adding {}: it gets a copy of everything first.", line.0);
            link.add_node(&node).await?;
            println!("{} counts for the majority now.", line.0);
            Ok(())
        }
        NodeCommand::Remove { name } => link.remove_node(&name).await,
        NodeCommand::Lead { name } => link.lead(&name).await,
        NodeCommand::ForceSequencer { lost, reason } => {
            let taken = link.take_over(&lost, &reason).await?;
            println!(
                "Node {} orders alone, behind entry {}. What the lost nodes decided behind it is lost.\nDelete the stores of \
                 all other nodes and join them anew.",
                taken.node, taken.after
            );
            Ok(())
        }
        NodeCommand::Release { reason } => link.release(&reason).await,
        NodeCommand::Own | NodeCommand::Join(_) => Ok(()),
    }
}

fn join(args: &JoinArgs, path: &Path) -> Result<(), Failure> {
    let like = load(&args.like, &std::iter::empty().collect::<Environment>())?;
    let mut config = like.clone();
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
        .clone_into(&mut config.base);
    config.mimi.listen = args.mimi_listen.unwrap_or(config.mimi.listen);
    config.client_api.listen = args.client_listen.unwrap_or(config.client_api.listen);
    config.admin.listen = args.admin_listen.unwrap_or(config.admin.listen);
    if let Some(appservice) = &mut config.appservice {
        appservice.listen = args.appservice_listen.unwrap_or(appservice.listen);
    }
    if let Some(federation) = &mut config.federation {
        federation.listen = args.federation_listen.unwrap_or(federation.listen);
    }
    let first = section(&like)?;
    config.cluster = Some(ClusterConfig {
        name: args.name.clone(),
        listen: args.listen,
        address: args.address.clone(),
        join: true,
        nodes: vec![own_line(&like)?.to_string()],
        ..first.clone()
    });
    if args.name == first.name {
        return Err(Failure::new(
            Code::Usage,
            format!("{} is the other node's name", args.name),
            "give each node a name of its own with --name",
        ));
    }
    if let Some(problem) = config.problems().first() {
        return Err(Failure::new(
            Code::Usage,
            format!("{}: {}", problem.key, problem.cause),
            problem.remedy.clone(),
        ));
    }
    if path.exists() {
        return Err(Failure::new(
            Code::Exists,
            format!("{} exists already", path.display()),
            "name another file with --config, or move what is there away",
        ));
    }
    for (file, secret) in shared(&config) {
        let (from, to) = (like.path(file), config.path(file));
        if from == to {
            continue;
        }
        let text = files::read(&from)?;
        if secret {
            files::write_secret(&to, &text)?;
        } else {
            files::write(&to, &text)?;
        }
    }
    let text = format!(
        "# Made by `causeway node join`. Every key is explained in docs/causeway.example.toml.\n\n{}",
        example::plain(&config)?
    );
    files::write(path, &text)?;
    println!(
        "Made {}.\n\nNow start it here:\n  causeway --config {} serve",
        path.display(),
        path.display()
    );
    println!(
        "\nand add it at any node there is:\n  causeway node add \"{}\"",
        own_line(&config)?
    );
    Ok(())
}

/// The files that all nodes share, and whether they are secret. One file may serve for several things.
fn shared(config: &Config) -> BTreeMap<&Path, bool> {
    let (keys, mimi, client_api) = (&config.keys, &config.mimi, &config.client_api);
    let secret = [&keys.node, &keys.hub, &keys.franking, &keys.hub_key, &mimi.key]
        .into_iter()
        .chain(&client_api.key)
        .chain(&config.admin.token_file)
        .chain(config.federation.iter().map(|federation| &federation.key))
        .chain(config.appservice.iter().flat_map(|appservice| {
            iter::once(&appservice.registration)
                .chain(&appservice.as_token_file)
                .chain(&appservice.hs_token_file)
        }));
    let public = iter::once(&mimi.certificate)
        .chain(&mimi.trusted_ca)
        .chain(&mimi.web_pki_roots)
        .chain(&client_api.certificate)
        .chain(config.peers.values().filter_map(|peer| peer.ca.as_ref()))
        .chain(
            config
                .federation
                .iter()
                .flat_map(|federation| iter::once(&federation.certificate).chain(&federation.trusted_ca)),
        );
    public
        .map(|file| (file.as_path(), false))
        .chain(secret.map(|file| (file.as_path(), true)))
        .collect()
}
