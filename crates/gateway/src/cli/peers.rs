//! `causeway peers`

use super::{output, runtime};
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::mimi_client::MimiClient;
use crate::tls::{self, Live};
use crate::web::RequestId;
use clap::{Args, Subcommand};
use mimi_wire::Domain;
use mimi_wire::directory::Endpoint;
use serde::Serialize;
use std::path::PathBuf;

/// Other providers: who they are for this one, and whether they answer.
///
/// Who may be a peer is in the configuration (`mimi.peers` and a section `peers."domain"` for each); a running
/// service reads it again on SIGHUP.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway peers ls
  causeway peers find b.example --json     asks for its directory, as the service would
  causeway peers pin tls/b.example.pem     what to write as key_sha256")]
pub(super) struct PeersArgs {
    #[command(subcommand)]
    command: PeersCommand,
}

#[derive(Debug, Subcommand)]
enum PeersCommand {
    /// List the peers of the configuration.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask a peer for its directory, over the network, with this provider's certificate.
    Find {
        /// The peer's domain.
        domain: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the SHA-256 of a certificate's public key.
    Pin {
        /// PEM file; its first certificate counts.
        certificate: PathBuf,
    },
}

/// A peer as it is shown.
#[derive(Serialize)]
struct Shown {
    peer: String,
    allowed: bool,
    /// `authority`, `key` or `web_pki`.
    known_by: Option<&'static str>,
    address: Option<String>,
}

pub(super) fn run(args: PeersArgs, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    match args.command {
        PeersCommand::Ls { json } => ls(&config()?, json),
        PeersCommand::Find { domain, json } => find(&config()?, &domain, json),
        PeersCommand::Pin { certificate } => {
            let all = tls::certificates(&certificate)?;
            let pin = all.first().and_then(tls::key_pin).ok_or_else(|| {
                Failure::new(
                    Code::Certificate,
                    format!("{}: not an X.509 certificate", certificate.display()),
                    "give the peer's certificate as PEM",
                )
            })?;
            println!("{}", hex::encode(pin));
            Ok(())
        }
    }
}

fn ls(config: &Config, json: bool) -> Result<(), Failure> {
    let trust = tls::PeerTrust::new(config)?;
    let all: Vec<_> = config
        .peers
        .iter()
        .map(|(domain, peer)| Shown {
            peer: domain.to_string(),
            allowed: peer.allow,
            known_by: trust.way(domain),
            address: peer.address.map(|a| a.to_string()),
        })
        .collect();
    if json {
        return output::json(&all);
    }
    let rows: Vec<_> = all
        .into_iter()
        .map(|p| {
            let allowed = if p.allowed { "allowed" } else { "denied" };
            [
                p.peer,
                allowed.to_owned(),
                p.known_by.unwrap_or("-").to_owned(),
                p.address.unwrap_or_else(|| "(DNS)".to_owned()),
            ]
        })
        .collect();
    output::table(["PEER", "IS", "KNOWN BY", "ADDRESS"], &rows);
    Ok(())
}

fn find(config: &Config, domain: &str, json: bool) -> Result<(), Failure> {
    let peer = Domain::parse(domain).map_err(|e| {
        Failure::new(
            Code::Usage,
            format!("{domain}: {e}"),
            "give a domain without port",
        )
    })?;
    let client = MimiClient::new(config, Live::load(config)?)?;
    let directory = runtime()?
        .block_on(client.directory_of(&peer, &RequestId::random().0))
        .map_err(|e| {
            Failure::new(
                Code::Admin,
                e.to_string(),
                "compare certificates and addresses with the peer's operator",
            )
        })?;
    if json {
        return output::json(&*directory);
    }
    let rows: Vec<_> = Endpoint::ALL
        .iter()
        .map(|endpoint| {
            let place = directory.get(*endpoint).map(ToString::to_string);
            [endpoint.name().to_owned(), place.unwrap_or_else(|| "-".into())]
        })
        .collect();
    output::table(["ENDPOINT", "URL"], &rows);
    Ok(())
}
