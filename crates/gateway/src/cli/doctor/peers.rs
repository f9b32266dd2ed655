//! Every configured peer: reachable, with a certificate that we trust for it, and with a directory.

use super::NetProbe;
use crate::cli::check::Finding;
use crate::config::Config;
use crate::mimi_client::{LinkError, MimiClient};
use crate::tls::Live;
use mimi_wire::directory::Endpoint;
use std::time::Instant;
use tokio::runtime::Runtime;

/// What a peer has to offer to be one.
const NEEDED: [Endpoint; 4] = [
    Endpoint::KeyMaterial,
    Endpoint::Update,
    Endpoint::Notify,
    Endpoint::SubmitMessage,
];

pub(super) fn probes<'a>(config: &'a Config, runtime: &'a Runtime) -> Vec<NetProbe<'a>> {
    let mut all = Vec::new();
    for (domain, peer) in &config.peers {
        if !peer.allow {
            continue;
        }
        all.push(NetProbe::new(runtime, format!("peer.{domain}"), move || {
            let domain = domain.0.clone();
            async move { look(config, &domain).await }
        }));
    }
    all
}

async fn look(config: &Config, peer: &mimi_wire::Domain) -> Finding {
    let client = Live::load(config).and_then(|live| MimiClient::new(config, live));
    let client = match client {
        Ok(client) => client,
        Err(failure) => return Finding::of(&failure),
    };
    let started = Instant::now();
    match client.look_up(peer).await {
        Err(error) => {
            let remedy = match &error {
                LinkError::NotAPeer(_) => "add a section [peers.\"domain\"]",
                LinkError::Unreachable { reason, .. } if reason.contains("UnknownIssuer") => {
                    "its certificate is of an authority that we don't trust for it: set peers.\"...\".ca, or ask the peer"
                }
                LinkError::Unreachable { reason, .. } if reason.contains("certificate") => {
                    "a certificate is wrong, theirs or (if an alert was received) ours in their eyes: compare what `mimi.tls` says above"
                }
                LinkError::Unreachable { .. } => {
                    "is it running? Check DNS, the firewall, and peers.\"...\".address"
                }
                LinkError::Directory { .. } => {
                    "tell its operator: the directory is where MIMI peers find everything"
                }
                _ => "see the message",
            };
            Finding::error(error.to_string(), remedy)
        }
        Ok((directory, date)) => {
            let missing: Vec<&str> = NEEDED
                .into_iter()
                .filter(|endpoint| directory.get(*endpoint).is_none())
                .map(Endpoint::name)
                .collect();
            if !missing.is_empty() {
                return Finding::error(
                    format!("the directory of {peer} lacks {}", missing.join(", ")),
                    "tell its operator",
                );
            }
            super::clock::difference(peer.as_str(), date.as_deref()).unwrap_or_else(|| {
                Finding::ok(format!(
                    "{peer} accepts our certificate, we accept its, and its directory is complete ({} ms)",
                    started.elapsed().as_millis()
                ))
            })
        }
    }
}
