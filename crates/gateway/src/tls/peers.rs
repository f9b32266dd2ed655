//! Who a peer is: its certificate has to be one that is trusted for that very peer, and to name the provider that
//! the `From` header claims (draft-ietf-mimi-protocol-06 section 4.1).

use super::anchor::{Anchor, AnyOf};
use super::roots;
use crate::config::{Config, PeerConfig, PeerPolicy};
use crate::failure::Failure;
use http::HeaderMap;
use mimi_wire::Domain;
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::ClientCertVerifier;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A peer whose certificate was checked against its name. Only [`PeerTrust::identify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(Domain);

impl PeerIdentity {
    /// The provider's domain.
    pub fn domain(&self) -> &Domain {
        &self.0
    }
}

/// Why a caller is not the peer it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerRefusal {
    /// No `From` header.
    #[error("the From header is missing; it names the calling provider as mimi@domain")]
    NoFrom,
    /// Not `mimi@domain`, or more than one.
    #[error("the From header is not of the form mimi@domain")]
    MalformedFrom,
    /// No client certificate on this connection.
    #[error("the connection has no client certificate")]
    NoCertificate,
    /// The domain is no peer of this provider, or the provider itself.
    #[error("this provider has no such peer")]
    NotAPeer,
    /// The certificate is not one that is trusted for this peer, or is expired.
    #[error("the client certificate is not one that is trusted for this peer")]
    Untrusted,
    /// The certificate is for other names.
    #[error("the client certificate does not name the provider of the From header")]
    WrongName,
}

impl PeerRefusal {
    /// A stable name for metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoFrom => "no_from",
            Self::MalformedFrom => "malformed_from",
            Self::NoCertificate => "no_certificate",
            Self::NotAPeer => "not_a_peer",
            Self::Untrusted => "untrusted_certificate",
            Self::WrongName => "wrong_certificate_name",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> http::StatusCode {
        match self {
            Self::NoFrom | Self::MalformedFrom => http::StatusCode::BAD_REQUEST,
            Self::NoCertificate => http::StatusCode::UNAUTHORIZED,
            Self::NotAPeer | Self::Untrusted | Self::WrongName => http::StatusCode::FORBIDDEN,
        }
    }
}

/// What the configuration says about peers, ready to be asked.
pub struct PeerTrust {
    own: Domain,
    policy: PeerPolicy,
    handshake: Arc<AnyOf>,
    common: Anchor,
    /// Listed peers: their own anchor, or `None` for the common one. Peers that aren't allowed are absent.
    listed: HashMap<Domain, Option<Anchor>>,
    refused: Vec<Domain>,
}

impl PeerTrust {
    /// Believes the other nodes of this provider: by the authorities that everybody is known by who has none of their
    /// own.
    pub fn own_verifier(&self) -> Arc<dyn ServerCertVerifier> {
        self.common.server_verifier()
    }

    /// Reads the authorities that the configuration names.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let paths: Vec<PathBuf> = config.mimi.trusted_ca.iter().map(|p| config.path(p)).collect();
        let first = paths.first().cloned().unwrap_or_default();
        let common = Anchor::authorities(roots(paths.iter().map(PathBuf::as_path))?, &first)?;
        let web = match &config.mimi.web_pki_roots {
            Some(path) if config.peers.values().any(|p| p.web_pki && p.allow) => {
                let path = config.path(path);
                Some(Anchor::web_pki(roots([path.as_path()])?, &path)?)
            }
            _ => None,
        };
        let mut anchors = vec![common.clone()];
        let mut listed = HashMap::new();
        let mut refused = Vec::new();
        for (domain, peer) in &config.peers {
            if !peer.allow {
                refused.push(domain.0.clone());
                continue;
            }
            let own = own_anchor(config, peer, web.as_ref())?;
            anchors.extend(own.clone());
            listed.insert(domain.0.clone(), own);
        }
        Ok(Self {
            own: config.provider.domain.0.clone(),
            policy: config.mimi.peers,
            handshake: Arc::new(AnyOf::new(anchors)),
            common,
            listed,
            refused,
        })
    }

    /// For the TLS handshake, where the peer's name isn't known yet: whatever is trusted for anybody.
    pub(super) fn handshake_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.handshake.clone()
    }

    /// The authorities of a peer, where it is known by authorities; `None`: no peer of ours, or pinned by key.
    pub fn roots_of(&self, peer: &Domain) -> Option<Arc<RootCertStore>> {
        self.anchor(peer)?.roots()
    }

    /// What judges a peer's certificate when we connect to it; `None`: no peer of ours.
    pub fn server_verifier(&self, peer: &Domain) -> Option<Arc<dyn ServerCertVerifier>> {
        self.anchor(peer).map(Anchor::server_verifier)
    }

    /// Whether this provider talks to `peer` at all.
    pub fn is_peer(&self, peer: &Domain) -> bool {
        self.anchor(peer).is_some()
    }

    /// The peers with a section of their own.
    pub fn listed(&self) -> impl Iterator<Item = &Domain> {
        self.listed.keys()
    }

    /// How a peer is known, for people: `authority`, `key` or `web_pki`. `None`: no peer of ours.
    pub fn way(&self, peer: &Domain) -> Option<&'static str> {
        self.anchor(peer).map(Anchor::name)
    }

    fn anchor(&self, peer: &Domain) -> Option<&Anchor> {
        if *peer == self.own {
            return None;
        }
        match self.listed.get(peer) {
            Some(own) => Some(own.as_ref().unwrap_or(&self.common)),
            None if self.policy == PeerPolicy::Any && !self.refused.contains(peer) => Some(&self.common),
            None => None,
        }
    }

    /// Who sends this request. `chain` is what the client showed in the handshake, end entity first.
    pub fn identify(
        &self,
        headers: &HeaderMap,
        chain: &[CertificateDer<'_>],
    ) -> Result<PeerIdentity, PeerRefusal> {
        let claimed = claimed(headers)?;
        let (end_entity, intermediates) = chain.split_first().ok_or(PeerRefusal::NoCertificate)?;
        let anchor = self.anchor(&claimed).ok_or(PeerRefusal::NotAPeer)?;
        if !anchor.accepts_client(end_entity, intermediates, UnixTime::now()) {
            return Err(PeerRefusal::Untrusted);
        }
        let parsed = ParsedCertificate::try_from(end_entity).map_err(|_| PeerRefusal::Untrusted)?;
        let name = ServerName::try_from(claimed.as_str()).map_err(|_| PeerRefusal::MalformedFrom)?;
        verify_server_name(&parsed, &name).map_err(|_| PeerRefusal::WrongName)?;
        Ok(PeerIdentity(claimed))
    }
}

fn own_anchor(config: &Config, peer: &PeerConfig, web: Option<&Anchor>) -> Result<Option<Anchor>, Failure> {
    if !peer.key_sha256.is_empty() {
        return Ok(Some(Anchor::keys(&peer.key_sha256)));
    }
    if peer.web_pki {
        return Ok(web.cloned());
    }
    let Some(ca) = &peer.ca else { return Ok(None) };
    let path = config.path(ca);
    Anchor::authorities(roots([path.as_path()])?, &path).map(Some)
}

/// The domain in `From: mimi@domain`.
fn claimed(headers: &HeaderMap) -> Result<Domain, PeerRefusal> {
    let mut all = headers.get_all(http::header::FROM).iter();
    let value = all.next().ok_or(PeerRefusal::NoFrom)?;
    if all.next().is_some() {
        return Err(PeerRefusal::MalformedFrom);
    }
    let domain = value
        .to_str()
        .ok()
        .and_then(|v| v.strip_prefix("mimi@"))
        .ok_or(PeerRefusal::MalformedFrom)?;
    Domain::parse(domain).map_err(|_| PeerRefusal::MalformedFrom)
}
